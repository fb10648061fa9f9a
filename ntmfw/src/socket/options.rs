//! `getsockopt` and `setsockopt`.

mod tcp_info;
mod value;

use std::os::fd::RawFd;
use std::time::Duration;

use libc::c_int;
use ntm_recovery::Algorithm;

use crate::errno::{Errno, Result};
use crate::socket::state::{Kind, Socket};
use crate::stack::buffers::FIRST;
use crate::stack::endpoint::Manner;
use crate::stack::ip::{DEFAULT_HOPS, Stamp};
use crate::stack::tcp::TcpOptions;
use value::{flag, int, int_at, int_or_byte, seconds, within};

/// Linux doubles what is asked for, for its own bookkeeping, and tells the double. So do we.
const SMALLEST_BUFFER: usize = 2_048;
const LARGEST_BUFFER: usize = 16 << 20;
/// Linux's defaults and bounds of `tcp(7)`.
const KEEP_IDLE: c_int = 7_200;
const KEEP_INTERVAL: c_int = 75;
const KEEP_COUNT: c_int = 9;
const MAX_KEEP_TIME: c_int = 32_767;
const MAX_KEEP_COUNT: c_int = 127;
const SMALLEST_SEGMENT: c_int = 88;
/// What a socket was told.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    pub(crate) reuse_address: bool,
    pub(crate) reuse_port: bool,
    pub(crate) only_v6: bool,
    pub(crate) receive_timeout: Option<Duration>,
    pub(crate) send_timeout: Option<Duration>,
    pub(crate) linger: Option<Duration>,
    /// What holds streams back.
    congestion: Option<Algorithm>,
    /// Bytes that a stream waits for, where more than one is asked for.
    pub(crate) receive_least: c_int,
    /// What is told beside each datagram.
    pub(crate) told: Told,
    receive_buffer: Option<usize>,
    send_buffer: Option<usize>,
    keep_alive: bool,
    keep_idle: c_int,
    keep_interval: c_int,
    keep_count: c_int,
    no_delay: bool,
    cork: bool,
    quick_ack: bool,
    user_timeout: c_int,
    broadcast: bool,
    oob_inline: bool,
    dont_route: bool,
    receive_errors: bool,
    receive_errors6: bool,
    priority: c_int,
    class: u8,
    class6: u8,
    hops: Option<u8>,
    hops6: Option<u8>,
}

/// What a program wants to know of each datagram.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Told {
    pub(crate) address: bool,
    pub(crate) hops: bool,
    pub(crate) class: bool,
    pub(crate) address6: bool,
    pub(crate) hops6: bool,
    pub(crate) class6: bool,
    pub(crate) timestamp: bool,
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
            congestion: None,
            receive_least: 1,
            told: Told::default(),
            receive_buffer: None,
            send_buffer: None,
            keep_alive: false,
            keep_idle: KEEP_IDLE,
            keep_interval: KEEP_INTERVAL,
            keep_count: KEEP_COUNT,
            no_delay: false,
            cork: false,
            quick_ack: true,
            user_timeout: 0,
            broadcast: false,
            oob_inline: false,
            dont_route: false,
            receive_errors: false,
            receive_errors6: false,
            priority: 0,
            class: 0,
            class6: 0,
            hops: None,
            hops6: None,
        }
    }
}

impl Options {
    /// What a TCP connection must know of it.
    pub(crate) fn tcp(&self) -> TcpOptions {
        let none = Manner::default();
        TcpOptions {
            receive_buffer: self.receive_buffer,
            send_buffer: self.send_buffer,
            no_delay: self.no_delay,
            cork: self.cork,
            keep_alive: self.keep_alive.then(|| seconds(self.keep_idle)),
            user_timeout: (self.user_timeout > 0)
                .then(|| Duration::from_millis(u64::try_from(self.user_timeout).unwrap_or_default())),
            congestion: self.congestion,
            stamp4: self.stamp(false, &none),
            stamp6: self.stamp(true, &none),
        }
    }

    /// What a connection has from the port that accepted it.
    pub(crate) fn inherited(&self) -> Self {
        Self { receive_timeout: None, send_timeout: None, ..self.clone() }
    }

    /// What the IP header of a packet says, where `manner` does not say otherwise.
    pub(crate) fn stamp(&self, v6: bool, manner: &Manner) -> Stamp {
        let (hops, class) = if v6 { (self.hops6, self.class6) } else { (self.hops, self.class) };
        Stamp { hops: manner.hops.or(hops).unwrap_or(DEFAULT_HOPS), class: manner.class.unwrap_or(class) }
    }

