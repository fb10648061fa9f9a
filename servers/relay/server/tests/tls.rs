//! Nodes whose network lets no UDP through, and those who would make an open proxy of the relay.

mod common;

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::sync::Arc;
use std::time::{Duration, Instant};

use common::{Dc, Node, PATIENCE, Rs, body, until};
use ntm_proto::crypto::default_provider;
use ntm_proto::rng::Rng;
use ntm_proto::wire::message::Side;
use ntm_proto::wire::outer::{self, OuterType, PUNCH};
use ntm_proto::wire::stream::{Carried, parse};
use ntm_relay::testing::{Client, inner};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, ServerName};

/// A node's end of a TLS connection.
struct Stream {
    tls: StreamOwned<ClientConnection, TcpStream>,
    bytes: Vec<u8>,
    local: SocketAddr,
}

impl Stream {
    fn open(rs: &Rs) -> Self {
        let certificate = CertificateDer::from_pem_file(rs.directory.join("tls.crt")).expect("`init` has made it");
        let mut roots = RootCertStore::empty();
        roots.add(certificate).expect("a certificate");
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])
            .expect("TLS 1.3")
            .with_root_certificates(roots)
            .with_no_client_auth();
        let name = ServerName::try_from("rs1.ntm.example").expect("a name");
        let connection = ClientConnection::new(Arc::new(config), name).expect("a client");
        let tcp = TcpStream::connect(rs.tls).expect("the relay listens");
        tcp.set_read_timeout(Some(Duration::from_millis(20))).expect("a socket");
        tcp.set_write_timeout(Some(PATIENCE)).expect("a socket");
        let local = tcp.local_addr().expect("connected");
        let mut tls = StreamOwned::new(connection, tcp);
        until("TLS is up", || {
            let _ = tls.conn.complete_io(&mut tls.sock);
            !tls.conn.is_handshaking()
        });
        Self { tls, bytes: Vec::new(), local }
    }

    fn send(&mut self, carried: Carried<'_>) {
        self.tls.write_all(&carried.emit()).and_then(|()| self.tls.flush()).expect("the relay takes it");
    }

    /// Whatever has come within a moment. False where the relay has closed.
    fn listen(&mut self, mut take: impl FnMut(Carried<'_>)) -> bool {
        let mut some = [0; 4_096];
        match self.tls.read(&mut some) {
            Ok(0) => return false,
            Ok(length) => self.bytes.extend(&some[..length]),
            Err(why) if matches!(why.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
            Err(_) => return false,
        }
        while let Ok(Some((carried, length))) = parse(&self.bytes) {
            take(carried);
            self.bytes.drain(..length);
        }
        true
    }

    fn is_closed(&mut self) -> bool {
        !self.listen(|_| {})
    }
}

/// A node whose way to the relay is a stream.
struct TlsNode {
    client: Client,
    stream: Stream,
}

impl TlsNode {
    fn new(number: u64, side: Side, rs: &Rs) -> Self {
        let stream = Stream::open(rs);
        let mut client = Client::new(&body(number), side, &stream.local.to_string());
        client.relay = rs.tls;
        client.sequence = 1_000;
        Self { client, stream }
    }

    fn say(&mut self, datagram: &[u8]) {
        self.stream.send(Carried::Relay(datagram));
    }

    fn listen(&mut self) {
        let from = self.client.relay;
        let client = &mut self.client;
        self.stream.listen(|carried| {
            if let Carried::Relay(datagram) = carried {
                client.handle(from, datagram);
            }
        });
    }

    fn bind(&mut self) {
        let bind = self.client.bind(None);
        self.say(&bind);
        until("the bind is answered", || {
            self.listen();
            self.client.index.is_some()
        });
        let punch = self.client.relayed(&PUNCH);
        self.say(&punch);
    }
}

#[test]
fn a_node_without_udp_talks_to_one_with_it_and_to_one_without() {
    let mut rs = Rs::prepare(&[]);
    rs.configure(&["workers = 2"]);
    rs.run();
    for (number, there) in (0..).zip([rs.udp4, rs.udp6]) {
        let mut a = TlsNode::new(number, Side::Initiator, &rs);
        a.bind();
        assert_eq!(a.client.observed, Some(a.stream.local), "the relay tells where the stream comes from");
        let mut b = Node::new(&body(number), Side::Responder, there);
        b.bind();
        let sent = a.client.relayed(&inner(1, 1_200));
        until("it reaches the node with UDP", || {
            a.say(&sent);
            b.listen();
            b.client.received.contains(&inner(1, 1_200))
        });
        let sent = b.client.relayed(&inner(2, 1_200));
        until("and back", || {
            b.send(&sent);
            a.listen();
            a.client.received.contains(&inner(2, 1_200))
        });
    }
    let (mut a, mut b) = (TlsNode::new(7, Side::Initiator, &rs), TlsNode::new(7, Side::Responder, &rs));
    a.bind();
    b.bind();
    let sent = a.client.relayed(&inner(3, 900));
    until("it reaches the other node without UDP", || {
        a.say(&sent);
        b.listen();
        b.client.received.contains(&inner(3, 900))
    });
}

#[test]
fn a_node_without_udp_reaches_the_direction_server() {
    let dc = Dc::start();
    let rs = Rs::start(&[&dc]);
    let mut stream = Stream::open(&rs);
    // A handshake as a relay makes it, which is the one that this stand-in answers.
    let relay = ntm_relay::testing::config();
    let mut session =
        ntm_proto::session::Session::<{ ntm_proto::session::SIGNAL_WINDOW_WORDS }>::new(default_provider());
    let hello = ntm_proto::wire::message::ServerHello { cert: relay.cert.clone(), sequence: 1 };
    let message = ntm_proto::wire::message::Message::ServerHello(hello);
    let envelope = ntm_proto::wire::message::Envelope { transaction: ntm_proto::id::TransactionId(0), message };
    let psk = dc.server.lock().expect("no panic").psk.clone();
    let init = session.begin(
        dc.clock.now(),
        &mut Rng::from_seed([1; 32]),
        &relay.noise_key,
        &dc.noise_key,
        &psk,
        ntm_proto::id::SessionIndex(5),
        &envelope.emit(),
    );
    stream.send(Carried::Director(dc.address, &init));
    let mut answered = false;
    until("the answer comes back through the stream", || {
        stream.listen(|carried| {
            if let Carried::Director(from, datagram) = carried {
                answered |= from == dc.address && outer::peek(datagram) == Ok(OuterType::HandshakeResponse);
            }
        });
        answered
    });
}

#[test]
fn the_relay_is_no_proxy_to_anybody_else() {
    let dc = Dc::start();
    let rs = Rs::start(&[&dc]);
    let victim = UdpSocket::bind("127.0.0.1:0").expect("a socket");
    victim.set_read_timeout(Some(Duration::from_millis(50))).expect("a socket");
    let victim_at = victim.local_addr().expect("bound");
    let mut stream = Stream::open(&rs);
    let data = inner(1, 100);
    stream.send(Carried::Director(victim_at, &data));
    until("an address that is no direction server's is refused", || rs.metric("tls_forbidden_total") == 1);
    // Nor may a stream say to a direction server what nodes have no reason to say.
    stream.send(Carried::Director(dc.address, &PUNCH));
    stream.send(Carried::Director(dc.address, &outer::emit_relay_ping(1)));
    stream.send(Carried::Director(dc.address, b"GET / HTTP/1.1"));
    until("datagrams of other kinds are refused", || rs.metric("tls_forbidden_total") == 4);
    // Nor as much as it likes.
    let began = Instant::now();
    until("it has its rate", || {
        (0..100).for_each(|_| stream.send(Carried::Director(dc.address, &data)));
        rs.metric("tls_rate_limited_total") > 300
    });
    let passed = rs.metric("tls_to_directors_total");
    assert!(passed as f64 <= 101.0 + 50.0 * began.elapsed().as_secs_f64(), "a hundred at once, fifty a second");
    assert!(victim.recv_from(&mut [0; 2_048]).is_err(), "nothing has come to the third party");
}

#[test]
fn what_is_no_frame_ends_the_connection_and_nothing_else() {
    let rs = Rs::start(&[]);
    for (number, wrong) in (1..).zip([&[0_u8, 0][..], &[0xff, 0xff, 0, 1], &[0, 2, 9, 9], b"GET / HTTP/1.1\r\n\r\n"]) {
        let mut stream = Stream::open(&rs);
        stream.tls.write_all(wrong).and_then(|()| stream.tls.flush()).expect("sent");
        until("it is closed", || stream.is_closed());
        until("it is counted", || rs.metric("tls_misbehaved_total") == number);
    }
    let mut plain = TcpStream::connect(rs.tls).expect("the relay listens");
    plain.write_all(b"GET / HTTP/1.1\r\n\r\n").expect("sent");
    until("without TLS nobody is let in", || rs.metric("tls_handshakes_failed_total") == 1);
    until("all are gone", || rs.metric("tls_connections") == 0);
    let mut node = TlsNode::new(1, Side::Initiator, &rs);
    node.bind();
}

#[test]
fn a_source_has_only_so_many_connections_and_one_that_says_nothing_is_not_kept() {
    let rs = Rs::start(&[]);
    let silent: Vec<_> = (0..80).map(|_| TcpStream::connect(rs.tls).expect("the kernel takes it")).collect();
    until("those above the bound are refused, and those that do not finish their handshake closed", || {
        rs.metric("tls_refused_total") + rs.metric("tls_handshakes_failed_total") == 80
    });
    assert!(rs.metric("tls_refused_total") > 0 && rs.metric("tls_handshakes_failed_total") >= 64);
    let mut node = TlsNode::new(1, Side::Initiator, &rs);
    node.bind();
    drop(silent);
}

#[test]
fn a_node_that_reads_nothing_loses_datagrams_and_holds_up_nobody() {
    let rs = Rs::start(&[]);
    let mut slow = TlsNode::new(1, Side::Responder, &rs);
    slow.bind();
    let mut fast = Node::new(&body(1), Side::Initiator, rs.udp4);
    fast.bind();
    let datagram = fast.client.relayed(&inner(1, 1_200));
    until("what finds no room is dropped", || {
        (0..200).for_each(|_| fast.send(&datagram));
        rs.metric("tls_dropped_total") > 1_000
    });
    let (mut a, mut b) = (TlsNode::new(2, Side::Initiator, &rs), TlsNode::new(2, Side::Responder, &rs));
    a.bind();
    b.bind();
    let sent = a.client.relayed(&inner(3, 900));
    until("others go on", || {
        a.say(&sent);
        b.listen();
        b.client.received.contains(&inner(3, 900))
    });
    until("a connection that takes nothing is closed in the end", || {
        (0..200).for_each(|_| fast.send(&datagram));
        rs.metric("tls_misbehaved_total") == 1
    });
}
