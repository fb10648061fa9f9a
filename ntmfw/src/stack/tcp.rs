//! TCP connections and the ports that accept them.

use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use ntm_node::FlowKey;
use ntm_proto::time::Instant;
use smoltcp::iface::{Config as InterfaceConfig, Interface, SocketHandle, SocketSet};
use smoltcp::socket::tcp::{CongestionControl, Socket, SocketBuffer, State};
use smoltcp::wire::{HardwareAddress, IpAddress, IpCidr, IpEndpoint, IpListenEndpoint};

use crate::errno::{Errno, Result};
use crate::packet::route::Sender;
use crate::runtime::Core;
use crate::stack::FlowId;
use crate::stack::bindings::Holder;
use crate::stack::ip::{self, Packet};
use crate::stack::readiness::{ERR, HUP, IN, OUT, RDHUP, Readiness};
use crate::stack::wire::{Wire, stack_time};
use crate::sync::Lock;

/// How long a connection may take to be made: Linux's six retransmissions of a SYN.
const CONNECT_PATIENCE: Duration = Duration::from_secs(127);
/// How long data may stay unacknowledged: Linux's fifteen retransmissions. A node may be without a network for
/// so long and its connections go on.
const DATA_PATIENCE: Duration = Duration::from_secs(924);
const DEFAULT_BUFFER: usize = 512 << 10;

/// What a connection begins with.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TcpOptions {
    pub(crate) receive_buffer: usize,
    pub(crate) send_buffer: usize,
    pub(crate) no_delay: bool,
    pub(crate) keep_alive: Option<Duration>,
    pub(crate) user_timeout: Option<Duration>,
}

impl Default for TcpOptions {
    fn default() -> Self {
        Self {
            receive_buffer: DEFAULT_BUFFER,
            send_buffer: DEFAULT_BUFFER,
            no_delay: false,
            keep_alive: None,
            user_timeout: None,
        }
    }
}

type TcpSocket = Socket<'static>;

pub(crate) struct Connection {
    pub(crate) flow: FlowId,
    pub(crate) readiness: Readiness,
    inner: Lock<Inner>,
    /// Nothing will come of it any more; its ports may be used again.
    over: AtomicBool,
    /// Who gets it when it is established; none on the side that connects.
    listener: Option<Weak<Listener>>,
}

struct Inner {
    interface: Interface,
    sockets: SocketSet<'static>,
    handle: SocketHandle,
    sender: Sender,
    /// When the timer table will wake the connection.
    armed: Option<Instant>,
    options: TcpOptions,
    error: Option<Errno>,
    established: bool,
    /// The application shut its receiving side: what comes is thrown away.
    deaf: bool,
    /// The application has closed it.
    abandoned: bool,
}

impl Connection {
    fn new(core: &Core, now: Instant, flow: FlowId, options: TcpOptions, listener: Option<Weak<Listener>>) -> Self {
        let key = FlowKey {
            source: flow.local.ip(),
            destination: flow.remote.ip(),
            protocol: ip::TCP,
            source_port: flow.local.port(),
            destination_port: flow.remote.port(),
        };
        let mut sender = Sender::new(key);
        let mut seed = [0; 8];
        let _ = getrandom::fill(&mut seed);
        let mut config = InterfaceConfig::new(HardwareAddress::Ip);
        config.random_seed = u64::from_be_bytes(seed);
        let mut wire = Wire { core, now, incoming: &[], sender: &mut sender };
        let mut interface = Interface::new(config, &mut wire, stack_time(now));
        // A network of everything: packets are for this connection, or were not given to it.
        interface.update_ip_addrs(|addresses| {
            let _ = addresses.push(IpCidr::new(flow.local.ip().into(), 0));
        });
        let buffer = |size: usize| SocketBuffer::new(vec![0; size]);
        let mut socket = Socket::new(buffer(options.receive_buffer), buffer(options.send_buffer));
        // With smoltcp's CUBIC the simulator finds streams that stand still for ever after an outage; without control
        // none does. The recovery layer that is to come brings its own.
        socket.set_congestion_control(CongestionControl::None);
        socket.set_timeout(Some(CONNECT_PATIENCE.into()));
        apply(&mut socket, &options);
        let mut sockets = SocketSet::new(Vec::with_capacity(1));
        let handle = sockets.add(socket);
        let inner = Inner {
            interface,
            sockets,
            handle,
            sender,
            armed: None,
            options,
            error: None,
            established: false,
            deaf: false,
            abandoned: false,
        };
        Self { flow, readiness: Readiness::default(), inner: Lock::new(inner), over: AtomicBool::new(false), listener }
    }

