//! The authoritative DNS server of the domain, over UDP and TCP.
//!
//! ```text
//! UDP:  rate of the source ── parse ── zone ── answer, at most three times the question ── or TC: ask over TCP
//! TCP:  a bounded number of connections, each with little time
//! ```
//!
//! Answers come from the directory and the certificates; no question reaches the thread that serves nodes.

mod limit;
mod zone;

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use ntm_server::Failure;
use ntm_server::listening::{cannot_listen, listen};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use limit::{Limiter, Verdict};
pub(crate) use zone::{Answered, Zone};

/// The longest question over UDP that is looked at.
const MAX_QUESTION: usize = 1_232;
/// TCP connections at a time …
const MAX_CONNECTIONS: usize = 256;
/// … of which from one source.
const MAX_CONNECTIONS_A_SOURCE: usize = 16;
/// Questions on one connection.
const MAX_QUESTIONS: usize = 128;
/// How long a connection may take for a question or an answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// What came of questions.
#[derive(Debug, Default)]
pub(crate) struct DnsStats {
    found: AtomicU64,
    no_data: AtomicU64,
    no_such_name: AtomicU64,
    refused: AtomicU64,
    malformed: AtomicU64,
    ignored: AtomicU64,
    truncated: AtomicU64,
    limited: AtomicU64,
    over_tcp: AtomicU64,
    connections_refused: AtomicU64,
}

impl DnsStats {
    pub(crate) fn read(&self) -> Vec<(&'static str, u64)> {
        let read = |value: &AtomicU64| value.load(Ordering::Relaxed);
        vec![
            ("found", read(&self.found)),
            ("no_data", read(&self.no_data)),
            ("no_such_name", read(&self.no_such_name)),
            ("refused", read(&self.refused)),
            ("malformed", read(&self.malformed)),
            ("ignored", read(&self.ignored)),
            ("truncated", read(&self.truncated)),
            ("rate_limited", read(&self.limited)),
            ("over_tcp", read(&self.over_tcp)),
            ("connections_refused", read(&self.connections_refused)),
        ]
    }

