//! The signalling messages, as values that cannot be invalid (`docs/protocol/messages.md`).
//!
//! ```text
//! envelope   message type(1)  version(1) = 1  length(2)  transaction(4)  TLV …     length: of the TLVs
//! ```
//!
//! An envelope travels in a signal frame, or is the payload of a handshake message: registration and its
//! response, tunnel request and response, server hello both ways.
//!
//! - An unknown message type or version is refused. Each message type has a version of its own; what a
//!   receiver may ignore is added as a TLV within a version, everything else is a new version.
//! - `length` must be the exact rest: a shortened envelope never parses.
//! - The codec of each family stands in its module. Lists are bounded by the constants here. They are
//!   never cut: emitting a longer one is a bug, which debug builds stop at and receivers refuse.

mod direction;
mod error;
mod interface;
mod node;
mod registration;
mod relay;
mod server;

use alloc::boxed::Box;
use alloc::vec::Vec;

use super::ParseError;
use super::bytes::{Reader, Writer};
use super::tlv::Value;
use crate::id::TransactionId;

pub use super::registry::{ErrorCode, MessageType, NatMapping, Side};
pub use direction::{
    CandidatePair, DirectionRequest, NodeDescription, NodeInformationRequest, NodeInformationResponse, RouteDirection,
    Target,
};
pub use error::ErrorMessage;
pub use interface::{Interface, RelayRtt};
pub use node::{TunnelRequest, TunnelResponse, Wake};
pub use registration::{Deregistration, KeepAlive, KeepAliveAck, RegistrationRequest, RegistrationResponse, RelayInfo};
pub use relay::{RelayDirection, RelayGrant, RelayReport};
pub use server::ServerHello;

/// Interfaces one node may register.
pub const MAX_INTERFACES: usize = 8;
/// Addresses of one interface (a v4, and v6 of several scopes).
pub const MAX_ADDRESSES: usize = 4;
/// Reflexive addresses of one interface: one a family.
pub const MAX_REFLEXIVE: usize = 2;
/// Addresses of one server.
pub const MAX_SERVER_ADDRESSES: usize = 4;
/// Candidate pairs in one direction.
pub const MAX_PAIRS: usize = 64;
/// Relay grants in one direction.
pub const MAX_GRANTS: usize = 4;
/// Relays a registration response may name.
pub const MAX_RELAYS: usize = 16;
/// Round-trip times a node may tell.
pub const MAX_RELAY_RTTS: usize = MAX_RELAYS;
/// Bytes of an error's text.
pub const MAX_ERROR_TEXT: usize = 200;
/// Bytes of a sealed ticket.
pub const MAX_TICKET: usize = 512;
/// Bytes of the opaque token a push gateway wakes a node by.
pub const MAX_WAKE_TOKEN: usize = 256;

/// Bytes of an envelope before its TLVs.
pub const ENVELOPE_HEADER: usize = 8;
/// No valid message emits a longer envelope. Receivers take longer ones: a later version may add fields.
pub const MAX_ENVELOPE: usize = 6_144;

/// The version of every message type so far.
const VERSION: u8 = 1;
/// Room for any of the small messages.
const SMALL: usize = 64;

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

impl Envelope {
    pub fn parse(bytes: &[u8]) -> Result<Self, ParseError> {
        let mut input = Reader::new(bytes);
        let [kind, version] = *input.array()?;
        let length = input.u16()?;
        let transaction = TransactionId(input.u32()?);
        let mut body = Reader::new(input.take(usize::from(length))?);
        input.finish()?;
        let kind = MessageType::from_number(kind).ok_or(ParseError::UnknownType)?;
        if version != VERSION {
            return Err(ParseError::UnknownVersion);
        }
        Ok(Self { transaction, message: Message::parse(kind, &mut body)? })
    }

    /// The bytes hold keys where the message does; they are the caller's to seal and wipe.
    pub fn emit(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.message.room());
        self.emit_into(&mut out);
        out
    }

    /// Appends to a buffer the caller has, such as one that begins with a signal frame's type.
    pub fn emit_into(&self, out: &mut Vec<u8>) {
        let at = out.len();
        let mut writer = Writer::new(out);
        writer.bytes(&[self.message.message_type().number(), VERSION, 0, 0]);
        writer.u32(self.transaction.0);
        self.message.emit(&mut writer);
        let length = out.len() - at - ENVELOPE_HEADER;
        debug_assert!(length <= MAX_ENVELOPE - ENVELOPE_HEADER, "a list exceeds its bound");
        let length = u16::try_from(length).unwrap_or(u16::MAX);
        out[at + 2..at + 4].copy_from_slice(&length.to_be_bytes());
    }
}

