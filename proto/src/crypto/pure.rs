//! The portable provider: RustCrypto and dalek, for targets without a C toolchain.

use alloc::boxed::Box;

use chacha20poly1305::aead::AeadInOut as _;
use chacha20poly1305::aead::inout::InOutBuf;
use chacha20poly1305::{ChaCha20Poly1305, KeyInit as _};
use ed25519_dalek::{Signature, Signer as _, SigningKey, VerifyingKey};
use x25519_dalek::{PublicKey, StaticSecret};
use zeroize::Zeroize as _;

use super::{AeadKey, Provider, PublicKeyBytes, Secret, Suite, Unauthentic};

pub static PROVIDER: &'static dyn Provider = &Pure;

#[derive(Debug)]
struct Pure;

impl Provider for Pure {
    fn name(&self) -> &'static str {
        "pure"
    }

    fn aead(&self, suite: Suite, key: &Secret) -> Box<dyn AeadKey> {
        match suite {
            Suite::ChaCha20Poly1305 => Box::new(ChaCha(ChaCha20Poly1305::new(key.expose().into()))),
            Suite::Aes256Gcm => Box::new(NoAes),
        }
    }

    fn x25519(&self, secret: &Secret, public: &PublicKeyBytes) -> Result<Secret, Unauthentic> {
        let shared = StaticSecret::from(*secret.expose()).diffie_hellman(&PublicKey::from(*public));
        if shared.was_contributory() { Ok(Secret::new(shared.to_bytes())) } else { Err(Unauthentic) }
    }

    fn x25519_public(&self, secret: &Secret) -> PublicKeyBytes {
        PublicKey::from(&StaticSecret::from(*secret.expose())).to_bytes()
    }

    fn ed25519_public(&self, seed: &Secret) -> PublicKeyBytes {
        SigningKey::from_bytes(seed.expose()).verifying_key().to_bytes()
    }

    fn ed25519_sign(&self, seed: &Secret, message: &[u8]) -> [u8; 64] {
        SigningKey::from_bytes(seed.expose()).sign(message).to_bytes()
    }

    fn ed25519_verify(&self, public: &PublicKeyBytes, message: &[u8], signature: &[u8; 64]) -> Result<(), Unauthentic> {
        VerifyingKey::from_bytes(public)
            .and_then(|key| key.verify_strict(message, &Signature::from_bytes(signature)))
            .map_err(|_| Unauthentic)
    }

    fn suites(&self) -> &'static [Suite] {
        &[Suite::ChaCha20Poly1305]
    }
}

struct ChaCha(ChaCha20Poly1305);

impl AeadKey for ChaCha {
    fn seal(&self, counter: u64, aad: &[u8], data: &mut [u8]) -> [u8; 16] {
        let nonce = Suite::ChaCha20Poly1305.nonce(counter);
        self.0
            .encrypt_inout_detached(&nonce.into(), aad, InOutBuf::from(data))
            .expect("datagrams are far shorter than the AEAD's limit")
            .into()
    }

    fn open(&self, counter: u64, aad: &[u8], data: &mut [u8], tag: &[u8; 16]) -> Result<(), Unauthentic> {
        let nonce = Suite::ChaCha20Poly1305.nonce(counter);
        self.0.decrypt_inout_detached(&nonce.into(), aad, InOutBuf::from(data), tag.into()).map_err(|_| Unauthentic)
    }
}

/// What this provider gives for the suite it never offers: software AES is slow and leaks its key
/// through timing. It fails closed: nothing readable leaves, nothing is believed.
struct NoAes;

impl AeadKey for NoAes {
    fn seal(&self, _: u64, _: &[u8], data: &mut [u8]) -> [u8; 16] {
        data.zeroize();
        [0; 16]
    }

    fn open(&self, _: u64, _: &[u8], data: &mut [u8], _: &[u8; 16]) -> Result<(), Unauthentic> {
        data.zeroize();
        Err(Unauthentic)
    }
}
