//! Nodes: who brings one in, under which name, with which ticket, and until when.
//!
//! ```text
//! login (password)  ─┐
//! login (key)       ─┼─▶ the record is genuine ─▶ name and id are free or its own ─▶ durable ─▶ ticket
//! renewal (signed)  ─┘                             (a renewal: known already, not seen before)
//! ```

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use ntm_login::message::{CLOCK_TOLERANCE, RenewalRequest, TicketAnswer, renewal_signed_part};
use ntm_proto::crypto::{Secret, default_provider};
use ntm_proto::id::{Fqdn, NodeId};
use ntm_proto::identity::{NodeRecord, Role, Ticket};
use ntm_proto::time::UnixTime;
use ntm_proto::wire::identity::{emit_record, parse_record};
use ntm_server::account_server::{MAX_REVOCATIONS, Revocations};
use ntm_server::clock::{random, unix_now};
use ntm_server::hex;
use zeroize::Zeroizing;

use super::audit::note;
use super::{Authority, Caller, accounts, enrolment, servers};
use crate::records::{Account, Node, Revocation};
use crate::refusal::{Code, Refusal};
use crate::store::{END, Range, StoreError, Table, Transaction, numbered};

/// What a node record may weigh in base64; the wire's own bound is far below.
const MAX_RECORD: usize = 4_096;
/// Labels that hosts look up by themselves, or that mean the domain's own servers.
const RESERVED: [&str; 5] = ["as", "ns", "wpad", "isatap", "localhost"];
const REVOCATIONS: &str = "revocations";
/// Renewals forgotten in one transaction.
const PAGE: usize = 1_000;

/// A ticket, and whether the node is new in the domain.
#[derive(Debug)]
pub struct Ticketed {
    pub answer: TicketAnswer,
    pub is_new: bool,
}

/// Why and for whom a node is let in.
enum Admission<'a> {
    Password(&'a Caller),
    Key { by: &'a Caller, key: &'a str },
    Renewal { nonce: String, issued: u64 },
}

impl Authority {
    /// Lets a node in whose account proved itself by its password.
    pub fn login(&self, by: &Caller, record: &NodeRecord) -> Result<Ticketed, Refusal> {
        self.admit(record, &Admission::Password(by))
    }

    /// Lets a node in by an enrolment key of `by`'s account. A node that the key brought before costs no further use.
    pub fn login_with_key(&self, by: &Caller, key: &str, record: &NodeRecord) -> Result<Ticketed, Refusal> {
        self.admit(record, &Admission::Key { by, key })
    }

    /// Whether `key` is good for a login to `account`, so that a wrong one is known before anything else is.
    pub fn check_key(&self, account: &str, key: &str) -> Result<bool, Refusal> {
        self.read(|tx| match enrolment::find(tx, account, key) {
            Ok(_) => Ok(true),
            Err(why) if why.code == Code::Credentials => Ok(false),
            Err(why) => Err(why),
        })
    }

    /// A further ticket for a node that signs for itself.
    pub fn renew(&self, request: &RenewalRequest) -> Result<Ticketed, Refusal> {
        let record = self.parse_record(&request.record)?;
        let nonce: [u8; 16] = hex::decode_array(&request.nonce)
            .map_err(|_| Refusal::invalid("the nonce is not 16 bytes in hexadecimal"))?;
        let signature: [u8; 64] = hex::decode_array(&request.signature)
            .map_err(|_| Refusal::invalid("the signature is not 64 bytes in hexadecimal"))?;
        if unix_now().as_millis().abs_diff(request.issued) > CLOCK_TOLERANCE {
            return Err(Refusal::new(Code::Clock, "the clocks differ by more than five minutes: set yours"));
        }
        let signed = renewal_signed_part(&self.domain, request.issued, &nonce, &record);
        default_provider()
            .ed25519_verify(&record.identity, &signed, &signature)
            .map_err(|_| Refusal::new(Code::Credentials, "the renewal is not signed by the node"))?;
        self.admit(&record, &Admission::Renewal { nonce: hex::encode(&nonce), issued: request.issued })
    }

