# frozen_string_literal: true

require_relative "helper"

class FailureTest < NTMTest
  def test_a_name_that_nobody_has_is_said_so
    error = assert_raises(SocketError) { NTMTCPSocket.new("nobody.ntm.example", 7) }
    assert_kind_of NTMfw::NameError, error
    assert_match(/nobody.ntm.example.*spelling/, error.message)
  end

  def test_a_port_that_nobody_serves_refuses
    error = assert_raises(Errno::ECONNREFUSED) { NTMTCPSocket.new(PEER, 8) }
    assert_match(/connect to #{PEER} port 8/, error.message)
  end

  def test_a_closed_socket_says_so_and_can_be_closed_again
    socket = NTMTCPSocket.new(PEER, 7)
    socket.close
    socket.close
    assert_predicate socket, :closed?
    [-> { socket.gets }, -> { socket.write("x") }, -> { socket.peeraddr }, -> { socket.path_info }].each do |call|
      assert_match(/closed stream/, assert_raises(IOError, &call).message)
    end
  end

  def test_a_reset_is_an_error_and_no_end
    NTMTCPSocket.open(PEER, 6) do |socket|
      socket.write "this will not be read"
      assert_raises(Errno::ECONNRESET) { loop { socket.readpartial(10) } }
    end
  end

  def test_a_connection_has_a_time_limit
    output, told = IO.pipe
    stopped = spawn(Processes.node("c"), RbConfig.ruby, "-w", "-e", <<~RUBY, out: told)
      require "ntmfw"
      NTMTCPServer.new(7)
      puts "serving"
      $stdout.flush
      sleep
    RUBY
    assert_equal "serving\n", output.gets
    Process.kill(:STOP, stopped)
    assert_raises(Errno::ETIMEDOUT) { NTMTCPSocket.new("c.ntm.example", 7, connect_timeout: 0.1) }
  ensure
    Process.kill(:KILL, stopped)
    Process.wait(stopped)
  end

  def test_a_look_up_is_waited_for_as_long_as_wanted
    silent, writer = IO.pipe
    silent.autoclose = false
    assert_nil NTMfw::Background.answer(silent.fileno, 0.01)
    writer.close
  end

  def test_a_port_that_is_taken_is_said_so
    NTMTCPServer.open(0) do |server|
      assert_raises(Errno::EADDRINUSE) { NTMTCPServer.new(server.addr[1]) }
    end
  end

  def test_a_configuration_that_is_not_there_is_named_with_what_to_do
    said, status = Processes.run(<<~RUBY, { "NTMFW_CONFIG" => "/nowhere/ntmfw.toml" })
      require "ntmfw"
      begin
        NTMTCPSocket.new("a.ntm.example", 7)
      rescue SocketError => error
        puts error.class, error.message
      end
      begin
        NTMfw.init("/elsewhere/ntmfw.toml")
      rescue NTMfw::InitError => error
        puts error.message
      end
    RUBY
    assert_predicate status, :success?, said
    assert_match(%r{NTMfw::InitError\n.*/nowhere/ntmfw.toml.*NTMFW_CONFIG\.\n.*/elsewhere/ntmfw.toml}, said)
  end

  def test_a_library_that_is_missing_is_said_so_with_what_to_do
    said, status = Processes.run('require "ntmfw"', { "NTMFW_LIBRARY" => "/nowhere/libntmfw.so.0" })
    refute_predicate status, :success?
    assert_match(/LoadError/, said)
    assert_match(%r{/nowhere/libntmfw.so.0: cannot open.*Install libntmfw.*NTMFW_LIBRARY}, said)
  end

  def test_a_library_for_another_machine_is_said_so
    Tempfile.create("libntmfw") do |library|
      bytes = File.binread(ENV.fetch("NTMFW_LIBRARY"), 4096)
      # EM_SPARC, in the place where an ELF file says whose code it is.
      bytes[18, 2] = [2].pack("S")
      library.write(bytes)
      library.close
      said, status = Processes.run('require "ntmfw"', { "NTMFW_LIBRARY" => library.path })
      refute_predicate status, :success?
      assert_match(/cannot be loaded.*LoadError/, said)
      assert_match(/Install libntmfw for #{RbConfig::CONFIG["host_cpu"]}/, said)
    end
  end
end
