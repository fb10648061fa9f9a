//! What the domain decides: who is who, whose is what, which server is whose. Everything here blocks on the store
//! and knows nothing of HTTP; the API, the page and the operator's commands all call the same methods.
//!
//! Invariants:
//! - What a method returned `Ok` for is durable, and its line of the audit log with it.
//! - A name stands under one node or server; a node id under one name; a revoked id under none, for ever.
//! - Versions of credentials and numbers of revocations only grow.

mod accounts;
mod audit;
mod enrolment;
mod grant_keys;
mod nodes;
mod servers;
mod sessions;

use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::Duration;

use ntm_proto::id::Fqdn;
use ntm_proto::time::UnixTime;
use ntm_server::Failure;
use ntm_server::clock::unix_now;
use tokio::sync::watch;

use crate::config::{Config, SignUp};
use crate::refusal::Refusal;
use crate::secrets::Secrets;
use crate::store::{self, Store, StoreError, Table, Transaction};

pub use accounts::{AccountChange, KnownPassword, account_name};
pub use enrolment::NewKey;
pub use nodes::Ticketed;
pub use sessions::{NewSession, csrf_word};

/// By how much the calendar may stand behind what the store remembers.
const CLOCK_SLACK: Duration = Duration::from_secs(10 * 60);
const DOMAIN: &str = "domain";
const LAST_SEEN: &str = "last_seen";

/// Who asks, as the audit log names them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    pub account: String,
    pub admin: bool,
    /// The address, empty for the operator.
    pub from: String,
}

impl Caller {
    /// Who works on the server itself may do everything.
    pub fn operator() -> Self {
        Self { account: "operator".into(), admin: true, from: String::new() }
    }
}

/// What the domain's rules are.
#[derive(Clone, Debug)]
pub struct Rules {
    pub url: String,
    pub ticket_life: Duration,
    pub session_life: Duration,
    pub certificate_life: Duration,
    pub key_lead: Duration,
    pub sign_up: SignUp,
}

impl From<&Config> for Rules {
    fn from(config: &Config) -> Self {
        Self {
            url: config.url.get_ref().trim_end_matches('/').to_owned(),
            ticket_life: config.ticket_life(),
            session_life: config.session_life(),
            certificate_life: config.certificate_life(),
            key_lead: config.key_lead(),
            sign_up: config.sign_up,
        }
    }
}

/// The authority over one domain.
#[derive(Debug)]
pub struct Authority {
    domain: Fqdn,
    store: Arc<dyn Store>,
    /// Locked inside a transaction or alone; never while a transaction is asked for.
    secrets: RwLock<Secrets>,
    rules: RwLock<Rules>,
    /// Told at each revocation and each change of a server, so that long polls look again.
    changed: watch::Sender<u64>,
}

impl Authority {
    /// Refuses a store of another domain, and a clock that is behind what the store remembers.
    pub fn new(domain: Fqdn, store: Arc<dyn Store>, secrets: Secrets, rules: Rules) -> Result<Self, Failure> {
        let now = unix_now();
        store::write(&*store, |tx| Ok::<_, StoreError>(claim_store(tx, &domain, now)))
            .map_err(|why| store_failure(&why))??;
        let changed = watch::Sender::new(0);
        Ok(Self { domain, store, secrets: RwLock::new(secrets), rules: RwLock::new(rules), changed })
    }

    pub fn domain(&self) -> &Fqdn {
        &self.domain
    }

    pub fn rules(&self) -> Rules {
        self.rules.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Takes rules of a configuration that was read again.
    pub fn set_rules(&self, rules: Rules) {
        *self.rules.write().unwrap_or_else(PoisonError::into_inner) = rules;
    }

    /// Changes when there is something new for a long poll.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    /// Whether other processes may change the store without telling.
    pub fn is_shared(&self) -> bool {
        self.store.is_shared()
    }

    /// Whether the store works.
    pub fn check_store(&self) -> Result<(), StoreError> {
        self.read(|tx| tx.get(Table::Meta, DOMAIN).map(|_| ()))
    }

    /// What is to be done from time to time: sessions and renewals that are over go, certificates and keys are
    /// renewed, and the clock is remembered.
    pub fn housekeeping(&self) -> Result<(), Refusal> {
        let now = unix_now();
        self.write(|tx| tx.save(Table::Meta, LAST_SEEN, &now.as_millis()).map_err(Refusal::from))?;
        self.forget_renewals(now)?;
        self.end_sessions(now)?;
        self.renew_certificates(now)?;
        self.tend_grant_keys(now)?;
        self.prune_service_keys(now)
    }

    fn read<T, E: From<StoreError>>(&self, work: impl FnOnce(&mut dyn Transaction) -> Result<T, E>) -> Result<T, E> {
        store::read(&*self.store, work)
    }

    fn write<T, E: From<StoreError>>(&self, work: impl FnOnce(&mut dyn Transaction) -> Result<T, E>) -> Result<T, E> {
        store::write(&*self.store, work)
    }

    fn secrets(&self) -> RwLockReadGuard<'_, Secrets> {
        self.secrets.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn secrets_mut(&self) -> RwLockWriteGuard<'_, Secrets> {
        self.secrets.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn tell(&self) {
        self.changed.send_modify(|number| *number += 1);
    }
}

/// What an operator reads where the store does not open.
pub fn store_failure(why: &StoreError) -> Failure {
    let failure = Failure::new(why.to_string());
    match why {
        StoreError::Locked(_) => {
            failure.way_out("stop that process, or use the same `data` as it so that commands reach it")
        }
        StoreError::Unavailable(_) => failure.way_out("see `store` in the configuration"),
        StoreError::Corrupt(_) => failure.way_out("restore a copy, or use the version that wrote it"),
    }
}

fn claim_store(tx: &mut dyn Transaction, domain: &Fqdn, now: UnixTime) -> Result<(), Failure> {
    let corrupt = |why: StoreError| store_failure(&why);
    match tx.find::<String>(Table::Meta, DOMAIN).map_err(corrupt)? {
        None => tx.save(Table::Meta, DOMAIN, &domain.as_str()).map_err(corrupt)?,
        Some(of) if of == domain.as_str() => {}
        Some(of) => {
            return Err(Failure::new(format!("the store is that of {of}, not of {domain}"))
                .way_out("correct `domain`, `data` or `store` in the configuration"));
        }
    }
    let remembered = UnixTime::from_millis(tx.counter(LAST_SEEN).map_err(corrupt)?);
    if remembered > now + CLOCK_SLACK {
        let hours = (remembered.as_millis() - now.as_millis()) / 3_600_000;
        return Err(Failure::new(format!("this host's clock stands {hours} hours before the store's last use"))
            .way_out("set the clock: timedatectl set-ntp true"));
    }
    tx.save(Table::Meta, LAST_SEEN, &now.as_millis()).map_err(corrupt)
}
