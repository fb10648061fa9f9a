//! Who a node or a server is, and how it proves that (DESIGN 4.1).
//!
//! | what | who makes it | who believes it, and why |
//! |---|---|---|
//! | [`NodeRecord`] | the node | everyone: it is signed by the key that the node's id is the hash of |
//! | [`ServerCert`] | the AS, with the domain key | who has the domain key pinned or fetched |
//! | [`Ticket`] | the AS, at a login | the DC it is sealed to |

use alloc::vec::Vec;
use core::fmt;
use core::net::SocketAddr;

use chacha20poly1305::aead::AeadInOut as _;
use chacha20poly1305::aead::inout::InOutBuf;
use chacha20poly1305::{KeyInit as _, XChaCha20Poly1305};
use zeroize::Zeroize as _;

use crate::crypto::{self, Provider, PublicKeyBytes, Secret, Unauthentic};
use crate::id::{AccountPseudonym, Fqdn, NodeId};
use crate::time::UnixTime;
use crate::wire::identity::{cert_signed_part, emit_record, record_signed_part};

/// A node's Ed25519 identity.
#[derive(Debug, Clone)]
pub struct IdentityKey {
    seed: Secret,
    public: PublicKeyBytes,
}

impl IdentityKey {
    pub fn from_seed(provider: &dyn Provider, seed: Secret) -> Self {
        Self { public: provider.ed25519_public(&seed), seed }
    }

    pub fn public(&self) -> &PublicKeyBytes {
        &self.public
    }

    pub fn node_id(&self) -> NodeId {
        node_id(&self.public)
    }

    pub fn sign(&self, provider: &dyn Provider, message: &[u8]) -> [u8; 64] {
        provider.ed25519_sign(&self.seed, message)
    }
}

/// An X25519 key pair for Noise.
#[derive(Debug, Clone)]
pub struct NoiseKey {
    secret: Secret,
    public: PublicKeyBytes,
}

impl NoiseKey {
    pub fn from_secret(provider: &dyn Provider, secret: Secret) -> Self {
        Self { public: provider.x25519_public(&secret), secret }
    }

    pub fn public(&self) -> &PublicKeyBytes {
        &self.public
    }

    pub fn secret(&self) -> &Secret {
        &self.secret
    }
}

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

impl NodeRecord {
    pub fn sign(
        provider: &dyn Provider,
        identity: &IdentityKey,
        fqdn: Fqdn,
        noise_key: PublicKeyBytes,
        manager: Fqdn,
        revoked: bool,
        timestamp: UnixTime,
    ) -> Self {
        let mut record =
            Self { identity: *identity.public(), fqdn, noise_key, manager, revoked, timestamp, signature: [0; 64] };
        record.signature = identity.sign(provider, &record_signed_part(&record));
        record
    }

    pub fn node_id(&self) -> NodeId {
        node_id(&self.identity)
    }

    pub fn verify(&self, provider: &dyn Provider) -> Result<(), Unauthentic> {
        provider.ed25519_verify(&self.identity, &record_signed_part(self), &self.signature)
    }

    /// Names this very record: BLAKE2s of its whole encoding.
    pub fn digest(&self) -> [u8; 32] {
        crypto::blake2s(&[&emit_record(self)])
    }
}

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

/// Why a certificate proves nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CertError {
    /// Not signed by this domain key.
    Unauthentic,
    /// Genuine, for another role.
    WrongRole,
    Expired,
}

impl ServerCert {
    #[expect(clippy::too_many_arguments, reason = "one for each thing the certificate says")]
    pub fn sign(
        provider: &dyn Provider,
        domain_key: &IdentityKey,
        role: Role,
        domain: Fqdn,
        name: Fqdn,
        noise_key: PublicKeyBytes,
        addresses: Vec<SocketAddr>,
        not_after: UnixTime,
    ) -> Self {
        let mut cert = Self { role, domain, name, noise_key, addresses, not_after, signature: [0; 64] };
        cert.signature = domain_key.sign(provider, &cert_signed_part(&cert));
        cert
    }

    pub fn verify(
        &self,
        provider: &dyn Provider,
        domain_key: &PublicKeyBytes,
        role: Role,
        now: UnixTime,
    ) -> Result<(), CertError> {
        provider
            .ed25519_verify(domain_key, &cert_signed_part(self), &self.signature)
            .map_err(|Unauthentic| CertError::Unauthentic)?;
        if self.role != role {
            return Err(CertError::WrongRole);
        }
        if self.not_after <= now { Err(CertError::Expired) } else { Ok(()) }
    }
}

