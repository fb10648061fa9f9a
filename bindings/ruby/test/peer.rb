# frozen_string_literal: true

# The other end of the tests: a node with a server of each kind. It says "serving", and ends when its input does.

require "ntmfw"
require "openssl"
require "webrick"

# Runs the block for each connection to the port, on a thread of its own.
def serve(port)
  server = NTMTCPServer.new(port)
  Thread.new do
    loop do
      Thread.new(server.accept) do |client|
        yield client
      rescue SystemCallError, IOError
        # The tests break connections, too.
      ensure
        client.close
      end
    end
  end
end

held = []
serve(7) { |client| IO.copy_stream(client, client) }
serve(9) do |client|
  count = 0
  room = +""
  count += room.bytesize while client.read(65_536, room)
  client.puts count
end
serve(13) { |client| client.puts client.peeraddr.inspect }
# Never answers.
serve(5) { |client| held << client and sleep }
# Leaves something unread, which is a reset.
serve(6) { |client| client.wait_readable }
# A byte, and nothing more.
serve(4) { |client| client.write("x") and client.read }

datagrams = NTMUDPSocket.new
datagrams.bind(nil, 7)
Thread.new do
  loop do
    data, from = datagrams.recvmsg
    datagrams.send(data, 0, from.to_sockaddr)
  end
end

web = WEBrick::HTTPServer.new(DoNotListen: true, Logger: WEBrick::Log.new(File::NULL), AccessLog: [])
web.listeners << NTMTCPServer.new(80)
web.mount_proc("/") { |request, response| response.body = "#{request.request_method} #{request.path} #{request.body}" }
Thread.new { web.start }

key = OpenSSL::PKey::RSA.new(2048)
certificate = OpenSSL::X509::Certificate.new
certificate.subject = certificate.issuer = OpenSSL::X509::Name.parse("/CN=a.ntm.example")
certificate.public_key = key.public_key
certificate.serial = 1
certificate.version = 2
certificate.not_before = Time.now - 3600
certificate.not_after = Time.now + 3600
certificate.sign(key, OpenSSL::Digest.new("SHA256"))
context = OpenSSL::SSL::SSLContext.new
context.add_certificate(certificate, key)
secure = OpenSSL::SSL::SSLServer.new(NTMTCPServer.new(443), context)
Thread.new do
  loop do
    Thread.new(secure.accept) { |client| IO.copy_stream(client, client) and client.close }
  end
end

puts "serving"
$stdout.flush
$stdin.read
