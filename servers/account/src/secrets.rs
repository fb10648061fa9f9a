//! The domain's private keys, in files of mode 0600 beside the store.
//!
//! ```text
//! domain.key     64 hexadecimal digits    signs certificates, credentials and revocations; made once
//! service.keys   JSON, the newest first   seal tickets to the DCs; rotated
//! ```
//!
//! A new service key is given to the DCs at once but seals tickets only after a lead, so that no DC is shown a
//! ticket whose key it has not fetched yet. An old key stays until the last ticket it sealed is over.

use std::path::{Path, PathBuf};
use std::time::Duration;

use ntm_proto::crypto::{self, Secret, default_provider};
use ntm_proto::id::AccountPseudonym;
use ntm_proto::identity::IdentityKey;
use ntm_proto::time::UnixTime;
use ntm_server::clock::random;
use ntm_server::credentials::Key;
use ntm_server::{Failure, ResultExt as _, files, hex};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::records::Millis;

const DOMAIN_KEY: &str = "domain.key";
const SERVICE_KEYS: &str = "service.keys";
const PSEUDONYM_LABEL: &[u8] = b"ntmfw account pseudonym key v1";
/// Service keys held at once; a rotation beyond that waits for tickets to end.
const MAX_SERVICE_KEYS: usize = 8;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct ServiceKey {
    key: Key,
    /// From when on it seals tickets.
    use_from: Millis,
}

/// The keys of a domain.
#[derive(Debug)]
pub struct Secrets {
    domain_key: IdentityKey,
    /// Derived from the domain key, so it is the same for ever and at every account server of the domain.
    pseudonym_key: Secret,
    service_keys: Vec<ServiceKey>,
    folder: PathBuf,
}

impl Secrets {
    /// Makes the keys of a new domain. Existing ones are never overwritten.
    pub fn create(folder: &Path, now: UnixTime) -> Result<Self, Failure> {
        let seed = Zeroizing::new(hex::encode(&random::<32>()));
        files::create_secret(&folder.join(DOMAIN_KEY), seed.as_bytes())?;
        let first = [ServiceKey { key: fresh_key(), use_from: now.as_millis() }];
        let text = Zeroizing::new(serde_json::to_vec(&first).context(SERVICE_KEYS)?);
        files::create_secret(&folder.join(SERVICE_KEYS), &text)?;
        Self::load(folder)
    }

    pub fn load(folder: &Path) -> Result<Self, Failure> {
        let advice = "`ntm-as init` makes the keys of a new domain";
        let at = folder.join(DOMAIN_KEY);
        let text = files::read_secret(&at).map_err(|why| why.way_out(advice))?;
        let seed = std::str::from_utf8(&text).ok().and_then(|text| hex::decode_array(text.trim()).ok());
        let seed = seed.ok_or_else(|| Failure::new(format!("{}: not 64 hexadecimal digits", at.display())))?;
        let seed = Secret::new(seed);
        let pseudonym_key = crypto::derive(&seed, &[PSEUDONYM_LABEL]);
        let domain_key = IdentityKey::from_seed(default_provider(), seed);
        let at = folder.join(SERVICE_KEYS);
        let text = files::read_secret(&at).map_err(|why| why.way_out(advice))?;
        let service_keys: Vec<ServiceKey> = serde_json::from_slice(&text).context(at.display())?;
        if service_keys.is_empty() {
            return Err(Failure::new(format!("{}: holds no key", at.display())).way_out(advice));
        }
        Ok(Self { domain_key, pseudonym_key, service_keys, folder: folder.to_owned() })
    }

    pub fn domain_key(&self) -> &IdentityKey {
        &self.domain_key
    }

    /// What DCs call an account, so that all its nodes are one payer to them and they learn no name.
    pub fn pseudonym(&self, account: &str) -> AccountPseudonym {
        let [a, b, c, d, e, f, g, h, ..] = crypto::keyed_mac(self.pseudonym_key.expose(), &[account.as_bytes()]);
        AccountPseudonym([a, b, c, d, e, f, g, h])
    }

    /// All keys that a DC must know, the newest first.
    pub fn service_keys(&self) -> Vec<Key> {
        self.service_keys.iter().map(|held| held.key.clone()).collect()
    }

    /// The key that seals tickets now.
    pub fn sealing_key(&self, now: UnixTime) -> &Secret {
        let due = self.service_keys.iter().find(|held| held.use_from <= now.as_millis());
        // Where the clock went back behind all of them, the oldest is the one every DC has.
        &due.unwrap_or(&self.service_keys[self.service_keys.len() - 1]).key.0
    }

