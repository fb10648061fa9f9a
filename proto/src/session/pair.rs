//! [`Session`]: the key pairs of two parties, replaced while data flows.
//!
//! # The driving loop
//!
//! ```text
//! begin() ─▶ datagram to send; send handshake_datagram() again until it is answered
//! HandshakeResponse for an index of ours ─▶ handle_response() ─▶ payload; send something at once
//! HandshakeInit (CookieJar, Incoming::read, freshness, PSK) ─▶ accept() ─▶ datagram to send
//! CookieReply ─▶ handle_cookie_reply() ─▶ datagram to send
//! Data for an index of ours ─▶ open_in_place()
//! poll_timeout() ─▶ sleep ─▶ handle_timeout() ─▶ Some(Rekey): begin(); Some(Expire): nothing is left
//! after any of these: while let Some(index) = take_retired() { forget index }
//! ```
//!
//! # Which key pair is used
//!
//! A handshake makes a key pair at each end. The responder has it first, when the initiator may never
//! get it: there it is *unconfirmed* until something opens with it. Every pair opens datagrams until it
//! is [`REJECT_AFTER`] old, so nothing that is on its way is lost when keys change; what seals is the
//! highest confirmed pair, or, where none is, the highest unconfirmed one, so that a responder may speak
//! at once on a first session.
//!
//! *Highest* is by generation: the initiator proposes one more than the highest it has, the responder
//! raises that above the highest it has, and the second message carries the result. When both ends
//! begin at once, two pairs may come out with the same generation; then the one whose initiator has
//! the greater public key is the higher one. So both ends put the pairs they share in the same order, settle
//! on the same one after crossing handshakes, and know which of two datagrams was sealed later.
//!
//! Invariants: no two held pairs have the same local index; at most [`MAX_PAIRS`] are held; each index
//! that was ever given to `begin` or `accept` is in `indices` or comes out of `take_retired` once.

use alloc::collections::VecDeque;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::ops::Range;
use core::time::Duration;

use super::cookie::Cookie;
use super::handshake::{Established, HandshakeError, Incoming, Initiator, Psk};
use super::replay::ReplayWindow;
use super::transport::{OpenError, OpeningKey, SealError, SealingKey};
use crate::crypto::{Provider, PublicKeyBytes};
use crate::id::SessionIndex;
use crate::identity::NoiseKey;
use crate::rng::Rng;
use crate::time::Instant;
use crate::wire::outer::{CookieReply, Data, HandshakeResponse};

/// The age at which the initiator of a key pair wants a new one. DESIGN 4.2; WireGuard's
/// `REKEY_AFTER_TIME`.
pub const REKEY_AFTER: Duration = Duration::from_secs(120);

/// How much later the responder wants one, should the initiator be unable to.
pub const RESPONDER_GRACE: Duration = Duration::from_secs(15);

/// The age at which a key pair neither seals nor opens any more. DESIGN 4.2; WireGuard's
/// `REJECT_AFTER_TIME`.
pub const REJECT_AFTER: Duration = Duration::from_secs(180);

/// How long a handshake may wait for its answer. WireGuard's `REKEY_ATTEMPT_TIME`.
pub const HANDSHAKE_ATTEMPT: Duration = Duration::from_secs(90);

/// How long after one [`SessionTimer::Rekey`] the next one comes, if the owner did not begin.
/// WireGuard's `REKEY_TIMEOUT`.
pub const REKEY_RETRY: Duration = Duration::from_secs(5);

/// Key pairs held at once. Two generations overlap, each may be doubled by a crossing, and two more may
/// stand unconfirmed where answers were lost.
pub const MAX_PAIRS: usize = 6;

/// Cookie replies taken for one handshake: each makes us send a datagram.
pub const MAX_COOKIE_REPLIES: u8 = 4;

/// Retired indices kept for an owner who is slow to ask.
pub const MAX_RETIRED: usize = 64;

