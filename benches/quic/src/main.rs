//! QUIC streams (quinn) for the measurements: the uses of `benches/c/peer.c` and of `tests/lab/programs/transfer.c`, and
//! the same answers.
//!
//! ```text
//! quic-peer aes|chacha serve ADDRESS
//! quic-peer aes|chacha stream ADDRESS SECONDS
//! quic-peer aes|chacha ping ADDRESS COUNT SIZE
//! quic-peer aes|chacha short ADDRESS COUNT SIZE WIDTH each|one
//! ```
//! `short`: COUNT transfers of SIZE bytes, WIDTH at a time, in a connection each or as streams of one.
#![forbid(unsafe_op_in_unsafe_fn)]

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use quinn::rustls::crypto::{CryptoProvider, aws_lc_rs};
use quinn::rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer, ServerName, UnixTime};
use quinn::{ClientConfig, Connection, Endpoint, RecvStream, SendStream, ServerConfig};

const CHUNK: usize = 1 << 18;

#[tokio::main]
async fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words[..] {
        [cipher, "serve", address] => serve(provider(cipher)?, address.parse()?).await,
        [cipher, "stream", address, seconds] => stream(provider(cipher)?, address.parse()?, seconds.parse()?).await,
        [cipher, "ping", address, count, size] => {
            ping(provider(cipher)?, address.parse()?, count.parse()?, size.parse()?).await
        }
        [cipher, "short", address, count, size, width, connections @ ("each" | "one")] => {
            let (provider, address) = (provider(cipher)?, address.parse()?);
            let shared = if connections == "one" { Some(reach(provider.clone(), address).await?) } else { None };
            let shorts =
                Shorts { provider, address, shared, left: AtomicUsize::new(count.parse()?), size: size.parse()? };
            shorts.run(width.parse()?).await
        }
        _ => bail!("see the head of main.rs"),
    }
}

/// QUIC's handshake itself needs AES-128-GCM to be there; the one wanted comes first, so both ends take it.
fn provider(cipher: &str) -> Result<Arc<CryptoProvider>> {
    use aws_lc_rs::cipher_suite::{TLS13_AES_128_GCM_SHA256, TLS13_AES_256_GCM_SHA384, TLS13_CHACHA20_POLY1305_SHA256};
    let wanted = match cipher {
        "aes" => TLS13_AES_256_GCM_SHA384,
        "chacha" => TLS13_CHACHA20_POLY1305_SHA256,
        _ => bail!("{cipher} is neither aes nor chacha"),
    };
    let cipher_suites = vec![wanted, TLS13_AES_128_GCM_SHA256];
    Ok(Arc::new(CryptoProvider { cipher_suites, ..aws_lc_rs::default_provider() }))
}

async fn serve(provider: Arc<CryptoProvider>, address: SocketAddr) -> Result<()> {
    let certificate = rcgen::generate_simple_self_signed(vec!["peer".to_owned()])?;
    let key = PrivatePkcs8KeyDer::from(certificate.signing_key.serialize_der());
    let tls = rustls::ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_no_client_auth()
        .with_single_cert(vec![certificate.cert.into()], key.into())?;
    let config = ServerConfig::with_crypto(Arc::new(QuicServerConfig::try_from(tls)?));
    let endpoint = Endpoint::server(config, address)?;
    println!("serving");
    while let Some(incoming) = endpoint.accept().await {
        tokio::spawn(async move {
            let connection = incoming.await?;
            while let Ok((send, receive)) = connection.accept_bi().await {
                tokio::spawn(attend(send, receive));
            }
            anyhow::Ok(())
        });
    }
    Ok(())
}

/// The first byte says what the stream is for: `s` bytes to take, `p` pings of the size that follows.
async fn attend(mut send: SendStream, mut receive: RecvStream) -> Result<()> {
    let mut what = [0];
    receive.read_exact(&mut what).await?;
    if what == *b"s" {
        let begun = cpu();
        let mut total = 0;
        while let Some(chunk) = receive.read_chunk(CHUNK, true).await? {
            total += chunk.bytes.len();
        }
        send.write_all(&(total as f64).to_le_bytes()).await?;
        send.write_all(&(cpu() - begun).to_le_bytes()).await?;
    } else {
        let mut size = [0; 4];
        receive.read_exact(&mut size).await?;
        let mut bytes = vec![0; u32::from_le_bytes(size) as usize];
        while receive.read_exact(&mut bytes).await.is_ok() {
            send.write_all(&bytes).await?;
        }
    }
    send.finish()?;
    send.stopped().await?;
    Ok(())
}

async fn reach(provider: Arc<CryptoProvider>, address: SocketAddr) -> Result<Connection> {
    let tls = rustls::ClientConfig::builder_with_provider(provider.clone())
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(AnyPeer(provider)))
        .with_no_client_auth();
    let mut endpoint = Endpoint::client("0.0.0.0:0".parse()?)?;
    endpoint.set_default_client_config(ClientConfig::new(Arc::new(QuicClientConfig::try_from(tls)?)));
    Ok(endpoint.connect(address, "peer")?.await?)
}

