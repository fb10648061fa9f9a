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
