# frozen_string_literal: true

require "net/http"
require "ntmfw"

# From now on Net::HTTP reaches nodes by their names, and everybody else as before.
Net::HTTP.const_set(:TCPSocket, NTMTCPSocket)
