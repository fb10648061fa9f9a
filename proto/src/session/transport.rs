//! Sealing and opening data datagrams with one key.
//!
//! ```text
//!  0      1      2        4                8                16              n-16        n
//! ┌──────┬──────┬────────┬────────────────┬─────────────────┬───────────────┬───────────┐
//! │ type │flags │reserved│ receiver index │ counter         │ ciphertext    │ tag       │
//! └──────┴──────┴────────┴────────────────┴─────────────────┴───────────────┴───────────┘
//!  └──────────────── associated data ────────────────────────┘
//! ```
//!
//! A [`SealingKey`] is shared by every thread that sends: its counter is atomic, and no counter is
//! ever used twice. An [`OpeningKey`] knows no replay window; [`Session`](super::Session) keeps that.

use alloc::boxed::Box;
use alloc::vec;
use alloc::vec::Vec;
use core::fmt;
use core::ops::Range;
use core::sync::atomic::{AtomicU64, Ordering};

use crate::crypto::{AeadKey, Provider, Secret, Suite};
use crate::id::SessionIndex;
use crate::wire::outer::{DATA_HEADER, DATA_OVERHEAD, Data, TAG, write_data_header};

/// Datagrams sealed with one key after which new keys are wanted. AES-GCM: DESIGN 4.2. ChaCha20-
/// Poly1305: WireGuard's `REKEY_AFTER_MESSAGES`, which nobody reaches.
pub const fn rekey_after_messages(suite: Suite) -> u64 {
    match suite {
        Suite::ChaCha20Poly1305 => 1 << 60,
        Suite::Aes256Gcm => 1 << 26,
    }
}

/// Datagrams one key may ever seal. AES-GCM: RFC 9001, B.1.1, for packets of up to 2^11 bytes. ChaCha20-
/// Poly1305: far below the counter's end, so that threads that race past the check cannot wrap it.
pub const fn reject_after_messages(suite: Suite) -> u64 {
    match suite {
        Suite::ChaCha20Poly1305 => 1 << 62,
        Suite::Aes256Gcm => 1 << 28,
    }
}

/// The key has sealed all it may.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exhausted;

/// Why nothing was sealed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SealError {
    /// There is no key that may seal now: a handshake is needed.
    NoKey,
    /// The key has sealed all it may.
    Exhausted,
}

/// Why a datagram was not opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OpenError {
    /// Not a data datagram, or shorter than one.
    Malformed,
    /// No key pair has this index, or its time is over.
    UnknownIndex,
    /// Opened before, or too old to tell.
    Replayed,
    /// Forged, damaged, or sealed with another key.
    Unauthentic,
}

/// The sending half of a key pair.
pub struct SealingKey {
    key: Box<dyn AeadKey>,
    suite: Suite,
    remote: SessionIndex,
    counter: AtomicU64,
}

impl SealingKey {
    /// `remote` is the index by which the peer finds the key.
    pub fn new(provider: &'static dyn Provider, suite: Suite, key: &Secret, remote: SessionIndex) -> Self {
        Self { key: provider.aead(suite, key), suite, remote, counter: AtomicU64::new(0) }
    }

    /// A key that has sealed `sealed` datagrams already: for an owner of so many sessions that it keeps
    /// raw keys and counters, and must count on by itself.
    pub fn resume(
        provider: &'static dyn Provider,
        suite: Suite,
        key: &Secret,
        remote: SessionIndex,
        sealed: u64,
    ) -> Self {
        Self { counter: AtomicU64::new(sealed), ..Self::new(provider, suite, key, remote) }
    }

