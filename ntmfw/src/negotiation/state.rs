//! What a login left on disk: the node's keys and its ticket.
//!
//! ```text
//! STATE/keys.json     identity and Noise secret; made once, 0600
//! STATE/login.json    the node's record, its ticket with the key in it, the domain's servers; 0600
//! STATE/lock          held while a program runs with this identity
//! ```

use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::net::SocketAddr;
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;
use std::time::{Duration, Instant};

use ntm_node::Director;
use ntm_proto::crypto::{PublicKeyBytes, Secret, default_provider};
use ntm_proto::hex;
use ntm_proto::identity::{IdentityKey, NodeRecord, NoiseKey, Role, ServerCert};
use ntm_proto::time::UnixTime;
use ntm_proto::wire::identity::{emit_cert, emit_record, parse_cert, parse_record};
use serde::{Deserialize, Serialize};
use zeroize::{Zeroize as _, Zeroizing};

use crate::descriptors::Noted;

/// How long a program that has the state already is given to end, and how often that is looked at.
const LINGERING: Duration = Duration::from_secs(4);
const PAUSE: Duration = Duration::from_millis(10);

/// Why the state cannot be used; one line for the user.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct StateError(pub(crate) String);

/// The node's secrets, in hexadecimal.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct StoredKeys {
    identity: String,
    noise: String,
}

/// What the account server said, in hexadecimal.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct StoredLogin {
    record: String,
    ticket: String,
    key: String,
    /// Milliseconds since 1970.
    expires: u64,
    domain_key: String,
    directions: Vec<String>,
    #[serde(default)]
    relays: Vec<String>,
}

/// Who the node is.
pub(crate) struct Keys {
    pub(crate) identity: IdentityKey,
    pub(crate) noise: NoiseKey,
}

/// What a login gave.
pub(crate) struct Login {
    pub(crate) record: NodeRecord,
    pub(crate) ticket: Vec<u8>,
    pub(crate) key: Secret,
    pub(crate) directors: Vec<Director>,
    /// Where the domain's relays are.
    pub(crate) relays: Vec<SocketAddr>,
}

/// The directory, held by this program alone.
#[derive(Debug)]
pub(crate) struct State {
    path: std::path::PathBuf,
    _noted: Noted,
    /// Its lock ends with the process, however that ends.
    _lock: File,
}

impl State {
    /// Makes the directory if there is none, and takes it. Two programs with one identity would take each other's
    /// registration away for ever.
    pub(crate) fn open(path: &Path) -> Result<Self, StateError> {
        let name = path.display();
        let fault = |why: std::io::Error| StateError(format!("{name}: {why}"));
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(fault)?;
        let lock = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(path.join("lock"))
            .map_err(fault)?;
        if !is_free(&lock) {
            return Err(StateError(format!(
                "{name}: another program runs as this node; give this one a name and a state directory of its own, or let \
                 `ntm up` serve both"
            )));
        }
        Ok(Self { path: path.to_owned(), _noted: Noted::new(&lock), _lock: lock })
    }

    /// The node's keys, made at the first time.
    pub(crate) fn keys(&self) -> Result<Keys, StateError> {
        let path = self.path.join("keys.json");
        if !path.exists() {
            let mut secrets = Zeroizing::new([[0_u8; 32]; 2]);
            for secret in secrets.iter_mut() {
                getrandom::fill(secret).map_err(|_| StateError("the host gives no random numbers".to_owned()))?;
            }
            let mut stored = StoredKeys { identity: hex::encode(&secrets[0]), noise: hex::encode(&secrets[1]) };
            let written = write(&path, &stored);
            stored.identity.zeroize();
            stored.noise.zeroize();
            written?;
        }
        let mut stored: StoredKeys = read(&path)?;
        let wrong = || StateError(format!("{}: not two keys in hexadecimal", path.display()));
        let secret = |text: &str| array(text).map(Secret::new).ok_or_else(wrong);
        let identity = IdentityKey::from_seed(default_provider(), secret(&stored.identity)?);
        let noise = NoiseKey::from_secret(default_provider(), secret(&stored.noise)?);
        stored.identity.zeroize();
        stored.noise.zeroize();
        Ok(Keys { identity, noise })
    }

