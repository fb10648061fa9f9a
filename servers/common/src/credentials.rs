//! What the account server gives a DC or an RS, so that the operator carries one file and no secret travels open.
//!
//! A new server makes its Noise key and writes a [`Request`], which holds nothing secret. The account server
//! signs a certificate for it and answers with [`Credentials`], sealed to that key and signed by the domain:
//!
//! ```text
//!  0         1           65               97                       n-16      n
//! ┌─────────┬───────────┬────────────────┬────────────────────────┬─────────┐
//! │version  │ signature │ one-time X25519│ credentials, as JSON   │ tag     │
//! │ (1) = 1 │ (64)      │ public key (32)│  (sealed)              │ (16)    │
//! └─────────┴───────────┴────────────────┴────────────────────────┴─────────┘
//!            └ Ed25519 by the domain key over "NTM credentials" and all that follows it
//! key   = BLAKE2s("ntmfw credentials v1" ‖ X25519(one-time, server's) ‖ one-time public ‖ server's public)
//! seal  = XChaCha20-Poly1305(key, nonce 0): a key seals once
//! ```
//!
//! A [version](Credentials::version) only grows: a server refuses older credentials than it has.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use chacha20poly1305::aead::AeadInOut as _;
use chacha20poly1305::aead::inout::InOutBuf;
use chacha20poly1305::{KeyInit as _, XChaCha20Poly1305};
use ntm_proto::crypto::{self, PublicKeyBytes, Secret, default_provider};
use ntm_proto::id::Fqdn;
use ntm_proto::identity::{IdentityKey, NoiseKey, Role, ServerCert};
use ntm_proto::wire::identity::{emit_cert, parse_cert};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};
use zeroize::Zeroizing;

use crate::clock::random;
use crate::hex;

const VERSION: u8 = 1;
const SIGNED_LABEL: &[u8] = b"NTM credentials";
const KEY_LABEL: &[u8] = b"ntmfw credentials v1";
const SIGNATURE: usize = 64;
const KEY: usize = 32;
const TAG: usize = 16;
/// What sealed credentials may weigh: room for thousands of relays.
pub const MAX_SEALED: usize = 1 << 20;

/// What a server asks to be certified as. Nothing in it is secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Request {
    #[serde(with = "role")]
    pub role: Role,
    #[serde(with = "name")]
    pub domain: Fqdn,
    #[serde(with = "name")]
    pub name: Fqdn,
    /// X25519.
    #[serde(with = "hex::array")]
    pub noise_key: PublicKeyBytes,
    /// Where nodes reach it; these go into the certificate.
    pub addresses: Vec<SocketAddr>,
}

/// All that a server must know of its domain.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Credentials {
    pub version: u64,
    #[serde(with = "hex::array")]
    pub domain_key: PublicKeyBytes,
    #[serde(with = "cert")]
    pub cert: ServerCert,
    pub role: RoleCredentials,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RoleCredentials {
    Direction(Direction),
    Relay(Relay),
}

/// What a DC must know.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Direction {
    /// What tickets are sealed with, the newest first; all DCs of the domain have the same.
    pub service_keys: Vec<Key>,
    pub relays: BTreeMap<u32, GrantedRelay>,
    /// The domain's other DCs.
    #[serde(with = "certs")]
    pub siblings: Vec<ServerCert>,
}

/// A relay, as a DC must know it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GrantedRelay {
    #[serde(with = "name")]
    pub name: Fqdn,
    pub grant_key: NumberedKey,
    /// The key of the sessions between this relay and the DCs.
    pub psk: Key,
    pub addresses: Vec<SocketAddr>,
}

/// What a relay must know.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Relay {
    pub id: u32,
    pub grant_keys: Vec<NumberedKey>,
    pub psk: Key,
    #[serde(with = "certs")]
    pub directors: Vec<ServerCert>,
}

/// A key with the number by which tokens name it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NumberedKey {
    pub number: u8,
    pub key: Key,
}

/// A secret key, which prints as nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Key(pub Secret);

/// Why credentials are not believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CredentialsError {
    /// Cut short, of another version, or not what this program writes.
    Malformed,
    /// Not signed by the domain key.
    NotOfDomain,
    /// Made for another server, or damaged.
    NotForUs,
}

