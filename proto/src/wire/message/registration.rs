//! Node ↔ DC: being registered.
//!
//! ```text
//! RegistrationRequest   0x10  Record  Ticket?  Sequence  InterfaceId  Interface*  RelayRtts?  WakeToken?
//! RegistrationResponse  0x11  Virtual4  Virtual6  Lease  KeepAliveInterval  Observed  RelayInfo*  Time
//! Deregistration        0x12  Sequence
//! KeepAlive             0x13  InterfaceState  RelayRtts?            15 bytes without round-trip times
//! KeepAliveAck          0x14  Observed                              19 bytes for IPv4, 31 for IPv6
//!
//! InterfaceId     id(1)                       Lease, KeepAliveInterval   milliseconds(4)
//! InterfaceState  id(1)  generation(2)        Time                       milliseconds since 1970(8)
//! Sequence        number(8)                   Observed                   tagged address
//! RelayRtts       RelayRtt …                  Ticket, WakeToken          bytes
//! RelayInfo       relay(4)  Addresses?
//! ```

use alloc::vec::Vec;
use core::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use core::time::Duration;

use super::super::ParseError;
use super::super::bytes::{Reader, Writer};
use super::super::registry::FieldType;
use super::super::tlv::{Millis, Value, required};
use super::interface::distinct;
use super::{
    Interface, MAX_INTERFACES, MAX_RELAY_RTTS, MAX_RELAYS, MAX_SERVER_ADDRESSES, MAX_TICKET, MAX_WAKE_TOKEN, RelayRtt,
};
use crate::id::{InterfaceId, RelayId};
use crate::identity::NodeRecord;
use crate::time::UnixTime;

/// Node → DC. First as the payload of the handshake (then with a ticket), later as a frame when
/// something changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RegistrationRequest {
    pub record: NodeRecord,
    /// The sealed ticket; only in a handshake. At most [`MAX_TICKET`] bytes.
    pub ticket: Option<Vec<u8>>,
    /// Strictly rising for one node: milliseconds of its calendar clock, or the last value plus one.
    pub sequence: u64,
    /// The interface this very datagram leaves from.
    pub from: InterfaceId,
    /// At most [`MAX_INTERFACES`], no interface twice.
    pub interfaces: Vec<Interface>,
    /// At most [`MAX_RELAY_RTTS`].
    pub relay_rtts: Vec<RelayRtt>,
    /// At most [`MAX_WAKE_TOKEN`] bytes.
    pub wake_token: Option<Vec<u8>>,
}

