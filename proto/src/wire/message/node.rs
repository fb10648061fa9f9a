//! Node ↔ node, and what wakes a node.
//!
//! ```text
//! TunnelRequest   0x40  PathId  Sequence  InterfaceId
//! TunnelResponse  0x41  PathId
//! Wake            0x42  NodeId  PathId
//!
//! NodeId  id(32)
//! ```

use super::super::ParseError;
use super::super::bytes::{Reader, Writer};
use super::super::registry::FieldType;
use super::super::tlv::{Value, required};
use crate::id::{InterfaceId, NodeId, PathId};

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

/// DC → push gateway, and push gateway → node: wake up, somebody asks for you.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wake {
    pub node: NodeId,
    pub path_id: PathId,
}

impl Value for TunnelRequest {
    fn parse(input: &mut Reader<'_>) -> Result<Self, ParseError> {
        let (mut path_id, mut sequence, mut interface) = (None, None, None);
        while let Some(field) = input.field()? {
            match field.kind {
                Some(FieldType::PathId) => field.once(&mut path_id)?,
                Some(FieldType::Sequence) => field.once(&mut sequence)?,
                Some(FieldType::InterfaceId) => field.once(&mut interface)?,
                _ => field.skip()?,
            }
        }
        Ok(Self { path_id: required(path_id)?, sequence: required(sequence)?, interface: required(interface)? })
    }

    fn emit(&self, out: &mut Writer<'_>) {
        out.field(FieldType::PathId, &self.path_id);
        out.field(FieldType::Sequence, &self.sequence);
        out.field(FieldType::InterfaceId, &self.interface);
    }
}

impl Value for TunnelResponse {
    fn parse(input: &mut Reader<'_>) -> Result<Self, ParseError> {
        let mut path_id = None;
        while let Some(field) = input.field()? {
            match field.kind {
                Some(FieldType::PathId) => field.once(&mut path_id)?,
                _ => field.skip()?,
            }
        }
        Ok(Self { path_id: required(path_id)? })
    }

    fn emit(&self, out: &mut Writer<'_>) {
        out.field(FieldType::PathId, &self.path_id);
    }
}

impl Value for Wake {
    fn parse(input: &mut Reader<'_>) -> Result<Self, ParseError> {
        let (mut node, mut path_id) = (None, None);
        while let Some(field) = input.field()? {
            match field.kind {
                Some(FieldType::NodeId) => field.once(&mut node)?,
                Some(FieldType::PathId) => field.once(&mut path_id)?,
                _ => field.skip()?,
            }
        }
        Ok(Self { node: required(node)?, path_id: required(path_id)? })
    }

    fn emit(&self, out: &mut Writer<'_>) {
        out.field(FieldType::NodeId, &self.node);
        out.field(FieldType::PathId, &self.path_id);
    }
}