    /// Adds a new service key, which seals tickets when `lead` is over.
    pub fn rotate(&mut self, now: UnixTime, lead: Duration) -> Result<UnixTime, Failure> {
        if self.service_keys.len() >= MAX_SERVICE_KEYS {
            return Err(Failure::new(format!("there are {MAX_SERVICE_KEYS} service keys already"))
                .way_out("tickets of the oldest still hold; rotate when they have ended"));
        }
        let use_from = now + lead;
        let mut keys = self.service_keys.clone();
        keys.insert(0, ServiceKey { key: fresh_key(), use_from: use_from.as_millis() });
        self.replace(keys)?;
        Ok(use_from)
    }

    /// Drops keys whose last ticket is over. Whether there were any.
    pub fn prune(&mut self, now: UnixTime, ticket_life: Duration) -> Result<bool, Failure> {
        let life = u64::try_from(ticket_life.as_millis()).unwrap_or(u64::MAX);
        // A key ends when its successor began and a ticket's life is over since.
        let successors = self.service_keys.windows(2);
        let ended = successors.clone().take_while(|pair| pair[0].use_from.saturating_add(life) > now.as_millis());
        let kept = 1 + ended.count();
        if kept == self.service_keys.len() {
            return Ok(false);
        }
        self.replace(self.service_keys[..kept].to_vec())?;
        Ok(true)
    }

    /// Reads the service keys again: another process may have rotated them.
    pub fn reload(&mut self) -> Result<(), Failure> {
        *self = Self::load(&self.folder)?;
        Ok(())
    }

    fn replace(&mut self, keys: Vec<ServiceKey>) -> Result<(), Failure> {
        let text = Zeroizing::new(serde_json::to_vec(&keys).context(SERVICE_KEYS)?);
        files::replace_secret(&self.folder.join(SERVICE_KEYS), &text)?;
        self.service_keys = keys;
        Ok(())
    }
}

fn fresh_key() -> Key {
    Key(Secret::new(random()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIFE: Duration = Duration::from_secs(1000);
    const LEAD: Duration = Duration::from_secs(60);

    fn at(seconds: u64) -> UnixTime {
        UnixTime::from_secs(1_000_000 + seconds)
    }

    #[test]
    fn a_new_service_key_is_given_out_before_it_is_used_and_the_old_one_stays_for_its_tickets() {
        let folder = ntm_server::testing::Folder::new();
        let mut secrets = Secrets::create(folder.path(), at(0)).expect("made");
        let old = secrets.sealing_key(at(0)).clone();
        secrets.rotate(at(10), LEAD).expect("rotated");
        assert_eq!(secrets.service_keys().len(), 2);
        assert_eq!(secrets.sealing_key(at(69)), &old);
        assert_ne!(secrets.sealing_key(at(70)), &old);
        assert!(!secrets.prune(at(1069), LIFE).expect("pruned"));
        assert!(secrets.prune(at(1070), LIFE).expect("pruned"));
        assert_eq!(secrets.service_keys().len(), 1);
        let again = Secrets::load(folder.path()).expect("loads");
        assert_eq!(again.sealing_key(at(2000)), secrets.sealing_key(at(2000)));
        assert_ne!(again.sealing_key(at(2000)), &old);
    }

    #[test]
    fn an_account_has_one_pseudonym_for_ever_and_another_in_each_domain() {
        let [folder, elsewhere] = [(); 2].map(|()| ntm_server::testing::Folder::new());
        let secrets = Secrets::create(folder.path(), at(0)).expect("made");
        let alice = secrets.pseudonym("alice");
        assert_ne!(alice, secrets.pseudonym("bob"));
        assert_eq!(alice, Secrets::load(folder.path()).expect("loads").pseudonym("alice"));
        assert_ne!(alice, Secrets::create(elsewhere.path(), at(0)).expect("made").pseudonym("alice"));
    }

    #[test]
    fn keys_are_never_overwritten_and_never_read_where_others_could() {
        let folder = ntm_server::testing::Folder::new();
        Secrets::create(folder.path(), at(0)).expect("made");
        assert!(Secrets::create(folder.path(), at(0)).is_err());
        let open = std::os::unix::fs::PermissionsExt::from_mode(0o644);
        std::fs::set_permissions(folder.path().join(DOMAIN_KEY), open).expect("changed");
        let why = Secrets::load(folder.path()).expect_err("refused").to_string();
        assert!(why.contains("chmod 600"), "{why}");
    }
}
