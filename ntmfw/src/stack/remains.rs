//! What remains of connections that both sides of this program have left: their last sequence numbers, so that the other end
//! is answered rightly, and none of their buffers.
//!
//! ```text
//! connection ──closed, in FIN-WAIT-2 or TIME-WAIT──▶ remains ──a minute, or too many──▶ nothing
//!                                                       │ the other end's FIN: acknowledged, however often
//!                                                       └ new data, which nobody will read: reset
//! ```

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use ntm_proto::time::Instant;

use crate::stack::FlowId;
use crate::stack::ip;
use crate::stack::segment::Segment;
use crate::sync::Lock;

/// Twice the longest that a segment may live, as Linux has it.
const PATIENCE: Duration = Duration::from_secs(60);
/// What comes on top ends the oldest.
const MAX_REMAINS: usize = 16_384;

/// The numbers that a closed connection answers with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Last {
    pub(crate) sequence: u32,
    pub(crate) acknowledge: u32,
}

/// What a segment for a closed connection is answered with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reply {
    Nothing,
    Acknowledge(Last),
    Reset(Last),
}

#[derive(Debug, Default)]
pub(crate) struct Remains(Lock<Inner>);

#[derive(Debug, Default)]
struct Inner {
    flows: HashMap<FlowId, (Instant, Last)>,
    /// In the order of their ends, with those that are gone or were renewed since.
    order: VecDeque<(Instant, FlowId)>,
}

impl Remains {
    pub(crate) fn add(&self, now: Instant, flow: FlowId, last: Last) {
        self.0.lock().add(now, flow, last);
    }

    pub(crate) fn forget(&self, flow: &FlowId) {
        self.0.lock().flows.remove(flow);
    }

    pub(crate) fn has(&self, now: Instant, flow: &FlowId) -> bool {
        self.0.lock().flows.get(flow).is_some_and(|(until, _)| now < *until)
    }

    /// What to answer; `None` where nothing remains of such a connection.
    pub(crate) fn reply(&self, now: Instant, flow: FlowId, segment: &Segment) -> Option<Reply> {
        let inner = &mut *self.0.lock();
        inner.expire(now);
        let (_, last) = *inner.flows.get(&flow)?;
        if segment.has(ip::TCP_RST) {
            inner.flows.remove(&flow);
            return Some(Reply::Nothing);
        }
        let is_new = |number: u32| number.wrapping_sub(last.acknowledge).cast_signed() > 0;
        if segment.data > 0 && is_new(segment.sequence.wrapping_add(segment.data)) {
            inner.flows.remove(&flow);
            return Some(Reply::Reset(last));
        }
        if segment.length() == 0 {
            return Some(Reply::Nothing);
        }
        let acknowledge = if is_new(segment.end()) { segment.end() } else { last.acknowledge };
        let last = Last { acknowledge, ..last };
        inner.add(now, flow, last);
        Some(Reply::Acknowledge(last))
    }
}

impl Inner {
    fn add(&mut self, now: Instant, flow: FlowId, last: Last) {
        self.expire(now);
        self.flows.insert(flow, (now + PATIENCE, last));
        self.order.push_back((now + PATIENCE, flow));
    }

    fn expire(&mut self, now: Instant) {
        while let Some(&(until, flow)) = self.order.front()
            && (until <= now || self.order.len() > MAX_REMAINS)
        {
            self.order.pop_front();
            if self.flows.get(&flow).is_some_and(|(held, _)| *held == until) {
                self.flows.remove(&flow);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BEGIN: Instant = Instant::from_millis(1_000);
    const LAST: Last = Last { sequence: 500, acknowledge: u32::MAX - 1 };

    fn flow(number: u32) -> FlowId {
        let [a, b, c, d] = number.to_be_bytes();
        FlowId { local: ([198, 18, a, b], 80).into(), remote: ([198, 19, c, d], 9).into() }
    }

    fn segment(sequence: u32, data: u32, flags: u8) -> Segment {
        Segment { sequence, acknowledge: 500, flags, data }
    }

    #[test]
    fn the_other_ends_last_segment_is_acknowledged_as_often_as_it_comes() {
        let remains = Remains::default();
        remains.add(BEGIN, flow(1), LAST);
        let fin = segment(u32::MAX - 1, 0, ip::TCP_FIN | ip::TCP_ACK);
        for _ in 0..3 {
            let answer = Reply::Acknowledge(Last { sequence: 500, acknowledge: u32::MAX });
            assert_eq!(remains.reply(BEGIN, flow(1), &fin), Some(answer));
        }
        let old = segment(u32::MAX - 11, 10, ip::TCP_ACK);
        assert!(matches!(remains.reply(BEGIN, flow(1), &old), Some(Reply::Acknowledge(_))), "data that came before");
        assert_eq!(remains.reply(BEGIN, flow(1), &segment(u32::MAX, 0, ip::TCP_ACK)), Some(Reply::Nothing));
        assert_eq!(remains.reply(BEGIN, flow(2), &fin), None, "another connection");
    }

    #[test]
    fn data_that_nobody_will_read_is_answered_with_a_reset_and_ends_it() {
        let remains = Remains::default();
        remains.add(BEGIN, flow(1), LAST);
        let data = segment(u32::MAX - 1, 10, ip::TCP_ACK);
        assert_eq!(remains.reply(BEGIN, flow(1), &data), Some(Reply::Reset(LAST)));
        assert_eq!(remains.reply(BEGIN, flow(1), &data), None);
    }

    #[test]
    fn nothing_remains_after_a_minute_or_where_there_are_too_many() {
        let remains = Remains::default();
        let fin = segment(u32::MAX - 1, 0, ip::TCP_FIN);
        remains.add(BEGIN, flow(0), LAST);
        assert!(remains.reply(BEGIN + PATIENCE - Duration::from_nanos(1), flow(0), &fin).is_some());
        assert!(remains.reply(BEGIN + PATIENCE * 2, flow(0), &fin).is_none());
        for number in 0..3 * MAX_REMAINS as u32 {
            remains.add(BEGIN + PATIENCE * 2, flow(number), LAST);
        }
        let inner = remains.0.lock();
        assert!(inner.flows.len() <= MAX_REMAINS + 1 && inner.order.len() <= MAX_REMAINS + 1);
        assert!(inner.flows.contains_key(&flow(3 * MAX_REMAINS as u32 - 1)), "the newest is there");
    }
}
