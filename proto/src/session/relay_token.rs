//! The right to use a relay for one communication, and the keys that bind to it.
//!
//! ```text
//!  0        1          4         20          28         32         40        56
//! ┌────────┬──────────┬─────────┬───────────┬──────────┬──────────┬─────────┐
//! │ key id │ payer    │ path id │ expires   │ rate     │ serial   │ mac     │
//! │        │ (masked) │         │ (ms, UTC) │ (kB/s)   │          │         │
//! └────────┴──────────┴─────────┴───────────┴──────────┴──────────┴─────────┘
//!  └──────────────────── mac covers this ─────────────────────────┘
//! ```
//!
//! The payer tells a relay which of its grants one account pays for, and nothing of whose account that is. What
//! masks it differs from token to token, so that those who see tokens pass cannot tell even that.
//!
//! A DC and its relays share a [`GrantKey`]. The DC mints a token a communication; the relay checks it by
//! that key alone, so the first packet through the relay needs no message from the DC. The token is
//! no secret: it crosses the network in the clear. What lets a node *use* it is the bind key, which the
//! DC derives from token and side and gives to that side alone, inside its session, and which the
//! relay derives again. So nobody who sees a token can bind with it, and neither side can bind as the other.

use core::fmt;
use core::ops::Range;

use crate::crypto::{self, Secret};
use crate::id::{AccountPseudonym, PathId, RelayId};
use crate::session::Psk;
use crate::time::UnixTime;
use crate::wire::message::Side;

const MAC: usize = 16;
const BODY: usize = RelayToken::LEN - MAC;
const PAYER: Range<usize> = 1..1 + Payer::LEN;
const MAC_LABEL: &[u8] = b"ntmfw relay token v1";
const PAYER_LABEL: &[u8] = b"ntmfw relay payer v1";
const MASK_LABEL: &[u8] = b"ntmfw relay payer mask v1";
const BIND_LABEL: &[u8] = b"ntmfw relay bind key v1";

/// A token as it travels: opaque to everyone but who has the grant key.
#[derive(Clone, PartialEq, Eq)]
pub struct RelayToken([u8; Self::LEN]);

/// An account as one relay knows it: the same in all tokens for that relay, another at each relay.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Payer(pub [u8; Self::LEN]);

/// What a token says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TokenBody {
    /// Who pays for the communication.
    pub payer: Payer,
    pub path_id: PathId,
    pub expires: UnixTime,
    /// Kilobytes a second, each direction; 0 is unlimited.
    pub rate: u32,
    /// Tells the tokens of one communication apart.
    pub serial: u64,
}

/// Why a token gives no right.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenError {
    /// Made with a key this relay does not hold.
    UnknownKey,
    Forged,
    Expired,
}

/// What a DC and its relays share. The number tells the old key from the new while both are in use.
#[derive(Clone, Debug)]
pub struct GrantKey {
    pub key_id: u8,
    pub key: Secret,
}

impl RelayToken {
    pub const LEN: usize = 56;

    pub const fn from_bytes(bytes: [u8; Self::LEN]) -> Self {
        Self(bytes)
    }

    pub const fn as_bytes(&self) -> &[u8; Self::LEN] {
        &self.0
    }

    /// Which key it claims to be made with.
    pub const fn key_id(&self) -> u8 {
        self.0[0]
    }
}

impl Payer {
    const LEN: usize = 3;

    /// What a relay is told of an account; and a number, as much the account's own at this relay, by which its
    /// grants are brought together where the relay has several shards.
    pub fn at(relay: RelayId, account: &AccountPseudonym) -> (Self, u32) {
        let told = crypto::keyed_mac(&account.0, &[PAYER_LABEL, &relay.0.to_be_bytes()]);
        (Self(part(&told, 0)), u32::from_be_bytes(part(&told, Self::LEN)))
    }
}

impl GrantKey {
    pub fn mint(&self, body: &TokenBody) -> RelayToken {
        let mut bytes = [0; RelayToken::LEN];
        bytes[0] = self.key_id;
        bytes[4..20].copy_from_slice(&body.path_id.0);
        bytes[20..28].copy_from_slice(&body.expires.as_millis().to_be_bytes());
        bytes[28..32].copy_from_slice(&body.rate.to_be_bytes());
        bytes[32..40].copy_from_slice(&body.serial.to_be_bytes());
        let masked = self.mask(&bytes[PAYER.end..BODY], body.payer);
        bytes[PAYER].copy_from_slice(&masked.0);
        let mac = self.mac(&bytes[..BODY]);
        bytes[BODY..].copy_from_slice(&mac);
        RelayToken(bytes)
    }

    /// Reads a token, if it is genuine and still valid.
    pub fn open(&self, token: &RelayToken, now: UnixTime) -> Result<TokenBody, TokenError> {
        if token.key_id() != self.key_id {
            return Err(TokenError::UnknownKey);
        }
        let (body, mac) = token.0.split_at(BODY);
        if !crypto::equal(&self.mac(body), mac) {
            return Err(TokenError::Forged);
        }
        let body = TokenBody {
            payer: self.mask(&body[PAYER.end..], Payer(part(body, PAYER.start))),
            path_id: PathId(part(body, 4)),
            expires: UnixTime::from_millis(u64::from_be_bytes(part(body, 20))),
            rate: u32::from_be_bytes(part(body, 28)),
            serial: u64::from_be_bytes(part(body, 32)),
        };
        if body.expires <= now { Err(TokenError::Expired) } else { Ok(body) }
    }

