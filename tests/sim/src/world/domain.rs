//! A provider domain: the keys that its account server would hold, and the configurations it hands out.

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

use ntm_direction::{Config as DirectorConfig, ForeignDc, RelayConfig as GrantingRelay};
use ntm_node::{Config as NodeConfig, Director as KnownDirector};
use ntm_proto::crypto::{self, Secret};
use ntm_proto::id::{AccountPseudonym, Fqdn, RelayId};
use ntm_proto::identity::{IdentityKey, NodeRecord, NoiseKey, Role, ServerCert, Ticket};
use ntm_proto::session::relay_token::GrantKey;
use ntm_proto::time::UnixTime;
use ntm_relay::{Capacity, Config as RelayConfig, Director as ReportedTo};

use super::World;
use crate::rng::Dice;

const VALIDITY: Duration = Duration::from_secs(90 * 24 * 3_600);

struct Relay {
    id: RelayId,
    name: Fqdn,
    grant: GrantKey,
    psk: Secret,
    addresses: Vec<SocketAddr>,
}

pub struct Domain {
    name: Fqdn,
    key: IdentityKey,
    service: Secret,
    relays: Vec<Relay>,
    /// Made before the servers are, so that relays know the coordinators they will report to.
    director_noise: NoiseKey,
    director_addresses: Vec<SocketAddr>,
    director_certs: Vec<ServerCert>,
}

fn noise(dice: &mut Dice) -> NoiseKey {
    NoiseKey::from_secret(crypto::default_provider(), Secret::new(dice.seed()))
}

impl Domain {
    pub(crate) fn new(name: Fqdn, dice: &mut Dice) -> Self {
        let key = IdentityKey::from_seed(crypto::default_provider(), Secret::new(dice.seed()));
        Self {
            name,
            key,
            service: Secret::new(dice.seed()),
            relays: Vec::new(),
            director_noise: noise(dice),
            director_addresses: Vec::new(),
            director_certs: Vec::new(),
        }
    }

    pub fn name(&self) -> &Fqdn {
        &self.name
    }

    fn child(&self, label: &str) -> Fqdn {
        Fqdn::parse(&format!("{label}.{}", self.name)).expect("labels of a scenario are proper")
    }

    fn cert(&self, role: Role, name: Fqdn, key: &NoiseKey, addresses: &[SocketAddr]) -> ServerCert {
        ServerCert::sign(
            crypto::default_provider(),
            &self.key,
            role,
            self.name.clone(),
            name,
            *key.public(),
            addresses.to_vec(),
            World::wall().unix(ntm_proto::time::Instant::ZERO) + VALIDITY,
        )
    }

    /// Where the domain's coordinator will be: relays that are added before it report there.
    pub fn expect_director(&mut self, addresses: Vec<SocketAddr>) {
        self.director_addresses = addresses;
    }

    pub(crate) fn director_config(
        &mut self,
        number: usize,
        addresses: Vec<SocketAddr>,
        dice: &mut Dice,
    ) -> DirectorConfig {
        let key = if self.director_certs.is_empty() { self.director_noise.clone() } else { noise(dice) };
        let cert = self.cert(Role::Direction, self.child(&format!("dc{number}")), &key, &addresses);
        self.director_certs.push(cert.clone());
        self.director_addresses = addresses;
        let mut config = DirectorConfig::new(
            crypto::default_provider(),
            World::wall(),
            cert,
            key,
            *self.key.public(),
            vec![self.service.clone()],
        );
        config.relays = self
            .relays
            .iter()
            .map(|relay| {
                let granting = GrantingRelay {
                    name: relay.name.clone(),
                    grant: relay.grant.clone(),
                    psk: relay.psk.clone(),
                    addresses: relay.addresses.clone(),
                };
                (relay.id, granting)
            })
            .collect::<BTreeMap<_, _>>();
        config
    }

    pub(crate) fn relay_config(&mut self, number: usize, addresses: Vec<SocketAddr>, dice: &mut Dice) -> RelayConfig {
        let key = noise(dice);
        let id = RelayId(u32::try_from(number).expect("few relays") + 1);
        let name = self.child(&format!("rs{number}"));
        let cert = self.cert(Role::Relay, name.clone(), &key, &addresses);
        let grant = GrantKey { key_id: 1, key: Secret::new(dice.seed()) };
        let psk = Secret::new(dice.seed());
        self.relays.push(Relay { id, name, grant: grant.clone(), psk: psk.clone(), addresses: addresses.clone() });
        let directors = if self.director_addresses.is_empty() {
            Vec::new()
        } else {
            vec![ReportedTo {
                noise_key: *self.director_noise.public(),
                addresses: self.director_addresses.clone(),
                psk,
            }]
        };
        RelayConfig {
            id,
            cert,
            noise_key: key,
            grant_keys: vec![grant],
            directors,
            addresses,
            capacity: Capacity { grants: 100_000, bytes_per_second: 125_000_000, rate_per_account: 0 },
            wall: World::wall(),
            provider: crypto::default_provider(),
        }
    }

    /// What a login would give the node of this name.
    pub(crate) fn node_config(&self, label: &str, dice: &mut Dice) -> NodeConfig {
        let provider = crypto::default_provider();
        let identity = IdentityKey::from_seed(provider, Secret::new(dice.seed()));
        let key = noise(dice);
        let now = World::wall().unix(ntm_proto::time::Instant::ZERO);
        let record =
            NodeRecord::sign(provider, &identity, self.child(label), *key.public(), self.name.clone(), false, now);
        let ticket_key = Secret::new(dice.seed());
        let mut nonce = [0; 24];
        dice.fill(&mut nonce);
        let ticket = self.ticket(&record, &ticket_key, now + VALIDITY, nonce);
        NodeConfig {
            provider,
            record,
            noise: key,
            ticket,
            ticket_key,
            directors: self.known_directors(),
            relays: self.relays.iter().flat_map(|relay| relay.addresses.iter().copied()).collect(),
            wall: World::wall(),
            wake_token: None,
        }
    }

    /// A ticket with the key `key` for the node of this record, sealed to the coordinators.
    pub fn ticket(&self, record: &NodeRecord, key: &Secret, expires: UnixTime, nonce: [u8; 24]) -> Vec<u8> {
        let account = AccountPseudonym([0xac; 8]);
        Ticket { node: record.node_id(), record_digest: record.digest(), key: key.clone(), account, expires }
            .seal(&self.service, nonce)
    }

    /// The coordinators there are, in the order they came; before the first, the one that is expected.
    fn known_directors(&self) -> Vec<KnownDirector> {
        if self.director_certs.is_empty() {
            let noise_key = *self.director_noise.public();
            return vec![KnownDirector { noise_key, addresses: self.director_addresses.clone() }];
        }
        let known = |cert: &ServerCert| KnownDirector { noise_key: cert.noise_key, addresses: cert.addresses.clone() };
        self.director_certs.iter().map(known).collect()
    }

    /// What another domain's coordinator finds when it looks for this one.
    pub(crate) fn foreign(&self) -> Option<ForeignDc> {
        let cert = self.director_certs.first()?.clone();
        Some(ForeignDc { cert, domain_key: *self.key.public() })
    }
}

impl fmt::Debug for Domain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Domain").field("name", &self.name).field("relays", &self.relays.len()).finish_non_exhaustive()
    }
}