/// What a session's clock is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SessionTimer {
    /// New keys are wanted: the owner should [`begin`](Session::begin).
    Rekey,
    /// From `poll_timeout`: some keys or a handshake reach the end of their time. From
    /// `handle_timeout`: they were the last; nothing can be sealed or opened any more.
    Expire,
}

/// What [`Session::open_in_place`] found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Opened {
    pub plaintext: Range<usize>,
    pub counter: u64,
    /// This was the first datagram on a key pair this end responded for: the peer has the keys.
    pub confirmed: bool,
    /// The peer has sealed nothing later that arrived before: what this says about the peer's
    /// whereabouts is its newest word. After crossing first handshakes, where the peer spoke before it
    /// knew that its keys had arrived, this may be mistaken until it knows.
    pub highest: bool,
}

/// What a session dropped, by reason.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SessionStats {
    pub malformed: u64,
    pub unknown_index: u64,
    pub replayed: u64,
    pub unauthentic: u64,
    pub bad_responses: u64,
    pub bad_cookies: u64,
    /// First messages that came again and were answered as before.
    pub repeated: u64,
    /// Key pairs dropped before their time, for more than [`MAX_PAIRS`].
    pub displaced: u64,
}

/// See the module.
#[derive(Debug)]
pub struct Session<const W: usize> {
    provider: &'static dyn Provider,
    pairs: Vec<Pair<W>>,
    in_flight: Option<InFlight>,
    cookie: Option<Cookie>,
    answered: Option<Answered>,
    /// The latest datagram opened, in the order in which the peer sealed them.
    latest: Option<(Rank, u64)>,
    serial: u64,
    rekey_asked: Option<Instant>,
    retired: VecDeque<SessionIndex>,
    stats: SessionStats,
}

/// The order of key pairs, the same at both ends but for the last part, which only breaks ties that no
/// honest peer makes.
type Rank = (u32, bool, u64);

#[derive(Debug)]
struct Pair<const W: usize> {
    rank: Rank,
    initiator: bool,
    confirmed: bool,
    made: Instant,
    opened: Option<Instant>,
    local: SessionIndex,
    sealing: Arc<SealingKey>,
    opening: Arc<OpeningKey>,
    window: ReplayWindow<W>,
}

#[derive(Debug)]
struct InFlight {
    initiator: Initiator,
    begun: Instant,
    cookie_replies: u8,
}

struct Finished {
    established: Established,
    begun: Instant,
    me: PublicKeyBytes,
}

/// The last first message answered, so that its retransmission gets the same answer.
#[derive(Debug)]
struct Answered {
    digest: [u8; 32],
    local: SessionIndex,
    response: Vec<u8>,
}

impl<const W: usize> Pair<W> {
    fn is_alive(&self, now: Instant) -> bool {
        now < self.made + REJECT_AFTER
    }

    fn may_seal(&self, now: Instant) -> bool {
        self.is_alive(now) && !self.sealing.is_exhausted()
    }
}

impl<const W: usize> Session<W> {
    pub fn new(provider: &'static dyn Provider) -> Self {
        Self {
            provider,
            pairs: Vec::new(),
            in_flight: None,
            cookie: None,
            answered: None,
            latest: None,
            serial: 0,
            rekey_asked: None,
            retired: VecDeque::new(),
            stats: SessionStats::default(),
        }
    }

    /// Begins a handshake; one in flight is given up. Gives the datagram to send.
    #[expect(clippy::too_many_arguments, reason = "a handshake has this many inputs, each of another type")]
    pub fn begin(
        &mut self,
        now: Instant,
        rng: &mut Rng,
        me: &NoiseKey,
        peer: &PublicKeyBytes,
        psk: &Psk,
        local: SessionIndex,
        payload: &[u8],
    ) -> Vec<u8> {
        self.cancel();
        if self.cookie.as_ref().is_some_and(|cookie| !cookie.is_fresh(now)) {
            self.cookie = None;
        }
        let generation = self.next_generation();
        let initiator = Initiator::start_generation(self.provider, rng, me, peer, psk, local, generation, payload);
        let datagram = initiator.datagram(self.cookie.as_ref());
        self.in_flight = Some(InFlight { initiator, begun: now, cookie_replies: 0 });
        datagram
    }

