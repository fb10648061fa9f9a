# frozen_string_literal: true

module NTMfw
  # What Ruby's sockets would ask the kernel, which knows only a descriptor that carries data.
  module Addressing
    # @return [NodeAddress]
    def local_address = node_address(Native.own_address(fileno))

    # @return [NodeAddress] which knows the peer's name
    def remote_address = node_address(Native.peer_address(fileno))
    alias connect_address remote_address

    # @return [String, nil] the name of the node at the other end; nil where that is no node
    def peer_name = remote_address.node_name

    # As +IPSocket#addr+. The node's name is known without asking anybody, so it is there unless numbers are asked for:
    # +do_not_reverse_lookup+ changes nothing.
    #
    # @param reverse_lookup [Boolean, Symbol, nil] +:numeric+ or false: the address in place of the name
    # @return [Array(String, Integer, String, String)]
    def addr(reverse_lookup = true) = local_address.to_a(numeric?(reverse_lookup))

    # As +IPSocket#peeraddr+, and as {#addr}.
    def peeraddr(reverse_lookup = true) = remote_address.to_a(numeric?(reverse_lookup))

    # @return [String] packed
    def getsockname = local_address.to_sockaddr

    # @return [String] packed
    def getpeername = remote_address.to_sockaddr

    # As +BasicSocket#getsockopt+.
    # @return [Socket::Option]
    def getsockopt(level, name)
      option = Socket::Option.new(:INET, level, name, "")
      Socket::Option.new(:INET, option.level, option.optname, Native.option(fileno, option.level, option.optname))
    end

    # As +BasicSocket#setsockopt+.
    # @overload setsockopt(option)
    # @overload setsockopt(level, name, value)
    def setsockopt(level, name = nil, value = nil)
      option = level.is_a?(Socket::Option) ? level : Socket::Option.new(:INET, level, name, packed(value))
      Native.set_option(fileno, option.level, option.optname, option.data)
      0
    end

    # @return [Path] how packets to the peer travel now
    # @raise [Errno::ENOTSOCK] where the peer is no node
    def path_info = Path.of(fileno)

    # @return [Boolean] whether this is a node's socket; one that met an address of the Internet is the kernel's
    def ntm?
      Native.is_ntm(fileno)
    end

    private

    def node_address(packed) = NodeAddress.of(packed, kind, named: Native.ready && ntm?)

    def packed(value)
      case value
      when true then [1].pack("i")
      when false then [0].pack("i")
      when Integer then [value].pack("i")
      else value.to_str
      end
    end

    def numeric?(reverse_lookup)
      case reverse_lookup
      when true, nil, :hostname then false
      when false, :numeric then true
      else raise ArgumentError, "invalid reverse_lookup flag: #{reverse_lookup.inspect}"
      end
    end

    # What the call gives; where it found that this was closed meanwhile, Ruby's own error for that.
    def unless_closed
      yield
    rescue Errno::ENOTSOCK
      raise IOError, "stream closed in another thread"
    end

    # Makes this object, which has no descriptor yet, the one of this descriptor.
    def adopt(descriptor)
      IO.instance_method(:initialize).bind_call(self, descriptor, "r+b")
      self.sync = true
    end
  end
end
