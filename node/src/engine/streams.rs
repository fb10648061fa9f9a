//! Streams: what the driver tells of them, and what follows when datagrams begin or end to go through them.

use ntm_proto::time::Instant;
use ntm_proto::wire::stream::{self, Carried};

use super::{Node, Received};
use crate::fallback::{StreamId, StreamOrder};
use crate::stats::DropReason;

impl Node {
    /// What the driver is to do with streams next.
    pub fn poll_stream(&mut self) -> Option<StreamOrder> {
        self.ctx.fallback.poll_order()
    }

    /// The stream is connected, and TLS is up.
    pub fn handle_stream_up(&mut self, now: Instant, id: StreamId) {
        self.ctx.now = now;
        self.ctx.fallback.handle_up(now, id);
    }

    /// The stream could not be opened, or has ended.
    pub fn handle_stream_down(&mut self, now: Instant, id: StreamId) {
        self.ctx.now = now;
        self.ctx.fallback.handle_down(now, id);
    }

    /// A frame came through a stream, whole and with nothing behind it. Gives the virtual packet it carried, if it
    /// carried one.
    pub fn handle_frame<'a>(&mut self, now: Instant, id: StreamId, frame: &'a mut [u8]) -> Option<Received<'a>> {
        self.ctx.now = now;
        self.ctx.stats.datagrams_received += 1;
        let Some((endpoint, relay)) = self.ctx.fallback.handle_frame(now, id) else {
            self.ctx.stats.drop(DropReason::UnknownEndpoint);
            return None;
        };
        let (from, length) = match stream::parse(frame) {
            Ok(Some((Carried::Relay(datagram), whole))) if whole == frame.len() => (relay, datagram.len()),
            Ok(Some((Carried::Director(from, datagram), whole))) if whole == frame.len() => (from, datagram.len()),
            _ => {
                self.ctx.stats.drop(DropReason::Malformed);
                return None;
            }
        };
        if self.director.is_superseded() || !(from == relay || self.ctx.fallback.is_director(from)) {
            self.ctx.stats.drop(DropReason::Unexpected);
            return None;
        }
        let start = frame.len() - length;
        self.handle_arrived(now, endpoint, from, &mut frame[start..])
    }

    pub(super) fn run_fallback(&mut self, now: Instant) {
        if self.ctx.fallback.next_timeout() > now {
            return;
        }
        for ping in self.ctx.fallback.handle_timeout(now, &mut self.ctx.rng) {
            self.ctx.transmit_as_it_is(ping);
        }
        // Endpoints whose datagrams go another way than before have moved.
        for endpoint in self.ctx.fallback.take_changed() {
            let change = self.interfaces.renew(endpoint);
            self.interfaces_changed(now, &change);
            self.ctx.routes_changed();
        }
    }
}