    /// Begins a connection; its SYN is on its way.
    pub(crate) fn connect(core: &Core, flow: FlowId, options: TcpOptions) -> Result<Arc<Self>> {
        let now = core.now();
        let connection = Arc::new(Self::new(core, now, flow, options, None));
        {
            let inner = &mut *connection.inner.lock();
            let socket = inner.sockets.get_mut::<Socket<'_>>(inner.handle);
            let context = inner.interface.context();
            socket.connect(context, endpoint(flow.remote), endpoint(flow.local)).map_err(|_| Errno(libc::EINVAL))?;
        }
        if !core.stack.add(&connection) {
            return Err(Errno(libc::EADDRNOTAVAIL));
        }
        connection.with(core, |_| ());
        Ok(connection)
    }

    /// Takes segments that came for this connection.
    pub(crate) fn receive(self: &Arc<Self>, core: &Core, now: Instant, segments: &[&[u8]]) {
        let inner = &mut *self.inner.lock();
        let before = inner.state();
        self.run(core, now, inner, segments);
        if inner.state() == State::Closed && before != State::Closed && segments.iter().any(|packet| is_reset(packet)) {
            let refused = matches!(before, State::SynSent | State::SynReceived | State::Listen);
            inner.fail(if refused { libc::ECONNREFUSED } else { libc::ECONNRESET });
            self.show(inner);
        }
    }

    /// A timer came.
    pub(crate) fn handle_timeout(self: &Arc<Self>, core: &Core, at: Instant) {
        let inner = &mut *self.inner.lock();
        if inner.armed != Some(at) {
            return;
        }
        inner.armed = None;
        let before = inner.state();
        self.run(core, core.now(), inner, &[]);
        if inner.state() == State::Closed && !matches!(before, State::Closed | State::TimeWait | State::LastAck) {
            inner.fail(libc::ETIMEDOUT);
            self.show(inner);
        }
    }

    /// Queues what fits and sends what may go. `EAGAIN` where nothing fits.
    pub(crate) fn send(self: &Arc<Self>, core: &Core, data: &[u8]) -> Result<usize> {
        self.send_by(core, |socket| match socket.send_slice(data) {
            Ok(0) if !data.is_empty() => Err(Errno(libc::EAGAIN)),
            Ok(taken) => Ok(taken),
            Err(_) => Err(Errno(libc::EPIPE)),
        })
    }

    /// Queues what `fill` writes into the room that there is, and gives what `fill` gives. `EAGAIN` where there is no
    /// room; `fill` was not called then.
    pub(crate) fn send_from(
        self: &Arc<Self>,
        core: &Core,
        fill: impl FnOnce(&mut [u8]) -> Result<usize>,
    ) -> Result<usize> {
        self.send_by(core, |socket| {
            let filled = socket.send(|room| {
                let filled = if room.is_empty() { Err(Errno(libc::EAGAIN)) } else { fill(room) };
                (filled.unwrap_or(0), filled)
            });
            filled.unwrap_or(Err(Errno(libc::EPIPE)))
        })
    }

    fn send_by(self: &Arc<Self>, core: &Core, queue: impl FnOnce(&mut TcpSocket) -> Result<usize>) -> Result<usize> {
        self.with(core, |inner| {
            inner.check()?;
            let socket = inner.socket();
            if !socket.may_send() {
                let early = matches!(socket.state(), State::SynSent | State::SynReceived);
                return Err(Errno(if early { libc::EAGAIN } else { libc::EPIPE }));
            }
            queue(socket)
        })
    }

    /// Gives what has come; 0 at the end of the stream, `EAGAIN` where nothing has come.
    pub(crate) fn recv(self: &Arc<Self>, core: &Core, room: &mut [u8], peek: bool) -> Result<usize> {
        self.recv_by(core, |socket| {
            let got = if peek { socket.peek_slice(room) } else { socket.recv_slice(room) };
            got.map_err(|_| Errno(libc::ENOTCONN))
        })
    }

    /// Shows `take` what has come; so much as it says it took is gone, and what it gives is given.
    pub(crate) fn recv_into(self: &Arc<Self>, core: &Core, take: impl FnOnce(&[u8]) -> Result<usize>) -> Result<usize> {
        self.recv_by(core, |socket| {
            let taken = socket.recv(|data| {
                let taken = take(data);
                (taken.unwrap_or(0), taken)
            });
            taken.unwrap_or(Err(Errno(libc::ENOTCONN)))
        })
    }

