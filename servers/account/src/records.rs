//! The documents of the store.

use ntm_proto::crypto;
use ntm_server::credentials::{Key, NumberedKey, Request};
use serde::{Deserialize, Serialize};

use crate::passwords::PasswordHash;

/// Milliseconds since 1970.
pub type Millis = u64;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Account {
    pub admin: bool,
    pub disabled: bool,
    pub created: Millis,
    pub password: PasswordHash,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Session {
    pub created: Millis,
    pub expires: Millis,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Node {
    /// Hexadecimal.
    pub id: String,
    pub owner: String,
    /// The newest record the node signed, in base64.
    pub record: String,
    pub created: Millis,
    /// Its last login or renewal.
    pub seen: Millis,
    pub revoked: Option<Millis>,
    /// The enrolment key that brought it, if one did.
    pub enrolled_by: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EnrolmentKey {
    pub owner: String,
    pub label: String,
    /// BLAKE2s of the secret: 256 random bits need no slow hash.
    pub hash: String,
    /// Nodes that it may still bring.
    pub left: u32,
    pub uses: u32,
    pub created: Millis,
    pub expires: Millis,
}

/// A DC or an RS of the domain.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Server {
    pub request: Request,
    /// Hexadecimal.
    pub cert: String,
    /// Of its credentials.
    pub version: u64,
    pub added: Millis,
    /// What only a relay has.
    pub relay: Option<Relay>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Relay {
    pub id: u32,
    /// The newest first.
    pub grant_keys: Vec<NumberedKey>,
    /// The number of the key that DCs mint with; where none has it, the newest.
    #[serde(default)]
    pub minting: u8,
    /// From when on DCs mint with the newest.
    #[serde(default)]
    pub mints_from: Millis,
    pub psk: Key,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Revocation {
    pub number: u64,
    pub name: String,
    pub owner: String,
    pub at: Millis,
}

/// A line of the audit log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditEntry {
    pub at: Millis,
    /// An account, or `operator` for who works on the server itself.
    pub who: String,
    pub what: String,
    pub about: String,
    /// The address it came from, empty where it came from none.
    pub from: String,
}

/// How a secret of full entropy is kept.
pub fn secret_hash(secret: &str) -> String {
    ntm_server::hex::encode(&crypto::blake2s(&[b"ntm-as secret v1", secret.as_bytes()]))
}
