//! What a socket is, from `socket` to `close`.
//!
//! ```text
//! stream:    fresh ─bind─▶ bound ─listen─▶ listening ─accept─▶ (another) connected
//!            ▲ └──────connect──┴──────────▶ connected
//!            └── refused, disconnected ◀────────┘
//! datagram:  open from the start; bound when it sends or is bound
//! either:    the kernel's, when an address turns out not to be virtual
//! ```

mod connecting;
mod ending;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{IntoRawFd as _, OwnedFd, RawFd};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use libc::c_int;
use ntm_proto::time::Instant;

use crate::descriptors::Own;
use crate::errno::{Errno, Result};
use crate::packet::reader::wait_for;
use crate::runtime::Core;
use crate::socket::beside::Beside;
use crate::socket::options::Options;
use crate::socket::table::{self, Entry};
use crate::socket::{fork, kernel, signals};
use crate::stack::bindings::{Bindings, Place, Sharing};
use crate::stack::endpoint::Endpoint;
use crate::stack::listener::Listener;
use crate::stack::mirror::Mirror;
use crate::stack::readiness::{ERR, HUP, IN, OUT, Readiness};
use crate::stack::tcp::Connection;
use crate::sync::Lock;

/// What the application may ask for at most.
const MAX_BACKLOG: c_int = 4_096;

/// How a socket is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Stream,
    Datagram,
    /// Datagrams that are ICMP echoes.
    Echo,
}

#[derive(Debug)]
pub(crate) struct Socket {
    pub(crate) core: Arc<Core>,
    /// `AF_INET` or `AF_INET6`.
    pub(crate) family: c_int,
    pub(crate) kind: Kind,
    pub(crate) options: Lock<Options>,
    state: Lock<State>,
    /// Shows what the socket is ready for, until its descriptor carries data.
    mirror: Arc<Lock<Option<Mirror>>>,
    /// The kernel's half of a datagram socket that has one.
    beside: OnceLock<Beside>,
    /// What a stream is ready for before it is anything: nothing worth waiting for.
    idle: Readiness,
}

#[derive(Clone, Debug)]
enum State {
    Fresh { place: Option<Place> },
    Listening { listener: Arc<Listener>, place: Place },
    Connected { connection: Arc<Connection>, place: Option<Held>, told: bool },
    Datagram { endpoint: Arc<Endpoint>, place: Option<Place>, peer: Option<SocketAddr> },
}

/// The place of a connection.
#[derive(Clone, Copy, Debug)]
struct Held {
    place: Place,
    /// The application asked for it: it stays when the connection goes.
    bound: bool,
}

/// What became of a call that may make a socket the kernel's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Done,
    /// The descriptor is the kernel's now: make the call there.
    Kernel,
}

impl Socket {
    /// A new socket and its descriptor. `flags`: `SOCK_NONBLOCK`, `SOCK_CLOEXEC`.
    pub(crate) fn open(core: &Arc<Core>, family: c_int, kind: Kind, flags: c_int) -> Result<RawFd> {
        Self::enter(|| Self::make(core, family, kind, flags))
    }

    /// The same, in no table yet.
    pub(crate) fn make(core: &Arc<Core>, family: c_int, kind: Kind, flags: c_int) -> Result<(OwnedFd, Arc<Self>)> {
        let state = match kind {
            Kind::Stream => State::Fresh { place: None },
            Kind::Datagram | Kind::Echo => {
                State::Datagram { endpoint: Arc::new(Endpoint::new()), place: None, peer: None }
            }
        };
        Self::with_state(core, family, kind, flags, Options::default(), state)
    }

    /// Puts what stands behind `front` behind the application's `fd` instead of what was there.
    pub(crate) fn put_behind(fd: RawFd, front: &OwnedFd, entry: Entry) -> Result<()> {
        kernel::put_behind(fd, front)?;
        drop(table::insert(fd, entry));
        Ok(())
    }