    /// A record as requests carry it: genuine, of this domain, and under a name that a node may have.
    pub fn parse_record(&self, text: &str) -> Result<NodeRecord, Refusal> {
        let malformed = || Refusal::invalid("the record is not a node record in base64");
        if text.len() > MAX_RECORD {
            return Err(malformed());
        }
        let record = parse_record(&BASE64.decode(text).map_err(|_| malformed())?).map_err(|_| malformed())?;
        record.verify(default_provider()).map_err(|_| Refusal::invalid("the record's signature is wrong"))?;
        if record.manager != self.domain {
            return Err(Refusal::invalid(format!("the record names another domain than {}", self.domain)));
        }
        if record.revoked {
            return Err(Refusal::new(Code::Revoked, "the record says itself that it is revoked"));
        }
        if record.timestamp.as_millis() > unix_now().as_millis().saturating_add(CLOCK_TOLERANCE) {
            return Err(Refusal::new(Code::Clock, "the record is from the future: set your clock"));
        }
        self.check_name(&record.fqdn)?;
        Ok(record)
    }

    /// The nodes of an account, those that were revoked among them.
    pub fn nodes(&self, owner: &str) -> Result<Vec<(String, Node)>, Refusal> {
        let most = self.rules().sign_up.max_nodes;
        Ok(self.read(|tx| nodes_of(tx, owner, most))?)
    }

    /// Gives a node another name. The node hears of it at its next renewal and signs a new record.
    pub fn rename(&self, by: &Caller, name: &Fqdn, to: &Fqdn) -> Result<Node, Refusal> {
        self.check_name(to)?;
        self.write(|tx| {
            let mut node = owned(tx, by, name)?;
            if node.revoked.is_some() {
                return Err(Refusal::new(Code::Revoked, "the node is revoked"));
            }
            if name == to {
                return Ok(node);
            }
            check_free(tx, to)?;
            node.record = String::new();
            tx.delete(Table::Nodes, name.as_str())?;
            tx.delete(Table::Owners, &owner_key(&node.owner, name.as_str()))?;
            save(tx, to.as_str(), &node)?;
            note(tx, by, "node renamed", &format!("{name} to {to}"))?;
            Ok(node)
        })
    }

    /// Takes a node out of the domain for ever. Doing it twice is doing it once.
    pub fn revoke(&self, by: &Caller, name: &Fqdn) -> Result<(), Refusal> {
        self.write(|tx| {
            let mut node = owned(tx, by, name)?;
            if node.revoked.is_some() {
                return Ok(());
            }
            let at = unix_now().as_millis();
            node.revoked = Some(at);
            save(tx, name.as_str(), &node)?;
            let number = tx.count_up(REVOCATIONS)?;
            let revocation = Revocation { number, name: name.to_string(), owner: node.owner.clone(), at };
            tx.save(Table::Revoked, &node.id, &revocation)?;
            tx.save(Table::Revocations, &numbered(number), &node.id)?;
            Ok::<_, Refusal>(note(tx, by, "node revoked", name.as_str())?)
        })?;
        self.tell();
        Ok(())
    }

    /// What was revoked after the first `after`; none where nothing was.
    pub fn revocations(&self, after: u64) -> Result<Option<Revocations>, Refusal> {
        let ids = self.read(|tx| {
            let there = tx.counter(REVOCATIONS)?;
            if after > there {
                return Err(Refusal::invalid(format!("there are only {there} revocations")));
            }
            let range = Range { from: &numbered(after), until: END, limit: MAX_REVOCATIONS, backwards: false };
            let rows: Vec<(String, String)> = tx.list(Table::Revocations, range)?;
            Ok(rows)
        })?;
        let nodes = ids.iter().map(|(key, id)| {
            hex::decode_array(id).map(NodeId).map_err(|_| StoreError::Corrupt(format!("revocation {key}")))
        });
        let nodes = nodes.collect::<Result<Vec<_>, _>>()?;
        Ok((!nodes.is_empty()).then(|| Revocations::sign(self.secrets().domain_key(), after, &nodes)))
    }

    /// Forgets renewals whose time is over: their clock refuses them now.
    pub(super) fn forget_renewals(&self, now: UnixTime) -> Result<(), Refusal> {
        let until = numbered(now.as_millis().saturating_sub(2 * CLOCK_TOLERANCE));
        loop {
            let forgotten = self.write(|tx| {
                let range = Range { from: "", until: &until, limit: PAGE, backwards: false };
                let over = tx.scan(Table::Renewals, range)?;
                over.iter().try_for_each(|(key, _)| tx.delete(Table::Renewals, key).map(|_| ()))?;
                Ok::<_, StoreError>(over.len())
            })?;
            if forgotten < PAGE {
                return Ok(());
            }
        }
    }

