//! TCP connections.

use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use ntm_node::FlowKey;
use ntm_proto::time::Instant;
use ntm_recovery::{Algorithm, Config as RecoveryConfig, View};
use smoltcp::iface::{Config as InterfaceConfig, Interface, SocketHandle, SocketSet};
use smoltcp::socket::tcp::{CongestionControl, Socket, State};
use smoltcp::wire::{HardwareAddress, IpAddress, IpCidr, IpEndpoint, IpListenEndpoint};

use crate::errno::{Errno, Result};
use crate::runtime::Core;
use crate::stack::FlowId;
use crate::stack::buffers::{Bounds, Buffers};
use crate::stack::cork::Cork;
use crate::stack::ip::{self, Packet, Stamp};
use crate::stack::listener::Listener;
use crate::stack::readiness::{ERR, HUP, IN, OUT, RDHUP, Readiness};
use crate::stack::segment::{self, Segment};
use crate::stack::wire::{WayOut, Wire, stack_time};
use crate::sync::Lock;

/// How long a connection may take to be made: Linux's six retransmissions of a SYN.
const CONNECT_PATIENCE: Duration = Duration::from_secs(127);
/// How long data may stay unacknowledged: Linux's fifteen retransmissions. A node may be without a network for
/// so long and its connections go on.
const DATA_PATIENCE: Duration = Duration::from_secs(924);
/// How long the other end may take to finish being accepted: Linux's five retransmissions of a SYN-ACK.
const ACCEPT_PATIENCE: Duration = Duration::from_secs(63);
/// How long data of a connection that was closed may stay unacknowledged: Linux's eight retransmissions.
const ORPHAN_PATIENCE: Duration = Duration::from_secs(100);
/// How soon the other end is asked for its window where data waits and nothing else is due.
const WINDOW_PROBE: Duration = Duration::from_secs(1);
/// What is due sooner than this keeps a closed connection from being reduced to its remains.
const SOON: Duration = Duration::from_secs(1);
/// Without options.
const HEADER: usize = 20;

/// What holds for connections whose programs do not choose.
#[derive(Clone, Copy, Debug)]
pub(crate) struct StreamDefaults {
    pub(crate) congestion: Algorithm,
    pub(crate) buffers: Bounds,
    /// Whether they begin with what others learnt of their path.
    pub(crate) remember_paths: bool,
}

/// What a connection begins with.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct TcpOptions {
    /// Sizes of buffers that the program asked for; the library finds others itself.
    pub(crate) receive_buffer: Option<usize>,
    pub(crate) send_buffer: Option<usize>,
    pub(crate) no_delay: bool,
    /// Only whole segments are sent.
    pub(crate) cork: bool,
    pub(crate) keep_alive: Option<Duration>,
    pub(crate) user_timeout: Option<Duration>,
    /// Which congestion control; none is the configured one.
    pub(crate) congestion: Option<Algorithm>,
    pub(crate) stamp4: Stamp,
    pub(crate) stamp6: Stamp,
}

impl TcpOptions {
    fn stamp(&self, flow: &FlowId) -> Stamp {
        if flow.remote.is_ipv4() { self.stamp4 } else { self.stamp6 }
    }
}