    /// The key with which one side authenticates its binds.
    pub fn bind_key(&self, token: &RelayToken, side: Side) -> Psk {
        crypto::derive(&self.key, &[BIND_LABEL, &token.0, &[side.number()]])
    }

    /// Masks the payer of the token with this rest, or takes the mask off.
    fn mask(&self, rest: &[u8], payer: Payer) -> Payer {
        let mask = crypto::keyed_mac(self.key.expose(), &[MASK_LABEL, rest]);
        Payer(core::array::from_fn(|at| payer.0[at] ^ mask[at]))
    }

    fn mac(&self, body: &[u8]) -> [u8; MAC] {
        crypto::keyed_mac(self.key.expose(), &[MAC_LABEL, body])
    }
}

/// The MAC that ends a bind or its answer.
pub fn bind_mac(key: &Psk, signed_part: &[u8]) -> [u8; 16] {
    crypto::keyed_mac(key.expose(), &[signed_part])
}

fn part<const N: usize>(body: &[u8], at: usize) -> [u8; N] {
    let mut bytes = [0; N];
    bytes.copy_from_slice(&body[at..at + N]);
    bytes
}

impl fmt::Debug for RelayToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RelayToken(key {}, ..)", self.key_id())
    }
}

impl fmt::Display for TokenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::UnknownKey => "made with another key",
            Self::Forged => "forged",
            Self::Expired => "expired",
        })
    }
}

impl core::error::Error for TokenError {}

#[cfg(test)]
mod tests {
    use super::*;

    const BODY: TokenBody = TokenBody {
        payer: Payer([1, 2, 3]),
        path_id: PathId([6; 16]),
        expires: UnixTime::from_secs(1_000),
        rate: 125,
        serial: 42,
    };

    fn grant() -> GrantKey {
        GrantKey { key_id: 3, key: Secret::new([11; 32]) }
    }

    #[test]
    fn a_relay_reads_what_the_dc_wrote() {
        let token = grant().mint(&BODY);
        assert_eq!(token.key_id(), 3);
        assert_eq!(grant().open(&token, UnixTime::from_secs(999)), Ok(BODY));
        let copied = RelayToken::from_bytes(*token.as_bytes());
        assert_eq!(copied, token);
    }

    #[test]
    fn a_token_ends_when_it_says() {
        let token = grant().mint(&BODY);
        assert_eq!(grant().open(&token, BODY.expires), Err(TokenError::Expired));
        let before = UnixTime::from_millis(BODY.expires.as_millis() - 1);
        assert!(grant().open(&token, before).is_ok());
    }

    #[test]
    fn a_token_changed_anywhere_is_refused() {
        let token = grant().mint(&BODY);
        for at in 0..RelayToken::LEN {
            let mut bytes = *token.as_bytes();
            bytes[at] ^= 1;
            let expected = if at == 0 { TokenError::UnknownKey } else { TokenError::Forged };
            assert_eq!(grant().open(&RelayToken::from_bytes(bytes), UnixTime::default()), Err(expected), "byte {at}");
        }
    }

    #[test]
    fn a_token_of_another_domain_is_refused_even_with_the_same_key_number() {
        let token = GrantKey { key_id: 3, key: Secret::new([12; 32]) }.mint(&BODY);
        assert_eq!(grant().open(&token, UnixTime::default()), Err(TokenError::Forged));
    }

    #[test]
    fn each_side_of_each_token_has_a_bind_key_of_its_own() {
        let (grant, other) = (grant(), GrantKey { key_id: 3, key: Secret::new([12; 32]) });
        let (token, next) = (grant.mint(&BODY), grant.mint(&TokenBody { serial: 43, ..BODY }));
        let keys = [
            grant.bind_key(&token, Side::Initiator),
            grant.bind_key(&token, Side::Responder),
            grant.bind_key(&next, Side::Initiator),
            grant.bind_key(&next, Side::Responder),
            other.bind_key(&token, Side::Initiator),
        ];
        for (at, key) in keys.iter().enumerate() {
            assert!(keys.iter().skip(at + 1).all(|other| other != key));
            assert!(*key != grant.key);
        }
        let message = b"bind";
        assert_ne!(bind_mac(&keys[0], message), bind_mac(&keys[1], message));
        assert_eq!(bind_mac(&keys[0], message), bind_mac(&grant.bind_key(&token, Side::Initiator), message));
    }

    #[test]
    fn two_relays_cannot_tell_that_they_serve_the_same_account() {
        let accounts = [AccountPseudonym([1; 8]), AccountPseudonym([2; 8])];
        let told = |relay, account: usize| Payer::at(RelayId(relay), &accounts[account]);
        assert_eq!(told(1, 0), told(1, 0));
        assert_ne!(told(1, 0).0, told(2, 0).0);
        assert_ne!(told(1, 0).1, told(2, 0).1);
        assert_ne!(told(1, 0).0, told(1, 1).0);
    }

    #[test]
    fn tokens_of_one_account_cannot_be_told_apart_from_those_of_another_by_who_sees_them() {
        let payer_bytes = |body: TokenBody| grant().mint(&body).as_bytes()[PAYER].to_vec();
        let next = TokenBody { serial: 43, ..BODY };
        assert_ne!(payer_bytes(BODY), BODY.payer.0);
        assert_ne!(payer_bytes(BODY), payer_bytes(next));
        assert_eq!(grant().open(&grant().mint(&next), UnixTime::default()).map(|body| body.payer), Ok(BODY.payer));
    }

    #[test]
    fn a_token_is_not_printed() {
        let printed = std::format!("{:?}", grant().mint(&BODY));
        assert_eq!(printed, "RelayToken(key 3, ..)");
    }
}
