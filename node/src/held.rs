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
