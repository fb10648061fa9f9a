//! Node ↔ DC and DC ↔ DC: directing two nodes to each other.
//!
//! ```text
//! DirectionRequest         0x20  PathId  Target                     49 bytes for a name of 16 characters
//! NodeInformationRequest   0x21  PathId  Psk  Target  NodeDescription  RelayGrant*
//! NodeInformationResponse  0x22  PathId  NodeDescription
//! RouteDirection           0x23  PathId  Psk  Side  NodeDescription  CandidatePair*  RelayGrant*
//! RouteDirectionAck        0x24
//!
//! Target           kind(1)  name | node id(32) | IPv4 address(4) | IPv6 address(16)
//! NodeDescription  Record  Virtual4  Virtual6  Interface*  RelayRtts?
//! CandidatePair    local interface(1)  remote interface(1)  tagged remote address
//!                                                       the papers' NTM_EX_RT_DIR_DEV_NAME
//! PathId  id(16)   Psk  key(32)   Side  1 initiator, 2 responder
//! ```
//!
//! An acknowledgement's transaction is that of what it acknowledges.

use alloc::vec::Vec;
use core::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

use super::super::ParseError;
use super::super::bytes::{Reader, Writer};
use super::super::registry::{FieldType, Side, TargetKind};
use super::super::tlv::{Value, required};
use super::interface::distinct;
use super::{Interface, MAX_GRANTS, MAX_INTERFACES, MAX_PAIRS, MAX_RELAY_RTTS, RelayGrant, RelayRtt};
use crate::id::{Fqdn, InterfaceId, NodeId, PathId};
use crate::identity::NodeRecord;
use crate::session::Psk;

/// What a direction is asked for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
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
    /// At most [`MAX_INTERFACES`], no interface twice.
    pub interfaces: Vec<Interface>,
    /// At most [`MAX_RELAY_RTTS`].
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
    /// Grants for the responder's side on the relays the initiator's DC offers: at most [`MAX_GRANTS`].
    pub grants: Vec<RelayGrant>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeInformationResponse {
    pub path_id: PathId,
    pub responder: NodeDescription,
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
    /// In the order to prefer them: at most [`MAX_PAIRS`].
    pub pairs: Vec<CandidatePair>,
    /// At most [`MAX_GRANTS`].
    pub grants: Vec<RelayGrant>,
}

impl Value for Target {
    fn parse(input: &mut Reader<'_>) -> Result<Self, ParseError> {
        Ok(match TargetKind::from_number(input.u8()?).ok_or(ParseError::BadValue)? {
            TargetKind::Name => Self::Name(Value::parse(input)?),
            TargetKind::Node => Self::Node(NodeId::parse(input)?),
            TargetKind::Virtual4 => Self::Virtual4(Ipv4Addr::parse(input)?),
            TargetKind::Virtual6 => Self::Virtual6(Ipv6Addr::parse(input)?),
        })
    }

    fn emit(&self, out: &mut Writer<'_>) {
        match self {
            Self::Name(name) => {
                out.u8(TargetKind::Name.number());
                name.emit(out);
            }
            Self::Node(node) => {
                out.u8(TargetKind::Node.number());
                node.emit(out);
            }
            Self::Virtual4(address) => {
                out.u8(TargetKind::Virtual4.number());
                address.emit(out);
            }
            Self::Virtual6(address) => {
                out.u8(TargetKind::Virtual6.number());
                address.emit(out);
            }
        }
    }
}

impl Value for Side {
    fn parse(input: &mut Reader<'_>) -> Result<Self, ParseError> {
        Self::from_number(input.u8()?).ok_or(ParseError::BadValue)
    }

    fn emit(&self, out: &mut Writer<'_>) {
        out.u8(self.number());
    }
}

impl Value for CandidatePair {
    fn parse(input: &mut Reader<'_>) -> Result<Self, ParseError> {
        Ok(Self {
            local: InterfaceId::parse(input)?,
            remote_interface: InterfaceId::parse(input)?,
            remote: input.tagged_address()?,
        })
    }

    fn emit(&self, out: &mut Writer<'_>) {
        self.local.emit(out);
        self.remote_interface.emit(out);
        out.tagged_address(self.remote);
    }
}

impl Value for DirectionRequest {
    fn parse(input: &mut Reader<'_>) -> Result<Self, ParseError> {
        let (mut path_id, mut target) = (None, None);
        while let Some(field) = input.field()? {
            match field.kind {
                Some(FieldType::PathId) => field.once(&mut path_id)?,
                Some(FieldType::Target) => field.once(&mut target)?,
                _ => field.skip()?,
            }
        }
        Ok(Self { path_id: required(path_id)?, target: required(target)? })
    }

    fn emit(&self, out: &mut Writer<'_>) {
        out.field(FieldType::PathId, &self.path_id);
        out.field(FieldType::Target, &self.target);
    }
}

