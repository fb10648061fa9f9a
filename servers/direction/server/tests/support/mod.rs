//! A provider's domain for the tests, with real `ntm-dc` processes: each on a loopback address of its own, so that
//! no two tests want the same port, and ended by its id when its owner is dropped.
#![allow(dead_code, unreachable_pub, clippy::print_stderr, reason = "each test binary uses its own part of this")]

use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream, UdpSocket};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use hickory_proto::op::{Message, Query};
use hickory_proto::rr::{Name, RecordType};
use ntm_proto::crypto::{Secret, default_provider};
use ntm_proto::id::{AccountPseudonym, Fqdn};
use ntm_proto::identity::{IdentityKey, NodeRecord, NoiseKey, Role, ServerCert, Ticket};
use ntm_proto::time::UnixTime;
use ntm_raw_node::{Fleet, Identity};
use ntm_server::clock::{random, unix_now};
use ntm_server::credentials::{Credentials, Direction, Key, RoleCredentials};
use ntm_server::hex;
pub use ntm_server::testing::Folder;

/// How long anything may take on a busy machine before it counts as not happening.
pub const PATIENCE: Duration = Duration::from_secs(60);
const DAY: Duration = Duration::from_secs(86_400);

pub fn fqdn(text: &str) -> Fqdn {
    Fqdn::parse(text).expect("a proper name")
}

