# frozen_string_literal: true

require_relative "helper"
require "ntmfw/net_http"
require "openssl"

# Ruby's own clients and servers; WEBrick and the server of OpenSSL are in peer.rb.
class LibrariesTest < NTMTest
  def test_net_http_asks_webrick
    assert_equal "GET /page ", Net::HTTP.get(PEER, "/page")
    answer = Net::HTTP.post(URI("http://#{PEER}/form"), "x" * 100_000, "Content-Type" => "text/plain")
    assert_equal "POST /form #{"x" * 100_000}", answer.body
  end

  def test_net_http_keeps_a_connection
    Net::HTTP.start(PEER, 80) do |http|
      3.times { |number| assert_equal "GET /#{number} ", http.get("/#{number}").body }
    end
  end

  def test_openssl_speaks_over_it
    socket = NTMTCPSocket.new(PEER, 443)
    context = OpenSSL::SSL::SSLContext.new
    context.verify_mode = OpenSSL::SSL::VERIFY_NONE
    secure = OpenSSL::SSL::SSLSocket.new(socket, context)
    secure.sync_close = true
    secure.connect
    assert_equal "/CN=#{PEER}", secure.peer_cert.subject.to_s
    sent = Random.new(3).bytes(1 << 20)
    writer = Thread.new { secure.write(sent) }
    assert_equal sent, secure.read(sent.bytesize)
    writer.join
    secure.close
    assert_predicate socket, :closed?
  end

  def test_a_ractor_has_sockets_of_its_own
    said, status = Processes.run(<<~RUBY)
      Warning[:experimental] = false
      require "ntmfw"
      NTMfw.init
      answers = 2.times.map do |number|
        Ractor.new(number) do |number|
          NTMTCPSocket.open("#{PEER}", 7) { |socket| socket.puts(number) || socket.gets }
        end
      end
      puts answers.map(&:take)
    RUBY
    assert_predicate status, :success?, said
    assert_equal "0\n1\n", said
  end
end
