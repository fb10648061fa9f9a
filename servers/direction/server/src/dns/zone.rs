//! What the zone says.
//!
//! ```text
//! DOMAIN                 SOA, NS
//! _ntm-dc._udp.DOMAIN    SRV: where the domain's DCs are
//! a DC's name            A, AAAA: real addresses;  TXT "ntm-cert=…": its certificate
//! a node's name          A, AAAA: virtual addresses;  TXT "ntm-node=…": its id
//! ```
//!
//! A question never gets more than three times its own bytes over UDP: additional records go first, then
//! everything but the bit that says to come over TCP.

use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, PoisonError, RwLock};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hickory_proto::op::{Edns, Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::rdata::{A, AAAA, HINFO, NS, SOA, SRV, TXT};
use hickory_proto::rr::{DNSClass, Name, RData, Record, RecordType};
use ntm_proto::id::Fqdn;
use ntm_proto::identity::ServerCert;
use ntm_proto::wire::identity::emit_cert;
use ntm_server::hex;

use crate::directory::Directory;
use crate::lookup::CERT_PREFIX;

/// A DNS header.
const HEADER: usize = 12;
/// What every path carries (the DNS flag day of 2020).
const MAX_UDP: u16 = 1_232;
/// The least that every asker takes (RFC 1035, 2.3.4).
const LEAST_UDP: u16 = 512;
/// Bytes over UDP for each byte of the question, as everywhere in this protocol.
const AMPLIFICATION: usize = 3;
/// How long the names of servers may be kept, in seconds.
const SERVER_TTL: u32 = 3_600;
/// How long it may be kept that there is no such name: a node may register any moment.
const NEGATIVE_TTL: u32 = 10;

/// What came of a question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answered {
    Found,
    NoData,
    NoSuchName,
    Refused,
    Malformed,
}

#[derive(Debug)]
pub(crate) struct Zone {
    domain: Fqdn,
    apex: Name,
    servers: RwLock<Vec<Server>>,
    directory: Arc<Directory>,
    ttl: u32,
    serial: u32,
}

#[derive(Debug)]
struct Server {
    name: Fqdn,
    records_name: Name,
    addresses: Vec<SocketAddr>,
    cert: String,
}

impl Zone {
    /// The zone of `domain`, served by these DCs, the own one first.
    pub(crate) fn new(domain: Fqdn, servers: &[ServerCert], directory: Arc<Directory>, ttl: u32, serial: u32) -> Self {
        let zone = Self { apex: absolute(&domain), domain, servers: RwLock::default(), directory, ttl, serial };
        zone.set_servers(servers);
        zone
    }

    pub(crate) fn set_servers(&self, servers: &[ServerCert]) {
        let servers = servers.iter().map(|cert| Server {
            name: cert.name.clone(),
            records_name: absolute(&cert.name),
            addresses: cert.addresses.clone(),
            cert: format!("{CERT_PREFIX}{}", STANDARD.encode(emit_cert(cert))),
        });
        *self.servers.write().unwrap_or_else(PoisonError::into_inner) = servers.collect();
    }

    /// Whether this is worth an answer at all: no answer is ever answered, so that two servers cannot be set to talk to
    /// each other.
    pub(crate) fn is_question(bytes: &[u8]) -> bool {
        bytes.len() >= HEADER && bytes[2] & 0x80 == 0
    }

    /// The answer over UDP, and whether it was too long to be given.
    pub(crate) fn answer_udp(&self, question: &[u8]) -> (Vec<u8>, Answered, bool) {
        let (mut message, answered, payload) = self.answer(question);
        let limit = usize::from(payload.clamp(LEAST_UDP, MAX_UDP)).min(AMPLIFICATION * question.len());
        if let Some(whole) = emit(&message).filter(|whole| whole.len() <= limit) {
            return (whole, answered, false);
        }
        message.additionals.clear();
        if let Some(less) = emit(&message).filter(|less| less.len() <= limit) {
            return (less, answered, false);
        }
        (self.truncated(question), answered, true)
    }

    pub(crate) fn answer_tcp(&self, question: &[u8]) -> (Vec<u8>, Answered) {
        let (message, answered, _) = self.answer(question);
        match emit(&message).filter(|whole| whole.len() <= usize::from(u16::MAX)) {
            Some(whole) => (whole, answered),
            None => (failure(question, ResponseCode::ServFail), Answered::Malformed),
        }
    }

