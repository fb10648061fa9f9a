//! The fastest provider for those who want ChaCha20-Poly1305 and nothing else, whatever the machine does fast.

use alloc::boxed::Box;

use super::{AeadKey, Provider, PublicKeyBytes, Secret, Suite, Unauthentic, default_provider};

pub static PROVIDER: &'static dyn Provider = &ChaChaOnly;

struct ChaChaOnly;

impl Provider for ChaChaOnly {
    fn name(&self) -> &'static str {
        default_provider().name()
    }

    fn aead(&self, suite: Suite, key: &Secret) -> Box<dyn AeadKey> {
        default_provider().aead(suite, key)
    }

    fn x25519(&self, secret: &Secret, public: &PublicKeyBytes) -> Result<Secret, Unauthentic> {
        default_provider().x25519(secret, public)
    }

    fn x25519_public(&self, secret: &Secret) -> PublicKeyBytes {
        default_provider().x25519_public(secret)
    }

    fn ed25519_public(&self, seed: &Secret) -> PublicKeyBytes {
        default_provider().ed25519_public(seed)
    }

    fn ed25519_sign(&self, seed: &Secret, message: &[u8]) -> [u8; 64] {
        default_provider().ed25519_sign(seed, message)
    }

    fn ed25519_verify(&self, public: &PublicKeyBytes, message: &[u8], signature: &[u8; 64]) -> Result<(), Unauthentic> {
        default_provider().ed25519_verify(public, message, signature)
    }

    fn suites(&self) -> &'static [Suite] {
        &[Suite::ChaCha20Poly1305]
    }
}