    /// Gives up the handshake in flight, if any.
    pub fn cancel(&mut self) {
        if let Some(in_flight) = self.in_flight.take() {
            self.retire(in_flight.initiator.local());
        }
    }

    /// The index of the handshake in flight.
    pub fn in_flight(&self) -> Option<SessionIndex> {
        self.in_flight.as_ref().map(|in_flight| in_flight.initiator.local())
    }

    /// The first message of the handshake in flight, to send it again.
    pub fn handshake_datagram(&self) -> Option<Vec<u8>> {
        self.in_flight.as_ref().map(|in_flight| in_flight.initiator.datagram(self.cookie.as_ref()))
    }

    /// Completes the handshake in flight: gives the peer's payload. The owner should send something at
    /// once, were it a keep-alive: until then the peer does not know that the new keys arrived.
    pub fn handle_response(
        &mut self,
        now: Instant,
        response: &HandshakeResponse<'_>,
    ) -> Result<Vec<u8>, HandshakeError> {
        let done = self.finish(response).inspect_err(|_| self.stats.bad_responses += 1)?;
        self.expire(now);
        // Aged from when it began: so neither end holds the keys for longer than the one that had them first.
        Ok(self.install(now, done.begun, done.established, &done.me))
    }

    /// Reads an answer that [`handle_response`](Self::handle_response) could not, as a refusal: gives its
    /// payload, and the handshake is over. No keys come of it.
    pub fn handle_refusal(&mut self, response: &HandshakeResponse<'_>) -> Result<Vec<u8>, HandshakeError> {
        let in_flight = self.in_flight.as_mut().ok_or(HandshakeError::UnknownIndex)?;
        let payload = in_flight.initiator.refusal(response)?;
        self.cancel();
        Ok(payload)
    }

    /// Takes the cookie a responder under load wants: gives the first message again, with it.
    pub fn handle_cookie_reply(&mut self, now: Instant, reply: &CookieReply<'_>) -> Result<Vec<u8>, HandshakeError> {
        self.take_cookie(now, reply).inspect_err(|_| self.stats.bad_cookies += 1)
    }

    /// Whether this first message is the one answered last: its sender did not get the answer, or the
    /// network doubled it. [`accept`](Self::accept) answers it as before, so an owner who refuses
    /// payloads that are not newer than the last makes an exception for it.
    pub fn is_repeat(&self, incoming: &Incoming) -> bool {
        self.repeated(incoming).is_some()
    }

    /// Answers a first message: gives the datagram to send. `local` is retired at once where the answer
    /// is the one given before.
    pub fn accept(
        &mut self,
        now: Instant,
        incoming: Incoming,
        psk: &Psk,
        local: SessionIndex,
        payload: &[u8],
    ) -> Result<Vec<u8>, HandshakeError> {
        if let Some(response) = self.repeated(&incoming).map(|answered| answered.response.clone()) {
            self.stats.repeated += 1;
            self.retire(local);
            return Ok(response);
        }
        let me = *incoming.me();
        let digest = *incoming.digest();
        let generation = incoming.generation().max(self.next_generation());
        let answer = incoming.respond_generation(psk, local, generation, payload);
        let (established, response) = answer.inspect_err(|_| self.retire(local))?;
        self.expire(now);
        self.install(now, now, established, &me);
        self.answered = Some(Answered { digest, local, response: response.clone() });
        Ok(response)
    }

    /// Opens a data datagram of this session in place.
    pub fn open_in_place(&mut self, now: Instant, datagram: &mut [u8]) -> Result<Opened, OpenError> {
        self.open(now, datagram).inspect_err(|error| {
            *match error {
                OpenError::Malformed => &mut self.stats.malformed,
                OpenError::UnknownIndex => &mut self.stats.unknown_index,
                OpenError::Replayed => &mut self.stats.replayed,
                OpenError::Unauthentic => &mut self.stats.unauthentic,
            } += 1;
        })
    }

