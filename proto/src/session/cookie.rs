//! Who may make us do public-key work: MACs and cookies on handshake datagrams.
//!
//! The scheme is WireGuard's. Both handshake datagrams end in two MACs:
//!
//! ```text
//! ┌─────────────────────────────┬────────────┬────────────┐
//! │ header, Noise message       │ mac1 (16)  │ mac2 (16)  │
//! └─────────────────────────────┴────────────┴────────────┘
//!  └──── mac1 covers this ─────┘
//!  └──────────── mac2 covers this ──────────┘
//! ```
//!
//! - `mac1` is keyed with the receiver's public key: who does not know whom he talks to gets no
//!   answer and costs us one hash.
//! - `mac2` is keyed with a cookie: a MAC of the sender's address under a secret that changes every two
//!   minutes. Without load it is not looked at. Under load a datagram without it is answered with
//!   the cookie instead of public-key work, so only who receives at his address gets further.
//!
//! [`CookieJar`] is the responder's side, [`Cookie`] the initiator's. The jar keeps nothing an address.

use alloc::vec::Vec;
use core::fmt;
use core::net::{IpAddr, SocketAddr};
use core::time::Duration;

use chacha20poly1305::aead::AeadInOut as _;
use chacha20poly1305::aead::inout::InOutBuf;
use chacha20poly1305::{KeyInit as _, XChaCha20Poly1305};

use crate::crypto::{self, PublicKeyBytes, Secret};
use crate::rng::Rng;
use crate::time::Instant;
use crate::wire::outer::{CookieReply, HandshakeInit, MAC, SEALED_COOKIE, handshake_macs};

/// How long a cookie is used, and how often the secret behind cookies changes. WireGuard, 5.4.7.
pub const COOKIE_LIFETIME: Duration = Duration::from_secs(120);

/// Handshakes a second above which [`LoadMeter::default`] calls for cookies: a tenth of what one core
/// could answer.
pub const HANDSHAKES_PER_SECOND: u32 = 500;

/// How long load outlives the last handshake that was too many. WireGuard's value.
pub const LOAD_HELD: Duration = Duration::from_secs(1);

const MAC1_LABEL: &[u8] = b"ntmfw mac1 v1";
const COOKIE_LABEL: &[u8] = b"ntmfw cookie v1";

/// What to do with a handshake's first message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Do the public-key work.
    Process,
    /// Send this cookie reply back and forget the message.
    Reply(Vec<u8>),
    /// Its MAC is wrong: forget it.
    Drop,
}

/// What a jar saw.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CookieStats {
    pub malformed: u64,
    pub bad_mac1: u64,
    pub replies: u64,
    /// Under load, with a MAC that no cookie of this address gives.
    pub bad_mac2: u64,
    pub processed: u64,
}

/// The responder's side: judges first messages before any public-key work.
///
/// ```text
/// let under_load = meter.note(now);
/// match jar.check(now, &mut rng, datagram, from, under_load) {
///     Verdict::Process => Incoming::read(..),
///     Verdict::Reply(cookie) => send(from, cookie),
///     Verdict::Drop => {}
/// }
/// ```
pub struct CookieJar {
    public: PublicKeyBytes,
    secret: Secret,
    /// Still honoured, so that a cookie lives at least [`COOKIE_LIFETIME`].
    previous: Option<Secret>,
    changed: Instant,
    stats: CookieStats,
}

impl CookieJar {
    /// `public` is this end's Noise key, which mac1 is made with.
    pub fn new(public: &PublicKeyBytes, now: Instant, rng: &mut Rng) -> Self {
        Self {
            public: *public,
            secret: Secret::new(rng.array()),
            previous: None,
            changed: now,
            stats: CookieStats::default(),
        }
    }

    pub fn check(
        &mut self,
        now: Instant,
        rng: &mut Rng,
        datagram: &[u8],
        from: SocketAddr,
        under_load: bool,
    ) -> Verdict {
        self.rotate(now, rng);
        let Ok(init) = HandshakeInit::parse(datagram) else {
            self.stats.malformed += 1;
            return Verdict::Drop;
        };
        if !mac1_is_valid(&self.public, init.covered(), init.mac1) {
            self.stats.bad_mac1 += 1;
            return Verdict::Drop;
        }
        if !under_load || self.mac2_is_valid(&init, from) {
            self.stats.processed += 1;
            return Verdict::Process;
        }
        self.stats.bad_mac2 += u64::from(*init.mac2 != [0; MAC]);
        self.stats.replies += 1;
        Verdict::Reply(self.reply(&init, rng, from))
    }

