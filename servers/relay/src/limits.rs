//! Every bound and every interval of the relay, by name.
//!
//! None of them comes from a standard: they are chosen so that a relay full of strangers' grants
//! stays within a known amount of memory and of work a datagram. `docs/protocol/relay.md` states
//! those that a node can notice.

use core::time::Duration;

/// Grants one relay can ever hold, whatever its configuration says.
pub const MAX_GRANTS: usize = 1 << 20;
/// Paths whose revocation is remembered. The one that would lapse first makes room.
pub const MAX_REVOKED: usize = 1 << 16;
/// Direction servers one relay reports to.
pub const MAX_DIRECTORS: usize = 16;
/// The relay's own addresses that nodes may bind at; binds that arrive at others are refused.
pub const MAX_LOCALS: usize = 64;
/// Answers that wait for the driver to poll them.
pub const MAX_TRANSMITS: usize = 4_096;

/// Datagrams kept for one side that cannot be sent to yet.
pub const MAX_HELD: usize = 4;
/// Bytes kept for one side that cannot be sent to yet.
pub const MAX_HELD_BYTES: usize = 8 * 1024;
/// Bytes kept for all sides together.
pub const MAX_HELD_TOTAL: usize = 16 * 1024 * 1024;
/// A datagram kept longer than this has been sent again by its sender, and is forgotten.
pub const HELD_FOR: Duration = Duration::from_secs(5);

/// A grant that neither traffic nor a bind has touched for this long is forgotten.
pub const GRANT_IDLE: Duration = Duration::from_secs(5 * 60);
/// How long the index and address that a side has left stay good for what is still on its way.
pub const REBIND_GRACE: Duration = Duration::from_secs(1);
/// A token that would live longer than this is refused, so that a revocation need not be kept for ever.
pub const MAX_TOKEN_LIFE: Duration = Duration::from_secs(24 * 60 * 60);

/// What a grant with a rate may send at once after a pause, as time at that rate.
pub const RATE_BURST: Duration = Duration::from_millis(250);
/// What a grant with a rate may send at once after a pause, at the least.
pub const RATE_BURST_BYTES: u64 = 64 * 1024;

/// Binds a second that are all looked at. Above it, each source has a share of its own.
pub const BINDS_PER_SECOND: u64 = 20_000;
/// Binds that may come at once before they count as a flood.
pub const BIND_BURST: u64 = 4_000;
/// Binds a second from one source (an IPv4 address, an IPv6 /64) while there is a flood.
pub const SOURCE_BINDS_PER_SECOND: u64 = 16;
/// Binds that one source may send at once while there is a flood.
pub const SOURCE_BIND_BURST: u64 = 32;
/// Pings a second that one source has answered.
pub const SOURCE_PINGS_PER_SECOND: u64 = 64;
/// Pings that one source may send at once.
pub const SOURCE_PING_BURST: u64 = 64;
/// Meters that the sources share, by a keyed hash: the memory of a flood of forged sources.
pub const SOURCE_METERS: usize = 1 << 16;

/// Between two reports to a direction server.
pub const REPORT_EVERY: Duration = Duration::from_secs(10);
/// After a report that was not answered.
pub const REPORT_RETRY: Duration = Duration::from_secs(1);
/// Reports without an answer after which the session counts as lost.
pub const REPORT_TRIES: u32 = 3;
/// Before the second attempt at a handshake; doubles with each further one.
pub const HANDSHAKE_RETRY: Duration = Duration::from_secs(1);
/// Between two attempts at a handshake, at the most.
pub const HANDSHAKE_RETRY_MAX: Duration = Duration::from_secs(30);
