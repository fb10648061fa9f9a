//! A provider for fuzzing: what is authenticated symmetrically is as in the product, the public-key
//! operations are stand-ins.
//!
//! A handshake costs milliseconds of scalar multiplications in an instrumented build, and a fuzzer cannot
//! learn anything from them. Here a shared secret is the hash of the two public keys, which both ends can
//! compute and no input of the fuzzer does; signatures are the real ones, computed once for each message.

use std::cell::RefCell;
use std::collections::HashMap;

use ntm_proto::crypto::{self, AeadKey, Provider, PublicKeyBytes, Secret, Suite, Unauthentic, pure};

pub static PROVIDER: &'static dyn Provider = &Cheap;

/// Results remembered at most.
const MAX_REMEMBERED: usize = 4_096;

#[derive(Debug)]
struct Cheap;

type Digest = [u8; 32];

thread_local! {
    static PUBLIC: RefCell<HashMap<Digest, PublicKeyBytes>> = RefCell::new(HashMap::new());
    static SIGNED: RefCell<HashMap<Digest, [u8; 64]>> = RefCell::new(HashMap::new());
    static VERIFIED: RefCell<HashMap<Digest, Result<(), Unauthentic>>> = RefCell::new(HashMap::new());
}

fn remember<T: Copy>(
    memory: &'static std::thread::LocalKey<RefCell<HashMap<Digest, T>>>,
    parts: &[&[u8]],
    compute: impl FnOnce() -> T,
) -> T {
    let key = crypto::blake2s(parts);
    memory.with_borrow_mut(|memory| {
        if memory.len() >= MAX_REMEMBERED {
            memory.clear();
        }
        *memory.entry(key).or_insert_with(compute)
    })
}

impl Provider for Cheap {
    fn name(&self) -> &'static str {
        "cheap"
    }

    fn aead(&self, suite: Suite, key: &Secret) -> Box<dyn AeadKey> {
        pure::PROVIDER.aead(suite, key)
    }

    fn x25519(&self, secret: &Secret, public: &PublicKeyBytes) -> Result<Secret, Unauthentic> {
        if *public == [0; 32] {
            return Err(Unauthentic);
        }
        let own = self.x25519_public(secret);
        let (low, high) = if own < *public { (&own, public) } else { (public, &own) };
        Ok(Secret::new(crypto::blake2s(&[b"shared", low, high])))
    }

    fn x25519_public(&self, secret: &Secret) -> PublicKeyBytes {
        crypto::blake2s(&[b"public", secret.expose()])
    }

    fn ed25519_public(&self, seed: &Secret) -> PublicKeyBytes {
        remember(&PUBLIC, &[seed.expose()], || pure::PROVIDER.ed25519_public(seed))
    }

    fn ed25519_sign(&self, seed: &Secret, message: &[u8]) -> [u8; 64] {
        remember(&SIGNED, &[seed.expose(), message], || pure::PROVIDER.ed25519_sign(seed, message))
    }

    fn ed25519_verify(&self, public: &PublicKeyBytes, message: &[u8], signature: &[u8; 64]) -> Result<(), Unauthentic> {
        remember(&VERIFIED, &[public, signature, message], || pure::PROVIDER.ed25519_verify(public, message, signature))
    }

    fn suites(&self) -> &'static [Suite] {
        pure::PROVIDER.suites()
    }
}