    /// The key to seal with now; see the module for which.
    pub fn sealing(&self, now: Instant) -> Option<&Arc<SealingKey>> {
        let usable = self.pairs.iter().filter(|pair| pair.may_seal(now));
        usable.max_by_key(|pair| (pair.confirmed, pair.rank)).map(|pair| &pair.sealing)
    }

    /// Seals `plaintext` into a datagram of its own.
    pub fn seal(&self, now: Instant, plaintext: &[u8]) -> Result<Vec<u8>, SealError> {
        Ok(self.sealing(now).ok_or(SealError::NoKey)?.seal(plaintext)?)
    }

    /// The key that opens datagrams for `index`. Who opens with it alone keeps his own replay window.
    pub fn opening(&self, index: SessionIndex) -> Option<&Arc<OpeningKey>> {
        self.pairs.iter().find(|pair| pair.local == index).map(|pair| &pair.opening)
    }

    /// Whether the peer is known to hold keys this end may seal with.
    pub fn is_confirmed(&self, now: Instant) -> bool {
        self.pairs.iter().any(|pair| pair.confirmed && pair.may_seal(now))
    }

    /// The indices by which datagrams find this session.
    pub fn indices(&self) -> impl Iterator<Item = SessionIndex> {
        self.pairs.iter().map(|pair| pair.local).chain(self.in_flight())
    }

    /// An index that is no longer this session's; each comes out once.
    pub fn take_retired(&mut self) -> Option<SessionIndex> {
        self.retired.pop_front()
    }

    /// When to call [`handle_timeout`](Self::handle_timeout), and why. An instant that has passed means
    /// at once.
    pub fn poll_timeout(&self) -> Option<(Instant, SessionTimer)> {
        let pairs = self.pairs.iter().map(|pair| pair.made + REJECT_AFTER);
        let in_flight = self.in_flight.iter().map(|in_flight| in_flight.begun + HANDSHAKE_ATTEMPT);
        let expire = pairs.chain(in_flight).min().map(|at| (at, SessionTimer::Expire));
        let rekey = self.rekey_due().map(|at| (at, SessionTimer::Rekey));
        expire.into_iter().chain(rekey).min_by_key(|(at, _)| *at)
    }

    /// Drops what is too old, and says what the owner must do.
    pub fn handle_timeout(&mut self, now: Instant) -> Option<SessionTimer> {
        if self.expire(now) && self.pairs.is_empty() && self.in_flight.is_none() {
            return Some(SessionTimer::Expire);
        }
        if self.rekey_due().is_some_and(|due| due <= now) {
            self.rekey_asked = Some(now);
            return Some(SessionTimer::Rekey);
        }
        None
    }

    pub fn stats(&self) -> &SessionStats {
        &self.stats
    }

    fn finish(&mut self, response: &HandshakeResponse<'_>) -> Result<Finished, HandshakeError> {
        let in_flight = self.in_flight.as_mut().ok_or(HandshakeError::UnknownIndex)?;
        match in_flight.initiator.finish(response) {
            Ok(established) => {
                let done = Finished { established, begun: in_flight.begun, me: *in_flight.initiator.me() };
                self.in_flight = None;
                Ok(done)
            }
            Err(error @ (HandshakeError::Malformed | HandshakeError::NoCommonSuite)) => {
                // It was authentic: no better answer will come.
                self.cancel();
                Err(error)
            }
            Err(error) => Err(error),
        }
    }

