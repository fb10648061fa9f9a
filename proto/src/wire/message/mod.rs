//! The signalling messages of DESIGN 4.4, as values that cannot be invalid.

use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;
use core::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use core::time::Duration;

use crate::id::{DeviceName, Fqdn, InterfaceId, NodeId, PathId, RelayId, TransactionId};
use crate::identity::{NodeRecord, ServerCert};
use crate::session::{Psk, RelayToken};
use crate::time::UnixTime;

/// Interfaces one node may register.
pub const MAX_INTERFACES: usize = 8;
/// Addresses of one interface (a v4, and v6 of several scopes).
pub const MAX_ADDRESSES: usize = 4;
/// Candidate pairs in one direction.
pub const MAX_PAIRS: usize = 64;
/// Relay grants in one direction.
pub const MAX_GRANTS: usize = 4;
/// Relays a registration response may name.
pub const MAX_RELAYS: usize = 16;
/// Bytes of an error's text.
pub const MAX_ERROR_TEXT: usize = 200;
/// Bytes of a sealed ticket.
pub const MAX_TICKET: usize = 512;
/// Bytes of the opaque token a push gateway wakes a node by.
pub const MAX_WAKE_TOKEN: usize = 256;

/// A message with the transaction it belongs to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Envelope {
    pub transaction: TransactionId,
    pub message: Message,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    RegistrationRequest(RegistrationRequest),
    RegistrationResponse(RegistrationResponse),
    Deregistration(Deregistration),
    KeepAlive(KeepAlive),
    KeepAliveAck(KeepAliveAck),
    DirectionRequest(DirectionRequest),
    NodeInformationRequest(Box<NodeInformationRequest>),
    NodeInformationResponse(Box<NodeInformationResponse>),
    RelayReport(RelayReport),
    RelayDirection(RelayDirection),
    RelayAck,
    RouteDirection(Box<RouteDirection>),
    RouteDirectionAck,
    TunnelRequest(TunnelRequest),
    TunnelResponse(TunnelResponse),
    ServerHello(ServerHello),
    Wake(Wake),
    Error(ErrorMessage),
}

/// What a NAT does with the port of one local socket towards several destinations (RFC 4787, 4.1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum NatMapping {
    #[default]
    Unknown,
    /// No translation: the outside sees the interface's own address.
    None,
    /// One outer port for every destination: can be punched.
    EndpointIndependent,
    /// Another outer port for each destination: cannot be foretold.
    EndpointDependent,
}

/// One interface as the node itself describes it, with what others have seen of it. Carries the
/// papers' `NTM_EX_DEV_NAME`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interface {
    pub id: InterfaceId,
    /// Raised by the node whenever the interface's addresses change.
    pub generation: u16,
    pub name: DeviceName,
    /// The addresses and UDP ports the node itself has bound.
    pub addresses: Vec<SocketAddr>,
    /// The addresses the DC saw packets of this interface come from: written by the DC, ignored in
    /// a request. At most one a family.
    pub reflexive: Vec<SocketAddr>,
    pub mapping: NatMapping,
    /// Lower is preferred; metered or slow interfaces say a higher number.
    pub cost: u8,
}

/// A round-trip time from a node to a relay, measured by the node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RelayRtt {
    pub relay: RelayId,
    pub rtt: Duration,
}

/// Node → DC. First as the payload of the handshake (then with a ticket), later as a frame when
/// something changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RegistrationRequest {
    pub record: NodeRecord,
    /// The sealed ticket; only in a handshake.
    pub ticket: Option<Vec<u8>>,
    /// Strictly rising for one node: milliseconds of its calendar clock, or the last value plus one.
    pub sequence: u64,
    /// The interface this very datagram leaves from.
    pub from: InterfaceId,
    pub interfaces: Vec<Interface>,
    pub relay_rtts: Vec<RelayRtt>,
    pub wake_token: Option<Vec<u8>>,
}

/// A relay as nodes need to know it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RelayInfo {
    pub relay: RelayId,
    pub addresses: Vec<SocketAddr>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RegistrationResponse {
    pub virtual4: Ipv4Addr,
    pub virtual6: Ipv6Addr,
    pub lease: Duration,
    pub keep_alive: Duration,
    /// Where the request came from, as the DC saw it.
    pub observed: SocketAddr,
    pub relays: Vec<RelayInfo>,
    pub time: UnixTime,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Deregistration {
    pub sequence: u64,
}

/// Node → DC, from each interface in turn: holds the NAT's mapping and tells the DC the outer address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeepAlive {
    pub from: InterfaceId,
    pub generation: u16,
    pub relay_rtts: Vec<RelayRtt>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeepAliveAck {
    pub observed: SocketAddr,
}

/// What a direction is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    Name(Fqdn),
    Node(NodeId),
    Virtual4(Ipv4Addr),
    Virtual6(Ipv6Addr),
}

