# frozen_string_literal: true

# A +TCPServer+ for nodes. What it accepts are {NTMTCPSocket}s.
#
#   NTMTCPServer.open(7) { |server| loop { Thread.start(server.accept) { |client| IO.copy_stream(client, client) } } }
class NTMTCPServer < TCPServer
  include NTMfw::Addressing

  # @overload initialize(port)
  # @overload initialize(host, port)
  #   @param host [String, nil] an address of this node or its name; nil: all of them, of both families
  #   @param port [Integer, String] 0: one that is free
  def initialize(host = nil, port)
    address = NTMfw::NameLookup.addresses(host || "::", port, passive: true).first
    descriptor = NTMfw::Connecting.keep(address, kind) do |fresh|
      NTMfw::Native.set_option(fresh, Socket::SOL_SOCKET, Socket::SO_REUSEADDR, [1].pack("i"))
      NTMfw::Native.bind(fresh, address)
      NTMfw::Native.listen(fresh, Socket::SOMAXCONN)
      # So a child of fork accepts by itself.
      NTMfw::Native.carry(fresh)
    end
    adopt(descriptor)
  end

  # As +TCPServer#listen+.
  def listen(backlog)
    NTMfw::Native.listen(fileno, backlog)
    0
  end

  # @return [NTMTCPSocket] the next connection
  def accept = NTMTCPSocket.accepted(sysaccept)

  # As +TCPServer#accept_nonblock+.
  # @return [NTMTCPSocket, :wait_readable]
  def accept_nonblock(exception: true)
    descriptor = NTMfw::Native.accept(fileno)
    return NTMTCPSocket.accepted(descriptor) if descriptor
    return :wait_readable unless exception

    raise IO::EAGAINWaitReadable, "accept(2) would block"
  end

  # @return [Integer] the next connection's descriptor
  def sysaccept
    loop do
      descriptor = unless_closed { NTMfw::Native.accept(fileno) }
      return descriptor if descriptor

      wait_readable
    end
  end

  # The port is free when this is back.
  def close
    NTMfw::Native.release(fileno) unless closed?
    super
  end

  private

  def kind = Socket::SOCK_STREAM
end
