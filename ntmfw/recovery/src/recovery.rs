//! The public face: packets in both directions pass here and are given to the halves.

use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::vec;
use alloc::vec::Vec;

use ntm_proto::time::Instant;

use crate::congestion::Algorithm;
use crate::handshake::{Agreement, Handshake};
use crate::memory::PathMemory;
use crate::receiver::{Blocks, Fate, Growth, Receiver, WindowGrowth};
use crate::sender::{Ack, Departure, News, Sender, View};
use crate::seq::{self, Position};
use crate::wire::{ACK, CWR, ECE, Ecn, FIN, Fields, Headers, MAX_BLOCKS, PSH, RST, SYN, Segment};

/// How a connection is to behave.
#[derive(Clone, Copy, Debug, Default)]
pub struct Config {
    pub algorithm: Algorithm,
    /// Whether the peer is asked for explicit congestion notification.
    pub ecn: bool,
    /// What is known of the path.
    pub memory: PathMemory,
    /// How much of smoltcp's receive buffer is offered; all of it where nothing is said.
    pub window_growth: Option<WindowGrowth>,
}

/// A segment that leaves: cut to `segment` bytes of payload each where it has more.
#[derive(Debug)]
pub struct Transmit<'a> {
    /// IP and TCP headers; the whole packet where the payload is empty.
    pub headers: &'a mut [u8],
    pub payload: &'a [u8],
    pub segment: usize,
    /// The packet may be marked instead of dropped.
    pub ecn_capable: bool,
}

/// One connection's recovery.
#[derive(Debug)]
pub struct Recovery {
    config: Config,
    handshake: Handshake,
    flow: Option<Box<Flow>>,
    /// Packets that leave as they are.
    raw: VecDeque<Vec<u8>>,
    /// The one of these that is leaving.
    leaving: Vec<u8>,
}

/// A connection whose handshake is done.
#[derive(Debug)]
struct Flow {
    agreement: Agreement,
    sender: Sender,
    receiver: Receiver,
    headers: Headers,
    /// What smoltcp acknowledged last, and where the window ends that it offered then.
    acknowledged: Position,
    offered: Position,
    growth: Option<Growth>,
    /// What the application took since then.
    taken: u64,
    /// The peer was not told yet.
    ack_due: bool,
    /// The peer's window as it stood on the wire.
    peer_window: u16,
    /// For smoltcp: acknowledgments whose data waits.
    bare: Option<Vec<u8>>,
    /// The byte that smoltcp probed a closed window with, and where it belongs.
    probe: Option<(Position, u8)>,
}

impl Recovery {
    pub fn new(config: Config) -> Self {
        Self { config, handshake: Handshake::default(), flow: None, raw: VecDeque::new(), leaving: Vec::new() }
    }

    /// A buffer of at least `length` bytes, whatever they are, for smoltcp to write a packet into.
    pub fn buffer(&mut self, length: usize) -> Vec<u8> {
        match &mut self.flow {
            Some(flow) => flow.sender.buffer(length),
            None => vec![0; length],
        }
    }

    /// smoltcp emitted a packet: `buffer[..length]`, to be cut to segments of `segment` bytes.
    pub fn handle_outgoing(&mut self, now: Instant, mut buffer: Vec<u8>, length: usize, segment: Option<usize>) {
        let Some(read) = Segment::parse(&buffer[..length]) else {
            self.send_raw(buffer, length);
            return;
        };
        if read.has(SYN) {
            let flags = self.handshake.sent(now, &read, self.config.ecn);
            let at = read.transport + 13;
            buffer[at] = flags;
            self.send_raw(buffer, length);
            self.begin();
            return;
        }
        match &mut self.flow {
            Some(flow) if !read.has(RST) => {
                if let Some(raw) = flow.handle_outgoing(buffer, length, segment) {
                    self.send_raw(raw, length);
                }
            }
            flow => {
                if let Some(flow) = flow {
                    flow.sender.clear();
                }
                self.send_raw(buffer, length);
            }
        }
    }

