# frozen_string_literal: true

require "json"
require "socket"
require "io/wait"

require_relative "ntmfw/version"
require_relative "ntmfw/errors"
require_relative "ntmfw/native_library"
require_relative "ntmfw/background"
require_relative "ntmfw/node"
require_relative "ntmfw/events"
require_relative "ntmfw/node_address"
require_relative "ntmfw/name_lookup"
require_relative "ntmfw/addressing"
require_relative "ntmfw/connecting"
require_relative "ntmfw/tcp_socket"
require_relative "ntmfw/tcp_server"
require_relative "ntmfw/udp_socket"
