# frozen_string_literal: true

require_relative "helper"
require_relative "scheduler"

class WaitingTest < NTMTest
  def test_other_threads_run_while_one_waits
    NTMTCPSocket.open(PEER, 5) do |silent|
      waiting = Thread.new { silent.gets }
      await_sleep(waiting)
      echo do |socket|
        socket.puts "meanwhile"
        assert_equal "meanwhile\n", socket.gets
      end
      waiting.kill.join
    end
  end

  def test_timeout_ends_a_wait
    NTMTCPSocket.open(PEER, 5) do |silent|
      assert_raises(Timeout::Error) { Timeout.timeout(0.05) { silent.read(1) } }
      assert_nil silent.wait_readable(0.01)
    end
  end

  def test_a_thread_that_waits_can_be_killed
    NTMTCPServer.open(0) do |server|
      NTMTCPSocket.open(PEER, 5) do |silent|
        bound = NTMUDPSocket.new
        bound.bind(nil, 0)
        [-> { silent.read(1) }, -> { server.accept }, -> { bound.recv(1) }].each do |wait|
          waiting = Thread.new(&wait)
          await_sleep(waiting)
          waiting.kill
          assert waiting.join(Processes::PATIENCE), "the thread goes on"
        end
        bound.close
      end
    end
  end

  def test_a_signal_is_handled_while_a_thread_waits
    handled = Queue.new
    before = trap(:USR1) { handled << true }
    NTMTCPSocket.open(PEER, 5) do |silent|
      waiting = Thread.new { silent.read(1) }
      await_sleep(waiting)
      Process.kill(:USR1, Process.pid)
      assert handled.pop
      assert_predicate waiting, :alive?
      waiting.kill.join
    end
  ensure
    trap(:USR1, before)
  end

  def test_closing_in_another_thread_ends_a_wait
    silent = NTMTCPSocket.new(PEER, 5)
    server = NTMTCPServer.new(0)
    [[silent, -> { silent.read(1) }], [server, -> { server.accept }]].each do |io, wait|
      waiting = Thread.new { assert_raises(IOError, &wait) }
      await_sleep(waiting)
      io.close
      assert waiting.join(Processes::PATIENCE), "the thread goes on"
    end
  end

  def test_fibers_take_turns_in_a_scheduler
    said = []
    scheduled = Thread.new do
      Fiber.set_scheduler(Scheduler.new)
      Fiber.schedule do
        NTMTCPSocket.open(PEER, 4) do |socket|
          said << "waits"
          said << "has #{socket.read(1)}"
        end
      end
      5.times do |number|
        Fiber.schedule do
          echo do |socket|
            socket.puts number
            said << "echo #{socket.gets.to_i}"
          end
        end
      end
      Fiber.schedule do
        socket = NTMUDPSocket.new
        said << ask(socket, "datagram", 0, PEER, 7) { socket.recv(100) }
        socket.close
      end
      said << "all begun"
    end
    assert scheduled.join(2 * Processes::PATIENCE), "the fibers do not end: #{said}"
    assert_equal "all begun", said.first, "a fiber held up the others"
    assert_equal ["all begun", "datagram", *5.times.map { |number| "echo #{number}" }, "has x", "waits"], said.sort
  end

  def test_a_hundred_threads_talk_at_once
    threads = 100.times.map do |number|
      Thread.new do
        echo do |socket|
          10.times do |line|
            socket.puts "#{number} #{line}"
            assert_equal "#{number} #{line}\n", socket.gets
          end
        end
      end
    end
    threads.each(&:join)
  end
end