    /// A packet came; whether smoltcp shall see it as it is. [`poll_inward`](Self::poll_inward) gives what it shall
    /// see besides.
    pub fn handle_incoming(&mut self, now: Instant, packet: &[u8], ecn: Ecn) -> bool {
        let Some(segment) = Segment::parse(packet) else { return true };
        if segment.has(SYN) {
            if self.flow.is_none() {
                self.handshake.received(now, &segment);
                self.begin();
            }
            return true;
        }
        if segment.has(RST) {
            return true;
        }
        let Some(flow) = &mut self.flow else { return true };
        if flow.sender.is_idle() && flow.agreement.trip.is_none() {
            self.handshake.answered(now);
            if let Some(agreement) = self.handshake.agreement() {
                flow.settle(agreement);
            }
        }
        flow.handle_incoming(now, &segment, ecn)
    }

    /// A packet that smoltcp shall see now.
    pub fn poll_inward(&mut self) -> Option<Vec<u8>> {
        let flow = self.flow.as_mut()?;
        if let Some(bare) = flow.bare.take() {
            return Some(bare);
        }
        flow.receiver.poll_ready(flow.sender.una(), flow.peer_window)
    }

    /// What leaves now.
    pub fn poll_transmit(&mut self, now: Instant) -> Option<Transmit<'_>> {
        if let Some(packet) = self.raw.pop_front() {
            self.leaving = packet;
            return Some(Transmit {
                headers: &mut self.leaving,
                payload: &[],
                segment: usize::MAX,
                ecn_capable: false,
            });
        }
        self.flow.as_mut()?.poll_transmit(now)
    }

    /// When [`handle_timeout`](Self::handle_timeout) must be called.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.flow.as_ref()?.sender.poll_timeout()
    }

    pub fn handle_timeout(&mut self, now: Instant) {
        if let Some(flow) = &mut self.flow {
            flow.sender.handle_timeout(now);
        }
    }

    /// The way to the peer is another one, of which `memory` is known. Where the old one has fallen silent, what was
    /// in flight leaves again at once.
    pub fn handle_path_change(&mut self, now: Instant, memory: &PathMemory) {
        self.config.memory = *memory;
        if let Some(flow) = &mut self.flow {
            flow.sender.handle_path_change(now, memory);
            // The peer may have lost every acknowledgment of a while.
            flow.receiver.report_soon();
        }
    }

    /// What is known of the path; it counts until the handshake is done.
    pub fn set_memory(&mut self, memory: &PathMemory) {
        self.config.memory = *memory;
    }

    /// Gives another control the charge.
    pub fn set_algorithm(&mut self, algorithm: Algorithm) {
        if algorithm != self.config.algorithm {
            self.config.algorithm = algorithm;
            if let Some(flow) = &mut self.flow {
                flow.sender.set_algorithm(algorithm);
            }
        }
    }

    /// The application took bytes that smoltcp had received; whether the peer is to hear of it now.
    pub fn handle_read(&mut self, now: Instant, bytes: usize) -> bool {
        self.flow.as_mut().is_some_and(|flow| flow.handle_read(now, bytes as u64))
    }

    /// The connection is over: nothing is sent again.
    pub fn stop(&mut self) {
        if let Some(flow) = &mut self.flow {
            flow.sender.clear();
        }
    }

    /// What the connection learnt of its path.
    pub fn learnt(&self) -> PathMemory {
        self.flow.as_ref().map(|flow| flow.sender.learnt()).unwrap_or_default()
    }

    /// Which control is in charge.
    pub fn algorithm(&self) -> Algorithm {
        self.config.algorithm
    }

    /// Bytes that may be in flight and that the peer has room for.
    pub fn usable_window(&self) -> u64 {
        self.flow.as_ref().map_or(0, |flow| flow.sender.usable_window())
    }

    pub fn view(&self) -> View {
        self.flow.as_ref().map(|flow| flow.sender.view()).unwrap_or_default()
    }

    fn send_raw(&mut self, mut packet: Vec<u8>, length: usize) {
        packet.truncate(length);
        self.raw.push_back(packet);
    }

    /// Begins the flow once both SYNs are known. A SYN that was lost begins it anew.
    fn begin(&mut self) {
        let Some(agreement) = self.handshake.agreement() else { return };
        if self.flow.is_none() {
            self.flow = Some(Box::new(Flow::new(&self.config, agreement)));
        }
    }
}

