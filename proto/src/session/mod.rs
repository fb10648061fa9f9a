//! Sessions between two parties: Noise IKpsk2, and what it takes to live on a hostile network.
//!
//! `docs/protocol/session.md` is the normative text. The parts, from the outside in:
//!
//! | module | what it is for |
//! |---|---|
//! | [`cookie`] | who may make us do public-key work: MACs and cookies on handshake datagrams |
//! | [`amplification`] | how much an address may be sent before it is proven |
//! | [`handshake`] | one Noise handshake, either side, over [`noise`] (our primitives under `snow`) |
//! | [`pair`] | [`Session`]: the key pairs of two parties, replaced while data flows |
//! | [`transport`], [`replay`] | sealing and opening data, and refusing what was opened before |
//! | [`fragment`] | packets that do not fit a path |
//! | [`relay_token`] | the right to use a relay, and the keys that bind to it |

pub mod amplification;
pub mod cookie;
pub mod fragment;
pub mod handshake;
pub mod noise;
pub mod pair;
pub mod relay_token;
pub mod replay;
pub mod transport;

pub use amplification::Allowance;
pub use cookie::{Cookie, CookieJar, LoadMeter, Verdict};
pub use fragment::{FragmentError, Reassembler, split};
pub use handshake::{Established, HandshakeError, Incoming, Initiator, Psk};
pub use pair::{Opened, Session, SessionStats, SessionTimer};
pub use relay_token::{GrantKey, Payer, RelayToken, TokenBody, TokenError, bind_mac};
pub use replay::{DATA_WINDOW_WORDS, ReplayWindow, Replayed, SIGNAL_WINDOW_WORDS};
pub use transport::{Exhausted, OpenError, OpeningKey, SealError, SealingKey};
