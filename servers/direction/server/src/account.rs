//! What the account server says while this server runs: newer credentials, and who was revoked.
//!
//! Two threads ask in long polls. What they are told counts when it is on disk: credentials in their file,
//! revocations in the registry together with how far they were read.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use ntm_proto::crypto::PublicKeyBytes;
use ntm_proto::identity::NoiseKey;
use ntm_server::Failure;
use ntm_server::account_server::{AccountServer, LONG_POLL};
use ntm_server::credentials::Credentials;
use ntm_server::files::replace_secret;

use crate::store::{Change, Errand, Orders};

/// The first pause after a question that failed; each further one is twice as long.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// Asks for newer credentials, stores them, and tells `renewed`.
pub(crate) struct Renewal {
    pub server: AccountServer,
    pub noise: NoiseKey,
    pub path: PathBuf,
    pub stopping: Arc<AtomicBool>,
}

impl Renewal {
    pub(crate) fn run(self, mut credentials: Credentials, renewed: impl Fn(Credentials)) {
        let mut pause = Pause::default();
        while !self.stopping.load(Ordering::Relaxed) {
            match self.ask(&credentials) {
                Ok(newer) => {
                    pause.reset();
                    if let Some(newer) = newer {
                        tracing::info!("new credentials, version {}", newer.version);
                        renewed(newer.clone());
                        credentials = newer;
                    }
                }
                Err(why) => pause.wait("credentials", &why),
            }
        }
    }

    fn ask(&self, known: &Credentials) -> Result<Option<Credentials>, Failure> {
        let Some(sealed) = self.server.credentials(&known.cert.name, known.version, LONG_POLL)? else {
            return Ok(None);
        };
        let newer = Credentials::open(&sealed, &self.noise, Some(&known.domain_key))
            .map_err(|why| Failure::new(format!("credentials from the account server: {why}")))?;
        if newer.version <= known.version
            || newer.cert.name != known.cert.name
            || newer.cert.domain != known.cert.domain
        {
            return Err(Failure::new("the account server sent older credentials, or another server's"));
        }
        replace_secret(&self.path, &sealed)?;
        Ok(Some(newer))
    }
}

/// Asks who was revoked.
pub(crate) struct Revoked {
    pub server: AccountServer,
    pub domain_key: PublicKeyBytes,
    pub orders: Orders,
    /// How many are known.
    pub read: Arc<AtomicU64>,
    pub stopping: Arc<AtomicBool>,
}

impl Revoked {
    pub(crate) fn run(self) {
        let mut pause = Pause::default();
        while !self.stopping.load(Ordering::Relaxed) {
            match self.ask() {
                Ok(()) => pause.reset(),
                Err(why) => pause.wait("revocations", &why),
            }
        }
    }

    fn ask(&self) -> Result<(), Failure> {
        let known = self.read.load(Ordering::Relaxed);
        let Some(news) = self.server.revocations(known, LONG_POLL)? else { return Ok(()) };
        let nodes = news
            .verify(&self.domain_key)
            .filter(|_| news.after <= known)
            .ok_or_else(|| Failure::new("the account server's revocations are not signed by the domain's key"))?;
        if news.upto <= known {
            return Err(Failure::new("the account server repeats old revocations"));
        }
        tracing::info!("{} nodes revoked", nodes.len());
        self.orders.give_surely(Errand::Write(Change::Revoke { upto: news.upto, nodes }));
        self.read.store(news.upto, Ordering::Relaxed);
        Ok(())
    }
}

#[derive(Default)]
struct Pause(Option<Duration>);

impl Pause {
    fn reset(&mut self) {
        self.0 = None;
    }

    /// Says once what is wrong, and waits.
    fn wait(&mut self, what: &str, why: &Failure) {
        let pause = match self.0 {
            None => {
                tracing::warn!("{what}: {why}");
                FIRST_PAUSE
            }
            Some(before) => (before * 2).min(LONGEST_PAUSE),
        };
        self.0 = Some(pause);
        std::thread::sleep(pause);
    }
}
