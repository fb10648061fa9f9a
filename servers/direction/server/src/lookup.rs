//! Finding the DCs of other domains.
//!
//! ```text
//! name ── SRV _ntm-dc._udp.NAME ── none: the name above it ── … ── host:port of a DC, the domain's name
//!                                                                     │
//! domain key ── pinned, or https://DOMAIN/.well-known/ntmobile        │
//! certificate ── TXT "ntm-cert=BASE64" of the host, or well-known  ◀──┘
//! ```
//!
//! A certificate is signed by the domain key, so it may come by DNS, which proves nothing; the key may not. The
//! resolver caches what it found and what is not there, each for as long as its zone says.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hickory_proto::rr::{RData, RecordType};
use hickory_resolver::TokioResolver;
use hickory_resolver::config::{ConnectionConfig, NameServerConfig, ResolverConfig};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use ntm_direction::ForeignDc;
use ntm_proto::crypto::{PublicKeyBytes, default_provider};
use ntm_proto::id::Fqdn;
use ntm_proto::identity::{Role, ServerCert};
use ntm_proto::wire::identity::parse_cert;
use ntm_server::clock::{random, unix_now};
use ntm_server::database::SYSTEM_CERTIFICATES;
use ntm_server::{Failure, ResultExt as _, hex};
use serde::Deserialize;
use tokio::task::spawn_blocking;
use ureq::tls::{PemItem, RootCerts, TlsConfig, TlsProvider};

use crate::config::Config;

/// What a zone's certificate in a TXT record begins with.
pub(crate) const CERT_PREFIX: &str = "ntm-cert=";
/// Names above the one asked for that are tried.
const MAX_CLIMB: usize = 4;
/// Hosts of one domain whose certificates are asked for.
const MAX_HOSTS: usize = 8;
/// What `/.well-known/ntmobile` may weigh.
const MAX_DOCUMENT: u64 = 1 << 20;
const TIMEOUT: Duration = Duration::from_secs(5);
/// The whole of a lookup, below what the core waits.
const PATIENCE: Duration = Duration::from_secs(7);

#[derive(Debug, Default)]
pub(crate) struct LookupStats {
    found: AtomicU64,
    no_such_domain: AtomicU64,
    failed: AtomicU64,
}

impl LookupStats {
    pub(crate) fn read(&self) -> Vec<(&'static str, u64)> {
        let read = |value: &AtomicU64| value.load(Ordering::Relaxed);
        vec![("found", read(&self.found)), ("none", read(&self.no_such_domain)), ("failed", read(&self.failed))]
    }
}

/// Finds other domains; clones are the same.
#[derive(Clone)]
pub(crate) struct Finder {
    resolver: TokioResolver,
    web: Option<ureq::Agent>,
    pinned: Arc<RwLock<BTreeMap<Fqdn, PublicKeyBytes>>>,
    stats: Arc<LookupStats>,
}

/// Where a DC of a domain is said to be.
#[derive(Debug)]
struct Host {
    priority: u16,
    weight: u16,
    name: Fqdn,
}

/// What a domain says of itself over the web, as far as it matters here.
#[derive(Deserialize)]
struct WellKnown {
    #[serde(deserialize_with = "ntm_server::config::fqdn")]
    domain: Fqdn,
    #[serde(with = "hex::array")]
    domain_key: PublicKeyBytes,
    directions: Vec<String>,
}

