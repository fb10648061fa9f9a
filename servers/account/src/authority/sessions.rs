//! Sessions of browsers. The cookie is `ACCOUNT.TOKEN`, the store has the token's hash, so that who reads the store
//! can sign in as nobody. A session ends by itself, by signing out, and with the account or its password.

use ntm_proto::crypto;
use ntm_proto::time::UnixTime;
use ntm_server::clock::{random, unix_now};
use ntm_server::hex;
use zeroize::Zeroizing;

use super::audit::note;
use super::{Authority, Caller, accounts};
use crate::records::{Account, Millis, Session, secret_hash};
use crate::refusal::Refusal;
use crate::store::{END, Range, StoreError, Table, Transaction};

/// Sessions of one account; one more ends the oldest.
const MAX_SESSIONS: usize = 32;
/// Rows looked at in one transaction of the housekeeping.
const PAGE: usize = 1_000;

/// A session that has just begun.
#[derive(Debug)]
pub struct NewSession {
    /// The cookie's value.
    pub token: Zeroizing<String>,
    pub expires: Millis,
    pub admin: bool,
}

impl Authority {
    /// Begins a session of an account whose password was right. The token is always fresh; the session of the cookie
    /// that came along, if any, ends.
    pub fn sign_in(&self, by: &Caller, replaces: Option<&str>) -> Result<NewSession, Refusal> {
        let life = self.rules().session_life;
        let (name, now) = (&by.account, unix_now());
        let secret = Zeroizing::new(hex::encode(&random::<32>()));
        let session = Session { created: now.as_millis(), expires: (now + life).as_millis() };
        let admin = self.write(|tx| {
            let account = accounts::active(tx, name)?;
            if let Some((owner, hash)) = replaces.and_then(parts) {
                tx.delete(Table::Sessions, &key(owner, &hash))?;
            }
            make_room(tx, name)?;
            tx.save(Table::Sessions, &key(name, &secret_hash(&secret)), &session)?;
            note(tx, by, "signed in", name)?;
            Ok::<_, Refusal>(account.admin)
        })?;
        let token = Zeroizing::new(format!("{name}.{}", *secret));
        Ok(NewSession { token, expires: session.expires, admin })
    }

    /// Whose session the cookie's value names, if it still is one.
    pub fn session(&self, token: &str, from: String) -> Result<Option<Caller>, Refusal> {
        let Some((name, hash)) = parts(token) else { return Ok(None) };
        let found = self.read(|tx| {
            let session: Option<Session> = tx.find(Table::Sessions, &key(name, &hash))?;
            let account: Option<Account> = tx.find(Table::Accounts, name)?;
            Ok::<_, StoreError>(session.zip(account))
        })?;
        let now = unix_now().as_millis();
        let live = found.filter(|(session, account)| now < session.expires && !account.disabled);
        Ok(live.map(|(_, account)| Caller { account: name.to_owned(), admin: account.admin, from }))
    }

    pub fn sign_out(&self, token: &str) -> Result<(), Refusal> {
        let Some((name, hash)) = parts(token) else { return Ok(()) };
        self.write(|tx| tx.delete(Table::Sessions, &key(name, &hash)))?;
        Ok(())
    }

    /// Deletes sessions that are over.
    pub(super) fn end_sessions(&self, now: UnixTime) -> Result<(), Refusal> {
        let mut from = String::new();
        loop {
            let range = Range { from: &from, until: END, limit: PAGE, backwards: false };
            let rows: Vec<(String, Session)> = self.read(|tx| tx.list(Table::Sessions, range))?;
            let Some((last, _)) = rows.last() else { return Ok(()) };
            from = format!("{last} ");
            let over: Vec<_> = rows.iter().filter(|(_, session)| session.expires <= now.as_millis()).collect();
            if !over.is_empty() {
                self.write(|tx| over.iter().try_for_each(|(key, _)| tx.delete(Table::Sessions, key).map(|_| ())))?;
            }
        }
    }
}

/// The word that forms and scripts must repeat to change something under a session. It follows from the token, so
/// only who has the page has it.
pub fn csrf_word(token: &str) -> String {
    hex::encode(&crypto::blake2s(&[b"ntm-as csrf v1", token.as_bytes()]))
}

/// Ends all sessions of an account.
pub(super) fn end_all(tx: &mut dyn Transaction, name: &str) -> Result<(), StoreError> {
    let prefix = format!("{name}/");
    for hash in tx.keys_below(Table::Sessions, &prefix, MAX_SESSIONS + 1)? {
        tx.delete(Table::Sessions, &key(name, &hash))?;
    }
    Ok(())
}

fn make_room(tx: &mut dyn Transaction, name: &str) -> Result<(), StoreError> {
    let (from, until) = (format!("{name}/"), format!("{name}/{END}"));
    let range = Range { from: &from, until: &until, limit: MAX_SESSIONS, backwards: false };
    let held: Vec<(String, Session)> = tx.list(Table::Sessions, range)?;
    if held.len() < MAX_SESSIONS {
        return Ok(());
    }
    if let Some((oldest, _)) = held.iter().min_by_key(|(_, session)| session.created) {
        tx.delete(Table::Sessions, oldest)?;
    }
    Ok(())
}

/// The account and the hash of the secret in a cookie.
fn parts(token: &str) -> Option<(&str, String)> {
    let (name, secret) = token.rsplit_once('.')?;
    let proper = accounts::account_name(name).is_ok_and(|normal| normal == name) && secret.len() == 64;
    proper.then(|| (name, secret_hash(secret)))
}

fn key(name: &str, hash: &str) -> String {
    format!("{name}/{hash}")
}
