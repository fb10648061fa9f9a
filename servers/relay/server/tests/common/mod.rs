//! A relay server as its operator runs it, its direction server, and nodes with real sockets.
#![allow(dead_code, reason = "each file of tests uses a part")]

use std::fs;
use std::io::{BufRead as _, BufReader, ErrorKind, Read as _, Write as _};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use ntm_proto::crypto::{Secret, default_provider};
use ntm_proto::id::{Fqdn, PathId};
use ntm_proto::identity::{IdentityKey, Role, ServerCert};
use ntm_proto::session::{GrantKey, Payer, TokenBody};
use ntm_proto::time::UnixTime;
use ntm_proto::wire::message::Side;
use ntm_proto::wire::outer;
use ntm_relay::testing::{Client, DirectionServer, grant_key};
use ntm_server::clock::{Clock, unix_now};
use ntm_server::credentials::{Credentials, Key, NumberedKey, Relay, Request, RoleCredentials};

pub(crate) const RS: &str = env!("CARGO_BIN_EXE_ntm-rs");
/// Everything a test waits for comes well within this time.
pub(crate) const PATIENCE: Duration = Duration::from_secs(40);

/// Waits until `what` holds.
pub(crate) fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < end, "in vain: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

pub(crate) fn fresh_directory() -> PathBuf {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let number = COUNT.fetch_add(1, Ordering::Relaxed);
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("rs-{}-{number}", std::process::id()));
    let _ = fs::remove_dir_all(&path);
    fs::create_dir_all(&path).expect("a directory for the test");
    path
}

/// A port that is free now and below those that the system hands out.
fn fixed_port() -> u16 {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let is_free = |port: &u16| {
        let v4 = UdpSocket::bind((Ipv4Addr::LOCALHOST, *port));
        v4.is_ok() && UdpSocket::bind((Ipv6Addr::LOCALHOST, *port)).is_ok()
    };
    let mut ports = std::iter::repeat_with(|| {
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        10_000 + (std::process::id().wrapping_mul(8).wrapping_add(count) % 20_000) as u16
    });
    ports.find(is_free).expect("there is no end of them")
}

pub(crate) fn domain_key() -> IdentityKey {
    IdentityKey::from_seed(default_provider(), Secret::new([0xd0; 32]))
}

fn name(text: &str) -> Fqdn {
    Fqdn::parse(text).expect("a name")
}

pub(crate) fn numbered(key: &GrantKey) -> NumberedKey {
    NumberedKey { number: key.key_id, key: Key(key.key.clone()) }
}

/// A relay server that may be running, and the directory it lives in.
pub(crate) struct Rs {
    pub(crate) directory: PathBuf,
    child: Option<Child>,
    pub(crate) log: Arc<Mutex<Vec<String>>>,
    pub(crate) udp4: SocketAddr,
    pub(crate) udp6: SocketAddr,
    pub(crate) tls: SocketAddr,
    pub(crate) metrics: SocketAddr,
    version: u64,
    request: Request,
}

impl Rs {
    /// Keys, credentials and configuration for a relay; nothing runs yet.
    pub(crate) fn prepare(directors: &[&Dc]) -> Self {
        let directory = fresh_directory();
        let config = directory.join("ntm-rs.toml");
        let made = Command::new(RS)
            .args(["init", "--domain", "ntm.example", "--name", "rs1.ntm.example", "--address", "127.0.0.1:4501"])
            .args(["--address", "[::1]:4501"])
            .arg("--directory")
            .arg(&directory)
            .arg("--config")
            .arg(&config)
            .status();
        assert!(made.expect("ntm-rs runs").success());
        let request = fs::read_to_string(directory.join("request.json")).expect("the request");
        let request: Request = serde_json::from_str(&request).expect("a request");
        let nowhere = "127.0.0.1:1".parse().expect("an address");
        let log = Arc::default();
        let mut rs = Self {
            directory,
            child: None,
            log,
            udp4: nowhere,
            udp6: nowhere,
            tls: nowhere,
            metrics: nowhere,
            version: 0,
            request,
        };
        rs.give_credentials(directors, &[grant_key()]);
        rs.configure(&[]);
        rs
    }

