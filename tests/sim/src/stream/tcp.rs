//! A TCP connection that checks every byte: smoltcp's, one interface with one socket a connection.
//!
//! smoltcp's shortest retransmission timeout is a second, doubles up to a minute, and its fast
//! retransmission resends one segment. The library has a sender of its own for that; here a stand-in with
//! the same effect keeps the tests short: where nothing was acknowledged for a few round trips, or where
//! [`TcpPeer::path_changed`] says so, the connection's clock moves forward to the moment smoltcp's timer
//! fires, and everything unacknowledged is sent again at once.
//!
//! Invariant: `written` bytes of the outgoing pattern have gone to the socket in order, and the first
//! `received` bytes of the incoming one have been found right, unless `corruption` says where not.

use crate::stream::VIRTUAL_MTU;
use crate::stream::patience::Patience;
use crate::stream::pattern::{Corruption, Pattern};
use crate::stream::port::Port;
use crate::stream::segment::{WINDOW, endpoints, segment, takes_sequence_space};
use ntm_proto::time::Instant;
use smoltcp::iface::{Config, Interface, SocketHandle, SocketSet};
use smoltcp::socket::tcp::{CongestionControl, Socket, SocketBuffer, State};
use smoltcp::time::Instant as StackInstant;
use smoltcp::wire::{HardwareAddress, IpAddress, IpCidr, IpEndpoint, IpListenEndpoint};
use std::collections::VecDeque;
use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

pub const DEFAULT_BUFFER: usize = 256 * 1024;
/// How many other timers may fire before that of the retransmission.
const TIMERS: usize = 4;
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    Connect,
    Listen,
}

/// Bytes to send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Source {
    /// Of the pattern; the receiver must have the same.
    pub seed: u64,
    /// After so many bytes, this end's direction is closed. `u64::MAX` never is.
    pub length: u64,
    /// Bytes a second; `None` is as fast as the connection takes them.
    pub rate: Option<u64>,
    /// With a rate, how many bytes the application writes at a time.
    pub chunk: usize,
}

impl Source {
    /// `length` bytes as fast as they go.
    pub const fn bulk(seed: u64, length: u64) -> Self {
        Self { seed, length, rate: None, chunk: 0 }
    }

    /// `chunk` bytes at a time, `rate` bytes a second, without end.
    pub const fn steady(seed: u64, rate: u64, chunk: usize) -> Self {
        Self { seed, length: u64::MAX, rate: Some(rate), chunk }
    }

    /// Nothing: this end closes its direction at once.
    pub const NOTHING: Self = Self::bulk(0, 0);
}

#[derive(Clone, Copy, Debug)]
pub struct TcpConfig {
    pub role: Role,
    pub local: SocketAddr,
    pub remote: SocketAddr,
    pub mtu: usize,
    /// Of each direction, in bytes; also the largest window.
    pub buffer: usize,
    pub send: Source,
    /// What the other end sends.
    pub expect: Source,
    /// Of initial sequence numbers.
    pub seed: u64,
}

impl TcpConfig {
    pub const fn new(role: Role, local: SocketAddr, remote: SocketAddr) -> Self {
        Self {
            role,
            local,
            remote,
            mtu: VIRTUAL_MTU,
            buffer: DEFAULT_BUFFER,
            send: Source::NOTHING,
            expect: Source::NOTHING,
            seed: 1,
        }
    }

    pub const fn send(mut self, send: Source) -> Self {
        self.send = send;
        self
    }

    pub const fn expect(mut self, expect: Source) -> Self {
        self.expect = expect;
        self
    }

    pub const fn mtu(mut self, mtu: usize) -> Self {
        self.mtu = mtu;
        self
    }

    pub const fn buffer(mut self, buffer: usize) -> Self {
        self.buffer = buffer;
        self
    }

    pub const fn seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }

    /// The other end of this one's connection.
    pub const fn mirrored(self) -> Self {
        let role = match self.role {
            Role::Connect => Role::Listen,
            Role::Listen => Role::Connect,
        };
        let Self { local, remote, send, expect, .. } = self;
        Self { role, local: remote, remote: local, send: expect, expect: send, seed: !self.seed, ..self }
    }
}

/// How far a connection has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    pub written: u64,
    pub received: u64,
    pub connected_at: Option<Instant>,
    pub first_byte_at: Option<Instant>,
    pub last_byte_at: Option<Instant>,
    /// When both directions were closed in order, with all that was to come.
    pub completed_at: Option<Instant>,
    pub corruption: Option<Corruption>,
    /// The other end closed its direction too early, or one of them reset the connection.
    pub broken: bool,
    longest_stall: Duration,
}

