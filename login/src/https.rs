//! Blocking HTTPS to an account server: for nodes here, and for the domain's own servers.

use std::path::Path;
use std::time::Duration;

use ureq::config::ConfigBuilder;
use ureq::tls::{Certificate, PemItem, RootCerts, TlsConfig, TlsProvider};
use ureq::typestate::AgentScope;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Where the certificates are that the web is believed by, on the systems that keep them in one file.
const SYSTEM_CERTIFICATES: [&str; 3] =
    ["/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/cert.pem"];

/// An agent in the making: HTTPS only, no redirects, and `ca` (a PEM file) to believe instead of the system's
/// certificates. What is wrong otherwise is said in one line.
pub fn agent(ca: Option<&Path>, timeout: Duration) -> Result<ConfigBuilder<AgentScope>, String> {
    let system = || SYSTEM_CERTIFICATES.iter().map(Path::new).find(|path| path.exists());
    let roots = certificates(ca.or_else(system).unwrap_or(Path::new(SYSTEM_CERTIFICATES[0])))?;
    let tls = TlsConfig::builder()
        .provider(TlsProvider::Rustls)
        .unversioned_rustls_crypto_provider(rustls::crypto::aws_lc_rs::default_provider().into())
        .root_certs(roots)
        .build();
    Ok(ureq::Agent::config_builder()
        .tls_config(tls)
        .https_only(true)
        .max_redirects(0)
        .timeout_global(Some(timeout))
        .timeout_connect(Some(CONNECT_TIMEOUT)))
}

fn certificates(path: &Path) -> Result<RootCerts, String> {
    let wrong = |why: &dyn std::fmt::Display| format!("{}: {why}", path.display());
    let pem = std::fs::read(path).map_err(|why| wrong(&why))?;
    let mut found: Vec<Certificate<'static>> = Vec::new();
    for item in ureq::tls::parse_pem(&pem) {
        if let PemItem::Certificate(certificate) = item.map_err(|why| wrong(&why))? {
            found.push(certificate);
        }
    }
    if found.is_empty() { Err(wrong(&"holds no certificate")) } else { Ok(RootCerts::from(found)) }
}
