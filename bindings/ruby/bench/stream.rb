# frozen_string_literal: true

# A stream's two ends, which understand benches/c/peer.c.
#
#   stream.rb serve PORT                        takes what comes
#   stream.rb stream HOST PORT SECONDS SIZE     sends, SIZE bytes a call: gbit=…

require "ntmfw"

def clock = Process.clock_gettime(Process::CLOCK_MONOTONIC)
def processor = Process.clock_gettime(Process::CLOCK_PROCESS_CPUTIME_ID)

def attend(client)
  client.read(1)
  begun = processor
  total = 0
  room = +""
  total += room.bytesize while client.readpartial(65_536, room)
rescue EOFError
  client.write([total, processor - begun].pack("dd"))
  client.close
end

def stream(host, port, seconds, size)
  bytes = "\0" * size
  NTMTCPSocket.open(host, port) do |socket|
    socket.write("s")
    # Half a second to get going, which does not count.
    until_then = clock + 0.5
    socket.write(bytes) while clock < until_then
    begun = clock
    total = 0
    total += socket.write(bytes) while clock < begun + seconds
    time = clock - begun
    socket.close_write
    socket.read(16)
    puts format("gbit=%.3f", total * 8e-9 / time)
  end
end

if ARGV[0] == "serve"
  server = NTMTCPServer.new(ARGV[1])
  puts "serving"
  $stdout.flush
  loop { Thread.start(server.accept) { |client| attend(client) } }
else
  stream(ARGV[1], ARGV[2], ARGV[3].to_f, ARGV[4].to_i)
end
