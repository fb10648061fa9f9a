//! The encodings of node records and server certificates (`docs/protocol/messages.md`, 5).
//!
//! ```text
//! record   version(1) = 1  flags(1)  identity key(32)  Noise key(32)  timestamp(8)
//!          length(1) name  length(1) manager  signature(64)                  flags: bit 0 revoked
//! cert     version(1) = 1  role(1)   Noise key(32)     not after(8)
//!          length(1) domain  length(1) name  count(1) tagged address …  signature(64)
//! signed   label(15)  the encoding without its signature
//! ```
//!
//! What is signed has exactly one encoding: unknown flags and versions, names in another case and
//! mapped addresses are refused, so a digest of what was parsed is a digest of what was sent. The label
//! keeps a signature over one kind of thing from being one over the other.

use alloc::vec::Vec;

use super::ParseError;
use super::bytes::{Reader, Writer};
use super::message::MAX_SERVER_ADDRESSES;
use super::tlv::{Value, canonical_fqdn};
use crate::id::Fqdn;
use crate::identity::{NodeRecord, Role, ServerCert};
use crate::time::UnixTime;

const VERSION: u8 = 1;
const REVOKED: u8 = 1;
const RECORD_LABEL: &[u8; 15] = b"NTM node record";
const CERT_LABEL: &[u8; 15] = b"NTM server cert";

/// Bytes of a record or a certificate with ordinary names; a longer one makes the buffer grow.
const USUAL_SIZE: usize = 256;

/// What the signature of `record` covers; the signature it holds plays no part.
pub fn record_signed_part(record: &NodeRecord) -> Vec<u8> {
    let mut out = Vec::with_capacity(USUAL_SIZE);
    let mut writer = Writer::new(&mut out);
    writer.bytes(RECORD_LABEL);
    unsigned_record(record, &mut writer);
    out
}

/// The whole encoding, signature included: what `NodeRecord::digest` is taken of.
pub fn emit_record(record: &NodeRecord) -> Vec<u8> {
    let mut out = Vec::with_capacity(USUAL_SIZE);
    record.emit(&mut Writer::new(&mut out));
    out
}

/// Reads a record and nothing after it. The signature is *not* checked.
pub fn parse_record(bytes: &[u8]) -> Result<NodeRecord, ParseError> {
    parse_whole(bytes)
}

/// What the signature of `cert` covers; the signature it holds plays no part.
pub fn cert_signed_part(cert: &ServerCert) -> Vec<u8> {
    let mut out = Vec::with_capacity(USUAL_SIZE);
    let mut writer = Writer::new(&mut out);
    writer.bytes(CERT_LABEL);
    unsigned_cert(cert, &mut writer);
    out
}

/// The whole encoding, signature included. At most [`MAX_SERVER_ADDRESSES`] addresses.
pub fn emit_cert(cert: &ServerCert) -> Vec<u8> {
    let mut out = Vec::with_capacity(USUAL_SIZE);
    cert.emit(&mut Writer::new(&mut out));
    out
}

/// Reads a certificate and nothing after it. The signature is *not* checked.
pub fn parse_cert(bytes: &[u8]) -> Result<ServerCert, ParseError> {
    parse_whole(bytes)
}

impl Value for NodeRecord {
    fn parse(input: &mut Reader<'_>) -> Result<Self, ParseError> {
        version(input)?;
        let flags = input.u8()?;
        if flags & !REVOKED != 0 {
            return Err(ParseError::BadValue);
        }
        Ok(Self {
            revoked: flags & REVOKED != 0,
            identity: *input.array()?,
            noise_key: *input.array()?,
            timestamp: UnixTime::parse(input)?,
            fqdn: name(input)?,
            manager: name(input)?,
            signature: *input.array()?,
        })
    }

    fn emit(&self, out: &mut Writer<'_>) {
        unsigned_record(self, out);
        out.bytes(&self.signature);
    }
}

impl Value for ServerCert {
    fn parse(input: &mut Reader<'_>) -> Result<Self, ParseError> {
        version(input)?;
        let role = match input.u8()? {
            number if number == Role::Direction as u8 => Role::Direction,
            number if number == Role::Relay as u8 => Role::Relay,
            _ => return Err(ParseError::BadValue),
        };
        Ok(Self {
            role,
            noise_key: *input.array()?,
            not_after: UnixTime::parse(input)?,
            domain: name(input)?,
            name: name(input)?,
            addresses: {
                let count = usize::from(input.u8()?);
                if count > MAX_SERVER_ADDRESSES {
                    return Err(ParseError::TooMany);
                }
                (0..count).map(|_| input.tagged_address()).collect::<Result<_, _>>()?
            },
            signature: *input.array()?,
        })
    }

    fn emit(&self, out: &mut Writer<'_>) {
        unsigned_cert(self, out);
        out.bytes(&self.signature);
    }
}

fn unsigned_record(record: &NodeRecord, out: &mut Writer<'_>) {
    out.u8(VERSION);
    out.u8(if record.revoked { REVOKED } else { 0 });
    out.bytes(&record.identity);
    out.bytes(&record.noise_key);
    record.timestamp.emit(out);
    out.short_bytes(record.fqdn.as_str().as_bytes());
    out.short_bytes(record.manager.as_str().as_bytes());
}

