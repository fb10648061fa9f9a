//! The primitives, behind one trait, from two providers.
//!
//! | primitive | `aws_lc` | `pure` |
//! |---|---|---|
//! | ChaCha20-Poly1305 | AWS-LC | `chacha20poly1305` |
//! | AES-256-GCM | AWS-LC, offered on x86-64 and AArch64 | never: without hardware it is slow and leaks through timing |
//! | X25519, Ed25519 | AWS-LC | dalek |
//! | BLAKE2s | `blake2`, for both | |
//!
//! Both providers may be compiled into one program; they speak to each other. Everything a
//! provider does is a function of its arguments: no provider draws randomness of its own.

use alloc::boxed::Box;
use core::fmt;

use blake2::digest::{KeyInit, Mac, consts::U16};
use blake2::{Blake2s256, Blake2sMac, Blake2sMac256, Digest};
use subtle::ConstantTimeEq;
use zeroize::{Zeroize, ZeroizeOnDrop};

#[cfg(feature = "aws-lc")]
pub mod aws_lc;
#[cfg(feature = "pure-rust")]
pub mod pure;

pub type PublicKeyBytes = [u8; 32];

/// 32 secret bytes: wiped when dropped, compared in constant time, never printed.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct Secret([u8; 32]);

/// The AEAD that seals data. Every node speaks the first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Suite {
    ChaCha20Poly1305 = 1,
    Aes256Gcm = 2,
}

/// An AEAD key ready for use. Nonces are 96 bits: 32 zero bits and the counter, little-endian for
/// ChaCha20-Poly1305 and big-endian for AES-GCM as Noise has them.
pub trait AeadKey: Send + Sync {
    /// Seals `data` in place, gives the tag.
    fn seal(&self, counter: u64, aad: &[u8], data: &mut [u8]) -> [u8; 16];
    /// Opens `data` in place; on failure its content is unspecified and must not be used.
    fn open(&self, counter: u64, aad: &[u8], data: &mut [u8], tag: &[u8; 16]) -> Result<(), Unauthentic>;
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unauthentic;

pub trait Provider: Send + Sync {
    fn name(&self) -> &'static str;
    /// A key of a suite that is not among [`suites`](Self::suites) seals nothing and opens nothing.
    fn aead(&self, suite: Suite, key: &Secret) -> Box<dyn AeadKey>;
    /// X25519. An all-zero result is refused.
    fn x25519(&self, secret: &Secret, public: &PublicKeyBytes) -> Result<Secret, Unauthentic>;
    fn x25519_public(&self, secret: &Secret) -> PublicKeyBytes;
    fn ed25519_public(&self, seed: &Secret) -> PublicKeyBytes;
    fn ed25519_sign(&self, seed: &Secret, message: &[u8]) -> [u8; 64];
    fn ed25519_verify(&self, public: &PublicKeyBytes, message: &[u8], signature: &[u8; 64]) -> Result<(), Unauthentic>;
    /// Suites this machine runs fast, best first; always holds ChaCha20-Poly1305.
    fn suites(&self) -> &'static [Suite];
}

/// The fastest provider compiled in.
#[cfg(any(feature = "aws-lc", feature = "pure-rust"))]
pub fn default_provider() -> &'static dyn Provider {
    #[cfg(feature = "aws-lc")]
    return aws_lc::PROVIDER;
    #[cfg(not(feature = "aws-lc"))]
    return pure::PROVIDER;
}

impl Secret {
    pub const fn new(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    pub const fn expose(&self) -> &[u8; 32] {
        &self.0
    }
}

impl PartialEq for Secret {
    fn eq(&self, other: &Self) -> bool {
        equal(&self.0, &other.0)
    }
}

impl Eq for Secret {}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

impl fmt::Display for Unauthentic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not authentic")
    }
}

impl core::error::Error for Unauthentic {}

impl fmt::Debug for dyn Provider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Provider({})", self.name())
    }
}

impl fmt::Debug for dyn AeadKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AeadKey(..)")
    }
}

impl Suite {
    /// This suite's bit in a handshake's offer: suite 1 is bit 0.
    pub const fn bit(self) -> u8 {
        1 << (self as u8 - 1)
    }

    pub const fn from_number(number: u8) -> Option<Self> {
        match number {
            1 => Some(Self::ChaCha20Poly1305),
            2 => Some(Self::Aes256Gcm),
            _ => None,
        }
    }

    /// The 96-bit nonce of a counter in this suite (Noise, 12.3 and 12.4).
    pub(crate) fn nonce(self, counter: u64) -> [u8; 12] {
        let mut nonce = [0; 12];
        nonce[4..].copy_from_slice(&match self {
            Self::ChaCha20Poly1305 => counter.to_le_bytes(),
            Self::Aes256Gcm => counter.to_be_bytes(),
        });
        nonce
    }
}

/// BLAKE2s-256 of the parts joined. Callers whose parts vary in length put the lengths in.
pub fn blake2s(parts: &[&[u8]]) -> [u8; 32] {
    let mut hasher = Blake2s256::new();
    parts.iter().for_each(|part| Digest::update(&mut hasher, part));
    hasher.finalize().into()
}

/// Keyed BLAKE2s-128 of the parts joined: a MAC. A key longer than BLAKE2s takes is hashed first.
pub fn keyed_mac(key: &[u8], parts: &[&[u8]]) -> [u8; 16] {
    keyed::<Blake2sMac<U16>>(key, parts).finalize().into_bytes().into()
}

/// Keyed BLAKE2s-256 of the parts joined: derives one secret from another.
pub fn derive(key: &Secret, parts: &[&[u8]]) -> Secret {
    Secret::new(keyed::<Blake2sMac256>(key.expose(), parts).finalize().into_bytes().into())
}

fn keyed<M: Mac + KeyInit>(key: &[u8], parts: &[&[u8]]) -> M {
    const LONGEST_KEY: usize = 32;
    let mut mac = if key.len() > LONGEST_KEY {
        <M as KeyInit>::new_from_slice(&blake2s(&[key]))
    } else {
        <M as KeyInit>::new_from_slice(key)
    }
    .expect("BLAKE2s takes every key of up to 32 bytes");
    parts.iter().for_each(|part| mac.update(part));
    mac
}

/// Whether two byte strings are equal, in a time that depends on their lengths alone.
pub fn equal(a: &[u8], b: &[u8]) -> bool {
    a.ct_eq(b).into()
}