/// One end of a connection. See the [module](crate::stream) for its driving loop.
pub struct TcpPeer {
    config: TcpConfig,
    interface: Interface,
    sockets: SocketSet<'static>,
    handle: SocketHandle,
    outbox: VecDeque<Vec<u8>>,
    started: bool,
    /// The application's clock runs from the connection's establishment.
    progress: Progress,
    patience: Patience,
    /// The last window made up for a closing connection.
    windows: u16,
    /// How far this connection's clock is ahead.
    skew: Duration,
    /// Whether something happened since smoltcp last had the turn.
    dirty: bool,
}

impl TcpPeer {
    pub fn new(config: TcpConfig) -> Self {
        let mut interface_config = Config::new(HardwareAddress::Ip);
        interface_config.random_seed = config.seed;
        let mut outbox = VecDeque::new();
        let mut port = Port { mtu: config.mtu, inbound: None, outbox: &mut outbox };
        let mut interface = Interface::new(interface_config, &mut port, StackInstant::ZERO);
        interface.update_ip_addrs(|addresses| {
            // With everything on the link there is nothing to route.
            let full = addresses.push(IpCidr::new(IpAddress::from(config.local.ip()), 0));
            debug_assert!(full.is_ok());
        });
        let buffer = || SocketBuffer::new(vec![0; config.buffer]);
        let mut socket = Socket::new(buffer(), buffer());
        // Not what smoltcp would choose: that depends on what else is built in the same run.
        socket.set_congestion_control(CongestionControl::None);
        // What is written goes out: the tests measure the network, not Nagle's algorithm.
        socket.set_nagle_enabled(false);
        let mut sockets = SocketSet::new(Vec::new());
        let handle = sockets.add(socket);
        Self {
            config,
            interface,
            sockets,
            handle,
            outbox,
            started: false,
            progress: Progress::default(),
            patience: Patience::default(),
            windows: 0,
            skew: Duration::ZERO,
            dirty: true,
        }
    }

    /// A virtual packet for this connection. Others are not for this peer: see [`TcpPeer::owns`].
    pub fn handle_packet(&mut self, now: Instant, packet: &[u8]) {
        match self.without_stranding_fin(packet) {
            Some(packet) => self.turn(now, Some(&packet)),
            None => self.turn(now, Some(packet)),
        }
    }

    /// The next virtual packet to send. Call until `None` after each `handle_*` and when the timeout is due.
    pub fn poll_packet(&mut self, now: Instant) -> Option<Vec<u8>> {
        if self.outbox.is_empty() && self.patience.ends_at().is_some_and(|at| at <= now) {
            self.patience.lost();
            self.resend(now);
        }
        if self.outbox.is_empty() && self.poll_timeout(now).is_some_and(|at| at <= now) {
            self.turn(now, None);
        }
        // Each further turn is owed to progress: bytes written, bytes read, a connection established.
        while self.outbox.is_empty() && self.dirty {
            self.turn(now, None);
        }
        self.outbox.pop_front()
    }

    /// When to call [`TcpPeer::poll_packet`] next even if nothing arrives.
    pub fn poll_timeout(&mut self, now: Instant) -> Option<Instant> {
        if self.dirty || !self.outbox.is_empty() {
            return Some(now);
        }
        let stack = self.interface.poll_at(self.stack_time(now), &self.sockets).map(|at| self.real_time(at).max(now));
        let patience = self.patience.ends_at().map(|at| at.max(now));
        [stack, self.next_chunk_at(now), patience].into_iter().flatten().min()
    }

    /// Tells the connection that its packets take another path now: what is unacknowledged is sent again at once.
    pub fn path_changed(&mut self, now: Instant) {
        self.patience.take_heart();
        self.resend(now);
    }

    /// Whether `packet` is between this connection's addresses and ports.
    pub fn owns(&self, packet: &[u8]) -> bool {
        endpoints(packet) == Some((self.config.remote, self.config.local))
    }

    pub fn config(&self) -> &TcpConfig {
        &self.config
    }

    pub fn progress(&self) -> &Progress {
        &self.progress
    }

    pub fn is_complete(&self) -> bool {
        self.progress.completed_at.is_some()
    }

    pub fn is_established(&self) -> bool {
        self.progress.connected_at.is_some() && !self.progress.broken
    }

    /// What went wrong, if anything did: what a user would call a defect.
    pub fn verdict(&self) -> Result<(), String> {
        if let Some(corruption) = self.progress.corruption {
            return Err(corruption.to_string());
        }
        if self.progress.broken {
            let (received, length) = (self.progress.received, self.config.expect.length);
            return Err(format!("the connection broke after {received} of {length} bytes"));
        }
        Ok(())
    }

    /// The longest time that no byte came while more were to come, that up to `now` included.
    pub fn longest_stall(&self, now: Instant) -> Duration {
        self.progress.longest_stall.max(self.current_stall(now))
    }