    /// The options that are on or off.
    fn switch(&mut self, level: c_int, name: c_int) -> Option<&mut bool> {
        Some(match (level, name) {
            (libc::SOL_SOCKET, libc::SO_REUSEADDR) => &mut self.reuse_address,
            (libc::SOL_SOCKET, libc::SO_REUSEPORT) => &mut self.reuse_port,
            (libc::SOL_SOCKET, libc::SO_KEEPALIVE) => &mut self.keep_alive,
            (libc::SOL_SOCKET, libc::SO_BROADCAST) => &mut self.broadcast,
            (libc::SOL_SOCKET, libc::SO_OOBINLINE) => &mut self.oob_inline,
            (libc::SOL_SOCKET, libc::SO_DONTROUTE) => &mut self.dont_route,
            (libc::SOL_SOCKET, libc::SO_TIMESTAMP) => &mut self.told.timestamp,
            (libc::IPPROTO_TCP, libc::TCP_NODELAY) => &mut self.no_delay,
            (libc::IPPROTO_TCP, libc::TCP_CORK) => &mut self.cork,
            (libc::IPPROTO_TCP, libc::TCP_QUICKACK) => &mut self.quick_ack,
            (libc::IPPROTO_IP, libc::IP_PKTINFO) => &mut self.told.address,
            (libc::IPPROTO_IP, libc::IP_RECVTTL) => &mut self.told.hops,
            (libc::IPPROTO_IP, libc::IP_RECVTOS) => &mut self.told.class,
            (libc::IPPROTO_IP, libc::IP_RECVERR) => &mut self.receive_errors,
            (libc::IPPROTO_IPV6, libc::IPV6_V6ONLY) => &mut self.only_v6,
            (libc::IPPROTO_IPV6, libc::IPV6_RECVPKTINFO) => &mut self.told.address6,
            (libc::IPPROTO_IPV6, libc::IPV6_RECVHOPLIMIT) => &mut self.told.hops6,
            (libc::IPPROTO_IPV6, libc::IPV6_RECVTCLASS) => &mut self.told.class6,
            (libc::IPPROTO_IPV6, libc::IPV6_RECVERR) => &mut self.receive_errors6,
            _ => return None,
        })
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
            (libc::SO_OOBINLINE, self.oob_inline),
            (libc::SO_DONTROUTE, self.dont_route),
            (libc::SO_TIMESTAMP, self.told.timestamp),
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
                let time = value::timeval(time);
                // SAFETY: a timeval is read, of the size said.
                unsafe {
                    let size = size_of::<libc::timeval>() as libc::socklen_t;
                    libc::setsockopt(fd, libc::SOL_SOCKET, name, (&raw const time).cast(), size);
                }
            }
        }
    }
}

/// What an option of a level that the socket has not gives.
fn check_level(socket: &Socket, level: c_int, setting: bool) -> Result<()> {
    let there = match level {
        libc::SOL_SOCKET | libc::IPPROTO_IP => true,
        libc::IPPROTO_TCP => socket.kind == Kind::Stream,
        libc::IPPROTO_IPV6 => socket.family == libc::AF_INET6,
        _ => false,
    };
    match there {
        true => Ok(()),
        // Linux tells these apart.
        false if setting || socket.family == libc::AF_INET6 => Err(Errno(libc::ENOPROTOOPT)),
        false => Err(Errno(libc::EOPNOTSUPP)),
    }
}

/// The largest segment of a connection.
fn largest_segment(v6: bool) -> usize {
    ntm_node::VIRTUAL_MTU - if v6 { 60 } else { 40 }
}

