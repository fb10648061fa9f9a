//! `getsockopt` and `setsockopt`.

use std::mem::size_of;
use std::os::fd::RawFd;
use std::time::Duration;

use libc::c_int;
use smoltcp::socket::tcp::State;

use crate::errno::{Errno, Result};
use crate::socket::state::{Kind, Socket};
use crate::stack::tcp::TcpOptions;

/// Linux doubles what is asked for, for its own bookkeeping, and tells the double. So do we.
const SMALLEST_BUFFER: usize = 2_048;
const LARGEST_BUFFER: usize = 16 << 20;
const DEFAULT_HOPS: u8 = 64;
/// Linux's defaults of `tcp(7)`.
const KEEP_IDLE: c_int = 7_200;
const KEEP_INTERVAL: c_int = 75;
const KEEP_COUNT: c_int = 9;

/// What a socket was told.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    pub(crate) reuse_address: bool,
    pub(crate) reuse_port: bool,
    pub(crate) only_v6: bool,
    pub(crate) receive_timeout: Option<Duration>,
    pub(crate) send_timeout: Option<Duration>,
    pub(crate) linger: Option<Duration>,
    receive_buffer: Option<usize>,
    send_buffer: Option<usize>,
    keep_alive: bool,
    keep_idle: c_int,
    keep_interval: c_int,
    keep_count: c_int,
    no_delay: bool,
    cork: bool,
    user_timeout: c_int,
    broadcast: bool,
    tos: c_int,
    hops: c_int,
    hops6: c_int,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            reuse_address: false,
            reuse_port: false,
            only_v6: false,
            receive_timeout: None,
            send_timeout: None,
            linger: None,
            receive_buffer: None,
            send_buffer: None,
            keep_alive: false,
            keep_idle: KEEP_IDLE,
            keep_interval: KEEP_INTERVAL,
            keep_count: KEEP_COUNT,
            no_delay: false,
            cork: false,
            user_timeout: 0,
            broadcast: false,
            tos: 0,
            hops: -1,
            hops6: -1,
        }
    }
}

impl Options {
    /// What a TCP connection must know of it.
    pub(crate) fn tcp(&self) -> TcpOptions {
        let usual = TcpOptions::default();
        TcpOptions {
            receive_buffer: self.receive_buffer.unwrap_or(usual.receive_buffer),
            send_buffer: self.send_buffer.unwrap_or(usual.send_buffer),
            no_delay: self.no_delay && !self.cork,
            keep_alive: self.keep_alive.then(|| seconds(self.keep_idle)),
            user_timeout: (self.user_timeout > 0)
                .then(|| Duration::from_millis(u64::try_from(self.user_timeout).unwrap_or_default())),
        }
    }

    /// What a connection has from the port that accepted it.
    pub(crate) fn inherited(&self) -> Self {
        Self { receive_timeout: None, send_timeout: None, ..self.clone() }
    }

    pub(crate) fn hops(&self) -> u8 {
        u8::try_from(self.hops).unwrap_or(DEFAULT_HOPS)
    }

    /// Tells a kernel socket the same.
    pub(crate) fn apply_to_kernel(&self, fd: RawFd, family: c_int) {
        let set = |level: c_int, name: c_int, value: c_int| {
            // SAFETY: an int is read, of the size said. What the kernel refuses it would have refused before.
            unsafe {
                let size = size_of::<c_int>() as libc::socklen_t;
                libc::setsockopt(fd, level, name, (&raw const value).cast(), size);
            }
        };
        let socket = [
            (libc::SO_REUSEADDR, self.reuse_address),
            (libc::SO_REUSEPORT, self.reuse_port),
            (libc::SO_KEEPALIVE, self.keep_alive),
            (libc::SO_BROADCAST, self.broadcast),
        ];
        socket.into_iter().filter(|(_, on)| *on).for_each(|(name, _)| set(libc::SOL_SOCKET, name, 1));
        if self.no_delay {
            set(libc::IPPROTO_TCP, libc::TCP_NODELAY, 1);
        }
        if family == libc::AF_INET6 {
            set(libc::IPPROTO_IPV6, libc::IPV6_V6ONLY, c_int::from(self.only_v6));
        }
        for (name, size) in [(libc::SO_RCVBUF, self.receive_buffer), (libc::SO_SNDBUF, self.send_buffer)] {
            if let Some(size) = size.and_then(|size| c_int::try_from(size).ok()) {
                set(libc::SOL_SOCKET, name, size);
            }
        }
        for (name, time) in [(libc::SO_RCVTIMEO, self.receive_timeout), (libc::SO_SNDTIMEO, self.send_timeout)] {
            if let Some(time) = time {
                let time = timeval(time);
                // SAFETY: a timeval is read, of the size said.
                unsafe {
                    let size = size_of::<libc::timeval>() as libc::socklen_t;
                    libc::setsockopt(fd, libc::SOL_SOCKET, name, (&raw const time).cast(), size);
                }
            }
        }
    }
}