    /// Seals in place what stands between [`DATA_HEADER`] bytes of room before and [`TAG`] bytes of room
    /// behind, and writes the header. Gives the counter used.
    ///
    /// A buffer without that room is refused as [`Exhausted`] too: it cannot come from a peer.
    pub fn seal_in_place(&self, datagram: &mut [u8]) -> Result<u64, Exhausted> {
        debug_assert!(datagram.len() >= DATA_OVERHEAD, "room for header and tag");
        let (header, rest) = datagram.split_first_chunk_mut::<DATA_HEADER>().ok_or(Exhausted)?;
        let (plaintext, tag) = rest.split_last_chunk_mut::<TAG>().ok_or(Exhausted)?;
        let counter = self.next_counter()?;
        write_data_header(header, self.remote, counter);
        *tag = self.key.seal(counter, header, plaintext);
        Ok(counter)
    }

    /// Seals a copy of `plaintext` into a datagram of its own.
    pub fn seal(&self, plaintext: &[u8]) -> Result<Vec<u8>, Exhausted> {
        let mut datagram = vec![0; plaintext.len() + DATA_OVERHEAD];
        datagram[DATA_HEADER..DATA_HEADER + plaintext.len()].copy_from_slice(plaintext);
        self.seal_in_place(&mut datagram)?;
        Ok(datagram)
    }

    /// How many datagrams were sealed.
    pub fn sealed(&self) -> u64 {
        self.counter.load(Ordering::Relaxed).min(reject_after_messages(self.suite))
    }

    pub fn suite(&self) -> Suite {
        self.suite
    }

    /// The index by which the peer finds the key.
    pub fn remote(&self) -> SessionIndex {
        self.remote
    }

    /// Whether new keys are wanted for the number of datagrams sealed.
    pub fn is_worn(&self) -> bool {
        self.sealed() >= rekey_after_messages(self.suite)
    }

    /// Whether the key has sealed all it may.
    pub fn is_exhausted(&self) -> bool {
        self.sealed() >= reject_after_messages(self.suite)
    }

    fn next_counter(&self) -> Result<u64, Exhausted> {
        // Read first, so that attempts on an exhausted key cannot add up to a wrap.
        if self.is_exhausted() {
            return Err(Exhausted);
        }
        let counter = self.counter.fetch_add(1, Ordering::Relaxed);
        if counter < reject_after_messages(self.suite) { Ok(counter) } else { Err(Exhausted) }
    }

    #[cfg(all(test, any(feature = "aws-lc", feature = "pure-rust")))]
    pub(crate) fn pretend_sealed(&self, count: u64) {
        self.counter.store(count, Ordering::Relaxed);
    }
}

/// The receiving half of a key pair.
pub struct OpeningKey {
    key: Box<dyn AeadKey>,
}

impl OpeningKey {
    pub fn new(provider: &'static dyn Provider, suite: Suite, key: &Secret) -> Self {
        Self { key: provider.aead(suite, key) }
    }

    /// Opens in place. Gives the counter, which the caller must check against replay, and where the
    /// plaintext stands. After an error the ciphertext's bytes are unspecified.
    pub fn open_in_place(&self, datagram: &mut [u8]) -> Result<(u64, Range<usize>), OpenError> {
        let counter = Data::parse(datagram).map_err(|_| OpenError::Malformed)?.counter;
        let end = datagram.len() - TAG;
        let (header, rest) = datagram.split_at_mut(DATA_HEADER);
        let (ciphertext, tag) = rest.split_last_chunk_mut::<TAG>().ok_or(OpenError::Malformed)?;
        self.key.open(counter, header, ciphertext, tag).map_err(|_| OpenError::Unauthentic)?;
        Ok((counter, DATA_HEADER..end))
    }
}

impl From<Exhausted> for SealError {
    fn from(_: Exhausted) -> Self {
        Self::Exhausted
    }
}

impl From<super::Replayed> for OpenError {
    fn from(_: super::Replayed) -> Self {
        Self::Replayed
    }
}

impl fmt::Display for Exhausted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the key has sealed all it may")
    }
}

impl fmt::Display for SealError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoKey => "no key may seal now",
            Self::Exhausted => "the key has sealed all it may",
        })
    }
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Malformed => "not a data datagram",
            Self::UnknownIndex => "no key pair has this index",
            Self::Replayed => "replayed",
            Self::Unauthentic => "not authentic",
        })
    }
}

