//! A node's interfaces, as values inside other messages.
//!
//! ```text
//! Interface   id(1)  generation(2)  mapping(1)  cost(1)
//!             DeviceName  Addresses?  Reflexive?              DeviceName: the papers' NTM_EX_DEV_NAME
//! RelayRtt    relay(4)  microseconds(4)
//! ```

use alloc::vec::Vec;
use core::net::SocketAddr;
use core::time::Duration;

use super::super::ParseError;
use super::super::bytes::{Reader, Writer};
use super::super::registry::{FieldType, NatMapping};
use super::super::tlv::{Micros, Value, required};
use super::{MAX_ADDRESSES, MAX_REFLEXIVE};
use crate::id::{DeviceName, InterfaceId, RelayId};

/// One interface as the node itself describes it, with what others have seen of it. Carries the
/// papers' `NTM_EX_DEV_NAME`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interface {
    pub id: InterfaceId,
    /// Raised by the node whenever the interface's addresses change.
    pub generation: u16,
    pub name: DeviceName,
    /// The addresses and UDP ports the node itself has bound: at most [`MAX_ADDRESSES`].
    pub addresses: Vec<SocketAddr>,
    /// The addresses the DC saw packets of this interface come from: written by the DC, ignored in
    /// a request. At most one a family.
    pub reflexive: Vec<SocketAddr>,
    pub mapping: NatMapping,
    /// Lower is preferred; metered or slow interfaces say a higher number.
    pub cost: u8,
}

/// A round-trip time from a node to a relay, measured by the node; whole microseconds travel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RelayRtt {
    pub relay: RelayId,
    pub rtt: Duration,
}

impl Value for Interface {
    fn parse(input: &mut Reader<'_>) -> Result<Self, ParseError> {
        let id = InterfaceId(input.u8()?);
        let generation = input.u16()?;
        let mapping = NatMapping::from_number(input.u8()?).ok_or(ParseError::BadValue)?;
        let cost = input.u8()?;
        let (mut name, mut addresses, mut reflexive) = (None, None, None);
        while let Some(field) = input.field()? {
            match field.kind {
                Some(FieldType::DeviceName) => field.once(&mut name)?,
                Some(FieldType::Addresses) => field.list(&mut addresses, MAX_ADDRESSES)?,
                Some(FieldType::Reflexive) => field.list(&mut reflexive, MAX_REFLEXIVE)?,
                _ => field.skip()?,
            }
        }
        let reflexive: Vec<SocketAddr> = reflexive.unwrap_or_default();
        if let [one, other] = reflexive[..]
            && one.is_ipv4() == other.is_ipv4()
        {
            return Err(ParseError::DuplicateField);
        }
        Ok(Self {
            id,
            generation,
            name: required(name)?,
            addresses: addresses.unwrap_or_default(),
            reflexive,
            mapping,
            cost,
        })
    }

    fn emit(&self, out: &mut Writer<'_>) {
        self.id.emit(out);
        out.u16(self.generation);
        out.u8(self.mapping.number());
        out.u8(self.cost);
        out.field(FieldType::DeviceName, &self.name);
        out.list(FieldType::Addresses, &self.addresses, MAX_ADDRESSES);
        out.list(FieldType::Reflexive, &self.reflexive, MAX_REFLEXIVE);
    }
}

impl Value for RelayRtt {
    fn parse(input: &mut Reader<'_>) -> Result<Self, ParseError> {
        Ok(Self { relay: RelayId::parse(input)?, rtt: Micros::parse(input)?.0 })
    }

    fn emit(&self, out: &mut Writer<'_>) {
        self.relay.emit(out);
        Micros(self.rtt).emit(out);
    }
}

/// Refuses a list that describes one interface twice.
pub(super) fn distinct(interfaces: Vec<Interface>) -> Result<Vec<Interface>, ParseError> {
    let twice = |(at, interface): (usize, &Interface)| interfaces[..at].iter().any(|other| other.id == interface.id);
    if interfaces.iter().enumerate().any(twice) { Err(ParseError::DuplicateField) } else { Ok(interfaces) }
}
