//! The real `ntm-as` in a folder of its own, and clients to it. Everything that was started ends with the value
//! that started it, by its own process id.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use base64::Engine as _;
use ntm_proto::crypto::{Secret, default_provider};
use ntm_proto::id::Fqdn;
use ntm_proto::identity::{IdentityKey, NodeRecord};
use ntm_proto::wire::identity::emit_record;
use ntm_server::clock::{random, unix_now};
pub(crate) use ntm_server::testing::Folder;
use rustls_pki_types::pem::PemObject as _;
use serde_json::{Value, json};

pub(crate) const DOMAIN: &str = "ntm.example";
pub(crate) const ADMIN_PASSWORD: &str = "the operator's own";
pub(crate) const PASSWORD: &str = "correct horse battery";
/// What a condition may take to become true, on a machine that is busy with other things.
const PATIENCE: Duration = Duration::from_secs(60);

/// How a domain differs from the usual one of the tests.
#[derive(Debug, Default)]
pub(crate) struct Setting {
    /// Lines of the main table.
    pub(crate) main: String,
    /// Whole tables.
    pub(crate) tables: String,
    pub(crate) store: Option<String>,
    pub(crate) honest_hashes: bool,
}

/// A domain on disk, made by `ntm-as init`.
#[derive(Debug)]
pub(crate) struct Domain {
    pub(crate) folder: Folder,
}

impl Domain {
    pub(crate) fn new(setting: &Setting) -> Self {
        let domain = Self { folder: Folder::new() };
        let password = domain.path("admin-password");
        ntm_server::files::create_secret(&password, ADMIN_PASSWORD.as_bytes()).expect("written");
        let data = domain.path("data");
        let mut arguments = vec!["init", "--domain", DOMAIN, "--listen", "127.0.0.1:0", "--listen", "[::1]:0"];
        arguments.extend(["--host", "localhost", "--host", "127.0.0.1", "--host", "::1", "--metrics", ""]);
        arguments.extend(["--data", data.to_str().expect("text"), "--admin-password-file"]);
        arguments.push(password.to_str().expect("text"));
        if let Some(store) = &setting.store {
            arguments.extend(["--store", store]);
        }
        let made = domain.run(&arguments);
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        let text = std::fs::read_to_string(domain.config()).expect("the configuration");
        let (main, tls) = text.split_once("[tls]").expect("has a table for TLS");
        let cheap = if setting.honest_hashes { "" } else { "[passwords]\nmemory_kib = 64\niterations = 1\n" };
        let text = format!("{main}{}\n[tls]{tls}{cheap}{}", setting.main, setting.tables);
        std::fs::write(domain.config(), text).expect("written");
        domain
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn config(&self) -> PathBuf {
        self.path("ntm-as.toml")
    }

    pub(crate) fn ca(&self) -> PathBuf {
        self.path("data/tls-ca.crt")
    }

    /// Runs a command of `ntm-as` to its end.
    pub(crate) fn run(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ntm-as"));
        command.arg("--config").arg(self.config()).args(arguments).stdin(Stdio::null());
        command.output().expect("the program runs")
    }

    /// The same for one that must succeed; what it printed.
    pub(crate) fn done(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).expect("text")
    }

    /// The same for one that must fail: its status and what it complained.
    pub(crate) fn fails(&self, arguments: &[&str]) -> (i32, String) {
        let output = self.run(arguments);
        let complaint = String::from_utf8(output.stderr).expect("text");
        (output.status.code().expect("ended by itself"), complaint)
    }

    pub(crate) fn start(&self) -> Running {
        Running::start(&self.config())
    }
}

/// A running `ntm-as`, killed when dropped.
#[derive(Debug)]
pub(crate) struct Running {
    child: Child,
    pub(crate) addresses: Vec<SocketAddr>,
    pub(crate) log: Arc<Mutex<String>>,
}