impl Value for NodeDescription {
    fn parse(input: &mut Reader<'_>) -> Result<Self, ParseError> {
        let (mut record, mut virtual4, mut virtual6) = (None, None, None);
        let (mut interfaces, mut relay_rtts) = (Vec::new(), None);
        while let Some(field) = input.field()? {
            match field.kind {
                Some(FieldType::Record) => field.once(&mut record)?,
                Some(FieldType::Virtual4) => field.once(&mut virtual4)?,
                Some(FieldType::Virtual6) => field.once(&mut virtual6)?,
                Some(FieldType::Interface) => field.push(&mut interfaces, MAX_INTERFACES)?,
                Some(FieldType::RelayRtts) => field.list(&mut relay_rtts, MAX_RELAY_RTTS)?,
                _ => field.skip()?,
            }
        }
        Ok(Self {
            record: required(record)?,
            virtual4: required(virtual4)?,
            virtual6: required(virtual6)?,
            interfaces: distinct(interfaces)?,
            relay_rtts: relay_rtts.unwrap_or_default(),
        })
    }

    fn emit(&self, out: &mut Writer<'_>) {
        out.field(FieldType::Record, &self.record);
        out.field(FieldType::Virtual4, &self.virtual4);
        out.field(FieldType::Virtual6, &self.virtual6);
        out.each(FieldType::Interface, &self.interfaces, MAX_INTERFACES);
        out.list(FieldType::RelayRtts, &self.relay_rtts, MAX_RELAY_RTTS);
    }
}

impl Value for NodeInformationRequest {
    fn parse(input: &mut Reader<'_>) -> Result<Self, ParseError> {
        let (mut path_id, mut target, mut initiator, mut psk) = (None, None, None, None);
        let mut grants = Vec::new();
        while let Some(field) = input.field()? {
            match field.kind {
                Some(FieldType::PathId) => field.once(&mut path_id)?,
                Some(FieldType::Psk) => field.once(&mut psk)?,
                Some(FieldType::Target) => field.once(&mut target)?,
                Some(FieldType::NodeDescription) => field.once(&mut initiator)?,
                Some(FieldType::RelayGrant) => field.push(&mut grants, MAX_GRANTS)?,
                _ => field.skip()?,
            }
        }
        Ok(Self {
            path_id: required(path_id)?,
            target: required(target)?,
            initiator: required(initiator)?,
            psk: required(psk)?,
            grants,
        })
    }

    fn emit(&self, out: &mut Writer<'_>) {
        out.field(FieldType::PathId, &self.path_id);
        out.field(FieldType::Psk, &self.psk);
        out.field(FieldType::Target, &self.target);
        out.field(FieldType::NodeDescription, &self.initiator);
        out.each(FieldType::RelayGrant, &self.grants, MAX_GRANTS);
    }
}

impl Value for NodeInformationResponse {
    fn parse(input: &mut Reader<'_>) -> Result<Self, ParseError> {
        let (mut path_id, mut responder) = (None, None);
        while let Some(field) = input.field()? {
            match field.kind {
                Some(FieldType::PathId) => field.once(&mut path_id)?,
                Some(FieldType::NodeDescription) => field.once(&mut responder)?,
                _ => field.skip()?,
            }
        }
        Ok(Self { path_id: required(path_id)?, responder: required(responder)? })
    }

    fn emit(&self, out: &mut Writer<'_>) {
        out.field(FieldType::PathId, &self.path_id);
        out.field(FieldType::NodeDescription, &self.responder);
    }
}

impl Value for RouteDirection {
    fn parse(input: &mut Reader<'_>) -> Result<Self, ParseError> {
        let (mut path_id, mut side, mut psk, mut peer) = (None, None, None, None);
        let (mut pairs, mut grants) = (Vec::new(), Vec::new());
        while let Some(field) = input.field()? {
            match field.kind {
                Some(FieldType::PathId) => field.once(&mut path_id)?,
                Some(FieldType::Psk) => field.once(&mut psk)?,
                Some(FieldType::Side) => field.once(&mut side)?,
                Some(FieldType::NodeDescription) => field.once(&mut peer)?,
                Some(FieldType::CandidatePair) => field.push(&mut pairs, MAX_PAIRS)?,
                Some(FieldType::RelayGrant) => field.push(&mut grants, MAX_GRANTS)?,
                _ => field.skip()?,
            }
        }
        Ok(Self {
            path_id: required(path_id)?,
            side: required(side)?,
            psk: required(psk)?,
            peer: required(peer)?,
            pairs,
            grants,
        })
    }

    fn emit(&self, out: &mut Writer<'_>) {
        out.field(FieldType::PathId, &self.path_id);
        out.field(FieldType::Psk, &self.psk);
        out.field(FieldType::Side, &self.side);
        out.field(FieldType::NodeDescription, &self.peer);
        out.each(FieldType::CandidatePair, &self.pairs, MAX_PAIRS);
        out.each(FieldType::RelayGrant, &self.grants, MAX_GRANTS);
    }
}
