//! Signalling messages and the signed things in them: parse, emit, parse gives the same.
//!
//! The first byte chooses what the rest is. Half of the choices put a correct header round the rest,
//! which would otherwise take the fuzzer long to find for each message type.
#![no_main]

use core::fmt::Debug;

use libfuzzer_sys::fuzz_target;
use ntm_proto::wire::ParseError;
use ntm_proto::wire::identity::{emit_cert, emit_record, parse_cert, parse_record};
use ntm_proto::wire::message::{Envelope, MAX_ENVELOPE, MessageType};

fuzz_target!(|input: &[u8]| {
    let Some((&choice, rest)) = input.split_first() else { return };
    match choice {
        0..0x20 => envelope_settles(rest),
        0x20..0x30 => has_one_encoding(rest, parse_record, emit_record),
        0x30..0x40 => has_one_encoding(rest, parse_cert, emit_cert),
        _ => {
            let kind = MessageType::ALL[usize::from(choice) % MessageType::ALL.len()];
            let Ok(length) = u16::try_from(rest.len()) else { return };
            envelope_settles(&[&[kind.number(), 1][..], &length.to_be_bytes(), &[0; 4], rest].concat());
        }
    }
});

fn envelope_settles(bytes: &[u8]) {
    let Ok(envelope) = Envelope::parse(bytes) else { return };
    let emitted = envelope.emit();
    assert!(emitted.len() <= MAX_ENVELOPE);
    assert_eq!(Envelope::parse(&emitted), Ok(envelope));
    for end in 0..emitted.len() {
        assert_eq!(Envelope::parse(&emitted[..end]), Err(ParseError::Truncated));
    }
}

/// What is signed parses from the bytes it is emitted as, and from no others.
fn has_one_encoding<T: Debug>(
    bytes: &[u8],
    parse: impl Fn(&[u8]) -> Result<T, ParseError>,
    emit: impl Fn(&T) -> Vec<u8>,
) {
    if let Ok(value) = parse(bytes) {
        assert_eq!(emit(&value), bytes);
    }
}