    /// A datagram socket speaks with the kernel's addresses, too, through a socket of the kernel's.
    pub(crate) fn stand_beside(&self, kernel: Own) -> Result<()> {
        let (endpoint, _) = self.endpoint().ok_or(Errno(libc::EINVAL))?;
        let _ = self.beside.set(Beside::new(kernel, &endpoint)?);
        Ok(())
    }

    pub(crate) fn beside(&self) -> Option<&Beside> {
        self.beside.get()
    }

    /// Puts a new socket into the table.
    fn enter(make: impl FnOnce() -> Result<(OwnedFd, Arc<Self>)>) -> Result<RawFd> {
        let whole = fork::exclude();
        let (fd, socket) = make()?;
        let fd = fd.into_raw_fd();
        let old = table::insert(fd, Entry::Direct(socket));
        drop(whole);
        drop(old);
        Ok(fd)
    }

    fn with_state(
        core: &Arc<Core>,
        family: c_int,
        kind: Kind,
        flags: c_int,
        options: Options,
        state: State,
    ) -> Result<(OwnedFd, Arc<Self>)> {
        let (fd, mirror) = Mirror::open(kind.of_socket() | flags)?;
        let socket = Self {
            core: core.clone(),
            family,
            kind,
            options: Lock::new(options),
            state: Lock::new(state),
            mirror: Arc::new(Lock::new(Some(mirror))),
            beside: OnceLock::new(),
            idle: Readiness::default(),
        };
        socket.idle.set(OUT);
        socket.with_readiness(|readiness| readiness.show_on(socket.mirror.clone()));
        Ok((fd, Arc::new(socket)))
    }

    /// Gives the socket an address of the node.
    pub(crate) fn bind(&self, fd: RawFd, address: SocketAddr) -> Result<Outcome> {
        let address = self.reachable(address, libc::EINVAL)?;
        if !address.ip().is_unspecified() && !self.core.is_own(address.ip()) {
            if self.core.is_virtual(address.ip()) {
                return Err(Errno(libc::EADDRNOTAVAIL));
            }
            self.give_to_kernel(fd)?;
            return Ok(Outcome::Kernel);
        }
        let options = self.options.lock();
        let wanted = Place {
            address: address.ip(),
            port: address.port(),
            only_v6: options.only_v6,
            sharing: Sharing {
                // As Linux has it, every echo socket shares its identifier.
                by_last: self.kind == Kind::Echo || (self.kind == Kind::Datagram && options.reuse_address),
                by_part: options.reuse_port,
            },
        };
        drop(options);
        match &mut *self.state.lock() {
            State::Fresh { place: place @ None } => {
                *place = Some(self.core.stack.tcp.take(wanted, None)?);
                Ok(Outcome::Done)
            }
            State::Datagram { endpoint, place: place @ None, .. } => {
                *place = Some(self.ports().take(wanted, Some(endpoint.clone()))?);
                Ok(Outcome::Done)
            }
            _ => Err(Errno(libc::EINVAL)),
        }
    }

    pub(crate) fn listen(&self, backlog: c_int) -> Result<()> {
        let backlog = usize::try_from(backlog.clamp(0, MAX_BACKLOG)).unwrap_or_default();
        let state = &mut *self.state.lock();
        match state {
            State::Fresh { place } => {
                self.renew_mirror()?;
                let place = match *place {
                    Some(place) => place,
                    None => self.core.stack.tcp.take(self.anywhere(), None)?,
                };
                let listener = Arc::new(Listener::new(backlog, self.options.lock().tcp()));
                self.core.stack.tcp.put(&place, listener.clone());
                self.change_state(state, State::Listening { listener, place });
                Ok(())
            }
            State::Listening { listener, .. } => {
                listener.set_backlog(backlog);
                Ok(())
            }
            State::Connected { .. } => Err(Errno(libc::EINVAL)),
            State::Datagram { .. } => Err(Errno(libc::EOPNOTSUPP)),
        }
    }