    /// Only that the answer is to be had over TCP.
    pub(crate) fn truncated(&self, question: &[u8]) -> Vec<u8> {
        let Ok(asked) = Message::from_vec(question) else { return failure(question, ResponseCode::FormErr) };
        let mut message = Message::response(asked.metadata.id, OpCode::Query);
        message.metadata.truncation = true;
        message.metadata.authoritative = true;
        message.metadata.recursion_desired = asked.metadata.recursion_desired;
        message.add_queries(asked.queries.into_iter().take(1));
        if asked.edns.is_some() {
            message.set_edns(edns());
        }
        emit(&message).unwrap_or_else(|| failure(question, ResponseCode::ServFail))
    }

    fn answer(&self, question: &[u8]) -> (Message, Answered, u16) {
        let id = u16::from_be_bytes([question[0], question[1]]);
        let refuse = |code, answered| (Message::error_msg(id, OpCode::Query, code), answered, LEAST_UDP);
        let Ok(asked) = Message::from_vec(question) else {
            return refuse(ResponseCode::FormErr, Answered::Malformed);
        };
        if asked.metadata.message_type != MessageType::Query || asked.metadata.op_code != OpCode::Query {
            return refuse(ResponseCode::NotImp, Answered::Refused);
        }
        let [query] = &asked.queries[..] else { return refuse(ResponseCode::FormErr, Answered::Malformed) };
        let mut message = Message::response(id, OpCode::Query);
        message.metadata.recursion_desired = asked.metadata.recursion_desired;
        message.add_query(query.clone());
        let mut payload = LEAST_UDP;
        if let Some(asked) = &asked.edns {
            payload = asked.max_payload();
            let mut edns = edns();
            if asked.version() > 0 {
                // BADVERS (RFC 6891, 6.1.3): the high bits of the code stand in the OPT record.
                edns.set_rcode_high(1);
                message.set_edns(edns);
                return (message, Answered::Refused, payload);
            }
            message.set_edns(edns);
        }
        let answered = self.resolve(query, &mut message);
        (message, answered, payload)
    }

    /// Writes into the message what the zone says.
    fn resolve(&self, query: &Query, message: &mut Message) -> Answered {
        let kind = query.query_type();
        let ours = matches!(query.query_class(), DNSClass::IN | DNSClass::ANY) && self.apex.zone_of(query.name());
        if !ours || matches!(kind, RecordType::AXFR | RecordType::IXFR) {
            message.metadata.response_code = ResponseCode::Refused;
            return Answered::Refused;
        }
        message.metadata.authoritative = true;
        // A name that no node can have, such as one with other letters, is not there.
        let name = Fqdn::parse(&query.name().to_ascii()).ok();
        let records = name.and_then(|name| self.records(&name, query.name(), kind, &mut message.additionals));
        match records {
            Some(records) if records.is_empty() => {
                message.add_authority(self.soa(NEGATIVE_TTL));
                Answered::NoData
            }
            Some(records) => {
                message.add_answers(records);
                Answered::Found
            }
            None => {
                message.add_authority(self.soa(NEGATIVE_TTL));
                message.metadata.response_code = ResponseCode::NXDomain;
                Answered::NoSuchName
            }
        }
    }

    /// The records of this kind; `None` where there is no such name.
    fn records(&self, name: &Fqdn, asked: &Name, kind: RecordType, more: &mut Vec<Record>) -> Option<Vec<Record>> {
        let servers = self.servers.read().unwrap_or_else(PoisonError::into_inner);
        let record = |ttl, data| Record::from_rdata(asked.clone(), ttl, data);
        // Whoever wants everything gets one small record that says no (RFC 8482).
        let everything = || vec![record(SERVER_TTL, RData::HINFO(HINFO::new("RFC8482".into(), String::new())))];
        if *name == self.domain {
            return Some(match kind {
                RecordType::SOA => vec![self.soa(SERVER_TTL)],
                RecordType::NS => {
                    servers.iter().for_each(|server| more.extend(server.glue()));
                    let names = servers.iter().map(|server| RData::NS(NS(server.records_name.clone())));
                    names.map(|data| record(SERVER_TTL, data)).collect()
                }
                RecordType::ANY => everything(),
                _ => Vec::new(),
            });
        }
        let below = name.as_str().strip_suffix(self.domain.as_str())?.strip_suffix('.')?;
        if below == "_ntm-dc._udp" {
            return Some(match kind {
                RecordType::SRV => {
                    servers.iter().for_each(|server| more.extend(server.glue()));
                    servers.iter().flat_map(Server::services).map(|data| record(SERVER_TTL, data)).collect()
                }
                RecordType::ANY => everything(),
                _ => Vec::new(),
            });
        }
        if let Some(server) = servers.iter().find(|server| server.name == *name) {
            return Some(match kind {
                RecordType::TXT => vec![record(SERVER_TTL, RData::TXT(TXT::new(vec![server.cert.clone()])))],
                RecordType::ANY => everything(),
                _ => server
                    .glue()
                    .into_iter()
                    .filter(|glue| glue.record_type() == kind)
                    .map(|glue| record(SERVER_TTL, glue.data))
                    .collect(),
            });
        }
        if let Some(listed) = self.directory.find(name) {
            let data = match kind {
                RecordType::A => RData::A(A(listed.virtual4)),
                RecordType::AAAA => RData::AAAA(AAAA(listed.virtual6)),
                RecordType::TXT => RData::TXT(TXT::new(vec![format!("ntm-node={}", hex::encode(&listed.node.0))])),
                RecordType::ANY => return Some(everything()),
                _ => return Some(Vec::new()),
            };
            return Some(vec![record(self.ttl, data)]);
        }
        // A name without records that has names below it (RFC 8020).
        let is_above = |other: &Server| other.name.is_within(name);
        (below == "_udp" || servers.iter().any(is_above)).then(Vec::new)
    }

