//! The relay server: its keys, its configuration, and nodes that bind to it.

use std::fs;
use std::net::{SocketAddr, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use ntm_proto::crypto::{Secret, default_provider};
use ntm_proto::id::PathId;
use ntm_proto::identity::{IdentityKey, Role, ServerCert};
use ntm_proto::session::{Payer, TokenBody};
use ntm_proto::wire::message::Side;
use ntm_proto::wire::outer::{self, RELAYED_HEADER};
use ntm_relay::testing::{Client, grant_key, inner};
use ntm_server::clock::unix_now;
use ntm_server::credentials::{Credentials, Key, NumberedKey, Relay as RelayCredentials, Request, RoleCredentials};
use ntm_server::files::create_secret;

use crate::Outcome;
use crate::load::{Flow, SIZE, socket};
use crate::scene::SERVER_IP;

pub(crate) const PORT: u16 = 4501;
/// Binds a second: fewer than the relay takes for a flood.
const BINDS_A_MILLISECOND: usize = 12;

/// A relay that is ready to run.
pub(crate) struct Relay {
    pub(crate) program: String,
    pub(crate) config: PathBuf,
}

impl Relay {
    pub(crate) fn prepare(directory: &Path) -> Outcome<Self> {
        // Examples lie in a folder beside the programs.
        let own = std::env::current_exe()?;
        let folder = own.parent().and_then(Path::parent).ok_or("no folder")?;
        let program = folder.join("ntm-rs").to_string_lossy().into_owned();
        let config = directory.join("ntm-rs.toml");
        if config.exists() {
            return Ok(Self { program, config });
        }
        let address: SocketAddr = format!("{SERVER_IP}:{PORT}").parse()?;
        let made = Command::new(&program)
            .args(["init", "--domain", "ntm.example", "--name", "rs1.ntm.example", "--address", &address.to_string()])
            .arg("--directory")
            .arg(directory)
            .arg("--config")
            .arg(&config)
            .status()?;
        if !made.success() {
            return Err(format!("{program} init: {made}").into());
        }
        let request: Request = serde_json::from_slice(&fs::read(directory.join("request.json"))?)?;
        let domain_key = IdentityKey::from_seed(default_provider(), Secret::new([1; 32]));
        let until = unix_now() + Duration::from_secs(86_400);
        let Request { domain, name, noise_key, addresses, .. } = request;
        let cert =
            ServerCert::sign(default_provider(), &domain_key, Role::Relay, domain, name, noise_key, addresses, until);
        let grant_key = grant_key();
        let relay = RelayCredentials {
            id: 1,
            grant_keys: vec![NumberedKey { number: grant_key.key_id, key: Key(grant_key.key) }],
            psk: Key(Secret::new([2; 32])),
            directors: Vec::new(),
        };
        let role = RoleCredentials::Relay(relay);
        let credentials = Credentials { version: 1, domain_key: *domain_key.public(), cert, role };
        let sealed = credentials.seal(&domain_key, &noise_key).map_err(|why| why.to_string())?;
        create_secret(&directory.join("credentials.bin"), &sealed)?;
        let directory = directory.display();
        let text = format!(
            "listen = [\"{address}\"]\nworkers = 1\nmetrics = \"127.0.0.1:9103\"\nnoise_key = \"{directory}/noise.key\"\n\
             credentials = \"{directory}/credentials.bin\"\n"
        );
        fs::write(&config, text)?;
        Ok(Self { program, config })
    }
}

fn body(number: u64) -> TokenBody {
    let mut path_id = [0x77; 16];
    path_id[..8].copy_from_slice(&number.to_be_bytes());
    let (payer, expires) = (Payer::default(), unix_now() + Duration::from_secs(3_600));
    TokenBody { payer, path_id: PathId(path_id), expires, rate: 0, serial: number }
}

fn server() -> Outcome<SocketAddr> {
    Ok(format!("{SERVER_IP}:{PORT}").parse()?)
}

/// Binds one side from `socket`, and has it prove its address.
fn bind(body: &TokenBody, side: Side, socket: &UdpSocket) -> Outcome<Client> {
    let mut client = Client::new(body, side, &socket.local_addr()?.to_string());
    client.relay = server()?;
    let mut buffer = [0; 2_048];
    for _ in 0..50 {
        let bind = client.bind(None);
        socket.send_to(&bind, client.relay)?;
        while client.index.is_none()
            && let Ok((length, from)) = socket.recv_from(&mut buffer)
        {
            client.handle(from, &buffer[..length]);
        }
        if client.index.is_some() {
            socket.send_to(&client.relayed(&outer::PUNCH), client.relay)?;
            return Ok(client);
        }
    }
    Err("a bind is not answered".into())
}

/// Flows from a socket each to the one receiver.
pub(crate) fn flows(count: u16, receiver: &UdpSocket) -> Outcome<Vec<Flow>> {
    (0..u64::from(count))
        .map(|number| {
            let body = body(number);
            let socket = socket()?;
            bind(&body, Side::Responder, receiver)?;
            let client = bind(&body, Side::Initiator, &socket)?;
            let datagram = client.relayed(&inner(number, SIZE - RELAYED_HEADER));
            Ok(Flow { socket, server: client.relay, datagram })
        })
        .collect()
}

/// Makes grants by the thousand, each bound at both sides.
pub(crate) fn bind_many(arguments: &[String]) -> Outcome<()> {
    let count: u64 = arguments.first().ok_or("grants COUNT")?.parse()?;
    let sockets = [(Side::Initiator, socket()?), (Side::Responder, socket()?)];
    let mut sent = 0;
    for number in 0..count {
        for (side, socket) in &sockets {
            let mut client = Client::new(&body(number), *side, &socket.local_addr()?.to_string());
            socket.send_to(&client.bind(None), server()?)?;
            sent += 1;
            if sent % BINDS_A_MILLISECOND == 0 {
                std::thread::sleep(Duration::from_millis(1));
            }
        }
    }
    std::thread::sleep(Duration::from_millis(200));
    Ok(())
}
