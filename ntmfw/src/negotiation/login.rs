//! Logging in: over HTTPS at the account server, where no ticket is left that is still good.
//!
//! The first time the account's password or an enrolment key says that the node may have its name; from then on
//! the node's own key does.

use std::path::Path;

use ntm_login::{Client, Credential, Error as LoginError, unix_now};
use ntm_proto::crypto::default_provider;
use ntm_proto::id::Fqdn;
use ntm_proto::identity::NodeRecord;
use ntm_proto::time::UnixTime;
use zeroize::Zeroizing;

use crate::errno::Errno;
use crate::negotiation::config::Config;
use crate::negotiation::start::StartError;
use crate::negotiation::state::{Keys, Login, State, read_secret_line};

/// The last login if it is still good, or a new one.
pub(crate) fn login(config: &Config, state: &State, keys: &Keys, now: UnixTime) -> Result<Login, StartError> {
    if let Some(login) = state.login(keys, now)? {
        return Ok(login);
    }
    let client = client(config)?;
    let record = record(config, state, keys, now)?;
    let mut nonce = [0; 16];
    getrandom::fill(&mut nonce).map_err(|_| StartError::host("no random numbers", Errno(libc::EIO)))?;
    let renewed = client.renew(&keys.identity, &record, nonce);
    let answer = match (renewed, credential(config)?) {
        (Ok(answer), _) => answer,
        (Err(LoginError::Refused { .. }), Some((account, credential))) => {
            client.login(&account, &credential, &record)?
        }
        (Err(why), _) => return Err(why.into()),
    };
    keep(state, keys, &record, &answer, now)
}

/// A new login in any case, with this secret of the configuration's account.
pub(crate) fn log_in_anew(config: &Config, credential: &Credential) -> Result<Login, StartError> {
    let state = State::open(&config.state())?;
    let keys = state.keys()?;
    let now = unix_now();
    let record = record(config, &state, &keys, now)?;
    let account = config.account.clone().unwrap_or_default();
    let answer = client(config)?.login(&account, credential, &record)?;
    keep(&state, &keys, &record, &answer, now)
}

fn client(config: &Config) -> Result<Client, StartError> {
    let Some(url) = &config.account_server else {
        let message = format!(
            "{} has no ticket that is still good, and the configuration names no account_server to get one from",
            config.state().display()
        );
        return Err(StartError { errno: Errno(libc::EACCES), message });
    };
    Ok(Client::new(url, config.account_server_ca.as_deref())?)
}

/// The record of the last login, or a new one where the node was called otherwise.
fn record(config: &Config, state: &State, keys: &Keys, now: UnixTime) -> Result<NodeRecord, StartError> {
    match state.last_record()? {
        Some(record) if record.fqdn == config.name => Ok(record),
        _ => new_record(config, keys, now),
    }
}

fn keep(
    state: &State,
    keys: &Keys,
    record: &NodeRecord,
    answer: &ntm_login::Login,
    now: UnixTime,
) -> Result<Login, StartError> {
    state.keep_login(record, answer)?;
    state.login(keys, now)?.ok_or_else(|| {
        let message = "the account server gave a ticket that is over already; is the clock right?".to_owned();
        StartError { errno: Errno(libc::EACCES), message }
    })
}

fn new_record(config: &Config, keys: &Keys, now: UnixTime) -> Result<NodeRecord, StartError> {
    let domain = config.name.as_str().split_once('.').and_then(|(_, domain)| Fqdn::parse(domain).ok());
    let Some(domain) = domain else {
        let message = format!("{}: a node's name is a label and a domain, such as printer.ntm.example", config.name);
        return Err(StartError { errno: Errno(libc::EINVAL), message });
    };
    let (name, noise) = (config.name.clone(), *keys.noise.public());
    Ok(NodeRecord::sign(default_provider(), &keys.identity, name, noise, domain, false, now))
}

/// What the configuration has to prove the account with.
fn credential(config: &Config) -> Result<Option<(String, Credential)>, StartError> {
    let line = |path: &Path| -> Result<Zeroizing<String>, StartError> { Ok(read_secret_line(path)?) };
    let account = config.account.clone().unwrap_or_default();
    Ok(match (&config.enrolment_key_file, &config.password_file) {
        (Some(path), _) => Some((account, Credential::EnrolmentKey(line(path)?))),
        (None, Some(path)) => Some((account, Credential::Password(line(path)?))),
        (None, None) => None,
    })
}

impl From<LoginError> for StartError {
    fn from(error: LoginError) -> Self {
        let errno = match &error {
            LoginError::Configuration(_) => libc::EINVAL,
            LoginError::Unreachable(_) => libc::EHOSTUNREACH,
            LoginError::Refused { .. } => libc::EACCES,
            LoginError::Malformed(_) | LoginError::OtherDomainKey | LoginError::Forged => libc::EPROTO,
        };
        Self { errno: Errno(errno), message: error.to_string() }
    }
}