    fn check_name(&self, name: &Fqdn) -> Result<(), Refusal> {
        let label = name.as_str().strip_suffix(self.domain.as_str()).and_then(|rest| rest.strip_suffix('.'));
        let proper =
            label.is_some_and(|label| !label.is_empty() && !label.contains(['.', '_']) && !RESERVED.contains(&label));
        if proper { Ok(()) } else { Err(Refusal::invalid(format!("a node's name is one label below {}", self.domain))) }
    }

    fn admit(&self, record: &NodeRecord, admission: &Admission<'_>) -> Result<Ticketed, Refusal> {
        let (now, most) = (unix_now(), self.rules().sign_up.max_nodes);
        let (is_new, owner, servers) = self.write(|tx| {
            let (is_new, owner) = match admission {
                Admission::Password(by) => (bring_in(tx, by, record, None, most)?, by.account.clone()),
                Admission::Key { by, key } => {
                    let (id, key) = enrolment::find(tx, &by.account, key)?;
                    let again = tx.find::<Node>(Table::Nodes, record.fqdn.as_str())?.is_some_and(|node| {
                        node.enrolled_by.as_deref() == Some(&id) && node.id == record.node_id().to_string()
                    });
                    if !again {
                        enrolment::spend(tx, &id, key)?;
                    }
                    (bring_in(tx, by, record, Some(id), most)?, by.account.clone())
                }
                Admission::Renewal { nonce, issued } => {
                    let owner = see_again(tx, record, now)?;
                    let seen = format!("{}/{}/{nonce}", numbered(*issued), record.node_id());
                    if tx.get(Table::Renewals, &seen)?.is_some() {
                        return Err(Refusal::new(Code::Replayed, "this renewal was used already"));
                    }
                    tx.save(Table::Renewals, &seen, &true)?;
                    (false, owner)
                }
            };
            let servers = [Role::Direction, Role::Relay].map(|role| servers::certificates(tx, role));
            let [directions, relays] = servers;
            Ok((is_new, owner, [directions?, relays?]))
        })?;
        Ok(Ticketed { answer: self.ticket(record, &owner, now, servers), is_new })
    }

    fn ticket(
        &self,
        record: &NodeRecord,
        owner: &str,
        now: UnixTime,
        [directions, relays]: [Vec<String>; 2],
    ) -> TicketAnswer {
        let (secrets, expires) = (self.secrets(), now + self.rules().ticket_life);
        let ticket = Ticket {
            node: record.node_id(),
            record_digest: record.digest(),
            key: Secret::new(random()),
            account: secrets.pseudonym(owner),
            expires,
        };
        TicketAnswer {
            ticket: BASE64.encode(ticket.seal(secrets.sealing_key(now), random())),
            key: BASE64.encode(Zeroizing::new(*ticket.key.expose())),
            expires: expires.as_millis(),
            domain_key: hex::encode(secrets.domain_key().public()),
            directions,
            relays,
            name: record.fqdn.to_string(),
        }
    }
}

/// Whether a name stands under no node; also asked for servers.
pub(super) fn check_free(tx: &mut dyn Transaction, name: &Fqdn) -> Result<(), Refusal> {
    let taken = tx.get(Table::Nodes, name.as_str())?.is_some() || tx.get(Table::Servers, name.as_str())?.is_some();
    if taken { Err(Refusal::new(Code::Taken, format!("the name {name} is taken"))) } else { Ok(()) }
}

/// Writes a node that its account answers for; whether it is new.
fn bring_in(
    tx: &mut dyn Transaction,
    by: &Caller,
    record: &NodeRecord,
    enrolled_by: Option<String>,
    most: usize,
) -> Result<bool, Refusal> {
    accounts::active(tx, &by.account)?;
    let (id, name, now) = (record.node_id().to_string(), record.fqdn.as_str(), unix_now().as_millis());
    check_not_revoked(tx, &id)?;
    let stands_under: Option<String> = tx.find(Table::NodeIds, &id)?;
    if let Some(current) = stands_under {
        let mut node: Node = tx.find(Table::Nodes, &current)?.ok_or_else(|| Refusal::not_found("node"))?;
        if node.owner != by.account {
            return Err(Refusal::new(Code::NotAllowed, "the node belongs to another account"));
        }
        check_same_name(name, &current)?;
        take_record(&mut node, record)?;
        (node.seen, node.enrolled_by) = (now, enrolled_by.or(node.enrolled_by));
        save(tx, name, &node)?;
        return Ok(false);
    }
    let before: Option<Node> = tx.find(Table::Nodes, name)?;
    let succeeds = before.as_ref().is_some_and(|node| node.revoked.is_some() && node.owner == by.account);
    if !succeeds {
        check_free(tx, &record.fqdn)?;
        make_room(tx, &by.account, most)?;
    }
    let owner = by.account.clone();
    let record = BASE64.encode(emit_record(record));
    save(tx, name, &Node { id, owner, record, created: now, seen: now, revoked: None, enrolled_by })?;
    note(tx, by, "node enrolled", name)?;
    Ok(true)
}