/// The value of an option, as the bytes that the application reads.
pub(crate) fn get(socket: &Socket, level: c_int, name: c_int) -> Result<Vec<u8>> {
    let options = socket.options.lock();
    let int = |value: c_int| Ok(value.to_ne_bytes().to_vec());
    let flag = |on: bool| int(c_int::from(on));
    let size = |bytes: usize| int(c_int::try_from(bytes * 2).unwrap_or(c_int::MAX));
    let usual = TcpOptions::default();
    match (level, name) {
        (libc::SOL_SOCKET, libc::SO_TYPE) => int(match socket.kind {
            Kind::Stream => libc::SOCK_STREAM,
            Kind::Datagram => libc::SOCK_DGRAM,
        }),
        (libc::SOL_SOCKET, libc::SO_DOMAIN) => int(socket.family),
        (libc::SOL_SOCKET, libc::SO_PROTOCOL) => int(match socket.kind {
            Kind::Stream => libc::IPPROTO_TCP,
            Kind::Datagram => libc::IPPROTO_UDP,
        }),
        (libc::SOL_SOCKET, libc::SO_ERROR) => {
            drop(options);
            int(take_error(socket).map_or(0, |error| error.0))
        }
        (libc::SOL_SOCKET, libc::SO_ACCEPTCONN) => flag(socket.listener().is_some()),
        (libc::SOL_SOCKET, libc::SO_REUSEADDR) => flag(options.reuse_address),
        (libc::SOL_SOCKET, libc::SO_REUSEPORT) => flag(options.reuse_port),
        (libc::SOL_SOCKET, libc::SO_KEEPALIVE) => flag(options.keep_alive),
        (libc::SOL_SOCKET, libc::SO_BROADCAST) => flag(options.broadcast),
        (libc::SOL_SOCKET, libc::SO_RCVBUF) => size(options.receive_buffer.unwrap_or(usual.receive_buffer)),
        (libc::SOL_SOCKET, libc::SO_SNDBUF) => size(options.send_buffer.unwrap_or(usual.send_buffer)),
        (libc::SOL_SOCKET, libc::SO_RCVTIMEO) => Ok(time_bytes(options.receive_timeout)),
        (libc::SOL_SOCKET, libc::SO_SNDTIMEO) => Ok(time_bytes(options.send_timeout)),
        (libc::SOL_SOCKET, libc::SO_LINGER) => {
            let on = c_int::from(options.linger.is_some());
            let time = options.linger.map_or(0, |time| c_int::try_from(time.as_secs()).unwrap_or(c_int::MAX));
            Ok([on.to_ne_bytes(), time.to_ne_bytes()].concat())
        }
        (libc::IPPROTO_TCP, _) if socket.kind != Kind::Stream => Err(Errno(libc::EOPNOTSUPP)),
        (libc::IPPROTO_TCP, libc::TCP_NODELAY) => flag(options.no_delay),
        (libc::IPPROTO_TCP, libc::TCP_CORK) => flag(options.cork),
        (libc::IPPROTO_TCP, libc::TCP_KEEPIDLE) => int(options.keep_idle),
        (libc::IPPROTO_TCP, libc::TCP_KEEPINTVL) => int(options.keep_interval),
        (libc::IPPROTO_TCP, libc::TCP_KEEPCNT) => int(options.keep_count),
        (libc::IPPROTO_TCP, libc::TCP_USER_TIMEOUT) => int(options.user_timeout),
        (libc::IPPROTO_TCP, libc::TCP_MAXSEG) => {
            int(c_int::try_from(ntm_node::VIRTUAL_MTU - if socket.family == libc::AF_INET6 { 60 } else { 40 })
                .unwrap_or_default())
        }
        (libc::IPPROTO_TCP, libc::TCP_QUICKACK) => flag(true),
        (libc::IPPROTO_TCP, libc::TCP_CONGESTION) => Ok(b"none\0".to_vec()),
        (libc::IPPROTO_TCP, libc::TCP_INFO) => Ok(tcp_info(socket)),
        (libc::IPPROTO_IP, libc::IP_TOS) => int(options.tos),
        (libc::IPPROTO_IP, libc::IP_TTL) => {
            int(if options.hops < 0 { c_int::from(DEFAULT_HOPS) } else { options.hops })
        }
        (libc::IPPROTO_IP, libc::IP_OPTIONS) => Ok(Vec::new()),
        (libc::IPPROTO_IPV6, libc::IPV6_V6ONLY) if socket.family == libc::AF_INET6 => flag(options.only_v6),
        (libc::IPPROTO_IPV6, libc::IPV6_UNICAST_HOPS) if socket.family == libc::AF_INET6 => {
            int(if options.hops6 < 0 { c_int::from(DEFAULT_HOPS) } else { options.hops6 })
        }
        (libc::IPPROTO_IPV6, libc::IPV6_TCLASS) if socket.family == libc::AF_INET6 => int(options.tos),
        _ => Err(Errno(libc::ENOPROTOOPT)),
    }
}

