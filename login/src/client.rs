//! The client. Its calls block; give them a thread.

use std::fmt;
use std::path::Path;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use ntm_proto::crypto::{PublicKeyBytes, Secret, default_provider};
use ntm_proto::hex;
use ntm_proto::id::Fqdn;
use ntm_proto::identity::{IdentityKey, NodeRecord, Role, ServerCert, Ticket};
use ntm_proto::time::UnixTime;
use ntm_proto::wire::identity::{emit_record, parse_cert};
use serde::Serialize;
use zeroize::Zeroizing;

use crate::clock::unix_now;
use crate::https;
use crate::message::{ErrorAnswer, LoginRequest, RenewalRequest, TicketAnswer, renewal_signed_part};

/// How long a whole call may take: the server may have to let others' passwords go first.
pub(crate) const TIMEOUT: Duration = Duration::from_secs(20);
/// The server's word for a rate that was exceeded.
const TOO_MANY: &str = "too_many";
/// What an answer may weigh: room for hundreds of DCs.
const MAX_ANSWER: u64 = 256 * 1024;
/// Servers of either kind taken from one answer.
const MAX_SERVERS: usize = 256;

/// What proves that a node may be brought into an account.
#[derive(Clone)]
pub enum Credential {
    Password(Zeroizing<String>),
    EnrolmentKey(Zeroizing<String>),
}

/// All that a node needs to register.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Login {
    /// Sealed; for the DC.
    pub ticket: Vec<u8>,
    /// The node's own copy of the key that is in the ticket.
    pub key: Secret,
    pub expires: UnixTime,
    pub domain_key: PublicKeyBytes,
    /// The domain's DCs, each vouched for by the domain key.
    pub directions: Vec<ServerCert>,
    /// The domain's relays, vouched for likewise.
    pub relays: Vec<ServerCert>,
    pub name: Fqdn,
}

/// Why there is no ticket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Error {
    /// The address or the file of certificates is wrong.
    Configuration(String),
    /// The server cannot be reached, or is not the one its certificate must name.
    Unreachable(String),
    /// The server said no. `error` is its word for why (`docs/api/as.md`).
    Refused { error: String, message: String, retry_after: Option<Duration> },
    /// The server's answer is not what it must be.
    Malformed(&'static str),
    /// The answer is of another domain key than the one that is known.
    OtherDomainKey,
    /// A certificate of a DC is not vouched for by the domain key.
    Forged,
}

/// An account server, by its address.
#[derive(Clone, Debug)]
pub struct Client {
    agent: ureq::Agent,
    url: String,
    domain_key: Option<PublicKeyBytes>,
}

impl Client {
    /// `url` is `https://HOST[:PORT]`; `ca` a PEM file with the certificates to believe instead of the system's.
    pub fn new(url: &str, ca: Option<&Path>) -> Result<Self, Error> {
        let (agent, url) = connect(url, ca, TIMEOUT)?;
        Ok(Self { agent, url, domain_key: None })
    }

    /// From here on answers of any other domain key are refused.
    #[must_use]
    pub fn pinned(mut self, domain_key: PublicKeyBytes) -> Self {
        self.domain_key = Some(domain_key);
        self
    }

    /// The first ticket of a node, or one for a node whose account proves itself anew.
    pub fn login(&self, account: &str, credential: &Credential, record: &NodeRecord) -> Result<Login, Error> {
        let (password, enrolment_key) = match credential {
            Credential::Password(password) => (Some(password.to_string()), None),
            Credential::EnrolmentKey(key) => (None, Some(key.to_string())),
        };
        let record_text = BASE64.encode(emit_record(record));
        let request = LoginRequest { account: account.to_owned(), password, enrolment_key, record: record_text };
        self.ask("/v1/login", &request, record)
    }

    /// A further ticket; `nonce` is 16 fresh random bytes. Needs no password, and a clock within five minutes.
    pub fn renew(&self, identity: &IdentityKey, record: &NodeRecord, nonce: [u8; 16]) -> Result<Login, Error> {
        let issued = unix_now().as_millis();
        let signed = renewal_signed_part(&record.manager, issued, &nonce, record);
        let request = RenewalRequest {
            record: BASE64.encode(emit_record(record)),
            issued,
            nonce: hex::encode(&nonce),
            signature: hex::encode(&identity.sign(default_provider(), &signed)),
        };
        self.ask("/v1/tickets", &request, record)
    }

