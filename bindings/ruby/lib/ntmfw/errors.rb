# frozen_string_literal: true

# Sockets that reach a node by its name, wherever it is.
module NTMfw
  # The node could not begin: its configuration is missing or wrong, or nobody let it in. The message says which.
  class InitError < SocketError; end

  # A name that is no node's, or that nobody could be asked about.
  class NameError < SocketError; end
end
