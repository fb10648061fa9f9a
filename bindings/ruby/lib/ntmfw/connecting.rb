# frozen_string_literal: true

module NTMfw
  # Descriptors of streams, each the way to one of several addresses.
  #
  # @private
  module Connecting
    # What a descriptor may take before the library does; the host may allow less.
    ROOM = 1 << 20

    class << self
      # @return [Integer] a descriptor that is connected and carries data
      def descriptor(host, port, local_host, local_port, connect_timeout:, resolv_timeout:)
        local = local_host || local_port
        failure = nil
        NameLookup.addresses(host, port, timeout: resolv_timeout).each do |address|
          from = local && local_address(address, local_host, local_port)
          return attempt(address, from, connect_timeout)
        rescue SystemCallError => e
          failure = e
        end
        raise failure.class, "connect to #{host} port #{port}", cause: failure
      end

      # A new socket, which is closed again where the block does not come to its end.
      # @return [Integer] its descriptor
      def keep(address, kind)
        descriptor = Native.socket(Addrinfo.new(address).afamily, kind)
        yield descriptor
        kept = descriptor
      ensure
        Native.close(descriptor) if descriptor && !kept
      end

      # Where a descriptor that does not block shows that it is connected, or why not.
      def await(descriptor, timeout = nil)
        waiting = IO.for_fd(descriptor, "r+", autoclose: false)
        raise Errno::ETIMEDOUT, "no answer in #{timeout} s" unless waiting.wait_writable(timeout)

        code = Native.option(descriptor, Socket::SOL_SOCKET, Socket::SO_ERROR).unpack1("i")
        raise SystemCallError.new(nil, code) unless code.zero?
      end

      # The descriptor takes more in one go, which spares changes between Ruby's threads and the library's.
      # @return the socket
      def widen(socket)
        if socket.ntm?
          kernel = BasicSocket.instance_method(:setsockopt)
          kernel.bind_call(socket, Socket::SOL_SOCKET, Socket::SO_SNDBUF, ROOM)
        end
        socket
      end

      private

      def attempt(address, from, timeout)
        keep(address, Socket::SOCK_STREAM) do |descriptor|
          Native.bind(descriptor, from) if from
          await(descriptor, timeout) unless Native.connect(descriptor, address)
          Native.carry(descriptor)
        end
      end

      def local_address(remote, host, port)
        family = Addrinfo.new(remote).afamily
        NameLookup.addresses(host, port || 0, family: family, passive: true).first
      end
    end
  end
end
