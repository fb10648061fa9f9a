//! The fast provider: AWS-LC's assembly.

use alloc::boxed::Box;

use aws_lc_rs::aead::{AES_256_GCM, Aad, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::agreement::{PrivateKey, UnparsedPublicKey, X25519, agree};
use aws_lc_rs::signature::{self, Ed25519KeyPair, KeyPair as _};
use zeroize::Zeroize as _;

use super::{AeadKey, Provider, PublicKeyBytes, Secret, Suite, Unauthentic};

pub static PROVIDER: &'static dyn Provider = &AwsLc;

/// AES-GCM is offered by architecture, since a `no_std` crate cannot ask the processor: practically
/// every x86-64 and AArch64 machine has AES instructions. On the rare one without, AWS-LC falls back to
/// constant-time code, which is slower than ChaCha20 and as safe.
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
const SUITES: &[Suite] = &[Suite::Aes256Gcm, Suite::ChaCha20Poly1305];
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
const SUITES: &[Suite] = &[Suite::ChaCha20Poly1305];

#[derive(Debug)]
struct AwsLc;

impl Provider for AwsLc {
    fn name(&self) -> &'static str {
        "aws-lc"
    }

    fn aead(&self, suite: Suite, key: &Secret) -> Box<dyn AeadKey> {
        let algorithm = match suite {
            Suite::ChaCha20Poly1305 => &CHACHA20_POLY1305,
            Suite::Aes256Gcm => &AES_256_GCM,
        };
        let key = UnboundKey::new(algorithm, key.expose()).expect("both suites take keys of 32 bytes");
        Box::new(Key { suite, key: LessSafeKey::new(key) })
    }

    fn x25519(&self, secret: &Secret, public: &PublicKeyBytes) -> Result<Secret, Unauthentic> {
        agree(&private(secret), UnparsedPublicKey::new(&X25519, public), Unauthentic, |shared| {
            let mut bytes = <[u8; 32]>::try_from(shared).map_err(|_| Unauthentic)?;
            let secret = Secret::new(bytes);
            bytes.zeroize();
            if super::equal(secret.expose(), &[0; 32]) { Err(Unauthentic) } else { Ok(secret) }
        })
    }

    fn x25519_public(&self, secret: &Secret) -> PublicKeyBytes {
        let public = private(secret).compute_public_key().expect("every X25519 private key has a public one");
        public.as_ref().try_into().expect("X25519 public keys have 32 bytes")
    }

    fn ed25519_public(&self, seed: &Secret) -> PublicKeyBytes {
        signer(seed).public_key().as_ref().try_into().expect("Ed25519 public keys have 32 bytes")
    }

    fn ed25519_sign(&self, seed: &Secret, message: &[u8]) -> [u8; 64] {
        signer(seed).sign(message).as_ref().try_into().expect("Ed25519 signatures have 64 bytes")
    }

    fn ed25519_verify(&self, public: &PublicKeyBytes, message: &[u8], signature: &[u8; 64]) -> Result<(), Unauthentic> {
        signature::UnparsedPublicKey::new(&signature::ED25519, public)
            .verify(message, signature)
            .map_err(|_| Unauthentic)
    }

    fn suites(&self) -> &'static [Suite] {
        SUITES
    }
}

fn private(secret: &Secret) -> PrivateKey {
    PrivateKey::from_private_key(&X25519, secret.expose()).expect("every 32 bytes are an X25519 private key")
}

fn signer(seed: &Secret) -> Ed25519KeyPair {
    Ed25519KeyPair::from_seed_unchecked(seed.expose()).expect("every 32 bytes are an Ed25519 seed")
}

struct Key {
    suite: Suite,
    key: LessSafeKey,
}

impl AeadKey for Key {
    fn seal(&self, counter: u64, aad: &[u8], data: &mut [u8]) -> [u8; 16] {
        let nonce = Nonce::assume_unique_for_key(self.suite.nonce(counter));
        let tag = self
            .key
            .seal_in_place_separate_tag(nonce, Aad::from(aad), data)
            .expect("datagrams are far shorter than the AEAD's limit");
        tag.as_ref().try_into().expect("both suites have tags of 16 bytes")
    }

    fn open(&self, counter: u64, aad: &[u8], data: &mut [u8], tag: &[u8; 16]) -> Result<(), Unauthentic> {
        let nonce = Nonce::assume_unique_for_key(self.suite.nonce(counter));
        self.key.open_in_place_separate_tag(nonce, Aad::from(aad), tag, data).map(|_| ()).map_err(|_| Unauthentic)
    }
}