impl Running {
    fn start(config: &Path) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ntm-as"));
        command.arg("--config").arg(config).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("the program starts");
        let errors = child.stderr.take().expect("piped");
        let log = Arc::new(Mutex::new(String::new()));
        let (ready, is_ready) = mpsc::channel();
        let kept = Arc::clone(&log);
        std::thread::spawn(move || {
            for line in BufReader::new(errors).lines().map_while(Result::ok) {
                kept.lock().expect("whole").push_str(&format!("{line}\n"));
                if line.contains("serving accounts of") {
                    let _ = ready.send(line);
                }
            }
        });
        let mut running = Self { child, addresses: Vec::new(), log };
        let Ok(line) = is_ready.recv_timeout(PATIENCE) else { panic!("did not start: {}", running.said()) };
        let addresses = line.split(' ').filter_map(|word| word.strip_prefix("https://"));
        running.addresses = addresses.map(|text| text.parse().expect("an address")).collect();
        running
    }

    pub(crate) fn said(&self) -> String {
        self.log.lock().expect("whole").clone()
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// SIGKILL, in the middle of whatever it does.
    pub(crate) fn kill(mut self) {
        self.child.kill().expect("killed");
        self.child.wait().expect("gone");
    }

    pub(crate) fn signal(&self, name: &str) {
        let status = Command::new("kill").args([name, &self.pid().to_string()]).status().expect("kill runs");
        assert!(status.success());
    }

    /// SIGTERM; its exit status.
    pub(crate) fn stop(mut self) -> Option<i32> {
        self.signal("-TERM");
        let status = wait_for("the server to end", || self.child.try_wait().expect("waits"));
        status.code()
    }

    pub(crate) fn url(&self) -> String {
        format!("https://{}", self.addresses[0])
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A client that keeps no cookies by itself.
#[derive(Clone, Debug)]
pub(crate) struct Client {
    agent: ureq::Agent,
    base: String,
}

/// An answer, whole.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: ureq::http::HeaderMap,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or(Value::Null)
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub(crate) fn error(&self) -> String {
        self.json()["error"].as_str().unwrap_or_default().to_owned()
    }

    pub(crate) fn header(&self, name: &str) -> String {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned()
    }
}

/// A request on its way.
#[derive(Debug)]
pub(crate) struct Ask<'a> {
    client: &'a Client,
    method: &'a str,
    path: String,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

impl Ask<'_> {
    pub(crate) fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    pub(crate) fn json(mut self, body: &Value) -> Self {
        self.body = body.to_string().into_bytes();
        self.header("content-type", "application/json")
    }

    pub(crate) fn form(mut self, fields: &[(&str, &str)]) -> Self {
        let encoded: Vec<_> = fields.iter().map(|(name, value)| format!("{name}={}", encode(value))).collect();
        self.body = encoded.join("&").into_bytes();
        self.header("content-type", "application/x-www-form-urlencoded")
    }

    pub(crate) fn bytes(mut self, body: Vec<u8>) -> Self {
        self.body = body;
        self
    }

    pub(crate) fn send(self) -> Answer {
        self.try_send().expect("the server answers")
    }

    /// For when the server may be killed under it.
    pub(crate) fn try_send(self) -> Result<Answer, ureq::Error> {
        let mut request =
            ureq::http::Request::builder().method(self.method).uri(format!("{}{}", self.client.base, self.path));
        for (name, value) in &self.headers {
            request = request.header(name, value);
        }
        let mut response = self.client.agent.run(request.body(self.body).expect("a request"))?;
        let body = response.body_mut().read_to_vec()?;
        Ok(Answer { status: response.status().as_u16(), headers: response.headers().clone(), body })
    }
}

fn encode(text: &str) -> String {
    text.bytes().fold(String::new(), |mut encoded, byte| {
        if byte.is_ascii_alphanumeric() {
            encoded.push(char::from(byte))
        } else {
            encoded += &format!("%{byte:02X}")
        }
        encoded
    })
}

