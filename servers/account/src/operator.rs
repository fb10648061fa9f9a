//! Commands of the operator, who works on the server's own host. While the server runs it has the store, so the
//! commands reach it through a Unix socket of mode 0600; while it does not, they open the store themselves.
//!
//! ```text
//! ntm-as account add …  ──▶ operator.sock there?  yes ──▶ one line of JSON ──▶ the running server ──▶ one line back
//!                                                 no  ──▶ opens the store
//! ```

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use ntm_server::credentials::Request;
use ntm_server::{Failure, ResultExt as _, hex};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixListener;
use tokio::sync::watch;

use crate::authority::{AccountChange, Authority, Caller, account_name};
use crate::passwords::PasswordHash;
use crate::refusal::Refusal;

/// What a command or an answer may weigh: credentials in hexadecimal.
const MAX_LINE: u64 = 4 << 20;
/// How long one command may take.
const TIMEOUT: Duration = Duration::from_secs(30);

/// What the operator wants done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Order {
    AddAccount { name: String, password: PasswordHash, admin: bool },
    ChangeAccount { name: String, change: AccountChange },
    SetPassword { name: String, password: PasswordHash },
    ListAccounts { after: String },
    AddServer(Request),
    ListServers,
    RemoveServer { name: String },
    RevokeNode { name: String },
    RotateKey { at_once: bool },
    RotateGrantKey { relay: String, at_once: bool },
}

/// What came of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    Done,
    /// Lines for the operator.
    Lines(Vec<String>),
    /// Sealed credentials, in hexadecimal.
    Credentials(String),
    /// When the new key is used, in milliseconds since 1970.
    KeyUsedFrom(u64),
    Refused(String),
}

/// Does it. Blocks.
pub fn carry_out(authority: &Authority, order: &Order) -> Outcome {
    obey(authority, order).unwrap_or_else(|why| Outcome::Refused(why.to_string()))
}

fn obey(authority: &Authority, order: &Order) -> Result<Outcome, Refusal> {
    let by = Caller::operator();
    let parse = crate::web::parse_name;
    match order {
        Order::AddAccount { name, password, admin } => {
            authority.add_account(&by, &account_name(name)?, password, *admin)?;
        }
        Order::ChangeAccount { name, change } => {
            authority.change_account(&by, &account_name(name)?, *change)?;
        }
        Order::SetPassword { name, password } => authority.set_password(&by, &account_name(name)?, password)?,
        Order::ListAccounts { after } => {
            let accounts = authority.accounts(after, 1_000)?;
            let line = |(name, account): &(String, crate::records::Account)| {
                let admin = if account.admin { " admin" } else { "" };
                let disabled = if account.disabled { " disabled" } else { "" };
                format!("{name}{admin}{disabled}")
            };
            return Ok(Outcome::Lines(accounts.iter().map(line).collect()));
        }
        Order::AddServer(request) => {
            return Ok(Outcome::Credentials(hex::encode(&authority.add_server(&by, request)?)));
        }
        Order::ListServers => {
            let servers = authority.servers()?;
            let lines = servers.iter().map(|(name, server)| {
                let role = match &server.relay {
                    None => "direction".to_owned(),
                    Some(relay) => format!("relay {}", relay.id),
                };
                let addresses: Vec<_> = server.request.addresses.iter().map(ToString::to_string).collect();
                format!("{name}  {role}  version {}  {}", server.version, addresses.join(" "))
            });
            return Ok(Outcome::Lines(lines.collect()));
        }
        Order::RemoveServer { name } => authority.remove_server(&by, &parse(name)?)?,
        Order::RevokeNode { name } => authority.revoke(&by, &parse(name)?)?,
        Order::RotateKey { at_once } => {
            return Ok(Outcome::KeyUsedFrom(authority.rotate_service_key(&by, *at_once)?.as_millis()));
        }
        Order::RotateGrantKey { relay, at_once } => {
            let use_from = authority.rotate_grant_key(&by, &parse(relay)?, *at_once)?;
            return Ok(Outcome::KeyUsedFrom(use_from.as_millis()));
        }
    }
    Ok(Outcome::Done)
}

/// Hands an order to the running server; none where no server runs.
pub fn send(socket: &Path, order: &Order) -> Result<Option<Outcome>, Failure> {
    let mut stream = match UnixStream::connect(socket) {
        Ok(stream) => stream,
        Err(why) if matches!(why.kind(), std::io::ErrorKind::NotFound | std::io::ErrorKind::ConnectionRefused) => {
            return Ok(None);
        }
        Err(why) => {
            return Err(
                Failure::new(format!("{}: {why}", socket.display())).way_out("run this as the server's user or root")
            );
        }
    };
    let doing = "the running server did not answer";
    stream.set_read_timeout(Some(TIMEOUT)).context(doing)?;
    let mut line = serde_json::to_vec(order).context(doing)?;
    line.push(b'\n');
    stream.write_all(&line).context(doing)?;
    let mut answer = String::new();
    BufReader::new(stream.take(MAX_LINE)).read_line(&mut answer).context(doing)?;
    serde_json::from_str(&answer).context(doing).map(Some)
}

/// Takes orders at `socket` until `stop` says so. Who may open the socket may order everything.
pub async fn listen(socket: &Path, authority: Arc<Authority>, mut stop: watch::Receiver<bool>) -> Result<(), Failure> {
    // The store's lock was ours first, so a socket that is there is one that a crash left.
    let _ = std::fs::remove_file(socket);
    let failed = |why: std::io::Error| Failure::new(format!("{}: {why}", socket.display()));
    // Made under another name and moved when nobody else may open it.
    let beside = socket.with_extension("new");
    let _ = std::fs::remove_file(&beside);
    let listener = UnixListener::bind(&beside).map_err(failed)?;
    std::fs::set_permissions(&beside, std::fs::Permissions::from_mode(0o600)).map_err(failed)?;
    std::fs::rename(&beside, socket).map_err(failed)?;
    let path = socket.to_owned();
    tokio::spawn(async move {
        loop {
            let stream = tokio::select! {
                accepted = listener.accept() => accepted,
                _ = stop.wait_for(|stop| *stop) => break,
            };
            // One after the other: there is one operator.
            if let Ok((stream, _)) = stream {
                let _ = tokio::time::timeout(TIMEOUT, answer(stream, &authority)).await;
            }
        }
        let _ = std::fs::remove_file(path);
    });
    Ok(())
}

async fn answer(mut stream: tokio::net::UnixStream, authority: &Arc<Authority>) -> std::io::Result<()> {
    let (read, mut write) = stream.split();
    let mut line = String::new();
    tokio::io::BufReader::new(read.take(MAX_LINE)).read_line(&mut line).await?;
    let outcome = match serde_json::from_str::<Order>(&line) {
        Ok(order) => {
            let authority = Arc::clone(authority);
            let work = tokio::task::spawn_blocking(move || carry_out(&authority, &order)).await;
            work.unwrap_or_else(|why| Outcome::Refused(why.to_string()))
        }
        Err(why) => Outcome::Refused(format!("the server does not know this order: {why}")),
    };
    let mut text = serde_json::to_vec(&outcome)?;
    text.push(b'\n');
    write.write_all(&text).await
}