/// The value of an option, as the bytes that the application reads.
pub(crate) fn get(socket: &Socket, level: c_int, name: c_int) -> Result<Vec<u8>> {
    check_level(socket, level, false)?;
    let mut options = socket.options.lock();
    if let Some(on) = options.switch(level, name) {
        return Ok(flag(*on));
    }
    let size = |bytes: usize| int(c_int::try_from(bytes * 2).unwrap_or(c_int::MAX));
    let hops = |hops: Option<u8>| int(hops.unwrap_or(DEFAULT_HOPS).into());
    let mtu = || int(c_int::try_from(ntm_node::VIRTUAL_MTU).unwrap_or_default());
    Ok(match (level, name) {
        (libc::SOL_SOCKET, libc::SO_TYPE) => int(match socket.kind {
            Kind::Stream => libc::SOCK_STREAM,
            Kind::Datagram | Kind::Echo => libc::SOCK_DGRAM,
        }),
        (libc::SOL_SOCKET, libc::SO_DOMAIN) => int(socket.family),
        (libc::SOL_SOCKET, libc::SO_PROTOCOL) => int(socket.kind.protocol(socket.family)),
        (libc::SOL_SOCKET, libc::SO_ERROR) => {
            drop(options);
            int(take_error(socket).map_or(0, |error| error.0))
        }
        (libc::SOL_SOCKET, libc::SO_ACCEPTCONN) => {
            drop(options);
            flag(socket.listener().is_some())
        }
        (libc::SOL_SOCKET, libc::SO_RCVBUF) => size(options.receive_buffer.unwrap_or(FIRST)),
        (libc::SOL_SOCKET, libc::SO_SNDBUF) => size(options.send_buffer.unwrap_or(FIRST)),
        (libc::SOL_SOCKET, libc::SO_RCVLOWAT) => int(options.receive_least),
        (libc::SOL_SOCKET, libc::SO_SNDLOWAT) => int(1),
        (libc::SOL_SOCKET, libc::SO_PRIORITY) => int(options.priority),
        (libc::SOL_SOCKET, libc::SO_RCVTIMEO) => value::time(options.receive_timeout),
        (libc::SOL_SOCKET, libc::SO_SNDTIMEO) => value::time(options.send_timeout),
        (libc::SOL_SOCKET, libc::SO_LINGER) => {
            let time = options.linger.map_or(0, |time| c_int::try_from(time.as_secs()).unwrap_or(c_int::MAX));
            [flag(options.linger.is_some()), int(time)].concat()
        }
        (libc::IPPROTO_TCP, libc::TCP_KEEPIDLE) => int(options.keep_idle),
        (libc::IPPROTO_TCP, libc::TCP_KEEPINTVL) => int(options.keep_interval),
        (libc::IPPROTO_TCP, libc::TCP_KEEPCNT) => int(options.keep_count),
        (libc::IPPROTO_TCP, libc::TCP_USER_TIMEOUT) => int(options.user_timeout),
        (libc::IPPROTO_TCP, libc::TCP_MAXSEG) => {
            int(c_int::try_from(largest_segment(socket.family == libc::AF_INET6)).unwrap_or_default())
        }
        (libc::IPPROTO_TCP, libc::TCP_CONGESTION) => {
            let chosen = options.congestion.unwrap_or(socket.core.stream_defaults.congestion);
            drop(options);
            let algorithm = socket.connection().map_or(chosen, |connection| connection.congestion());
            [algorithm.name().as_bytes(), b"\0"].concat()
        }
        (libc::IPPROTO_TCP, libc::TCP_INFO) => {
            drop(options);
            tcp_info::tcp_info(socket)
        }
        (libc::IPPROTO_IP, libc::IP_TOS) => int(options.class.into()),
        (libc::IPPROTO_IP, libc::IP_TTL) => hops(options.hops),
        (libc::IPPROTO_IP, libc::IP_OPTIONS) => Vec::new(),
        (libc::IPPROTO_IP, libc::IP_MTU_DISCOVER) => int(libc::IP_PMTUDISC_WANT),
        (libc::IPPROTO_IPV6, libc::IPV6_MTU_DISCOVER) => int(libc::IPV6_PMTUDISC_WANT),
        (libc::IPPROTO_IP, libc::IP_MTU) | (libc::IPPROTO_IPV6, libc::IPV6_MTU) => {
            drop(options);
            socket.peer_address()?;
            mtu()
        }
        (libc::IPPROTO_IPV6, libc::IPV6_UNICAST_HOPS) => hops(options.hops6),
        (libc::IPPROTO_IPV6, libc::IPV6_TCLASS) => int(options.class6.into()),
        _ => return Err(Errno(libc::ENOPROTOOPT)),
    })
}

/// Sets an option to what stands in `value`.
pub(crate) fn set(socket: &Socket, level: c_int, name: c_int, value: &[u8]) -> Result<()> {
    check_level(socket, level, true)?;
    if (level, name) == (libc::IPPROTO_IPV6, libc::IPV6_V6ONLY) && socket.local_address().port() != 0 {
        return Err(Errno(libc::EINVAL));
    }
    {
        let mut options = socket.options.lock();
        if level == libc::IPPROTO_IP {
            options.set_of_ip(name, value)?;
        } else if level == libc::IPPROTO_TCP && name == libc::TCP_CONGESTION {
            let name = value.split(|byte| *byte == 0).next().unwrap_or_default();
            let known = std::str::from_utf8(name).ok().and_then(Algorithm::from_name);
            options.congestion = Some(known.ok_or(Errno(libc::ENOENT))?);
        } else {
            let number = int_at(value, 0)?;
            match options.switch(level, name) {
                Some(switch) => *switch = number != 0,
                None => options.set_number(level, name, number, value)?,
            }
        }
    }
    apply(socket);
    Ok(())
}

