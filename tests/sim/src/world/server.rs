//! Servers in the world: the cores, fed by the virtual network.

use std::collections::VecDeque;
use std::fmt;
use std::net::SocketAddr;

use ntm_direction::{Config as DirectorConfig, Coordinator, Event, ForeignDc, LookupFailed};
use ntm_proto::id::Fqdn;
use ntm_proto::time::Instant;
use ntm_relay::{Config as RelayConfig, Relay};

use ntm_proto::wire::stream::Carried;

use super::streams::{self, RelayEnds, Taken};
use crate::net::{Delivery, HostId, Network, TLS_PORT};

pub const DIRECTOR_PORT: u16 = 4_600;
pub const RELAY_PORT: u16 = 4_601;

pub struct SimDirector {
    host: HostId,
    domain: usize,
    config: DirectorConfig,
    core: Coordinator,
    lookups: VecDeque<Fqdn>,
    wakes: usize,
}

impl SimDirector {
    pub(crate) fn new(now: Instant, host: HostId, domain: usize, config: DirectorConfig, seed: [u8; 32]) -> Self {
        let core = Coordinator::new(now, config.clone(), seed);
        Self { host, domain, config, core, lookups: VecDeque::new(), wakes: 0 }
    }

    pub fn host(&self) -> HostId {
        self.host
    }

    pub fn domain(&self) -> usize {
        self.domain
    }

    pub fn core(&self) -> &Coordinator {
        &self.core
    }

    pub fn wakes(&self) -> usize {
        self.wakes
    }

    pub(crate) fn timer(&self) -> impl std::fmt::Debug {
        self.core.poll_timeout()
    }

    pub(crate) fn restart(&mut self, now: Instant, seed: [u8; 32]) {
        self.core = Coordinator::new(now, self.config.clone(), seed);
        self.lookups.clear();
    }

    pub(crate) fn deliver(&mut self, now: Instant, mut delivery: Delivery) {
        self.core.handle_datagram(now, delivery.local, delivery.from, &mut delivery.payload);
    }

    pub(crate) fn wake(&mut self, now: Instant) {
        self.core.handle_timeout(now);
    }

    pub(crate) fn take_lookup(&mut self) -> Option<Fqdn> {
        self.lookups.pop_front()
    }

    pub(crate) fn found(&mut self, now: Instant, domain: &Fqdn, found: Option<ForeignDc>) {
        self.core.handle_domain_found(now, domain, found.ok_or(LookupFailed));
    }

    pub(crate) fn settle(&mut self, now: Instant, net: &mut Network) -> Option<Instant> {
        while let Some(transmit) = self.core.poll_transmit() {
            // A server whose host is down sends into nothing.
            let _ = net.send(now, self.host, 0, transmit.from, transmit.to, transmit.datagram);
        }
        while let Some(event) = self.core.poll_event() {
            match event {
                Event::FindDomain(domain) => self.lookups.push_back(domain),
                Event::Wake { .. } => self.wakes += 1,
                _ => {}
            }
        }
        self.core.poll_timeout().map(|(at, _)| at)
    }
}

pub struct SimRelay {
    host: HostId,
    config: RelayConfig,
    core: Relay,
    streams: RelayEnds,
    forwarded: u64,
}

impl SimRelay {
    pub(crate) fn new(now: Instant, host: HostId, config: RelayConfig, seed: [u8; 32]) -> Self {
        let core = Relay::new(now, config.clone(), seed);
        Self { host, config, core, streams: RelayEnds::default(), forwarded: 0 }
    }

    pub fn host(&self) -> HostId {
        self.host
    }

    pub fn core(&self) -> &Relay {
        &self.core
    }

    /// Bytes forwarded, headers included.
    pub fn forwarded(&self) -> u64 {
        self.forwarded
    }

    pub(crate) fn timer(&self) -> impl std::fmt::Debug {
        self.core.poll_timeout()
    }

    pub(crate) fn restart(&mut self, now: Instant, seed: [u8; 32]) {
        self.core = Relay::new(now, self.config.clone(), seed);
        self.streams = RelayEnds::default();
    }

    pub(crate) fn deliver(&mut self, now: Instant, net: &mut Network, mut delivery: Delivery) {
        match delivery.local.port() {
            RELAY_PORT => {}
            TLS_PORT => match self.streams.deliver(&delivery) {
                Some(Taken::Relay(datagram)) => delivery.payload = datagram,
                Some(Taken::Forward(port, to, datagram)) => {
                    let _ = net.send(now, self.host, 0, SocketAddr::new(delivery.local.ip(), port), to, datagram);
                    return;
                }
                Some(Taken::Answer(answer)) => {
                    let _ = net.send(now, self.host, 0, delivery.local, delivery.from, answer);
                    return;
                }
                None => return,
            },
            _ => {
                if let Some((to, frame)) = self.streams.answer(&delivery) {
                    let _ = net.send(now, self.host, 0, SocketAddr::new(delivery.local.ip(), TLS_PORT), to, frame);
                }
                return;
            }
        }
        let forward = self.core.handle_datagram(now, delivery.local, delivery.from, &mut delivery.payload);
        if let Some(forward) = forward {
            self.forwarded += forward.datagram.len() as u64;
            send(net, now, self.host, forward.from, forward.to, forward.datagram);
        }
    }

    pub(crate) fn wake(&mut self, now: Instant) {
        self.core.handle_timeout(now);
    }

    pub(crate) fn settle(&mut self, now: Instant, net: &mut Network) -> Option<Instant> {
        while let Some(transmit) = self.core.poll_transmit() {
            send(net, now, self.host, transmit.from, transmit.to, &transmit.datagram);
        }
        self.core.poll_timeout().map(|(at, _)| at)
    }
}

/// What a relay sends from the port of streams goes through one.
fn send(net: &mut Network, now: Instant, host: HostId, from: SocketAddr, to: SocketAddr, datagram: &[u8]) {
    let payload = if from.port() == TLS_PORT { streams::frame(&Carried::Relay(datagram)) } else { datagram.to_vec() };
    let _ = net.send(now, host, 0, from, to, payload);
}

impl fmt::Debug for SimDirector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SimDirector")
            .field("host", &self.host)
            .field("domain", &self.domain)
            .field("wakes", &self.wakes)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for SimRelay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SimRelay").field("host", &self.host).field("forwarded", &self.forwarded).finish_non_exhaustive()
    }
}