fn unsigned_cert(cert: &ServerCert, out: &mut Writer<'_>) {
    debug_assert!(cert.addresses.len() <= MAX_SERVER_ADDRESSES);
    out.u8(VERSION);
    out.u8(cert.role as u8);
    out.bytes(&cert.noise_key);
    cert.not_after.emit(out);
    out.short_bytes(cert.domain.as_str().as_bytes());
    out.short_bytes(cert.name.as_str().as_bytes());
    out.u8(u8::try_from(cert.addresses.len()).unwrap_or(u8::MAX));
    cert.addresses.iter().for_each(|address| out.tagged_address(*address));
}

fn parse_whole<T: Value>(bytes: &[u8]) -> Result<T, ParseError> {
    let mut input = Reader::new(bytes);
    let value = T::parse(&mut input)?;
    input.finish()?;
    Ok(value)
}

fn version(input: &mut Reader<'_>) -> Result<(), ParseError> {
    if input.u8()? == VERSION { Ok(()) } else { Err(ParseError::UnknownVersion) }
}

fn name(input: &mut Reader<'_>) -> Result<Fqdn, ParseError> {
    canonical_fqdn(input.short_bytes()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record() -> NodeRecord {
        NodeRecord {
            identity: [1; 32],
            fqdn: Fqdn::parse("a.ntm.example").unwrap(),
            noise_key: [2; 32],
            manager: Fqdn::parse("ntm.example").unwrap(),
            revoked: true,
            timestamp: UnixTime::from_millis(3),
            signature: [4; 64],
        }
    }

    fn cert() -> ServerCert {
        ServerCert {
            role: Role::Relay,
            domain: Fqdn::parse("ntm.example").unwrap(),
            name: Fqdn::parse("rs.ntm.example").unwrap(),
            noise_key: [2; 32],
            addresses: Vec::from(["192.0.2.1:4500".parse().unwrap()]),
            not_after: UnixTime::from_millis(3),
            signature: [4; 64],
        }
    }

    #[test]
    fn a_record_lies_as_documented() {
        let names = [&[13][..], b"a.ntm.example", &[11], b"ntm.example"].concat();
        let time = [0, 0, 0, 0, 0, 0, 0, 3];
        let unsigned = [&[1, 1][..], &[1; 32], &[2; 32], &time, &names].concat();
        assert_eq!(record_signed_part(&record()), [&b"NTM node record"[..], &unsigned].concat());
        assert_eq!(emit_record(&record()), [&unsigned[..], &[4; 64]].concat());
    }

    #[test]
    fn a_certificate_lies_as_documented() {
        let names = [&[11][..], b"ntm.example", &[14], b"rs.ntm.example"].concat();
        let time = [0, 0, 0, 0, 0, 0, 0, 3];
        let address = [1, 4, 192, 0, 2, 1, 0x11, 0x94];
        let unsigned = [&[1, 2][..], &[2; 32], &time, &names, &address].concat();
        assert_eq!(cert_signed_part(&cert()), [&b"NTM server cert"[..], &unsigned].concat());
        assert_eq!(emit_cert(&cert()), [&unsigned[..], &[4; 64]].concat());
    }

    #[test]
    fn another_signature_covers_the_same_bytes() {
        assert_eq!(record_signed_part(&NodeRecord { signature: [9; 64], ..record() }), record_signed_part(&record()));
        assert_eq!(cert_signed_part(&ServerCert { signature: [9; 64], ..cert() }), cert_signed_part(&cert()));
    }

    #[test]
    fn a_second_encoding_of_a_record_is_refused() {
        let bytes = emit_record(&record());
        let parse = |at: usize, byte: u8| {
            let mut bytes = bytes.clone();
            bytes[at] = byte;
            parse_record(&bytes)
        };
        assert_eq!(parse(0, 2), Err(ParseError::UnknownVersion));
        assert_eq!(parse(1, 2), Err(ParseError::BadValue), "a flag nobody assigned");
        assert_eq!(parse(75, b'A'), Err(ParseError::BadValue), "a name in upper case");
        assert_eq!(parse(87, b'.'), Err(ParseError::BadValue), "a name with its final dot");
    }

    #[test]
    fn a_second_encoding_of_a_certificate_is_refused() {
        let mut mapped = emit_cert(&cert());
        let at = mapped.len() - 64 - 7;
        mapped.splice(at..at + 5, [&[6][..], &[0; 10], &[0xff, 0xff, 192, 0, 2, 1]].concat());
        assert_eq!(parse_cert(&mapped), Err(ParseError::BadValue));
        let mut role = emit_cert(&cert());
        role[1] = 3;
        assert_eq!(parse_cert(&role), Err(ParseError::BadValue));
        let mut many = emit_cert(&cert());
        many[at - 1] = MAX_SERVER_ADDRESSES as u8 + 1;
        assert_eq!(parse_cert(&many), Err(ParseError::TooMany));
    }
}
