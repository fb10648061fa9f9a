//! The configuration file.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use ntm_direction::{DEFAULT_GRANT_LIFETIME, DEFAULT_KEEP_ALIVE, DEFAULT_LEASE, DEFAULT_POOL4, DEFAULT_PREFIX6};
use ntm_proto::crypto::PublicKeyBytes;
use ntm_proto::id::Fqdn;
use ntm_proto::identity::{Role, ServerCert};
use ntm_proto::wire::identity::parse_cert;
use ntm_server::config::{Source, Spanned, fqdn};
use ntm_server::{Failure, LogFormat, hex};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer};

/// What a keep-alive interval may be, in seconds: nodes clamp it to these.
const KEEP_ALIVES: std::ops::RangeInclusive<u64> = 5..=600;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    pub noise_key: PathBuf,
    pub credentials: PathBuf,
    /// Where nodes are served; where this is missing, the addresses in the certificate.
    #[serde(default)]
    pub listen: Vec<SocketAddr>,
    pub registry: Spanned<String>,
    #[serde(default)]
    pub account_server: Option<Spanned<String>>,
    #[serde(default)]
    pub account_server_ca: Option<PathBuf>,
    #[serde(default)]
    pub metrics: Option<SocketAddr>,
    #[serde(default)]
    pub log_format: LogFormat,
    #[serde(default)]
    pub nodes: Nodes,
    #[serde(default)]
    pub relays: Relays,
    #[serde(default)]
    pub dns: Dns,
    #[serde(default)]
    pub lookup: Lookup,
    #[serde(default)]
    pub push: Option<Push>,
    #[serde(default, rename = "domain")]
    pub domains: Vec<Domain>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Nodes {
    pub virtual4: Spanned<Network4>,
    pub virtual6: Spanned<Network6>,
    pub lease: Spanned<u64>,
    pub keep_alive: Spanned<u64>,
    pub most: usize,
    pub handshakes_per_second: u32,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Relays {
    pub grant_lifetime: u64,
    pub grant_rate: u32,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Dns {
    pub listen: Vec<SocketAddr>,
    pub ttl: u32,
    /// Answers a second to one source, over UDP.
    pub rate: u32,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Lookup {
    /// Whom to ask; the host's own resolvers where nobody is named.
    pub resolvers: Vec<SocketAddr>,
    /// The certificates that web servers of other domains are believed by; the host's where none are named.
    pub ca: Option<PathBuf>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Push {
    pub url: Spanned<String>,
    pub key: PathBuf,
    #[serde(default)]
    pub ca: Option<PathBuf>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Domain {
    #[serde(deserialize_with = "fqdn")]
    pub name: Fqdn,
    #[serde(with = "hex::array")]
    pub domain_key: PublicKeyBytes,
    #[serde(default)]
    pub cert: Option<Spanned<Cert>>,
}

/// A server certificate in hexadecimal.
#[derive(Debug)]
pub struct Cert(pub ServerCert);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network4(pub Ipv4Addr, pub u8);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network6(pub Ipv6Addr, pub u8);

impl Default for Nodes {
    fn default() -> Self {
        Self {
            virtual4: unspanned(Network4(DEFAULT_POOL4.0, DEFAULT_POOL4.1)),
            virtual6: unspanned(Network6(DEFAULT_PREFIX6, 64)),
            lease: unspanned(DEFAULT_LEASE.as_secs()),
            keep_alive: unspanned(DEFAULT_KEEP_ALIVE.as_secs()),
            most: ntm_direction::limits::MAX_NODES,
            handshakes_per_second: ntm_direction::limits::HANDSHAKES_PER_SECOND,
        }
    }
}

impl Default for Relays {
    fn default() -> Self {
        Self { grant_lifetime: DEFAULT_GRANT_LIFETIME.as_secs(), grant_rate: 0 }
    }
}

impl Default for Dns {
    fn default() -> Self {
        Self { listen: Vec::new(), ttl: 60, rate: 50 }
    }
}

impl Config {
    pub fn lease(&self) -> Duration {
        Duration::from_secs(*self.nodes.lease.get_ref())
    }

    pub fn keep_alive(&self) -> Duration {
        Duration::from_secs(*self.nodes.keep_alive.get_ref())
    }

    /// Whether the registry is a database that several DCs share.
    pub fn is_shared(&self) -> bool {
        is_postgres(self.registry.get_ref())
    }

    /// What is wrong with values whose types are right.
    pub fn check(&self, source: &Source) -> Result<(), Failure> {
        let Nodes { virtual4, virtual6, lease, keep_alive, .. } = &self.nodes;
        if !(8..=30).contains(&virtual4.get_ref().1) {
            return Err(source.complaint(virtual4, "the pool of virtual IPv4 addresses must be a /8 to /30"));
        }
        if virtual6.get_ref().1 != 64 {
            return Err(source.complaint(virtual6, "the virtual IPv6 prefix must be a /64"));
        }
        if !KEEP_ALIVES.contains(keep_alive.get_ref()) {
            return Err(source.complaint(keep_alive, "nodes keep alive every 5 to 600 seconds"));
        }
        if *lease.get_ref() < 2 * keep_alive.get_ref() || *lease.get_ref() > 86_400 {
            return Err(source.complaint(lease, "a lease is at least two keep-alives and at most a day"));
        }
        if self.registry.get_ref().is_empty() {
            return Err(source.complaint(&self.registry, "name a file, or a database as postgres://…"));
        }
        if let Some(url) = self.account_server.as_ref().filter(|url| !url.get_ref().starts_with("https://")) {
            return Err(source.complaint(url, "the account server's address must begin with https://"));
        }
        if let Some(url) = self.push.as_ref().map(|push| &push.url).filter(|url| !is_safe_url(url.get_ref())) {
            return Err(source.complaint(url, "the push gateway must be https://, or http:// on this host"));
        }
        for domain in &self.domains {
            if let Some(cert) = &domain.cert {
                let Cert(named) = cert.get_ref();
                if named.domain != domain.name || named.role != Role::Direction {
                    return Err(source.complaint(cert, format!("this certifies no DC of {}", domain.name)));
                }
            }
        }
        Ok(())
    }
}

pub(crate) fn is_postgres(registry: &str) -> bool {
    registry.starts_with("postgres://") || registry.starts_with("postgresql://")
}

/// A URL over which secrets may travel.
fn is_safe_url(url: &str) -> bool {
    let Some(rest) = url.strip_prefix("http://") else { return url.starts_with("https://") };
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let host = authority.strip_prefix('[').map_or_else(
        || authority.rsplit_once(':').map_or(authority, |(host, _)| host),
        |inside| inside.split(']').next().unwrap_or_default(),
    );
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

fn unspanned<T>(value: T) -> Spanned<T> {
    Spanned::new(0..0, value)
}

fn network<'de, D: Deserializer<'de>, A: std::str::FromStr>(deserializer: D, most: u8) -> Result<(A, u8), D::Error> {
    let text = String::deserialize(deserializer)?;
    let parsed = text.split_once('/').and_then(|(address, prefix)| {
        Some((address.parse().ok()?, prefix.parse().ok().filter(|prefix| *prefix <= most)?))
    });
    parsed.ok_or_else(|| D::Error::custom(format!("\"{text}\" is no network such as ADDRESS/LENGTH")))
}

impl<'de> Deserialize<'de> for Network4 {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        network(deserializer, 32).map(|(address, prefix)| Self(address, prefix))
    }
}

impl<'de> Deserialize<'de> for Network6 {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        network(deserializer, 128).map(|(address, prefix)| Self(address, prefix))
    }
}

impl<'de> Deserialize<'de> for Cert {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let bytes = hex::decode(&String::deserialize(deserializer)?).map_err(D::Error::custom)?;
        parse_cert(&bytes).map(Self).map_err(|_| D::Error::custom("not a server certificate"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEAST: &str = "noise_key = \"n\"\ncredentials = \"c\"\nregistry = \"r\"\n";

    fn complaint(more: &str) -> String {
        let (config, source) = match Source::parse::<Config>("dc.toml".into(), format!("{LEAST}{more}")) {
            Ok(parsed) => parsed,
            Err(why) => return why.to_string(),
        };
        config.check(&source).expect_err("something is wrong").to_string()
    }

    #[test]
    fn the_example_is_a_valid_file_and_so_is_the_least_one() {
        for text in [include_str!("example.toml"), LEAST] {
            let (config, source) = Source::parse::<Config>("dc.toml".into(), text.into()).expect("parses");
            config.check(&source).expect("holds");
        }
    }

    #[test]
    fn a_complaint_names_the_line_of_what_is_wrong() {
        for (more, line) in [
            ("[nodes]\nvirtual4 = \"198.18.0.0/31\"", "dc.toml:5: "),
            ("[nodes]\nvirtual4 = \"198.18.0.0\"", "dc.toml:5: "),
            ("[nodes]\nvirtual6 = \"fd00::/48\"", "dc.toml:5: "),
            ("[nodes]\nkeep_alive = 2", "dc.toml:5: "),
            ("[nodes]\nlease = 30", "dc.toml:5: "),
            ("account_server = \"http://as.ntm.example\"", "dc.toml:4: "),
            ("[push]\nurl = \"http://push.example/\"\nkey = \"k\"", "dc.toml:5: "),
            ("[[domain]]\nname = \"b.example\"\ndomain_key = \"00\"", "dc.toml:6: "),
            ("unknown = 1", "dc.toml:4: "),
        ] {
            let said = complaint(more);
            assert!(said.starts_with(line), "{more}: {said}");
        }
    }

    #[test]
    fn plain_http_is_taken_on_this_host_only() {
        for good in ["https://push.example/x", "http://127.0.0.1:9/x", "http://[::1]/x", "http://localhost:1/"] {
            assert!(is_safe_url(good), "{good}");
        }
        for bad in ["http://push.example", "http://127.0.0.1.example/", "ftp://127.0.0.1", "http://1.2.3.4:80"] {
            assert!(!is_safe_url(bad), "{bad}");
        }
    }
}
