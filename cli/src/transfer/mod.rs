//! `ntm send` and `ntm recv`: files, taken up where they were left.
//!
//! ```text
//! sender                                                        receiver
//!   │ ── {"name","size","digest"} ─────────────────────────────▶ │   digest: BLAKE2s-256 of the whole
//!   │ ◀───────────────────── {"have","digest"}: of that part ── │   or {"refused"}
//!   │ ── {"from": have, or 0 where the part is another's} ─────▶ │
//!   │ ── bytes from there to the end ──────────────────────────▶ │   NAME.part grows
//!   │ ◀──────────────────────────── {"kept"} or {"refused"} ─── │   the digest fits: NAME.part becomes NAME
//! ```
//!
//! Each message is a line of JSON. A transfer that breaks off leaves `NAME.part`; the next one of the same file goes on.

mod message;
mod receive;
mod send;

pub(crate) use receive::Recv;
pub(crate) use send::Send;

/// Where a receiver waits if nobody says otherwise.
const PORT: u16 = 4_606;
const ROOM: usize = 256 * 1024;