    fn take_cookie(&mut self, now: Instant, reply: &CookieReply<'_>) -> Result<Vec<u8>, HandshakeError> {
        let in_flight = self.in_flight.as_mut().ok_or(HandshakeError::UnknownIndex)?;
        if reply.receiver != in_flight.initiator.local() {
            return Err(HandshakeError::UnknownIndex);
        }
        let cookie = in_flight.initiator.open_cookie(now, reply).ok_or(HandshakeError::BadCookie)?;
        let held = self.cookie.as_ref().is_some_and(|held| held.is_same(&cookie));
        if held || in_flight.cookie_replies >= MAX_COOKIE_REPLIES {
            return Err(HandshakeError::BadCookie);
        }
        in_flight.cookie_replies += 1;
        let datagram = in_flight.initiator.datagram(Some(&cookie));
        self.cookie = Some(cookie);
        Ok(datagram)
    }

    fn open(&mut self, now: Instant, datagram: &mut [u8]) -> Result<Opened, OpenError> {
        let Data { receiver: index, counter, .. } = Data::parse(datagram).map_err(|_| OpenError::Malformed)?;
        let pair = self
            .pairs
            .iter_mut()
            .find(|pair| pair.local == index && pair.is_alive(now))
            .ok_or(OpenError::UnknownIndex)?;
        pair.window.check(counter)?;
        let (_, plaintext) = pair.opening.open_in_place(datagram)?;
        pair.window.accept(counter)?;
        let confirmed = !pair.confirmed;
        pair.confirmed = true;
        pair.opened = Some(now);
        let at = (pair.rank, counter);
        let highest = self.latest.is_none_or(|latest| at > latest);
        if highest {
            self.latest = Some(at);
        }
        Ok(Opened { plaintext, counter, confirmed, highest })
    }

    /// Adds a key pair; gives the payload that came with it.
    fn install(&mut self, now: Instant, made: Instant, mut established: Established, me: &PublicKeyBytes) -> Vec<u8> {
        while self.pairs.len() >= MAX_PAIRS {
            self.displace(now);
        }
        let greater = *me > established.peer_key;
        let rank = (established.generation, greater == established.initiator, self.serial);
        self.serial += 1;
        let Established { suite, ref send, ref receive, local, remote, initiator, .. } = established;
        self.pairs.push(Pair {
            rank,
            initiator,
            confirmed: initiator,
            made,
            opened: None,
            local,
            sealing: Arc::new(SealingKey::new(self.provider, suite, send, remote)),
            opening: Arc::new(OpeningKey::new(self.provider, suite, receive)),
            window: ReplayWindow::new(),
        });
        core::mem::take(&mut established.payload)
    }

    /// Makes room for a key pair: the lowest goes, but never the one that seals.
    fn displace(&mut self, now: Instant) {
        let sealing = self.sealing(now).map(Arc::as_ptr);
        let lowest = (0..self.pairs.len())
            .filter(|&at| sealing != Some(Arc::as_ptr(&self.pairs[at].sealing)))
            .min_by_key(|&at| self.pairs[at].rank);
        if let Some(at) = lowest {
            let pair = self.pairs.swap_remove(at);
            self.retire(pair.local);
            self.stats.displaced += 1;
        }
    }

    /// Drops what is too old; whether anything was.
    fn expire(&mut self, now: Instant) -> bool {
        let old: Vec<SessionIndex> =
            self.pairs.iter().filter(|pair| !pair.is_alive(now)).map(|pair| pair.local).collect();
        self.pairs.retain(|pair| pair.is_alive(now));
        old.iter().for_each(|&index| self.retire(index));
        let given_up = self.in_flight.as_ref().is_some_and(|at| now >= at.begun + HANDSHAKE_ATTEMPT);
        if given_up {
            self.cancel();
        }
        given_up || !old.is_empty()
    }

    fn rekey_due(&self) -> Option<Instant> {
        if self.in_flight.is_some() {
            return None;
        }
        let pair = self.pairs.iter().filter(|pair| pair.confirmed).max_by_key(|pair| pair.rank)?;
        let by_age = if pair.initiator {
            Some(pair.made + REKEY_AFTER)
        } else {
            // Only for a peer that was heard in the second half of the keys' time.
            let in_use = pair.opened.is_some_and(|opened| opened >= pair.made + REKEY_AFTER / 2);
            in_use.then_some(pair.made + REKEY_AFTER + RESPONDER_GRACE)
        };
        let due = if pair.sealing.is_worn() { Some(pair.made) } else { by_age }?;
        // The peer's own handshake may be about to bring new keys.
        let coming = self.pairs.iter().filter(|other| other.rank > pair.rank).map(|other| other.made);
        let wait = coming.chain(self.rekey_asked).max().map_or(Instant::ZERO, |at| at + REKEY_RETRY);
        Some(due.max(wait))
    }

