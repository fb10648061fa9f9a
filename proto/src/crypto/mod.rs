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
#[cfg(any(feature = "aws-lc", feature = "pure-rust"))]
pub mod chacha_only;
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
    pub fn nonce(self, counter: u64) -> [u8; 12] {
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec::Vec;

    fn providers() -> Vec<&'static dyn Provider> {
        std::vec![
            #[cfg(feature = "aws-lc")]
            aws_lc::PROVIDER,
            #[cfg(feature = "pure-rust")]
            pure::PROVIDER,
        ]
    }

    fn hex(text: &str) -> Vec<u8> {
        let digits: Vec<u32> = text.chars().filter_map(|char| char.to_digit(16)).collect();
        digits.chunks(2).map(|pair| (pair[0] * 16 + pair[1]) as u8).collect()
    }

    fn bytes<const N: usize>(text: &str) -> [u8; N] {
        hex(text).try_into().unwrap()
    }

    #[test]
    fn x25519_is_that_of_rfc_7748_section_6_1() {
        let bob = Secret::new(bytes("5dab087e624a8a4b79e17f8b83800ee66f3bb1292618b6fd1c2f8b27ff88e0eb"));
        let bob_public = bytes("de9edb7d7b7dc1b4d35b61c2ece435373f8343c85b78674dadfc7e146f882b4f");
        let alice_public = bytes("8520f0098930a754748b7ddcb43ef75a0dbf3a0d26381af4eba4a98eaa9b4e6a");
        let shared = bytes("4a5d9d5ba4ce2de1728e3bf480350f25e07e21c947d19e3376f09b3c1e161742");
        for provider in providers() {
            assert_eq!(provider.x25519_public(&bob), bob_public, "{}", provider.name());
            assert_eq!(provider.x25519(&bob, &alice_public).unwrap().expose(), &shared, "{}", provider.name());
        }
    }

    #[test]
    fn a_public_key_of_low_order_is_refused() {
        let secret = Secret::new([7; 32]);
        let mut one = [0; 32];
        one[0] = 1;
        let order_8 = bytes("e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800");
        for provider in providers() {
            for public in [[0; 32], one, order_8] {
                assert_eq!(provider.x25519(&secret, &public), Err(Unauthentic), "{}", provider.name());
            }
        }
    }

    #[test]
    fn ed25519_is_that_of_rfc_8032_section_7_1() {
        let seed = Secret::new(bytes("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60"));
        let public = bytes("d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a");
        let signature = bytes(
            "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555\
             fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b",
        );
        for provider in providers() {
            assert_eq!(provider.ed25519_public(&seed), public, "{}", provider.name());
            assert_eq!(provider.ed25519_sign(&seed, b""), signature, "{}", provider.name());
            assert_eq!(provider.ed25519_verify(&public, b"", &signature), Ok(()));
            assert_eq!(provider.ed25519_verify(&public, b"x", &signature), Err(Unauthentic));
            assert_eq!(provider.ed25519_verify(&[0xff; 32], b"", &signature), Err(Unauthentic));
        }
    }

    #[test]
    fn blake2s_is_that_of_rfc_7693() {
        let abc = bytes("508c5e8c327c14e2e1a72ba34eeb452f37458b209ed63a294d999b4c86675982");
        assert_eq!(blake2s(&[b"a", b"", b"bc"]), abc);
        let key: Vec<u8> = (0..32).collect();
        assert_eq!(keyed_mac(&key[..16], &[b"ab", b"c"]), bytes("75296c2d2c0f51210b383f386bc8b1ff"));
        let secret = Secret::new(key[..].try_into().unwrap());
        assert_eq!(
            derive(&secret, &[b"abc"]).expose(),
            &bytes("a281f725754969a702f6fe36fc591b7def866e4b70173ece402fc01c064d6b65")
        );
        assert_ne!(keyed_mac(&[1; 33], &[b"abc"]), keyed_mac(&[1; 34], &[b"abc"]), "long keys count whole");
    }

    #[test]
    fn every_provider_opens_what_every_other_sealed() {
        let key = Secret::new([1; 32]);
        for sealing in providers() {
            for opening in providers() {
                for suite in sealing.suites().iter().filter(|suite| opening.suites().contains(suite)) {
                    let mut data = *b"some data";
                    let tag = sealing.aead(*suite, &key).seal(1 << 40, b"header", &mut data);
                    assert_ne!(&data, b"some data");
                    let opening = opening.aead(*suite, &key);
                    for (counter, aad) in [(1, &b"header"[..]), (1 << 40, b"Header")] {
                        assert_eq!(opening.open(counter, aad, &mut data.clone(), &tag), Err(Unauthentic));
                    }
                    assert_eq!(opening.open(1 << 40, b"header", &mut data, &tag), Ok(()));
                    assert_eq!(&data, b"some data");
                }
            }
        }
    }

    #[test]
    fn every_provider_has_chacha20_poly1305() {
        assert!(providers().iter().all(|provider| provider.suites().contains(&Suite::ChaCha20Poly1305)));
    }

    #[cfg(feature = "pure-rust")]
    #[test]
    fn the_suite_that_pure_rust_does_not_offer_gives_nothing_away_and_believes_nothing() {
        let key = pure::PROVIDER.aead(Suite::Aes256Gcm, &Secret::new([1; 32]));
        let mut data = *b"some data";
        let tag = key.seal(0, b"", &mut data);
        assert_eq!(data, [0; 9]);
        assert_eq!(key.open(0, b"", &mut data, &tag), Err(Unauthentic));
    }

    #[test]
    fn secrets_compare_by_value_and_print_as_nothing() {
        assert_eq!(Secret::new([1; 32]), Secret::new([1; 32]));
        assert_ne!(Secret::new([1; 32]), Secret::new([2; 32]));
        assert_eq!(std::format!("{:?}", Secret::new([0xab; 32])), "Secret(..)");
        assert!(equal(b"same", b"same") && !equal(b"same", b"sane") && !equal(b"a", b"ab"));
    }
}
