//! Our primitives under `snow`'s Noise: Diffie-Hellman and AEAD from a [`Provider`], BLAKE2s from
//! `blake2`, randomness from a seed.
//!
//! The resolver draws from its own seed alone, so a handshake is a function of its inputs. It
//! resolves 25519, BLAKE2s, ChaChaPoly, and AESGCM where the provider has it; nothing else.

use alloc::boxed::Box;

use blake2::{Blake2s256, Digest as _};
use snow::params::{CipherChoice, DHChoice, HashChoice};
use snow::resolvers::CryptoResolver;
use snow::types::{Cipher, Dh, Hash, Random};
use zeroize::Zeroize as _;

use crate::crypto::{AeadKey, Provider, PublicKeyBytes, Secret, Suite};
use crate::identity::NoiseKey;
use crate::rng::Rng;

/// Gives `snow` a provider's primitives.
#[derive(Debug)]
pub struct Resolver {
    provider: &'static dyn Provider,
    seed: Secret,
    known: Option<NoiseKey>,
}

impl Resolver {
    /// Ephemeral keys come from `rng`, in the order `snow` asks for them.
    pub fn new(provider: &'static dyn Provider, rng: &mut Rng) -> Self {
        Self { provider, seed: Secret::new(rng.array()), known: None }
    }

    /// Spares computing the public half of `key` again: it is a tenth of a handshake's work.
    pub fn knowing(mut self, key: &NoiseKey) -> Self {
        self.known = Some(key.clone());
        self
    }
}

impl CryptoResolver for Resolver {
    fn resolve_rng(&self) -> Option<Box<dyn Random>> {
        Some(Box::new(Seeded(Rng::from_seed(*self.seed.expose()))))
    }

    fn resolve_dh(&self, choice: &DHChoice) -> Option<Box<dyn Dh>> {
        match choice {
            DHChoice::Curve25519 => Some(Box::new(X25519 {
                provider: self.provider,
                secret: Secret::new([0; 32]),
                public: [0; 32],
                known: self.known.clone(),
            })),
            _ => None,
        }
    }

    fn resolve_hash(&self, choice: &HashChoice) -> Option<Box<dyn Hash>> {
        match choice {
            HashChoice::Blake2s => Some(Box::new(Blake2s(Blake2s256::new()))),
            _ => None,
        }
    }

    fn resolve_cipher(&self, choice: &CipherChoice) -> Option<Box<dyn Cipher>> {
        let suite = match choice {
            CipherChoice::ChaChaPoly => Suite::ChaCha20Poly1305,
            CipherChoice::AESGCM => Suite::Aes256Gcm,
        };
        // Every provider has ChaCha20-Poly1305.
        if suite != Suite::ChaCha20Poly1305 && !self.provider.suites().contains(&suite) {
            return None;
        }
        Some(Box::new(Aead { provider: self.provider, suite, key: None }))
    }
}

struct Seeded(Rng);

impl Random for Seeded {
    fn try_fill_bytes(&mut self, dest: &mut [u8]) -> Result<(), snow::Error> {
        self.0.fill(dest);
        Ok(())
    }
}

struct X25519 {
    provider: &'static dyn Provider,
    secret: Secret,
    public: PublicKeyBytes,
    known: Option<NoiseKey>,
}

impl Dh for X25519 {
    fn name(&self) -> &'static str {
        "25519"
    }

    fn pub_len(&self) -> usize {
        32
    }

    fn priv_len(&self) -> usize {
        32
    }

    fn set(&mut self, privkey: &[u8]) {
        let mut bytes = [0; 32];
        bytes.copy_from_slice(privkey);
        self.secret = Secret::new(bytes);
        bytes.zeroize();
        self.public = match &self.known {
            Some(known) if *known.secret() == self.secret => *known.public(),
            _ => self.provider.x25519_public(&self.secret),
        };
    }

    fn generate(&mut self, rng: &mut dyn Random) -> Result<(), snow::Error> {
        let mut bytes = [0; 32];
        rng.try_fill_bytes(&mut bytes)?;
        self.secret = Secret::new(bytes);
        bytes.zeroize();
        self.public = self.provider.x25519_public(&self.secret);
        Ok(())
    }

    fn pubkey(&self) -> &[u8] {
        &self.public
    }

    fn privkey(&self) -> &[u8] {
        self.secret.expose()
    }

    fn dh(&self, pubkey: &[u8], out: &mut [u8]) -> Result<(), snow::Error> {
        let public = pubkey.first_chunk().ok_or(snow::Error::Dh)?;
        let shared = self.provider.x25519(&self.secret, public).map_err(|_| snow::Error::Dh)?;
        out[..32].copy_from_slice(shared.expose());
        Ok(())
    }
}

struct Aead {
    provider: &'static dyn Provider,
    suite: Suite,
    key: Option<Box<dyn AeadKey>>,
}

impl Cipher for Aead {
    fn name(&self) -> &'static str {
        match self.suite {
            Suite::ChaCha20Poly1305 => "ChaChaPoly",
            Suite::Aes256Gcm => "AESGCM",
        }
    }

    fn set(&mut self, key: &[u8; 32]) {
        self.key = Some(self.provider.aead(self.suite, &Secret::new(*key)));
    }

    fn encrypt(&self, nonce: u64, authtext: &[u8], plaintext: &[u8], out: &mut [u8]) -> usize {
        let key = self.key.as_ref().expect("snow sets a key before it encrypts");
        let len = plaintext.len();
        out[..len].copy_from_slice(plaintext);
        let tag = key.seal(nonce, authtext, &mut out[..len]);
        out[len..len + tag.len()].copy_from_slice(&tag);
        len + tag.len()
    }

    fn decrypt(&self, nonce: u64, authtext: &[u8], ciphertext: &[u8], out: &mut [u8]) -> Result<usize, snow::Error> {
        let key = self.key.as_ref().ok_or(snow::Error::Decrypt)?;
        let (data, tag) = ciphertext.split_last_chunk().ok_or(snow::Error::Decrypt)?;
        let out = out.get_mut(..data.len()).ok_or(snow::Error::Decrypt)?;
        out.copy_from_slice(data);
        key.open(nonce, authtext, out, tag).map_err(|_| snow::Error::Decrypt)?;
        Ok(data.len())
    }
}

struct Blake2s(Blake2s256);

impl Hash for Blake2s {
    fn name(&self) -> &'static str {
        "BLAKE2s"
    }

    fn block_len(&self) -> usize {
        64
    }

    fn hash_len(&self) -> usize {
        32
    }

    fn reset(&mut self) {
        self.0 = Blake2s256::new();
    }

    fn input(&mut self, data: &[u8]) {
        self.0.update(data);
    }

    fn result(&mut self, out: &mut [u8]) {
        let hasher = core::mem::replace(&mut self.0, Blake2s256::new());
        out[..32].copy_from_slice(&hasher.finalize());
    }
}