impl Flow {
    fn new(config: &Config, agreement: Agreement) -> Self {
        let Agreement { send_from, receive_from, segment, selective, .. } = agreement;
        let mut flow = Self {
            agreement,
            sender: Sender::new(config.algorithm, send_from, segment, &config.memory),
            receiver: Receiver::new(receive_from, agreement.own_scale, selective),
            headers: Headers::default(),
            acknowledged: receive_from,
            offered: receive_from + agreement.offered,
            growth: config.window_growth.map(Growth::new),
            taken: 0,
            ack_due: false,
            peer_window: 0,
            bare: None,
            probe: None,
        };
        flow.receiver.offer(receive_from, agreement.offered, 0);
        flow.settle(agreement);
        flow
    }

    fn settle(&mut self, agreement: Agreement) {
        self.agreement = agreement;
        self.sender.settle(agreement.selective, agreement.capable, agreement.trip);
    }

    /// Takes smoltcp's segment; gives it back where it leaves as it is.
    fn handle_outgoing(&mut self, buffer: Vec<u8>, length: usize, segment: Option<usize>) -> Option<Vec<u8>> {
        let Some(read) = Segment::parse(&buffer[..length]) else { return Some(buffer) };
        self.headers.learn(&read);
        self.note_offer(&read);
        let (size, data) = (read.length(), read.payload.len());
        if size == 0 {
            self.ack_due = true;
            self.sender.recycle(buffer);
            return None;
        }
        let mut end = self.sender.end();
        let start = seq::extend(end, read.sequence);
        if let Some((at, byte)) = self.probe
            && at == end
            && start == end + 1
        {
            // It was no probe: to smoltcp the window was open by this byte.
            self.sender.keep(vec![byte], 0, 1, false, false);
            end = self.sender.end();
        }
        let keep_alive = data == 1 && start + 1 == end && self.sender.is_idle();
        let probe = data == 1 && start == end && self.sender.is_beyond_window(start);
        if probe {
            self.probe = Some((start, read.payload[0]));
        }
        if keep_alive || probe || start > end {
            return Some(buffer);
        }
        let known = end - start;
        if known >= size {
            // smoltcp's own retransmission.
            self.sender.recycle(buffer);
            return None;
        }
        if let Some(segment) = segment {
            self.sender.set_segment(segment as u64);
        }
        let from = length - data + usize::try_from(known).unwrap_or(data).min(data);
        let (fin, push) = (read.has(FIN), read.has(PSH));
        self.sender.keep(buffer, from, length, fin, push);
        None
    }

    fn note_offer(&mut self, read: &Segment<'_>) {
        let acknowledged = seq::extend(self.receiver.next(), read.acknowledgment);
        self.ack_due |= acknowledged > self.acknowledged;
        self.acknowledged = acknowledged;
        let window = u64::from(read.window) << self.agreement.own_scale;
        self.offered = acknowledged + window;
        self.taken = 0;
        self.receiver.offer(acknowledged, window, self.growth.as_ref().map_or(0, Growth::withheld));
    }

    fn handle_read(&mut self, now: Instant, bytes: u64) -> bool {
        let Some(growth) = &mut self.growth else { return false };
        growth.take(now, bytes, self.sender.shortest_trip());
        self.taken += bytes;
        let edge = (self.offered + self.taken).saturating_sub(growth.withheld()).min(self.offered);
        // smoltcp tells of more room when its own window was small; it knows nothing of what is withheld of it.
        let short = self.receiver.edge().saturating_sub(self.receiver.next()) <= growth.limit() / 2;
        let tells = short && edge >= self.receiver.edge() + growth.limit() / 4;
        if tells {
            self.receiver.widen(edge);
            self.ack_due = true;
        }
        tells
    }

