//! Handshakes that came too early or more than once.

use alloc::collections::VecDeque;
use alloc::vec::Vec;
use core::time::Duration;

use ntm_proto::id::PathId;
use ntm_proto::session::handshake::Incoming;
use ntm_proto::time::Instant;
use ntm_proto::wire::message::TunnelRequest;

use crate::peer::Arrival;

/// Tunnel requests that wait for their direction.
const MAX_HELD: usize = 32;
const HOLD_FOR: Duration = Duration::from_secs(5);
/// Answers kept for copies of a request that come over other paths.
const MAX_ANSWERED: usize = 64;
const REMEMBER_FOR: Duration = Duration::from_secs(10);

/// A tunnel request whose direction has not come yet: the peer was directed first.
pub(crate) struct HeldRequest {
    pub(crate) incoming: Incoming,
    pub(crate) request: TunnelRequest,
    pub(crate) arrival: Arrival,
    pub(crate) received: usize,
    pub(crate) ephemeral: [u8; 32],
    until: Instant,
}

struct Answer {
    ephemeral: [u8; 32],
    response: Vec<u8>,
    until: Instant,
}

/// Both tables are bounded; the oldest entries go first.
#[derive(Default)]
pub(crate) struct Held {
    requests: VecDeque<HeldRequest>,
    answers: VecDeque<Answer>,
}

impl Held {
    pub(crate) fn hold(
        &mut self,
        now: Instant,
        incoming: Incoming,
        request: TunnelRequest,
        arrival: Arrival,
        received: usize,
        ephemeral: [u8; 32],
    ) {
        self.requests.retain(|held| held.until > now && held.request.path_id != request.path_id);
        if self.requests.len() >= MAX_HELD {
            self.requests.pop_front();
        }
        let until = now + HOLD_FOR;
        self.requests.push_back(HeldRequest { incoming, request, arrival, received, ephemeral, until });
    }

    /// Whether this very message is already held.
    pub(crate) fn holds(&self, ephemeral: &[u8; 32]) -> bool {
        self.requests.iter().any(|held| held.ephemeral == *ephemeral)
    }

    pub(crate) fn take(&mut self, now: Instant, path_id: PathId) -> Option<HeldRequest> {
        let at = self.requests.iter().position(|held| held.request.path_id == path_id && held.until > now)?;
        self.requests.remove(at)
    }

    pub(crate) fn answered(&mut self, now: Instant, ephemeral: [u8; 32], response: Vec<u8>) {
        self.answers.retain(|answer| answer.until > now);
        if self.answers.len() >= MAX_ANSWERED {
            self.answers.pop_front();
        }
        self.answers.push_back(Answer { ephemeral, response, until: now + REMEMBER_FOR });
    }

    /// The answer already given to this very message.
    pub(crate) fn answer_to(&self, now: Instant, ephemeral: &[u8; 32]) -> Option<&[u8]> {
        let answer = self.answers.iter().find(|answer| answer.ephemeral == *ephemeral && answer.until > now)?;
        Some(&answer.response)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::path::Remote;
    use crate::testing::{address, at, endpoint};
    use ntm_proto::crypto::{Secret, default_provider};
    use ntm_proto::id::{InterfaceId, SessionIndex};
    use ntm_proto::identity::NoiseKey;
    use ntm_proto::rng::Rng;
    use ntm_proto::session::handshake::Initiator;
    use ntm_proto::wire::outer::HandshakeInit;

    fn hold(held: &mut Held, now: Instant, number: u8) {
        let mut rng = Rng::from_seed([number; 32]);
        let [me, peer] = [1, 2].map(|seed| NoiseKey::from_secret(default_provider(), Secret::new([seed; 32])));
        let psk = Secret::new([0; 32]);
        let index = SessionIndex(1);
        let (_, init) = Initiator::start(default_provider(), &mut rng, &me, peer.public(), &psk, index, &[], None);
        let init = HandshakeInit::parse(&init).expect("well formed");
        let incoming = Incoming::read(default_provider(), &mut rng, &peer, &init).expect("authentic");
        let request = TunnelRequest { path_id: PathId([number; 16]), sequence: 1, interface: InterfaceId(0) };
        let local = endpoint(0, "10.0.0.2:1");
        let arrival = Arrival { local, remote: Remote::Direct(address("20.0.0.2:1")) };
        held.hold(now, incoming, request, arrival, 200, [number; 32]);
    }

    #[test]
    fn a_request_waits_five_seconds_for_its_direction_and_is_taken_once() {
        let mut held = Held::default();
        hold(&mut held, at(0), 1);
        hold(&mut held, at(0), 2);
        assert!(held.holds(&[1; 32]) && !held.holds(&[3; 32]));
        assert!(held.take(at(4_999), PathId([1; 16])).is_some());
        assert!(held.take(at(4_999), PathId([1; 16])).is_none());
        assert!(held.take(at(5_000), PathId([2; 16])).is_none(), "too late");
    }

    #[test]
    fn the_oldest_requests_make_room_and_one_communication_has_one() {
        let mut held = Held::default();
        for number in 0..=255 {
            hold(&mut held, at(0), number);
        }
        assert_eq!(held.requests.len(), MAX_HELD);
        assert!(held.take(at(0), PathId([0; 16])).is_none());
        assert!(held.take(at(0), PathId([255; 16])).is_some());
        hold(&mut held, at(1), 254);
        assert_eq!(held.requests.iter().filter(|one| one.request.path_id == PathId([254; 16])).count(), 1);
    }

    #[test]
    fn an_answer_is_remembered_for_ten_seconds_and_their_number_is_bounded() {
        let mut held = Held::default();
        held.answered(at(0), [1; 32], alloc::vec![7]);
        assert_eq!(held.answer_to(at(9_999), &[1; 32]), Some(&[7][..]));
        assert_eq!(held.answer_to(at(10_000), &[1; 32]), None);
        for number in 0..=255 {
            held.answered(at(1), [number; 32], alloc::vec![number]);
        }
        assert_eq!(held.answers.len(), MAX_ANSWERED);
        assert_eq!(held.answer_to(at(1), &[255; 32]), Some(&[255][..]));
        assert_eq!(held.answer_to(at(1), &[0; 32]), None);
    }
}