/// A loopback address that no other test of this machine uses now.
pub fn own_address() -> Ipv4Addr {
    static NEXT: AtomicU32 = AtomicU32::new(1);
    let (process, number) = (std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
    Ipv4Addr::new(127, 16 + (process >> 8) as u8 % 200, process as u8, number as u8)
}

/// A provider domain: what its account server would do.
pub struct Domain {
    pub name: Fqdn,
    pub key: IdentityKey,
    pub service_key: Secret,
}

impl Domain {
    pub fn new(name: &str) -> Self {
        let key = IdentityKey::from_seed(default_provider(), Secret::new(random()));
        Self { name: fqdn(name), key, service_key: Secret::new(random()) }
    }

    /// A certificate for a DC at `address`.
    pub fn certify(&self, server: &str, noise: &NoiseKey, address: SocketAddr, not_after: UnixTime) -> ServerCert {
        ServerCert::sign(
            default_provider(),
            &self.key,
            Role::Direction,
            self.name.clone(),
            fqdn(&format!("{server}.{}", self.name)),
            *noise.public(),
            vec![address],
            not_after,
        )
    }

    /// A node that has logged in.
    pub fn node(&self, host: &str, directions: &[ServerCert]) -> Identity {
        self.node_until(host, directions, unix_now() + DAY)
    }

    pub fn node_until(&self, host: &str, directions: &[ServerCert], expires: UnixTime) -> Identity {
        let provider = default_provider();
        let key = IdentityKey::from_seed(provider, Secret::new(random()));
        let noise = NoiseKey::from_secret(provider, Secret::new(random()));
        let name = fqdn(&format!("{host}.{}", self.name));
        let record = NodeRecord::sign(provider, &key, name, *noise.public(), self.name.clone(), false, unix_now());
        let shared = Secret::new(random());
        let ticket = Ticket {
            node: record.node_id(),
            record_digest: record.digest(),
            key: shared.clone(),
            account: AccountPseudonym(random()),
            expires,
        };
        let ticket = ticket.seal(&self.service_key, random());
        Identity { record, noise, ticket, key: shared, directions: directions.to_vec(), wake_token: None }
    }
}

/// One DC's files and, while it runs, its process.
pub struct Dc {
    pub folder: Folder,
    pub ip: Ipv4Addr,
    pub cert: ServerCert,
    noise: NoiseKey,
    child: Option<Child>,
}

impl Dc {
    /// Makes key, credentials and configuration, and starts nothing. `more` is appended to the configuration.
    pub fn prepare(domain: &Domain, server: &str, more: &str) -> Self {
        let (folder, ip) = (Folder::new(), own_address());
        let secret: [u8; 32] = random();
        let noise = NoiseKey::from_secret(default_provider(), Secret::new(secret));
        write_secret(&folder.join("noise.key"), hex::encode(&secret).as_bytes());
        let cert = domain.certify(server, &noise, SocketAddr::new(ip.into(), 4500), unix_now() + DAY * 30);
        let dc = Self { folder, ip, cert, noise, child: None };
        dc.credentials(domain, 1, &[]);
        dc.configure(&format!("{:?}", dc.folder.join("registry.redb")), more);
        dc
    }

    /// Writes credentials that name these siblings.
    pub fn credentials(&self, domain: &Domain, version: u64, siblings: &[ServerCert]) {
        let direction = Direction {
            service_keys: vec![Key(domain.service_key.clone())],
            relays: Default::default(),
            siblings: siblings.to_vec(),
        };
        self.write_credentials(
            domain,
            &Credentials {
                version,
                domain_key: *domain.key.public(),
                cert: self.cert.clone(),
                role: RoleCredentials::Direction(direction),
            },
        );
    }

    pub fn write_credentials(&self, domain: &Domain, credentials: &Credentials) {
        let sealed = credentials.seal(&domain.key, self.noise.public()).expect("seals");
        write_secret(&self.folder.join("credentials.bin"), &sealed);
    }

    /// Credentials whose certificate ended.
    pub fn expire(&mut self, domain: &Domain) {
        let address = SocketAddr::new(self.ip.into(), 4500);
        let name = self.cert.name.as_str().split('.').next().expect("a label").to_owned();
        self.cert = domain.certify(&name, &self.noise, address, UnixTime::from_secs(1_700_000_000));
        self.credentials(domain, 2, &[]);
    }

    pub fn configure(&self, registry: &str, more: &str) {
        self.configure_dns(registry, more, "rate = 1000000");
    }

    pub fn configure_dns(&self, registry: &str, more: &str, dns: &str) {
        let folder = self.folder.path().display();
        let text = format!(
            "noise_key = \"{folder}/noise.key\"\ncredentials = \"{folder}/credentials.bin\"\nregistry = {registry}\n\
             metrics = \"{ip}:9102\"\n{more}\n[dns]\nlisten = [\"{ip}:5300\"]\n{dns}\n",
            ip = self.ip,
        );
        fs::write(self.folder.join("ntm-dc.toml"), text).expect("writes");
    }

    pub fn config_path(&self) -> PathBuf {
        self.folder.join("ntm-dc.toml")
    }

    pub fn start(domain: &Domain, server: &str, more: &str) -> Self {
        let mut dc = Self::prepare(domain, server, more);
        dc.run();
        dc
    }

    /// Starts the process and waits until it serves.
    pub fn run(&mut self) {
        let log = fs::OpenOptions::new().create(true).append(true).open(self.folder.join("log")).expect("a log");
        let child = Command::new(env!("CARGO_BIN_EXE_ntm-dc"))
            .args(["--config", self.config_path().to_str().expect("a text")])
            .stderr(log)
            .stdout(Stdio::null())
            .stdin(Stdio::null())
            .spawn()
            .expect("starts");
        self.child = Some(child);
        wait_for("the server to serve", || {
            let child = self.child.as_mut().expect("was started");
            if let Some(status) = child.try_wait().expect("is ours") {
                panic!("ended with {status}: {}", self.log());
            }
            http(self.metrics_address(), "/healthz").is_some_and(|body| body.contains("ok"))
        });
    }

    pub fn noise(&self) -> NoiseKey {
        self.noise.clone()
    }

    pub fn log(&self) -> String {
        fs::read_to_string(self.folder.join("log")).unwrap_or_default()
    }

    pub fn address(&self) -> SocketAddr {
        SocketAddr::new(self.ip.into(), 4500)
    }

    pub fn dns_address(&self) -> SocketAddr {
        SocketAddr::new(self.ip.into(), 5300)
    }

    fn metrics_address(&self) -> SocketAddr {
        SocketAddr::new(self.ip.into(), 9102)
    }

    pub fn pid(&self) -> u32 {
        self.child.as_ref().expect("runs").id()
    }

    pub fn signal(&self, name: &str) {
        let status = Command::new("kill").args([&format!("-{name}"), &self.pid().to_string()]).status();
        assert!(status.expect("kill runs").success());
    }

    /// kill -9.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// SIGTERM, and how it ended.
    pub fn terminate(&mut self) -> ExitStatus {
        self.signal("TERM");
        self.child.take().expect("runs").wait().expect("is ours")
    }

    /// One figure; with labels as Prometheus writes them: `dropped_total{reason="bad_mac"}`. Zero where there is none.
    pub fn metric(&self, name: &str) -> u64 {
        let body = http(self.metrics_address(), "/metrics").expect("the server answers");
        let wanted = format!("ntm_dc_{name} ");
        body.lines().find_map(|line| line.strip_prefix(&wanted)?.trim().parse().ok()).unwrap_or(0)
    }

    /// Asks the DNS server over UDP, again where no answer comes.
    #[track_caller]
    pub fn dig(&self, name: &str, kind: RecordType) -> Message {
        let mut answer = None;
        wait_for("an answer of the DNS server", || {
            answer = dig(self.dns_address(), name, kind);
            answer.is_some()
        });
        answer.expect("was waited for")
    }
}

impl Drop for Dc {
    fn drop(&mut self) {
        self.kill();
        if std::thread::panicking() {
            eprintln!("--- {} said:\n{}", self.cert.name, self.log());
        }
    }
}

pub fn write_secret(path: &Path, content: &[u8]) {
    let _ = fs::remove_file(path);
    let mut file: File =
        fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).expect("a new file");
    file.write_all(content).expect("writes");
}

