//! Server ↔ server: who is speaking.
//!
//! ```text
//! ServerHello  0x50  ServerCert  Sequence
//! ```

use super::super::ParseError;
use super::super::bytes::{Reader, Writer};
use super::super::registry::FieldType;
use super::super::tlv::{Value, required};
use crate::identity::ServerCert;

/// Payload of the handshake between two servers, both ways.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerHello {
    pub cert: ServerCert,
    /// Strictly rising for one server: milliseconds of its calendar clock, or the last value plus one.
    pub sequence: u64,
}

impl Value for ServerHello {
    fn parse(input: &mut Reader<'_>) -> Result<Self, ParseError> {
        let (mut cert, mut sequence) = (None, None);
        while let Some(field) = input.field()? {
            match field.kind {
                Some(FieldType::ServerCert) => field.once(&mut cert)?,
                Some(FieldType::Sequence) => field.once(&mut sequence)?,
                _ => field.skip()?,
            }
        }
        Ok(Self { cert: required(cert)?, sequence: required(sequence)? })
    }

    fn emit(&self, out: &mut Writer<'_>) {
        out.field(FieldType::ServerCert, &self.cert);
        out.field(FieldType::Sequence, &self.sequence);
    }
}
