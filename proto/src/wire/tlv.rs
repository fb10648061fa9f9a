//! Type-length-value coding of the signalling messages (`docs/protocol/messages.md`, 2).
//!
//! ```text
//! TLV        type(2)  length(2)  value(length)        bit 15 of the type is the critical bit
//! structure  fixed head  TLV …                        a value that holds further TLVs
//! ```
//!
//! Rules of every sequence of TLVs:
//! - TLVs may stand in any order; emission has one order.
//! - A type that means nothing in this place is skipped, or refused as
//!   [`ParseError::UnknownCritical`] where its critical bit is set. The bit is for fields that later
//!   versions add: this version sets it nowhere and takes a field it knows with or without it.
//! - A field that stands once is refused when it stands twice; a field that repeats is bounded.
//! - A value is used up by its field: bytes left over are refused.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use core::time::Duration;

use super::ParseError;
use super::bytes::{Reader, Writer};
use super::registry::FieldType;
use crate::crypto::Secret;
use crate::id::{DeviceName, Fqdn, InterfaceId, NodeId, PathId, RelayId};
use crate::time::UnixTime;

/// The bit of a type that forbids to skip it.
pub const CRITICAL: u16 = 0x8000;

/// Something with one encoding.
///
/// Values are of two kinds: those that know their own end, which may stand in lists, and those that
/// go on to the end of their field (names, structures), which may not.
pub(crate) trait Value: Sized {
    fn parse(input: &mut Reader<'_>) -> Result<Self, ParseError>;
    fn emit(&self, out: &mut Writer<'_>);
}

/// One TLV as it was met.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Field<'a> {
    /// `None`: nobody assigned the number.
    pub(crate) kind: Option<FieldType>,
    critical: bool,
    value: Reader<'a>,
}

impl Field<'_> {
    /// A field that may stand once.
    pub(crate) fn once<T: Value>(mut self, slot: &mut Option<T>) -> Result<(), ParseError> {
        if slot.is_some() {
            return Err(ParseError::DuplicateField);
        }
        *slot = Some(T::parse(&mut self.value)?);
        self.value.finish()
    }

    /// A field that may stand once and holds every element of a list.
    pub(crate) fn list<T: Value>(mut self, slot: &mut Option<Vec<T>>, max: usize) -> Result<(), ParseError> {
        if slot.is_some() {
            return Err(ParseError::DuplicateField);
        }
        let list = slot.insert(Vec::new());
        while !self.value.is_empty() {
            if list.len() == max {
                return Err(ParseError::TooMany);
            }
            list.push(T::parse(&mut self.value)?);
        }
        Ok(())
    }

    /// A field that stands once for each element of a list.
    pub(crate) fn push<T: Value>(mut self, list: &mut Vec<T>, max: usize) -> Result<(), ParseError> {
        if list.len() == max {
            return Err(ParseError::TooMany);
        }
        list.push(T::parse(&mut self.value)?);
        self.value.finish()
    }

    /// A field that may stand once and holds bytes that mean nothing here.
    pub(crate) fn bytes(mut self, slot: &mut Option<Vec<u8>>, max: usize) -> Result<(), ParseError> {
        if slot.is_some() {
            return Err(ParseError::DuplicateField);
        }
        let bytes = self.value.rest();
        if bytes.len() > max {
            return Err(ParseError::TooMany);
        }
        *slot = Some(bytes.to_vec());
        Ok(())
    }

    /// A field that means nothing in this place.
    pub(crate) const fn skip(self) -> Result<(), ParseError> {
        if self.critical { Err(ParseError::UnknownCritical) } else { Ok(()) }
    }
}

/// The value of a field that must be there.
pub(crate) fn required<T>(slot: Option<T>) -> Result<T, ParseError> {
    slot.ok_or(ParseError::MissingField)
}

impl<'a> Reader<'a> {
    /// The next TLV; `None` at the end.
    pub(crate) fn field(&mut self) -> Result<Option<Field<'a>>, ParseError> {
        if self.is_empty() {
            return Ok(None);
        }
        let number = self.u16()?;
        let length = self.u16()?;
        Ok(Some(Field {
            kind: FieldType::from_number(number & !CRITICAL),
            critical: number & CRITICAL != 0,
            value: Reader::new(self.take(usize::from(length))?),
        }))
    }
}