    /// The next connection, as a descriptor of its own, and who is at its other end.
    pub(crate) fn accept(&self, flags: c_int) -> Result<(RawFd, SocketAddr)> {
        let listener = match &*self.state.lock() {
            State::Listening { listener, .. } => listener.clone(),
            State::Datagram { .. } => return Err(Errno(libc::EOPNOTSUPP)),
            _ => return Err(Errno(libc::EINVAL)),
        };
        let timeout = self.options.lock().receive_timeout;
        let connection = self.until_ready(&listener.readiness, IN, false, timeout, || listener.accept())?;
        let remote = connection.flow.remote;
        let fd = Self::enter(|| self.take_up(connection, flags))?;
        Ok((fd, self.shown(remote)))
    }

    /// A socket for a connection that was made to this one's port.
    pub(crate) fn take_up(&self, connection: Arc<Connection>, flags: c_int) -> Result<(OwnedFd, Arc<Self>)> {
        let options = self.options.lock().inherited();
        let state = State::Connected { connection, place: None, told: true };
        Self::with_state(&self.core, self.family, Kind::Stream, flags, options, state)
    }

    /// A datagram socket without a port gets one.
    pub(crate) fn bind_somewhere(&self) -> Result<SocketAddr> {
        let State::Datagram { endpoint, place, .. } = &mut *self.state.lock() else { return Err(Errno(libc::EINVAL)) };
        let held = match *place {
            Some(held) => held,
            None => {
                let taken = self.ports().take(self.anywhere(), Some(endpoint.clone()))?;
                *place.insert(taken)
            }
        };
        Ok(SocketAddr::new(held.address, held.port))
    }

    pub(crate) fn local_address(&self) -> SocketAddr {
        let nowhere = SocketAddr::new(self.any_address(), 0);
        let local = match &*self.state.lock() {
            State::Fresh { place } => place.map_or(nowhere, |place| SocketAddr::new(place.address, place.port)),
            State::Listening { place, .. } => SocketAddr::new(place.address, place.port),
            State::Connected { connection, .. } => connection.flow.local,
            State::Datagram { peer: Some(peer), .. } if !self.core.is_virtual(peer.ip()) => {
                self.beside().and_then(|beside| beside.local_address().ok()).unwrap_or(nowhere)
            }
            State::Datagram { place, peer, .. } => match (place, peer) {
                (Some(place), Some(peer)) if place.address.is_unspecified() => {
                    SocketAddr::new(self.core.own_address(peer.ip()).unwrap_or(place.address), place.port)
                }
                (Some(place), _) => SocketAddr::new(place.address, place.port),
                (None, _) => nowhere,
            },
        };
        self.shown(local)
    }

    pub(crate) fn peer_address(&self) -> Result<SocketAddr> {
        match &*self.state.lock() {
            State::Connected { connection, .. } if connection.is_connected() => Ok(self.shown(connection.flow.remote)),
            State::Datagram { peer: Some(peer), .. } => Ok(self.shown(*peer)),
            _ => Err(Errno(libc::ENOTCONN)),
        }
    }

    /// Whom it is connected to, or is about to be.
    pub(crate) fn peer_meant(&self) -> Option<SocketAddr> {
        match &*self.state.lock() {
            State::Connected { connection, .. } => Some(self.shown(connection.flow.remote)),
            State::Datagram { peer, .. } => peer.map(|peer| self.shown(peer)),
            _ => None,
        }
    }

    /// Whether it is a stream whose connection was begun and never made.
    pub(crate) fn is_connecting(&self) -> bool {
        self.connection().is_some_and(|connection| !connection.is_established())
    }

    /// The connection of a stream that has one.
    pub(crate) fn connection(&self) -> Option<Arc<Connection>> {
        match &*self.state.lock() {
            State::Connected { connection, .. } => Some(connection.clone()),
            _ => None,
        }
    }

    pub(crate) fn listener(&self) -> Option<Arc<Listener>> {
        match &*self.state.lock() {
            State::Listening { listener, .. } => Some(listener.clone()),
            _ => None,
        }
    }

    /// The endpoint of a datagram socket and whom it is connected to.
    pub(crate) fn endpoint(&self) -> Option<(Arc<Endpoint>, Option<SocketAddr>)> {
        match &*self.state.lock() {
            State::Datagram { endpoint, peer, .. } => Some((endpoint.clone(), *peer)),
            _ => None,
        }
    }