    /// Starts measuring stalls afresh, such as before a move.
    pub fn forget_stalls(&mut self, now: Instant) {
        self.progress.longest_stall = Duration::ZERO;
        if self.progress.last_byte_at.is_some() {
            self.progress.last_byte_at = Some(now);
        }
    }

    fn current_stall(&self, now: Instant) -> Duration {
        match self.progress.last_byte_at {
            Some(last) if self.progress.received < self.config.expect.length => now.since(last),
            _ => Duration::ZERO,
        }
    }

    fn stack_time(&self, now: Instant) -> StackInstant {
        let micros = (now + self.skew).as_nanos() / 1_000;
        StackInstant::from_micros(i64::try_from(micros).unwrap_or(i64::MAX))
    }

    fn real_time(&self, at: StackInstant) -> Instant {
        let nanos = u64::try_from(at.total_micros()).unwrap_or(0).saturating_mul(1_000);
        Instant::from_nanos(nanos) - self.skew
    }

    /// Moves the clock forward until smoltcp sends what is unacknowledged again.
    fn resend(&mut self, now: Instant) {
        self.patience.sent_again();
        for _ in 0..TIMERS {
            if !self.awaits_acknowledgement() {
                break;
            }
            let before = self.outbox.len();
            let Some(at) = self.interface.poll_at(self.stack_time(now), &self.sockets) else { break };
            self.skew += self.real_time(at).since(now);
            self.turn(now, None);
            if self.outbox.iter().skip(before).any(|packet| takes_sequence_space(packet)) {
                break;
            }
        }
        self.note_acknowledged(now);
    }

    fn awaits_acknowledgement(&self) -> bool {
        let socket = self.sockets.get::<Socket<'_>>(self.handle);
        let unacknowledged = matches!(
            socket.state(),
            State::SynSent | State::SynReceived | State::FinWait1 | State::Closing | State::LastAck
        );
        unacknowledged || socket.send_queue() > 0
    }

    /// smoltcp 0.14 counts duplicate acknowledgements while its FIN alone is outstanding, at the third wants
    /// to resend data, has none, and is left without a timer: the FIN is never sent again. A segment that
    /// changes the window does not count, and with nothing left to send the window does not matter.
    fn without_stranding_fin(&mut self, packet: &[u8]) -> Option<Vec<u8>> {
        let socket = self.sockets.get::<Socket<'_>>(self.handle);
        let closing = matches!(socket.state(), State::FinWait1 | State::Closing | State::LastAck);
        if !closing || socket.send_queue() > 0 {
            return None;
        }
        let window = packet.len() - segment(packet)?.len() + WINDOW;
        let mut other = packet.to_vec();
        self.windows = self.windows.wrapping_add(1).max(1);
        other.get_mut(window..window + 2)?.copy_from_slice(&self.windows.to_be_bytes());
        Some(other)
    }

    /// Bytes of the outgoing pattern that the other end has; one more for each of SYN and FIN.
    fn acknowledged(&self) -> u64 {
        let socket = self.sockets.get::<Socket<'_>>(self.handle);
        let fin = matches!(socket.state(), State::FinWait2 | State::TimeWait | State::Closed);
        let syn = self.progress.connected_at.is_some();
        self.progress.written - socket.send_queue() as u64 + u64::from(syn) + u64::from(fin)
    }

    fn note_acknowledged(&mut self, now: Instant) {
        let waiting = self.awaits_acknowledgement();
        let outstanding = self.progress.written + u64::from(self.progress.connected_at.is_some());
        self.patience.note(now, self.acknowledged(), outstanding, waiting);
    }

    /// Gives smoltcp and the application their turn.
    fn turn(&mut self, now: Instant, inbound: Option<&[u8]>) {
        self.dirty = false;
        self.start();
        self.write(now);
        let at = self.stack_time(now);
        let mut port = Port { mtu: self.config.mtu, inbound, outbox: &mut self.outbox };
        self.interface.poll(at, &mut port, &mut self.sockets);
        let wrote = self.write(now);
        let read = self.read(now);
        // What the application did may make packets: data, a window update, a FIN.
        self.dirty = wrote || read;
        self.note_state(now);
        self.note_acknowledged(now);
    }

    fn start(&mut self) {
        if self.started {
            return;
        }
        self.started = true;
        let (local, remote) = (self.config.local, self.config.remote);
        let socket = self.sockets.get_mut::<Socket<'_>>(self.handle);
        let opened = match self.config.role {
            Role::Connect => socket
                .connect(self.interface.context(), IpEndpoint::from(remote), IpListenEndpoint::from(local))
                .map_err(|error| error.to_string()),
            Role::Listen => socket.listen(IpListenEndpoint::from(local)).map_err(|error| error.to_string()),
        };
        self.progress.broken |= opened.is_err();
    }