    pub(crate) fn start(directors: &[&Dc]) -> Self {
        let mut rs = Self::prepare(directors);
        rs.run();
        rs
    }

    /// A relay that finds its ports free again after it ended: they are none that the system hands out.
    pub(crate) fn start_at_fixed_ports(directors: &[&Dc]) -> Self {
        let mut rs = Self::prepare(directors);
        let port = fixed_port();
        (rs.udp4, rs.udp6) = ((Ipv4Addr::LOCALHOST, port).into(), (Ipv6Addr::LOCALHOST, port).into());
        rs.configure(&[]);
        rs.run();
        rs
    }

    pub(crate) fn config(&self) -> PathBuf {
        self.directory.join("ntm-rs.toml")
    }

    /// Writes a configuration whose ports are free ones; `changes` are further lines before the tables.
    pub(crate) fn configure(&self, changes: &[&str]) {
        let directory = self.directory.display();
        let text = format!(
            "listen = [\"127.0.0.1:{}\", \"[::1]:{}\"]\nnoise_key = \"{directory}/noise.key\"\n\
             credentials = \"{directory}/credentials.bin\"\nmetrics = \"127.0.0.1:0\"\n{}\n[tls]\n\
             listen = [\"127.0.0.1:0\"]\ncertificate = \"{directory}/tls.crt\"\nkey = \"{directory}/tls.key\"\n",
            if self.udp4.port() == 1 { 0 } else { self.udp4.port() },
            if self.udp6.port() == 1 { 0 } else { self.udp6.port() },
            changes.join("\n"),
        );
        fs::write(self.config(), text).expect("the configuration");
    }

    /// What the account server would give.
    pub(crate) fn give_credentials(&mut self, directors: &[&Dc], keys: &[GrantKey]) {
        self.give_credentials_until(directors, keys, unix_now() + Duration::from_secs(86_400 * 90));
    }

    pub(crate) fn give_credentials_until(&mut self, directors: &[&Dc], keys: &[GrantKey], not_after: UnixTime) {
        self.version += 1;
        let cert = |role, name, key, addresses| {
            let domain = Fqdn::parse("ntm.example").expect("a name");
            ServerCert::sign(default_provider(), &domain_key(), role, domain, name, key, addresses, not_after)
        };
        let relay = Relay {
            id: 1,
            grant_keys: keys.iter().map(numbered).collect(),
            psk: Key(Secret::new([0x9a; 32])),
            directors: directors
                .iter()
                .map(|dc| cert(Role::Direction, name("dc1.ntm.example"), dc.noise_key, vec![dc.address]))
                .collect(),
        };
        let own = &self.request;
        let credentials = Credentials {
            version: self.version,
            domain_key: *domain_key().public(),
            cert: cert(Role::Relay, own.name.clone(), own.noise_key, own.addresses.clone()),
            role: RoleCredentials::Relay(relay),
        };
        let sealed = credentials.seal(&domain_key(), &own.noise_key).expect("seals");
        let path = self.directory.join("credentials.bin");
        let _ = fs::remove_file(&path);
        ntm_server::files::create_secret(&path, &sealed).expect("the credentials");
    }

    /// Starts the server and waits until it serves.
    pub(crate) fn run(&mut self) {
        self.log = Arc::default();
        let mut child = Command::new(RS)
            .arg("--config")
            .arg(self.config())
            .env("RUST_LOG", "info")
            .stderr(Stdio::piped())
            .spawn()
            .expect("ntm-rs runs");
        let lines = BufReader::new(child.stderr.take().expect("piped"));
        let log = self.log.clone();
        std::thread::spawn(move || {
            for line in lines.lines().map_while(Result::ok) {
                log.lock().expect("no panic").push(line);
            }
        });
        self.child = Some(child);
        until("the relay says that it serves", || self.logged(" serves at ").is_some() || self.has_ended());
        let line = self.logged(" serves at ").unwrap_or_else(|| panic!("it ended: {:?}", self.log.lock()));
        let addresses: Vec<SocketAddr> = line.split([' ', ',']).filter_map(|word| word.parse().ok()).collect();
        [self.udp4, self.udp6, self.tls, self.metrics] = addresses[..].try_into().expect("four addresses");
    }

