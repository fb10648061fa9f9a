//! The domain's keys, and what is handed out under them.

use std::fs::{DirBuilder, OpenOptions};
use std::io::{self, Write as _};
use std::net::SocketAddr;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use ntm_direction::{Config as DirectionConfig, RelayConfig as Granting};
use ntm_proto::crypto::{Secret, default_provider};
use ntm_proto::id::{AccountPseudonym, Fqdn, RelayId};
use ntm_proto::identity::{IdentityKey, NodeRecord, NoiseKey, Role, ServerCert, Ticket};
use ntm_proto::session::relay_token::GrantKey;
use ntm_proto::time::{Instant, UnixTime, WallClock};
use ntm_proto::wire::identity::{emit_cert, emit_record};
use ntm_relay::{Capacity, Config as RelayConfig, Director};

const VALIDITY: Duration = Duration::from_secs(24 * 3_600);
const NAME: &str = "ntm.example";

pub(crate) struct Domain {
    name: Fqdn,
    key: IdentityKey,
    service: Secret,
    direction_noise: NoiseKey,
    direction_cert: Option<ServerCert>,
    relay: Option<(RelayId, Granting)>,
}

impl Domain {
    pub(crate) fn new() -> Self {
        Self {
            name: Fqdn::parse(NAME).expect("a proper name"),
            key: IdentityKey::from_seed(default_provider(), Secret::new(random())),
            service: Secret::new(random()),
            direction_noise: noise(),
            direction_cert: None,
            relay: None,
        }
    }

    /// The relay's configuration; to be made before the coordinator's, which must know of it.
    pub(crate) fn relay(&mut self, address: SocketAddr, director: SocketAddr) -> RelayConfig {
        let noise_key = noise();
        let cert = self.cert(Role::Relay, "rs1", &noise_key, address);
        let grant = GrantKey { key_id: 1, key: Secret::new(random()) };
        let psk = Secret::new(random());
        let granting =
            Granting { name: cert.name.clone(), grant: grant.clone(), psk: psk.clone(), addresses: vec![address] };
        self.relay = Some((RelayId(1), granting));
        RelayConfig {
            id: RelayId(1),
            cert,
            noise_key,
            grant_keys: vec![grant],
            directors: vec![Director { noise_key: *self.direction_noise.public(), addresses: vec![director], psk }],
            addresses: vec![address],
            capacity: Capacity { grants: 100_000, bytes_per_second: 1_250_000_000, rate_per_account: 0 },
            wall: wall(),
            provider: default_provider(),
        }
    }

    pub(crate) fn direction(&mut self, address: SocketAddr) -> DirectionConfig {
        let cert = self.cert(Role::Direction, "dc1", &self.direction_noise, address);
        self.direction_cert = Some(cert.clone());
        let key = self.direction_noise.clone();
        let services = vec![self.service.clone()];
        let mut config = DirectionConfig::new(default_provider(), wall(), cert, key, *self.key.public(), services);
        config.relays.extend(self.relay.clone());
        config
    }

    /// Makes a node: its keys, its login, its configuration.
    pub(crate) fn log_in(&self, label: &str, directory: &Path, interfaces: &[String]) -> io::Result<()> {
        let state = directory.join("state");
        DirBuilder::new().recursive(true).mode(0o700).create(&state)?;
        let (identity_seed, noise_secret): ([u8; 32], [u8; 32]) = (random(), random());
        let provider = default_provider();
        let identity = IdentityKey::from_seed(provider, Secret::new(identity_seed));
        let noise = NoiseKey::from_secret(provider, Secret::new(noise_secret));
        let name = self.child(label);
        let issued = unix_now();
        let record =
            NodeRecord::sign(provider, &identity, name.clone(), *noise.public(), self.name.clone(), false, issued);
        let key: [u8; 32] = random();
        let ticket = Ticket {
            node: record.node_id(),
            record_digest: record.digest(),
            key: Secret::new(key),
            account: AccountPseudonym(random()),
            expires: issued + VALIDITY,
        };
        let directions: Vec<String> = self.direction_cert.iter().map(|cert| hex(&emit_cert(cert))).collect();
        let login = serde_json::json!({
            "record": hex(&emit_record(&record)),
            "ticket": hex(&ticket.seal(&self.service, random())),
            "key": hex(&key),
            "expires": (issued + VALIDITY).as_millis(),
            "domain_key": hex(self.key.public()),
            "directions": directions,
        });
        let keys = serde_json::json!({ "identity": hex(&identity_seed), "noise": hex(&noise_secret) });
        write(&state.join("keys.json"), &keys.to_string())?;
        write(&state.join("login.json"), &login.to_string())?;
        let include = interfaces.iter().map(|name| format!("\"{name}\"")).collect::<Vec<_>>().join(", ");
        let config = format!(
            "name = \"{name}\"\nstate = \"{}\"\n\n[interfaces]\ninclude = [{include}]\n",
            state.canonicalize()?.display()
        );
        write(&directory.join("config.toml"), &config)
    }

    fn cert(&self, role: Role, label: &str, key: &NoiseKey, address: SocketAddr) -> ServerCert {
        let not_after = unix_now() + VALIDITY;
        let (domain, name) = (self.name.clone(), self.child(label));
        ServerCert::sign(default_provider(), &self.key, role, domain, name, *key.public(), vec![address], not_after)
    }

    fn child(&self, label: &str) -> Fqdn {
        Fqdn::parse(&format!("{label}.{}", self.name)).expect("labels on the command line are proper")
    }
}

/// The calendar at the drivers' origin.
pub(crate) fn wall() -> WallClock {
    WallClock::new(Instant::ZERO, unix_now())
}

pub(crate) fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).expect("a host that runs tests has randomness");
    bytes
}

fn noise() -> NoiseKey {
    NoiseKey::from_secret(default_provider(), Secret::new(random()))
}

fn unix_now() -> UnixTime {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    UnixTime::from_millis(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

fn write(path: &Path, text: &str) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
    file.write_all(text.as_bytes())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
