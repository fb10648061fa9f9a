# frozen_string_literal: true

require_relative "helper"

class ServerTest < NTMTest
  def test_a_server_accepts_what_calls_it_by_its_name
    NTMTCPServer.open(0) do |server|
      assert_kind_of TCPServer, server
      assert_equal :wait_readable, server.accept_nonblock(exception: false)
      assert_raises(IO::WaitReadable) { server.accept_nonblock }
      calling = Thread.new { NTMTCPSocket.open(NTMfw.local_name, server.addr[1]) { |socket| socket.gets } }
      assert_equal [[server], [], []], IO.select([server], nil, nil, Processes::PATIENCE)
      server.accept_nonblock.then do |client|
        assert_instance_of NTMTCPSocket, client
        client.puts "accepted"
        client.close
      end
      assert_equal "accepted\n", calling.value
    end
  end

  def test_a_server_is_called_from_another_node
    NTMTCPServer.open(0) do |server|
      calling = Thread.new { Processes.run(<<~RUBY) }
        require "ntmfw"
        NTMTCPSocket.open("b.ntm.example", #{server.addr[1]}) { |socket| puts socket.gets }
      RUBY
      client = server.accept
      assert_equal "c.ntm.example", client.peeraddr[2]
      client.puts "welcome"
      client.close
      assert_equal "welcome\n", calling.value.first
    end
  end

  def test_a_port_is_free_when_its_server_is_closed
    port = NTMTCPServer.open(0) { |server| server.addr[1] }
    5.times { NTMTCPServer.open(port) { |server| assert_equal port, server.addr[1] } }
  end

  def test_a_port_is_free_when_its_server_is_forgotten
    port = Thread.new { NTMTCPServer.new(0).addr[1] }.value
    assert(await do
      GC.start
      NTMTCPServer.open(port) { true }
    rescue Errno::EADDRINUSE
      nil
    end)
  end

  def test_a_child_serves_what_it_inherited
    NTMTCPServer.open(0) do |server|
      child = fork do
        client = server.accept
        client.puts "#{client.gets.chomp} from a child"
        client.close
        exit!(0)
      end
      NTMTCPSocket.open(NTMfw.local_name, server.addr[1]) do |socket|
        socket.puts "hello"
        assert_equal "hello from a child\n", socket.gets
      end
      assert_predicate Process.wait2(child).last, :success?
    end
  end

  def test_another_program_has_a_connection_as_its_input_and_output
    NTMTCPServer.open(0) do |server|
      NTMTCPSocket.open(NTMfw.local_name, server.addr[1]) do |socket|
        client = server.accept
        program = spawn("tr a-z A-Z", in: client, out: client)
        client.close
        socket.write "small letters"
        socket.close_write
        assert_equal "SMALL LETTERS", socket.read
        assert_predicate Process.wait2(program).last, :success?
      end
    end
  end

  def test_a_child_goes_on_with_a_connection_and_is_told_that_it_makes_no_new_ones
    echo do |socket|
      reader, writer = IO.pipe
      child = fork do
        socket.puts "child"
        writer.puts socket.gets
        begin
          NTMTCPSocket.new(PEER, 7)
        rescue NTMfw::InitError => e
          writer.puts e.message
        end
        exit!(0)
      end
      writer.close
      Process.wait(child)
      assert_match(/\Achild\n.*child of fork: use the sockets it inherited/, reader.read)
    end
  end
end