    pub(crate) fn with_readiness<T>(&self, act: impl FnOnce(&Readiness) -> T) -> T {
        let state = self.state.lock().clone();
        match &state {
            State::Fresh { .. } => act(&self.idle),
            State::Listening { listener, .. } => act(&listener.readiness),
            State::Connected { connection, .. } => act(&connection.readiness),
            State::Datagram { endpoint, .. } => act(&endpoint.readiness),
        }
    }

    /// What showed the socket's readiness, which shows nothing from now on; `None` where it was taken before.
    pub(crate) fn take_mirror(&self) -> Option<Mirror> {
        self.with_readiness(Readiness::hide);
        self.mirror.lock().take()
    }

    /// Whether the descriptor stands for this socket still; not to be told where it carries data.
    pub(crate) fn is_behind(&self, fd: RawFd) -> bool {
        self.mirror.lock().as_ref().is_none_or(|mirror| mirror.is_behind(fd))
    }

    /// Whether calls shall not block.
    pub(crate) fn is_nonblocking(&self) -> bool {
        self.mirror.lock().as_ref().is_some_and(Mirror::is_nonblocking)
    }

    /// Repeats `attempt` until it gives something else than `EAGAIN`, waiting in between for one of the bits of
    /// `want`; not where the socket or the call does not block, and not for longer than `timeout`.
    pub(crate) fn until_ready<T>(
        &self,
        readiness: &Readiness,
        want: u32,
        dont_wait: bool,
        timeout: Option<Duration>,
        mut attempt: impl FnMut() -> Result<T>,
    ) -> Result<T> {
        let mut until: Option<Option<Instant>> = None;
        loop {
            match attempt() {
                Err(Errno(libc::EAGAIN)) => {}
                other => {
                    if until.is_some() {
                        readiness.reflect();
                    }
                    self.core.settle();
                    return other;
                }
            }
            if dont_wait || (until.is_none() && self.is_nonblocking()) {
                readiness.reflect();
                self.core.settle();
                return Err(Errno(libc::EAGAIN));
            }
            let until = *until.get_or_insert_with(|| timeout.map(|time| self.core.now() + time));
            match wait_for(&self.core, readiness, want | ERR, until) {
                // As in the kernel, a wait with a time-out is not begun again.
                Err(Errno(libc::EINTR)) if timeout.is_none() && signals::handlers_restart() => {}
                other => other?,
            }
        }
    }

    /// An address as the application of this socket expects it: on an IPv6 socket, IPv4 is mapped.
    pub(crate) fn shown(&self, address: SocketAddr) -> SocketAddr {
        match address {
            SocketAddr::V4(v4) if self.family == libc::AF_INET6 => {
                let ip = if v4.ip().is_unspecified() { Ipv6Addr::UNSPECIFIED } else { v4.ip().to_ipv6_mapped() };
                SocketAddr::new(ip.into(), v4.port())
            }
            other => other,
        }
    }

    /// Whether a datagram to this address is ours to send; false: the descriptor is the kernel's now.
    pub(crate) fn may_send_to(&self, fd: RawFd, to: SocketAddr) -> Result<bool> {
        if self.core.is_virtual(unmapped(to).ip()) || self.beside().is_some() {
            return Ok(true);
        }
        self.give_to_kernel(fd)?;
        Ok(false)
    }

    /// Makes the descriptor a socket of the kernel.
    fn give_to_kernel(&self, fd: RawFd) -> Result<()> {
        let state = self.state.lock().clone();
        match state {
            State::Fresh { place: None } | State::Datagram { place: None, .. } => {}
            _ => return Err(Errno(libc::ENETUNREACH)),
        }
        let options = self.options.lock().clone();
        kernel::replace(fd, self.family, self.kind, &options)?;
        table::remove(fd);
        Ok(())
    }

    /// Where datagram sockets of this kind have their ports.
    fn ports(&self) -> &Bindings<Endpoint> {
        if self.kind == Kind::Echo { &self.core.stack.echo } else { &self.core.stack.udp }
    }