/// Waits until `done`, and fails where it does not come.
#[track_caller]
pub fn wait_for(what: &str, mut done: impl FnMut() -> bool) {
    let until = Instant::now() + PATIENCE;
    while !done() {
        assert!(Instant::now() < until, "waited in vain for {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// What a GET gives.
pub fn http(address: SocketAddr, path: &str) -> Option<String> {
    let mut stream = TcpStream::connect_timeout(&address, PATIENCE).ok()?;
    stream.set_read_timeout(Some(PATIENCE)).ok()?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    answer.split_once("\r\n\r\n").map(|(_, body)| body.to_owned())
}

pub fn question(name: &str, kind: RecordType) -> Vec<u8> {
    let mut asked = Message::query();
    asked.add_query(Query::query(Name::from_ascii(name).expect("a name"), kind));
    asked.to_vec().expect("emits")
}

fn dig(server: SocketAddr, name: &str, kind: RecordType) -> Option<Message> {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a socket");
    socket.set_read_timeout(Some(Duration::from_secs(2))).expect("a time");
    socket.send_to(&question(name, kind), server).ok()?;
    let mut buffer = [0; 4_096];
    let (length, _) = socket.recv_from(&mut buffer).ok()?;
    Message::from_vec(&buffer[..length]).ok()
}

/// The answer's data as text.
pub fn data(message: &Message) -> Vec<String> {
    message.answers.iter().map(|record| record.data.to_string()).collect()
}

/// Drives until all nodes of the fleet have registered.
#[track_caller]
pub fn register_all(fleet: &mut Fleet) {
    let done = fleet.drive_until(PATIENCE, |fleet, _| (0..fleet.len()).all(|node| fleet.virtual4(node).is_some()));
    assert!(done.expect("drives"), "not all registered");
}

pub fn loopback() -> IpAddr {
    Ipv4Addr::LOCALHOST.into()
}
