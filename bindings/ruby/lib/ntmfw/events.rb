# frozen_string_literal: true

module NTMfw
  # What happens to the node, told to whoever wants to hear. The library has one listener a process; here is the one, which
  # tells all others.
  #
  # @private
  module Events
    @listeners = []
    @guard = Mutex.new

    class << self
      def listen(listener)
        @guard.synchronize do
          @reader ||= begin_reading
          @listeners += [listener]
        end
      end

      private

      def begin_reading
        reader, writer = IO.pipe
        Native.listen_to_events(writer.fileno)
        # The library's from now on, for as long as the process lives.
        writer.autoclose = false
        Thread.new do
          Thread.current.name = "ntmfw events"
          reader.each_line { |line| tell(JSON.parse(line)) }
        end
      end

      def tell(event)
        @listeners.each do |listener|
          listener.call(event)
        rescue StandardError => e
          warn "ntmfw: a listener failed: #{e.full_message(highlight: false)}"
        end
      end
    end
  end

  # Calls the block for everything that happens from now on, one event at a time, on a thread of its own.
  #
  # @yieldparam event [Hash{String => Object}] +"event"+ is +registered+, +resolved+, +peer up+, +path changed+, +peer
  #   lost+, …
  def self.on_event(&listener)
    raise ArgumentError, "a block is needed, which is given the events" unless listener

    init
    Events.listen(listener)
    nil
  end
end
