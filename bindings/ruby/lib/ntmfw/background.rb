# frozen_string_literal: true

module NTMfw
  # Waits for what the library does on a thread of its own. The wait is Ruby's: other threads and fibers run, and signals,
  # +Timeout+ and +Thread#kill+ end it.
  #
  # @private
  module Background
    Answer = Struct.new(:status, :errno, :payload)

    # @param reader [Integer] a descriptor that {Native} gave
    # @param timeout [Numeric, nil] seconds
    # @return [Answer, nil] nil where the time is over
    def self.answer(reader, timeout = nil)
      IO.open(reader, "rb") do |pipe|
        break unless pipe.wait_readable(timeout)

        bytes = pipe.read
        Answer.new(*bytes.unpack("ll"), bytes.byteslice(8..)).freeze
      end
    end
  end
end