impl core::error::Error for Exhausted {}
impl core::error::Error for SealError {}
impl core::error::Error for OpenError {}

impl fmt::Debug for SealingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SealingKey")
            .field("suite", &self.suite)
            .field("remote", &self.remote)
            .field("sealed", &self.sealed())
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for OpeningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OpeningKey(..)")
    }
}

#[cfg(test)]
#[cfg(any(feature = "aws-lc", feature = "pure-rust"))]
mod tests {
    use super::*;
    use crate::crypto::default_provider;

    const REMOTE: SessionIndex = SessionIndex(0xa1b2_c3d4);

    fn keys(suite: Suite) -> (SealingKey, OpeningKey) {
        let key = Secret::new([3; 32]);
        (SealingKey::new(default_provider(), suite, &key, REMOTE), OpeningKey::new(default_provider(), suite, &key))
    }

    #[test]
    fn what_is_sealed_opens_with_every_suite_and_the_header_says_for_whom() {
        for &suite in default_provider().suites() {
            let (sealing, opening) = keys(suite);
            for counter in 0..3 {
                let mut datagram = sealing.seal(b"a packet").unwrap();
                assert_eq!(datagram[..4], [4, 0, 0, 0]);
                assert_eq!(datagram[4..8], [0xa1, 0xb2, 0xc3, 0xd4]);
                let (at, plaintext) = opening.open_in_place(&mut datagram).unwrap();
                assert_eq!((at, &datagram[plaintext]), (counter, &b"a packet"[..]));
            }
        }
    }

    #[test]
    fn an_empty_plaintext_can_be_sealed() {
        let (sealing, opening) = keys(Suite::ChaCha20Poly1305);
        let mut datagram = sealing.seal(b"").unwrap();
        assert_eq!(datagram.len(), DATA_OVERHEAD);
        assert!(opening.open_in_place(&mut datagram).unwrap().1.is_empty());
    }

    #[test]
    fn threads_that_seal_at_once_never_share_a_counter() {
        let (sealing, _) = keys(Suite::ChaCha20Poly1305);
        let mut counters: Vec<u64> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..4)
                .map(|_| {
                    scope.spawn(|| {
                        let mut room = [0; DATA_OVERHEAD];
                        (0..1_000).map(|_| sealing.seal_in_place(&mut room).unwrap()).collect::<Vec<_>>()
                    })
                })
                .collect();
            threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
        });
        counters.sort_unstable();
        assert!(counters.iter().copied().eq(0..4_000));
    }

    #[test]
    fn a_key_that_sealed_all_it_may_seals_no_more_however_often_it_is_asked() {
        for &suite in default_provider().suites() {
            let (sealing, _) = keys(suite);
            sealing.pretend_sealed(reject_after_messages(suite) - 2);
            assert!(sealing.is_worn() && !sealing.is_exhausted());
            assert!(sealing.seal(b"last but one").is_ok() && sealing.seal(b"last").is_ok());
            for _ in 0..10 {
                assert_eq!(sealing.seal(b"too many"), Err(Exhausted));
            }
            assert_eq!(sealing.sealed(), reject_after_messages(suite));
        }
    }

    #[test]
    fn keys_of_another_suite_or_secret_open_nothing() {
        let (sealing, opening) = keys(Suite::ChaCha20Poly1305);
        let other = OpeningKey::new(default_provider(), Suite::ChaCha20Poly1305, &Secret::new([4; 32]));
        let (_, aes) = keys(Suite::Aes256Gcm);
        let datagram = sealing.seal(b"data").unwrap();
        assert_eq!(other.open_in_place(&mut datagram.clone()), Err(OpenError::Unauthentic));
        assert_eq!(aes.open_in_place(&mut datagram.clone()), Err(OpenError::Unauthentic));
        assert!(opening.open_in_place(&mut datagram.clone()).is_ok());
    }
}
