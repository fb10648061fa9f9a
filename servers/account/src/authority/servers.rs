//! The domain's DCs and RSs: their certificates, what they must know of each other, and in which version.
//!
//! | what changes | whose credentials get a new version |
//! |---|---|
//! | a relay comes or goes | its own, every DC's |
//! | a DC comes or goes | its own, every DC's and every relay's |
//! | a certificate is renewed | as if the server had come |
//! | the service key is rotated, or an old one ends | every DC's |
//! | a relay's grant key is rotated | its own; every DC's after the lead |

use std::collections::BTreeMap;
use std::net::SocketAddr;

use ntm_proto::crypto::{Secret, default_provider};
use ntm_proto::id::Fqdn;
use ntm_proto::identity::{Role, ServerCert};
use ntm_proto::time::UnixTime;
use ntm_proto::wire::identity::{emit_cert, parse_cert};
use ntm_server::clock::{random, unix_now};
use ntm_server::credentials::{
    Credentials, Direction, GrantedRelay, Key, NumberedKey, Relay as RelayCredentials, Request, RoleCredentials,
};
use ntm_server::hex;

use super::audit::note;
use super::grant_keys::minting_key;
use super::{Authority, Caller, nodes};
use crate::records::{Relay, Server};
use crate::refusal::{Code, Refusal};
use crate::store::{END, Range, StoreError, Table, Transaction};

/// Servers of a domain.
const MAX_SERVERS: usize = 4_096;
const MAX_ADDRESSES: usize = 16;
const VERSIONS: &str = "credentials_version";
const RELAY_IDS: &str = "relay_ids";

impl Authority {
    /// Certifies a server. The same server again gets a new certificate, with the addresses it asks for now.
    pub fn add_server(&self, by: &Caller, request: &Request) -> Result<Vec<u8>, Refusal> {
        self.check_request(request)?;
        self.write(|tx| {
            let known: Option<Server> = tx.find(Table::Servers, request.name.as_str())?;
            if let Some(known) = &known {
                let same = known.request.noise_key == request.noise_key && known.request.role == request.role;
                if !same {
                    let what = format!("{} is another server: remove it first", request.name);
                    return Err(Refusal::new(Code::Taken, what));
                }
            } else {
                nodes::check_free(tx, &request.name)?;
                if all(tx)?.len() >= MAX_SERVERS {
                    return Err(Refusal::new(Code::Full, "the domain has as many servers as it may have"));
                }
            }
            let relay = match (request.role, known) {
                (Role::Direction, _) => None,
                (Role::Relay, Some(Server { relay: Some(relay), .. })) => Some(relay),
                (Role::Relay, _) => Some(new_relay(tx)?),
            };
            let added = unix_now().as_millis();
            let cert = self.certify(request);
            let server = Server { request: request.clone(), cert, version: 0, added, relay };
            tx.save(Table::Servers, request.name.as_str(), &server)?;
            tell_servers(tx, request.role)?;
            let renewed = vec![request.name.to_string()];
            bump(tx, &renewed)?;
            Ok::<_, Refusal>(note(tx, by, "server added", request.name.as_str())?)
        })?;
        self.tell();
        self.credentials(&request.name, 0)?.ok_or_else(|| Refusal::not_found("server"))
    }

    pub fn servers(&self) -> Result<Vec<(String, Server)>, Refusal> {
        Ok(self.read(all)?)
    }

    /// Takes a server out. Its certificate still holds until its end, but no other server is told of it any more.
    pub fn remove_server(&self, by: &Caller, name: &Fqdn) -> Result<(), Refusal> {
        self.write(|tx| {
            let server: Option<Server> = tx.find(Table::Servers, name.as_str())?;
            let server = server.ok_or_else(|| Refusal::not_found("server"))?;
            tx.delete(Table::Servers, name.as_str())?;
            tell_servers(tx, server.request.role)?;
            Ok::<_, Refusal>(note(tx, by, "server removed", name.as_str())?)
        })?;
        self.tell();
        Ok(())
    }

