//! The cores on real sockets: one thread each.

use std::net::{SocketAddr, UdpSocket};
use std::time::{Duration, Instant as HostInstant};

use ntm_direction::{Config as DirectionConfig, Coordinator};
use ntm_proto::time::Instant;
use ntm_relay::{Config as RelayConfig, Relay};

use crate::domain::random;

/// The largest datagram there is.
const ROOM: usize = 65_536;
/// How long a thread sleeps at most when nothing is due.
const IDLE: Duration = Duration::from_millis(500);

pub(crate) fn direction(socket: UdpSocket, config: DirectionConfig) {
    std::thread::spawn(move || {
        let clock = Clock::default();
        let local = socket.local_addr().expect("a bound socket");
        let mut core = Coordinator::new(clock.now(), config, random());
        let mut room = vec![0; ROOM];
        loop {
            while let Some(transmit) = core.poll_transmit() {
                let _ = socket.send_to(&transmit.datagram, transmit.to);
            }
            while core.poll_event().is_some() {}
            if let Some((length, from)) = receive(&socket, &mut room, clock, core.poll_timeout().map(|(at, _)| at)) {
                core.handle_datagram(clock.now(), local, from, &mut room[..length]);
            }
            core.handle_timeout(clock.now());
        }
    });
}

pub(crate) fn relay(socket: UdpSocket, config: RelayConfig) {
    std::thread::spawn(move || {
        let clock = Clock::default();
        let local = socket.local_addr().expect("a bound socket");
        let mut core = Relay::new(clock.now(), config, random());
        let mut room = vec![0; ROOM];
        loop {
            while let Some(transmit) = core.poll_transmit() {
                let _ = socket.send_to(&transmit.datagram, transmit.to);
            }
            if let Some((length, from)) = receive(&socket, &mut room, clock, core.poll_timeout().map(|(at, _)| at))
                && let Some(forward) = core.handle_datagram(clock.now(), local, from, &mut room[..length])
            {
                let _ = socket.send_to(forward.datagram, forward.to);
            }
            core.handle_timeout(clock.now());
        }
    });
}

fn receive(socket: &UdpSocket, room: &mut [u8], clock: Clock, until: Option<Instant>) -> Option<(usize, SocketAddr)> {
    let wait = until.map_or(IDLE, |at| at.since(clock.now())).clamp(Duration::from_millis(1), IDLE);
    socket.set_read_timeout(Some(wait)).ok()?;
    socket.recv_from(room).ok()
}

#[derive(Clone, Copy)]
struct Clock(HostInstant);

impl Default for Clock {
    fn default() -> Self {
        Self(HostInstant::now())
    }
}

impl Clock {
    fn now(self) -> Instant {
        Instant::from_nanos(u64::try_from(self.0.elapsed().as_nanos()).unwrap_or(u64::MAX))
    }
}
