# frozen_string_literal: true

# One stream between two nodes, written 64 KB at a time, in C and in Ruby; in turns, because other work on the machine
# comes and goes. Prints the median of each pair and its share of C's.

require "io/wait"
require "tmpdir"

ROUNDS = 5
SECONDS = 3
SIZE = 65_536
RUBY = [RbConfig.ruby, "-w", File.join(__dir__, "stream.rb")].freeze

def node(label) = { "NTMFW_CONFIG" => File.join(ENV.fetch("NTMFW_NODES"), label, "config.toml") }

def build_peer(directory)
  installed = ENV.fetch("NTMFW_INSTALLED")
  source = File.expand_path("../../../benches/c/peer.c", __dir__)
  peer = File.join(directory, "peer")
  system("cc", "-O2", "-Wall", "-Wextra", "-Werror", source, "-o", peer, "-lpthread", "-I#{installed}/include",
         "-L#{installed}/lib", "-lntmfw", "-Wl,-rpath,#{installed}/lib", exception: true)
  [peer]
end

# Gbit/s from one program to the other.
def measure(sender, receiver)
  output, told = IO.pipe
  server = spawn(node("a"), *receiver, "serve", "9", out: told)
  told.close
  output.wait_readable(60) && output.gets or raise "#{receiver} does not serve"
  said = IO.popen(node("b"), [*sender, "stream", "a.ntm.example", "9", SECONDS.to_s, SIZE.to_s], &:read)
  said[/gbit=([\d.]+)/, 1]&.to_f or raise "#{sender} said: #{said}"
ensure
  Process.kill(:TERM, server)
  Process.wait(server)
end

Dir.mktmpdir do |directory|
  c = build_peer(directory)
  pairs = { "C to C" => [c, c], "Ruby to C" => [RUBY, c], "C to Ruby" => [c, RUBY], "Ruby to Ruby" => [RUBY, RUBY] }
  found = Hash.new { |all, name| all[name] = [] }
  ROUNDS.times { pairs.each { |name, (sender, receiver)| found[name] << measure(sender, receiver) } }
  medians = found.transform_values { |values| values.sort[ROUNDS / 2] }
  medians.each do |name, rate|
    puts format("%-14s%8.2f Gbit/s%8.2f of C's", name, rate, rate / medians["C to C"])
  end
end