/// Sets an option to what stands in `value`.
pub(crate) fn set(socket: &Socket, level: c_int, name: c_int, value: &[u8]) -> Result<()> {
    let mut options = socket.options.lock();
    let int = || int_of(value, 0);
    let flag = || int_of(value, 0).map(|value| value != 0);
    let positive = || int_of(value, 0).and_then(|value| if value > 0 { Ok(value) } else { Err(Errno(libc::EINVAL)) });
    let buffer = || {
        let asked = usize::try_from(int_of(value, 0)?).unwrap_or(LARGEST_BUFFER);
        Ok::<_, Errno>(asked.clamp(SMALLEST_BUFFER, LARGEST_BUFFER))
    };
    match (level, name) {
        (libc::SOL_SOCKET, libc::SO_REUSEADDR) => options.reuse_address = flag()?,
        (libc::SOL_SOCKET, libc::SO_REUSEPORT) => options.reuse_port = flag()?,
        (libc::SOL_SOCKET, libc::SO_KEEPALIVE) => options.keep_alive = flag()?,
        (libc::SOL_SOCKET, libc::SO_BROADCAST) => options.broadcast = flag()?,
        (libc::SOL_SOCKET, libc::SO_RCVBUF) => options.receive_buffer = Some(buffer()?),
        (libc::SOL_SOCKET, libc::SO_SNDBUF) => options.send_buffer = Some(buffer()?),
        (libc::SOL_SOCKET, libc::SO_RCVTIMEO) => options.receive_timeout = time_of(value)?,
        (libc::SOL_SOCKET, libc::SO_SNDTIMEO) => options.send_timeout = time_of(value)?,
        (libc::SOL_SOCKET, libc::SO_LINGER) => {
            let (on, time) = (int_of(value, 0)?, int_of(value, 4)?);
            options.linger = (on != 0).then(|| seconds(time));
        }
        (libc::SOL_SOCKET, libc::SO_PRIORITY | libc::SO_DONTROUTE | libc::SO_OOBINLINE | libc::SO_TIMESTAMP) => {
            int()?;
        }
        (libc::IPPROTO_TCP, _) if socket.kind != Kind::Stream => return Err(Errno(libc::EOPNOTSUPP)),
        (libc::IPPROTO_TCP, libc::TCP_NODELAY) => options.no_delay = flag()?,
        (libc::IPPROTO_TCP, libc::TCP_CORK) => options.cork = flag()?,
        (libc::IPPROTO_TCP, libc::TCP_KEEPIDLE) => options.keep_idle = positive()?,
        (libc::IPPROTO_TCP, libc::TCP_KEEPINTVL) => options.keep_interval = positive()?,
        (libc::IPPROTO_TCP, libc::TCP_KEEPCNT) => options.keep_count = positive()?,
        (libc::IPPROTO_TCP, libc::TCP_USER_TIMEOUT) => options.user_timeout = int()?.max(0),
        (libc::IPPROTO_TCP, libc::TCP_QUICKACK | libc::TCP_MAXSEG | libc::TCP_DEFER_ACCEPT | libc::TCP_FASTOPEN) => {
            int()?;
        }
        (libc::IPPROTO_TCP, libc::TCP_CONGESTION) => {
            let name = value.split(|byte| *byte == 0).next().unwrap_or_default();
            if name != b"none" {
                return Err(Errno(libc::ENOENT));
            }
        }
        (libc::IPPROTO_IP, libc::IP_TOS) => options.tos = int()? & 0xff,
        (libc::IPPROTO_IP, libc::IP_TTL) => options.hops = hops(int()?)?,
        (libc::IPPROTO_IP, libc::IP_RECVERR | libc::IP_MTU_DISCOVER) => {
            int()?;
        }
        (libc::IPPROTO_IPV6, _) if socket.family != libc::AF_INET6 => return Err(Errno(libc::ENOPROTOOPT)),
        (libc::IPPROTO_IPV6, libc::IPV6_V6ONLY) => options.only_v6 = flag()?,
        (libc::IPPROTO_IPV6, libc::IPV6_UNICAST_HOPS) => options.hops6 = hops(int()?)?,
        (libc::IPPROTO_IPV6, libc::IPV6_TCLASS) => options.tos = int()? & 0xff,
        (libc::IPPROTO_IPV6, libc::IPV6_RECVERR | libc::IPV6_MTU_DISCOVER) => {
            int()?;
        }
        _ => return Err(Errno(libc::ENOPROTOOPT)),
    }
    let tcp = options.tcp();
    let receive = options.receive_buffer;
    drop(options);
    if let Some(connection) = socket.connection() {
        connection.set_options(&socket.core, tcp);
    }
    if let Some(listener) = socket.listener() {
        listener.set_options(tcp);
    }
    if let (Some((endpoint, _)), Some(bytes)) = (socket.endpoint(), receive) {
        endpoint.set_limit(bytes);
    }
    Ok(())
}