    fn soa(&self, ttl: u32) -> Record {
        let servers = self.servers.read().unwrap_or_else(PoisonError::into_inner);
        let primary = servers.first().map_or_else(|| self.apex.clone(), |server| server.records_name.clone());
        let mailbox = self.apex.prepend_label("hostmaster").unwrap_or_else(|_| self.apex.clone());
        let soa = SOA::new(primary, mailbox, self.serial, 3_600, 600, 86_400, NEGATIVE_TTL);
        Record::from_rdata(self.apex.clone(), ttl, RData::SOA(soa))
    }
}

impl Server {
    /// Its real addresses.
    fn glue(&self) -> Vec<Record> {
        let mut ips: Vec<IpAddr> = self.addresses.iter().map(SocketAddr::ip).collect();
        ips.sort_unstable();
        ips.dedup();
        let data = ips.into_iter().map(|ip| match ip {
            IpAddr::V4(ip) => RData::A(A(ip)),
            IpAddr::V6(ip) => RData::AAAA(AAAA(ip)),
        });
        data.map(|data| Record::from_rdata(self.records_name.clone(), SERVER_TTL, data)).collect()
    }

    fn services(&self) -> Vec<RData> {
        let mut ports: Vec<u16> = self.addresses.iter().map(SocketAddr::port).collect();
        ports.sort_unstable();
        ports.dedup();
        ports.into_iter().map(|port| RData::SRV(SRV::new(0, 1, port, self.records_name.clone()))).collect()
    }
}

fn edns() -> Edns {
    let mut edns = Edns::new();
    edns.set_max_payload(MAX_UDP);
    edns
}

fn emit(message: &Message) -> Option<Vec<u8>> {
    message.to_vec().ok()
}

/// A header and no more.
fn failure(question: &[u8], code: ResponseCode) -> Vec<u8> {
    let mut header = [0; HEADER];
    header[..2].copy_from_slice(&question[..2]);
    header[2] = 0x80 | question[2] & 0x79;
    header[3] = u16::from(code) as u8 & 0x0f;
    header.to_vec()
}

fn absolute(name: &Fqdn) -> Name {
    let mut name = Name::from_ascii(name.as_str()).expect("a name of the protocol is a name of the DNS");
    name.set_fqdn(true);
    name
}

#[cfg(test)]
mod tests {
    use ntm_direction::Stored;
    use ntm_proto::crypto::{Secret, default_provider};
    use ntm_proto::identity::{IdentityKey, Role};
    use ntm_proto::time::UnixTime;
    use proptest::prelude::*;

    use super::*;
    use crate::store::testing::application;

    fn zone() -> Zone {
        let provider = default_provider();
        let key = IdentityKey::from_seed(provider, Secret::new([1; 32]));
        let name = |text| Fqdn::parse(text).expect("a name");
        let addresses = vec!["192.0.2.1:4500".parse().expect("an address"), "[2001:db8::1]:4500".parse().expect("one")];
        let (domain, server) = (name("ntm.example"), name("dc1.eu.ntm.example"));
        let end = UnixTime::from_secs(2_000_000_000);
        let cert = ServerCert::sign(provider, &key, Role::Direction, domain.clone(), server, [2; 32], addresses, end);
        let directory = Arc::new(Directory::default());
        let application = application(7, 1);
        directory.list(&Stored {
            record: application.record,
            virtual4: [198, 18, 0, 7].into(),
            virtual6: application.virtual6,
            sequence: 1,
            wake_token: None,
        });
        Zone::new(domain, &[cert], directory, 60, 1)
    }

