//! Enrolment keys: `ntm-ID-SECRET`, shown once and kept as a hash. Each brings a number of nodes into its owner's
//! account until it expires.

use std::time::Duration;

use ntm_proto::crypto;
use ntm_server::clock::{random, unix_now};
use ntm_server::hex;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::audit::note;
use super::{Authority, Caller};
use crate::records::{EnrolmentKey, secret_hash};
use crate::refusal::{Code, Refusal};
use crate::store::{StoreError, Table, Transaction};

const MAX_USES: u32 = 10_000;
const MAX_DAYS: u32 = 3_650;
const MAX_LABEL: usize = 64;
const DAY: Duration = Duration::from_secs(24 * 3600);

/// What a new key is to be like.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewKey {
    #[serde(default)]
    pub label: String,
    #[serde(default = "one")]
    pub uses: u32,
    #[serde(default = "week")]
    pub days: u32,
}

fn one() -> u32 {
    1
}

fn week() -> u32 {
    7
}

impl Authority {
    /// Makes a key of the caller's; gives its id and, this once, the key itself.
    pub fn add_key(&self, by: &Caller, wanted: &NewKey) -> Result<(String, Zeroizing<String>, EnrolmentKey), Refusal> {
        let most = self.rules().sign_up.max_keys;
        let label = wanted.label.trim();
        if !(1..=MAX_USES).contains(&wanted.uses) || !(1..=MAX_DAYS).contains(&wanted.days) {
            return Err(Refusal::invalid(format!("a key has 1 to {MAX_USES} uses and holds 1 to {MAX_DAYS} days")));
        }
        if label.chars().count() > MAX_LABEL || label.chars().any(char::is_control) {
            return Err(Refusal::invalid(format!("a label has at most {MAX_LABEL} characters, in one line")));
        }
        let (id, secret) = (hex::encode(&random::<6>()), Zeroizing::new(hex::encode(&random::<32>())));
        let now = unix_now();
        let key = EnrolmentKey {
            owner: by.account.clone(),
            label: label.to_owned(),
            hash: secret_hash(&secret),
            left: wanted.uses,
            uses: wanted.uses,
            created: now.as_millis(),
            expires: (now + DAY * wanted.days).as_millis(),
        };
        self.write(|tx| {
            make_room(tx, &by.account, most, now.as_millis())?;
            tx.save(Table::EnrolmentKeys, &id, &key)?;
            tx.save(Table::KeyOwners, &format!("{}/{id}", by.account), &true)?;
            Ok::<_, Refusal>(note(tx, by, "enrolment key made", &id)?)
        })?;
        Ok((id.clone(), Zeroizing::new(format!("ntm-{id}-{}", *secret)), key))
    }

    /// The caller's keys, with their ids.
    pub fn keys(&self, owner: &str) -> Result<Vec<(String, EnrolmentKey)>, Refusal> {
        let most = self.rules().sign_up.max_keys;
        Ok(self.read(|tx| keys_of(tx, owner, most))?)
    }

    pub fn remove_key(&self, by: &Caller, id: &str) -> Result<(), Refusal> {
        self.write(|tx| {
            let key: Option<EnrolmentKey> = tx.find(Table::EnrolmentKeys, id)?;
            let key = key.filter(|key| key.owner == by.account || by.admin);
            let key = key.ok_or_else(|| Refusal::not_found("enrolment key"))?;
            tx.delete(Table::EnrolmentKeys, id)?;
            tx.delete(Table::KeyOwners, &format!("{}/{id}", key.owner))?;
            Ok(note(tx, by, "enrolment key removed", id)?)
        })
    }
}

/// The id and the key that `text` proves to hold for `account`.
pub(super) fn find(tx: &mut dyn Transaction, account: &str, text: &str) -> Result<(String, EnrolmentKey), Refusal> {
    let (id, secret) =
        text.trim().strip_prefix("ntm-").and_then(|rest| rest.split_once('-')).ok_or_else(Refusal::credentials)?;
    if id.len() != 12 || !id.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Err(Refusal::credentials());
    }
    let key: Option<EnrolmentKey> = tx.find(Table::EnrolmentKeys, id)?;
    let genuine = key.filter(|key| {
        crypto::equal(key.hash.as_bytes(), secret_hash(secret).as_bytes())
            && key.owner == account
            && unix_now().as_millis() < key.expires
    });
    genuine.map(|key| (id.to_owned(), key)).ok_or_else(Refusal::credentials)
}

/// Takes one use of a key.
pub(super) fn spend(tx: &mut dyn Transaction, id: &str, mut key: EnrolmentKey) -> Result<(), Refusal> {
    let used_up = || Refusal::new(Code::NotAllowed, "the enrolment key is used up");
    key.left = key.left.checked_sub(1).ok_or_else(used_up)?;
    Ok(tx.save(Table::EnrolmentKeys, id, &key)?)
}

fn keys_of(tx: &mut dyn Transaction, owner: &str, limit: usize) -> Result<Vec<(String, EnrolmentKey)>, StoreError> {
    let ids = tx.keys_below(Table::KeyOwners, &format!("{owner}/"), limit)?;
    let mut keys = Vec::with_capacity(ids.len());
    for id in ids {
        if let Some(key) = tx.find(Table::EnrolmentKeys, &id)? {
            keys.push((id, key));
        }
    }
    Ok(keys)
}

/// Where an account has as many keys as it may, one that brings nobody any more goes.
fn make_room(tx: &mut dyn Transaction, owner: &str, most: usize, now: u64) -> Result<(), Refusal> {
    let keys = keys_of(tx, owner, most)?;
    if keys.len() < most {
        return Ok(());
    }
    let dead = keys.iter().find(|(_, key)| key.left == 0 || key.expires <= now);
    let (id, _) = dead.ok_or_else(|| Refusal::new(Code::Full, "the account has as many keys as it may have"))?;
    tx.delete(Table::EnrolmentKeys, id)?;
    tx.delete(Table::KeyOwners, &format!("{owner}/{id}"))?;
    Ok(())
}
