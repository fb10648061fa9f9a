//! What a node and its account server say to each other, over HTTPS and in JSON.
//!
//! ```text
//! POST /v1/login    LoginRequest    -> TicketAnswer    the first time: with a password or an enrolment key
//! POST /v1/tickets  RenewalRequest  -> TicketAnswer    from then on: with the node's own signature
//! ```
//!
//! A renewal is signed by the node's identity over
//!
//! ```text
//! "NTM ticket renewal" ‖ domain ‖ 0 ‖ issued (8, big endian) ‖ nonce (16) ‖ digest of the record (32)
//! ```

use std::fmt;

use ntm_proto::id::Fqdn;
use ntm_proto::identity::NodeRecord;
use serde::{Deserialize, Serialize};
use zeroize::{Zeroize, ZeroizeOnDrop};

const RENEWAL_LABEL: &[u8] = b"NTM ticket renewal";

/// By how much the clocks of a node and its account server may differ, in milliseconds.
pub const CLOCK_TOLERANCE: u64 = 5 * 60 * 1000;

/// A node asks for its first ticket. Exactly one of the two secrets is there.
#[derive(Clone, Serialize, Deserialize, Zeroize, ZeroizeOnDrop)]
#[serde(deny_unknown_fields)]
pub struct LoginRequest {
    pub account: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub enrolment_key: Option<String>,
    /// The node's record as the wire has it, in base64.
    pub record: String,
}

/// A node asks for a further ticket.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RenewalRequest {
    pub record: String,
    /// The node's clock, in milliseconds since 1970.
    pub issued: u64,
    /// 16 random bytes in hexadecimal.
    pub nonce: String,
    /// Ed25519, in hexadecimal.
    pub signature: String,
}

/// A ticket and all that a node needs beside it.
#[derive(Clone, Serialize, Deserialize, Zeroize, ZeroizeOnDrop)]
pub struct TicketAnswer {
    /// Sealed to the DCs, in base64.
    pub ticket: String,
    /// The key that is in the ticket, in base64.
    pub key: String,
    /// In milliseconds since 1970.
    pub expires: u64,
    /// Hexadecimal.
    pub domain_key: String,
    /// The certificates of the domain's DCs, in hexadecimal.
    pub directions: Vec<String>,
    /// The certificates of its relays, for nodes whose network lets no UDP through; servers of before do not send them.
    #[serde(default)]
    pub relays: Vec<String>,
    pub name: String,
}

/// Why the account server refused.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorAnswer {
    /// One word, for programs.
    pub error: String,
    /// One sentence, for people.
    pub message: String,
    /// The server's clock where `error` is `clock`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub now: Option<u64>,
}

/// What a node signs to renew its ticket.
pub fn renewal_signed_part(domain: &Fqdn, issued: u64, nonce: &[u8; 16], record: &NodeRecord) -> Vec<u8> {
    [RENEWAL_LABEL, domain.as_str().as_bytes(), &[0], &issued.to_be_bytes(), nonce, &record.digest()].concat()
}

impl fmt::Debug for LoginRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LoginRequest({})", self.account)
    }
}

impl fmt::Debug for TicketAnswer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TicketAnswer({})", self.name)
    }
}