impl Writer<'_> {
    fn tlv(&mut self, kind: FieldType, value: impl FnOnce(&mut Self)) {
        self.u16(kind.number());
        self.counted(value);
    }

    pub(crate) fn field<T: Value>(&mut self, kind: FieldType, value: &T) {
        self.tlv(kind, |out| value.emit(out));
    }

    pub(crate) fn optional<T: Value>(&mut self, kind: FieldType, value: Option<&T>) {
        if let Some(value) = value {
            self.field(kind, value);
        }
    }

    /// One TLV with every element of `list`; none for an empty list.
    pub(crate) fn list<T: Value>(&mut self, kind: FieldType, list: &[T], max: usize) {
        debug_assert!(list.len() <= max, "{kind:?} holds at most {max}");
        if !list.is_empty() {
            self.tlv(kind, |out| list.iter().for_each(|element| element.emit(out)));
        }
    }

    /// One TLV for each element of `list`.
    pub(crate) fn each<T: Value>(&mut self, kind: FieldType, list: &[T], max: usize) {
        debug_assert!(list.len() <= max, "at most {max} of {kind:?}");
        for element in list {
            self.field(kind, element);
        }
    }

    pub(crate) fn optional_bytes(&mut self, kind: FieldType, bytes: Option<&[u8]>, max: usize) {
        if let Some(bytes) = bytes {
            debug_assert!(bytes.len() <= max, "{kind:?} holds at most {max} bytes");
            self.tlv(kind, |out| out.bytes(bytes));
        }
    }
}

/// A duration as whole milliseconds in 32 bits: up to 49 days. Longer ones are sent as that.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Millis(pub(crate) Duration);

/// A duration as whole microseconds in 32 bits: up to 71 minutes. Longer ones are sent as that.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Micros(pub(crate) Duration);

impl Value for Millis {
    fn parse(input: &mut Reader<'_>) -> Result<Self, ParseError> {
        Ok(Self(Duration::from_millis(input.u32()?.into())))
    }

    fn emit(&self, out: &mut Writer<'_>) {
        out.u32(u32::try_from(self.0.as_millis()).unwrap_or(u32::MAX));
    }
}

impl Value for Micros {
    fn parse(input: &mut Reader<'_>) -> Result<Self, ParseError> {
        Ok(Self(Duration::from_micros(input.u32()?.into())))
    }

    fn emit(&self, out: &mut Writer<'_>) {
        out.u32(u32::try_from(self.0.as_micros()).unwrap_or(u32::MAX));
    }
}

impl<T: Value> Value for Box<T> {
    fn parse(input: &mut Reader<'_>) -> Result<Self, ParseError> {
        T::parse(input).map(Self::new)
    }

    fn emit(&self, out: &mut Writer<'_>) {
        T::emit(self, out);
    }
}

/// Values that are one integer or one array of bytes.
macro_rules! plain_value {
    ($($name:ty: $input:ident => $parse:expr, $this:ident, $out:ident => $emit:expr;)+) => {$(
        impl Value for $name {
            fn parse($input: &mut Reader<'_>) -> Result<Self, ParseError> {
                Ok($parse)
            }

            fn emit(&self, $out: &mut Writer<'_>) {
                let $this = self;
                $emit;
            }
        }
    )+};
}

plain_value! {
    u64: input => input.u64()?, this, out => out.u64(*this);
    UnixTime: input => Self::from_millis(input.u64()?), this, out => out.u64(this.as_millis());
    InterfaceId: input => Self(input.u8()?), this, out => out.u8(this.0);
    RelayId: input => Self(input.u32()?), this, out => out.u32(this.0);
    NodeId: input => Self(*input.array()?), this, out => out.bytes(&this.0);
    PathId: input => Self(*input.array()?), this, out => out.bytes(&this.0);
    Secret: input => Self::new(*input.array()?), this, out => out.bytes(this.expose());
    Ipv4Addr: input => Self::from(*input.array()?), this, out => out.bytes(&this.octets());
    Ipv6Addr: input => Self::from(*input.array()?), this, out => out.bytes(&this.octets());
    SocketAddr: input => input.tagged_address()?, this, out => out.tagged_address(*this);
    Fqdn: input => canonical_fqdn(input.rest())?, this, out => out.bytes(this.as_str().as_bytes());
    DeviceName: input => device_name(input.rest())?, this, out => out.bytes(this.as_str().as_bytes());
}

