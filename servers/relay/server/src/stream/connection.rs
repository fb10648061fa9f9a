//! One connection: what comes out of it goes to the relay or to a direction server, what they say goes into it.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use ntm_proto::wire::outer::{self, OuterType};
use ntm_proto::wire::stream::{self, Carried, MAX_DATAGRAM};
use tokio::io::{AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadHalf, WriteHalf};
use tokio::net::{TcpStream, UdpSocket};
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_rustls::server::TlsStream;

use super::{MAX_WAITING, Streams, count};
use crate::workers::{Letter, Post, STREAMS};

/// A node says something at least every 15 s; one that says nothing for so long is gone.
const IDLE: Duration = Duration::from_secs(90);
/// A connection that takes nothing for so long is closed.
const STALLED: Duration = Duration::from_secs(10);
/// Bytes read from a connection at once.
const READ: usize = 16 * 1024;
/// Bytes of frames written to a connection at once.
const WRITE: usize = 16 * 1024;
/// Datagrams a second that a connection may send to direction servers, and how many at once.
const DIRECTOR_RATE: f64 = 50.0;
const DIRECTOR_BURST: f64 = 100.0;

/// Why a connection ends.
enum End {
    /// The node has closed it, or the network has.
    Gone,
    /// It sent what is no frame, or nothing, or took nothing.
    Misbehaved,
}

/// Carries datagrams until the connection ends.
pub(crate) async fn serve(stream: TlsStream<TcpStream>, address: SocketAddr, streams: &Arc<Streams>, post: &Post) {
    let (sender, receiver) = mpsc::channel(MAX_WAITING);
    streams.insert(address, sender.clone());
    let (reader, writer) = tokio::io::split(stream);
    let connection = Connection {
        address,
        streams,
        post,
        directors: Directors::default(),
        back: sender,
        allowance: DIRECTOR_BURST,
        filled: Instant::now(),
    };
    let end = tokio::select! {
        end = connection.read(reader) => end,
        end = write(writer, receiver) => end,
    };
    streams.remove(address);
    if matches!(end, End::Misbehaved) {
        count(&streams.counts.misbehaved);
    }
}

struct Connection<'a> {
    address: SocketAddr,
    streams: &'a Streams,
    post: &'a Post,
    directors: Directors,
    /// To the node.
    back: mpsc::Sender<Vec<u8>>,
    /// Datagrams that may go to direction servers now.
    allowance: f64,
    filled: Instant,
}

/// The sockets by which a connection speaks to direction servers: made when it first does.
#[derive(Default)]
struct Directors {
    v4: Option<UdpSocket>,
    v6: Option<UdpSocket>,
}