    /// How many bytes the application has made by `now`.
    fn produced(&self, now: Instant) -> u64 {
        let Source { length, rate, chunk, .. } = self.config.send;
        match (rate, self.progress.connected_at) {
            (_, None) => 0,
            (None, _) => length,
            (Some(rate), Some(start)) => {
                let bytes = now.since(start).as_nanos() * u128::from(rate) / 1_000_000_000;
                let chunk = chunk.max(1) as u64;
                let chunks = u64::try_from(bytes).unwrap_or(u64::MAX) / chunk + 1;
                chunks.saturating_mul(chunk).min(length)
            }
        }
    }

    /// When the application makes its next chunk. While the socket's buffer is full, it is an acknowledgement
    /// that wakes.
    fn next_chunk_at(&self, now: Instant) -> Option<Instant> {
        let (start, rate) = (self.progress.connected_at?, self.config.send.rate?);
        let written = self.progress.written;
        if written >= self.config.send.length {
            return None;
        }
        if written < self.produced(now) {
            return self.sockets.get::<Socket<'_>>(self.handle).can_send().then_some(now);
        }
        let nanos = (u128::from(written) * 1_000_000_000).div_ceil(u128::from(rate.max(1)));
        Some(start + Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX)))
    }

    fn write(&mut self, now: Instant) -> bool {
        let (produced, length) = (self.produced(now), self.config.send.length);
        let pattern = Pattern::new(self.config.send.seed);
        let socket = self.sockets.get_mut::<Socket<'_>>(self.handle);
        let before = self.progress.written;
        while self.progress.written < produced && socket.can_send() {
            let (offset, left) = (self.progress.written, produced - self.progress.written);
            let taken = socket.send(|buffer| {
                let take = buffer.len().min(usize::try_from(left).unwrap_or(usize::MAX));
                pattern.fill(offset, &mut buffer[..take]);
                (take, take)
            });
            match taken {
                Ok(taken) if taken > 0 => self.progress.written += taken as u64,
                _ => break,
            }
        }
        let done = self.progress.connected_at.is_some() && self.progress.written == length;
        let close = done && matches!(socket.state(), State::Established | State::CloseWait);
        if close {
            socket.close();
        }
        close || self.progress.written > before
    }

    fn read(&mut self, now: Instant) -> bool {
        let pattern = Pattern::new(self.config.expect.seed);
        let socket = self.sockets.get_mut::<Socket<'_>>(self.handle);
        let before = self.progress.received;
        while socket.can_recv() {
            let (offset, length) = (self.progress.received, self.config.expect.length);
            let checked = socket.recv(|bytes| (bytes.len(), (bytes.len(), check(pattern, offset, length, bytes))));
            let Ok((count, checked)) = checked else { break };
            self.progress.received += count as u64;
            if let Err(corruption) = checked {
                self.progress.corruption.get_or_insert(corruption);
            }
        }
        if self.progress.received == before {
            return false;
        }
        self.progress.first_byte_at.get_or_insert(now);
        if let Some(last) = self.progress.last_byte_at.replace(now) {
            self.progress.longest_stall = self.progress.longest_stall.max(now.since(last));
        }
        true
    }

    fn note_state(&mut self, now: Instant) {
        let socket = self.sockets.get_mut::<Socket<'_>>(self.handle);
        let state = socket.state();
        if self.progress.connected_at.is_none() && socket.may_send() {
            self.progress.connected_at = Some(now);
            // The application may write now.
            self.dirty = true;
        }
        if self.progress.completed_at.is_some() || self.progress.broken || self.progress.connected_at.is_none() {
            return;
        }
        let all_received = self.progress.received == self.config.expect.length;
        let theirs_closed = !socket.may_recv() && !socket.can_recv();
        match state {
            // The last state of the end that closed last, reached when its FIN was acknowledged.
            State::Closed | State::TimeWait if all_received && self.progress.written == self.config.send.length => {
                self.progress.completed_at = Some(now);
            }
            State::Closed => self.progress.broken = true,
            _ if theirs_closed && !all_received => self.progress.broken = true,
            _ => {}
        }
    }
}

impl fmt::Debug for TcpPeer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TcpPeer")
            .field("state", &self.sockets.get::<Socket<'_>>(self.handle).state())
            .field("patience", &self.patience)
            .field("config", &self.config)
            .field("progress", &self.progress)
            .finish_non_exhaustive()
    }
}

fn check(pattern: Pattern, offset: u64, length: u64, bytes: &[u8]) -> Result<(), Corruption> {
    let due = usize::try_from(length - offset.min(length)).unwrap_or(usize::MAX).min(bytes.len());
    pattern.check(offset, &bytes[..due])?;
    // More than was sent: whatever it is, it is wrong.
    match bytes.get(due) {
        Some(&found) => Err(Corruption { offset: offset + due as u64, expected: !found, found }),
        None => Ok(()),
    }
}