/// A relay as nodes need to know it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RelayInfo {
    pub relay: RelayId,
    /// At most [`MAX_SERVER_ADDRESSES`].
    pub addresses: Vec<SocketAddr>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RegistrationResponse {
    pub virtual4: Ipv4Addr,
    pub virtual6: Ipv6Addr,
    /// Whole milliseconds travel.
    pub lease: Duration,
    /// Whole milliseconds travel.
    pub keep_alive: Duration,
    /// Where the request came from, as the DC saw it.
    pub observed: SocketAddr,
    /// At most [`MAX_RELAYS`].
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
    /// At most [`MAX_RELAY_RTTS`].
    pub relay_rtts: Vec<RelayRtt>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeepAliveAck {
    pub observed: SocketAddr,
}

impl Value for RegistrationRequest {
    fn parse(input: &mut Reader<'_>) -> Result<Self, ParseError> {
        let (mut record, mut ticket, mut sequence, mut from) = (None, None, None, None);
        let (mut interfaces, mut relay_rtts, mut wake_token) = (Vec::new(), None, None);
        while let Some(field) = input.field()? {
            match field.kind {
                Some(FieldType::Record) => field.once(&mut record)?,
                Some(FieldType::Ticket) => field.bytes(&mut ticket, MAX_TICKET)?,
                Some(FieldType::Sequence) => field.once(&mut sequence)?,
                Some(FieldType::InterfaceId) => field.once(&mut from)?,
                Some(FieldType::Interface) => field.push(&mut interfaces, MAX_INTERFACES)?,
                Some(FieldType::RelayRtts) => field.list(&mut relay_rtts, MAX_RELAY_RTTS)?,
                Some(FieldType::WakeToken) => field.bytes(&mut wake_token, MAX_WAKE_TOKEN)?,
                _ => field.skip()?,
            }
        }
        Ok(Self {
            record: required(record)?,
            ticket,
            sequence: required(sequence)?,
            from: required(from)?,
            interfaces: distinct(interfaces)?,
            relay_rtts: relay_rtts.unwrap_or_default(),
            wake_token,
        })
    }

    fn emit(&self, out: &mut Writer<'_>) {
        out.field(FieldType::Record, &self.record);
        out.optional_bytes(FieldType::Ticket, self.ticket.as_deref(), MAX_TICKET);
        out.field(FieldType::Sequence, &self.sequence);
        out.field(FieldType::InterfaceId, &self.from);
        out.each(FieldType::Interface, &self.interfaces, MAX_INTERFACES);
        out.list(FieldType::RelayRtts, &self.relay_rtts, MAX_RELAY_RTTS);
        out.optional_bytes(FieldType::WakeToken, self.wake_token.as_deref(), MAX_WAKE_TOKEN);
    }
}

impl Value for RelayInfo {
    fn parse(input: &mut Reader<'_>) -> Result<Self, ParseError> {
        let relay = RelayId::parse(input)?;
        let mut addresses = None;
        while let Some(field) = input.field()? {
            match field.kind {
                Some(FieldType::Addresses) => field.list(&mut addresses, MAX_SERVER_ADDRESSES)?,
                _ => field.skip()?,
            }
        }
        Ok(Self { relay, addresses: addresses.unwrap_or_default() })
    }

    fn emit(&self, out: &mut Writer<'_>) {
        self.relay.emit(out);
        out.list(FieldType::Addresses, &self.addresses, MAX_SERVER_ADDRESSES);
    }
}

impl Value for RegistrationResponse {
    fn parse(input: &mut Reader<'_>) -> Result<Self, ParseError> {
        let (mut virtual4, mut virtual6, mut lease, mut keep_alive) = (None, None, None, None);
        let (mut observed, mut relays, mut time) = (None, Vec::new(), None);
        while let Some(field) = input.field()? {
            match field.kind {
                Some(FieldType::Virtual4) => field.once(&mut virtual4)?,
                Some(FieldType::Virtual6) => field.once(&mut virtual6)?,
                Some(FieldType::Lease) => field.once::<Millis>(&mut lease)?,
                Some(FieldType::KeepAliveInterval) => field.once::<Millis>(&mut keep_alive)?,
                Some(FieldType::Observed) => field.once(&mut observed)?,
                Some(FieldType::RelayInfo) => field.push(&mut relays, MAX_RELAYS)?,
                Some(FieldType::Time) => field.once(&mut time)?,
                _ => field.skip()?,
            }
        }
        Ok(Self {
            virtual4: required(virtual4)?,
            virtual6: required(virtual6)?,
            lease: required(lease)?.0,
            keep_alive: required(keep_alive)?.0,
            observed: required(observed)?,
            relays,
            time: required(time)?,
        })
    }

    fn emit(&self, out: &mut Writer<'_>) {
        out.field(FieldType::Virtual4, &self.virtual4);
        out.field(FieldType::Virtual6, &self.virtual6);
        out.field(FieldType::Lease, &Millis(self.lease));
        out.field(FieldType::KeepAliveInterval, &Millis(self.keep_alive));
        out.field(FieldType::Observed, &self.observed);
        out.each(FieldType::RelayInfo, &self.relays, MAX_RELAYS);
        out.field(FieldType::Time, &self.time);
    }
}

impl Value for Deregistration {
    fn parse(input: &mut Reader<'_>) -> Result<Self, ParseError> {
        let mut sequence = None;
        while let Some(field) = input.field()? {
            match field.kind {
                Some(FieldType::Sequence) => field.once(&mut sequence)?,
                _ => field.skip()?,
            }
        }
        Ok(Self { sequence: required(sequence)? })
    }

    fn emit(&self, out: &mut Writer<'_>) {
        out.field(FieldType::Sequence, &self.sequence);
    }
}

/// Which interface, and in which state of its addresses.
struct InterfaceState {
    id: InterfaceId,
    generation: u16,
}

impl Value for InterfaceState {
    fn parse(input: &mut Reader<'_>) -> Result<Self, ParseError> {
        Ok(Self { id: InterfaceId::parse(input)?, generation: input.u16()? })
    }

    fn emit(&self, out: &mut Writer<'_>) {
        self.id.emit(out);
        out.u16(self.generation);
    }
}

impl Value for KeepAlive {
    fn parse(input: &mut Reader<'_>) -> Result<Self, ParseError> {
        let (mut state, mut relay_rtts) = (None, None);
        while let Some(field) = input.field()? {
            match field.kind {
                Some(FieldType::InterfaceState) => field.once(&mut state)?,
                Some(FieldType::RelayRtts) => field.list(&mut relay_rtts, MAX_RELAY_RTTS)?,
                _ => field.skip()?,
            }
        }
        let InterfaceState { id, generation } = required(state)?;
        Ok(Self { from: id, generation, relay_rtts: relay_rtts.unwrap_or_default() })
    }

    fn emit(&self, out: &mut Writer<'_>) {
        out.field(FieldType::InterfaceState, &InterfaceState { id: self.from, generation: self.generation });
        out.list(FieldType::RelayRtts, &self.relay_rtts, MAX_RELAY_RTTS);
    }
}

impl Value for KeepAliveAck {
    fn parse(input: &mut Reader<'_>) -> Result<Self, ParseError> {
        let mut observed = None;
        while let Some(field) = input.field()? {
            match field.kind {
                Some(FieldType::Observed) => field.once(&mut observed)?,
                _ => field.skip()?,
            }
        }
        Ok(Self { observed: required(observed)? })
    }

    fn emit(&self, out: &mut Writer<'_>) {
        out.field(FieldType::Observed, &self.observed);
    }
}
