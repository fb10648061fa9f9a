# frozen_string_literal: true

module NTMfw
  # The gem's version. The library has its own: {NTMfw.library_version}.
  VERSION = "0.1.0"
end