    fn ask(name: &str, kind: RecordType) -> (Message, Answered) {
        let mut asked = Message::query();
        asked.add_query(Query::query(Name::from_ascii(name).expect("a name"), kind));
        let asked = asked.to_vec().expect("emits");
        let (answer, answered) = zone().answer_tcp(&asked);
        (Message::from_vec(&answer).expect("parses"), answered)
    }

    fn answers(name: &str, kind: RecordType) -> Vec<String> {
        ask(name, kind).0.answers.iter().map(|record| record.data.to_string()).collect()
    }

    #[test]
    fn a_node_resolves_to_its_virtual_addresses_in_any_letters() {
        assert_eq!(answers("n7.ntm.example.", RecordType::A), ["198.18.0.7"]);
        assert_eq!(answers("N7.NTM.Example.", RecordType::A), ["198.18.0.7"]);
        assert!(answers("n7.ntm.example.", RecordType::AAAA)[0].starts_with("fd4e:544d:"));
        assert!(answers("n7.ntm.example.", RecordType::TXT)[0].contains("ntm-node="));
    }

    #[test]
    fn the_domain_says_where_its_coordinator_is_and_what_it_is_certified_as() {
        assert_eq!(answers("_ntm-dc._udp.ntm.example.", RecordType::SRV), ["0 1 4500 dc1.eu.ntm.example."]);
        let (message, _) = ask("_ntm-dc._udp.ntm.example.", RecordType::SRV);
        assert_eq!(message.additionals.len(), 2);
        assert_eq!(answers("dc1.eu.ntm.example.", RecordType::A), ["192.0.2.1"]);
        assert!(answers("dc1.eu.ntm.example.", RecordType::TXT)[0].contains("ntm-cert="));
        assert_eq!(answers("ntm.example.", RecordType::NS), ["dc1.eu.ntm.example."]);
        assert_eq!(answers("ntm.example.", RecordType::SOA).len(), 1);
    }

    #[test]
    fn no_such_name_no_such_record_and_not_our_zone_are_three_things() {
        for (name, kind, expected) in [
            ("nobody.ntm.example.", RecordType::A, Answered::NoSuchName),
            ("a--.ntm.example.", RecordType::A, Answered::NoSuchName),
            ("n7.ntm.example.", RecordType::MX, Answered::NoData),
            ("ntm.example.", RecordType::A, Answered::NoData),
            ("_udp.ntm.example.", RecordType::A, Answered::NoData),
            ("eu.ntm.example.", RecordType::A, Answered::NoData),
            ("example.", RecordType::SOA, Answered::Refused),
            ("ntm.example.", RecordType::AXFR, Answered::Refused),
            ("n7.ntm.example.", RecordType::ANY, Answered::Found),
        ] {
            let (message, answered) = ask(name, kind);
            assert_eq!(answered, expected, "{name} {kind}");
            let denied = matches!(expected, Answered::NoSuchName | Answered::NoData);
            assert_eq!(message.authorities.len(), usize::from(denied), "{name} {kind}");
            let denied = message.metadata.response_code == ResponseCode::NXDomain;
            assert_eq!(denied, expected == Answered::NoSuchName, "{name} {kind}");
        }
    }

    #[test]
    fn no_answer_over_udp_is_longer_than_three_times_its_question() {
        let zone = zone();
        for name in
            ["ntm.example.", "_ntm-dc._udp.ntm.example.", "dc1.eu.ntm.example.", "n7.ntm.example.", "x.ntm.example."]
        {
            for kind in
                [RecordType::A, RecordType::TXT, RecordType::SRV, RecordType::NS, RecordType::SOA, RecordType::ANY]
            {
                for with_edns in [false, true] {
                    let mut asked = Message::query();
                    asked.add_query(Query::query(Name::from_ascii(name).expect("a name"), kind));
                    if with_edns {
                        asked.set_edns(edns());
                    }
                    let asked = asked.to_vec().expect("emits");
                    let (answer, _, truncated) = zone.answer_udp(&asked);
                    assert!(answer.len() <= 3 * asked.len(), "{name} {kind}");
                    let answer = Message::from_vec(&answer).expect("parses");
                    assert_eq!(answer.metadata.truncation, truncated);
                }
            }
        }
    }

    proptest! {
        #[test]
        fn garbage_is_answered_with_less_or_not_at_all(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
            if Zone::is_question(&bytes) {
                let zone = zone();
                prop_assert!(zone.answer_udp(&bytes).0.len() <= 3 * bytes.len());
                prop_assert!(zone.truncated(&bytes).len() <= 3 * bytes.len());
                zone.answer_tcp(&bytes);
            }
        }
    }
}