    pub(crate) fn logged(&self, what: &str) -> Option<String> {
        self.log.lock().expect("no panic").iter().find(|line| line.contains(what)).cloned()
    }

    pub(crate) fn has_ended(&mut self) -> bool {
        self.child.as_mut().is_none_or(|child| child.try_wait().expect("a child").is_some())
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.as_ref().expect("it runs").id()
    }

    pub(crate) fn signal(&self, signal: &str) {
        let sent = Command::new("kill").args([signal, &self.id().to_string()]).status();
        assert!(sent.expect("kill runs").success());
    }

    pub(crate) fn wait(&mut self) -> ExitStatus {
        until("the relay ends", || self.has_ended());
        self.child.take().expect("it ran").wait().expect("a child")
    }

    pub(crate) fn kill(&mut self) {
        let mut child = self.child.take().expect("it runs");
        child.kill().expect("it runs");
        child.wait().expect("a child");
    }

    /// `/metrics`, `/healthz`.
    pub(crate) fn http(&self, path: &str) -> String {
        let mut stream = TcpStream::connect(self.metrics).expect("metrics listen");
        stream.set_read_timeout(Some(PATIENCE)).expect("a socket");
        write!(stream, "GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").expect("a request");
        let mut text = String::new();
        stream.read_to_string(&mut text).expect("an answer");
        text
    }

    /// The value of a metric, `dropped_total{reason="…"}` for instance.
    pub(crate) fn metric(&self, name: &str) -> u64 {
        let name = format!("ntm_rs_{name} ");
        let text = self.http("/metrics");
        let value = text.lines().find_map(|line| line.strip_prefix(&name));
        value.unwrap_or_else(|| panic!("no {name} in {text}")).trim().parse().expect("a number")
    }

    pub(crate) fn dropped(&self, reason: &str) -> u64 {
        self.metric(&format!("dropped_total{{reason=\"{reason}\"}}"))
    }
}

impl Drop for Rs {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
        if !std::thread::panicking() {
            let _ = fs::remove_dir_all(&self.directory);
        }
    }
}

/// A communication of two nodes, good for an hour.
pub(crate) fn body(number: u64) -> TokenBody {
    let mut path_id = [0x77; 16];
    path_id[..8].copy_from_slice(&number.to_be_bytes());
    let (payer, expires) = (Payer::default(), unix_now() + Duration::from_secs(3_600));
    TokenBody { payer, path_id: PathId(path_id), expires, rate: 0, serial: number }
}

/// A node: one side of a communication, and its socket.
pub(crate) struct Node {
    pub(crate) client: Client,
    pub(crate) socket: UdpSocket,
}

impl Node {
    pub(crate) fn new(body: &TokenBody, side: Side, relay: SocketAddr) -> Self {
        let any = if relay.is_ipv4() { "127.0.0.1:0" } else { "[::1]:0" };
        let socket = UdpSocket::bind(any).expect("a socket");
        socket.set_read_timeout(Some(Duration::from_millis(20))).expect("a socket");
        let mut client = Client::new(body, side, &socket.local_addr().expect("bound").to_string());
        client.relay = relay;
        client.sequence = unix_now().as_millis();
        Self { client, socket }
    }

    pub(crate) fn send(&self, datagram: &[u8]) {
        // What a dead relay's port answers is told at the next call.
        let _ = self.socket.send_to(datagram, self.client.relay);
    }

