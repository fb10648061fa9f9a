//! A PostgreSQL that servers share, by its address, with TLS where the way to it leaves this host.
//!
//! | address | connection |
//! |---|---|
//! | a Unix socket or loopback | plain, unless `sslmode=require` |
//! | another host | TLS, the certificate verified |
//! | any, with `sslmode=disable` | plain: a trusted network, or a tunnel |
//!
//! Certificates are believed by the host's authorities, or by those in the file that `sslrootcert=` names.

use std::net::IpAddr;
use std::sync::Arc;

use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
use tokio_postgres::config::{Host, SslMode};
use tokio_postgres::{Client, Config, Error, NoTls};
use tokio_postgres_rustls::MakeRustlsConnect;

use ntm_program::{Failure, ResultExt as _};

/// Where Debian keeps the certificates that the web is believed by.
pub const SYSTEM_CERTIFICATES: &str = "/etc/ssl/certs/ca-certificates.crt";
/// The word of an address that names a file of certificates, as libpq has it.
const ROOT_CERTIFICATES: &str = "sslrootcert=";

/// See the module.
#[derive(Clone)]
pub struct Database {
    config: Config,
    tls: Option<MakeRustlsConnect>,
}

impl Database {
    /// Reads an address and the certificates it needs; `adapt` sets what the address does not.
    pub fn at(url: &str, adapt: impl FnOnce(&mut Config)) -> Result<Self, Failure> {
        let (url, authorities) = take_authorities(url);
        let mut config: Config = url.parse().context("the database's address")?;
        let tls = match config.get_ssl_mode() {
            SslMode::Disable => false,
            SslMode::Require => true,
            _ => !config.get_hosts().iter().all(is_local),
        };
        config.ssl_mode(if tls { SslMode::Require } else { SslMode::Disable });
        adapt(&mut config);
        let tls = if tls { Some(connector(authorities.as_deref().unwrap_or(SYSTEM_CERTIFICATES))?) } else { None };
        Ok(Self { config, tls })
    }

    /// A connection, driven by a task of the runtime until the client is dropped.
    pub async fn connect(&self) -> Result<Client, Error> {
        match &self.tls {
            Some(tls) => {
                let (client, connection) = self.config.connect(tls.clone()).await?;
                tokio::spawn(connection);
                Ok(client)
            }
            None => {
                let (client, connection) = self.config.connect(NoTls).await?;
                tokio::spawn(connection);
                Ok(client)
            }
        }
    }
}

impl std::fmt::Debug for Database {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The configuration has a password in it.
        f.debug_struct("Database").field("tls", &self.tls.is_some()).finish_non_exhaustive()
    }
}

/// The address without the word that names a file of certificates, and that file.
fn take_authorities(url: &str) -> (String, Option<String>) {
    let Some((address, words)) = url.split_once('?') else { return (url.into(), None) };
    let (named, others): (Vec<&str>, Vec<&str>) =
        words.split('&').partition(|word| word.starts_with(ROOT_CERTIFICATES));
    let file = named.last().map(|word| word[ROOT_CERTIFICATES.len()..].to_owned());
    let others = others.join("&");
    (if others.is_empty() { address.into() } else { format!("{address}?{others}") }, file)
}

fn is_local(host: &Host) -> bool {
    match host {
        Host::Unix(_) => true,
        Host::Tcp(name) => name == "localhost" || name.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback()),
    }
}

fn connector(authorities: &str) -> Result<MakeRustlsConnect, Failure> {
    let unusable = |why: &dyn std::fmt::Display| {
        Failure::new(format!("the certificates in {authorities} for the database: {why}"))
            .way_out("name a PEM file of the database's authorities with sslrootcert=FILE in its address")
    };
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(authorities).map_err(|why| unusable(&why))? {
        roots.add(certificate.map_err(|why| unusable(&why))?).map_err(|why| unusable(&why))?;
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])
        .context("TLS for the database")?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(MakeRustlsConnect::new(config))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn has_tls(url: &str) -> bool {
        Database::at(url, |_| {}).expect("a proper address").tls.is_some()
    }

    #[test]
    fn what_stays_on_this_host_is_plain_and_what_leaves_it_is_not() {
        for plain in ["postgres://u@127.0.0.1/d", "postgres://u@[::1]/d", "postgres://u@localhost/d"] {
            assert!(!has_tls(plain), "{plain}");
        }
        assert!(!has_tls("postgres://u@%2Frun%2Fpostgresql/d"));
        assert!(!has_tls("postgres://u@db.example/d?sslmode=disable"));
        let without_certificates = "sslrootcert=/nowhere.pem";
        for tls in [
            format!("postgres://u@db.example/d?{without_certificates}"),
            format!("postgres://u@127.0.0.1/d?{without_certificates}&sslmode=require"),
        ] {
            let why = Database::at(&tls, |_| {}).expect_err("needs certificates").to_string();
            assert!(why.contains("/nowhere.pem") && why.contains("sslrootcert=FILE"), "{why}");
        }
    }

    #[test]
    fn the_file_of_certificates_is_taken_out_of_the_address() {
        let (url, file) = take_authorities("postgres://u@h/d?sslmode=require&sslrootcert=/a/b.pem&connect_timeout=3");
        assert_eq!(
            (url.as_str(), file.as_deref()),
            ("postgres://u@h/d?sslmode=require&connect_timeout=3", Some("/a/b.pem"))
        );
        assert_eq!(take_authorities("postgres://u@h/d?sslrootcert=x").0, "postgres://u@h/d");
    }
}