    /// The window as it stands in a segment that acknowledges so much.
    fn window(&self, acknowledged: Position) -> u16 {
        let window = self.receiver.edge().saturating_sub(acknowledged) >> self.agreement.own_scale;
        u16::try_from(window).unwrap_or(u16::MAX)
    }

    fn handle_incoming(&mut self, now: Instant, segment: &Segment<'_>, ecn: Ecn) -> bool {
        if !segment.has(ACK) {
            return true;
        }
        let ack = self.read_ack(segment);
        let news = self.sender.handle_ack(now, &ack);
        if news != News::Old {
            self.peer_window = segment.window;
        }
        self.receiver.note_mark(segment, ecn);
        let next = self.receiver.next();
        if segment.length() == 0 {
            // One that lies elsewhere asks for an answer, which smoltcp gives.
            let asks = segment.sequence != seq::wire(next);
            if news == News::Old && asks {
                self.receiver.queue_renewed(segment);
            }
            return news == News::Yes || (news == News::Duplicate && asks);
        }
        match self.receiver.handle_data(segment) {
            Fate::Pass if news == News::Old => {
                self.receiver.queue_renewed(segment);
                false
            }
            Fate::Pass => true,
            Fate::Held => {
                if news == News::Yes {
                    self.bare = Some(segment.without_data(seq::wire(next)));
                }
                false
            }
        }
    }

    fn read_ack(&self, segment: &Segment<'_>) -> Ack {
        let una = self.sender.una();
        let position = seq::extend(una, segment.acknowledgment);
        let mut blocks = [(0, 0); MAX_BLOCKS];
        let mut count = 0;
        if !segment.options.is_empty() && self.agreement.selective {
            let (read, found) = segment.blocks();
            count = found;
            for (block, (left, right)) in blocks.iter_mut().zip(&read[..found]) {
                *block = (seq::extend(una, *left), seq::extend(una, *right));
            }
        }
        Ack {
            position,
            window: u64::from(segment.window) << self.agreement.peer_scale,
            blocks,
            count,
            echo: segment.has(ECE),
            bare: segment.length() == 0,
        }
    }

    fn poll_transmit(&mut self, now: Instant) -> Option<Transmit<'_>> {
        if !self.headers.is_known() {
            return None;
        }
        if let Some(blocks) = self.receiver.poll_report() {
            return Some(self.acknowledge(&blocks));
        }
        match self.sender.poll_transmit(now) {
            Some(departure) => self.depart(&departure),
            None => self.ack_due.then(|| self.acknowledge(&([(0, 0); MAX_BLOCKS], 0))),
        }
    }

    fn depart(&mut self, departure: &Departure) -> Option<Transmit<'_>> {
        let window = self.window(self.acknowledged);
        let Self { sender, receiver, headers, .. } = self;
        let piece = sender.piece(departure)?;
        let mut flags = ACK;
        for (flag, set) in [(ECE, receiver.echoes()), (FIN, piece.fin), (PSH, piece.push), (CWR, departure.reduced)] {
            flags |= if set { flag } else { 0 };
        }
        self.ack_due = false;
        let headers = headers.write(&Fields {
            sequence: seq::wire(departure.start),
            acknowledgment: seq::wire(self.acknowledged),
            window,
            flags,
            blocks: &[],
            payload: piece.payload.len(),
            capable: departure.capable,
        });
        let segment = usize::try_from(sender.segment()).unwrap_or(usize::MAX);
        Some(Transmit { headers, payload: piece.payload, segment, ecn_capable: departure.capable })
    }

    /// An acknowledgment of all that is in order, with these blocks.
    fn acknowledge(&mut self, (blocks, count): &Blocks) -> Transmit<'_> {
        let next = self.receiver.next();
        let window = self.window(next);
        self.ack_due = false;
        let headers = self.headers.write(&Fields {
            sequence: seq::wire(self.sender.nxt()),
            acknowledgment: seq::wire(next),
            window,
            flags: ACK | if self.receiver.echoes() { ECE } else { 0 },
            blocks: &blocks[..*count],
            payload: 0,
            capable: false,
        });
        Transmit { headers, payload: &[], segment: usize::MAX, ecn_capable: false }
    }
}