    /// The address, unmapped; `error` where the socket is IPv6's alone and the address is not.
    fn reachable(&self, address: SocketAddr, error: c_int) -> Result<SocketAddr> {
        let plain = unmapped(address);
        if self.family == libc::AF_INET6 && plain.is_ipv4() && self.options.lock().only_v6 {
            return Err(Errno(error));
        }
        Ok(plain)
    }

    /// A descriptor that showed the end of a connection shows no beginning: where it is to, another takes its place.
    fn renew_mirror(&self) -> Result<()> {
        if !self.mirror.lock().as_ref().is_some_and(Mirror::is_spent) {
            return Ok(());
        }
        // Asks the mirror which of them stand for this socket.
        let descriptors = table::descriptors_of(self);
        let mut mirror = self.mirror.lock();
        let Some(mirror) = mirror.as_mut() else { return Ok(()) };
        let (made, mut renewed) = Mirror::open(self.kind.of_socket() | libc::SOCK_CLOEXEC)?;
        for fd in descriptors {
            kernel::put_behind(fd, &made)?;
        }
        if mirror.shows_edges() {
            renewed.show_edges();
        }
        *mirror = renewed;
        Ok(())
    }

    /// Somebody waits for each arrival, not only for the first.
    pub(crate) fn show_edges(&self) {
        if let Some(mirror) = &mut *self.mirror.lock() {
            mirror.show_edges();
        }
    }

    /// The state of a stream that is nothing any more.
    fn become_fresh(&self, state: &mut State, place: Option<Place>) {
        self.idle.set(OUT | HUP);
        self.change_state(state, State::Fresh { place });
    }

    fn change_state(&self, state: &mut State, next: State) {
        match state {
            State::Fresh { .. } => self.idle.hide(),
            State::Listening { listener, .. } => listener.readiness.hide(),
            State::Connected { connection, .. } => connection.readiness.hide(),
            State::Datagram { endpoint, .. } => endpoint.readiness.hide(),
        }
        match &next {
            State::Fresh { .. } => self.idle.show_on(self.mirror.clone()),
            State::Listening { listener, .. } => listener.readiness.show_on(self.mirror.clone()),
            State::Connected { connection, .. } => connection.readiness.show_on(self.mirror.clone()),
            State::Datagram { endpoint, .. } => endpoint.readiness.show_on(self.mirror.clone()),
        }
        *state = next;
    }

    fn any_address(&self) -> IpAddr {
        if self.family == libc::AF_INET6 { Ipv6Addr::UNSPECIFIED.into() } else { Ipv4Addr::UNSPECIFIED.into() }
    }

    /// A place of the system's choosing.
    fn anywhere(&self) -> Place {
        Place {
            address: self.any_address(),
            port: 0,
            only_v6: self.options.lock().only_v6,
            sharing: Sharing::default(),
        }
    }
}

impl Kind {
    /// What `socket` calls it.
    pub(crate) fn of_socket(self) -> c_int {
        match self {
            Self::Stream => libc::SOCK_STREAM,
            Self::Datagram | Self::Echo => libc::SOCK_DGRAM,
        }
    }

    /// The number of its protocol, as `SO_PROTOCOL` tells it.
    pub(crate) fn protocol(self, family: c_int) -> c_int {
        match self {
            Self::Stream => libc::IPPROTO_TCP,
            Self::Datagram => libc::IPPROTO_UDP,
            Self::Echo if family == libc::AF_INET6 => libc::IPPROTO_ICMPV6,
            Self::Echo => libc::IPPROTO_ICMP,
        }
    }
}

/// An IPv4 address that stands in an IPv6 one, as what it is.
pub(crate) fn unmapped(address: SocketAddr) -> SocketAddr {
    match address {
        SocketAddr::V6(v6) => match v6.ip().to_ipv4_mapped() {
            Some(v4) => SocketAddr::new(v4.into(), v6.port()),
            None => SocketAddr::new((*v6.ip()).into(), v6.port()),
        },
        v4 => v4,
    }
}