    /// Whether the message bears a cookie of this jar for the address that it came from.
    pub fn has_given(&self, init: &HandshakeInit<'_>, from: SocketAddr) -> bool {
        *init.mac2 != [0; MAC] && self.mac2_is_valid(init, from)
    }

    pub fn stats(&self) -> &CookieStats {
        &self.stats
    }

    fn rotate(&mut self, now: Instant, rng: &mut Rng) {
        let age = now.since(self.changed);
        if age < COOKIE_LIFETIME {
            return;
        }
        let old = core::mem::replace(&mut self.secret, Secret::new(rng.array()));
        self.previous = (age < 2 * COOKIE_LIFETIME).then_some(old);
        self.changed = now;
    }

    fn mac2_is_valid(&self, init: &HandshakeInit<'_>, from: SocketAddr) -> bool {
        core::iter::once(&self.secret).chain(&self.previous).any(|secret| {
            let mac = mac2(&cookie_for(secret, from), init.covered(), init.mac1);
            crypto::equal(&mac, init.mac2)
        })
    }

    fn reply(&self, init: &HandshakeInit<'_>, rng: &mut Rng, from: SocketAddr) -> Vec<u8> {
        let nonce: [u8; 24] = rng.array();
        let mut sealed = [0; SEALED_COOKIE];
        let (cookie, tag) = sealed.split_at_mut(MAC);
        cookie.copy_from_slice(&cookie_for(&self.secret, from));
        let made = reply_cipher(&self.public)
            .encrypt_inout_detached(&nonce.into(), init.mac1, InOutBuf::from(cookie))
            .expect("16 bytes are far below the AEAD's limit");
        tag.copy_from_slice(&made);
        CookieReply { receiver: init.sender, nonce: &nonce, sealed: &sealed }.emit()
    }
}

impl fmt::Debug for CookieJar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CookieJar").field("stats", &self.stats).finish_non_exhaustive()
    }
}

/// The initiator's side: what a responder under load wants to see.
#[derive(Clone)]
pub struct Cookie {
    value: [u8; MAC],
    received: Instant,
}

impl Cookie {
    /// Reads the answer to `init`, a first message sent to the holder of `peer`. `None` if it is not one.
    pub fn open(
        now: Instant,
        peer: &PublicKeyBytes,
        init: &HandshakeInit<'_>,
        reply: &CookieReply<'_>,
    ) -> Option<Self> {
        let (cookie, tag) = reply.sealed.split_last_chunk::<MAC>()?;
        let mut value: [u8; MAC] = cookie.try_into().ok()?;
        reply_cipher(peer)
            .decrypt_inout_detached(reply.nonce.into(), init.mac1, InOutBuf::from(&mut value[..]), tag.into())
            .ok()?;
        Some(Self { value, received: now })
    }

    /// Whether the responder still honours it.
    pub fn is_fresh(&self, now: Instant) -> bool {
        now.since(self.received) < COOKIE_LIFETIME
    }

    pub(crate) fn is_same(&self, other: &Self) -> bool {
        crypto::equal(&self.value, &other.value)
    }
}

impl fmt::Debug for Cookie {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Cookie(received at {} ms)", self.received.as_millis())
    }
}

/// Counts handshakes and says when they are too many: a token bucket that holds one second's worth.
#[derive(Clone, Copy, Debug)]
pub struct LoadMeter {
    per_second: u32,
    /// Handshakes that may come at once, in nanoseconds of the bucket's filling.
    filled: u64,
    at: Instant,
    loaded_until: Instant,
}

impl LoadMeter {
    pub const fn new(per_second: u32) -> Self {
        Self { per_second, filled: NANOS_PER_SECOND, at: Instant::ZERO, loaded_until: Instant::ZERO }
    }