/// A name in the only form that travels: lower case, without the final dot.
pub(crate) fn canonical_fqdn(bytes: &[u8]) -> Result<Fqdn, ParseError> {
    let text = core::str::from_utf8(bytes).map_err(|_| ParseError::BadValue)?;
    let name = Fqdn::parse(text).map_err(|_| ParseError::BadValue)?;
    if name.as_str() == text { Ok(name) } else { Err(ParseError::BadValue) }
}

fn device_name(bytes: &[u8]) -> Result<DeviceName, ParseError> {
    let text = core::str::from_utf8(bytes).map_err(|_| ParseError::BadValue)?;
    DeviceName::parse(text).map_err(|_| ParseError::BadValue)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a message with one required and one repeated field does with `bytes`.
    fn parse(bytes: &[u8]) -> Result<(u64, Vec<RelayId>), ParseError> {
        let (mut sequence, mut relays) = (None, Vec::new());
        let mut input = Reader::new(bytes);
        while let Some(field) = input.field()? {
            match field.kind {
                Some(FieldType::Sequence) => field.once(&mut sequence)?,
                Some(FieldType::RelayInfo) => field.push(&mut relays, 2)?,
                _ => field.skip()?,
            }
        }
        Ok((required(sequence)?, relays))
    }

    const SEQUENCE: [u8; 12] = [0, 3, 0, 8, 0, 0, 0, 0, 0, 0, 0, 9];
    const RELAY: [u8; 8] = [0, 0x11, 0, 4, 0, 0, 0, 5];

    #[test]
    fn fields_may_stand_in_any_order() {
        assert_eq!(parse(&[&SEQUENCE[..], &RELAY].concat()), Ok((9, alloc::vec![RelayId(5)])));
        assert_eq!(parse(&[&RELAY[..], &SEQUENCE].concat()), Ok((9, alloc::vec![RelayId(5)])));
    }

    #[test]
    fn an_unknown_field_is_skipped() {
        assert_eq!(parse(&[&[0x7f, 0xff, 0, 1, 42][..], &SEQUENCE].concat()), Ok((9, Vec::new())));
    }

    #[test]
    fn an_unknown_critical_field_is_refused() {
        let bytes = [&SEQUENCE[..], &[0xff, 0xff, 0, 0]].concat();
        assert_eq!(parse(&bytes), Err(ParseError::UnknownCritical));
    }

    #[test]
    fn a_field_of_other_messages_is_unknown_here() {
        let ticket = [0, 2, 0, 0];
        assert_eq!(parse(&[&ticket[..], &SEQUENCE].concat()), Ok((9, Vec::new())));
        let ticket = [0x80, 2, 0, 0];
        assert_eq!(parse(&[&ticket[..], &SEQUENCE].concat()), Err(ParseError::UnknownCritical));
    }

    #[test]
    fn a_known_field_is_taken_with_the_critical_bit() {
        let mut bytes = SEQUENCE;
        bytes[0] |= 0x80;
        assert_eq!(parse(&bytes), Ok((9, Vec::new())));
    }

    #[test]
    fn a_field_that_stands_once_is_refused_twice() {
        assert_eq!(parse(&[SEQUENCE, SEQUENCE].concat()), Err(ParseError::DuplicateField));
    }

    #[test]
    fn a_repeated_field_is_bounded() {
        assert_eq!(parse(&[&RELAY[..], &RELAY, &RELAY, &SEQUENCE].concat()), Err(ParseError::TooMany));
    }

    #[test]
    fn a_missing_field_is_told() {
        assert_eq!(parse(&RELAY), Err(ParseError::MissingField));
    }

    #[test]
    fn a_value_longer_than_its_field_needs_is_refused() {
        assert_eq!(parse(&[0, 3, 0, 9, 0, 0, 0, 0, 0, 0, 0, 9, 9]), Err(ParseError::TrailingBytes));
    }

    #[test]
    fn a_length_beyond_the_end_is_refused() {
        assert_eq!(parse(&[0, 3, 0, 9, 0, 0, 0, 0, 0, 0, 0, 9]), Err(ParseError::Truncated));
        assert_eq!(parse(&[0, 3, 0]), Err(ParseError::Truncated));
    }

    #[test]
    fn a_name_travels_in_one_form_only() {
        assert!(canonical_fqdn(b"printer.ntm.example").is_ok());
        for other in [&b"Printer.ntm.example"[..], b"printer.ntm.example.", b"", b"a..b", b"\xff"] {
            assert_eq!(canonical_fqdn(other), Err(ParseError::BadValue));
        }
    }
}
