use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::time::{Duration, Instant};

use ntm_proto::wire::stream::{Carried, parse};
use rustls::{ServerConfig, ServerConnection, StreamOwned};

use super::*;

/// No condition takes so long on any machine that works.
const PATIENCE: Duration = Duration::from_secs(30);
const ID: StreamId = StreamId(7);

fn begin(relay: SocketAddr) -> Arc<Post> {
    let post = Arc::new(Post::new().expect("two descriptors"));
    worker::start(post.clone()).expect("a thread");
    let from = "127.0.0.1:0".parse().expect("an address");
    post.write(Letter::Open(Opening { id: ID, from, device: None, relay }));
    post
}

/// The news, until `enough` says that they are.
fn news(post: &Post, enough: impl Fn(&[News]) -> bool) -> Vec<News> {
    let until = Instant::now() + PATIENCE;
    let mut all = Vec::new();
    while !enough(&all) {
        assert!(Instant::now() < until, "{all:?}");
        let mut entry = libc::pollfd { fd: post.news_came.as_raw_fd(), events: libc::POLLIN, revents: 0 };
        // SAFETY: one valid entry for the time of the call.
        unsafe { libc::poll(&raw mut entry, 1, 1_000) };
        all.extend(post.take_news());
    }
    all
}

/// A relay's end with a certificate that nobody vouches for.
fn accept(listener: &TcpListener) -> StreamOwned<ServerConnection, TcpStream> {
    let made = rcgen::generate_simple_self_signed(["relay".to_owned()]).expect("a certificate");
    let key = rustls::pki_types::PrivateKeyDer::try_from(made.signing_key.serialize_der()).expect("a key");
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .expect("TLS 1.3")
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .expect("they belong together");
    let (tcp, _) = listener.accept().expect("a connection");
    tcp.set_read_timeout(Some(PATIENCE)).expect("a socket");
    StreamOwned::new(ServerConnection::new(Arc::new(config)).expect("a server"), tcp)
}

fn listener() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("bound");
    (listener, address)
}

#[test]
fn frames_pass_both_ways_and_whole_however_they_are_cut() {
    let (listener, address) = listener();
    let post = begin(address);
    let mut relay = accept(&listener);
    let there: Vec<Vec<u8>> = (1..=100_u8).map(|number| Carried::Relay(&[number; 1_000]).emit()).collect();
    let sent = there.concat();
    for part in sent.chunks(777) {
        relay.write_all(part).and_then(|()| relay.flush()).expect("the node reads");
    }
    let frames = |news: &[News]| news.iter().filter(|one| matches!(one, News::Frame(..))).count();
    let came = news(&post, |news| frames(news) == there.len());
    assert!(matches!(came[0], News::Up(ID)), "first it is told that it is up");
    let came = came.into_iter().filter_map(|one| if let News::Frame(ID, frame) = one { Some(frame) } else { None });
    assert!(came.eq(there.iter().cloned()));
    for frame in &there {
        post.write(Letter::Send(ID, frame.clone()));
    }
    let mut back = vec![0; sent.len()];
    relay.read_exact(&mut back).expect("the node writes");
    assert_eq!(back, sent);
    post.write(Letter::Close(ID));
    assert_eq!(relay.read(&mut [0; 1]).expect("closed in order"), 0);
}

#[test]
fn what_cannot_be_connected_or_ends_or_speaks_otherwise_is_told() {
    let (listener, address) = listener();
    drop(listener);
    let post = begin(address);
    assert!(matches!(news(&post, |news| !news.is_empty())[..], [News::Down(ID)]), "nobody listens there");

    let (listener, address) = self::listener();
    let post = begin(address);
    drop(accept(&listener));
    assert!(matches!(news(&post, |news| !news.is_empty())[..], [News::Down(ID)]), "closed before TLS is up");

    for wrong in [&b"\0\0"[..], b"\xff\xff\0", b"GET / HTTP/1.1\r\n\r\n"] {
        let (listener, address) = self::listener();
        let post = begin(address);
        let mut relay = accept(&listener);
        relay.write_all(wrong).and_then(|()| relay.flush()).expect("the node reads");
        let came = news(&post, |news| news.iter().any(|one| matches!(one, News::Down(ID))));
        assert!(came.iter().all(|one| !matches!(one, News::Frame(..))), "no frames: {wrong:?}");
    }

    let (listener, address) = self::listener();
    let post = begin(address);
    let (mut plain, _) = listener.accept().expect("a connection");
    plain.write_all(b"HTTP/1.1 200 OK\r\n\r\n").expect("sent");
    assert!(matches!(news(&post, |news| !news.is_empty())[..], [News::Down(ID)]), "no TLS");
}

#[test]
fn a_relay_that_reads_nothing_costs_datagrams_and_no_memory() {
    let (listener, address) = listener();
    let post = begin(address);
    let mut relay = accept(&listener);
    relay.write_all(&Carried::Relay(b"up").emit()).and_then(|()| relay.flush()).expect("the node reads");
    news(&post, |news| news.len() == 2);
    let mut number = 0_u32;
    let frame = |number: u32| Carried::Relay(&[&number.to_be_bytes()[..], &[0; 1_400]].concat()).emit();
    // Far more than any kernel keeps for a connection that is not read.
    for _ in 0..40_000 {
        post.write(Letter::Send(ID, frame(number)));
        number += 1;
    }
    let last = number - 1;
    let (mut bytes, mut some, mut read) = (Vec::new(), [0; 65_536], 0);
    let mut newest = 0;
    while newest < last {
        // Whatever was lost was lost for good; what is said now gets through.
        number += 1;
        post.write(Letter::Send(ID, frame(number)));
        let length = relay.read(&mut some).expect("the node writes");
        bytes.extend_from_slice(&some[..length]);
        let mut taken = 0;
        while let Some((Carried::Relay(datagram), length)) = parse(&bytes[taken..]).expect("whole frames") {
            newest = u32::from_be_bytes(datagram[..4].try_into().expect("four bytes"));
            (read, taken) = (read + 1, taken + length);
        }
        bytes.drain(..taken);
    }
    assert!(read < number, "{read} of {number}");
}
