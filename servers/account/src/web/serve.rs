//! Connections: TLS 1.3 and nothing below, HTTP/1.1, bounded in number, in time and by address.
//!
//! | who dawdles | is cut off after |
//! |---|---|
//! | with the TLS handshake | `handshake` |
//! | with the head of a request, also of the next one | `head` |
//! | with the body | 10 s (see `request`) |
//! | with reading the answer, or altogether | `connection`, and half a minute more to end the request in hand |

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use ntm_server::clock::unix_now;
use ntm_server::{Failure, ResultExt as _};
use rustls::ServerConfig;
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;

use super::request::Peer;
use super::validity::validity;
use super::views::time;
use crate::counters::{Closed, Counters};
use crate::guard::Network;
use crate::records::Millis;

/// What a request's head may weigh.
const MAX_HEAD: usize = 16 * 1024;
const MAX_HEADERS: usize = 64;
/// How long requests in hand may go on when the server stops or a connection has had its time.
const GRACE: Duration = Duration::from_secs(30);
/// When to warn that the certificate ends.
const ENDS_SOON: Millis = 14 * 24 * 3_600_000;
/// After a failure to accept, such as having no file descriptors left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// How long each part of a connection may take.
#[derive(Clone, Copy, Debug)]
pub struct Timeouts {
    pub handshake: Duration,
    pub head: Duration,
    pub connection: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        let seconds = Duration::from_secs;
        // Clients keep an idle connection for a while, 15 s often; it must not end under their next request.
        Self { handshake: seconds(10), head: seconds(30), connection: seconds(600) }
    }
}

/// The certificate and its key, read from files, and again when asked.
#[derive(Debug)]
pub struct TlsFiles {
    certificate: PathBuf,
    key: PathBuf,
    current: RwLock<Arc<ServerConfig>>,
}

impl TlsFiles {
    pub fn load(certificate: &Path, key: &Path) -> Result<Self, Failure> {
        let current = RwLock::new(Arc::new(tls_config(certificate, key)?));
        Ok(Self { certificate: certificate.to_owned(), key: key.to_owned(), current })
    }

    /// New connections use what the files hold now; where that is wrong, what they held before.
    pub fn reload(&self) -> Result<(), Failure> {
        let fresh = Arc::new(tls_config(&self.certificate, &self.key)?);
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = fresh;
        Ok(())
    }

    fn current(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner))
    }
}

/// What to listen with.
#[derive(Debug)]
pub struct Listening {
    pub tls: Arc<TlsFiles>,
    pub timeouts: Timeouts,
    pub connections: usize,
    pub connections_per_address: usize,
    pub counters: Counters,
}