    /// The last login, if there was one and it is still good.
    pub(crate) fn login(&self, keys: &Keys, now: UnixTime) -> Result<Option<Login>, StateError> {
        let path = self.path.join("login.json");
        if !path.exists() {
            return Ok(None);
        }
        let stored: StoredLogin = read(&path)?;
        if UnixTime::from_millis(stored.expires) <= now {
            return Ok(None);
        }
        let wrong = |what: &str| StateError(format!("{}: {what}", path.display()));
        let record = record_of(&stored).ok_or_else(|| wrong("no record"))?;
        if record.identity != *keys.identity.public() || record.noise_key != *keys.noise.public() {
            return Err(wrong("made for other keys than those beside it; log in again"));
        }
        let ticket = bytes(&stored.ticket).ok_or_else(|| wrong("no ticket"))?;
        let key = array(&stored.key).map(Secret::new).ok_or_else(|| wrong("no key"))?;
        let domain_key: PublicKeyBytes = array(&stored.domain_key).ok_or_else(|| wrong("no domain key"))?;
        let certs = |texts: &[String], role| {
            let cert = |text: &String| {
                let cert =
                    bytes(text).and_then(|bytes| parse_cert(&bytes).ok()).ok_or_else(|| wrong("no certificate"))?;
                // An expired certificate is tried all the same: an account server that is down must stop nobody.
                let genuine = cert.verify(default_provider(), &domain_key, role, UnixTime::from_millis(0));
                genuine.map_err(|why| wrong(&format!("certificate of {}: {why}", cert.name)))?;
                Ok(cert)
            };
            texts.iter().map(cert).collect::<Result<Vec<_>, _>>()
        };
        let directors = certs(&stored.directions, Role::Direction)?
            .into_iter()
            .map(|cert| Director { noise_key: cert.noise_key, addresses: cert.addresses })
            .collect();
        let relays = certs(&stored.relays, Role::Relay)?.into_iter().flat_map(|cert| cert.addresses).collect();
        Ok(Some(Login { record, ticket, key, directors, relays }))
    }

    /// The record that the last login was made with, whether its ticket is still good or not.
    pub(crate) fn last_record(&self) -> Result<Option<NodeRecord>, StateError> {
        let path = self.path.join("login.json");
        if !path.exists() {
            return Ok(None);
        }
        let stored: StoredLogin = read(&path)?;
        Ok(record_of(&stored))
    }

    /// Keeps what the account server gave for this record.
    pub(crate) fn keep_login(&self, record: &NodeRecord, login: &ntm_login::Login) -> Result<(), StateError> {
        let stored = StoredLogin {
            record: hex::encode(&emit_record(record)),
            ticket: hex::encode(&login.ticket),
            key: hex::encode(login.key.expose()),
            expires: login.expires.as_millis(),
            domain_key: hex::encode(&login.domain_key),
            directions: in_hexadecimal(&login.directions),
            relays: in_hexadecimal(&login.relays),
        };
        write(&self.path.join("login.json"), &stored)
    }
}

fn read<T: for<'de> Deserialize<'de>>(path: &Path) -> Result<T, StateError> {
    let name = path.display();
    private(path)?;
    let text = Zeroizing::new(std::fs::read(path).map_err(|why| StateError(format!("{name}: {why}")))?);
    serde_json::from_slice(&text).map_err(|why| StateError(format!("{name}: {why}")))
}

/// Puts the file there in one step: a crash leaves the old one or the new.
fn write<T: Serialize>(path: &Path, value: &T) -> Result<(), StateError> {
    let name = path.display();
    let fault = |why: std::io::Error| StateError(format!("{name}: {why}"));
    let text = Zeroizing::new(serde_json::to_vec(value).map_err(|why| StateError(format!("{name}: {why}")))?);
    let beside = path.with_extension("new");
    let mut file =
        OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&beside).map_err(fault)?;
    file.write_all(&text).and_then(|()| file.sync_all()).map_err(fault)?;
    std::fs::rename(&beside, path).map_err(fault)
}

/// A secret that a person wrote into a file: its first line.
pub(crate) fn read_secret_line(path: &Path) -> Result<Zeroizing<String>, StateError> {
    let name = path.display();
    private(path)?;
    let text = std::fs::read_to_string(path).map_err(|why| StateError(format!("{name}: {why}")))?;
    let text = Zeroizing::new(text);
    Ok(Zeroizing::new(text.lines().next().unwrap_or_default().trim().to_owned()))
}

/// A secret that others may read is none any more.
fn private(path: &Path) -> Result<(), StateError> {
    let name = path.display();
    let about = std::fs::metadata(path).map_err(|why| StateError(format!("{name}: {why}")))?;
    if about.permissions().mode() & 0o077 != 0 {
        return Err(StateError(format!("{name} can be read by others: chmod 600 {name}")));
    }
    Ok(())
}

fn in_hexadecimal(certs: &[ServerCert]) -> Vec<String> {
    certs.iter().map(|cert| hex::encode(&emit_cert(cert))).collect()
}

fn record_of(stored: &StoredLogin) -> Option<NodeRecord> {
    bytes(&stored.record).and_then(|bytes| parse_record(&bytes).ok())
}

fn bytes(text: &str) -> Option<Vec<u8>> {
    hex::decode(text).ok()
}

fn array<const N: usize>(text: &str) -> Option<[u8; N]> {
    hex::decode_array(text).ok()
}

/// Takes the lock, within the time that a program may need for its end whose last data is still on its way.
fn is_free(lock: &File) -> bool {
    let until = Instant::now() + LINGERING;
    loop {
        // SAFETY: a descriptor that lives, and a number.
        if unsafe { libc::flock(lock.as_raw_fd(), libc::LOCK_EX | libc::LOCK_NB) } == 0 {
            return true;
        }
        if Instant::now() >= until {
            return false;
        }
        std::thread::sleep(PAUSE);
    }
}
