//! Several relays behind one address, each with grants of its own: one a core, sharing nothing.
//!
//! What belongs to a grant says so by itself, at a fixed place, so whoever hands out the datagrams (a
//! program in the kernel, or a driver) needs no table to find the shard. With `n` shards:
//!
//! ```text
//!              0        4             8         48              52
//! Relayed      type=5   relay index   …                              index mod n: indices are allotted so
//! RelayBind    type=6   …                       token's serial       serial mod n: both sides show one token
//!                                               (its low half)
//! sessions     type=2…4                                              shard 0, which talks to the direction servers
//! all others                                                         any shard
//! ```

use ntm_proto::wire::outer::{self, OuterType};

/// Where the relay index stands in `Relayed`.
pub const INDEX_AT: usize = 4;
/// Where the low half of the token's serial number stands in `RelayBind`.
pub const SERIAL_AT: usize = 48;
/// Shards that one relay can have.
pub const MAX_SHARDS: u32 = 256;

/// Which of the shards a relay is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shard {
    pub number: u32,
    pub of: u32,
}

impl Shard {
    /// A relay that is alone.
    pub const ONLY: Self = Self { number: 0, of: 1 };

    /// Whether a relay with this shard may allot `index`.
    pub(crate) const fn has(self, index: u32) -> bool {
        index % self.of == self.number
    }
}

/// The shard, of `shards`, that a datagram is for; `None` where any will do.
pub fn shard_of(datagram: &[u8], shards: u32) -> Option<u32> {
    let word = |at: usize| {
        let bytes = datagram.get(at..at + 4)?;
        Some(u32::from_be_bytes(bytes.try_into().ok()?) % shards)
    };
    match outer::peek(datagram) {
        Ok(OuterType::Relayed) => word(INDEX_AT),
        Ok(OuterType::RelayBind) => word(SERIAL_AT),
        Ok(OuterType::HandshakeResponse | OuterType::CookieReply | OuterType::Data) => Some(0),
        // Answered alike, or dropped alike.
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use core::time::Duration;

    use ntm_proto::crypto::Secret;
    use ntm_proto::id::{PathId, RelayIndex};
    use ntm_proto::session::{GrantKey, Payer, TokenBody};
    use ntm_proto::time::UnixTime;
    use ntm_proto::wire::message::Side;
    use ntm_proto::wire::outer;

    use super::*;

    #[test]
    fn both_sides_of_a_grant_bind_at_one_shard_and_their_indices_lead_to_it() {
        let key = GrantKey { key_id: 1, key: Secret::new([1; 32]) };
        for serial in [0, 1, 5, 6, u64::MAX, 0x1_0000_0003] {
            let expires = UnixTime::default() + Duration::from_secs(1);
            let (payer, path_id) = (Payer::default(), PathId([9; 16]));
            let token = key.mint(&TokenBody { payer, path_id, expires, rate: 0, serial });
            for side in [Side::Initiator, Side::Responder] {
                let bind = outer::emit_relay_bind(side, 7, &token, None, |_| [0; 16]);
                assert_eq!(shard_of(&bind, 3), Some(serial as u32 % 3));
            }
        }
        let relayed = outer::emit_relayed(RelayIndex(11), &outer::PUNCH);
        assert_eq!(shard_of(&relayed, 4), Some(3));
        assert!(Shard { number: 3, of: 4 }.has(11));
    }

    #[test]
    fn any_shard_answers_a_ping_and_the_first_talks_to_the_direction_servers() {
        assert_eq!(shard_of(&outer::emit_relay_ping(1), 4), None);
        assert_eq!(shard_of(&[OuterType::Data as u8; 40], 4), Some(0));
        assert_eq!(shard_of(&[], 4), None);
        assert_eq!(shard_of(&[OuterType::Relayed as u8, 0, 0], 4), None, "cut short");
    }
}