    fn ask(&self, path: &str, request: &impl Serialize, record: &NodeRecord) -> Result<Login, Error> {
        let body = Zeroizing::new(serde_json::to_vec(request).map_err(|_| Error::Malformed("the request"))?);
        let until = Instant::now() + TIMEOUT;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            match self.ask_once(path, &body, record, left) {
                // Many log in at once after a power cut; the server says when it is this one's turn.
                Err(Error::Refused { retry_after: Some(wait), error, .. })
                    if error == TOO_MANY && Instant::now() + wait < until =>
                {
                    std::thread::sleep(wait);
                }
                outcome => return outcome,
            }
        }
    }

    fn ask_once(&self, path: &str, body: &[u8], record: &NodeRecord, timeout: Duration) -> Result<Login, Error> {
        let call = self.agent.post(format!("{}{path}", self.url)).content_type("application/json");
        let call = call.config().timeout_global(Some(timeout)).build();
        let unreachable = |why: ureq::Error| Error::Unreachable(format!("{}: {why}", self.url));
        let mut response = call.send(body).map_err(unreachable)?;
        let answer = Zeroizing::new(read(&self.url, &mut response)?);
        let answer = serde_json::from_slice(&answer).map_err(|_| Error::Malformed("the answer"))?;
        check(&answer, record, self.domain_key.as_ref(), unix_now())
    }
}

/// Logs a node in once. See [`Client::login`].
pub fn login(
    url: &str,
    ca: Option<&Path>,
    account: &str,
    credential: &Credential,
    record: &NodeRecord,
) -> Result<Login, Error> {
    Client::new(url, ca)?.login(account, credential, record)
}

/// Renews a ticket once. See [`Client::renew`].
pub fn renew(
    url: &str,
    ca: Option<&Path>,
    domain_key: PublicKeyBytes,
    identity: &IdentityKey,
    record: &NodeRecord,
    nonce: [u8; 16],
) -> Result<Login, Error> {
    Client::new(url, ca)?.pinned(domain_key).renew(identity, record, nonce)
}

/// What the answer says, if the domain vouches for it and it is for this node.
fn check(
    answer: &TicketAnswer,
    record: &NodeRecord,
    pinned: Option<&PublicKeyBytes>,
    now: UnixTime,
) -> Result<Login, Error> {
    let domain_key: PublicKeyBytes =
        hex::decode_array(&answer.domain_key).map_err(|_| Error::Malformed("the domain key"))?;
    if pinned.is_some_and(|known| *known != domain_key) {
        return Err(Error::OtherDomainKey);
    }
    let name = Fqdn::parse(&answer.name).map_err(|_| Error::Malformed("the name"))?;
    if name != record.fqdn {
        return Err(Error::Malformed("the name"));
    }
    let ticket = BASE64.decode(&answer.ticket).map_err(|_| Error::Malformed("the ticket"))?;
    let key = Zeroizing::new(BASE64.decode(&answer.key).map_err(|_| Error::Malformed("the key"))?);
    let key: [u8; 32] = key[..].try_into().map_err(|_| Error::Malformed("the key"))?;
    if ticket.len() != Ticket::LEN {
        return Err(Error::Malformed("the ticket"));
    }
    let certs = |texts: &[String], role| {
        if texts.len() > MAX_SERVERS {
            return Err(Error::Malformed("the certificates"));
        }
        let cert = |text: &String| {
            let bytes = hex::decode(text).map_err(|_| Error::Malformed("a certificate"))?;
            let cert = parse_cert(&bytes).map_err(|_| Error::Malformed("a certificate"))?;
            let genuine = cert.verify(default_provider(), &domain_key, role, now);
            if genuine.is_err() || cert.domain != record.manager { Err(Error::Forged) } else { Ok(cert) }
        };
        texts.iter().map(cert).collect::<Result<Vec<_>, _>>()
    };
    let directions = certs(&answer.directions, Role::Direction)?;
    let relays = certs(&answer.relays, Role::Relay)?;
    let expires = UnixTime::from_millis(answer.expires);
    Ok(Login { ticket, key: Secret::new(key), expires, domain_key, directions, relays, name })
}

/// A connection in the making, to an account server at `https://HOST[:PORT]`.
pub(crate) fn connect(url: &str, ca: Option<&Path>, timeout: Duration) -> Result<(ureq::Agent, String), Error> {
    if !url.starts_with("https://") {
        return Err(Error::Configuration(format!("{url}: the address must begin with https://")));
    }
    let agent = https::agent(ca, timeout).map_err(Error::Configuration)?.http_status_as_error(false).build();
    Ok((agent.into(), url.trim_end_matches('/').to_owned()))
}

/// What the server answered, where it is no refusal.
pub(crate) fn read(url: &str, response: &mut ureq::http::Response<ureq::Body>) -> Result<Vec<u8>, Error> {
    let retry_after = response.headers().get("retry-after").and_then(|value| value.to_str().ok()?.parse().ok());
    let status = response.status();
    let answer = response.body_mut().with_config().limit(MAX_ANSWER).read_to_vec();
    let answer = answer.map_err(|why| Error::Unreachable(format!("{url}: {why}")))?;
    if status.is_success() {
        Ok(answer)
    } else {
        Err(refusal(status.as_u16(), &answer, retry_after.map(Duration::from_secs)))
    }
}