    fn recv_by(self: &Arc<Self>, core: &Core, take: impl FnOnce(&mut TcpSocket) -> Result<usize>) -> Result<usize> {
        let inner = &mut *self.inner.lock();
        let deaf = inner.deaf;
        let failed = inner.error;
        let socket = inner.socket();
        if socket.can_recv() {
            let before = socket.recv_queue();
            let taken = take(socket);
            if socket.recv_queue() != before {
                // What was taken may open the window, or leave nothing to read.
                let wants_to_send = inner.is_due(core.now());
                if wants_to_send {
                    self.run(core, core.now(), inner, &[]);
                } else {
                    self.show(inner);
                }
            }
            return taken;
        }
        if let Some(error) = failed {
            inner.error = None;
            self.show(inner);
            return Err(error);
        }
        match socket.state() {
            State::SynSent | State::SynReceived => Err(Errno(libc::EAGAIN)),
            _ if deaf || !socket.may_recv() => Ok(0),
            _ => Err(Errno(libc::EAGAIN)),
        }
    }

    /// No more will be sent, received, or neither.
    pub(crate) fn shutdown(self: &Arc<Self>, core: &Core, receiving: bool, sending: bool) -> Result<()> {
        self.with(core, |inner| {
            if matches!(inner.state(), State::Closed | State::SynSent) {
                return Err(Errno(libc::ENOTCONN));
            }
            inner.deaf |= receiving;
            if sending {
                inner.socket().close();
            }
            Ok(())
        })
    }

    /// The application has closed it. What was sent still goes out; what was not read makes it a reset, as does
    /// `abruptly`.
    pub(crate) fn close(self: &Arc<Self>, core: &Core, abruptly: bool) {
        self.with(core, |inner| {
            inner.abandoned = true;
            let unread = inner.socket().recv_queue() > 0;
            if abruptly || unread {
                inner.socket().abort();
            } else {
                inner.socket().close();
            }
        });
    }

    pub(crate) fn is_established(&self) -> bool {
        self.inner.lock().established
    }

    pub(crate) fn is_over(&self) -> bool {
        self.over.load(Ordering::Acquire)
    }

    /// The error that waits to be told; it is told once.
    pub(crate) fn take_error(&self) -> Option<Errno> {
        let inner = &mut *self.inner.lock();
        let error = inner.error.take();
        if error.is_some() {
            self.show(inner);
        }
        error
    }

    pub(crate) fn set_options(self: &Arc<Self>, core: &Core, options: TcpOptions) {
        self.with(core, |inner| {
            inner.options = options;
            apply(inner.socket(), &options);
        });
    }

    /// Bytes that can be read, and bytes that were not acknowledged yet.
    pub(crate) fn queues(&self) -> (usize, usize) {
        let inner = &mut *self.inner.lock();
        let socket = inner.socket();
        (socket.recv_queue(), socket.send_queue())
    }

    /// Whether the application has closed it and the peer has not acknowledged everything yet, the end included.
    pub(crate) fn has_unsent(&self) -> bool {
        let inner = &mut *self.inner.lock();
        inner.abandoned && !matches!(inner.state(), State::Closed | State::TimeWait | State::FinWait2)
    }

    pub(crate) fn state(&self) -> State {
        self.inner.lock().state()
    }

    fn with<T>(self: &Arc<Self>, core: &Core, act: impl FnOnce(&mut Inner) -> T) -> T {
        let inner = &mut *self.inner.lock();
        let result = act(inner);
        self.run(core, core.now(), inner, &[]);
        result
    }

    /// Lets the connection act, and draws the consequences.
    fn run(self: &Arc<Self>, core: &Core, now: Instant, inner: &mut Inner, segments: &[&[u8]]) {
        let Inner { interface, sockets, sender, .. } = inner;
        let mut wire = Wire { core, now, incoming: segments, sender };
        interface.poll(stack_time(now), &mut wire, sockets);
        let deaf = inner.deaf;
        let state = inner.state();
        if deaf {
            let socket = inner.socket();
            while socket.can_recv() && socket.recv(|data| (data.len(), ())).is_ok() {}
        }
        if !inner.established && matches!(state, State::Established | State::CloseWait) {
            inner.established = true;
            let patience = inner.options.user_timeout.unwrap_or(DATA_PATIENCE);
            inner.socket().set_timeout(Some(patience.into()));
            if let Some(listener) = self.listener.as_ref().and_then(Weak::upgrade) {
                listener.established(self);
            }
        }
        if matches!(state, State::Closed | State::TimeWait)
            && !self.over.swap(true, Ordering::AcqRel)
            && !inner.established
            && let Some(listener) = self.listener.as_ref().and_then(Weak::upgrade)
        {
            listener.half_open.fetch_sub(1, Ordering::AcqRel);
        }
        if state == State::Closed {
            core.stack.forget(self);
        }
        self.arm(core, now, inner);
        self.show(inner);
    }