impl Finder {
    pub(crate) fn new(config: &Config, stats: Arc<LookupStats>) -> Result<Self, Failure> {
        let mut builder = if config.lookup.resolvers.is_empty() {
            TokioResolver::builder_tokio().context("/etc/resolv.conf")?
        } else {
            let servers = config.lookup.resolvers.iter().map(|&at| name_server(at)).collect();
            let resolvers = ResolverConfig::from_name_servers(servers);
            TokioResolver::builder_with_config(resolvers, TokioRuntimeProvider::default())
        };
        let options = builder.options_mut();
        (options.timeout, options.attempts) = (Duration::from_secs(2), 2);
        options.ndots = 0;
        let resolver = builder.build().context("resolver")?;
        // A host without certificates can still reach the domains that are pinned.
        let web = match agent(config.lookup.ca.as_deref(), TIMEOUT, true) {
            Ok(agent) => Some(agent),
            Err(why) if config.lookup.ca.is_some() => return Err(why),
            Err(why) => {
                tracing::warn!("domains that are not pinned cannot be asked for their keys: {why}");
                None
            }
        };
        let finder = Self { resolver, web, pinned: Arc::default(), stats };
        finder.pin(config);
        Ok(finder)
    }

    /// Takes over the keys the configuration pins.
    pub(crate) fn pin(&self, config: &Config) {
        let pinned = config.domains.iter().map(|domain| (domain.name.clone(), domain.domain_key)).collect();
        *self.pinned.write().unwrap_or_else(PoisonError::into_inner) = pinned;
    }

    /// The DC of the domain that holds this name.
    pub(crate) async fn find(&self, name: &Fqdn) -> Option<ForeignDc> {
        let found = tokio::time::timeout(PATIENCE, self.search(name)).await;
        let (counter, found) = match found {
            Ok(Ok(Some(dc))) => (&self.stats.found, Some(dc)),
            Ok(Ok(None)) => (&self.stats.no_such_domain, None),
            Ok(Err(why)) => {
                tracing::info!("looking for {name}: {why}");
                (&self.stats.failed, None)
            }
            Err(_) => {
                tracing::info!("looking for {name}: no answer in time");
                (&self.stats.failed, None)
            }
        };
        counter.fetch_add(1, Ordering::Relaxed);
        found
    }

    async fn search(&self, name: &Fqdn) -> Result<Option<ForeignDc>, Failure> {
        let mut domain = name.clone();
        for _ in 0..MAX_CLIMB {
            let hosts = self.hosts(&domain).await?;
            if !hosts.is_empty() {
                return self.identify(&domain, hosts).await.map(Some);
            }
            let Some((_, above)) = domain.as_str().split_once('.') else { break };
            if !above.contains('.') {
                break;
            }
            domain = Fqdn::parse(above).context(above)?;
        }
        Ok(None)
    }

    /// The hosts that the zone names, in the order to try them (RFC 2782).
    async fn hosts(&self, domain: &Fqdn) -> Result<Vec<Host>, Failure> {
        let answer = match self.resolver.lookup(format!("_ntm-dc._udp.{domain}."), RecordType::SRV).await {
            Ok(answer) => answer,
            Err(why) if why.is_no_records_found() || why.is_nx_domain() => return Ok(Vec::new()),
            Err(why) => return Err(Failure::new(why.to_string())),
        };
        let mut hosts: Vec<Host> = answer
            .answers()
            .iter()
            .filter_map(|record| match &record.data {
                RData::SRV(srv) => {
                    let name = Fqdn::parse(&srv.target.to_ascii()).ok()?;
                    Some(Host { priority: srv.priority, weight: srv.weight, name })
                }
                _ => None,
            })
            .collect();
        hosts.sort_by_key(|host| (host.priority, std::cmp::Reverse(draw(host.weight))));
        hosts.truncate(MAX_HOSTS);
        Ok(hosts)
    }

    /// The first host whose certificate the domain's key has signed.
    async fn identify(&self, domain: &Fqdn, hosts: Vec<Host>) -> Result<ForeignDc, Failure> {
        let pinned = self.pinned.read().unwrap_or_else(PoisonError::into_inner).get(domain).copied();
        if let Some(domain_key) = pinned {
            for host in &hosts {
                let certs = self.certs(&host.name).await;
                if let Some(cert) = certs.into_iter().find(|cert| holds(cert, domain, &host.name, &domain_key)) {
                    return Ok(ForeignDc { cert, domain_key });
                }
            }
        }
        let document = self.well_known(domain).await?;
        let domain_key = pinned.unwrap_or(document.domain_key);
        let certs: Vec<ServerCert> =
            document.directions.iter().filter_map(|text| parse_cert(&hex::decode(text).ok()?).ok()).collect();
        let named = hosts.iter().find_map(|host| certs.iter().find(|c| holds(c, domain, &host.name, &domain_key)));
        let any = || certs.iter().find(|cert| holds(cert, domain, &cert.name, &domain_key));
        let cert = named.or_else(any).cloned();
        let cert = cert.ok_or_else(|| Failure::new(format!("{domain} shows no certificate that its key signed")))?;
        Ok(ForeignDc { cert, domain_key })
    }

