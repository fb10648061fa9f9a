//! The configuration file. `example.toml` beside this file documents it.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ntm_proto::id::Fqdn;
use ntm_server::config::{Source, Spanned};
use ntm_server::{Failure, LogFormat};
use serde::Deserialize;

use crate::guard::{Rate, Rates};
use crate::passwords::{self, Cost};

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    #[serde(deserialize_with = "ntm_server::config::fqdn")]
    pub domain: Fqdn,
    pub url: Spanned<String>,
    pub listen: Spanned<Vec<SocketAddr>>,
    pub data: PathBuf,
    #[serde(default = "default_store")]
    pub store: String,
    #[serde(default = "default_metrics")]
    pub metrics: Spanned<String>,
    #[serde(default)]
    pub log_format: LogFormat,
    #[serde(default = "default_ticket_hours")]
    pub ticket_hours: Spanned<u32>,
    #[serde(default = "default_session_hours")]
    pub session_hours: Spanned<u32>,
    #[serde(default = "default_certificate_days")]
    pub certificate_days: Spanned<u32>,
    #[serde(default = "default_key_lead")]
    pub key_lead_minutes: u32,
    pub tls: Tls,
    #[serde(default)]
    pub sign_up: SignUp,
    #[serde(default)]
    pub passwords: Passwords,
    #[serde(default)]
    pub limits: Limits,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tls {
    pub certificate: PathBuf,
    pub key: PathBuf,
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SignUp {
    pub open: bool,
    pub max_accounts: u64,
    pub max_nodes: usize,
    pub max_keys: usize,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Passwords {
    pub memory_kib: Spanned<u32>,
    pub iterations: Spanned<u32>,
    pub lanes: Spanned<u32>,
    pub concurrency: usize,
    pub queue: usize,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    pub requests_burst: u32,
    pub requests_per_minute: u32,
    pub logins_burst: Spanned<u32>,
    pub logins_per_minute: Spanned<u32>,
    pub connections: usize,
    pub connections_per_address: usize,
}

/// OWASP's smallest for argon2id; with less the server warns when it starts.
pub const MIN_MEMORY_KIB: u32 = 7 * 1024;

impl Config {
    /// Says what is wrong beyond what the types say.
    pub fn check(&self, source: &Source) -> Result<(), Failure> {
        let url = self.url.get_ref();
        if host_of(url).is_none() {
            return Err(source.complaint(&self.url, format!("\"{url}\" is not https://HOST[:PORT]")));
        }
        if self.listen.get_ref().is_empty() {
            return Err(source.complaint(&self.listen, "there must be an address to listen at"));
        }
        if let Err(why) = self.metrics_address() {
            return Err(source.complaint(&self.metrics, why));
        }
        let spans = [&self.ticket_hours, &self.session_hours, &self.certificate_days];
        for (value, most) in spans.into_iter().zip([24 * 30, 24 * 90, 3650]) {
            if !(1..=most).contains(value.get_ref()) {
                return Err(source.complaint(value, format!("{} is not from 1 to {most}", value.get_ref())));
            }
        }
        let rates = [&self.limits.logins_burst, &self.limits.logins_per_minute];
        if let Some(none) = rates.into_iter().find(|rate| *rate.get_ref() == 0) {
            return Err(source.complaint(none, "0 would let nobody log in"));
        }
        let cost = self.passwords.cost();
        passwords::parameters(cost)
            .map(|_| ())
            .map_err(|why| source.complaint(&self.passwords.memory_kib, format!("argon2 does not take this: {why}")))
    }

    /// A path of the file, from where it stands.
    pub fn path(&self, path: &Path) -> PathBuf {
        self.data.join(path)
    }

    /// The store's place: a URL or a path.
    pub fn store_place(&self) -> String {
        if self.store.contains("://") {
            self.store.clone()
        } else {
            self.path(Path::new(&self.store)).display().to_string()
        }
    }

    /// Where operators' commands reach the running server.
    pub fn operator_socket(&self) -> PathBuf {
        self.path(Path::new("operator.sock"))
    }

    pub fn metrics_address(&self) -> Result<Option<SocketAddr>, String> {
        match self.metrics.get_ref().as_str() {
            "" => Ok(None),
            text => text.parse().map(Some).map_err(|_| format!("\"{text}\" is not ADDRESS:PORT")),
        }
    }

    pub fn ticket_life(&self) -> Duration {
        Duration::from_secs(u64::from(*self.ticket_hours.get_ref()) * 3600)
    }

    pub fn session_life(&self) -> Duration {
        Duration::from_secs(u64::from(*self.session_hours.get_ref()) * 3600)
    }

    pub fn certificate_life(&self) -> Duration {
        Duration::from_secs(u64::from(*self.certificate_days.get_ref()) * 24 * 3600)
    }

    pub fn key_lead(&self) -> Duration {
        Duration::from_secs(u64::from(self.key_lead_minutes) * 60)
    }
}

impl Passwords {
    pub fn cost(&self) -> Cost {
        Cost {
            memory_kib: *self.memory_kib.get_ref(),
            iterations: *self.iterations.get_ref(),
            lanes: *self.lanes.get_ref(),
        }
    }

    pub fn concurrency(&self) -> usize {
        match self.concurrency {
            0 => std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
            some => some,
        }
    }
}

impl Limits {
    pub fn rates(&self) -> Rates {
        let rate =
            |burst: u32, minute: u32| Rate { burst: f64::from(burst.max(1)), per_second: f64::from(minute) / 60.0 };
        Rates {
            requests: rate(self.requests_burst, self.requests_per_minute.max(1)),
            costly: rate(*self.logins_burst.get_ref(), *self.logins_per_minute.get_ref()),
        }
    }
}

/// The host (and port) of `https://HOST[:PORT]`.
pub fn host_of(url: &str) -> Option<&str> {
    let host = url.strip_prefix("https://")?.trim_end_matches('/');
    (!host.is_empty() && !host.contains(['/', '?', '#', '@', ' '])).then_some(host)
}

impl Default for SignUp {
    fn default() -> Self {
        Self { open: true, max_accounts: 1_000_000, max_nodes: 1_000, max_keys: 100 }
    }
}

impl Default for Passwords {
    fn default() -> Self {
        let cost = Cost::default();
        Self {
            memory_kib: unspanned(cost.memory_kib),
            iterations: unspanned(cost.iterations),
            lanes: unspanned(cost.lanes),
            concurrency: 0,
            queue: 64,
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            requests_burst: 300,
            requests_per_minute: 1_200,
            logins_burst: unspanned(30),
            logins_per_minute: unspanned(60),
            connections: 4_096,
            connections_per_address: 128,
        }
    }
}

/// A default: it stands nowhere in the file.
fn unspanned<T>(value: T) -> Spanned<T> {
    Spanned::new(0..0, value)
}

fn default_store() -> String {
    "account.redb".into()
}

fn default_metrics() -> Spanned<String> {
    unspanned("127.0.0.1:9101".into())
}

fn default_ticket_hours() -> Spanned<u32> {
    unspanned(24)
}

fn default_session_hours() -> Spanned<u32> {
    unspanned(12)
}

fn default_certificate_days() -> Spanned<u32> {
    unspanned(365)
}

fn default_key_lead() -> u32 {
    60
}

#[cfg(test)]
mod tests {
    use super::*;

    fn complaint(text: &str) -> String {
        let whole = format!("{text}\n[tls]\ncertificate = \"a\"\nkey = \"b\"\n");
        let (config, source) = match Source::parse::<Config>("as.toml".into(), whole) {
            Ok(parsed) => parsed,
            Err(why) => return why.to_string(),
        };
        config.check(&source).expect_err("the file is wrong").to_string()
    }

    #[test]
    fn the_example_is_a_valid_file() {
        let example = include_str!("example.toml");
        let (config, source) = Source::parse::<Config>("example".into(), example.into()).expect("parses");
        config.check(&source).expect("has no faults");
    }

    #[test]
    fn the_defaults_that_the_example_shows_are_the_defaults() {
        let example = include_str!("example.toml");
        let shown: String = example
            .lines()
            .filter(|line| !line.contains("postgres://"))
            .map(|line| match line.strip_prefix("# ") {
                Some(rest) if rest.contains(" = ") => format!("{rest}\n"),
                _ => format!("{line}\n"),
            })
            .collect();
        let parse = |text: &str| Source::parse::<Config>("example".into(), text.into()).expect("parses").0;
        let plain = |config: Config| {
            format!("{:?} {:?}", config.limits.rates(), config.passwords.cost())
                + &format!("{:?} {} {:?}", config.sign_up, config.store_place(), config.metrics_address())
                + &format!("{:?} {:?}", config.ticket_life(), (config.session_life(), config.certificate_life()))
                + &format!("{:?} {:?}", config.key_lead(), (config.limits.connections, config.passwords.queue))
        };
        assert_eq!(plain(parse(&shown)), plain(parse(example)));
    }

    #[test]
    fn a_wrong_value_is_named_with_its_line() {
        let base = "domain = \"ntm.example\"\nlisten = [\"[::]:443\"]\ndata = \"/d\"\n";
        assert_eq!(
            complaint(&format!("{base}url = \"http://x\"")),
            "as.toml:4: \"http://x\" is not https://HOST[:PORT]"
        );
        let base = format!("{base}url = \"https://x\"\n");
        assert_eq!(complaint(&format!("{base}ticket_hours = 0")), "as.toml:5: 0 is not from 1 to 720");
        assert_eq!(complaint(&format!("{base}metrics = \"here\"")), "as.toml:5: \"here\" is not ADDRESS:PORT");
        assert!(complaint(&format!("{base}sgin_up = true")).starts_with("as.toml:5: unknown field `sgin_up`"));
        let wrong = complaint(&format!("{base}[passwords]\nmemory_kib = 10000\nlanes = 0"));
        assert!(wrong.starts_with("as.toml:6: argon2 does not take this"), "{wrong}");
        assert_eq!(complaint(&format!("{base}[limits]\nlogins_burst = 0")), "as.toml:6: 0 would let nobody log in");
    }
}