/// What `TCP_INFO` tells of a connection.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Figures {
    /// Data bytes that were acknowledged, and received in order.
    pub(crate) acknowledged: u64,
    pub(crate) received: u64,
    pub(crate) segments_out: u32,
    pub(crate) segments_in: u32,
    pub(crate) since_sent: Option<Duration>,
    pub(crate) since_received: Option<Duration>,
    pub(crate) receive_room: usize,
    /// How its sender stands.
    pub(crate) sender: View,
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
    way_out: WayOut,
    /// When the timer table will wake the connection.
    armed: Option<Instant>,
    options: TcpOptions,
    error: Option<Errno>,
    /// It waits to be begun: who has the other end's address is being asked.
    reserved: bool,
    established: bool,
    /// The application shut its receiving side: what comes is thrown away.
    deaf: bool,
    /// The application has closed it.
    abandoned: bool,
    /// Keep-alives are sent to hear of the other end's window.
    asking: bool,
    /// What was given to be sent and waits for more.
    cork: Cork,
    /// Bytes that passed from and to the application.
    taken: u64,
    given: u64,
    /// Bytes that the application gave since the connection acted last.
    queued: usize,
    segments_in: u32,
    data_in_at: Option<Instant>,
    /// Last, so that it goes after the socket that it was lent to.
    buffers: Buffers,
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
        // SAFETY: `Inner` drops its sockets before its buffers.
        let (buffers, [receiving, sending]) =
            unsafe { Buffers::new(options.receive_buffer, options.send_buffer, core.stream_defaults.buffers) };
        let recovery = RecoveryConfig {
            algorithm: options.congestion.unwrap_or(core.stream_defaults.congestion),
            window_growth: buffers.growth(),
            ..RecoveryConfig::default()
        };
        let mut way_out = WayOut::new(key, recovery);
        way_out.class = options.stamp(&flow).class;
        let mut seed = [0; 8];
        let _ = getrandom::fill(&mut seed);
        let mut config = InterfaceConfig::new(HardwareAddress::Ip);
        config.random_seed = u64::from_be_bytes(seed);
        let mut wire = Wire { core, now, incoming: &[], way_out: &mut way_out };
        let mut interface = Interface::new(config, &mut wire, stack_time(now));
        // A network of everything: packets are for this connection, or were not given to it.
        interface.update_ip_addrs(|addresses| {
            let _ = addresses.push(IpCidr::new(flow.local.ip().into(), 0));
        });
        let mut socket = Socket::new(receiving, sending);
        // Control is recovery's.
        socket.set_congestion_control(CongestionControl::None);
        socket.set_timeout(Some(CONNECT_PATIENCE.into()));
        apply(&mut socket, &options, options.stamp(&flow).hops);
        let mut sockets = SocketSet::new(Vec::with_capacity(1));
        let handle = sockets.add(socket);
        let inner = Inner {
            interface,
            sockets,
            handle,
            way_out,
            armed: None,
            options,
            error: None,
            reserved: false,
            established: false,
            deaf: false,
            abandoned: false,
            asking: false,
            cork: Cork::default(),
            taken: 0,
            given: 0,
            queued: 0,
            segments_in: 0,
            data_in_at: None,
            buffers,
        };
        Self { flow, readiness: Readiness::default(), inner: Lock::new(inner), over: AtomicBool::new(false), listener }
    }

    /// A connection to be begun with [`begin`](Self::begin), which has its ports.
    pub(crate) fn reserve(core: &Core, flow: FlowId, options: TcpOptions) -> Result<Arc<Self>> {
        let connection = Arc::new(Self::new(core, core.now(), flow, options, None));
        connection.inner.lock().reserved = true;
        if core.stack.add(&connection) { Ok(connection) } else { Err(Errno(libc::EADDRNOTAVAIL)) }
    }

    /// Sends the SYN; or, where `error` says why nobody can be reached, ends it with that.
    pub(crate) fn begin(self: &Arc<Self>, core: &Core, known: Result<()>) {
        let inner = &mut *self.inner.lock();
        if !std::mem::take(&mut inner.reserved) {
            return;
        }
        let begun = known.and_then(|()| {
            let socket = inner.sockets.get_mut::<Socket<'_>>(inner.handle);
            let context = inner.interface.context();
            let begun = socket.connect(context, endpoint(self.flow.remote), endpoint(self.flow.local));
            begun.map_err(|_| Errno(libc::EINVAL))
        });
        if let Err(error) = begun {
            inner.fail(error);
        }
        self.run(core, core.now(), inner, &[]);
    }

    /// A connection that the other end begins.
    pub(crate) fn incoming(core: &Core, now: Instant, flow: FlowId, listener: &Arc<Listener>) -> Arc<Self> {
        let connection = Self::new(core, now, flow, listener.options(), Some(Arc::downgrade(listener)));
        {
            let inner = &mut *connection.inner.lock();
            let local = IpListenEndpoint { addr: Some(flow.local.ip().into()), port: flow.local.port() };
            let socket = inner.socket();
            socket.set_timeout(Some(ACCEPT_PATIENCE.into()));
            socket.listen(local).expect("a new socket listens at a port that is not zero");
        }
        Arc::new(connection)
    }

    /// Takes segments that came for this connection.
    pub(crate) fn receive(self: &Arc<Self>, core: &Core, now: Instant, segments: &[&[u8]]) {
        let inner = &mut *self.inner.lock();
        let before = inner.state();
        inner.segments_in = inner.segments_in.wrapping_add(u32::try_from(segments.len()).unwrap_or_default());
        let mut parsed = segments.iter().filter_map(|packet| Segment::parse(packet));
        let reset = parsed.clone().any(|segment| segment.has(ip::TCP_RST));
        let unread = inner.socket().recv_queue();
        if parsed.any(|segment| segment.data > 0) {
            inner.data_in_at = Some(now);
        }
        self.act(core, now, inner, segments);
        if unread > 0 && inner.socket().recv_queue() > unread {
            self.readiness.show_arrival();
        }
        if inner.state() == State::Closed && before != State::Closed && reset {
            let refused = matches!(before, State::SynSent | State::SynReceived | State::Listen);
            inner.fail(Errno(if refused { libc::ECONNREFUSED } else { libc::ECONNRESET }));
        }
        self.show(inner);
    }

    /// Answers the beginning of another connection with the same ends as this one, of which smoltcp 0.14 takes no
    /// notice: whoever has forgotten this one resets it then, and tries again (RFC 9293, 3.5.1 and 3.10.7.4).
    pub(crate) fn challenge(&self, core: &Core, now: Instant, packet: &[u8]) {
        let inner = &*self.inner.lock();
        if inner.established
            && let Some(last) = inner.way_out.last
            && let Some(packet) = Packet::parse(packet)
        {
            segment::answer(core, now, &packet, last.sequence, last.acknowledge, ip::TCP_ACK);
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
        if inner.cork.until().is_some_and(|until| until <= at) {
            inner.uncork();
        }
        self.act(core, core.now(), inner, &[]);
        if inner.state() == State::Closed && !matches!(before, State::Closed | State::TimeWait | State::LastAck) {
            inner.fail(Errno(libc::ETIMEDOUT));
        }
        self.show(inner);
    }

    /// Queues what fits and sends what may go; `more` will come in a moment. `EAGAIN` where nothing fits.
    pub(crate) fn send(self: &Arc<Self>, core: &Core, data: &[u8], more: bool) -> Result<usize> {
        self.send_by(core, |inner| inner.queue(core.now(), data, more))
    }

    /// Queues what `fill` writes into the room that there is, and gives what `fill` gives. `EAGAIN` where there is no
    /// room; `fill` was not called then.
    pub(crate) fn send_from(
        self: &Arc<Self>,
        core: &Core,
        fill: impl FnOnce(&mut [u8]) -> Result<usize>,
    ) -> Result<usize> {
        self.send_by(core, |inner| {
            inner.uncork();
            let free = inner.send_room();
            let filled = inner.socket().send(|room| {
                let most = room.len().min(free);
                let filled = if most == 0 { Err(Errno(libc::EAGAIN)) } else { fill(&mut room[..most]) };
                (filled.unwrap_or(0), filled)
            });
            filled.unwrap_or(Err(Errno(libc::EPIPE)))
        })
    }

    fn send_by(self: &Arc<Self>, core: &Core, queue: impl FnOnce(&mut Inner) -> Result<usize>) -> Result<usize> {
        self.with(core, |inner| {
            inner.check()?;
            let reserved = inner.reserved;
            let socket = inner.socket();
            if !socket.may_send() {
                let early = reserved || matches!(socket.state(), State::SynSent | State::SynReceived);
                return Err(Errno(if early { libc::EAGAIN } else { libc::EPIPE }));
            }
            let taken = queue(inner)?;
            inner.taken += taken as u64;
            inner.queued += taken;
            Ok(taken)
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
        let (deaf, failed, reserved) = (inner.deaf, inner.error, inner.reserved);
        let socket = inner.socket();
        if socket.can_recv() {
            let before = socket.recv_queue();
            let taken = take(socket);
            let gone = before - socket.recv_queue();
            inner.given += gone as u64;
            if gone > 0 {
                // What was taken may open the window, or leave nothing to read.
                let now = core.now();
                let empty = inner.socket().recv_queue() == 0;
                // SAFETY: smoltcp is not at work, and reads nothing of an empty buffer.
                unsafe { inner.buffers.note_received(now, gone, empty) };
                let tells = inner.way_out.recovery.handle_read(now, gone);
                if tells || inner.is_due(now) {
                    self.run(core, now, inner, &[]);
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
            _ if reserved => Err(Errno(libc::EAGAIN)),
            _ if deaf || !socket.may_recv() => Ok(0),
            _ => Err(Errno(libc::EAGAIN)),
        }
    }

    /// No more will be sent, received, or neither.
    pub(crate) fn shutdown(self: &Arc<Self>, core: &Core, receiving: bool, sending: bool) -> Result<()> {
        self.with(core, |inner| {
            if inner.state() == State::Closed {
                return Err(Errno(libc::ENOTCONN));
            }
            inner.deaf |= receiving;
            if sending {
                inner.uncork();
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
            inner.reserved = false;
            inner.uncork();
            let socket = inner.socket();
            if abruptly || socket.recv_queue() > 0 {
                socket.abort();
            } else {
                socket.close();
                socket.set_timeout(Some(ORPHAN_PATIENCE.into()));
            }
        });
    }

    /// Whether it is made, and neither over nor still being made.
    pub(crate) fn is_connected(&self) -> bool {
        let inner = &mut *self.inner.lock();
        inner.established && !matches!(inner.state(), State::Closed | State::TimeWait)
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
            inner.buffers.want(options.send_buffer);
            inner.asking = false;
            inner.way_out.class = options.stamp(&self.flow).class;
            inner.way_out.recovery.set_algorithm(options.congestion.unwrap_or(core.stream_defaults.congestion));
            apply(inner.socket(), &options, options.stamp(&self.flow).hops);
            if !options.cork {
                inner.uncork();
            }
        });
    }

    /// Bytes that can be read, and bytes that were not acknowledged yet.
    pub(crate) fn queues(&self) -> (usize, usize) {
        let inner = &mut *self.inner.lock();
        let unacknowledged = inner.unacknowledged();
        (inner.socket().recv_queue(), unacknowledged)
    }

    /// Whether the application has closed it and the peer has not acknowledged everything yet, the end included.
    pub(crate) fn has_unsent(&self) -> bool {
        let inner = &mut *self.inner.lock();
        inner.abandoned && !matches!(inner.state(), State::Closed | State::TimeWait | State::FinWait2)
    }

    pub(crate) fn state(&self) -> State {
        let inner = &mut *self.inner.lock();
        if inner.reserved { State::SynSent } else { inner.state() }
    }

    pub(crate) fn figures(&self, now: Instant) -> Figures {
        let inner = &mut *self.inner.lock();
        let unacknowledged = inner.unacknowledged();
        let socket = inner.socket();
        let (queued, receive_room) = (socket.recv_queue(), socket.recv_capacity());
        Figures {
            acknowledged: inner.taken.saturating_sub(unacknowledged as u64),
            received: inner.given + queued as u64,
            segments_out: inner.way_out.segments,
            segments_in: inner.segments_in,
            since_sent: inner.way_out.data_at.map(|at| now.since(at)),
            since_received: inner.data_in_at.map(|at| now.since(at)),
            receive_room,
            sender: inner.way_out.recovery.view(),
        }
    }

    /// Packets to the other end go another way now.
    pub(crate) fn path_changed(self: &Arc<Self>, core: &Core) {
        self.with(core, |inner| inner.way_out.path_changed(core, core.now()));
    }

    pub(crate) fn congestion(&self) -> Algorithm {
        self.inner.lock().way_out.recovery.algorithm()
    }

    fn with<T>(self: &Arc<Self>, core: &Core, act: impl FnOnce(&mut Inner) -> T) -> T {
        let inner = &mut *self.inner.lock();
        let result = act(inner);
        self.run(core, core.now(), inner, &[]);
        result
    }

    fn run(self: &Arc<Self>, core: &Core, now: Instant, inner: &mut Inner, segments: &[&[u8]]) {
        self.act(core, now, inner, segments);
        self.show(inner);
    }

    /// Lets the connection act, and draws the consequences.
    fn act(self: &Arc<Self>, core: &Core, now: Instant, inner: &mut Inner, segments: &[&[u8]]) {
        let Inner { interface, sockets, way_out, .. } = inner;
        if !inner.established {
            way_out.recall(core, now);
        }
        if way_out.recovery.poll_timeout().is_some_and(|at| at <= now) {
            way_out.recovery.handle_timeout(now);
        }
        way_out.begin();
        let mut wire = Wire { core, now, incoming: segments, way_out };
        interface.poll(stack_time(now), &mut wire, sockets);
        if inner.deaf {
            inner.throw_away(now);
        }
        inner.way_out.flush(core, now);
        let sent = std::mem::take(&mut inner.queued);
        let empty = inner.socket().send_queue() == 0;
        // SAFETY: smoltcp is not at work, and reads nothing of an empty buffer.
        unsafe { inner.buffers.note_sent(now, sent, empty) };
        if inner.abandoned && inner.socket().recv_queue() > 0 {
            // Nobody will read it: the other end shall know.
            inner.abort(core, now);
        }
        if !inner.established && matches!(inner.state(), State::Established | State::CloseWait) {
            inner.established = true;
            let patience = inner.options.user_timeout.unwrap_or(DATA_PATIENCE);
            inner.socket().set_timeout(Some(patience.into()));
            if let Some(listener) = &self.listener
                && !listener.upgrade().is_some_and(|listener| listener.established(self))
            {
                inner.abandoned = true;
                inner.abort(core, now);
            }
        }
        self.end(core, now, inner);
        self.arm(core, now, inner);
    }

    /// Notes that nothing will come of it any more, where that is so, and leaves what need not stay.
    fn end(self: &Arc<Self>, core: &Core, now: Instant, inner: &mut Inner) {
        let state = inner.state();
        // One that was being accepted listens again after a reset; its port does that, it need not.
        let over = !inner.reserved && matches!(state, State::Closed | State::TimeWait | State::Listen);
        if over && !self.over.swap(true, Ordering::AcqRel) {
            if inner.established {
                inner.way_out.bequeath(core, now);
            } else if let Some(listener) = self.listener.as_ref().and_then(Weak::upgrade) {
                listener.half_open_ended();
            }
        }
        if over && state != State::TimeWait {
            inner.way_out.recovery.stop();
            core.stack.forget(self);
        }
        if inner.abandoned && matches!(state, State::FinWait2 | State::TimeWait) {
            let next = inner.delay(now);
            if (inner.way_out.goes_round() || next.is_none_or(|delay| delay > SOON.into()))
                && let Some(last) = inner.way_out.last
            {
                core.stack.forget(self);
                core.stack.remains.add(now, self.flow, last);
            }
        }
    }

    /// Where the other end's window was closed when data timed out, smoltcp 0.14 waits for it to be opened and asks no
    /// more: the one segment that says so may be lost. Keep-alives ask, for as long as data waits.
    fn keep_asking(&self, now: Instant, inner: &mut Inner) {
        let waits = inner.socket().send_queue() > 0;
        let delay = inner.delay(now);
        if waits && !inner.asking && inner.established && delay.is_none_or(|delay| delay > SOON.into()) {
            inner.asking = true;
            inner.socket().set_keep_alive(Some(WINDOW_PROBE.into()));
        } else if !waits && inner.asking {
            inner.asking = false;
            let usual = inner.options.keep_alive.map(Into::into);
            inner.socket().set_keep_alive(usual);
        }
    }

    fn arm(self: &Arc<Self>, core: &Core, now: Instant, inner: &mut Inner) {
        self.keep_asking(now, inner);
        let delay = inner.delay(now);
        let wanted = delay.map(|delay| now + Duration::from_micros(delay.total_micros()));
        let Some(at) = [wanted, inner.cork.until(), inner.way_out.recovery.poll_timeout()].into_iter().flatten().min()
        else {
            return;
        };
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
        let (deaf, established, reserved) = (inner.deaf, inner.established, inner.reserved);
        let limit = inner.send_limit();
        let free = limit.saturating_sub(inner.unacknowledged());
        let socket = inner.socket();
        let state = socket.state();
        let mut bits = 0;
        let opening = reserved || matches!(state, State::SynSent | State::SynReceived | State::Listen);
        if !opening {
            let ended = !socket.may_recv() || deaf;
            if socket.can_recv() || ended {
                bits |= IN;
            }
            if ended && established {
                bits |= RDHUP;
            }
            let roomy = free >= limit / 4 || (old & OUT != 0 && free > 0);
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

    fn fail(&mut self, error: Errno) {
        self.error.get_or_insert(error);
    }

    /// Bytes that the other end has not acknowledged, those that wait for more among them.
    fn unacknowledged(&mut self) -> usize {
        self.socket().send_queue() + self.cork.len()
    }

    /// How many bytes may be unacknowledged.
    fn send_limit(&self) -> usize {
        self.buffers.send_limit(self.way_out.recovery.usable_window())
    }

    /// How many more there may be.
    fn send_room(&mut self) -> usize {
        self.send_limit().saturating_sub(self.unacknowledged())
    }

    /// Takes what fits of `data`.
    fn queue(&mut self, now: Instant, data: &[u8], more: bool) -> Result<usize> {
        let corked = more || self.options.cork;
        let taken = data.len().min(self.send_room());
        if taken == 0 && !data.is_empty() {
            return Err(Errno(libc::EAGAIN));
        }
        if !corked && self.cork.len() == 0 {
            return self.socket().send_slice(&data[..taken]).map_err(|_| Errno(libc::EPIPE));
        }
        self.cork.hold(now, &data[..taken]);
        if corked {
            let segment = ntm_node::VIRTUAL_MTU - ip::header_length(self.way_out.destination()) - HEADER;
            let Self { sockets, handle, cork, .. } = self;
            let full = cork.full(segment);
            let sent = sockets.get_mut::<Socket<'_>>(*handle).send_slice(full).unwrap_or_default();
            cork.release(sent);
        } else {
            self.uncork();
        }
        Ok(taken)
    }

    /// What waited for more waits no longer.
    fn uncork(&mut self) {
        let Self { sockets, handle, cork, .. } = self;
        if cork.len() > 0 {
            let sent = sockets.get_mut::<Socket<'_>>(*handle).send_slice(cork.all()).unwrap_or(cork.len());
            cork.release(sent);
        }
    }

    fn throw_away(&mut self, now: Instant) {
        let socket = self.socket();
        let waiting = socket.recv_queue();
        while socket.can_recv() && socket.recv(|data| (data.len(), ())).is_ok() {}
        if waiting > 0 {
            // SAFETY: smoltcp is not at work, and reads nothing of a buffer that was emptied.
            unsafe { self.buffers.note_received(now, waiting, true) };
            self.way_out.recovery.handle_read(now, waiting);
        }
    }

    /// Ends it with a reset, which is sent.
    fn abort(&mut self, core: &Core, now: Instant) {
        self.socket().abort();
        let Self { interface, sockets, way_out, .. } = self;
        interface.poll(stack_time(now), &mut Wire { core, now, incoming: &[], way_out }, sockets);
        way_out.flush(core, now);
    }

    /// How soon smoltcp wants to act.
    fn delay(&mut self, now: Instant) -> Option<smoltcp::time::Duration> {
        if self.way_out.goes_round() {
            return Some(WINDOW_PROBE.into());
        }
        self.interface.poll_delay(stack_time(now), &self.sockets)
    }

    fn is_due(&mut self, now: Instant) -> bool {
        self.delay(now).is_some_and(|delay| delay.total_micros() == 0)
    }
}

fn apply(socket: &mut Socket<'_>, options: &TcpOptions, hops: u8) {
    socket.set_nagle_enabled(!options.no_delay);
    socket.set_keep_alive(options.keep_alive.map(Into::into));
    // smoltcp panics at zero hops.
    socket.set_hop_limit(Some(hops.max(1)));
    if let Some(patience) = options.user_timeout {
        socket.set_timeout(Some(patience.into()));
    }
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
