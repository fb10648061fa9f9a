//! The configuration file; `example.toml` explains it to operators.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use ntm_relay::limits::{MAX_GRANTS, MAX_LOCALS};
use ntm_relay::shard::MAX_SHARDS;
use ntm_server::config::{Source, Spanned};
use ntm_server::{Failure, LogFormat};
use serde::Deserialize;

/// Connections that can be open at a time, whatever the file says: each takes up to three descriptors.
const MAX_CONNECTIONS: usize = 100_000;

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Config {
    pub(crate) listen: Spanned<Vec<SocketAddr>>,
    pub(crate) noise_key: PathBuf,
    pub(crate) credentials: PathBuf,
    pub(crate) account_server: Option<Spanned<String>>,
    pub(crate) account_server_ca: Option<PathBuf>,
    #[serde(default = "zero")]
    pub(crate) workers: Spanned<u32>,
    #[serde(default = "all_grants")]
    pub(crate) max_grants: Spanned<usize>,
    #[serde(default = "a_gigabit")]
    pub(crate) megabits_per_second: Spanned<u64>,
    #[serde(default)]
    pub(crate) rate_per_account: u32,
    #[serde(default = "five_minutes")]
    pub(crate) grace_seconds: u64,
    pub(crate) metrics: SocketAddr,
    #[serde(default)]
    pub(crate) log_format: LogFormat,
    pub(crate) tls: Option<Tls>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Tls {
    pub(crate) listen: Spanned<Vec<SocketAddr>>,
    pub(crate) certificate: PathBuf,
    pub(crate) key: PathBuf,
    #[serde(default = "a_thousand")]
    pub(crate) max_connections: Spanned<usize>,
}

fn unwritten<T>(value: T) -> Spanned<T> {
    Spanned::new(0..0, value)
}

fn zero() -> Spanned<u32> {
    unwritten(0)
}

fn all_grants() -> Spanned<usize> {
    unwritten(MAX_GRANTS)
}

fn a_gigabit() -> Spanned<u64> {
    unwritten(1_000)
}

fn a_thousand() -> Spanned<usize> {
    unwritten(1_000)
}

fn five_minutes() -> u64 {
    300
}

impl Config {
    /// Says what is wrong with values whose types are right.
    pub(crate) fn check(&self, source: &Source) -> Result<(), Failure> {
        check_listen(&self.listen, source)?;
        if *self.workers.get_ref() > MAX_SHARDS {
            return Err(source.complaint(&self.workers, format!("at most {MAX_SHARDS} workers")));
        }
        if !(1..=MAX_GRANTS).contains(self.max_grants.get_ref()) {
            return Err(source.complaint(&self.max_grants, format!("max_grants must be 1 to {MAX_GRANTS}")));
        }
        if *self.megabits_per_second.get_ref() == 0 {
            return Err(source.complaint(&self.megabits_per_second, "a relay without a line relays nothing"));
        }
        if let Some(url) = self.account_server.as_ref().filter(|url| !url.get_ref().starts_with("https://")) {
            return Err(source.complaint(url, "the account server's address must begin with https://"));
        }
        let Some(tls) = &self.tls else { return Ok(()) };
        check_listen(&tls.listen, source)?;
        if !(1..=MAX_CONNECTIONS).contains(tls.max_connections.get_ref()) {
            let what = format!("max_connections must be 1 to {MAX_CONNECTIONS}");
            return Err(source.complaint(&tls.max_connections, what));
        }
        Ok(())
    }

    /// How many workers there are to be.
    pub(crate) fn worker_count(&self) -> u32 {
        match *self.workers.get_ref() {
            0 => std::thread::available_parallelism()
                .map_or(1, |processors| u32::try_from(processors.get()).unwrap_or(MAX_SHARDS).min(MAX_SHARDS)),
            count => count,
        }
    }

    pub(crate) fn capacity(&self) -> ntm_relay::Capacity {
        ntm_relay::Capacity {
            grants: *self.max_grants.get_ref(),
            rate_per_account: self.rate_per_account,
            bytes_per_second: self.megabits_per_second.get_ref().saturating_mul(1_000_000 / 8),
        }
    }

    pub(crate) fn grace(&self) -> Duration {
        Duration::from_secs(self.grace_seconds)
    }
}

fn check_listen(listen: &Spanned<Vec<SocketAddr>>, source: &Source) -> Result<(), Failure> {
    let addresses = listen.get_ref();
    if addresses.is_empty() || addresses.len() > MAX_LOCALS / 2 {
        return Err(source.complaint(listen, format!("1 to {} addresses to listen at", MAX_LOCALS / 2)));
    }
    let twice = addresses.iter().enumerate().find(|(at, address)| addresses[..*at].contains(address));
    match twice {
        Some((_, address)) if address.port() != 0 => {
            Err(source.complaint(listen, format!("{address} stands there twice")))
        }
        _ => Ok(()),
    }
}
