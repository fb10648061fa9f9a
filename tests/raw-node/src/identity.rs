//! What a login gives a node, as a file:
//!
//! ```json
//! { "record": base64, "noise": hex, "ticket": base64, "key": base64, "directions": [hex …], "wake_token": base64? }
//! ```
//!
//! The account server's answer to a login with the node's own key added.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ntm_node::Director;
use ntm_proto::crypto::{Secret, default_provider};
use ntm_proto::identity::{NodeRecord, NoiseKey, ServerCert};
use ntm_proto::wire::identity::{emit_cert, emit_record, parse_cert, parse_record};
use serde::{Deserialize, Serialize};

/// Who a node is, and whom it may register with.
#[derive(Clone, Debug)]
pub struct Identity {
    pub record: NodeRecord,
    pub noise: NoiseKey,
    pub ticket: Vec<u8>,
    pub key: Secret,
    pub directions: Vec<ServerCert>,
    pub wake_token: Option<Vec<u8>>,
}

/// The file is something else.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotAnIdentity(pub String);

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    record: String,
    noise: String,
    ticket: String,
    key: String,
    directions: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    wake_token: Option<String>,
}

impl Identity {
    pub fn to_json(&self) -> String {
        let written = Written {
            record: STANDARD.encode(emit_record(&self.record)),
            noise: hex(self.noise.secret().expose()),
            ticket: STANDARD.encode(&self.ticket),
            key: STANDARD.encode(self.key.expose()),
            directions: self.directions.iter().map(|cert| hex(&emit_cert(cert))).collect(),
            wake_token: self.wake_token.as_ref().map(|token| STANDARD.encode(token)),
        };
        serde_json::to_string_pretty(&written).expect("texts are JSON")
    }

    pub fn from_json(text: &str) -> Result<Self, NotAnIdentity> {
        let written: Written = serde_json::from_str(text).map_err(|why| NotAnIdentity(why.to_string()))?;
        let wrong = |what: &str| NotAnIdentity(format!("{what} cannot be read"));
        let fixed = |bytes: Vec<u8>, what| <[u8; 32]>::try_from(bytes).map(Secret::new).map_err(|_| wrong(what));
        let base64 = |text: &str, what| STANDARD.decode(text).map_err(|_| wrong(what));
        let noise = fixed(unhex(&written.noise).ok_or_else(|| wrong("noise"))?, "noise")?;
        let cert = |text: &String| unhex(text).and_then(|bytes| parse_cert(&bytes).ok());
        Ok(Self {
            record: parse_record(&base64(&written.record, "record")?).map_err(|_| wrong("record"))?,
            noise: NoiseKey::from_secret(default_provider(), noise),
            ticket: base64(&written.ticket, "ticket")?,
            key: fixed(base64(&written.key, "key")?, "key")?,
            directions: written
                .directions
                .iter()
                .map(cert)
                .collect::<Option<_>>()
                .ok_or_else(|| wrong("directions"))?,
            wake_token: written.wake_token.map(|token| base64(&token, "wake_token")).transpose()?,
        })
    }

    pub(crate) fn directors(&self) -> Vec<Director> {
        let director = |cert: &ServerCert| Director { noise_key: cert.noise_key, addresses: cert.addresses.clone() };
        self.directions.iter().map(director).collect()
    }
}

impl fmt::Display for NotAnIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for NotAnIdentity {}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let digits: Option<Vec<u8>> = text.chars().map(|digit| digit.to_digit(16).map(|value| value as u8)).collect();
    let digits = digits.filter(|digits| digits.len() % 2 == 0)?;
    Some(digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect())
}