    fn arm(self: &Arc<Self>, core: &Core, now: Instant, inner: &mut Inner) {
        let Some(delay) = inner.interface.poll_delay(stack_time(now), &inner.sockets) else { return };
        let at = now + Duration::from_micros(delay.total_micros());
        if inner.armed.is_none_or(|armed| at < armed) {
            inner.armed = Some(at);
            core.timers.add(at, self);
            core.reader.wake_before(Some(at));
        }
    }

    /// Shows what the socket is ready for.
    fn show(&self, inner: &mut Inner) {
        let old = self.readiness.bits();
        let failed = inner.error.is_some();
        let (deaf, established) = (inner.deaf, inner.established);
        let socket = inner.socket();
        let state = socket.state();
        let mut bits = 0;
        let opening = matches!(state, State::SynSent | State::SynReceived | State::Listen);
        if !opening {
            let ended = !socket.may_recv() || deaf;
            if socket.can_recv() || ended {
                bits |= IN;
            }
            if ended && established {
                bits |= RDHUP;
            }
            let free = socket.send_capacity() - socket.send_queue();
            let roomy = free >= socket.send_capacity() / 4 || (old & OUT != 0 && free > 0);
            if !socket.may_send() || roomy {
                bits |= OUT;
            }
            if !socket.may_send() && ended {
                bits |= HUP;
            }
        }
        if failed {
            bits |= ERR | IN | OUT | HUP;
        }
        self.readiness.set(bits);
    }
}

impl Inner {
    fn socket(&mut self) -> &mut TcpSocket {
        self.sockets.get_mut(self.handle)
    }

    fn state(&mut self) -> State {
        self.socket().state()
    }

    /// The error that waits to be told, which is told now.
    fn check(&mut self) -> Result<()> {
        self.error.take().map_or(Ok(()), Err)
    }

    fn fail(&mut self, error: libc::c_int) {
        self.error.get_or_insert(Errno(error));
    }

    fn is_due(&mut self, now: Instant) -> bool {
        let delay = self.interface.poll_delay(stack_time(now), &self.sockets);
        delay.is_some_and(|delay| delay.total_micros() == 0)
    }
}

fn apply(socket: &mut Socket<'_>, options: &TcpOptions) {
    socket.set_nagle_enabled(!options.no_delay);
    socket.set_keep_alive(options.keep_alive.map(Into::into));
    if let Some(patience) = options.user_timeout {
        socket.set_timeout(Some(patience.into()));
    }
}

/// A port that accepts connections.
#[derive(Debug)]
pub(crate) struct Listener {
    pub(crate) readiness: Readiness,
    backlog: AtomicUsize,
    half_open: AtomicUsize,
    queue: Lock<VecDeque<Arc<Connection>>>,
    options: Lock<TcpOptions>,
}

impl Listener {
    pub(crate) fn new(backlog: usize, options: TcpOptions) -> Self {
        Self {
            readiness: Readiness::default(),
            backlog: AtomicUsize::new(backlog),
            half_open: AtomicUsize::new(0),
            queue: Lock::default(),
            options: Lock::new(options),
        }
    }

    pub(crate) fn set_backlog(&self, backlog: usize) {
        self.backlog.store(backlog, Ordering::Release);
    }

    pub(crate) fn set_options(&self, options: TcpOptions) {
        *self.options.lock() = options;
    }

    /// The next connection that was made.
    pub(crate) fn accept(&self) -> Result<Arc<Connection>> {
        let mut queue = self.queue.lock();
        let next = queue.pop_front();
        self.readiness.set(if queue.is_empty() { 0 } else { IN });
        next.ok_or(Errno(libc::EAGAIN))
    }

    /// Takes a new connection up, if there is room for it.
    fn admit(&self) -> bool {
        let waiting = self.queue.lock().len() + self.half_open.load(Ordering::Acquire);
        if waiting > self.backlog.load(Ordering::Acquire) {
            return false;
        }
        self.half_open.fetch_add(1, Ordering::AcqRel);
        true
    }