impl Message {
    pub const fn message_type(&self) -> MessageType {
        match self {
            Self::RegistrationRequest(_) => MessageType::RegistrationRequest,
            Self::RegistrationResponse(_) => MessageType::RegistrationResponse,
            Self::Deregistration(_) => MessageType::Deregistration,
            Self::KeepAlive(_) => MessageType::KeepAlive,
            Self::KeepAliveAck(_) => MessageType::KeepAliveAck,
            Self::DirectionRequest(_) => MessageType::DirectionRequest,
            Self::NodeInformationRequest(_) => MessageType::NodeInformationRequest,
            Self::NodeInformationResponse(_) => MessageType::NodeInformationResponse,
            Self::RelayReport(_) => MessageType::RelayReport,
            Self::RelayDirection(_) => MessageType::RelayDirection,
            Self::RelayAck => MessageType::RelayAck,
            Self::RouteDirection(_) => MessageType::RouteDirection,
            Self::RouteDirectionAck => MessageType::RouteDirectionAck,
            Self::TunnelRequest(_) => MessageType::TunnelRequest,
            Self::TunnelResponse(_) => MessageType::TunnelResponse,
            Self::ServerHello(_) => MessageType::ServerHello,
            Self::Wake(_) => MessageType::Wake,
            Self::Error(_) => MessageType::Error,
        }
    }

    fn parse(kind: MessageType, body: &mut Reader<'_>) -> Result<Self, ParseError> {
        Ok(match kind {
            MessageType::RegistrationRequest => Self::RegistrationRequest(Value::parse(body)?),
            MessageType::RegistrationResponse => Self::RegistrationResponse(Value::parse(body)?),
            MessageType::Deregistration => Self::Deregistration(Value::parse(body)?),
            MessageType::KeepAlive => Self::KeepAlive(Value::parse(body)?),
            MessageType::KeepAliveAck => Self::KeepAliveAck(Value::parse(body)?),
            MessageType::DirectionRequest => Self::DirectionRequest(Value::parse(body)?),
            MessageType::NodeInformationRequest => Self::NodeInformationRequest(Value::parse(body)?),
            MessageType::NodeInformationResponse => Self::NodeInformationResponse(Value::parse(body)?),
            MessageType::RelayReport => Self::RelayReport(Value::parse(body)?),
            MessageType::RelayDirection => Self::RelayDirection(Value::parse(body)?),
            MessageType::RelayAck => nothing(body).map(|()| Self::RelayAck)?,
            MessageType::RouteDirection => Self::RouteDirection(Value::parse(body)?),
            MessageType::RouteDirectionAck => nothing(body).map(|()| Self::RouteDirectionAck)?,
            MessageType::TunnelRequest => Self::TunnelRequest(Value::parse(body)?),
            MessageType::TunnelResponse => Self::TunnelResponse(Value::parse(body)?),
            MessageType::ServerHello => Self::ServerHello(Value::parse(body)?),
            MessageType::Wake => Self::Wake(Value::parse(body)?),
            MessageType::Error => Self::Error(Value::parse(body)?),
        })
    }

    fn emit(&self, out: &mut Writer<'_>) {
        match self {
            Self::RegistrationRequest(message) => message.emit(out),
            Self::RegistrationResponse(message) => message.emit(out),
            Self::Deregistration(message) => message.emit(out),
            Self::KeepAlive(message) => message.emit(out),
            Self::KeepAliveAck(message) => message.emit(out),
            Self::DirectionRequest(message) => message.emit(out),
            Self::NodeInformationRequest(message) => message.emit(out),
            Self::NodeInformationResponse(message) => message.emit(out),
            Self::RelayReport(message) => message.emit(out),
            Self::RelayDirection(message) => message.emit(out),
            Self::RelayAck | Self::RouteDirectionAck => {}
            Self::RouteDirection(message) => message.emit(out),
            Self::TunnelRequest(message) => message.emit(out),
            Self::TunnelResponse(message) => message.emit(out),
            Self::ServerHello(message) => message.emit(out),
            Self::Wake(message) => message.emit(out),
            Self::Error(message) => message.emit(out),
        }
    }

    /// What to allocate for an envelope. The messages that hold keys get all they can need, so that no
    /// buffer with a key in it is left behind by growing.
    const fn room(&self) -> usize {
        match self {
            Self::NodeInformationRequest(_) | Self::RouteDirection(_) => MAX_ENVELOPE,
            Self::RegistrationRequest(_)
            | Self::RegistrationResponse(_)
            | Self::NodeInformationResponse(_)
            | Self::ServerHello(_) => 1_024,
            Self::Deregistration(_)
            | Self::KeepAlive(_)
            | Self::KeepAliveAck(_)
            | Self::DirectionRequest(_)
            | Self::RelayReport(_)
            | Self::RelayDirection(_)
            | Self::RelayAck
            | Self::RouteDirectionAck
            | Self::TunnelRequest(_)
            | Self::TunnelResponse(_)
            | Self::Wake(_)
            | Self::Error(_) => SMALL,
        }
    }
}

/// The body of a message that has no fields yet.
fn nothing(body: &mut Reader<'_>) -> Result<(), ParseError> {
    while let Some(field) = body.field()? {
        field.skip()?;
    }
    Ok(())
}