/// A signed-in account.
#[derive(Clone, Debug)]
pub(crate) struct Session {
    pub(crate) client: Client,
    pub(crate) cookie: String,
    pub(crate) csrf: String,
}

impl Session {
    pub(crate) fn get(&self, path: &str) -> Answer {
        self.client.ask("GET", path).header("cookie", &self.cookie).send()
    }

    pub(crate) fn ask<'a>(&'a self, method: &'a str, path: &str) -> Ask<'a> {
        self.client.ask(method, path).header("cookie", &self.cookie).header("x-csrf-token", &self.csrf)
    }

    pub(crate) fn new_key(&self, uses: u32) -> String {
        let answer = self.ask("POST", "/v1/enrolment-keys").json(&json!({ "uses": uses })).send();
        assert_eq!(answer.status, 201, "{}", answer.text());
        answer.json()["key"].as_str().expect("a key").to_owned()
    }
}

impl Client {
    pub(crate) fn new(domain: &Domain, address: SocketAddr) -> Self {
        let pem = std::fs::read(domain.ca()).expect("the CA");
        let ca = ureq::tls::Certificate::from_pem(&pem).expect("a certificate");
        let tls = ureq::tls::TlsConfig::builder()
            .provider(ureq::tls::TlsProvider::Rustls)
            .unversioned_rustls_crypto_provider(rustls::crypto::aws_lc_rs::default_provider().into())
            .root_certs(ureq::tls::RootCerts::from([ca]))
            .build();
        let agent = ureq::Agent::config_builder()
            .tls_config(tls)
            .max_redirects(0)
            .http_status_as_error(false)
            .allow_non_standard_methods(true)
            .timeout_global(Some(PATIENCE))
            .build();
        Self { agent: agent.into(), base: format!("https://{address}") }
    }

    pub(crate) fn ask<'a>(&'a self, method: &'a str, path: &str) -> Ask<'a> {
        Ask { client: self, method, path: path.into(), headers: Vec::new(), body: Vec::new() }
    }

    pub(crate) fn get(&self, path: &str) -> Answer {
        self.ask("GET", path).send()
    }

    pub(crate) fn post(&self, path: &str, body: &Value) -> Answer {
        self.ask("POST", path).json(body).send()
    }

    pub(crate) fn sign_up(&self, account: &str) -> Answer {
        self.post("/v1/accounts", &json!({ "account": account, "password": PASSWORD }))
    }

    pub(crate) fn try_sign_in(&self, account: &str, password: &str) -> Answer {
        self.post("/v1/session", &json!({ "account": account, "password": password }))
    }

    pub(crate) fn sign_in(&self, account: &str, password: &str) -> Session {
        let answer = self.try_sign_in(account, password);
        assert_eq!(answer.status, 200, "{}", answer.text());
        let cookie = answer.header("set-cookie").split(';').next().unwrap_or_default().to_owned();
        let csrf = answer.json()["csrf"].as_str().expect("a word").to_owned();
        Session { client: self.clone(), cookie, csrf }
    }

    /// A new account, signed in.
    pub(crate) fn member(&self, account: &str) -> Session {
        assert_eq!(self.sign_up(account).status, 201);
        self.sign_in(account, PASSWORD)
    }

    pub(crate) fn admin(&self) -> Session {
        self.sign_in("admin", ADMIN_PASSWORD)
    }

    pub(crate) fn login(&self, account: &str, secret: (&str, &str), node: &Node) -> Answer {
        self.post("/v1/login", &json!({ "account": account, secret.0: secret.1, "record": node.record_text() }))
    }
}

/// A domain and its server, running.
#[derive(Debug)]
pub(crate) struct World {
    pub(crate) server: Running,
    pub(crate) client: Client,
    pub(crate) domain: Domain,
}

impl World {
    pub(crate) fn new() -> Self {
        Self::with(&Setting::default())
    }