impl Options {
    fn set_number(&mut self, level: c_int, name: c_int, number: c_int, value: &[u8]) -> Result<()> {
        let buffer = || {
            let asked = usize::try_from(number).unwrap_or(LARGEST_BUFFER);
            Some(asked.clamp(SMALLEST_BUFFER, LARGEST_BUFFER))
        };
        match (level, name) {
            (libc::SOL_SOCKET, libc::SO_RCVBUF) => self.receive_buffer = buffer(),
            (libc::SOL_SOCKET, libc::SO_SNDBUF) => self.send_buffer = buffer(),
            (libc::SOL_SOCKET, libc::SO_RCVLOWAT) => {
                self.receive_least = if number < 0 { c_int::MAX } else { number.max(1) }
            }
            (libc::SOL_SOCKET, libc::SO_PRIORITY) => self.priority = number,
            (libc::SOL_SOCKET, libc::SO_RCVTIMEO) => self.receive_timeout = value::time_of(value)?,
            (libc::SOL_SOCKET, libc::SO_SNDTIMEO) => self.send_timeout = value::time_of(value)?,
            (libc::SOL_SOCKET, libc::SO_LINGER) => {
                let time = int_at(value, size_of::<c_int>())?;
                self.linger = (number != 0).then(|| seconds(time));
            }
            (libc::IPPROTO_TCP, libc::TCP_KEEPIDLE) => self.keep_idle = within(number, 1, MAX_KEEP_TIME)?,
            (libc::IPPROTO_TCP, libc::TCP_KEEPINTVL) => self.keep_interval = within(number, 1, MAX_KEEP_TIME)?,
            (libc::IPPROTO_TCP, libc::TCP_KEEPCNT) => self.keep_count = within(number, 1, MAX_KEEP_COUNT)?,
            (libc::IPPROTO_TCP, libc::TCP_USER_TIMEOUT) => self.user_timeout = within(number, 0, c_int::MAX)?,
            // The virtual network has one size of segment; smaller ones need not be asked for.
            (libc::IPPROTO_TCP, libc::TCP_MAXSEG) if number == 0 => {}
            (libc::IPPROTO_TCP, libc::TCP_MAXSEG) => drop(within(number, SMALLEST_SEGMENT, MAX_KEEP_TIME)?),
            (libc::IPPROTO_TCP, libc::TCP_DEFER_ACCEPT | libc::TCP_FASTOPEN) => {}
            (libc::IPPROTO_IPV6, libc::IPV6_UNICAST_HOPS) => {
                self.hops6 = u8::try_from(within(number, -1, 255)?).ok();
            }
            (libc::IPPROTO_IPV6, libc::IPV6_TCLASS) => {
                self.class6 = u8::try_from(within(number, -1, 255)?).unwrap_or_default();
            }
            (libc::IPPROTO_IPV6, libc::IPV6_MTU_DISCOVER) => drop(within(number, 0, 5)?),
            _ => return Err(Errno(libc::ENOPROTOOPT)),
        }
        Ok(())
    }

    fn set_of_ip(&mut self, name: c_int, value: &[u8]) -> Result<()> {
        let number = int_or_byte(value);
        if let Some(switch) = self.switch(libc::IPPROTO_IP, name) {
            *switch = number? != 0;
            return Ok(());
        }
        match name {
            libc::IP_TOS => self.class = number?.to_le_bytes()[0],
            libc::IP_TTL if number == Ok(-1) => self.hops = None,
            libc::IP_TTL => self.hops = u8::try_from(within(number?, 1, 255)?).ok(),
            libc::IP_MTU_DISCOVER => drop(within(number?, 0, 5)?),
            _ => return Err(Errno(libc::ENOPROTOOPT)),
        }
        Ok(())
    }
}

/// Tells the stack what changed.
fn apply(socket: &Socket) {
    let options = socket.options.lock();
    let (tcp, receive) = (options.tcp(), options.receive_buffer);
    drop(options);
    if let Some(connection) = socket.connection() {
        connection.set_options(&socket.core, tcp);
        socket.core.settle();
    }
    if let Some(listener) = socket.listener() {
        listener.set_options(tcp);
    }
    if let (Some((endpoint, _)), Some(bytes)) = (socket.endpoint(), receive) {
        endpoint.set_limit(bytes);
    }
}

/// The error that waits to be told.
pub(crate) fn take_error(socket: &Socket) -> Option<Errno> {
    if let Some(connection) = socket.connection() {
        return connection.take_error();
    }
    socket.endpoint().and_then(|(endpoint, _)| endpoint.take_error())
}
