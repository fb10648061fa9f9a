# frozen_string_literal: true

# A +UDPSocket+ for nodes.
#
#   socket = NTMUDPSocket.new
#   socket.send("are you there?", 0, "printer.ntm.example", 161)
#   answer, from = socket.recvfrom(512)
#
# Datagrams do not pass through the descriptor, which only shows whether there are any: +IO.select+ and +wait_readable+
# work, and reading it in another way than with the methods here does not.
class NTMUDPSocket < UDPSocket
  include NTMfw::Addressing

  # The longest datagram there is.
  LONGEST = 65_535

  # @param family [Integer, Symbol, String] +Socket::AF_INET+ or +Socket::AF_INET6+
  def initialize(family = Socket::AF_INET)
    NTMfw.init
    @family = Socket::Option.new(family, :SOCKET, :ERROR, "").family
    descriptor = NTMfw::Native.socket(@family, kind)
    adopt(descriptor)
    # What Ruby collects it closes without telling the library, which would keep the port.
    self.autoclose = false
    ObjectSpace.define_finalizer(self, self.class.closing(descriptor))
  end

  # @private
  def self.closing(descriptor) = proc { NTMfw::Native.close(descriptor) }

  # @param host [String, nil] an address of this node; nil or "": all
  # @param port [Integer, String]
  def bind(host, port)
    NTMfw::Native.bind(fileno, lookup(host.to_s.empty? ? any : host, port))
    0
  end

  # From now on datagrams go to this peer, and only its come.
  def connect(host, port)
    NTMfw::Connecting.await(fileno) unless NTMfw::Native.connect(fileno, lookup(host, port))
    0
  end

  # @overload send(message, flags)
  # @overload send(message, flags, address)
  #   @param address [String, Addrinfo] packed
  # @overload send(message, flags, host, port)
  # @return [Integer] how many bytes were sent
  def send(message, flags, host = nil, port = nil)
    send_to(message, flags, port ? lookup(host, port) : packed_address(host))
  end

  # @return [Integer]
  def sendmsg(message, flags = 0, address = nil, *_controls) = send_to(message, flags, packed_address(address))

  # As +sendmsg+, for one that does not wait.
  def sendmsg_nonblock(message, flags = 0, address = nil, *_controls, exception: true)
    NTMfw::Native.send(fileno, message.to_str, flags, packed_address(address)) ||
      would_block(exception, :wait_writable, IO::EAGAINWaitWritable, "sendmsg")
  end

  # @return [Integer] how many bytes all of them have, each of which was sent as one datagram to the peer
  def write(*messages) = messages.sum { |message| send_to(message.to_s, 0, nil) }
  alias syswrite write

  # @return [Integer, :wait_writable]
  def write_nonblock(message, exception: true) = sendmsg_nonblock(message.to_s, exception: exception)

  # @return [String] the next datagram
  def recv(length, flags = 0, buffer = nil) = into(buffer, receive(length, flags).first)

  # @return [Array(String, Array)] the next datagram, and whose it is, as +IPSocket#recvfrom+
  def recvfrom(length, flags = 0)
    data, from = receive(length, flags)
    [data, node_address(from).to_a(false)]
  end

  # As +UDPSocket#recvfrom_nonblock+.
  def recvfrom_nonblock(length, flags = 0, buffer = nil, exception: true)
    data, from = NTMfw::Native.receive(fileno, length, flags)
    return would_block(exception, :wait_readable, IO::EAGAINWaitReadable, "recvfrom") unless data

    [into(buffer, data), node_address(from).to_a(false)]
  end

  # As +BasicSocket#recv_nonblock+.
  def recv_nonblock(length, flags = 0, buffer = nil, exception: true)
    data, = NTMfw::Native.receive(fileno, length, flags)
    return would_block(exception, :wait_readable, IO::EAGAINWaitReadable, "recv") unless data

    into(buffer, data)
  end

  # @return [Array(String, NTMfw::NodeAddress, Integer)]
  def recvmsg(length = nil, flags = 0, _controls = nil, **)
    data, from = receive(length || LONGEST, flags)
    [data, node_address(from), 0]
  end

  # As +recvmsg+, for one that does not wait.
  def recvmsg_nonblock(length = nil, flags = 0, _controls = nil, exception: true, **)
    data, from = NTMfw::Native.receive(fileno, length || LONGEST, flags)
    return would_block(exception, :wait_readable, IO::EAGAINWaitReadable, "recvmsg") unless data

    [data, node_address(from), 0]
  end

  # @return [String] the next datagram
  def readpartial(length, buffer = nil) = recv(length, 0, buffer)
  alias sysread readpartial

  # @return [String, :wait_readable]
  def read_nonblock(length, buffer = nil, exception: true) = recv_nonblock(length, 0, buffer, exception: exception)

  # The port is free when this is back.
  def close
    unless closed?
      ObjectSpace.undefine_finalizer(self)
      NTMfw::Native.release(fileno)
      self.autoclose = true
    end
    super
  end

  private

  def kind = Socket::SOCK_DGRAM
  def any = @family == Socket::AF_INET6 ? "::" : "0.0.0.0"
  def lookup(host, port) = NTMfw::NameLookup.addresses(host, port, family: @family, kind: kind).first

  def packed_address(address) = address.is_a?(Addrinfo) ? address.to_sockaddr : address&.to_str

  def send_to(message, flags, address)
    loop do
      sent = unless_closed { NTMfw::Native.send(fileno, message.to_str, flags, address) }
      return sent if sent

      wait_writable
    end
  end

  def receive(length, flags)
    loop do
      received = unless_closed { NTMfw::Native.receive(fileno, length, flags) }
      return received if received

      wait_readable
    end
  end

  def into(buffer, data) = buffer ? buffer.replace(data) : data

  def would_block(exception, symbol, error, call)
    raise error, "#{call}(2) would block" if exception

    symbol
  end
end