    /// A handshake arrived. Whether there is load now.
    pub fn note(&mut self, now: Instant) -> bool {
        let passed = now.since(self.at).as_nanos().min(u128::from(NANOS_PER_SECOND)) as u64;
        self.filled = (self.filled + passed).min(NANOS_PER_SECOND);
        self.at = self.at.max(now);
        let price = NANOS_PER_SECOND / u64::from(self.per_second.max(1));
        match self.filled.checked_sub(price) {
            Some(rest) => self.filled = rest,
            None => self.loaded_until = now + LOAD_HELD,
        }
        now < self.loaded_until
    }
}

const NANOS_PER_SECOND: u64 = 1_000_000_000;

impl Default for LoadMeter {
    fn default() -> Self {
        Self::new(HANDSHAKES_PER_SECOND)
    }
}

/// Writes both MACs of a handshake datagram: mac1 for the holder of `receiver`, mac2 if a cookie is held.
pub(super) fn write_macs(datagram: &mut [u8], receiver: &PublicKeyBytes, cookie: Option<&Cookie>) {
    if let Some(macs) = handshake_macs(datagram) {
        *macs.mac1 = mac1(receiver, macs.covered);
    }
    refresh_mac2(datagram, cookie);
}

/// Writes mac2 anew; zeros without a cookie.
pub(super) fn refresh_mac2(datagram: &mut [u8], cookie: Option<&Cookie>) {
    if let Some(macs) = handshake_macs(datagram) {
        *macs.mac2 = cookie.map_or([0; MAC], |cookie| mac2(&cookie.value, macs.covered, macs.mac1));
    }
}

/// Whether who sent this knows that he talks to the holder of `receiver`.
pub(super) fn mac1_is_valid(receiver: &PublicKeyBytes, covered: &[u8], mac: &[u8; MAC]) -> bool {
    crypto::equal(&mac1(receiver, covered), mac)
}

fn mac1(receiver: &PublicKeyBytes, covered: &[u8]) -> [u8; MAC] {
    crypto::keyed_mac(&crypto::blake2s(&[MAC1_LABEL, receiver]), &[covered])
}

fn mac2(cookie: &[u8; MAC], covered: &[u8], mac1: &[u8; MAC]) -> [u8; MAC] {
    crypto::keyed_mac(cookie, &[covered, mac1])
}

fn cookie_for(secret: &Secret, from: SocketAddr) -> [u8; MAC] {
    let address = match from.ip() {
        IpAddr::V4(v4) => v4.to_ipv6_mapped(),
        IpAddr::V6(v6) => v6,
    };
    crypto::keyed_mac(secret.expose(), &[&address.octets(), &from.port().to_be_bytes()])
}

fn reply_cipher(public: &PublicKeyBytes) -> XChaCha20Poly1305 {
    XChaCha20Poly1305::new(&crypto::blake2s(&[COOKIE_LABEL, public]).into())
}

#[cfg(test)]
#[cfg(any(feature = "aws-lc", feature = "pure-rust"))]
mod tests {
    use super::*;
    use crate::crypto::default_provider;
    use crate::id::SessionIndex;
    use crate::identity::NoiseKey;
    use crate::session::{HandshakeError, Incoming, Initiator, Session};
    use core::net::Ipv4Addr;

    const NOW: Instant = Instant::from_millis(10_000);

    struct World {
        rng: Rng,
        initiator: NoiseKey,
        responder: NoiseKey,
        jar: CookieJar,
        session: Session<5>,
    }

    impl World {
        fn new() -> Self {
            let mut rng = Rng::from_seed([2; 32]);
            let provider = default_provider();
            let initiator = NoiseKey::from_secret(provider, Secret::new(rng.array()));
            let responder = NoiseKey::from_secret(provider, Secret::new(rng.array()));
            let jar = CookieJar::new(responder.public(), NOW, &mut rng);
            Self { rng, initiator, responder, jar, session: Session::new(provider) }
        }

        fn begin(&mut self, now: Instant) -> Vec<u8> {
            let index = SessionIndex(self.rng.u32());
            let (psk, peer) = (Secret::new([1; 32]), *self.responder.public());
            self.session.begin(now, &mut self.rng, &self.initiator, &peer, &psk, index, b"payload")
        }