    pub(crate) fn with(setting: &Setting) -> Self {
        let domain = Domain::new(setting);
        let server = domain.start();
        let client = Client::new(&domain, server.addresses[0]);
        Self { server, client, domain }
    }

    /// A client at another address than [`World::client`]: over IPv6.
    pub(crate) fn elsewhere(&self) -> Client {
        Client::new(&self.domain, self.server.addresses[1])
    }

    pub(crate) fn login_client(&self) -> ntm_login::Client {
        ntm_login::Client::new(&self.server.url(), Some(&self.domain.ca())).expect("a client")
    }

    /// A TLS connection for requests that no proper client sends.
    pub(crate) fn raw(&self) -> rustls::StreamOwned<rustls::ClientConnection, TcpStream> {
        raw(&self.domain, self.server.addresses[0], &[&rustls::version::TLS13]).expect("connects")
    }
}

/// A TLS connection of given versions.
pub(crate) fn raw(
    domain: &Domain,
    address: SocketAddr,
    versions: &[&'static rustls::SupportedProtocolVersion],
) -> std::io::Result<rustls::StreamOwned<rustls::ClientConnection, TcpStream>> {
    let mut roots = rustls::RootCertStore::empty();
    let ca = rustls_pki_types::CertificateDer::from_pem_file(domain.ca()).expect("a certificate");
    roots.add(ca).expect("a proper certificate");
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(versions)
        .expect("versions")
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = "localhost".try_into().expect("a name");
    let connection = rustls::ClientConnection::new(Arc::new(config), name).expect("a connection");
    let stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut stream = rustls::StreamOwned::new(connection, stream);
    stream.flush()?;
    Ok(stream)
}

/// Reads until the other end closes, or gives up.
pub(crate) fn read_to_end(stream: &mut impl std::io::Read) -> String {
    let mut text = Vec::new();
    let _ = stream.take(1 << 20).read_to_end(&mut text);
    String::from_utf8_lossy(&text).into_owned()
}

/// A node with keys of its own.
#[derive(Clone, Debug)]
pub(crate) struct Node {
    pub(crate) identity: IdentityKey,
    pub(crate) record: NodeRecord,
}

impl Node {
    pub(crate) fn new(label: &str) -> Self {
        let identity = IdentityKey::from_seed(default_provider(), Secret::new(random()));
        Self::of(identity, &format!("{label}.{DOMAIN}"), DOMAIN)
    }

    pub(crate) fn of(identity: IdentityKey, fqdn: &str, manager: &str) -> Self {
        let name = |text| Fqdn::parse(text).expect("a name");
        let (fqdn, manager) = (name(fqdn), name(manager));
        let record = NodeRecord::sign(default_provider(), &identity, fqdn, [5; 32], manager, false, unix_now());
        Self { identity, record }
    }

    pub(crate) fn id(&self) -> String {
        self.record.node_id().to_string()
    }

    pub(crate) fn record_text(&self) -> String {
        base64::engine::general_purpose::STANDARD.encode(emit_record(&self.record))
    }

    /// A renewal as the node signs it.
    pub(crate) fn renewal(&self, issued: u64, nonce: [u8; 16]) -> Value {
        let signed = ntm_login::message::renewal_signed_part(&self.record.manager, issued, &nonce, &self.record);
        let signature = self.identity.sign(default_provider(), &signed);
        json!({
            "record": self.record_text(), "issued": issued, "nonce": ntm_server::hex::encode(&nonce),
            "signature": ntm_server::hex::encode(&signature),
        })
    }
}

pub(crate) fn now() -> u64 {
    unix_now().as_millis()
}

/// Asks until there is an answer.
pub(crate) fn wait_for<T>(what: &str, mut answer: impl FnMut() -> Option<T>) -> T {
    let began = Instant::now();
    loop {
        if let Some(found) = answer() {
            return found;
        }
        assert!(began.elapsed() < PATIENCE, "waited too long for {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}