    fn next_generation(&self) -> u32 {
        self.pairs.iter().map(|pair| pair.rank.0).max().unwrap_or(0).saturating_add(1)
    }

    fn repeated(&self, incoming: &Incoming) -> Option<&Answered> {
        self.answered.as_ref().filter(|answered| {
            answered.digest == *incoming.digest() && self.pairs.iter().any(|pair| pair.local == answered.local)
        })
    }

    fn retire(&mut self, index: SessionIndex) {
        if self.retired.len() >= MAX_RETIRED {
            self.retired.pop_front();
        }
        self.retired.push_back(index);
    }
}

#[cfg(test)]
#[cfg(any(feature = "aws-lc", feature = "pure-rust"))]
mod tests {
    use super::*;
    use crate::crypto::{Secret, default_provider};
    use crate::session::transport::{reject_after_messages, rekey_after_messages};
    use crate::wire::outer::HandshakeInit;

    type Ends = [(Session<5>, NoiseKey); 2];

    fn ends() -> Ends {
        [1, 2].map(|seed| {
            let key = NoiseKey::from_secret(default_provider(), Secret::new([seed; 32]));
            (Session::new(default_provider()), key)
        })
    }

    fn connect([a, b]: &mut Ends, rng: &mut Rng, now: Instant) {
        let psk = Secret::new([7; 32]);
        let (here, there) = (SessionIndex(rng.u32()), SessionIndex(rng.u32()));
        let init = a.0.begin(now, rng, &a.1, b.1.public(), &psk, here, b"");
        let init = HandshakeInit::parse(&init).unwrap();
        let incoming = Incoming::read(default_provider(), rng, &b.1, &init).unwrap();
        let response = b.0.accept(now, incoming, &psk, there, b"").unwrap();
        a.0.handle_response(now, &HandshakeResponse::parse(&response).unwrap()).unwrap();
        let mut first = a.0.seal(now, b"first").unwrap();
        assert!(b.0.open_in_place(now, &mut first).unwrap().confirmed);
    }

    #[test]
    fn keys_that_sealed_many_datagrams_are_renewed_at_once_by_either_end() {
        for end in [0, 1] {
            let mut ends = ends();
            let mut rng = Rng::from_seed([1; 32]);
            let now = Instant::from_millis(5_000);
            connect(&mut ends, &mut rng, now);
            let sealing = ends[end].0.sealing(now).unwrap();
            sealing.pretend_sealed(rekey_after_messages(sealing.suite()));
            assert_eq!(ends[end].0.handle_timeout(now), Some(SessionTimer::Rekey));
            connect(&mut ends, &mut rng, now);
            assert_eq!(ends[end].0.sealing(now).unwrap().sealed(), u64::from(end == 0));
            assert_eq!(ends[end].0.handle_timeout(now), None);
        }
    }

    #[test]
    fn exhausted_keys_seal_nothing_but_still_open() {
        let mut ends = ends();
        let mut rng = Rng::from_seed([1; 32]);
        let now = Instant::ZERO;
        connect(&mut ends, &mut rng, now);
        let sealing = ends[0].0.sealing(now).unwrap();
        sealing.pretend_sealed(reject_after_messages(sealing.suite()));
        assert_eq!(ends[0].0.seal(now, b"data"), Err(SealError::NoKey));
        let mut datagram = ends[1].0.seal(now, b"data").unwrap();
        assert!(ends[0].0.open_in_place(now, &mut datagram).is_ok());
    }
}
