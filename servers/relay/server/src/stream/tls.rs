//! TLS for the streams. It is a disguise and a transport, no protection: nodes take any certificate, because the
//! session inside proves relay and direction server by the keys in their own certificates, and the binds inside prove
//! the node. Whoever sits in the middle of the TLS connection sees what he would see of the UDP datagrams.

use std::path::Path;
use std::sync::Arc;

use ntm_server::files::read_secret;
use ntm_server::{Failure, ResultExt as _};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;

/// Reads certificate and key, and says what is wrong with them.
pub(crate) fn acceptor(certificate: &Path, key: &Path) -> Result<TlsAcceptor, Failure> {
    let way_out = "`ntm-rs init` makes both; or leave the table [tls] out";
    let pem = std::fs::read(certificate).context(certificate.display()).map_err(|why| why.way_out(way_out))?;
    let chain: Vec<_> =
        CertificateDer::pem_slice_iter(&pem).collect::<Result<_, _>>().context(certificate.display())?;
    if chain.is_empty() {
        return Err(Failure::new(format!("{} holds no certificate", certificate.display())).way_out(way_out));
    }
    let secret = read_secret(key)?;
    let secret = PrivateKeyDer::from_pem_slice(&secret).context(key.display()).map_err(|why| why.way_out(way_out))?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .context("TLS 1.3")?
        .with_no_client_auth()
        .with_single_cert(chain, secret)
        .context(format!("{} and {}", certificate.display(), key.display()))
        .map_err(|why| why.way_out(way_out))?;
    Ok(TlsAcceptor::from(Arc::new(config)))
}

/// A certificate and its key, as PEM, for a relay of this name.
pub(crate) fn self_signed(name: &str) -> Result<(String, String), Failure> {
    let made = rcgen::generate_simple_self_signed([name.to_owned()]).context("cannot make a certificate")?;
    Ok((made.cert.pem(), made.signing_key.serialize_pem()))
}
