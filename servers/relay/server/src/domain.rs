//! What the relay knows of its domain: its own key, and the credentials that the account server gave it.

use std::path::{Path, PathBuf};
use std::time::Duration;

use ntm_proto::crypto::{Secret, default_provider};
use ntm_proto::id::RelayId;
use ntm_proto::identity::{NoiseKey, Role};
use ntm_proto::session::GrantKey;
use ntm_relay::{Changes, Director};
use ntm_server::account_server::{AccountServer, LONG_POLL};
use ntm_server::clock::{Clock, unix_now};
use ntm_server::credentials::{Credentials, Relay, RoleCredentials};
use ntm_server::files::{read_secret, replace_secret};
use ntm_server::{Failure, ResultExt as _, hex};
use tokio::sync::mpsc;

use crate::config::Config;

/// Before the account server is asked again when it did not answer.
const RETRY: Duration = Duration::from_secs(10);
/// Within this time of the certificate's end the operator is warned.
const RENEW_BEFORE: Duration = Duration::from_secs(14 * 24 * 60 * 60);

/// Credentials that hold for this relay.
#[derive(Clone, Debug)]
pub(crate) struct Domain {
    noise_key: NoiseKey,
    credentials: Credentials,
    relay: Relay,
}

impl Domain {
    /// Reads key and credentials where the configuration says.
    pub(crate) fn load(config: &Config) -> Result<Self, Failure> {
        let noise_key = read_noise_key(&config.noise_key)?;
        let path = &config.credentials;
        let sealed = read_secret(path).map_err(|why| {
            why.way_out("the account server makes it: `ntm-as server add --request request.json --out credentials.bin`")
        })?;
        Self::open(&sealed, noise_key, None).map_err(|why| Failure::new(format!("{}: {why}", path.display())))
    }

    /// Opens sealed credentials; `before` is what they are to replace.
    fn open(sealed: &[u8], noise_key: NoiseKey, before: Option<&Self>) -> Result<Self, Failure> {
        let pinned = before.map(|before| &before.credentials.domain_key);
        let credentials = Credentials::open(sealed, &noise_key, pinned)
            .map_err(|why| Failure::new(why.to_string()).way_out("fetch those made for this relay's noise.key"))?;
        let RoleCredentials::Relay(relay) = credentials.role.clone() else {
            return Err(Failure::new("these are the credentials of a direction server"));
        };
        let cert = &credentials.cert;
        let genuine = cert.verify(default_provider(), &credentials.domain_key, Role::Relay, unix_now());
        if cert.role != Role::Relay || cert.noise_key != *noise_key.public() {
            return Err(Failure::new("the certificate is not this relay's"));
        }
        if cert.not_after <= unix_now() {
            return Err(Failure::new(format!(
                "the certificate of {} ended {}",
                cert.name,
                ago(cert.not_after.as_millis())
            ))
            .way_out("is this host's clock right? `timedatectl` tells; else have the account server renew it"));
        }
        genuine.map_err(|why| Failure::new(format!("the certificate: {why}")))?;
        let domain = Self { noise_key, credentials, relay };
        domain.warn_of_the_end();
        Ok(domain)
    }

    fn warn_of_the_end(&self) {
        let cert = &self.credentials.cert;
        if cert.not_after <= unix_now() + RENEW_BEFORE {
            tracing::warn!("the certificate of {} ends within 14 days: renew it at the account server", cert.name);
        }
    }

    pub(crate) fn name(&self) -> &str {
        self.credentials.cert.name.as_str()
    }

    pub(crate) fn version(&self) -> u64 {
        self.credentials.version
    }

    /// The core's configuration.
    pub(crate) fn relay_config(&self, config: &Config, clock: Clock) -> ntm_relay::Config {
        let Changes { cert, grant_keys, directors, capacity } = self.changes(config);
        ntm_relay::Config {
            id: RelayId(self.relay.id),
            addresses: cert.addresses.clone(),
            cert,
            noise_key: self.noise_key.clone(),
            grant_keys,
            directors,
            capacity,
            wall: clock.wall(),
            provider: default_provider(),
        }
    }

    /// What of the core's configuration can change while it runs.
    pub(crate) fn changes(&self, config: &Config) -> Changes {
        let director = |cert: &ntm_proto::identity::ServerCert| Director {
            noise_key: cert.noise_key,
            addresses: cert.addresses.clone(),
            psk: self.relay.psk.0.clone(),
        };
        Changes {
            cert: self.credentials.cert.clone(),
            grant_keys: (self.relay.grant_keys.iter())
                .map(|key| GrantKey { key_id: key.number, key: key.key.0.clone() })
                .collect(),
            directors: self.relay.directors.iter().map(director).collect(),
            capacity: config.capacity(),
        }
    }
}

/// Reads the key that `init` made.
fn read_noise_key(path: &Path) -> Result<NoiseKey, Failure> {
    let text = read_secret(path).map_err(|why| why.way_out("`ntm-rs init` makes it"))?;
    let text = std::str::from_utf8(&text).context(path.display())?;
    let secret = hex::decode_array(text.trim()).context(path.display())?;
    Ok(NoiseKey::from_secret(default_provider(), Secret::new(secret)))
}

fn ago(millis: u64) -> String {
    let hours = unix_now().as_millis().saturating_sub(millis) / 3_600_000;
    if hours < 48 { format!("{hours} hours ago") } else { format!("{} days ago", hours / 24) }
}

/// Asks the account server for newer credentials for as long as somebody wants them, on a thread of its own.
pub(crate) fn watch(
    server: AccountServer,
    mut domain: Domain,
    path: PathBuf,
    news: mpsc::Sender<Domain>,
) -> Result<(), Failure> {
    let watching = move || {
        while !news.is_closed() {
            match newer(&server, &domain, &path) {
                Ok(Some(newer)) => {
                    tracing::info!("credentials of version {} have come", newer.version());
                    domain = newer.clone();
                    if news.blocking_send(newer).is_err() {
                        return;
                    }
                }
                Ok(None) => {}
                Err(why) => {
                    tracing::warn!("{why}; what the relay knows goes on");
                    std::thread::sleep(RETRY);
                }
            }
        }
    };
    std::thread::Builder::new().name("credentials".into()).spawn(watching).context("cannot start a thread")?;
    Ok(())
}

fn newer(server: &AccountServer, domain: &Domain, path: &Path) -> Result<Option<Domain>, Failure> {
    let name = &domain.credentials.cert.name;
    let Some(sealed) = server.credentials(name, domain.version(), LONG_POLL)? else { return Ok(None) };
    let newer = Domain::open(&sealed, domain.noise_key.clone(), Some(domain))?;
    if newer.version() <= domain.version() {
        return Err(Failure::new("the account server has older credentials than the relay"));
    }
    replace_secret(path, &sealed)?;
    Ok(Some(newer))
}
