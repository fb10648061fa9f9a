//! Who this server is: its key, its credentials, and the core's configuration made of both and of the file.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use ntm_direction::{PinnedDomain, RelayConfig};
use ntm_proto::crypto::{Secret, default_provider};
use ntm_proto::id::RelayId;
use ntm_proto::identity::{NoiseKey, Role};
use ntm_proto::session::relay_token::GrantKey;
use ntm_proto::time::WallClock;
use ntm_server::clock::unix_now;
use ntm_server::credentials::{Credentials, Direction, RoleCredentials};
use ntm_server::files::read_secret;
use ntm_server::{Failure, hex};

use crate::config::{Cert, Config};

/// Certificates that end this soon are complained about.
const ENDS_SOON: Duration = Duration::from_secs(14 * 86_400);

/// This server's key and what it was given for it.
#[derive(Clone, Debug)]
pub(crate) struct Identity {
    pub noise: NoiseKey,
    pub credentials: Credentials,
}

impl Identity {
    /// Reads key and credentials, and says what to do where they do not fit.
    pub(crate) fn load(config: &Config) -> Result<Self, Failure> {
        let noise = read_key(&config.noise_key)
            .map(|secret| NoiseKey::from_secret(default_provider(), secret))
            .map_err(|why| why.way_out("`ntm-dc init` makes the key"))?;
        let name = config.credentials.display();
        let advice = "`ntm-as server add` makes credentials for this server's request.json";
        let sealed = read_secret(&config.credentials).map_err(|why| why.way_out(advice))?;
        let credentials = Credentials::open(&sealed, &noise, None)
            .map_err(|why| Failure::new(format!("{name}: {why}")).way_out(advice))?;
        let identity = Self { noise, credentials };
        identity.direction().map_err(|why| Failure::new(format!("{name}: {why}")).way_out(advice))?;
        identity.check_cert().map_err(|why| Failure::new(format!("{name}: {}", why.0)).way_out(why.1))?;
        Ok(identity)
    }

    /// What a DC was given.
    pub(crate) fn direction(&self) -> Result<&Direction, &'static str> {
        match &self.credentials.role {
            RoleCredentials::Direction(direction) if !direction.service_keys.is_empty() => Ok(direction),
            RoleCredentials::Direction(_) => Err("the credentials hold no key for tickets"),
            RoleCredentials::Relay(_) => Err("these are a relay's credentials"),
        }
    }

    /// Whether others will believe the certificate now; if not, why, and the way out.
    pub(crate) fn check_cert(&self) -> Result<(), (String, &'static str)> {
        let cert = &self.credentials.cert;
        let now = unix_now();
        if now >= cert.not_after {
            let ago = (now.as_millis() - cert.not_after.as_millis()) / 86_400_000;
            let what = format!("the certificate of {} ended {ago} days ago by this host's clock", cert.name);
            return Err((what, "set the clock, or have the account server renew it"));
        }
        let sound = cert.verify(default_provider(), &self.credentials.domain_key, Role::Direction, now);
        if sound.is_err() || cert.noise_key != *self.noise.public() {
            return Err((
                format!("the certificate of {} does not hold for this server's key", cert.name),
                "have the account server make new credentials for this server's request.json",
            ));
        }
        if cert.not_after < now + ENDS_SOON {
            tracing::warn!("the certificate of {} ends within two weeks", cert.name);
        }
        Ok(())
    }

    /// Where nodes are served.
    pub(crate) fn listen(&self, config: &Config) -> Vec<SocketAddr> {
        if config.listen.is_empty() { self.credentials.cert.addresses.clone() } else { config.listen.clone() }
    }

    /// What the core is told. `addresses` are those that were bound.
    pub(crate) fn core(
        &self,
        config: &Config,
        addresses: Vec<SocketAddr>,
        wall: WallClock,
    ) -> Result<ntm_direction::Config, Failure> {
        let direction = self.direction().map_err(Failure::new)?;
        let service_keys = direction.service_keys.iter().map(|key| key.0.clone()).collect();
        let mut core = ntm_direction::Config::new(
            default_provider(),
            wall,
            self.credentials.cert.clone(),
            self.noise.clone(),
            self.credentials.domain_key,
            service_keys,
        );
        core.addresses = addresses;
        core.relays = relays(direction);
        // Siblings are of use only where they share the registry.
        if config.is_shared() {
            core.siblings = direction.siblings.iter().map(|cert| (cert.name.clone(), cert.clone())).collect();
        }
        let pinned = config.domains.iter().map(|domain| {
            let cert = domain.cert.as_ref().map(|cert| {
                let Cert(cert) = cert.get_ref();
                cert.clone()
            });
            (domain.name.clone(), PinnedDomain { domain_key: domain.domain_key, cert })
        });
        core.domains = pinned.collect();
        core.pool4 = pool4(config);
        core.prefix6 = config.nodes.virtual6.get_ref().0;
        (core.lease, core.keep_alive) = (config.lease(), config.keep_alive());
        core.grant_lifetime = Duration::from_secs(config.relays.grant_lifetime);
        core.grant_rate = config.relays.grant_rate;
        core.max_nodes = config.nodes.most;
        core.handshakes_per_second = config.nodes.handshakes_per_second;
        core.store_first = true;
        Ok(core)
    }
}

/// The pool of virtual IPv4 addresses.
pub(crate) fn pool4(config: &Config) -> (std::net::Ipv4Addr, u8) {
    let network = config.nodes.virtual4.get_ref();
    (network.0, network.1)
}

/// A key of 32 bytes, written in hexadecimal.
pub(crate) fn read_key(path: &Path) -> Result<Secret, Failure> {
    let content = read_secret(path)?;
    let text = std::str::from_utf8(&content).unwrap_or_default().trim();
    hex::decode_array(text)
        .map(Secret::new)
        .map_err(|_| Failure::new(format!("{}: not a key of 64 hexadecimal digits", path.display())))
}

fn relays(direction: &Direction) -> BTreeMap<RelayId, RelayConfig> {
    let relay = |relay: &ntm_server::credentials::GrantedRelay| RelayConfig {
        name: relay.name.clone(),
        grant: GrantKey { key_id: relay.grant_key.number, key: relay.grant_key.key.0.clone() },
        psk: relay.psk.0.clone(),
        addresses: relay.addresses.clone(),
    };
    direction.relays.iter().map(|(&id, granted)| (RelayId(id), relay(granted))).collect()
}
