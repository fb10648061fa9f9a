//! One connection: TCP, then TLS, then frames. Nothing in it waits.

use std::collections::VecDeque;
use std::io::{self, ErrorKind, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::{AsRawFd, RawFd};
use std::sync::Arc;

use ntm_node::StreamId;
use ntm_proto::wire::stream;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, ClientConnection, DigitallySignedStruct, SignatureScheme};
use socket2::{Domain, Protocol, Socket, Type};

use super::{News, Opening, Post};
use crate::descriptors::Noted;

/// Frames that wait for a connection; what is more is lost, as datagrams are.
const MAX_WAITING: usize = 128;
/// Bytes of frames that become one TLS record.
const RECORD: usize = 16 * 1024;
/// Reads in one go; others have their turn then.
const READS: usize = 16;

#[derive(Debug)]
pub(super) struct Connection {
    pub(super) id: StreamId,
    _noted: Noted,
    tcp: TcpStream,
    tls: ClientConnection,
    phase: Phase,
    waiting: VecDeque<Vec<u8>>,
    /// What came and is no whole frame yet.
    received: Vec<u8>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Connecting,
    Handshaking,
    Up,
}

impl Connection {
    pub(super) fn open(opening: &Opening, config: &Arc<ClientConfig>) -> io::Result<Self> {
        let kind = Type::STREAM.cloexec().nonblocking();
        let socket = Socket::new(Domain::for_address(opening.relay), kind, Some(Protocol::TCP))?;
        let noted = Noted::new(&socket);
        // As for UDP: where it fails, routing decides as ever.
        let _ = socket.bind_device(opening.device.as_deref());
        socket.bind(&SocketAddr::new(opening.from.ip(), 0).into())?;
        socket.set_tcp_nodelay(true)?;
        match socket.connect(&opening.relay.into()) {
            Err(why) if why.raw_os_error() != Some(libc::EINPROGRESS) => return Err(why),
            _ => {}
        }
        // No name to ask for: relays are known by their addresses here.
        let name = ServerName::from(opening.relay.ip());
        let tls = ClientConnection::new(config.clone(), name).map_err(io::Error::other)?;
        Ok(Self {
            id: opening.id,
            _noted: noted,
            tcp: socket.into(),
            tls,
            phase: Phase::Connecting,
            waiting: VecDeque::new(),
            received: Vec::new(),
        })
    }

    /// What it waits for.
    pub(super) fn interest(&self) -> libc::c_short {
        let writes = self.phase == Phase::Connecting || self.tls.wants_write();
        if writes { libc::POLLIN | libc::POLLOUT } else { libc::POLLIN }
    }

    pub(super) fn send(&mut self, frame: Vec<u8>) {
        if self.waiting.len() < MAX_WAITING {
            self.waiting.push_back(frame);
        }
    }

    /// Does what can be done now. An error means that the connection is over.
    pub(super) fn advance(&mut self, post: &Post) -> io::Result<()> {
        if self.phase == Phase::Connecting {
            if let Some(why) = self.tcp.take_error()? {
                return Err(why);
            }
            if self.tcp.peer_addr().is_err() {
                return Ok(());
            }
            self.phase = Phase::Handshaking;
        }
        self.read(post)?;
        if self.phase == Phase::Handshaking && !self.tls.is_handshaking() {
            self.phase = Phase::Up;
            post.tell(News::Up(self.id));
        }
        self.write()
    }

    fn read(&mut self, post: &Post) -> io::Result<()> {
        for _ in 0..READS {
            match self.tls.read_tls(&mut self.tcp) {
                Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
                Ok(_) => {}
                Err(why) if why.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(why) => return Err(why),
            }
            self.tls.process_new_packets().map_err(io::Error::other)?;
            self.take_frames(post)?;
        }
        Ok(())
    }

    fn take_frames(&mut self, post: &Post) -> io::Result<()> {
        let mut some = [0; 4_096];
        loop {
            match self.tls.reader().read(&mut some) {
                Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
                Ok(length) => self.received.extend_from_slice(&some[..length]),
                Err(why) if why.kind() == ErrorKind::WouldBlock => break,
                Err(why) => return Err(why),
            }
        }
        let mut taken = 0;
        while let Some((_, length)) = stream::parse(&self.received[taken..]).map_err(|_| ErrorKind::InvalidData)? {
            post.tell(News::Frame(self.id, self.received[taken..taken + length].to_vec()));
            taken += length;
        }
        self.received.drain(..taken);
        Ok(())
    }

    fn write(&mut self) -> io::Result<()> {
        loop {
            while self.tls.wants_write() {
                match self.tls.write_tls(&mut self.tcp) {
                    Ok(_) => {}
                    Err(why) if why.kind() == ErrorKind::WouldBlock => return Ok(()),
                    Err(why) => return Err(why),
                }
            }
            if self.phase != Phase::Up || self.waiting.is_empty() {
                return Ok(());
            }
            let mut record = Vec::with_capacity(RECORD);
            while self.waiting.front().is_some_and(|frame| record.len() + frame.len() <= RECORD) {
                record.extend_from_slice(&self.waiting.pop_front().unwrap_or_default());
            }
            self.tls.writer().write_all(&record)?;
        }
    }

    /// What was said goes out as far as it can at once; then the other end is told that this was all.
    pub(super) fn close(mut self) {
        let _ = self.write();
        self.tls.send_close_notify();
        let _ = self.write();
    }
}

impl AsRawFd for Connection {
    fn as_raw_fd(&self) -> RawFd {
        self.tcp.as_raw_fd()
    }
}

/// TLS as it is spoken to relays.
pub(super) fn tls() -> Result<Arc<ClientConfig>, rustls::Error> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_protocol_versions(&[&rustls::version::TLS13])?;
    let config = builder.dangerous().with_custom_certificate_verifier(Arc::new(AnyCertificate)).with_no_client_auth();
    Ok(Arc::new(config))
}

/// TLS proves nothing here: the sessions inside prove relay, coordinator and nodes to each other, by keys that no
/// certificate of the web vouches for.
#[derive(Debug)]
struct AnyCertificate;

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        rustls::crypto::aws_lc_rs::default_provider().signature_verification_algorithms.supported_schemes()
    }
}
