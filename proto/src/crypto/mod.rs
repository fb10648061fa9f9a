//! The primitives, behind one trait, from two providers.

use alloc::boxed::Box;
use core::fmt;
use subtle::ConstantTimeEq as _;
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

impl Secret {
    pub const fn new(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    pub const fn expose(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

impl PartialEq for Secret {
    fn eq(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl Eq for Secret {}
