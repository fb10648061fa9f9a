//! The answer where the asked-for message cannot be given.
//!
//! ```text
//! Error  0x70  ErrorCode  ErrorText?  PathId?  Sequence?
//!
//! ErrorCode  code(2)   ErrorText  UTF-8, at most 200 bytes
//! ```
//!
//! An error's transaction is that of the request it answers. A code nobody assigned is refused.

use alloc::string::String;

use super::super::ParseError;
use super::super::bytes::{Reader, Writer};
use super::super::registry::{ErrorCode, FieldType};
use super::super::tlv::{Value, required};
use super::MAX_ERROR_TEXT;
use crate::id::PathId;

/// The answer where the asked-for message cannot be given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ErrorMessage {
    pub code: ErrorCode,
    /// For people; at most [`MAX_ERROR_TEXT`] bytes.
    pub text: String,
    /// The communication it is about, if any.
    pub path_id: Option<PathId>,
    /// The number that the refused one had to be above.
    pub sequence: Option<u64>,
}

impl ErrorMessage {
    /// Text beyond [`MAX_ERROR_TEXT`] bytes is left out, whole characters at a time.
    pub fn new(code: ErrorCode, text: &str, path_id: Option<PathId>) -> Self {
        let end = text.floor_char_boundary(MAX_ERROR_TEXT);
        Self { code, text: text[..end].into(), path_id, sequence: None }
    }
}

impl Value for ErrorCode {
    fn parse(input: &mut Reader<'_>) -> Result<Self, ParseError> {
        Self::from_number(input.u16()?).ok_or(ParseError::BadValue)
    }

    fn emit(&self, out: &mut Writer<'_>) {
        out.u16(self.number());
    }
}

struct Text(String);

impl Value for Text {
    fn parse(input: &mut Reader<'_>) -> Result<Self, ParseError> {
        let bytes = input.rest();
        if bytes.len() > MAX_ERROR_TEXT {
            return Err(ParseError::TooMany);
        }
        core::str::from_utf8(bytes).map(|text| Self(text.into())).map_err(|_| ParseError::BadValue)
    }

    fn emit(&self, out: &mut Writer<'_>) {
        out.bytes(self.0.as_bytes());
    }
}

impl Value for ErrorMessage {
    fn parse(input: &mut Reader<'_>) -> Result<Self, ParseError> {
        let (mut code, mut text, mut path_id, mut sequence) = (None, None, None, None);
        while let Some(field) = input.field()? {
            match field.kind {
                Some(FieldType::ErrorCode) => field.once(&mut code)?,
                Some(FieldType::ErrorText) => field.once::<Text>(&mut text)?,
                Some(FieldType::PathId) => field.once(&mut path_id)?,
                Some(FieldType::Sequence) => field.once(&mut sequence)?,
                _ => field.skip()?,
            }
        }
        let text = text.map(|Text(text)| text).unwrap_or_default();
        Ok(Self { code: required(code)?, text, path_id, sequence })
    }

    fn emit(&self, out: &mut Writer<'_>) {
        let text = (!self.text.is_empty()).then_some(self.text.as_bytes());
        out.field(FieldType::ErrorCode, &self.code);
        out.optional_bytes(FieldType::ErrorText, text, MAX_ERROR_TEXT);
        out.optional(FieldType::PathId, self.path_id.as_ref());
        out.optional(FieldType::Sequence, self.sequence.as_ref());
    }
}