impl Credentials {
    /// Signs the credentials for the domain and seals them to the server whose public key is `to`.
    pub fn seal(&self, domain_key: &IdentityKey, to: &PublicKeyBytes) -> Result<Vec<u8>, CredentialsError> {
        let provider = default_provider();
        let once = NoiseKey::from_secret(provider, Secret::new(random()));
        let shared = provider.x25519(once.secret(), to).map_err(|_| CredentialsError::NotForUs)?;
        let cipher = cipher(&shared, once.public(), to);
        let mut body = Zeroizing::new(serde_json::to_vec(self).map_err(|_| CredentialsError::Malformed)?);
        let tag = cipher
            .encrypt_inout_detached(&[0; 24].into(), KEY_LABEL, InOutBuf::from(&mut body[..]))
            .map_err(|_| CredentialsError::Malformed)?;
        let sealed = [once.public().as_slice(), &body, &tag].concat();
        let signature = domain_key.sign(provider, &[SIGNED_LABEL, &sealed].concat());
        Ok([&[VERSION][..], &signature, &sealed].concat())
    }

    /// Opens what [`seal`](Self::seal) made. Without a `domain_key` the file itself is trusted to name it: right
    /// for what the operator carried here, wrong for what came over a network.
    pub fn open(sealed: &[u8], key: &NoiseKey, domain_key: Option<&PublicKeyBytes>) -> Result<Self, CredentialsError> {
        if sealed.len() < 1 + SIGNATURE + KEY + TAG || sealed.len() > MAX_SEALED || sealed[0] != VERSION {
            return Err(CredentialsError::Malformed);
        }
        let (signature, signed) = sealed[1..].split_at(SIGNATURE);
        let (once, body) = signed.split_at(KEY);
        let (body, tag) = body.split_at(body.len() - TAG);
        let fixed = |bytes: &[u8]| bytes.try_into().map_err(|_| CredentialsError::Malformed);
        let once: PublicKeyBytes = once.try_into().map_err(|_| CredentialsError::Malformed)?;
        let verify = |by: &PublicKeyBytes| {
            let signature: [u8; SIGNATURE] = signature.try_into().map_err(|_| CredentialsError::Malformed)?;
            default_provider()
                .ed25519_verify(by, &[SIGNED_LABEL, signed].concat(), &signature)
                .map_err(|_| CredentialsError::NotOfDomain)
        };
        if let Some(pinned) = domain_key {
            verify(pinned)?;
        }
        let shared = default_provider().x25519(key.secret(), &once).map_err(|_| CredentialsError::NotForUs)?;
        let tag: [u8; TAG] = fixed(tag)?;
        let mut body = Zeroizing::new(body.to_vec());
        cipher(&shared, &once, key.public())
            .decrypt_inout_detached(&[0; 24].into(), KEY_LABEL, InOutBuf::from(&mut body[..]), &tag.into())
            .map_err(|_| CredentialsError::NotForUs)?;
        let credentials: Self = serde_json::from_slice(&body).map_err(|_| CredentialsError::Malformed)?;
        verify(&credentials.domain_key)?;
        match domain_key {
            Some(pinned) if *pinned != credentials.domain_key => Err(CredentialsError::NotOfDomain),
            _ => Ok(credentials),
        }
    }
}

impl std::fmt::Display for CredentialsError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Malformed => "these are no credentials that this version can read",
            Self::NotOfDomain => "the credentials are not signed by the domain's key",
            Self::NotForUs => "the credentials were made for another server's key",
        })
    }
}

impl std::error::Error for CredentialsError {}

impl Serialize for Key {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&Zeroizing::new(hex::encode(self.0.expose())))
    }
}

impl<'de> Deserialize<'de> for Key {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        hex::array::deserialize(deserializer).map(|bytes| Self(Secret::new(bytes)))
    }
}

fn cipher(shared: &Secret, once: &PublicKeyBytes, to: &PublicKeyBytes) -> XChaCha20Poly1305 {
    let key = Secret::new(crypto::blake2s(&[KEY_LABEL, shared.expose(), once, to]));
    XChaCha20Poly1305::new(key.expose().into())
}

mod name {
    use super::*;