/// Serves until `stop` says so, then lets requests in hand end.
pub async fn serve(listeners: Vec<TcpListener>, with: Listening, router: Router, mut stop: watch::Receiver<bool>) {
    let places = Arc::new(Places::new(with.connections, with.connections_per_address));
    let with = Arc::new(with);
    let accepting: Vec<_> = listeners
        .into_iter()
        .map(|listener| {
            tokio::spawn(accept(listener, Arc::clone(&with), router.clone(), Arc::clone(&places), stop.clone()))
        })
        .collect();
    let _ = stop.wait_for(|stop| *stop).await;
    for task in accepting {
        let _ = task.await;
    }
    let all_gone = async {
        while places.taken.load(Ordering::Relaxed) > 0 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let _ = tokio::time::timeout(GRACE, all_gone).await;
}

async fn accept(
    listener: TcpListener,
    with: Arc<Listening>,
    router: Router,
    places: Arc<Places>,
    mut stop: watch::Receiver<bool>,
) {
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = stop.wait_for(|stop| *stop) => return,
        };
        let (stream, from) = match accepted {
            Ok(accepted) => accepted,
            Err(why) => {
                tracing::warn!("cannot accept a connection: {why}");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        match Place::take(&places, from.ip()) {
            Ok(place) => {
                let connection = connection(stream, from, Arc::clone(&with), router.clone(), stop.clone());
                tokio::spawn(async move {
                    connection.await;
                    drop(place);
                });
            }
            Err(why) => with.counters.closed(why),
        }
    }
}

/// A connection's whole life.
async fn connection(
    stream: TcpStream,
    from: SocketAddr,
    with: Arc<Listening>,
    router: Router,
    mut stop: watch::Receiver<bool>,
) {
    let _ = stream.set_nodelay(true);
    let handshake = TlsAcceptor::from(with.tls.current()).accept(stream);
    let Ok(Ok(stream)) = tokio::time::timeout(with.timeouts.handshake, handshake).await else {
        with.counters.closed(Closed::Handshake);
        return;
    };
    with.counters.connections.inc();
    let peer = Peer(from.ip().to_canonical());
    let service = router.layer(axum::Extension(peer));
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(with.timeouts.head);
    builder.max_buf_size(MAX_HEAD).max_headers(MAX_HEADERS).half_close(false);
    let mut served = pin!(builder.serve_connection(TokioIo::new(stream), TowerToHyperService::new(service)));
    let ended = tokio::select! {
        ended = served.as_mut() => Some(ended),
        () = tokio::time::sleep(with.timeouts.connection) => None,
        _ = stop.wait_for(|stop| *stop) => None,
    };
    let ended = match ended {
        Some(ended) => ended,
        None => {
            served.as_mut().graceful_shutdown();
            tokio::time::timeout(GRACE, served).await.unwrap_or(Ok(()))
        }
    };
    if ended.is_err() {
        with.counters.closed(Closed::Request);
    }
    with.counters.connections.dec();
}

/// The connections there are, in all and by address.
#[derive(Debug)]
struct Places {
    most: usize,
    most_each: usize,
    taken: AtomicUsize,
    by_network: Mutex<HashMap<Network, usize>>,
}

impl Places {
    fn new(most: usize, most_each: usize) -> Self {
        Self { most, most_each, taken: AtomicUsize::new(0), by_network: Mutex::default() }
    }
}

/// One connection's place, free again when dropped.
#[derive(Debug)]
struct Place {
    places: Arc<Places>,
    network: Network,
}

impl Place {
    fn take(places: &Arc<Places>, from: IpAddr) -> Result<Self, Closed> {
        let network = Network::from(from);
        let mut by_network = places.by_network.lock().unwrap_or_else(PoisonError::into_inner);
        if places.taken.load(Ordering::Relaxed) >= places.most {
            return Err(Closed::Full);
        }
        let here = by_network.entry(network).or_default();
        if *here >= places.most_each {
            return Err(Closed::AddressFull);
        }
        *here += 1;
        places.taken.fetch_add(1, Ordering::Relaxed);
        Ok(Self { places: Arc::clone(places), network })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut by_network = self.places.by_network.lock().unwrap_or_else(PoisonError::into_inner);
        self.places.taken.fetch_sub(1, Ordering::Relaxed);
        if let Some(here) = by_network.get_mut(&self.network) {
            *here -= 1;
            if *here == 0 {
                by_network.remove(&self.network);
            }
        }
    }
}

fn tls_config(certificate: &Path, key: &Path) -> Result<ServerConfig, Failure> {
    let advice = "`ntm-as init` makes a self-signed one; see [tls] in the configuration";
    let bad = |path: &Path, why: &dyn std::fmt::Display| {
        Failure::new(format!("bad certificate: {}: {why}", path.display())).way_out(advice)
    };
    let pem = std::fs::read(certificate).map_err(|why| bad(certificate, &why))?;
    let chain = CertificateDer::pem_slice_iter(&pem).collect::<Result<Vec<_>, _>>();
    let chain = chain.map_err(|why| bad(certificate, &why))?;
    if chain.is_empty() {
        return Err(bad(certificate, &"holds no certificate in PEM"));
    }
    check_validity(&chain[0], unix_now().as_millis()).map_err(|(why, advice)| {
        Failure::new(format!("bad certificate: {}: {why}", certificate.display())).way_out(advice)
    })?;
    let secret = read_key(key)?;
    let secret = PrivateKeyDer::from_pem_slice(&secret).map_err(|why| bad(key, &why))?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .context("TLS 1.3")?
        .with_no_client_auth()
        .with_single_cert(chain, secret)
        .map_err(|why| bad(certificate, &why))?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}

/// Whether a certificate holds now; if not, why and what to do.
fn check_validity(certificate: &[u8], now: Millis) -> Result<(), (String, &'static str)> {
    let Some((from, until)) = validity(certificate) else {
        return Err(("not an X.509 certificate".into(), "see [tls] in the configuration"));
    };
    if now > until {
        return Err((format!("it ended at {} UTC", time(until)), "renew it, then start again or send SIGHUP"));
    }
    if now < from {
        let why = format!("it begins at {} UTC and this host's clock says {}", time(from), time(now));
        return Err((why, "set the clock: timedatectl set-ntp true"));
    }
    if until - now < ENDS_SOON {
        tracing::warn!("the TLS certificate ends at {} UTC", time(until));
    }
    Ok(())
}

/// The private key. What systemd hands over as a credential is readable for a group that only the service is in.
fn read_key(path: &Path) -> Result<zeroize::Zeroizing<Vec<u8>>, Failure> {
    let handed_over = std::env::var_os("CREDENTIALS_DIRECTORY").is_some_and(|folder| path.starts_with(folder));
    if handed_over {
        return std::fs::read(path).map(zeroize::Zeroizing::new).context(path.display());
    }
    ntm_server::files::read_secret(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_outside_its_time_is_complained_about_with_the_way_out() {
        let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).expect("a key");
        let mut parameters = rcgen::CertificateParams::new(vec!["as.ntm.example".into()]).expect("a name");
        parameters.not_before = rcgen::date_time_ymd(2001, 1, 1);
        parameters.not_after = rcgen::date_time_ymd(2002, 1, 1);
        let certificate = parameters.self_signed(&key).expect("signs");
        let days = |days: u64| check_validity(certificate.der(), days * 24 * 3_600_000);
        assert_eq!(days(11_323 + 100), Ok(()));
        assert_eq!(days(11_323 + 366).expect_err("over").0, "it ended at 2002-01-01 00:00 UTC");
        assert!(days(11_322).expect_err("too early").1.contains("set the clock"));
    }

    #[test]
    fn an_address_takes_no_more_than_its_share_of_the_connections() {
        let places = Arc::new(Places::new(5, 2));
        let from = |last: u8| IpAddr::from([192, 0, 2, last]);
        let held: Vec<_> = (0..10).filter_map(|_| Place::take(&places, from(1)).ok()).collect();
        assert_eq!(held.len(), 2);
        assert_eq!(Place::take(&places, from(1)).err(), Some(Closed::AddressFull));
        let others: Vec<_> = (2..10).filter_map(|last| Place::take(&places, from(last)).ok()).collect();
        assert_eq!(others.len(), 3);
        assert_eq!(Place::take(&places, from(99)).err(), Some(Closed::Full));
        drop(held);
        assert!(Place::take(&places, from(1)).is_ok());
        drop(others);
        assert!(places.by_network.lock().expect("whole").is_empty());
    }
}