/// The error that waits to be told.
pub(crate) fn take_error(socket: &Socket) -> Option<Errno> {
    if let Some(connection) = socket.connection() {
        return connection.take_error();
    }
    socket.endpoint().and_then(|(endpoint, _)| endpoint.take_error())
}

/// The beginning of `struct tcp_info`: the state; the rest is not known and zero.
fn tcp_info(socket: &Socket) -> Vec<u8> {
    let mut info = vec![0; size_of::<libc::tcp_info>()];
    let state = match socket.connection() {
        Some(connection) => linux_state(connection.state()),
        None if socket.listener().is_some() => 10,
        None => 7,
    };
    info[0] = state;
    info
}

/// The numbers of `<netinet/tcp.h>`.
fn linux_state(state: State) -> u8 {
    match state {
        State::Established => 1,
        State::SynSent => 2,
        State::SynReceived => 3,
        State::FinWait1 => 4,
        State::FinWait2 => 5,
        State::TimeWait => 6,
        State::Closed => 7,
        State::CloseWait => 8,
        State::LastAck => 9,
        State::Listen => 10,
        State::Closing => 11,
    }
}

fn int_of(value: &[u8], at: usize) -> Result<c_int> {
    let bytes = value.get(at..at + size_of::<c_int>()).ok_or(Errno(libc::EINVAL))?;
    Ok(c_int::from_ne_bytes(bytes.try_into().map_err(|_| Errno(libc::EINVAL))?))
}

fn hops(value: c_int) -> Result<c_int> {
    if value == -1 || (1..=255).contains(&value) { Ok(value) } else { Err(Errno(libc::EINVAL)) }
}

fn seconds(value: c_int) -> Duration {
    Duration::from_secs(u64::try_from(value).unwrap_or_default())
}

fn timeval(time: Duration) -> libc::timeval {
    libc::timeval {
        tv_sec: libc::time_t::try_from(time.as_secs()).unwrap_or(libc::time_t::MAX),
        tv_usec: libc::suseconds_t::from(time.subsec_micros().cast_signed()),
    }
}

fn time_bytes(time: Option<Duration>) -> Vec<u8> {
    let time = timeval(time.unwrap_or_default());
    [time.tv_sec.to_ne_bytes(), time.tv_usec.to_ne_bytes()].concat()
}

/// No time is for ever.
fn time_of(value: &[u8]) -> Result<Option<Duration>> {
    let half = size_of::<libc::time_t>();
    let number = |at: usize| -> Result<i64> {
        let bytes = value.get(at..at + half).ok_or(Errno(libc::EINVAL))?;
        Ok(libc::time_t::from_ne_bytes(bytes.try_into().map_err(|_| Errno(libc::EINVAL))?))
    };
    let (seconds, micros) = (number(0)?, number(half)?);
    if !(0..1_000_000).contains(&micros) {
        return Err(Errno(libc::EDOM));
    }
    let seconds = u64::try_from(seconds).unwrap_or_default();
    let time = Duration::from_secs(seconds) + Duration::from_micros(u64::try_from(micros).unwrap_or_default());
    Ok((!time.is_zero()).then_some(time))
}