    /// The certificates that the zone has under a host's name.
    async fn certs(&self, host: &Fqdn) -> Vec<ServerCert> {
        let Ok(answer) = self.resolver.lookup(format!("{host}."), RecordType::TXT).await else { return Vec::new() };
        let texts = answer.answers().iter().filter_map(|record| match &record.data {
            RData::TXT(text) => Some(text.txt_data.concat()),
            _ => None,
        });
        texts
            .filter_map(|text| {
                let encoded = text.strip_prefix(CERT_PREFIX.as_bytes())?;
                parse_cert(&STANDARD.decode(encoded).ok()?).ok()
            })
            .collect()
    }

    async fn well_known(&self, domain: &Fqdn) -> Result<WellKnown, Failure> {
        let agent = self.web.clone().ok_or_else(|| Failure::new("no certificates to believe the web by"))?;
        let url = format!("https://{domain}/.well-known/ntmobile");
        let said = url.clone();
        let asked = spawn_blocking(move || -> Result<Vec<u8>, ureq::Error> {
            let mut response = agent.get(&url).call()?;
            response.body_mut().with_config().limit(MAX_DOCUMENT).read_to_vec()
        });
        let body = asked.await.context(&said)?.context(&said)?;
        let document: WellKnown = serde_json::from_slice(&body).context(&said)?;
        if document.domain != *domain {
            return Err(Failure::new(format!("{said} speaks of {}", document.domain)));
        }
        Ok(document)
    }
}

fn holds(cert: &ServerCert, domain: &Fqdn, name: &Fqdn, key: &PublicKeyBytes) -> bool {
    cert.domain == *domain
        && cert.name == *name
        && cert.verify(default_provider(), key, Role::Direction, unix_now()).is_ok()
}

/// A number that is the higher the more weight there is.
fn draw(weight: u16) -> u64 {
    let chance = u64::from(u32::from_be_bytes(random()));
    chance.saturating_mul(u64::from(weight) + 1)
}

fn name_server(at: SocketAddr) -> NameServerConfig {
    let connections = [ConnectionConfig::udp(), ConnectionConfig::tcp()].map(|mut connection| {
        connection.port = at.port();
        connection
    });
    NameServerConfig::new(at.ip(), true, connections.into())
}

/// A client of the web. Its calls block.
pub(crate) fn agent(ca: Option<&Path>, timeout: Duration, https_only: bool) -> Result<ureq::Agent, Failure> {
    let path = ca.unwrap_or(Path::new(SYSTEM_CERTIFICATES));
    let name = path.display();
    let pem = std::fs::read(path).context(name.to_string())?;
    let mut roots = Vec::new();
    for item in ureq::tls::parse_pem(&pem) {
        if let PemItem::Certificate(certificate) = item.context(name.to_string())? {
            roots.push(certificate);
        }
    }
    let tls = TlsConfig::builder()
        .provider(TlsProvider::Rustls)
        .unversioned_rustls_crypto_provider(rustls::crypto::aws_lc_rs::default_provider().into())
        .root_certs(RootCerts::from(roots))
        .build();
    let agent = ureq::Agent::config_builder()
        .tls_config(tls)
        .https_only(https_only)
        .max_redirects(0)
        .http_status_as_error(https_only)
        .timeout_global(Some(timeout))
        .build();
    Ok(agent.into())
}

impl std::fmt::Debug for Finder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Finder")
    }
}