    pub(super) fn serialize<S: Serializer>(name: &Fqdn, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(name.as_str())
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Fqdn, D::Error> {
        crate::config::fqdn(deserializer)
    }
}

mod role {
    use super::*;

    pub(super) fn serialize<S: Serializer>(role: &Role, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(match role {
            Role::Direction => "direction",
            Role::Relay => "relay",
        })
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Role, D::Error> {
        match String::deserialize(deserializer)?.as_str() {
            "direction" => Ok(Role::Direction),
            "relay" => Ok(Role::Relay),
            other => Err(D::Error::custom(format!("\"{other}\" is no role: \"direction\" or \"relay\""))),
        }
    }
}

fn read_cert<E: serde::de::Error>(text: &str) -> Result<ServerCert, E> {
    let bytes = hex::decode(text).map_err(E::custom)?;
    parse_cert(&bytes).map_err(|_| E::custom("not a server certificate"))
}

mod cert {
    use super::*;

    pub(super) fn serialize<S: Serializer>(cert: &ServerCert, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&hex::encode(&emit_cert(cert)))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<ServerCert, D::Error> {
        read_cert(&String::deserialize(deserializer)?)
    }
}

mod certs {
    use super::*;

    pub(super) fn serialize<S: Serializer>(certs: &[ServerCert], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(certs.iter().map(|cert| hex::encode(&emit_cert(cert))))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<ServerCert>, D::Error> {
        Vec::<String>::deserialize(deserializer)?.iter().map(|text| read_cert(text)).collect()
    }
}

#[cfg(test)]
mod tests {
    use ntm_proto::time::UnixTime;

    use super::*;

    fn domain() -> IdentityKey {
        IdentityKey::from_seed(default_provider(), Secret::new([1; 32]))
    }

    fn server(seed: u8) -> NoiseKey {
        NoiseKey::from_secret(default_provider(), Secret::new([seed; 32]))
    }

    fn credentials() -> Credentials {
        let name = |text| Fqdn::parse(text).expect("a proper name");
        let cert = ServerCert::sign(
            default_provider(),
            &domain(),
            Role::Relay,
            name("ntm.example"),
            name("rs1.ntm.example"),
            *server(2).public(),
            vec!["192.0.2.1:4500".parse().expect("an address")],
            UnixTime::from_secs(2_000_000_000),
        );
        let key = Key(Secret::new([7; 32]));
        let relay = Relay {
            id: 1,
            grant_keys: vec![NumberedKey { number: 3, key: key.clone() }],
            psk: key,
            directors: vec![cert.clone()],
        };
        Credentials { version: 4, domain_key: *domain().public(), cert, role: RoleCredentials::Relay(relay) }
    }

    #[test]
    fn a_server_reads_what_was_sealed_to_it_and_nobody_else_does() {
        let sealed = credentials().seal(&domain(), server(2).public()).expect("seals");
        assert_eq!(Credentials::open(&sealed, &server(2), None), Ok(credentials()));
        assert_eq!(Credentials::open(&sealed, &server(2), Some(domain().public())), Ok(credentials()));
        assert_eq!(Credentials::open(&sealed, &server(3), None), Err(CredentialsError::NotForUs));
    }

    #[test]
    fn credentials_that_another_domain_signed_are_refused() {
        let other = IdentityKey::from_seed(default_provider(), Secret::new([9; 32]));
        let sealed = credentials().seal(&other, server(2).public()).expect("seals");
        assert_eq!(Credentials::open(&sealed, &server(2), Some(domain().public())), Err(CredentialsError::NotOfDomain));
        assert_eq!(Credentials::open(&sealed, &server(2), None), Err(CredentialsError::NotOfDomain));
    }

    #[test]
    fn one_changed_bit_anywhere_is_noticed() {
        let sealed = credentials().seal(&domain(), server(2).public()).expect("seals");
        for at in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[at] ^= 1;
            assert!(Credentials::open(&changed, &server(2), Some(domain().public())).is_err(), "byte {at}");
        }
        for length in 0..sealed.len() {
            assert!(Credentials::open(&sealed[..length], &server(2), None).is_err(), "{length} bytes");
        }
    }

    #[test]
    fn keys_do_not_show_when_printed() {
        assert!(!format!("{:?}", credentials()).contains("0707"));
    }
}