    fn established(&self, connection: &Arc<Connection>) {
        self.half_open.fetch_sub(1, Ordering::AcqRel);
        let mut queue = self.queue.lock();
        queue.push_back(connection.clone());
        self.readiness.set(IN);
    }

    /// The application closed the port: what nobody accepted is reset.
    pub(crate) fn close(&self, core: &Core) {
        let left: Vec<_> = self.queue.lock().drain(..).collect();
        for connection in left {
            connection.close(core, true);
        }
    }
}

impl Holder for Listener {
    fn fits(&self, _: Option<SocketAddr>) -> Option<u8> {
        // Sharing a port, the one with the fewest waiting is next.
        Some(u8::MAX - u8::try_from(self.queue.lock().len()).unwrap_or(u8::MAX))
    }
}

/// Whether a connection was begun by the first of these segments.
pub(crate) fn is_first(segments: &[&[u8]]) -> bool {
    let flags = segments.first().and_then(|packet| flags(packet)).unwrap_or_default();
    flags & (ip::TCP_SYN | ip::TCP_ACK | ip::TCP_RST) == ip::TCP_SYN
}

/// A segment for which there is no connection: one is made if it begins one and somebody listens. True also where
/// it is dropped because too many wait: the other end will try again.
pub(crate) fn accept(core: &Core, now: Instant, flow: FlowId, segment: &[u8]) -> bool {
    if !is_first(&[segment]) {
        return false;
    }
    let Some(listener) = core.stack.tcp.find(flow.local, Some(flow.remote)) else { return false };
    if !listener.admit() {
        return true;
    }
    let options = *listener.options.lock();
    let connection = Arc::new(Connection::new(core, now, flow, options, Some(Arc::downgrade(&listener))));
    {
        let inner = &mut *connection.inner.lock();
        let local = IpListenEndpoint { addr: Some(flow.local.ip().into()), port: flow.local.port() };
        if inner.socket().listen(local).is_err() {
            return false;
        }
    }
    if core.stack.add(&connection) {
        connection.receive(core, now, &[segment]);
    } else {
        listener.half_open.fetch_sub(1, Ordering::AcqRel);
    }
    true
}

/// Answers a segment that belongs to nothing with a reset (RFC 9293, 3.5.2).
pub(crate) fn refuse(core: &Core, now: Instant, segment: &[u8]) {
    let Some(packet) = Packet::parse(segment) else { return };
    let Some(tcp) = packet.payload.first_chunk::<20>() else { return };
    let flags = tcp[13];
    if flags & ip::TCP_RST != 0 {
        return;
    }
    let sequence = u32::from_be_bytes([tcp[4], tcp[5], tcp[6], tcp[7]]);
    let acknowledged: [u8; 4] = [tcp[8], tcp[9], tcp[10], tcp[11]];
    let data = packet.payload.len().saturating_sub(usize::from(tcp[12] >> 4) * 4);
    let control = u32::from(flags & ip::TCP_SYN != 0) + u32::from(flags & 1 != 0);
    let length = u32::try_from(data).unwrap_or_default() + control;
    let (sequence, acknowledge, flags) = if flags & ip::TCP_ACK != 0 {
        (acknowledged, [0; 4], ip::TCP_RST)
    } else {
        ([0; 4], sequence.wrapping_add(length).to_be_bytes(), ip::TCP_RST | ip::TCP_ACK)
    };
    let mut reply = [0; 60];
    let start = ip::write_header(&mut reply, packet.destination, packet.source, ip::TCP, 64, 20);
    let header = &mut reply[start..start + 20];
    header[..2].copy_from_slice(&tcp[2..4]);
    header[2..4].copy_from_slice(&tcp[..2]);
    header[4..8].copy_from_slice(&sequence);
    header[8..12].copy_from_slice(&acknowledge);
    header[12] = 5 << 4;
    header[13] = flags;
    crate::packet::route::send_single(core, now, &reply[..start + 20]);
}

fn is_reset(packet: &[u8]) -> bool {
    flags(packet).is_some_and(|flags| flags & ip::TCP_RST != 0)
}

fn flags(packet: &[u8]) -> Option<u8> {
    Packet::parse(packet)?.payload.get(13).copied()
}

fn endpoint(address: SocketAddr) -> IpEndpoint {
    let ip: IpAddress = match address.ip() {
        IpAddr::V4(ip) => ip.into(),
        IpAddr::V6(ip) => ip.into(),
    };
    IpEndpoint::new(ip, address.port())
}

impl std::fmt::Debug for Connection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connection").field("flow", &self.flow).finish_non_exhaustive()
    }
}
