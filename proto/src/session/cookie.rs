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
use crate::wire::outer::{CookieReply, HandshakeInit, MAC, OuterType};

/// How long a cookie is used, and how often the secret behind cookies changes. WireGuard, 5.4.7.
pub const COOKIE_LIFETIME: Duration = Duration::from_secs(120);

/// Handshakes a second above which [`LoadMeter::default`] calls for cookies: a tenth of what one core
/// could answer.
pub const HANDSHAKES_PER_SECOND: u32 = 500;

/// How long load outlives the last handshake that was too many. WireGuard's value.
pub const LOAD_HELD: Duration = Duration::from_secs(1);

const MAC1_LABEL: &[u8] = b"ntmfw mac1 v1";
const COOKIE_LABEL: &[u8] = b"ntmfw cookie v1";
const REPLY_HEADER: usize = 8;

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
            self.stats.bad_mac1 += 1;
            return Verdict::Drop;
        };
        if !mac1_is_valid(&self.public, datagram) {
            self.stats.bad_mac1 += 1;
            return Verdict::Drop;
        }
        if !under_load || self.mac2_is_valid(datagram, from) {
            self.stats.processed += 1;
            return Verdict::Process;
        }
        self.stats.bad_mac2 += u64::from(mac2_of(datagram) != [0; MAC]);
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

    fn mac2_is_valid(&self, datagram: &[u8], from: SocketAddr) -> bool {
        core::iter::once(&self.secret).chain(&self.previous).any(|secret| {
            let mac = mac2(&cookie_for(secret, from), datagram);
            crypto::equal(&mac, &mac2_of(datagram))
        })
    }

    fn reply(&self, init: &HandshakeInit<'_>, rng: &mut Rng, from: SocketAddr) -> Vec<u8> {
        let nonce: [u8; 24] = rng.array();
        let mut cookie = cookie_for(&self.secret, from);
        let tag = reply_cipher(&self.public)
            .encrypt_inout_detached(&nonce.into(), &mac1_of(init.datagram), InOutBuf::from(&mut cookie[..]))
            .expect("16 bytes are far below the AEAD's limit");
        let mut reply = Vec::with_capacity(REPLY_HEADER + nonce.len() + cookie.len() + tag.len());
        reply.extend_from_slice(&[OuterType::CookieReply as u8, 0, 0, 0]);
        reply.extend_from_slice(&init.sender.0.to_be_bytes());
        reply.extend_from_slice(&nonce);
        reply.extend_from_slice(&cookie);
        reply.extend_from_slice(&tag);
        reply
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
    /// Reads the answer to `datagram`, a first message sent to the holder of `peer`. `None` if it is not
    /// one.
    pub fn open(now: Instant, peer: &PublicKeyBytes, datagram: &[u8], reply: &CookieReply<'_>) -> Option<Self> {
        let (cookie, tag) = reply.sealed.split_last_chunk::<MAC>()?;
        let mut value: [u8; MAC] = cookie.try_into().ok()?;
        reply_cipher(peer)
            .decrypt_inout_detached(reply.nonce.into(), &mac1_of(datagram), InOutBuf::from(&mut value[..]), tag.into())
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

/// Ends a handshake datagram: mac1 for the holder of `receiver`, mac2 if a cookie is held.
pub(super) fn append_macs(datagram: &mut Vec<u8>, receiver: &PublicKeyBytes, cookie: Option<&Cookie>) {
    let mac1 = mac1(receiver, datagram);
    datagram.extend_from_slice(&mac1);
    datagram.extend_from_slice(&[0; MAC]);
    refresh_mac2(datagram, cookie);
}

/// Writes mac2 anew; zeros without a cookie.
pub(super) fn refresh_mac2(datagram: &mut [u8], cookie: Option<&Cookie>) {
    let mac = cookie.map_or([0; MAC], |cookie| mac2(&cookie.value, datagram));
    if let Some(place) = datagram.last_chunk_mut() {
        *place = mac;
    }
}

/// Whether the sender of `datagram` knows that it talks to the holder of `receiver`.
pub(super) fn mac1_is_valid(receiver: &PublicKeyBytes, datagram: &[u8]) -> bool {
    let Some(covered) = datagram.len().checked_sub(2 * MAC) else { return false };
    crypto::equal(&mac1(receiver, &datagram[..covered]), &mac1_of(datagram))
}

fn mac1(receiver: &PublicKeyBytes, covered: &[u8]) -> [u8; MAC] {
    crypto::keyed_mac(&crypto::blake2s(&[MAC1_LABEL, receiver]), &[covered])
}

fn mac2(cookie: &[u8; MAC], datagram: &[u8]) -> [u8; MAC] {
    crypto::keyed_mac(cookie, &[&datagram[..datagram.len().saturating_sub(MAC)]])
}

/// Zeros where the datagram is too short to have one.
fn mac1_of(datagram: &[u8]) -> [u8; MAC] {
    datagram.split_last_chunk::<MAC>().and_then(|(rest, _)| rest.last_chunk().copied()).unwrap_or_default()
}

fn mac2_of(datagram: &[u8]) -> [u8; MAC] {
    datagram.last_chunk().copied().unwrap_or_default()
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