    fn count(&self, answered: Answered) {
        let counter = match answered {
            Answered::Found => &self.found,
            Answered::NoData => &self.no_data,
            Answered::NoSuchName => &self.no_such_name,
            Answered::Refused => &self.refused,
            Answered::Malformed => &self.malformed,
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }
}

/// Serves the zone at every address until the runtime ends. Gives the addresses, ports filled in.
pub(crate) async fn serve(
    addresses: &[SocketAddr],
    zone: Arc<Zone>,
    rate: u32,
    stats: Arc<DnsStats>,
) -> Result<Vec<SocketAddr>, Failure> {
    let limiter = Arc::new(Mutex::new(Limiter::new(rate)));
    let places = Arc::new(Places::new());
    let mut bound = Vec::new();
    for (&address, listener) in addresses.iter().zip(listen(addresses, "DNS")?) {
        // Where the system chose the port, it is the same one for both.
        let address = listener.local_addr().map_err(|why| cannot_listen(address, "DNS", &why))?;
        let socket = udp(address).map_err(|why| cannot_listen(address, "DNS", &why))?;
        bound.push(address);
        tokio::spawn(serve_udp(socket, zone.clone(), limiter.clone(), stats.clone()));
        tokio::spawn(serve_tcp(listener, zone.clone(), places.clone(), stats.clone()));
    }
    Ok(bound)
}

fn udp(address: SocketAddr) -> std::io::Result<UdpSocket> {
    let socket = socket2::Socket::new(
        socket2::Domain::for_address(address),
        socket2::Type::DGRAM,
        Some(socket2::Protocol::UDP),
    )?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    UdpSocket::from_std(socket.into())
}

async fn serve_udp(socket: UdpSocket, zone: Arc<Zone>, limiter: Arc<Mutex<Limiter>>, stats: Arc<DnsStats>) {
    let begin = Instant::now();
    let mut buffer = [0; MAX_QUESTION];
    loop {
        let Ok((length, from)) = socket.recv_from(&mut buffer).await else {
            // An error of an earlier answer, told late.
            tokio::task::yield_now().await;
            continue;
        };
        let question = &buffer[..length];
        if !Zone::is_question(question) {
            stats.ignored.fetch_add(1, Ordering::Relaxed);
            continue;
        }
        let verdict = limiter.lock().unwrap_or_else(PoisonError::into_inner).judge(begin.elapsed(), from.ip());
        let answer = match verdict {
            Verdict::Answer => {
                let (answer, answered, truncated) = zone.answer_udp(question);
                stats.count(answered);
                stats.truncated.fetch_add(u64::from(truncated), Ordering::Relaxed);
                answer
            }
            Verdict::Truncate | Verdict::Drop => {
                stats.limited.fetch_add(1, Ordering::Relaxed);
                match verdict {
                    Verdict::Truncate => zone.truncated(question),
                    Verdict::Answer | Verdict::Drop => continue,
                }
            }
        };
        // What the kernel has no room for the asker asks again.
        let _ = socket.try_send_to(&answer, from);
    }
}

async fn serve_tcp(listener: TcpListener, zone: Arc<Zone>, places: Arc<Places>, stats: Arc<DnsStats>) {
    loop {
        let Ok((stream, from)) = listener.accept().await else {
            tokio::time::sleep(Duration::from_millis(10)).await;
            continue;
        };
        let Some(place) = places.take(from.ip()) else {
            stats.connections_refused.fetch_add(1, Ordering::Relaxed);
            continue;
        };
        let (zone, stats) = (zone.clone(), stats.clone());
        tokio::spawn(async move {
            let _place = place;
            let _ = converse(stream, &zone, &stats).await;
        });
    }
}

async fn converse(mut stream: TcpStream, zone: &Zone, stats: &DnsStats) -> std::io::Result<()> {
    for _ in 0..MAX_QUESTIONS {
        let length = timeout(PATIENCE, stream.read_u16()).await??;
        let mut question = vec![0; usize::from(length)];
        timeout(PATIENCE, stream.read_exact(&mut question)).await??;
        if !Zone::is_question(&question) {
            stats.ignored.fetch_add(1, Ordering::Relaxed);
            return Ok(());
        }
        stats.over_tcp.fetch_add(1, Ordering::Relaxed);
        let (answer, answered) = zone.answer_tcp(&question);
        stats.count(answered);
        let length = u16::try_from(answer.len()).unwrap_or_default();
        let framed = [&length.to_be_bytes()[..], &answer[..usize::from(length)]].concat();
        timeout(PATIENCE, stream.write_all(&framed)).await??;
    }
    Ok(())
}

/// The connections there may be.
#[derive(Debug)]
struct Places {
    all: Arc<Semaphore>,
    by_source: Mutex<HashMap<IpAddr, usize>>,
}

struct Place {
    places: Arc<Places>,
    source: IpAddr,
    _one: OwnedSemaphorePermit,
}

impl Places {
    fn new() -> Self {
        Self { all: Arc::new(Semaphore::new(MAX_CONNECTIONS)), by_source: Mutex::default() }
    }

    fn take(self: &Arc<Self>, source: IpAddr) -> Option<Place> {
        let one = self.all.clone().try_acquire_owned().ok()?;
        let mut by_source = self.by_source.lock().unwrap_or_else(PoisonError::into_inner);
        let taken = by_source.entry(source).or_default();
        if *taken >= MAX_CONNECTIONS_A_SOURCE {
            return None;
        }
        *taken += 1;
        Some(Place { places: self.clone(), source, _one: one })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut by_source = self.places.by_source.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(taken) = by_source.get_mut(&self.source) {
            *taken -= 1;
            if *taken == 0 {
                by_source.remove(&self.source);
            }
        }
    }
}
