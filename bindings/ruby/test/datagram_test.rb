# frozen_string_literal: true

require_relative "helper"

class DatagramTest < NTMTest
  def setup = @socket = NTMUDPSocket.new
  def teardown = @socket.close

  def test_a_datagram_comes_back_and_says_whose_it_is
    assert_kind_of UDPSocket, @socket
    assert_equal 5, @socket.send("hello", 0, PEER, 7)
    data, from = ask(@socket, "hello", 0, PEER, 7) { @socket.recvfrom(100) }
    assert_equal ["hello", "AF_INET", 7, PEER], [data, *from.first(3)]
  end

  def test_a_connected_one_needs_no_address
    @socket.connect(PEER, 7)
    assert_equal [PEER, 7], @socket.peeraddr.values_at(2, 1)
    assert_equal "one", ask(@socket, "one", 0) { @socket.recv(100) }
    assert_equal 3, @socket.write("two")
    assert_includes %w[one two], ask(@socket, "two", 0) { @socket.readpartial(100) }
    assert_equal PEER, @socket.peer_name
  end

  def test_what_is_too_long_is_cut_and_nothing_is_no_end
    @socket.connect(PEER, 7)
    assert_equal "0123", ask(@socket, "0123456789", 0) { @socket.recv(4) }
    # An answer to the first may still be on its way.
    nil until ask(@socket, "", 0) { @socket.recv(4) }.empty?
  end

  def test_it_does_not_wait_where_it_shall_not
    @socket.bind(nil, 0)
    assert_equal :wait_readable, @socket.recvfrom_nonblock(10, exception: false)
    assert_raises(IO::WaitReadable) { @socket.recvfrom_nonblock(10) }
    message, from, = ask(@socket, "now", 0, PEER, 7) do
      assert_equal [[@socket], [], []], IO.select([@socket], nil, nil, 0)
      @socket.recvmsg_nonblock
    end
    assert_equal ["now", PEER], [message, from.node_name]
  end

  def test_it_takes_addresses_of_every_form
    address = NTMTCPSocket.open(PEER, 7, &:remote_address)
    [address, address.to_sockaddr].each do |form|
      assert_equal 13, @socket.sendmsg("to an address", 0, form)
      assert_equal "to an address", ask(@socket, "to an address", 0, form) { @socket.recvmsg.first }
    end
  end

  def test_ipv6_is_as_good
    socket = NTMUDPSocket.new(:INET6)
    socket.bind("::", 0)
    answering = NTMUDPSocket.new("AF_INET6")
    answering.bind(nil, 0)
    socket.send("six", 0, NTMfw.local_name, answering.local_address.ip_port)
    assert_equal "six", answering.recv(10)
    [socket, answering].each(&:close)
  end

  def test_its_port_is_free_when_it_is_closed
    5.times do
      bound = NTMUDPSocket.new
      bound.bind(nil, 40_123)
      bound.close
      assert_predicate bound, :closed?
    end
  end

  def test_its_port_is_free_when_it_is_forgotten
    # On a stack that is gone afterwards.
    Thread.new { NTMUDPSocket.new.bind(nil, 40_124) }.join
    assert(await do
      GC.start
      again = NTMUDPSocket.new
      again.bind(nil, 40_124)
    rescue Errno::EADDRINUSE
      nil
    ensure
      again.close
    end)
  end
end