/// What the AS seals to a DC at a node's login (as Kerberos does). Binds the node's identity to its
/// Noise key, so the DC needs no signature check at registration.
///
/// ```text
///  0        1        25                                                     137      153
/// ┌────────┬────────┬──────────┬───────────────┬──────┬─────────┬─────────┬─────────┐
/// │version │ nonce  │ node id  │ record digest │ key  │ account │ expires │ tag     │
/// │  (1)   │ (24)   │ (32)     │ (32)          │ (32) │ (8)     │ (8)     │ (16)    │
/// └────────┴────────┴──────────┴───────────────┴──────┴─────────┴─────────┴─────────┘
///                   └─────── XChaCha20-Poly1305 under the service key ─────────────┘
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ticket {
    pub node: NodeId,
    /// `NodeRecord::digest` of the record the AS verified.
    pub record_digest: [u8; 32],
    pub key: Secret,
    /// Whose node it is.
    pub account: AccountPseudonym,
    pub expires: UnixTime,
}

impl Ticket {
    /// Bytes of a sealed ticket.
    pub const LEN: usize = 1 + NONCE + TICKET_BODY + TICKET_TAG;

    /// Seals the ticket to who holds `service_key`. The nonce must be random.
    pub fn seal(&self, service_key: &Secret, nonce: [u8; 24]) -> Vec<u8> {
        let mut body = [0; TICKET_BODY];
        body[..32].copy_from_slice(&self.node.0);
        body[32..64].copy_from_slice(&self.record_digest);
        body[64..96].copy_from_slice(self.key.expose());
        body[96..104].copy_from_slice(&self.account.0);
        body[104..].copy_from_slice(&self.expires.as_millis().to_be_bytes());
        let tag = ticket_cipher(service_key)
            .encrypt_inout_detached(&nonce.into(), TICKET_LABEL, InOutBuf::from(&mut body[..]))
            .expect("112 bytes are far below the AEAD's limit");
        [&[TICKET_VERSION][..], &nonce, &body, &tag].concat()
    }

    /// Opens a sealed ticket. Says nothing about its time: ask [`is_valid`](Self::is_valid).
    pub fn open(service_key: &Secret, sealed: &[u8]) -> Result<Self, Unauthentic> {
        let sealed: &[u8; Self::LEN] = sealed.try_into().map_err(|_| Unauthentic)?;
        let (version, rest) = sealed.split_first().ok_or(Unauthentic)?;
        let (nonce, rest) = rest.split_first_chunk::<NONCE>().ok_or(Unauthentic)?;
        let (body, tag) = rest.split_first_chunk::<TICKET_BODY>().ok_or(Unauthentic)?;
        let tag: &[u8; TICKET_TAG] = tag.try_into().map_err(|_| Unauthentic)?;
        if *version != TICKET_VERSION {
            return Err(Unauthentic);
        }
        let mut body = *body;
        ticket_cipher(service_key)
            .decrypt_inout_detached(nonce.into(), TICKET_LABEL, InOutBuf::from(&mut body[..]), tag.into())
            .map_err(|_| Unauthentic)?;
        let ticket = Self {
            node: NodeId(part(&body, 0)),
            record_digest: part(&body, 32),
            key: Secret::new(part(&body, 64)),
            account: AccountPseudonym(part(&body, 96)),
            expires: UnixTime::from_millis(u64::from_be_bytes(part(&body, 104))),
        };
        body.zeroize();
        Ok(ticket)
    }

    /// Whether its time is not over.
    pub fn is_valid(&self, now: UnixTime) -> bool {
        now < self.expires
    }
}

const TICKET_VERSION: u8 = 1;
const TICKET_LABEL: &[u8] = b"ntmfw ticket v1";
const NONCE: usize = 24;
const TICKET_BODY: usize = 112;
const TICKET_TAG: usize = 16;

fn ticket_cipher(service_key: &Secret) -> XChaCha20Poly1305 {
    XChaCha20Poly1305::new(service_key.expose().into())
}

fn part<const N: usize>(body: &[u8; TICKET_BODY], at: usize) -> [u8; N] {
    let mut bytes = [0; N];
    bytes.copy_from_slice(&body[at..at + N]);
    bytes
}

fn node_id(identity: &PublicKeyBytes) -> NodeId {
    NodeId(crypto::blake2s(&[identity]))
}

impl fmt::Display for CertError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unauthentic => "not signed by the domain key",
            Self::WrongRole => "for another role",
            Self::Expired => "expired",
        })
    }
}

impl core::error::Error for CertError {}

#[cfg(test)]
#[cfg(any(feature = "aws-lc", feature = "pure-rust"))]
mod tests {
    use super::*;
    use crate::crypto::default_provider;

    fn identity(seed: u8) -> IdentityKey {
        IdentityKey::from_seed(default_provider(), Secret::new([seed; 32]))
    }

    fn name(text: &str) -> Fqdn {
        Fqdn::parse(text).unwrap()
    }

    fn record() -> NodeRecord {
        NodeRecord::sign(
            default_provider(),
            &identity(1),
            name("printer.ntm.example"),
            [5; 32],
            name("ntm.example"),
            false,
            UnixTime::from_secs(100),
        )
    }

