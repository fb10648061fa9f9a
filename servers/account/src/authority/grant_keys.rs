//! The keys that make relay grants: each relay shares one with the DCs, and it is rotated without a grant being lost.
//!
//! ```text
//! rotate ── the relay is given the new key beside the old ── lead ── the DCs mint with the new one
//!                                                  ── the old one's last token ends ── the relay forgets it
//! ```

use std::time::Duration;

use ntm_proto::crypto::Secret;
use ntm_proto::id::Fqdn;
use ntm_proto::identity::Role;
use ntm_proto::time::UnixTime;
use ntm_server::clock::{random, unix_now};
use ntm_server::credentials::{Key, NumberedKey};

use super::audit::note;
use super::servers::{all, bump, tell_role};
use super::{Authority, Caller};
use crate::records::{Relay, Server};
use crate::refusal::{Code, Refusal};
use crate::store::{StoreError, Table};

/// Grant keys of one relay at once; a rotation beyond that waits for tokens to end.
const MAX_GRANT_KEYS: usize = 4;
/// No relay takes a token that ends later than this.
const LONGEST_TOKEN: Duration = Duration::from_secs(24 * 3_600);

impl Authority {
    /// A new grant key for a relay: given to the relay now, used by the DCs after the lead. When that is.
    pub fn rotate_grant_key(&self, by: &Caller, name: &Fqdn, at_once: bool) -> Result<UnixTime, Refusal> {
        let lead = if at_once { Duration::ZERO } else { self.rules().key_lead };
        let use_from = unix_now() + lead;
        self.write(|tx| {
            let server: Option<Server> = tx.find(Table::Servers, name.as_str())?;
            let mut server = server.ok_or_else(|| Refusal::not_found("server"))?;
            let Some(relay) = &mut server.relay else {
                return Err(Refusal::invalid(format!("{name} is no relay: only relays have grant keys")));
            };
            if relay.grant_keys.len() >= MAX_GRANT_KEYS {
                let what = format!("{name} has {MAX_GRANT_KEYS} grant keys already: tokens of the oldest still hold");
                return Err(Refusal::new(Code::Full, what));
            }
            relay.minting = minting_key(relay).map_or(0, |key| key.number);
            relay.grant_keys.insert(0, NumberedKey { number: free_number(relay), key: Key(Secret::new(random())) });
            relay.mints_from = use_from.as_millis();
            tx.save(Table::Servers, name.as_str(), &server)?;
            bump(tx, &[name.to_string()])?;
            Ok(note(tx, by, "grant key rotated", name.as_str())?)
        })?;
        self.tell();
        self.tend_grant_keys(unix_now())?;
        Ok(use_from)
    }

    /// Has DCs mint with keys whose lead is over, and relays forget those whose last token is.
    pub(super) fn tend_grant_keys(&self, now: UnixTime) -> Result<(), Refusal> {
        let changed = self.write(|tx| {
            let (mut mint_anew, mut forgot) = (false, Vec::new());
            for (name, mut server) in all(tx)? {
                let Some(relay) = &mut server.relay else { continue };
                let Some(newest) = relay.grant_keys.first().map(|key| key.number) else { continue };
                if relay.grant_keys.len() == 1 || now.as_millis() < relay.mints_from {
                    continue;
                }
                if relay.minting != newest {
                    relay.minting = newest;
                    mint_anew = true;
                } else if now >= UnixTime::from_millis(relay.mints_from) + LONGEST_TOKEN {
                    relay.grant_keys.truncate(1);
                    forgot.push(name.clone());
                } else {
                    continue;
                }
                tx.save(Table::Servers, &name, &server)?;
            }
            bump(tx, &forgot)?;
            if mint_anew {
                tell_role(tx, Role::Direction)?;
            }
            Ok::<_, StoreError>(mint_anew || !forgot.is_empty())
        })?;
        if changed {
            self.tell();
        }
        Ok(())
    }
}

/// The key that DCs mint with now.
pub(super) fn minting_key(relay: &Relay) -> Option<&NumberedKey> {
    relay.grant_keys.iter().find(|key| key.number == relay.minting).or(relay.grant_keys.first())
}

/// A number that none of the relay's keys has.
fn free_number(relay: &Relay) -> u8 {
    let newest = relay.grant_keys.first().map_or(0, |key| key.number);
    let mut numbers = (1..=u8::MAX).map(|step| newest.wrapping_add(step));
    numbers.find(|number| *number != 0 && relay.grant_keys.iter().all(|key| key.number != *number)).unwrap_or(1)
}
