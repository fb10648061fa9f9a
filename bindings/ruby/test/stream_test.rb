# frozen_string_literal: true

require_relative "helper"

class StreamTest < NTMTest
  def test_a_socket_is_a_tcp_socket_and_lines_come_back
    echo do |socket|
      assert_kind_of TCPSocket, socket
      socket.puts "hello", "there"
      assert_equal ["hello\n", "there\n"], [socket.gets, socket.gets]
    end
  end

  def test_closing_one_direction_leaves_the_other
    echo do |socket|
      socket.write "last words"
      socket.close_write
      assert_equal "last words", socket.read
      assert_raises(IOError) { socket.write "more" }
    end
  end

  def test_reading_without_waiting_says_that_there_is_nothing_yet
    echo do |socket|
      assert_equal :wait_readable, socket.read_nonblock(10, exception: false)
      assert_raises(IO::WaitReadable) { socket.read_nonblock(10) }
      socket.write "now"
      assert_equal [[socket], [], []], IO.select([socket], nil, nil, Processes::PATIENCE)
      assert_equal "now", socket.read_nonblock(10)
    end
  end

  def test_select_tells_of_room_and_of_nothing
    echo do |socket|
      assert_equal [[], [socket], []], IO.select([socket], [socket], nil, Processes::PATIENCE)
      assert_nil IO.select([socket], nil, nil, 0.01)
    end
  end

  def test_eight_megabytes_cross_both_ways
    sent = Random.new(1).bytes(8 << 20)
    echo do |socket|
      writer = Thread.new { socket.write(sent) and socket.close_write }
      assert_equal sent, socket.read
      writer.join
    end
  end

  def test_copy_stream_copies_from_and_to_it
    sent = Random.new(2).bytes(1 << 20)
    NTMTCPSocket.open(PEER, 9) do |socket|
      assert_equal sent.bytesize, IO.copy_stream(StringIO.new(sent), socket)
      socket.close_write
      received = StringIO.new
      IO.copy_stream(socket, received)
      assert_equal "#{sent.bytesize}\n", received.string
    end
  end

  def test_send_and_recv_work_as_in_every_socket
    echo do |socket|
      assert_equal 3, socket.send("abc", 0)
      assert_equal "a", socket.recv(1)
      data, from = socket.recvfrom(10)
      assert_equal ["bc", PEER], [data, from[2]]
    end
  end

  def test_both_ends_know_each_other_by_name
    NTMTCPSocket.open(PEER, 13) do |socket|
      assert_equal [PEER, 13], socket.peeraddr.values_at(2, 1)
      assert_equal PEER, socket.peer_name
      assert_equal [PEER, "13"], socket.remote_address.getnameinfo(Socket::NI_NUMERICSERV)
      assert_equal socket.peeraddr[3], socket.peeraddr(:numeric)[2]
      assert_equal "b.ntm.example", socket.addr[2]
      assert_match(/"AF_INET", #{socket.local_address.ip_port}, "b.ntm.example"/, socket.gets)
    end
  end

  def test_options_are_the_connections
    echo do |socket|
      socket.setsockopt(Socket::IPPROTO_TCP, Socket::TCP_NODELAY, 1)
      assert socket.getsockopt(:TCP, :NODELAY).bool
      socket.setsockopt(Socket::Option.bool(:INET, :SOCKET, :KEEPALIVE, true))
      assert socket.getsockopt(Socket::SOL_SOCKET, Socket::SO_KEEPALIVE).bool
      socket.setsockopt(:SOCKET, :KEEPALIVE, false)
      refute socket.getsockopt(:SOCKET, :KEEPALIVE).bool
      assert_raises(Errno::ENOPROTOOPT) { socket.getsockopt(Socket::IPPROTO_TCP, 9999) }
    end
  end

  def test_a_socket_says_how_its_packets_travel
    echo do |socket|
      socket.puts "so that there is a path"
      socket.gets
      path = await { [socket.path_info].find { |found| found.kind == :direct } }
      assert_equal "d0", path.interface
      assert_equal path.kind, NTMfw.path_info(socket).kind
    end
  end

  def test_a_subclass_is_made_by_its_own_initialize
    greeting = Class.new(NTMTCPSocket) do
      def initialize(name)
        super(name, 7)
        puts "hello from #{self.class.superclass}"
      end
    end
    greeting.open(PEER) { |socket| assert_equal "hello from NTMTCPSocket\n", socket.gets }
  end

  def test_an_address_of_the_host_itself_is_reached_through_the_kernel
    TCPServer.open("127.0.0.1", 0) do |server|
      NTMTCPSocket.open("127.0.0.1", server.addr[1]) do |socket|
        refute_predicate socket, :ntm?
        server.accept.then { |client| client.write("kernel") and client.close }
        assert_equal "kernel", socket.read
        assert_equal "127.0.0.1", socket.peeraddr[3]
        assert_nil socket.peer_name
        assert_raises(Errno::ENOTSOCK) { socket.path_info }
      end
    end
  end

  def test_a_socket_can_be_bound_before_it_connects
    NTMTCPSocket.open(PEER, 13, nil, 40_007) { |socket| assert_match(/40007, "b.ntm.example"/, socket.gets) }
  end
end