    /// Sealed credentials of a server, if they are newer than version `after`.
    pub fn credentials(&self, name: &Fqdn, after: u64) -> Result<Option<Vec<u8>>, Refusal> {
        let found = self.read(|tx| {
            let server: Option<Server> = tx.find(Table::Servers, name.as_str())?;
            let server = server.ok_or_else(|| Refusal::not_found("server"))?;
            let others = if server.version > after { all(tx)? } else { Vec::new() };
            Ok::<_, Refusal>((server, others))
        })?;
        let (server, others) = found;
        if server.version <= after {
            return Ok(None);
        }
        let secrets = self.secrets();
        let role = match &server.relay {
            None => RoleCredentials::Direction(Direction {
                service_keys: secrets.service_keys(),
                relays: granted_relays(&others)?,
                siblings: certs(&others, Role::Direction, Some(name.as_str()))?,
            }),
            Some(relay) => RoleCredentials::Relay(RelayCredentials {
                id: relay.id,
                grant_keys: relay.grant_keys.clone(),
                psk: relay.psk.clone(),
                directors: certs(&others, Role::Direction, None)?,
            }),
        };
        let domain_key = *secrets.domain_key().public();
        let credentials =
            Credentials { version: server.version, domain_key, cert: cert(name.as_str(), &server)?, role };
        let sealed = credentials.seal(secrets.domain_key(), &server.request.noise_key);
        sealed.map(Some).map_err(|why| Refusal::new(Code::Internal, format!("cannot seal credentials: {why}")))
    }

    /// The certificates of the DCs, in hexadecimal, for `/.well-known/ntmobile`.
    pub fn directions(&self) -> Result<Vec<String>, Refusal> {
        Ok(self.read(|tx| certificates(tx, Role::Direction))?)
    }

    pub fn domain_key(&self) -> String {
        hex::encode(self.secrets().domain_key().public())
    }

    /// A new service key: given to the DCs now, used after the lead. When it seals its first ticket.
    pub fn rotate_service_key(&self, by: &Caller, at_once: bool) -> Result<UnixTime, Refusal> {
        let lead = if at_once { std::time::Duration::ZERO } else { self.rules().key_lead };
        let failed = |why: ntm_server::Failure| Refusal::new(Code::Internal, why.to_string());
        let use_from = self.secrets_mut().rotate(unix_now(), lead).map_err(failed)?;
        self.write(|tx| {
            tell_role(tx, Role::Direction)?;
            note(tx, by, "service key rotated", self.domain.as_str())
        })?;
        self.tell();
        Ok(use_from)
    }

    pub(super) fn prune_service_keys(&self, now: UnixTime) -> Result<(), Refusal> {
        let life = self.rules().ticket_life;
        let failed = |why: ntm_server::Failure| Refusal::new(Code::Internal, why.to_string());
        let pruned = {
            let mut secrets = self.secrets_mut();
            secrets.reload().and_then(|()| secrets.prune(now, life)).map_err(failed)?
        };
        if pruned {
            self.write(|tx| tell_role(tx, Role::Direction))?;
            self.tell();
        }
        Ok(())
    }

    /// Renews certificates of which half the life is over.
    pub(super) fn renew_certificates(&self, now: UnixTime) -> Result<(), Refusal> {
        let half = self.rules().certificate_life / 2;
        let due = |name: &str, server: &Server| cert(name, server).map(|cert| cert.not_after <= now + half);
        let renewed = self.write(|tx| {
            let mut renewed = 0;
            for (name, mut server) in all(tx)? {
                if due(&name, &server)? {
                    server.cert = self.certify(&server.request);
                    tx.save(Table::Servers, &name, &server)?;
                    tell_servers(tx, server.request.role)?;
                    bump(tx, std::slice::from_ref(&name))?;
                    note(tx, &Caller::operator(), "certificate renewed", &name)?;
                    renewed += 1;
                }
            }
            Ok::<_, StoreError>(renewed)
        })?;
        if renewed > 0 {
            self.tell();
        }
        Ok(())
    }