/// Node → its DC: connect me with `target`, or bring an existing communication up to date after a move.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DirectionRequest {
    pub path_id: PathId,
    pub target: Target,
}

/// A node as one DC describes it to another and to the node's peer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeDescription {
    pub record: NodeRecord,
    pub virtual4: Ipv4Addr,
    pub virtual6: Ipv6Addr,
    pub interfaces: Vec<Interface>,
    pub relay_rtts: Vec<RelayRtt>,
}

/// DC of the initiator → DC of the responder. Everything the other DC needs to direct its node
/// without a further round trip.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeInformationRequest {
    pub path_id: PathId,
    pub target: Target,
    pub initiator: NodeDescription,
    pub psk: Psk,
    /// Grants for the responder's side on the relays the initiator's DC offers.
    pub grants: Vec<RelayGrant>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeInformationResponse {
    pub path_id: PathId,
    pub responder: NodeDescription,
}

/// Which end of a relayed path a grant is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Side {
    Initiator,
    Responder,
}

/// The right to use a relay for one communication; the relay checks it without asking the DC.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RelayGrant {
    pub relay: RelayId,
    pub addresses: Vec<SocketAddr>,
    pub side: Side,
    pub token: RelayToken,
    /// Authenticates this side's binds.
    pub bind_key: Psk,
}

/// One way to try: an interface of mine, an interface and address of the peer's. Carries the
/// papers' `NTM_EX_RT_DIR_DEV_NAME`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct CandidatePair {
    pub local: InterfaceId,
    pub remote_interface: InterfaceId,
    pub remote: SocketAddr,
}

/// DC → both nodes: how to reach each other. Acknowledged, and repeated until it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RouteDirection {
    pub path_id: PathId,
    pub side: Side,
    pub psk: Psk,
    pub peer: NodeDescription,
    /// In the order to prefer them.
    pub pairs: Vec<CandidatePair>,
    pub grants: Vec<RelayGrant>,
}

/// Payload of the first node↔node handshake message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TunnelRequest {
    pub path_id: PathId,
    /// Strictly rising within one path id and direction: a replayed handshake is an old one.
    pub sequence: u64,
    pub interface: InterfaceId,
}

/// Payload of the second node↔node handshake message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TunnelResponse {
    pub path_id: PathId,
}

/// Payload of the handshake between two servers, both ways.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerHello {
    pub cert: ServerCert,
    /// Strictly rising for one server: milliseconds of its calendar clock, or the last value plus one.
    pub sequence: u64,
}

/// RS → DC, after the handshake and then at intervals.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RelayReport {
    pub relay: RelayId,
    pub addresses: Vec<SocketAddr>,
    /// Parts in 10,000 of what the relay can carry.
    pub load: u16,
    /// No new grants, please: the relay is leaving.
    pub draining: bool,
}

/// DC → RS: forget what was granted (a revoked node). Acknowledged with `RelayAck`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RelayDirection {
    pub revoke: PathId,
}

/// DC → push gateway, and push gateway → node: wake up, somebody asks for you.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wake {
    pub node: NodeId,
    pub path_id: PathId,
}

/// What an `Error` says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ErrorCode {
    /// The name or address belongs to no node.
    NoSuchNode,
    /// The node exists and is not registered now.
    NodeOffline,
    /// The ticket has expired, or is for another domain: log in again.
    TicketExpired,
    /// The node was revoked.
    Revoked,
    /// The same identity registered from elsewhere and took over.
    Superseded,
    /// A bound was reached: try later.
    Busy,
    /// The DC does not know the sender: register first.
    NotRegistered,
    /// The other domain's DC cannot be reached.
    DomainUnreachable,
    /// The asker may not.
    Forbidden,
    /// The message made no sense here.
    BadMessage,
}

/// The answer where the asked-for message cannot be given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ErrorMessage {
    pub code: ErrorCode,
    /// For people; at most [`MAX_ERROR_TEXT`] bytes.
    pub text: String,
    /// The communication it is about, if any.
    pub path_id: Option<PathId>,
}
