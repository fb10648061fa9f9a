# frozen_string_literal: true

require_relative "helper"

class NodeTest < NTMTest
  def test_the_node_says_what_it_is
    NTMfw.init
    assert_equal "b.ntm.example", NTMfw.local_name
    assert_match(/\A\d+\.\d+\.\d+/, NTMfw.library_version)
    echo { |socket| socket.puts("x") || socket.gets }
    status = NTMfw.status
    assert_equal "b.ntm.example", status["name"]
    assert_includes status["peers"].map { |peer| peer["name"] }, PEER
  end

  def test_events_are_told_to_everybody_who_listens
    said, status = Processes.run(<<~RUBY)
      require "ntmfw"
      queues = [Queue.new, Queue.new]
      queues.each { |queue| NTMfw.on_event { |event| queue << event } }
      NTMTCPSocket.open("#{PEER}", 7) { |socket| socket.puts("x") || socket.gets }
      queues.each { |queue| nil until queue.pop.values_at("event", "peer") == ["peer up", "#{PEER}"] }
      NTMfw.fini
      puts "all told"
    RUBY
    assert_predicate status, :success?, said
    assert_equal "all told\n", said
  end

  def test_a_listener_needs_a_block
    assert_raises(ArgumentError) { NTMfw.on_event }
  end
end
