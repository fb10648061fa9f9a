# frozen_string_literal: true

module NTMfw
  # The address of a socket, which knows the node's name.
  class NodeAddress < Addrinfo
    # @return [String, nil] the name of the node that has the address; nil where it is no node's
    attr_reader :node_name

    # @private
    def self.of(packed, kind, named:)
      plain = Addrinfo.new(packed, nil, kind)
      # A socket that takes both families knows an IPv4 address as one of IPv6.
      plain = Addrinfo.new(Socket.sockaddr_in(plain.ip_port, plain.ipv6_to_ipv4.ip_address)) if plain.ipv6_v4mapped?
      any = ["0.0.0.0", "::"].include?(plain.ip_address)
      new(plain.to_sockaddr, kind, named && !any ? Native.name_of(plain.to_sockaddr) : nil)
    end

    def initialize(packed, kind, node_name)
      super(packed, nil, kind)
      @node_name = node_name
    end

    # As +Addrinfo#getnameinfo+; a node's name is known without asking anybody.
    #
    # @return [Array(String, String)] host and service
    def getnameinfo(flags = 0)
      return super if node_name.nil? || flags.anybits?(Socket::NI_NUMERICHOST)

      [node_name, super(flags | Socket::NI_NUMERICHOST).last]
    end

    # @return [Array(String, Integer, String, String)] as +IPSocket#peeraddr+: family, port, name, address
    def to_a(numeric)
      family = ipv6? ? "AF_INET6" : "AF_INET"
      [family, ip_port, (node_name unless numeric) || ip_address, ip_address]
    end
  end
end
