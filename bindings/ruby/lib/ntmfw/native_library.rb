# frozen_string_literal: true

module NTMfw
  # Loads libntmfw, through the part of the gem that is compiled.
  #
  # @private
  module NativeLibrary
    # What the system's loader looks for where +NTMFW_LIBRARY+ does not say.
    DEFAULT = "libntmfw.so.0"

    def self.load(path = ENV.fetch("NTMFW_LIBRARY", DEFAULT))
      Native.load(path)
    rescue LoadError => e
      raise LoadError, "ntmfw: the library cannot be loaded: #{e.message}. Install libntmfw for " \
                       "#{RbConfig::CONFIG["host_cpu"]}, or set NTMFW_LIBRARY to the path of #{DEFAULT}", cause: e
    end

    begin
      require "ntmfw/native"
    rescue LoadError => e
      raise LoadError, "ntmfw: the compiled part of the gem is missing or was built for another Ruby: #{e.message}. " \
                       "Install the gem again with this Ruby: gem install ntmfw", cause: e
    end
    load
  end
end