    fn cert() -> ServerCert {
        ServerCert::sign(
            default_provider(),
            &identity(2),
            Role::Relay,
            name("ntm.example"),
            name("rs1.ntm.example"),
            [6; 32],
            alloc::vec!["192.0.2.1:4000".parse().unwrap(), "[2001:db8::1]:4000".parse().unwrap()],
            UnixTime::from_secs(1_000),
        )
    }

    fn ticket() -> Ticket {
        Ticket {
            node: identity(1).node_id(),
            record_digest: record().digest(),
            key: Secret::new([8; 32]),
            account: AccountPseudonym([9; 8]),
            expires: UnixTime::from_secs(20),
        }
    }

    #[test]
    fn a_record_proves_itself_and_nothing_else() {
        let record = record();
        assert_eq!(record.verify(default_provider()), Ok(()));
        assert_eq!(record.node_id(), identity(1).node_id());
        let lies = [
            NodeRecord { identity: *identity(3).public(), ..record.clone() },
            NodeRecord { fqdn: name("scanner.ntm.example"), ..record.clone() },
            NodeRecord { noise_key: [9; 32], ..record.clone() },
            NodeRecord { manager: name("evil.example"), ..record.clone() },
            NodeRecord { revoked: true, ..record.clone() },
            NodeRecord { timestamp: UnixTime::from_secs(101), ..record.clone() },
            NodeRecord { signature: [0; 64], ..record.clone() },
        ];
        for lie in lies {
            assert_eq!(lie.verify(default_provider()), Err(Unauthentic), "{lie:?}");
            assert_ne!(lie.digest(), record.digest());
        }
    }

    #[test]
    fn a_name_cannot_lend_letters_to_its_neighbour() {
        let signed =
            |fqdn: &str, manager: &str| NodeRecord { fqdn: name(fqdn), manager: name(manager), ..record() }.digest();
        assert_ne!(signed("ab", "c"), signed("a", "bc"));
    }

    #[test]
    fn a_certificate_holds_for_its_role_its_domain_and_its_time() {
        let (cert, provider, now) = (cert(), default_provider(), UnixTime::from_secs(999));
        let domain = *identity(2).public();
        assert_eq!(cert.verify(provider, &domain, Role::Relay, now), Ok(()));
        assert_eq!(cert.verify(provider, &domain, Role::Direction, now), Err(CertError::WrongRole));
        assert_eq!(cert.verify(provider, &domain, Role::Relay, cert.not_after), Err(CertError::Expired));
        assert_eq!(cert.verify(provider, identity(3).public(), Role::Relay, now), Err(CertError::Unauthentic));
        let lies = [
            ServerCert { role: Role::Direction, ..cert.clone() },
            ServerCert { name: name("rs2.ntm.example"), ..cert.clone() },
            ServerCert { domain: name("evil.example"), ..cert.clone() },
            ServerCert { noise_key: [7; 32], ..cert.clone() },
            ServerCert { addresses: Vec::new(), ..cert.clone() },
            ServerCert { not_after: UnixTime::from_secs(2_000), ..cert.clone() },
        ];
        for lie in lies {
            assert_eq!(lie.verify(provider, &domain, lie.role, now), Err(CertError::Unauthentic), "{lie:?}");
        }
    }

    #[test]
    fn a_ticket_opens_for_its_dc_alone() {
        let service = Secret::new([4; 32]);
        let sealed = ticket().seal(&service, [1; 24]);
        assert_eq!(sealed.len(), Ticket::LEN);
        assert_eq!(Ticket::open(&service, &sealed), Ok(ticket()));
        assert_eq!(Ticket::open(&Secret::new([5; 32]), &sealed), Err(Unauthentic));
        assert!(!sealed.windows(32).any(|part| part == ticket().key.expose()));
    }

    #[test]
    fn a_ticket_changed_cut_or_lengthened_is_refused() {
        let service = Secret::new([4; 32]);
        let sealed = ticket().seal(&service, [1; 24]);
        for at in 0..sealed.len() {
            let mut forged = sealed.clone();
            forged[at] ^= 1;
            assert_eq!(Ticket::open(&service, &forged), Err(Unauthentic), "byte {at}");
            assert_eq!(Ticket::open(&service, &sealed[..at]), Err(Unauthentic), "{at} bytes");
        }
        let longer = [&sealed[..], &[0]].concat();
        assert_eq!(Ticket::open(&service, &longer), Err(Unauthentic));
    }

    #[test]
    fn a_ticket_ends_when_it_says() {
        let ticket = ticket();
        assert!(ticket.is_valid(UnixTime::from_secs(10)) && ticket.is_valid(UnixTime::from_millis(19_999)));
        assert!(!ticket.is_valid(UnixTime::from_secs(20)));
    }
}