async fn stream(provider: Arc<CryptoProvider>, address: SocketAddr, seconds: f64) -> Result<()> {
    let connection = reach(provider, address).await?;
    let (mut send, mut receive) = connection.open_bi().await?;
    let bytes = vec![0; CHUNK];
    send.write_all(b"s").await?;
    // Half a second to get going, which does not count.
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_millis(500) {
        send.write_all(&bytes).await?;
    }
    let (begun, begun_cpu, mut total) = (Instant::now(), cpu(), 0);
    while begun.elapsed() < Duration::from_secs_f64(seconds) {
        send.write_all(&bytes).await?;
        total += bytes.len();
    }
    let (took, used) = (begun.elapsed().as_secs_f64(), cpu() - begun_cpu);
    send.finish()?;
    let mut report = [0; 16];
    receive.read_exact(&mut report).await.context("the other end's report")?;
    let number = |at: usize| f64::from_le_bytes(report[at..at + 8].try_into().expect("eight bytes"));
    println!(
        "gbit={:.3} bytes={} sender_cpu={:.3} receiver_cpu={:.3}",
        total as f64 * 8e-9 / took,
        number(0),
        used / (total as f64 * 1e-9),
        number(8) / (number(0) * 1e-9)
    );
    Ok(())
}

async fn ping(provider: Arc<CryptoProvider>, address: SocketAddr, count: usize, size: usize) -> Result<()> {
    let connection = reach(provider, address).await?;
    let (mut send, mut receive) = connection.open_bi().await?;
    let mut bytes = vec![0; size];
    send.write_all(b"p").await?;
    send.write_all(&u32::try_from(size)?.to_le_bytes()).await?;
    let mut times = Vec::with_capacity(count);
    for at in 0..count + count / 10 {
        let begun = Instant::now();
        send.write_all(&bytes).await?;
        receive.read_exact(&mut bytes).await?;
        if at >= count / 10 {
            times.push(begun.elapsed());
        }
    }
    times.sort_unstable();
    let micros = |at: usize| times[at].as_nanos() as f64 / 1e3;
    println!("p50={:.2} p99={:.2}", micros(count / 2), micros(count * 99 / 100));
    Ok(())
}

struct Shorts {
    provider: Arc<CryptoProvider>,
    address: SocketAddr,
    /// The connection whose streams they are; without it each has its own.
    shared: Option<Connection>,
    left: AtomicUsize,
    size: usize,
}

impl Shorts {
    async fn run(self, width: usize) -> Result<()> {
        let shorts = Arc::new(self);
        let workers: Vec<_> = (0..width).map(|_| tokio::spawn(shorts.clone().work())).collect();
        let mut times = Vec::new();
        for worker in workers {
            times.extend(worker.await??);
        }
        times.sort_unstable();
        let millis = |time: Duration| time.as_secs_f64() * 1e3;
        let mean = millis(times.iter().sum()) / times.len() as f64;
        let at = |hundredths: usize| millis(times[times.len() * hundredths / 100]);
        println!("mean={mean:.2} p50={:.2} p99={:.2}", at(50), at(99));
        Ok(())
    }

    async fn work(self: Arc<Self>) -> Result<Vec<Duration>> {
        let bytes = vec![0; self.size];
        let mut times = Vec::new();
        while self.left.fetch_update(Relaxed, Relaxed, |left| left.checked_sub(1)).is_ok() {
            let begun = Instant::now();
            let connection = match &self.shared {
                Some(shared) => shared.clone(),
                None => reach(self.provider.clone(), self.address).await?,
            };
            let (mut send, mut receive) = connection.open_bi().await?;
            send.write_all(b"s").await?;
            send.write_all(&bytes).await?;
            send.finish()?;
            receive.read_to_end(64).await?;
            times.push(begun.elapsed());
        }
        Ok(times)
    }
}

/// Seconds of processor time that this process has used.
fn cpu() -> f64 {
    // SAFETY: the call fills the whole structure, which lives on this stack.
    let usage = unsafe {
        let mut usage: libc::rusage = std::mem::zeroed();
        libc::getrusage(libc::RUSAGE_SELF, &raw mut usage);
        usage
    };
    let seconds = |time: libc::timeval| time.tv_sec as f64 + time.tv_usec as f64 * 1e-6;
    seconds(usage.ru_utime) + seconds(usage.ru_stime)
}

/// The other end is whoever the measurement started there.
#[derive(Debug)]
struct AnyPeer(Arc<CryptoProvider>);

impl rustls::client::danger::ServerCertVerifier for AnyPeer {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<rustls::client::danger::ServerCertVerified, rustls::Error> {
        Ok(rustls::client::danger::ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &rustls::DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls12_signature(message, cert, signed, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &rustls::DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls13_signature(message, cert, signed, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<rustls::SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
