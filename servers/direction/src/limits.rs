//! The bounds of every table and the times the coordinator keeps. What a protocol rule fixes is
//! cited; the rest is tuning.

use core::time::Duration;

/// Nodes known, registered or remembered.
pub const MAX_NODES: usize = 1 << 21;
/// Sessions with nodes: a current one each, some previous ones, and those not confirmed yet.
pub const MAX_LINKS: usize = 1 << 22;
/// Handshakes answered and not confirmed. QUIC implementations hold up to 65,536.
pub const MAX_HALF_OPEN: usize = 8_192;
/// Handshakes that wait until their node is stored.
pub const MAX_APPLICANTS: usize = 8_192;
/// Communications whose key and sides are remembered for the next move.
pub const MAX_PATHS: usize = 1 << 18;
/// Messages waiting for their acknowledgement.
pub const MAX_DELIVERIES: usize = 1 << 16;
/// … of which to one node.
pub const MAX_DELIVERIES_PER_NODE: u16 = 256;
/// Directions that wait for a node to wake or to arrive.
pub const MAX_HELD: usize = 1 << 14;
/// … of which for one node.
pub const MAX_HELD_PER_NODE: usize = 128;
/// Other domains' DCs known at a time.
pub const MAX_PEERS: usize = 1_024;
/// Directions that wait for one other domain.
pub const MAX_WAITING_PER_PEER: usize = 1_024;
/// Domains being looked for, or lately not found.
pub const MAX_LOOKUPS: usize = 1_024;
/// Nodes being looked for at this domain's other DCs.
pub const MAX_FINDS: usize = 1 << 14;
/// Handshakes of other domains' DCs that wait until their domain's key is known.
pub const MAX_CALLERS: usize = 64;
/// Relays of this domain.
pub const MAX_RELAY_SERVERS: usize = 1_024;
/// Datagrams to be sent that the driver has not taken.
pub const MAX_TRANSMITS: usize = 1 << 16;
/// Events that the driver has not taken.
pub const MAX_EVENTS: usize = 1 << 16;
/// Senders whose fragments are being joined.
pub const MAX_REASSEMBLERS: usize = 256;
/// Local addresses told apart.
pub const MAX_LOCALS: usize = 64;
/// Revoked nodes remembered that never registered here.
pub const MAX_REVOKED: usize = 1 << 20;

/// Communications taken back that one relay is told again when it calls.
pub const MAX_TAKEN_BACK: usize = 1_024;
/// Cookies given out under load: one each this long …
pub const COOKIE_INTERVAL: Duration = Duration::from_micros(10);
/// … after a burst of this many. What comes on top without a cookie is dropped unread, so that those who hold one
/// and nodes that are registered find the sockets' queues empty.
pub const COOKIE_BURST: u32 = 5_000;

/// Bytes sent to an address for each byte from it, until it has proven itself (RFC 9000, 8.1).
pub const AMPLIFICATION: usize = 3;
/// The largest plaintext of one datagram: IPv6's least MTU (RFC 8200, 5) less IPv6, UDP and the tunnel's overhead.
pub const MAX_PLAINTEXT: usize = 1_280 - 40 - 8 - ntm_proto::wire::outer::DATA_OVERHEAD;

/// How long an answered handshake waits for the first data datagram.
pub const CONFIRM_WITHIN: Duration = Duration::from_secs(5);
/// How long the driver may take to store a node before it is asked again.
pub const STORE_WITHIN: Duration = Duration::from_secs(2);
/// How long the session before the current one still opens what is on its way.
pub const PREVIOUS_LINGERS: Duration = Duration::from_secs(10);
/// How long a node that is gone keeps its virtual addresses.
pub const ADDRESS_GRACE: Duration = Duration::from_secs(30 * 24 * 3_600);
/// A request for the same communication within this time of the last is the same request.
pub const DUPLICATE_WITHIN: Duration = Duration::from_secs(1);
/// How long a communication's key and sides are remembered after its last direction.
pub const PATH_REMEMBERED: Duration = Duration::from_secs(24 * 3_600);
/// The first wait for an acknowledgement; each further one is twice as long.
pub const FIRST_RETRY: Duration = Duration::from_millis(250);
/// Times a message is sent before its receiver counts as gone.
pub const MAX_TRIES: u8 = 6;
/// How long a direction waits for a sleeping node.
pub const WAKE_WITHIN: Duration = Duration::from_secs(10);
/// Between two wakes of one node.
pub const WAKE_INTERVAL: Duration = Duration::from_secs(1);
/// How long a direction waits for another domain, its sleeping node included.
pub const FOREIGN_WITHIN: Duration = Duration::from_secs(15);
/// How long the driver may look for a domain.
pub const LOOKUP_WITHIN: Duration = Duration::from_secs(8);
/// How long a domain that was not found is not looked for again.
pub const LOOKUP_AGAIN_AFTER: Duration = Duration::from_secs(10);
/// How long what a lookup found is used.
pub const LOOKUP_VALID: Duration = Duration::from_secs(3_600);
/// The first wait for the answer to a handshake with another DC; each further one is twice as long.
pub const HANDSHAKE_RETRY: Duration = Duration::from_millis(400);
/// Times a handshake is sent to another DC, to its addresses in turn.
pub const HANDSHAKE_TRIES: u8 = 5;
/// A relay that reported and then says nothing for this long is dead.
pub const RELAY_SILENT: Duration = Duration::from_secs(35);
/// Keep-alive intervals a node may miss before it counts as asleep.
pub const MISSED_KEEP_ALIVES: u32 = 3;
/// Handshakes a second above which cookies are asked for; a burst of as many is let through.
pub const HANDSHAKES_PER_SECOND: u32 = 2_000;
/// Directions one node may ask for: one each this long …
pub const DIRECTION_INTERVAL: Duration = Duration::from_millis(20);
/// … after a burst of this many: a program may well begin with a hundred peers at once.
pub const DIRECTION_BURST: u32 = 256;
/// Registrations of one node: one each this long …
pub const REGISTRATION_INTERVAL: Duration = Duration::from_millis(200);
/// … after a burst of this many.
pub const REGISTRATION_BURST: u32 = 16;
/// Directions one other domain may ask for: one each this long …
pub const PEER_INTERVAL: Duration = Duration::from_micros(500);
/// … after a burst of this many.
pub const PEER_BURST: u32 = 2_000;

/// Grants of one relay in one direction; with two relays they fill a direction's bound.
pub const MAX_LANES: u8 = 2;