        fn check(&mut self, now: Instant, datagram: &[u8], from: SocketAddr, load: bool) -> Verdict {
            self.jar.check(now, &mut self.rng, datagram, from, load)
        }

        fn answer(&mut self, now: Instant, reply: &[u8]) -> Result<Vec<u8>, HandshakeError> {
            self.session.handle_cookie_reply(now, &CookieReply::parse(reply).unwrap())
        }
    }

    fn address(last: u8, port: u16) -> SocketAddr {
        SocketAddr::new(IpAddr::V4(Ipv4Addr::new(192, 0, 2, last)), port)
    }

    fn reply(verdict: Verdict) -> Vec<u8> {
        match verdict {
            Verdict::Reply(reply) => reply,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn without_load_nobody_needs_a_cookie() {
        let mut world = World::new();
        let init = world.begin(NOW);
        assert_eq!(world.check(NOW, &init, address(1, 1), false), Verdict::Process);
    }

    #[test]
    fn under_load_a_handshake_costs_one_more_round_trip_and_works() {
        let mut world = World::new();
        let from = address(1, 1);
        let init = world.begin(NOW);
        let cookie = reply(world.check(NOW, &init, from, true));
        assert!(cookie.len() <= init.len(), "a victim gets less than the attacker sent");
        let again = world.answer(NOW, &cookie).unwrap();
        assert_eq!(again.len(), init.len());
        assert_eq!(world.check(NOW, &again, from, true), Verdict::Process);
        let parsed = HandshakeInit::parse(&again).unwrap();
        assert!(Incoming::read(default_provider(), &mut world.rng, &world.responder, &parsed).is_ok());
        // The cookie serves the retransmission and the next handshake too.
        let again = world.session.handshake_datagram().unwrap();
        assert_eq!(world.check(NOW, &again, from, true), Verdict::Process);
        let next = world.begin(NOW);
        assert_eq!(world.check(NOW, &next, from, true), Verdict::Process);
        assert_eq!(world.jar.stats().processed, 3);
    }

    #[test]
    fn a_cookie_from_another_address_or_port_is_refused() {
        let mut world = World::new();
        let init = world.begin(NOW);
        let cookie = reply(world.check(NOW, &init, address(1, 1), true));
        let again = world.answer(NOW, &cookie).unwrap();
        for from in [address(2, 1), address(1, 2), "[2001:db8::1]:1".parse().unwrap()] {
            assert!(matches!(world.check(NOW, &again, from, true), Verdict::Reply(_)), "{from}");
        }
        assert_eq!(world.jar.stats().bad_mac2, 3);
    }

    #[test]
    fn the_same_host_seen_through_a_dual_stack_socket_is_the_same_address() {
        let mut world = World::new();
        let init = world.begin(NOW);
        let cookie = reply(world.check(NOW, &init, address(1, 1), true));
        let again = world.answer(NOW, &cookie).unwrap();
        let mapped = "[::ffff:192.0.2.1]:1".parse().unwrap();
        assert_eq!(world.check(NOW, &again, mapped, true), Verdict::Process);
    }

    #[test]
    fn a_fresh_cookie_outlives_a_change_of_the_secret_and_an_old_one_does_not() {
        let mut world = World::new();
        let from = address(1, 1);
        let init = world.begin(NOW);
        let late = NOW + Duration::from_secs(119);
        let cookie = reply(world.check(late, &init, from, true));
        let again = world.answer(late, &cookie).unwrap();
        let changed = NOW + Duration::from_secs(121);
        assert_eq!(world.check(changed, &again, from, true), Verdict::Process);
        let twice = NOW + Duration::from_secs(242);
        assert!(matches!(world.check(twice, &again, from, true), Verdict::Reply(_)));
        // After a long silence the secret before it is not brought back.
        let mut world = World::new();
        let init = world.begin(NOW);
        let cookie = reply(world.check(NOW, &init, from, true));
        let again = world.answer(NOW, &cookie).unwrap();
        let silence = NOW + Duration::from_secs(1_000);
        assert!(matches!(world.check(silence, &again, from, true), Verdict::Reply(_)));
    }

    #[test]
    fn an_initiator_forgets_a_cookie_after_two_minutes() {
        let mut world = World::new();
        let init = world.begin(NOW);
        let cookie = reply(world.check(NOW, &init, address(1, 1), true));
        world.answer(NOW, &cookie).unwrap();
        let next = world.begin(NOW + COOKIE_LIFETIME);
        assert_eq!(*HandshakeInit::parse(&next).unwrap().mac2, [0; MAC]);
    }

    #[test]
    fn a_first_message_with_a_wrong_mac_gets_no_answer_at_all() {
        let mut world = World::new();
        let init = world.begin(NOW);
        for at in (1..init.len() - MAC).step_by(7) {
            let mut forged = init.clone();
            forged[at] ^= 1;
            assert_eq!(world.check(NOW, &forged, address(1, 1), true), Verdict::Drop, "byte {at}");
        }
        for len in 0..init.len() {
            assert_eq!(world.check(NOW, &init[..len], address(1, 1), true), Verdict::Drop, "{len} bytes");
        }
        let stats = world.jar.stats();
        assert!(stats.bad_mac1 > 0 && stats.malformed > 0 && stats.replies == 0);
    }

    #[test]
    fn forged_and_foreign_cookie_replies_are_refused() {
        let mut world = World::new();
        let from = address(1, 1);
        let first = world.begin(NOW);
        let old = reply(world.check(NOW, &first, from, true));
        let init = world.begin(NOW);
        assert_eq!(world.answer(NOW, &old), Err(HandshakeError::UnknownIndex));
        let cookie = reply(world.check(NOW, &init, from, true));
        for at in 8..cookie.len() {
            let mut forged = cookie.clone();
            forged[at] ^= 1;
            assert_eq!(world.answer(NOW, &forged), Err(HandshakeError::BadCookie), "byte {at}");
        }
        // The answer to another first message, with its index changed to ours.
        let mut moved = old;
        moved[4..8].copy_from_slice(&cookie[4..8]);
        assert_eq!(world.answer(NOW, &moved), Err(HandshakeError::BadCookie));
        assert!(world.answer(NOW, &cookie).is_ok());
        assert_eq!(world.answer(NOW, &cookie), Err(HandshakeError::BadCookie), "each sends once");
    }

    #[test]
    fn cookie_replies_cannot_make_an_initiator_send_without_end() {
        let mut world = World::new();
        let init = world.begin(NOW);
        let sent = (0..100)
            .filter(|port| {
                let cookie = reply(world.check(NOW, &init, address(1, *port), true));
                world.answer(NOW, &cookie).is_ok()
            })
            .count();
        assert_eq!(sent, usize::from(crate::session::pair::MAX_COOKIE_REPLIES));
    }

    #[test]
    fn without_a_cookie_mac2_is_zero_and_with_one_only_mac2_changes() {
        let mut world = World::new();
        let (psk, peer) = (Secret::new([1; 32]), *world.responder.public());
        let (initiator, init) = Initiator::start(
            default_provider(),
            &mut world.rng,
            &world.initiator,
            &peer,
            &psk,
            SessionIndex(1),
            b"",
            None,
        );
        let cookie = Cookie { value: [5; MAC], received: NOW };
        let again = initiator.datagram(Some(&cookie));
        let end = init.len() - MAC;
        assert_eq!(init[end..], [0; MAC]);
        assert_eq!(again[..end], init[..end]);
        assert_ne!(again[end..], [0; MAC]);
    }

    #[test]
    fn a_burst_or_a_steady_flood_is_load_and_ordinary_traffic_is_not() {
        let mut meter = LoadMeter::new(100);
        let mut now = NOW;
        for _ in 0..1_000 {
            now += Duration::from_millis(20);
            assert!(!meter.note(now), "50 a second");
        }
        let loaded = (0..300).filter(|_| meter.note(now)).count();
        assert!((195..=205).contains(&loaded), "{loaded}: a second's worth may come at once");
        let mut loaded = 0;
        for _ in 0..3_000 {
            now += Duration::from_millis(1);
            loaded += usize::from(meter.note(now));
        }
        assert!(loaded > 2_900, "{loaded} of 3,000 at 1,000 a second");
        assert!(!meter.note(now + Duration::from_secs(2)), "over soon after it ends");
    }
}
