# frozen_string_literal: true

module NTMfw
  # How packets of a connection travel.
  #
  # @!attribute kind
  #   @return [Symbol] +:direct+, +:relayed+, or +:none+ where no path is in use
  # @!attribute interface
  #   @return [String] the interface of this host
  # @!attribute rtt
  #   @return [Float, nil] the round trip in seconds; nil where it is not known yet
  # @!attribute loss
  #   @return [Float] the share of probes that were not answered
  Path = Struct.new(:kind, :interface, :rtt, :loss) do
    # @private
    def self.of(descriptor)
      kind, interface, rtt, loss = Native.path(descriptor)
      new(%i[none direct relayed].fetch(kind), interface, rtt.zero? ? nil : rtt / 1e6, loss / 1e3).freeze
    end
  end

  class << self
    # Begins: reads the configuration and registers the node. Sockets begin by themselves, with the usual configuration,
    # where this was not called; a second call does nothing.
    #
    # @param configuration [String, nil] path of the configuration; nil: +NTMFW_CONFIG+, else the usual places
    # @raise [InitError] where that cannot be done; it can be tried again
    def init(configuration = nil)
      return if Native.ready

      answer = Background.answer(Native.begin(configuration&.to_s))
      return if answer.status.zero?

      raise InitError, "NTMfw cannot begin: #{answer.payload.force_encoding(Encoding::UTF_8)} " \
                       "(errno #{answer.errno}). #{hint(configuration)}"
    end

    # Tells the coordinator that the node goes. The library cannot begin again in this process.
    def fini
      Background.answer(Native.finish)
      nil
    end

    # @return [String] what this node is called
    def local_name
      init
      Native.local_name
    end

    # @return [Hash{String => Object}] what the library says of itself: name, addresses, peers with their paths, counters
    def status
      init
      JSON.parse(Native.status)
    end

    # @return [String] the version of libntmfw
    def library_version = Native.version

    # @param socket [NTMTCPSocket, NTMUDPSocket] one that is connected
    # @return [Path] how its packets travel now
    def path_info(socket) = socket.path_info

    private

    def hint(configuration)
      return "This is a child of fork: use the sockets it inherited, or exec." if Native.ready_elsewhere
      return "Look into #{configuration}." if configuration

      "Give NTMfw.init the path of a configuration, or set NTMFW_CONFIG."
    end
  end
end
