# frozen_string_literal: true

require "net/http"
require "ntmfw"

# From now on Net::HTTP reaches nodes by their names, and everybody else as before: it finds these in the places of the
# two classes with which its versions connect.
class Net::HTTP
  # For Net::HTTP alone; elsewhere +TCPSocket+ stays what it is.
  TCPSocket = NTMTCPSocket

  # @private
  class Socket < ::Socket
    def self.tcp(host, port, local_host = nil, local_port = nil, connect_timeout: nil, resolv_timeout: nil)
      NTMTCPSocket.new(host, port, local_host, local_port,
                       connect_timeout: connect_timeout, resolv_timeout: resolv_timeout)
    end
  end
end
