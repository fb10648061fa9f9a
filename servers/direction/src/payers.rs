//! Who pays for a communication at a relay: the initiator's account, under a name that each relay is told anew.
//!
//! A relay limits what it carries for one account, and each of its shards does so by itself. So a serial number is
//! made of two things: random bits, which tell tokens apart, and the account, which decides their shard.
//!
//! ```text
//! serial   random, and the lane (32)  │  0 (1)  random (31), less its remainder modulo the shards, plus the account's
//! ```

use ntm_proto::id::{AccountPseudonym, RelayId};
use ntm_proto::session::Payer;
use ntm_proto::wire::message::Side;

use crate::coordinator::Coordinator;
use crate::paths::End;

impl Coordinator {
    /// The initiator's account; that of the responder where the initiator is not registered here. A communication of
    /// which neither is pays for itself.
    pub(crate) fn payer_of(&self, row: u32) -> Option<AccountPseudonym> {
        let path = self.paths.get(row)?;
        let account_of = |side: Side| match path.end(side) {
            End::Own(id) => self.registry.account(id),
            End::Foreign { .. } => None,
        };
        let account = account_of(Side::Initiator).or_else(|| account_of(Side::Responder));
        let [own @ .., _, _, _, _, _, _, _, _] = path.id.0;
        Some(account.unwrap_or(AccountPseudonym(own)))
    }

    /// What a relay is told of the payer, and the serial number of one lane's token.
    pub(crate) fn pay_at(&self, relay: RelayId, account: &AccountPseudonym, seed: u64, lane: u8) -> (Payer, u64) {
        let (payer, account) = Payer::at(relay, account);
        let shards = self.reported.get(&relay).map_or(1, |reported| u32::from(reported.shards.get()));
        (payer, serial(seed, lane, account % shards, shards))
    }
}

/// A serial number whose low half has this remainder modulo `shards`.
fn serial(seed: u64, lane: u8, remainder: u32, shards: u32) -> u64 {
    let high = ((seed >> 32) as u32).wrapping_add(u32::from(lane));
    // Half the range leaves room for what is added.
    let low = seed as u32 >> 1;
    u64::from(high) << 32 | u64::from(low - low % shards + remainder)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tokens_of_an_account_agree_on_a_shard_and_no_two_are_the_same() {
        for shards in [1, 2, 3, 6, 256, u32::from(u16::MAX)] {
            let remainder = shards / 2;
            for seed in [0, 1, 0xffff_ffff, u64::MAX, 0x0123_4567_89ab_cdef] {
                let [first, second] = [0, 1].map(|lane| serial(seed, lane, remainder, shards));
                assert_eq!((first as u32 % shards, second as u32 % shards), (remainder, remainder));
                assert_ne!(first, second);
            }
        }
    }
}
