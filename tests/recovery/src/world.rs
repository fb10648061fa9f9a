//! Connections over one pair of links, and the clock they live by.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;

use ntm_proto::time::Instant;
use ntm_recovery::{Config, Ecn, PathMemory, View};

use crate::application::Application;
use crate::endpoint::Endpoint;
use crate::link::{Conditions, Link};

/// Where time begins: not at zero, so that it can be looked back from.
const ORIGIN: Instant = Instant::from_millis(1_000);

/// One connection's beginning.
#[derive(Clone, Debug)]
pub struct Flow {
    pub config: Config,
    pub client: Application,
    pub server: Application,
    /// Of each socket, in each direction.
    pub buffer: usize,
}

#[derive(Debug)]
pub struct World {
    now: Instant,
    endpoints: Vec<Endpoint>,
    /// From clients to servers, and back.
    pub links: [Link; 2],
    events: BinaryHeap<Reverse<(Instant, u64, Event)>>,
    serial: u64,
    seed: u64,
    progress: Vec<Progress>,
}

/// How a connection's bytes got on.
#[derive(Clone, Copy, Debug)]
struct Progress {
    received: u64,
    at: Instant,
    longest: Duration,
}

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    Arrive { endpoint: usize, packet: Vec<u8>, marked: bool },
    Wake { endpoint: usize },
}

impl World {
    pub fn new(forth: Conditions, back: Conditions, seed: u64) -> Self {
        Self {
            now: ORIGIN,
            endpoints: Vec::new(),
            links: [Link::new(forth, seed ^ 1), Link::new(back, seed ^ 2)],
            events: BinaryHeap::new(),
            serial: 0,
            seed,
            progress: Vec::new(),
        }
    }

    /// Time since the beginning.
    pub fn elapsed(&self) -> Duration {
        self.now.since(ORIGIN)
    }

    /// Begins a connection; its number.
    pub fn add(&mut self, flow: Flow) -> usize {
        let number = self.endpoints.len() / 2;
        for (side, application) in [(0, flow.client), (1, flow.server)] {
            let seed = self.seed.wrapping_mul(31) ^ (self.endpoints.len() as u64);
            let mut endpoint = Endpoint::new(self.now, side, flow.config, flow.buffer, seed);
            endpoint.application = application;
            self.endpoints.push(endpoint);
            let endpoint = self.endpoints.len() - 1;
            self.schedule(self.now, Event::Wake { endpoint });
            self.endpoints[endpoint].wakes_at = Some(self.now);
        }
        self.progress.push(Progress { received: 0, at: self.now, longest: Duration::ZERO });
        number
    }

    /// Runs until `until` has passed since the beginning, or nothing can happen any more.
    pub fn run(&mut self, until: Duration) {
        let until = ORIGIN + until;
        while self.step(until) {}
        self.now = self.now.max(until);
    }

    /// Runs until all connections are over, or `until`; whether they are.
    pub fn finish(&mut self, until: Duration) -> bool {
        while !(0..self.progress.len()).all(|flow| self.is_over(flow)) {
            if !self.step(ORIGIN + until) {
                self.now = self.now.max(ORIGIN + until);
                return false;
            }
        }
        true
    }

    /// Both streams of a connection arrived whole, with their ends.
    pub fn is_over(&self, flow: usize) -> bool {
        let (client, server) = (&self.endpoints[2 * flow], &self.endpoints[2 * flow + 1]);
        let whole = client.application.received == server.application.to_send
            && server.application.received == client.application.to_send;
        whole && client.application.ended && server.application.ended
    }

    /// Bytes that both ends received together.
    pub fn received(&self, flow: usize) -> u64 {
        self.endpoints[2 * flow].application.received + self.endpoints[2 * flow + 1].application.received
    }

    /// The longest time in which a connection received nothing and which ended, or lasts, since this was asked last.
    pub fn take_longest_stall(&mut self, flow: usize) -> Duration {
        let idle = if self.is_over(flow) { Duration::ZERO } else { self.now.since(self.progress[flow].at) };
        std::mem::take(&mut self.progress[flow].longest).max(idle)
    }

    /// How the client's sender stands.
    pub fn view(&self, flow: usize) -> View {
        self.endpoints[2 * flow].recovery.view()
    }

    pub fn learnt(&self, flow: usize) -> PathMemory {
        self.endpoints[2 * flow].recovery.learnt()
    }

    /// Whether the server's application leaves what comes unread.
    pub fn set_lazy(&mut self, flow: usize, lazy: bool) {
        self.endpoints[2 * flow + 1].application.lazy = lazy;
        self.turn(2 * flow + 1, Vec::new());
    }

    pub fn change_path(&mut self, flow: usize, memory: &PathMemory) {
        for endpoint in [2 * flow, 2 * flow + 1] {
            self.endpoints[endpoint].recovery.handle_path_change(self.now, memory);
            self.turn(endpoint, Vec::new());
        }
    }

    /// One event; false where there is none before `until`.
    fn step(&mut self, until: Instant) -> bool {
        if self.events.peek().is_none_or(|Reverse((at, ..))| *at > until) {
            return false;
        }
        let Some(Reverse((at, _, event))) = self.events.pop() else { return false };
        self.now = at;
        match event {
            Event::Arrive { endpoint, packet, marked } => {
                let ecn = if marked { Ecn::Experienced } else { Ecn::NotCapable };
                self.turn(endpoint, vec![(packet, ecn)]);
            }
            Event::Wake { endpoint } => {
                if self.endpoints[endpoint].wakes_at == Some(at) {
                    self.turn(endpoint, Vec::new());
                }
            }
        }
        true
    }

    fn turn(&mut self, number: usize, packets: Vec<(Vec<u8>, Ecn)>) {
        let endpoint = &mut self.endpoints[number];
        let before = endpoint.wakes_at;
        let out = endpoint.turn(self.now, packets);
        let wakes_at = endpoint.wakes_at;
        for (packet, capable) in out {
            for arrival in self.links[number % 2].send(self.now, packet.len(), capable) {
                let event = Event::Arrive { endpoint: number ^ 1, packet: packet.clone(), marked: arrival.marked };
                self.schedule(arrival.at, event);
            }
        }
        if let Some(at) = wakes_at
            && (before != wakes_at || at <= self.now)
        {
            self.schedule(at, Event::Wake { endpoint: number });
        }
        self.note_progress(number / 2);
    }

    fn note_progress(&mut self, flow: usize) {
        let received = self.received(flow);
        let progress = &mut self.progress[flow];
        if received > progress.received {
            progress.longest = progress.longest.max(self.now.since(progress.at));
            progress.received = received;
            progress.at = self.now;
        }
    }

    fn schedule(&mut self, at: Instant, event: Event) {
        self.serial += 1;
        self.events.push(Reverse((at, self.serial, event)));
    }
}