fn refusal(status: u16, answer: &[u8], retry_after: Option<Duration>) -> Error {
    match serde_json::from_slice::<ErrorAnswer>(answer) {
        Ok(ErrorAnswer { error, message, .. }) => Error::Refused { error, message, retry_after },
        Err(_) => Error::Unreachable(format!("the server answered with status {status}")),
    }
}

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Password(_) => "Password(..)",
            Self::EnrolmentKey(_) => "EnrolmentKey(..)",
        })
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Configuration(why) | Self::Unreachable(why) => f.write_str(why),
            Self::Refused { message, .. } => write!(f, "the account server refused: {message}"),
            Self::Malformed(what) => write!(f, "the account server's answer is not understood: {what}"),
            Self::OtherDomainKey => f.write_str("the account server shows another domain key than the known one"),
            Self::Forged => f.write_str("a server's certificate is not vouched for by the domain"),
        }
    }
}

impl std::error::Error for Error {}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(seed: u8) -> IdentityKey {
        IdentityKey::from_seed(default_provider(), Secret::new([seed; 32]))
    }

    fn name(text: &str) -> Fqdn {
        Fqdn::parse(text).expect("a proper name")
    }

    fn record() -> NodeRecord {
        let (fqdn, manager) = (name("printer.ntm.example"), name("ntm.example"));
        NodeRecord::sign(default_provider(), &key(1), fqdn, [5; 32], manager, false, UnixTime::from_secs(1))
    }

    fn cert(signer: u8, role: Role, domain: &str, until: u64) -> String {
        let address = vec!["192.0.2.1:4500".parse().expect("an address")];
        let cert = ServerCert::sign(
            default_provider(),
            &key(signer),
            role,
            name(domain),
            name("dc1.ntm.example"),
            [6; 32],
            address,
            UnixTime::from_secs(until),
        );
        hex::encode(&ntm_proto::wire::identity::emit_cert(&cert))
    }

    fn answer(directions: Vec<String>) -> TicketAnswer {
        TicketAnswer {
            ticket: BASE64.encode([0; Ticket::LEN]),
            key: BASE64.encode([7; 32]),
            expires: 9,
            domain_key: hex::encode(key(2).public()),
            directions,
            relays: vec![],
            name: "printer.ntm.example".into(),
        }
    }

    fn checked(answer: &TicketAnswer) -> Result<Login, Error> {
        check(answer, &record(), Some(key(2).public()), UnixTime::from_secs(100))
    }

    #[test]
    fn only_coordinators_that_the_domain_vouches_for_are_believed() {
        let good = cert(2, Role::Direction, "ntm.example", 200);
        assert_eq!(checked(&answer(vec![good.clone()])).expect("genuine").directions.len(), 1);
        let forged = [
            cert(3, Role::Direction, "ntm.example", 200),
            cert(2, Role::Relay, "ntm.example", 200),
            cert(2, Role::Direction, "evil.example", 200),
            cert(2, Role::Direction, "ntm.example", 100),
        ];
        for cert in forged {
            assert_eq!(checked(&answer(vec![good.clone(), cert])), Err(Error::Forged));
        }
    }

    #[test]
    fn only_relays_that_the_domain_vouches_for_are_believed() {
        let with = |relay: String| {
            let mut answer = answer(vec![]);
            answer.relays = vec![relay];
            answer
        };
        let good = checked(&with(cert(2, Role::Relay, "ntm.example", 200))).expect("genuine");
        assert_eq!(good.relays.len(), 1);
        let forged = [
            cert(3, Role::Relay, "ntm.example", 200),
            cert(2, Role::Direction, "ntm.example", 200),
            cert(2, Role::Relay, "evil.example", 200),
            cert(2, Role::Relay, "ntm.example", 100),
        ];
        for cert in forged {
            assert_eq!(checked(&with(cert)), Err(Error::Forged));
        }
    }

    #[test]
    fn another_domain_key_than_the_known_one_is_refused() {
        let mut other = answer(vec![]);
        other.domain_key = hex::encode(key(3).public());
        assert_eq!(checked(&other), Err(Error::OtherDomainKey));
    }

    #[test]
    fn an_answer_for_another_node_or_without_a_whole_ticket_is_refused() {
        let mut wrong = answer(vec![]);
        wrong.name = "scanner.ntm.example".into();
        assert_eq!(checked(&wrong), Err(Error::Malformed("the name")));
        let mut wrong = answer(vec![]);
        wrong.ticket = BASE64.encode([0; 4]);
        assert_eq!(checked(&wrong), Err(Error::Malformed("the ticket")));
        let mut wrong = answer(vec![]);
        wrong.key = BASE64.encode([0; 31]);
        assert_eq!(checked(&wrong), Err(Error::Malformed("the key")));
    }

    #[test]
    fn an_address_without_tls_is_refused() {
        assert!(matches!(Client::new("http://as.ntm.example", None), Err(Error::Configuration(_))));
    }

    #[test]
    fn secrets_do_not_show_when_printed() {
        let credential = Credential::Password(Zeroizing::new("hunter22hunter".into()));
        assert!(!format!("{credential:?}").contains("hunter"));
        assert!(!format!("{:?}", answer(vec![])).contains(&BASE64.encode([7; 32])));
    }
}
