# frozen_string_literal: true

# Both ends of an exchange, in Ruby; exchange.c says what it does.

require "ntmfw"

MESSAGE = 16
TOLD = 50
PORT = Integer(ARGV.fetch(0))

Thread.abort_on_exception = true
$stdout.sync = true

def serve
  server = NTMTCPServer.new(PORT)
  Thread.new { loop { Thread.start(server.accept) { |client| IO.copy_stream(client, client) && client.close } } }
  datagrams = NTMUDPSocket.new
  datagrams.bind(nil, PORT)
  Thread.new do
    loop do
      message, from = datagrams.recvmsg
      datagrams.send(message, 0, from)
    end
  end
end

# Messages to one host, and the answers.
class Exchange
  def initialize(host)
    @sent = { tcp: 0, udp: 0 }
    @answered = { tcp: 0, udp: 0 }
    @stream = NTMTCPSocket.new(host, PORT)
    @datagrams = NTMUDPSocket.new
    @datagrams.connect(host, PORT)
    @hearing = [Thread.new { hear_stream }, Thread.new { hear_datagrams }]
    @asking = Thread.new { ask }
  end

  def stop
    @stopped = true
    @asking.join
    @stream.close_write
    @hearing.each(&:join)
    [@stream, @datagrams].each(&:close)
    puts "exchanged #{@sent.keys.map { |protocol| "#{protocol} #{@sent[protocol]} #{@answered[protocol]}" }.join(" ")}"
  end

  private

  def ask
    until @stopped
      { tcp: @stream, udp: @datagrams }.each do |protocol, socket|
        socket.write((@sent[protocol] + 1).to_s.rjust(MESSAGE))
        @sent[protocol] += 1
      end
      sleep 0.02
    end
  end

  def hear_stream
    while (message = @stream.read(MESSAGE))
      abort "an answer is not the one that follows" unless message.to_i == @answered[:tcp] + 1
      heard(:tcp)
    end
  end

  def hear_datagrams
    until @stopped
      next unless @datagrams.wait_readable(0.1)

      @datagrams.recv(MESSAGE)
      heard(:udp)
    end
  end

  def heard(protocol)
    @answered[protocol] += 1
    puts "#{protocol} #{@answered[protocol]}" if (@answered[protocol] % TOLD).zero?
  end
end

serve
puts "ready"
exchange = nil
while (line = $stdin.gets)
  line.start_with?("exchange ") ? exchange = Exchange.new(line.split.last) : exchange.stop
end
NTMfw.fini