    /// Takes in what has come, waiting a moment for it.
    pub(crate) fn listen(&mut self) {
        let mut buffer = [0; 2_048];
        match self.socket.recv_from(&mut buffer) {
            Ok((length, from)) => self.client.handle(from, &buffer[..length]),
            Err(why) if matches!(why.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
            Err(why) if why.kind() == ErrorKind::ConnectionRefused => {}
            Err(why) => panic!("{why}"),
        }
    }

    /// Throws away what has come and was not listened to.
    pub(crate) fn forget(&self) {
        self.socket.set_nonblocking(true).expect("a socket");
        while self.socket.recv_from(&mut [0; 2_048]).is_ok() {}
        self.socket.set_nonblocking(false).expect("a socket");
    }

    /// Binds, again where need be, and proves its address.
    pub(crate) fn bind(&mut self) {
        self.client.index = None;
        // Only the newest bind's answer counts, so on a slow machine it is given ever more time.
        let mut patience = Duration::from_millis(20);
        until("a bind is answered", || {
            patience = (patience * 2).min(Duration::from_secs(2));
            self.ask(patience)
        });
        let punch = self.client.relayed(&outer::PUNCH);
        self.send(&punch);
    }

    /// Whether a bind is answered, asked a few times.
    pub(crate) fn is_answered(&mut self) -> bool {
        self.client.index = None;
        (0..3).any(|_| self.ask(Duration::from_millis(100)))
    }

    fn ask(&mut self, patience: Duration) -> bool {
        let bind = self.client.bind(None);
        self.send(&bind);
        let end = Instant::now() + patience;
        while self.client.index.is_none() && Instant::now() < end {
            self.listen();
        }
        self.client.index.is_some()
    }
}

/// Both sides of communication `number`, bound.
pub(crate) fn pair(number: u64, initiator_at: SocketAddr, responder_at: SocketAddr) -> (Node, Node) {
    let body = body(number);
    let mut a = Node::new(&body, Side::Initiator, initiator_at);
    let mut b = Node::new(&body, Side::Responder, responder_at);
    a.bind();
    b.bind();
    (a, b)
}

/// Sends `inner` until it arrives, for proofs may still be on their way.
pub(crate) fn exchange(a: &mut Node, b: &mut Node, inner: &[u8]) {
    b.client.received.clear();
    until("what one node sends reaches the other", || {
        let datagram = a.client.relayed(inner);
        a.send(&datagram);
        b.listen();
        b.client.received.iter().any(|received| received == inner)
    });
}

/// A direction server on a socket of its own, as far as relays meet it.
pub(crate) struct Dc {
    pub(crate) address: SocketAddr,
    pub(crate) noise_key: [u8; 32],
    pub(crate) server: Arc<Mutex<DirectionServer>>,
    pub(crate) clock: Clock,
    socket: Arc<UdpSocket>,
    /// Where the relay speaks from.
    pub(crate) relay: Arc<Mutex<Option<SocketAddr>>>,
    ended: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Dc {
    pub(crate) fn start() -> Self {
        let server = DirectionServer::default();
        let noise_key = *server.noise_key.public();
        let server = Arc::new(Mutex::new(server));
        let socket = Arc::new(UdpSocket::bind("127.0.0.1:0").expect("a socket"));
        socket.set_read_timeout(Some(Duration::from_millis(20))).expect("a socket");
        let (ended, relay) = (Arc::new(AtomicBool::new(false)), Arc::new(Mutex::new(None)));
        let clock = Clock::start();
        let address = socket.local_addr().expect("bound");
        let thread = std::thread::spawn({
            let (server, socket, ended, relay) = (server.clone(), socket.clone(), ended.clone(), relay.clone());
            move || {
                let mut buffer = [0; 2_048];
                while !ended.load(Ordering::Relaxed) {
                    let Ok((length, from)) = socket.recv_from(&mut buffer) else { continue };
                    *relay.lock().expect("no panic") = Some(from);
                    let answer = server.lock().expect("no panic").handle(clock.now(), &buffer[..length]);
                    if let Some(answer) = answer {
                        let _ = socket.send_to(&answer, from);
                    }
                }
            }
        });
        Self { address, noise_key, server, clock, socket, relay, ended, thread: Some(thread) }
    }

    /// Whether a report like this has come.
    pub(crate) fn has_report(&self, like: impl Fn(&ntm_proto::wire::message::RelayReport) -> bool) -> bool {
        self.server.lock().expect("no panic").reports.iter().any(like)
    }

    pub(crate) fn revoke(&self, path_id: PathId) {
        let to = self.relay.lock().expect("no panic").expect("the relay has called");
        let mut server = self.server.lock().expect("no panic");
        let datagram = server.revoke(self.clock.now(), 77, path_id).expect("there is a session");
        self.socket.send_to(&datagram, to).expect("sends");
    }
}

impl Drop for Dc {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
