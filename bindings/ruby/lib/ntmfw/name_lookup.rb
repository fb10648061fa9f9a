# frozen_string_literal: true

module NTMfw
  # Addresses of names: a node's are asked of its coordinator, others of the system.
  #
  # @private
  module NameLookup
    # @return [Array<String>] packed addresses, in the order in which they are to be tried
    def self.addresses(host, port, family: Socket::AF_UNSPEC, kind: Socket::SOCK_STREAM, passive: false, timeout: nil)
      NTMfw.init
      flags = passive ? Socket::AI_PASSIVE : 0
      reader = Native.look_up(host && text(host), port && port.to_s, family, kind, flags)
      answer = Background.answer(reader, timeout)
      raise Errno::ETIMEDOUT, "name lookup of #{host}" unless answer
      raise refusal(host, port, answer) unless answer.status.zero?

      unpack(answer.payload)
    end

    def self.text(host)
      host = host.to_str
      # As in Ruby's own sockets.
      { "" => "::", "<any>" => "::", "<broadcast>" => "255.255.255.255" }.fetch(host, host)
    end
    private_class_method :text

    def self.refusal(host, port, answer)
      if answer.errno.positive?
        SystemCallError.new("getaddrinfo(3) of #{host}", answer.errno)
      elsif answer.status == Native::NOT_A_NAME
        NTMfw::NameError.new("getaddrinfo: #{answer.payload}: #{host} (port #{port}). Look at the spelling; a node " \
                             "has a name once it was enrolled")
      else
        NTMfw::NameError.new("getaddrinfo: #{answer.payload}: #{host} (port #{port})")
      end
    end
    private_class_method :refusal

    def self.unpack(payload)
      found = []
      until payload.empty?
        length = payload.unpack1("l", offset: 12)
        found << payload.byteslice(16, length)
        payload = payload.byteslice((16 + length)..)
      end
      found
    end
    private_class_method :unpack
  end
end
