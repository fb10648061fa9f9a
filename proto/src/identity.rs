//! Who a node or a server is, and how it proves that (DESIGN 4.1). CONTRACT: bodies to be written.

use alloc::vec::Vec;
use core::net::SocketAddr;

use crate::crypto::{Provider, PublicKeyBytes, Secret, Unauthentic};
use crate::id::{Fqdn, NodeId};
use crate::time::UnixTime;

/// A node's Ed25519 identity.
#[derive(Debug, Clone)]
pub struct IdentityKey {
    seed: Secret,
    public: PublicKeyBytes,
}
// impl IdentityKey { pub fn from_seed(provider: &dyn Provider, seed: Secret) -> Self; pub fn public(&self) -> &PublicKeyBytes; pub fn node_id(&self) -> NodeId; pub fn sign(provider, &[u8]) -> [u8;64] }

/// An X25519 key pair for Noise.
#[derive(Debug, Clone)]
pub struct NoiseKey {
    secret: Secret,
    public: PublicKeyBytes,
}
// impl NoiseKey { pub fn from_secret(provider, Secret) -> Self; pub fn public(&self) -> &PublicKeyBytes; pub fn secret(&self) -> &Secret }

/// Self-certifying: signed by the key that `node_id` is the hash of (paper 003's Node Transaction).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeRecord {
    pub identity: PublicKeyBytes,
    pub fqdn: Fqdn,
    pub noise_key: PublicKeyBytes,
    /// The domain whose DCs manage the node.
    pub manager: Fqdn,
    pub revoked: bool,
    pub timestamp: UnixTime,
    pub signature: [u8; 64],
}
// impl NodeRecord { pub fn sign(provider, &IdentityKey, fqdn, noise_key, manager, revoked, timestamp) -> Self; pub fn node_id(&self) -> NodeId; pub fn verify(&self, provider) -> Result<(), Unauthentic>; pub fn digest(&self) -> [u8;32] /* BLAKE2s of the whole encoding */; encode/decode as fixed layout (used inside TLVs) }

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Role {
    Direction = 1,
    Relay = 2,
}

/// Signed by the domain key: this server plays this role for the domain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerCert {
    pub role: Role,
    pub domain: Fqdn,
    pub name: Fqdn,
    pub noise_key: PublicKeyBytes,
    pub addresses: Vec<SocketAddr>,
    pub not_after: UnixTime,
    pub signature: [u8; 64],
}
// impl ServerCert { pub fn sign(provider, domain_key: &IdentityKey, role, domain, name, noise_key, addresses, not_after) -> Self; pub fn verify(&self, provider, domain_key: &PublicKeyBytes, role: Role, now: UnixTime) -> Result<(), CertError> }

/// What the AS seals to a DC at a node's login (as Kerberos does). Binds the node's identity to its
/// Noise key, so the DC needs no signature check at registration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ticket {
    pub node: NodeId,
    /// `NodeRecord::digest` of the record the AS verified.
    pub record_digest: [u8; 32],
    pub key: Secret,
    pub issued: UnixTime,
    pub expires: UnixTime,
}
// impl Ticket { pub fn seal(&self, service_key: &Secret, nonce: [u8;24]) -> Vec<u8>; pub fn open(service_key: &Secret, sealed: &[u8]) -> Result<Self, Unauthentic> }  (XChaCha20-Poly1305 of the `chacha20poly1305` crate, domain-separated AAD)
