# frozen_string_literal: true

# A +TCPSocket+ to a node, by its name. Any other name works as well: then it is the system's.
#
#   NTMTCPSocket.open("printer.ntm.example", 9100) { |socket| socket.write(page) }
class NTMTCPSocket < TCPSocket
  include NTMfw::Addressing

  # @param host [String] a node's name, or any other, or an address
  # @param port [Integer, String]
  # @param local_host [String, nil]
  # @param local_port [Integer, String, nil]
  # @param connect_timeout [Numeric, nil] seconds, for each of the addresses
  # @param resolv_timeout [Numeric, nil] seconds
  # @raise [NTMfw::InitError] where the node cannot begin
  # @raise [NTMfw::NameError] where there is no such name
  # @raise [SystemCallError] where nobody answers there
  def initialize(host, port, local_host = nil, local_port = nil, connect_timeout: nil, resolv_timeout: nil)
    adopt(NTMfw::Connecting.descriptor(host, port, local_host, local_port,
                                       connect_timeout: connect_timeout, resolv_timeout: resolv_timeout))
    NTMfw::Connecting.widen(self)
  end

  # @private
  def self.accepted(descriptor) = NTMfw::Connecting.widen(for_fd(descriptor))

  # As +IPSocket#recvfrom+.
  # @return [Array(String, Array)]
  def recvfrom(length, flags = 0) = [recv(length, flags), peeraddr]

  private

  def kind = Socket::SOCK_STREAM
end
