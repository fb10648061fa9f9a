# frozen_string_literal: true

# leak.rb COUNT: opens and closes so many connections, at both ends in Ruby, and watches what both processes hold.
# Fails where descriptors are not given back, or where memory still grows when everything has been used for long.

require "io/wait"

COUNT = Integer(ARGV.fetch(0, "100000"))
# Memory that the library keeps for connections it has to remember for a minute is there after the first ones.
SETTLED = 0.5
GROWTH = 1.10
PORTS = (7000..7007).to_a
SAMPLES = 20

# What a process holds: kilobytes of memory, and descriptors.
def held(id = "self")
  [File.read("/proc/#{id}/status")[/VmRSS:\s+(\d+)/, 1].to_i, Dir.children("/proc/#{id}/fd").size]
end

def node(label) = { "NTMFW_CONFIG" => File.join(ENV.fetch("NTMFW_NODES"), label, "config.toml") }

SERVER = <<~'RUBY'
  require "ntmfw"
  servers = ARGV.map { |port| NTMTCPServer.new(port) }
  puts "serving"
  $stdout.flush
  loop do
    IO.select(servers).first.each do |server|
      client = server.accept_nonblock(exception: false)
      next if client == :wait_readable

      client.write(client.gets)
      client.close
    end
  end
RUBY

output, told = IO.pipe
server = spawn(node("a"), RbConfig.ruby, "-w", "-e", SERVER, *PORTS.map(&:to_s), out: told)
begin
  output.wait_readable(60) && output.gets or raise "the server does not serve"
  ENV.update(node("b"))
  require "ntmfw"
  samples = []
  COUNT.times do |number|
    NTMTCPSocket.open("a.ntm.example", PORTS[number % PORTS.size]) do |socket|
      socket.puts number
      socket.gets == "#{number}\n" or raise "connection #{number} was not answered"
    end
    next unless ((number + 1) % [COUNT / SAMPLES, 1].max).zero?

    GC.start
    samples << [number + 1, held, held(server)]
    puts format("%8d connections: client %6d KB, %3d descriptors; server %6d KB, %3d descriptors",
                *samples.last.flatten)
    $stdout.flush
  end
ensure
  Process.kill(:TERM, server)
  Process.wait(server)
end

settled = samples[(samples.size * SETTLED).to_i]
steady = [1, 2].all? do |process|
  samples.last[process][1] <= settled[process][1] + 2 && samples.last[process][0] <= settled[process][0] * GROWTH
end
puts steady ? "steady" : "NOT STEADY"
exit steady
