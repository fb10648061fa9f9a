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