    fn check_request(&self, request: &Request) -> Result<(), Refusal> {
        if request.domain != self.domain {
            return Err(Refusal::invalid(format!("the request is for {}, this is {}", request.domain, self.domain)));
        }
        if request.name == self.domain || !request.name.is_within(&self.domain) {
            return Err(Refusal::invalid(format!("the server's name must stand below {}", self.domain)));
        }
        let usable = |address: &SocketAddr| !address.ip().is_unspecified() && address.port() != 0;
        if !(1..=MAX_ADDRESSES).contains(&request.addresses.len()) || !request.addresses.iter().all(usable) {
            return Err(Refusal::invalid(format!("a server has 1 to {MAX_ADDRESSES} addresses that nodes can reach")));
        }
        Ok(())
    }

    fn certify(&self, request: &Request) -> String {
        let cert = ServerCert::sign(
            default_provider(),
            self.secrets().domain_key(),
            request.role,
            self.domain.clone(),
            request.name.clone(),
            request.noise_key,
            request.addresses.clone(),
            unix_now() + self.rules().certificate_life,
        );
        hex::encode(&emit_cert(&cert))
    }
}

/// The certificates of the servers of `role`.
pub(super) fn certificates(tx: &mut dyn Transaction, role: Role) -> Result<Vec<String>, StoreError> {
    let servers = all(tx)?.into_iter();
    Ok(servers.filter(|(_, server)| server.request.role == role).map(|(_, server)| server.cert).collect())
}

pub(super) fn all(tx: &mut dyn Transaction) -> Result<Vec<(String, Server)>, StoreError> {
    tx.list(Table::Servers, Range { from: "", until: END, limit: MAX_SERVERS, backwards: false })
}

fn new_relay(tx: &mut dyn Transaction) -> Result<Relay, StoreError> {
    let id = u32::try_from(tx.count_up(RELAY_IDS)? + 1);
    let id = id.map_err(|_| StoreError::Unavailable("there are no relay ids left".into()))?;
    let grant_keys = vec![NumberedKey { number: 1, key: Key(Secret::new(random())) }];
    Ok(Relay { id, grant_keys, minting: 1, mints_from: 0, psk: Key(Secret::new(random())) })
}

/// Gives new versions to all who must know of a change to a server of `role`.
fn tell_servers(tx: &mut dyn Transaction, role: Role) -> Result<(), StoreError> {
    tell_role(tx, Role::Direction)?;
    if role == Role::Direction { tell_role(tx, Role::Relay) } else { Ok(()) }
}

pub(super) fn tell_role(tx: &mut dyn Transaction, role: Role) -> Result<(), StoreError> {
    let servers = all(tx)?.into_iter();
    let names: Vec<_> = servers.filter(|(_, server)| server.request.role == role).map(|(name, _)| name).collect();
    bump(tx, &names)
}

pub(super) fn bump(tx: &mut dyn Transaction, names: &[String]) -> Result<(), StoreError> {
    // One counter for all: a server that is removed and added again goes on counting.
    let version = tx.count_up(VERSIONS)? + 1;
    for name in names {
        if let Some(mut server) = tx.find::<Server>(Table::Servers, name)? {
            server.version = version;
            tx.save(Table::Servers, name, &server)?;
        }
    }
    Ok(())
}

fn cert(name: &str, server: &Server) -> Result<ServerCert, StoreError> {
    let corrupt = || StoreError::Corrupt(format!("the certificate of {name}"));
    parse_cert(&hex::decode(&server.cert).map_err(|_| corrupt())?).map_err(|_| corrupt())
}

fn certs(servers: &[(String, Server)], role: Role, except: Option<&str>) -> Result<Vec<ServerCert>, StoreError> {
    let wanted = servers.iter().filter(|(name, server)| server.request.role == role && except != Some(name));
    wanted.map(|(name, server)| cert(name, server)).collect()
}

fn granted_relays(servers: &[(String, Server)]) -> Result<BTreeMap<u32, GrantedRelay>, StoreError> {
    let relays = servers.iter().filter_map(|(name, server)| server.relay.as_ref().map(|relay| (name, server, relay)));
    relays
        .map(|(name, server, relay)| {
            let minting = minting_key(relay).ok_or_else(|| StoreError::Corrupt(format!("grant keys of {name}")))?;
            let granted = GrantedRelay {
                name: server.request.name.clone(),
                grant_key: minting.clone(),
                psk: relay.psk.clone(),
                addresses: server.request.addresses.clone(),
            };
            Ok((relay.id, granted))
        })
        .collect()
}
