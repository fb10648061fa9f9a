//! RS ↔ DC: what a relay can carry and what it must forget; and the grant of a relay to a node.
//!
//! ```text
//! RelayReport     0x30  RelayLoad  RelayShards?  Addresses?
//! RelayDirection  0x31  PathId
//! RelayAck        0x32
//!
//! RelayLoad    relay(4)  load(2)  flags(1)                            flags: bit 0 draining
//! RelayShards  shards(2)                                              not zero
//! RelayGrant   relay(4)  side(1)  token(56)  bind key(32)  Addresses?
//! ```
//!
//! Unassigned flags are sent as zero and ignored on receipt.

use alloc::vec::Vec;
use core::net::SocketAddr;
use core::num::NonZeroU16;

use super::super::ParseError;
use super::super::bytes::{Reader, Writer};
use super::super::registry::{FieldType, Side};
use super::super::tlv::{Value, required};
use super::MAX_SERVER_ADDRESSES;
use crate::id::{PathId, RelayId};
use crate::session::{Psk, RelayToken};

const DRAINING: u8 = 1;

/// The right to use a relay for one communication; the relay checks it without asking the DC.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RelayGrant {
    pub relay: RelayId,
    /// At most [`MAX_SERVER_ADDRESSES`].
    pub addresses: Vec<SocketAddr>,
    pub side: Side,
    pub token: RelayToken,
    /// Authenticates this side's binds.
    pub bind_key: Psk,
}

/// RS → DC, after the handshake and then at intervals.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RelayReport {
    pub relay: RelayId,
    /// At most [`MAX_SERVER_ADDRESSES`].
    pub addresses: Vec<SocketAddr>,
    /// Parts in 10,000 of what the relay can carry; more than 10,000 says that it is overloaded.
    pub load: u16,
    /// No new grants, please: the relay is leaving.
    pub draining: bool,
    /// The grants of one account are to have serial numbers that agree modulo this: the relay keeps accounts'
    /// rates in so many shards.
    pub shards: NonZeroU16,
}

/// DC → RS: forget what was granted (a revoked node). Acknowledged with `RelayAck`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RelayDirection {
    pub revoke: PathId,
}

impl Value for RelayGrant {
    fn parse(input: &mut Reader<'_>) -> Result<Self, ParseError> {
        let relay = RelayId::parse(input)?;
        let side = Side::parse(input)?;
        let token = RelayToken::from_bytes(*input.array()?);
        let bind_key = Psk::parse(input)?;
        let mut addresses = None;
        while let Some(field) = input.field()? {
            match field.kind {
                Some(FieldType::Addresses) => field.list(&mut addresses, MAX_SERVER_ADDRESSES)?,
                _ => field.skip()?,
            }
        }
        Ok(Self { relay, addresses: addresses.unwrap_or_default(), side, token, bind_key })
    }

    fn emit(&self, out: &mut Writer<'_>) {
        self.relay.emit(out);
        self.side.emit(out);
        out.bytes(self.token.as_bytes());
        self.bind_key.emit(out);
        out.list(FieldType::Addresses, &self.addresses, MAX_SERVER_ADDRESSES);
    }
}

struct RelayLoad {
    relay: RelayId,
    load: u16,
    draining: bool,
}

impl Value for RelayLoad {
    fn parse(input: &mut Reader<'_>) -> Result<Self, ParseError> {
        let (relay, load) = (RelayId::parse(input)?, input.u16()?);
        Ok(Self { relay, load, draining: input.u8()? & DRAINING != 0 })
    }

    fn emit(&self, out: &mut Writer<'_>) {
        self.relay.emit(out);
        out.u16(self.load);
        out.u8(if self.draining { DRAINING } else { 0 });
    }
}

impl Value for NonZeroU16 {
    fn parse(input: &mut Reader<'_>) -> Result<Self, ParseError> {
        Self::new(input.u16()?).ok_or(ParseError::BadValue)
    }

    fn emit(&self, out: &mut Writer<'_>) {
        out.u16(self.get());
    }
}

impl Value for RelayReport {
    fn parse(input: &mut Reader<'_>) -> Result<Self, ParseError> {
        let (mut load, mut shards, mut addresses) = (None, None, None);
        while let Some(field) = input.field()? {
            match field.kind {
                Some(FieldType::RelayLoad) => field.once(&mut load)?,
                Some(FieldType::RelayShards) => field.once(&mut shards)?,
                Some(FieldType::Addresses) => field.list(&mut addresses, MAX_SERVER_ADDRESSES)?,
                _ => field.skip()?,
            }
        }
        let RelayLoad { relay, load, draining } = required(load)?;
        Ok(Self {
            relay,
            addresses: addresses.unwrap_or_default(),
            load,
            draining,
            shards: shards.unwrap_or(NonZeroU16::MIN),
        })
    }

    fn emit(&self, out: &mut Writer<'_>) {
        let load = RelayLoad { relay: self.relay, load: self.load, draining: self.draining };
        out.field(FieldType::RelayLoad, &load);
        out.field(FieldType::RelayShards, &self.shards);
        out.list(FieldType::Addresses, &self.addresses, MAX_SERVER_ADDRESSES);
    }
}

impl Value for RelayDirection {
    fn parse(input: &mut Reader<'_>) -> Result<Self, ParseError> {
        let mut revoke = None;
        while let Some(field) = input.field()? {
            match field.kind {
                Some(FieldType::PathId) => field.once(&mut revoke)?,
                _ => field.skip()?,
            }
        }
        Ok(Self { revoke: required(revoke)? })
    }

    fn emit(&self, out: &mut Writer<'_>) {
        out.field(FieldType::PathId, &self.revoke);
    }
}
