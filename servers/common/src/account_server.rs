//! What DCs and RSs ask the account server: their newest credentials, and which nodes were revoked.
//!
//! Both answers are signed by the domain key, so the web's certificates guard no more than availability. Both
//! are long polls: the server answers when there is something new, or with 204 when the wait is over.
//!
//! ```text
//! GET /v1/servers/NAME/credentials?after=VERSION&wait=SECONDS    sealed credentials (octets)
//! GET /v1/revocations?after=NUMBER&wait=SECONDS                  {"after", "upto", "nodes": [hex …], "signature": hex}
//! ```

use std::path::Path;
use std::time::Duration;

use ntm_proto::crypto::{PublicKeyBytes, default_provider};
use ntm_proto::id::{Fqdn, NodeId};
use ntm_proto::identity::IdentityKey;
use serde::{Deserialize, Serialize};

use crate::credentials::MAX_SEALED;
use crate::hex;
use ntm_program::{Failure, ResultExt as _};

const REVOCATIONS_LABEL: &[u8] = b"NTM revocations";
/// Nodes in one answer; a server asks again for those after it.
pub const MAX_REVOCATIONS: usize = 10_000;
/// How long the account server holds a question that has no answer yet.
pub const LONG_POLL: Duration = Duration::from_secs(25);

/// A client of the account server. Its calls block; give them a thread.
#[derive(Clone, Debug)]
pub struct AccountServer {
    agent: ureq::Agent,
    url: String,
}

/// Nodes that were revoked, in the order they were, signed by the domain.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Revocations {
    /// How many there were before these.
    pub after: u64,
    /// How many there are with these.
    pub upto: u64,
    nodes: Vec<String>,
    #[serde(with = "hex::array")]
    signature: [u8; 64],
}

impl Revocations {
    pub fn sign(domain_key: &IdentityKey, after: u64, nodes: &[NodeId]) -> Self {
        let upto = after + nodes.len() as u64;
        let signature = domain_key.sign(default_provider(), &signed_part(after, nodes));
        Self { after, upto, nodes: nodes.iter().map(|node| hex::encode(&node.0)).collect(), signature }
    }

    /// The nodes, if the domain vouches for them.
    pub fn verify(&self, domain_key: &PublicKeyBytes) -> Option<Vec<NodeId>> {
        let nodes: Vec<NodeId> =
            self.nodes.iter().map(|text| hex::decode_array(text).map(NodeId)).collect::<Result<_, _>>().ok()?;
        let counted = self.upto == self.after.checked_add(nodes.len() as u64)?;
        let signed = signed_part(self.after, &nodes);
        let genuine = default_provider().ed25519_verify(domain_key, &signed, &self.signature).is_ok();
        (counted && genuine && nodes.len() <= MAX_REVOCATIONS).then_some(nodes)
    }
}

fn signed_part(after: u64, nodes: &[NodeId]) -> Vec<u8> {
    let mut signed = REVOCATIONS_LABEL.to_vec();
    signed.extend(after.to_be_bytes());
    nodes.iter().for_each(|node| signed.extend(node.0));
    signed
}

impl AccountServer {
    /// `url` is `https://HOST[:PORT]`; `ca` a PEM file with the certificates to believe instead of the system's.
    pub fn new(url: &str, ca: Option<&Path>) -> Result<Self, Failure> {
        if !url.starts_with("https://") {
            return Err(Failure::usage(format!("{url}: the account server's address must begin with https://")));
        }
        let agent = ntm_login::https::agent(ca, LONG_POLL + Duration::from_secs(10)).map_err(Failure::usage)?.build();
        Ok(Self { agent: agent.into(), url: url.trim_end_matches('/').to_owned() })
    }

    /// Sealed credentials newer than version `after`; none where there are none yet.
    pub fn credentials(&self, server: &Fqdn, after: u64, wait: Duration) -> Result<Option<Vec<u8>>, Failure> {
        let path = format!("/v1/servers/{server}/credentials?after={after}&wait={}", wait.as_secs());
        self.ask(&path)
    }

    /// What was revoked after the first `after` revocations; none where nothing was. To be verified by the caller.
    pub fn revocations(&self, after: u64, wait: Duration) -> Result<Option<Revocations>, Failure> {
        let Some(body) = self.ask(&format!("/v1/revocations?after={after}&wait={}", wait.as_secs()))? else {
            return Ok(None);
        };
        serde_json::from_slice(&body).context(format!("{}: revocations", self.url)).map(Some)
    }

    fn ask(&self, path: &str) -> Result<Option<Vec<u8>>, Failure> {
        let url = format!("{}{path}", self.url);
        let mut response = self.agent.get(&url).call().context(&url)?;
        if response.status() == 204 {
            return Ok(None);
        }
        let body = response.body_mut().with_config().limit(MAX_SEALED as u64).read_to_vec();
        body.context(&url).map(Some)
    }
}

#[cfg(test)]
mod tests {
    use ntm_proto::crypto::Secret;

    use super::*;

    #[test]
    fn only_what_the_domain_revoked_counts_as_revoked() {
        let domain = IdentityKey::from_seed(default_provider(), Secret::new([1; 32]));
        let nodes = [NodeId([2; 32]), NodeId([3; 32])];
        let signed = Revocations::sign(&domain, 5, &nodes);
        assert_eq!(signed.upto, 7);
        assert_eq!(signed.verify(domain.public()), Some(nodes.to_vec()));
        let other = IdentityKey::from_seed(default_provider(), Secret::new([9; 32]));
        assert_eq!(signed.verify(other.public()), None);
        let skipped = Revocations { after: 6, upto: 8, ..signed.clone() };
        assert_eq!(skipped.verify(domain.public()), None);
        let more = Revocations { upto: 9, ..signed };
        assert_eq!(more.verify(domain.public()), None);
    }

    #[test]
    fn an_address_without_tls_is_refused() {
        assert!(AccountServer::new("http://as.ntm.example", None).is_err());
    }
}