/// Checks and notes the renewal of a node that is known. Gives its owner.
fn see_again(tx: &mut dyn Transaction, record: &NodeRecord, now: UnixTime) -> Result<String, Refusal> {
    let id = record.node_id().to_string();
    check_not_revoked(tx, &id)?;
    let name: Option<String> = tx.find(Table::NodeIds, &id)?;
    let name = name.ok_or_else(|| Refusal::not_found("node"))?;
    let mut node: Node = tx.find(Table::Nodes, &name)?.ok_or_else(|| Refusal::not_found("node"))?;
    let owner: Option<Account> = tx.find(Table::Accounts, &node.owner)?;
    if owner.is_none_or(|owner| owner.disabled) {
        return Err(Refusal::new(Code::NotAllowed, "the node's account is disabled"));
    }
    check_same_name(record.fqdn.as_str(), &name)?;
    take_record(&mut node, record)?;
    node.seen = now.as_millis();
    save(tx, &name, &node)?;
    Ok(node.owner)
}

fn check_not_revoked(tx: &mut dyn Transaction, id: &str) -> Result<(), Refusal> {
    match tx.get(Table::Revoked, id)? {
        None => Ok(()),
        Some(_) => Err(Refusal::new(Code::Revoked, "the node is revoked; it needs a new identity")),
    }
}

fn check_same_name(asked: &str, current: &str) -> Result<(), Refusal> {
    if asked == current {
        return Ok(());
    }
    Err(Refusal::new(Code::Renamed, format!("the node's name is {current}: sign a record for that")))
}

/// A newer record takes the place of the older; never the other way round.
fn take_record(node: &mut Node, record: &NodeRecord) -> Result<(), Refusal> {
    let held = BASE64.decode(&node.record).ok().and_then(|bytes| parse_record(&bytes).ok());
    if held.is_some_and(|held| record.timestamp < held.timestamp) {
        return Err(Refusal::invalid("a newer record of this node is known"));
    }
    node.record = BASE64.encode(emit_record(record));
    Ok(())
}

fn save(tx: &mut dyn Transaction, name: &str, node: &Node) -> Result<(), StoreError> {
    tx.save(Table::Nodes, name, node)?;
    tx.save(Table::Owners, &owner_key(&node.owner, name), &true)?;
    tx.save(Table::NodeIds, &node.id, &name)
}

/// The node, if it is the caller's to change.
fn owned(tx: &mut dyn Transaction, by: &Caller, name: &Fqdn) -> Result<Node, Refusal> {
    let node: Option<Node> = tx.find(Table::Nodes, name.as_str())?;
    node.filter(|node| node.owner == by.account || by.admin).ok_or_else(|| Refusal::not_found("node"))
}

fn nodes_of(tx: &mut dyn Transaction, owner: &str, limit: usize) -> Result<Vec<(String, Node)>, StoreError> {
    let names = tx.keys_below(Table::Owners, &owner_key(owner, ""), limit)?;
    let mut nodes = Vec::with_capacity(names.len());
    for name in names {
        if let Some(node) = tx.find(Table::Nodes, &name)? {
            nodes.push((name, node));
        }
    }
    Ok(nodes)
}

/// Where an account has as many nodes as it may, one that is revoked goes from the list (its id stays revoked).
fn make_room(tx: &mut dyn Transaction, owner: &str, most: usize) -> Result<(), Refusal> {
    if tx.keys_below(Table::Owners, &owner_key(owner, ""), most)?.len() < most {
        return Ok(());
    }
    let nodes = nodes_of(tx, owner, most)?;
    let gone = nodes.iter().find(|(_, node)| node.revoked.is_some());
    let (name, node) = gone.ok_or_else(|| Refusal::new(Code::Full, "the account has as many nodes as it may have"))?;
    tx.delete(Table::Nodes, name)?;
    tx.delete(Table::NodeIds, &node.id)?;
    tx.delete(Table::Owners, &owner_key(owner, name))?;
    Ok(())
}

fn owner_key(owner: &str, name: &str) -> String {
    format!("{owner}/{name}")
}
