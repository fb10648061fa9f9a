# frozen_string_literal: true

# The tests are node b. Node a is another process, with the servers of peer.rb; it lives as long as the tests.

require "minitest/autorun"
require "stringio"
require "tempfile"
require "tmpdir"
require "timeout"

# Processes beside the tests.
module Processes
  # How long anything may take that has to come: the machine may be slow.
  PATIENCE = 60
  PEER = File.join(__dir__, "peer.rb")

  def self.node(label) = { "NTMFW_CONFIG" => File.join(ENV.fetch("NTMFW_NODES"), label, "config.toml") }

  # Starts a Ruby program as a node and waits until it says that it serves.
  def self.start_peer
    output, told = IO.pipe
    input, @peer_input = IO.pipe
    id = spawn(node("a"), RbConfig.ruby, "-w", PEER, out: told, in: input)
    [told, input].each(&:close)
    Minitest.after_run do
      @peer_input.close
      Process.wait(id)
    end
    line = output.wait_readable(PATIENCE) && output.gets
    raise "the peer does not serve: #{line}" unless line == "serving\n"
  end

  # Runs a Ruby program to its end, which is not waited for for ever.
  # @return [Array(String, Process::Status)] all it said
  def self.run(program, environment = {}, label: "c")
    output, told = IO.pipe
    id = spawn(node(label).merge(environment), RbConfig.ruby, "-w", "-e", program, %i[out err] => told)
    told.close
    said = Timeout.timeout(PATIENCE) { output.read }
    [said, Process.wait2(id).last]
  rescue Timeout::Error
    Process.kill(:KILL, id)
    Process.wait(id)
    raise
  end
end

ENV.update(Processes.node("b"))
require "ntmfw"
Processes.start_peer

# What the tests have in common.
class NTMTest < Minitest::Test
  PEER = "a.ntm.example"

  # Nothing waits for ever.
  def run
    Timeout.timeout(4 * Processes::PATIENCE) { super }
  end

  def echo(&block) = NTMTCPSocket.open(PEER, 7, &block)

  # Waits until the block gives something, which it will.
  def await
    deadline = Process.clock_gettime(Process::CLOCK_MONOTONIC) + Processes::PATIENCE
    until (found = yield)
      flunk "it never came" if Process.clock_gettime(Process::CLOCK_MONOTONIC) > deadline
      sleep 0.01
    end
    found
  end

  # Sends a datagram, again where it or its answer is lost, until the block takes an answer.
  def ask(socket, *message)
    loop do
      socket.send(*message)
      return yield if socket.wait_readable(1)
    end
  end

  # The thread waits for something, which is a matter of moments.
  def await_sleep(thread) = await { thread.status == "sleep" }
end