impl Connection<'_> {
    async fn read(mut self, mut reader: ReadHalf<TlsStream<TcpStream>>) -> End {
        let mut bytes = Vec::with_capacity(READ);
        let mut answer = [0; MAX_DATAGRAM];
        let mut heard = Instant::now();
        loop {
            let patience = IDLE.saturating_sub(heard.elapsed());
            tokio::select! {
                read = reader.read_buf(&mut bytes) => match read {
                    Ok(1..) => heard = Instant::now(),
                    _ => return End::Gone,
                },
                answered = self.directors.receive(&mut answer) => {
                    self.hand_back(answered, &answer);
                    continue;
                }
                () = tokio::time::sleep(patience) => return End::Misbehaved,
            }
            let mut taken = 0;
            loop {
                match stream::parse(&bytes[taken..]) {
                    Ok(Some((carried, length))) => {
                        self.take(carried).await;
                        taken += length;
                    }
                    Ok(None) => break,
                    Err(_) => return End::Misbehaved,
                }
            }
            bytes.drain(..taken);
            bytes.reserve(READ);
        }
    }

    async fn take(&mut self, carried: Carried<'_>) {
        match carried {
            Carried::Relay(datagram) => {
                count(&self.streams.counts.to_relay);
                let worker = self.post.owner(datagram).unwrap_or(0);
                self.post.send(worker, Letter { local: STREAMS, from: self.address, datagram: datagram.to_vec() });
            }
            Carried::Director(director, datagram) => self.say_to_director(director, datagram).await,
        }
    }

    /// Only what a node says to a direction server, only to those of this domain, and only so much.
    async fn say_to_director(&mut self, director: SocketAddr, datagram: &[u8]) {
        let counts = &self.streams.counts;
        let spoken = matches!(outer::peek(datagram), Ok(OuterType::HandshakeInit | OuterType::Data));
        if !spoken || !self.streams.is_director(director) {
            return count(&counts.forbidden);
        }
        let now = Instant::now();
        let grown = now.duration_since(self.filled).as_secs_f64() * DIRECTOR_RATE;
        (self.allowance, self.filled) = ((self.allowance + grown).min(DIRECTOR_BURST), now);
        if self.allowance < 1.0 {
            return count(&counts.rate_limited);
        }
        self.allowance -= 1.0;
        count(&counts.to_directors);
        // A datagram that cannot be sent is lost, as datagrams are.
        if let Ok(socket) = self.directors.socket(director).await {
            let _ = socket.try_send_to(datagram, director);
        }
    }

    /// Gives the node what a direction server says; nobody else is heard.
    fn hand_back(&self, answered: io::Result<(usize, SocketAddr)>, answer: &[u8]) {
        let Ok((length, from)) = answered else { return };
        let from = SocketAddr::new(from.ip(), from.port());
        if !self.streams.is_director(from) {
            return count(&self.streams.counts.forbidden);
        }
        count(&self.streams.counts.from_directors);
        if self.back.try_send(Carried::Director(from, &answer[..length]).emit()).is_err() {
            count(&self.streams.counts.dropped);
        }
    }
}

impl Directors {
    async fn socket(&mut self, director: SocketAddr) -> io::Result<&UdpSocket> {
        let (socket, any) = match director {
            SocketAddr::V4(_) => (&mut self.v4, SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0))),
            SocketAddr::V6(_) => (&mut self.v6, SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0))),
        };
        if socket.is_none() {
            *socket = Some(UdpSocket::bind(any).await?);
        }
        let socket = socket.as_ref().ok_or(io::ErrorKind::NotConnected)?;
        // A new socket is writable once the runtime has looked.
        timeout(Duration::from_secs(1), socket.writable()).await.map_err(io::Error::other)??;
        Ok(socket)
    }

    /// The next datagram of either socket; for ever none where there is no socket.
    async fn receive(&self, buffer: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
        match (&self.v4, &self.v6) {
            (None, None) => std::future::pending().await,
            (Some(socket), None) | (None, Some(socket)) => socket.recv_from(buffer).await,
            (Some(v4), Some(v6)) => {
                let readable = tokio::select! {
                    ready = v4.readable() => ready.map(|()| v4),
                    ready = v6.readable() => ready.map(|()| v6),
                }?;
                readable.try_recv_from(buffer)
            }
        }
    }
}

/// Writes what waits for the node, as much at once as there is.
async fn write(mut writer: WriteHalf<TlsStream<TcpStream>>, mut waiting: mpsc::Receiver<Vec<u8>>) -> End {
    let mut bytes = Vec::with_capacity(WRITE);
    while let Some(first) = waiting.recv().await {
        bytes.extend_from_slice(&first);
        while bytes.len() < WRITE
            && let Ok(next) = waiting.try_recv()
        {
            bytes.extend_from_slice(&next);
        }
        match timeout(STALLED, send(&mut writer, &bytes)).await {
            Ok(Ok(())) => bytes.clear(),
            Ok(Err(_)) => return End::Gone,
            Err(_) => return End::Misbehaved,
        }
    }
    End::Gone
}

async fn send(writer: &mut (impl AsyncWrite + Unpin), bytes: &[u8]) -> io::Result<()> {
    writer.write_all(bytes).await?;
    writer.flush().await
}
