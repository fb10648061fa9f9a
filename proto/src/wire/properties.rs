//! What holds for every message, frame and datagram at once.

use alloc::vec::Vec;
use core::fmt::Debug;
use core::net::SocketAddr;
use core::time::Duration;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;
use proptest::strategy::ValueTree as _;
use proptest::test_runner::TestRunner;

use super::ParseError;
use super::arbitrary::*;
use super::frame::Frame;
use super::identity::{emit_cert, emit_record, parse_cert, parse_record};
use super::message::*;
use super::outer::Outer;
use super::registry::{FieldType, MessageType};
use super::tlv::CRITICAL;
use crate::id::{DeviceName, Fqdn, InterfaceId, PathId, RelayId, TransactionId};
use crate::identity::NodeRecord;
use crate::session::{Psk, RelayToken};
use crate::time::UnixTime;

/// What an attacker or a bad link does to bytes.
#[derive(Clone, Debug)]
enum Damage {
    Set(Index, u8),
    Flip(Index, u8),
    Insert(Index, u8),
    Remove(Index),
    Cut(Index),
    Repeat(Index, Index),
}

fn damage() -> impl Strategy<Value = Vec<Damage>> {
    let one = prop_oneof![
        (any::<Index>(), any::<u8>()).prop_map(|(at, byte)| Damage::Set(at, byte)),
        (any::<Index>(), 0..8_u8).prop_map(|(at, bit)| Damage::Flip(at, bit)),
        (any::<Index>(), any::<u8>()).prop_map(|(at, byte)| Damage::Insert(at, byte)),
        any::<Index>().prop_map(Damage::Remove),
        any::<Index>().prop_map(Damage::Cut),
        (any::<Index>(), any::<Index>()).prop_map(|(from, to)| Damage::Repeat(from, to)),
    ];
    vec(one, 1..6)
}

fn damaged(mut bytes: Vec<u8>, damage: &[Damage]) -> Vec<u8> {
    for one in damage {
        if bytes.is_empty() {
            break;
        }
        let len = bytes.len();
        match one {
            Damage::Set(at, byte) => bytes[at.index(len)] = *byte,
            Damage::Flip(at, bit) => bytes[at.index(len)] ^= 1 << bit,
            Damage::Insert(at, byte) => bytes.insert(at.index(len), *byte),
            Damage::Remove(at) => {
                bytes.remove(at.index(len));
            }
            Damage::Cut(at) => bytes.truncate(at.index(len)),
            Damage::Repeat(from, to) => {
                let (from, to) = (from.index(len), to.index(len));
                let piece = bytes[from.min(to)..from.max(to)].to_vec();
                bytes.extend_from_slice(&piece);
            }
        }
    }
    bytes
}

/// What parses is a value like any other: it can be sent on and means the same.
fn settles<T: PartialEq + Debug>(
    bytes: &[u8],
    parse: impl Fn(&[u8]) -> Result<T, ParseError>,
    emit: impl Fn(&T) -> Vec<u8>,
) -> Result<(), TestCaseError> {
    if let Ok(value) = parse(bytes) {
        let again = parse(&emit(&value));
        prop_assert_eq!(again, Ok(value));
    }
    Ok(())
}

fn everything_settles(bytes: &[u8]) -> Result<(), TestCaseError> {
    settles(bytes, Envelope::parse, Envelope::emit)?;
    settles(bytes, parse_record, emit_record)?;
    settles(bytes, parse_cert, emit_cert)?;
    if let Ok(outer) = Outer::parse(bytes) {
        let again = outer.emit();
        prop_assert_eq!(Outer::parse(&again).map(|outer| outer.emit()), Ok(again.clone()));
        match outer {
            Outer::Punch => prop_assert!(bytes.starts_with(&[again[0]])),
            _ => prop_assert_eq!(again.len(), bytes.len()),
        }
    }
    if let Ok(frame) = Frame::parse(bytes) {
        let again = emitted(|out| frame.emit(out));
        prop_assert_eq!(Frame::parse(&again), Ok(frame));
    }
    Ok(())
}

/// An envelope around TLVs that no emitter would write.
fn forged(kind: MessageType, fields: &[(u16, &[u8])]) -> Vec<u8> {
    let body: Vec<u8> = fields
        .iter()
        .flat_map(|(number, value)| {
            let length = u16::try_from(value.len()).unwrap();
            [&number.to_be_bytes()[..], &length.to_be_bytes(), value].concat()
        })
        .collect();
    let length = u16::try_from(body.len()).unwrap();
    [&[kind.number(), 1][..], &length.to_be_bytes(), &[0; 4], &body].concat()
}

/// The envelope with further TLVs at its end.
fn extended(envelope: &[u8], field: &[u8], times: usize) -> Vec<u8> {
    let mut bytes = [envelope, &field.repeat(times)].concat();
    let length = u16::try_from(bytes.len() - ENVELOPE_HEADER).unwrap();
    bytes[2..4].copy_from_slice(&length.to_be_bytes());
    bytes
}

proptest! {
    #[test]
    fn every_message_arrives_as_it_was_sent(envelope in envelope()) {
        let bytes = envelope.emit();
        prop_assert!(bytes.len() <= MAX_ENVELOPE);
        prop_assert_eq!(Envelope::parse(&bytes), Ok(envelope));
    }

    #[test]
    fn a_shortened_or_lengthened_message_is_refused(envelope in envelope(), more in vec(any::<u8>(), 1..9)) {
        let bytes = envelope.emit();
        for end in 0..bytes.len() {
            prop_assert_eq!(Envelope::parse(&bytes[..end]), Err(ParseError::Truncated));
        }
        prop_assert_eq!(Envelope::parse(&[bytes, more].concat()), Err(ParseError::TrailingBytes));
    }

    #[test]
    fn a_field_of_a_later_version_is_skipped_unless_it_is_critical(
        envelope in envelope(),
        number in 0x4000_u16..0x8000,
        value in vec(any::<u8>(), 0..32),
    ) {
        let field = |number: u16| [&number.to_be_bytes()[..], &[0, value.len() as u8], &value].concat();
        let bytes = envelope.emit();
        let critical = extended(&bytes, &field(number | CRITICAL), 1);
        prop_assert_eq!(Envelope::parse(&critical), Err(ParseError::UnknownCritical));
        prop_assert_eq!(Envelope::parse(&extended(&bytes, &field(number), 3)), Ok(envelope));
    }

    #[test]
    fn a_message_of_another_version_is_refused(envelope in envelope(), version in any::<u8>()) {
        prop_assume!(version != 1);
        let mut bytes = envelope.emit();
        bytes[1] = version;
        prop_assert_eq!(Envelope::parse(&bytes), Err(ParseError::UnknownVersion));
    }

    #[test]
    fn records_and_certificates_arrive_as_they_were_sent(record in record(), cert in cert()) {
        prop_assert_eq!(parse_record(&emit_record(&record)), Ok(record));
        prop_assert_eq!(parse_cert(&emit_cert(&cert)), Ok(cert));
    }

    #[test]
    fn a_record_has_one_encoding(record in record(), damage in damage()) {
        let bytes = damaged(emit_record(&record), &damage);
        if let Ok(other) = parse_record(&bytes) {
            prop_assert_eq!(emit_record(&other), bytes);
        }
    }

    #[test]
    fn a_certificate_has_one_encoding(cert in cert(), damage in damage()) {
        let bytes = damaged(emit_cert(&cert), &damage);
        if let Ok(other) = parse_cert(&bytes) {
            prop_assert_eq!(emit_cert(&other), bytes);
        }
    }

    #[test]
    fn a_shortened_record_or_certificate_is_refused(record in record(), cert in cert()) {
        let (record, cert) = (emit_record(&record), emit_cert(&cert));
        (0..record.len()).for_each(|end| assert!(parse_record(&record[..end]).is_err()));
        (0..cert.len()).for_each(|end| assert!(parse_cert(&cert[..end]).is_err()));
    }

    #[test]
    fn every_datagram_is_emitted_as_it_was_parsed(datagram in outer_datagram()) {
        prop_assert_eq!(Outer::parse(&datagram).map(|outer| outer.emit()), Ok(datagram));
    }

    #[test]
    fn every_frame_is_emitted_as_it_was_parsed(bytes in frame()) {
        let frame = Frame::parse(&bytes).unwrap();
        let again = emitted(|out| frame.emit(out));
        match frame {
            Frame::PathChallenge(_) => prop_assert!(bytes.starts_with(&again)),
            _ => prop_assert_eq!(again, bytes),
        }
    }

    #[test]
    fn any_bytes_are_read_without_harm(bytes in vec(any::<u8>(), 0..2_048)) {
        everything_settles(&bytes)?;
    }

    #[test]
    fn any_body_of_any_message_is_read_without_harm(
        kind in proptest::sample::select(MessageType::ALL),
        fields in vec((any::<bool>(), 0..0x20_u16, vec(any::<u8>(), 0..48)), 0..12),
    ) {
        let fields: Vec<(u16, &[u8])> = fields
            .iter()
            .map(|(critical, number, value)| (number | if *critical { CRITICAL } else { 0 }, &value[..]))
            .collect();
        everything_settles(&forged(kind, &fields))?;
    }

    #[test]
    fn a_damaged_message_is_read_without_harm(envelope in envelope(), damage in damage()) {
        everything_settles(&damaged(envelope.emit(), &damage))?;
    }

    #[test]
    fn a_damaged_datagram_is_read_without_harm(datagram in outer_datagram(), damage in damage()) {
        everything_settles(&damaged(datagram, &damage))?;
    }

    #[test]
    fn a_damaged_frame_is_read_without_harm(frame in frame(), damage in damage()) {
        everything_settles(&damaged(frame, &damage))?;
    }
}

fn longest_name() -> Fqdn {
    Fqdn::parse(&["a".repeat(63), "b".repeat(63), "c".repeat(63), "d".repeat(61)].join(".")).unwrap()
}

fn address6() -> SocketAddr {
    "[2001:db8::1]:65535".parse().unwrap()
}

fn longest_description() -> NodeDescription {
    NodeDescription {
        record: NodeRecord {
            identity: [1; 32],
            fqdn: longest_name(),
            noise_key: [2; 32],
            manager: longest_name(),
            revoked: false,
            timestamp: UnixTime::from_millis(u64::MAX),
            signature: [3; 64],
        },
        virtual4: [10, 0, 0, 1].into(),
        virtual6: [0xfd; 16].into(),
        interfaces: (0..MAX_INTERFACES as u8)
            .map(|id| Interface {
                id: InterfaceId(id),
                generation: u16::MAX,
                name: DeviceName::parse(&"n".repeat(DeviceName::MAX_LEN)).unwrap(),
                addresses: Vec::from([address6(); MAX_ADDRESSES]),
                reflexive: Vec::from([address6(), "192.0.2.1:1".parse().unwrap()]),
                mapping: NatMapping::EndpointDependent,
                cost: u8::MAX,
            })
            .collect(),
        relay_rtts: Vec::from([RelayRtt { relay: RelayId(u32::MAX), rtt: Duration::from_secs(1) }; MAX_RELAY_RTTS]),
    }
}

fn longest_direction() -> Envelope {
    let pair = CandidatePair { local: InterfaceId(0), remote_interface: InterfaceId(1), remote: address6() };
    let grant = RelayGrant {
        relay: RelayId(1),
        addresses: Vec::from([address6(); MAX_SERVER_ADDRESSES]),
        side: Side::Initiator,
        token: RelayToken::from_bytes([5; RelayToken::LEN]),
        bind_key: Psk::new([6; 32]),
    };
    let direction = RouteDirection {
        path_id: PathId([7; 16]),
        side: Side::Responder,
        psk: Psk::new([8; 32]),
        peer: longest_description(),
        pairs: Vec::from([pair; MAX_PAIRS]),
        grants: core::iter::repeat_n(grant, MAX_GRANTS).collect(),
    };
    Envelope { transaction: TransactionId(1), message: Message::RouteDirection(direction.into()) }
}

#[test]
fn the_longest_direction_fits_the_room_that_is_made_for_it() {
    let bytes = longest_direction().emit();
    assert!(bytes.len() <= MAX_ENVELOPE, "{} bytes", bytes.len());
    assert_eq!(Envelope::parse(&bytes), Ok(longest_direction()));
}

#[test]
fn one_element_beyond_a_bound_is_refused() {
    let bytes = longest_direction().emit();
    let pair = [0, 0x19, 0, 9, 0, 1, 4, 192, 0, 2, 1, 0, 7];
    assert_eq!(Envelope::parse(&extended(&bytes, &pair, 1)), Err(ParseError::TooMany));
    let grant = [&[0, 0x17, 0, 37 + RelayToken::LEN as u8, 0, 0, 0, 1, 1][..], &[0; RelayToken::LEN + 32]].concat();
    assert_eq!(Envelope::parse(&extended(&bytes, &grant, 1)), Err(ParseError::TooMany));

    let state = (FieldType::InterfaceState.number(), &[0, 0, 1][..]);
    let rtts = [0; 8 * (MAX_RELAY_RTTS + 1)];
    let keep_alive = |rtts| forged(MessageType::KeepAlive, &[state, (FieldType::RelayRtts.number(), rtts)]);
    assert!(Envelope::parse(&keep_alive(&rtts[8..])).is_ok());
    assert_eq!(Envelope::parse(&keep_alive(&rtts)), Err(ParseError::TooMany));
}

#[test]
fn text_beyond_its_bound_is_refused() {
    let code = (FieldType::ErrorCode.number(), &[0, 1][..]);
    let text = [b'x'; MAX_ERROR_TEXT + 1];
    let error = |text| forged(MessageType::Error, &[code, (FieldType::ErrorText.number(), text)]);
    assert!(Envelope::parse(&error(&text[1..])).is_ok());
    assert_eq!(Envelope::parse(&error(&text)), Err(ParseError::TooMany));
    assert_eq!(Envelope::parse(&error(b"\xff")), Err(ParseError::BadValue));
}

#[test]
fn an_error_keeps_whole_characters_of_a_text_too_long() {
    let message = ErrorMessage::new(ErrorCode::Busy, &"あ".repeat(100), None);
    assert_eq!(message.text, "あ".repeat(66));
}

#[test]
fn a_list_that_describes_an_interface_twice_is_refused() {
    let interface = [&[3, 0, 1, 0, 0][..], &[0, 7, 0, 1, b'e']].concat();
    let mut runner = TestRunner::deterministic();
    let record = emit_record(&record().new_tree(&mut runner).unwrap().current());
    let fields = |times| {
        let mut fields = Vec::from([
            (FieldType::Record.number(), &record[..]),
            (FieldType::Sequence.number(), &[0; 8][..]),
            (FieldType::InterfaceId.number(), &[3][..]),
        ]);
        fields.extend(core::iter::repeat_n((FieldType::Interface.number(), &interface[..]), times));
        forged(MessageType::RegistrationRequest, &fields)
    };
    assert!(Envelope::parse(&fields(1)).is_ok());
    assert_eq!(Envelope::parse(&fields(2)), Err(ParseError::DuplicateField));
}

#[test]
fn every_required_field_is_missed_and_every_single_field_is_refused_twice() {
    let mut runner = TestRunner::deterministic();
    let repeated = [FieldType::Interface, FieldType::RelayInfo, FieldType::CandidatePair, FieldType::RelayGrant];
    let optional =
        [FieldType::Ticket, FieldType::RelayRtts, FieldType::WakeToken, FieldType::ErrorText, FieldType::RelayShards];
    for kind in MessageType::ALL {
        let bytes = envelope_of(*kind).new_tree(&mut runner).unwrap().current().emit();
        let mut rest = &bytes[ENVELOPE_HEADER..];
        let mut at = ENVELOPE_HEADER;
        while let [n0, n1, l0, l1, ..] = *rest {
            let number = FieldType::from_number(u16::from_be_bytes([n0, n1])).unwrap();
            let length = 4 + usize::from(u16::from_be_bytes([l0, l1]));
            let without = extended(&[&bytes[..at], &bytes[at + length..]].concat(), &[], 0);
            if !repeated.contains(&number) {
                let twice = extended(&bytes, &rest[..length], 1);
                assert_eq!(Envelope::parse(&twice), Err(ParseError::DuplicateField), "{kind:?} {number:?}");
                let may_miss = optional.contains(&number)
                    || (*kind == MessageType::Error && matches!(number, FieldType::PathId | FieldType::Sequence))
                    || (*kind == MessageType::RelayReport && number == FieldType::Addresses);
                let parsed = Envelope::parse(&without).map(|_| ());
                let expected = if may_miss { Ok(()) } else { Err(ParseError::MissingField) };
                assert_eq!(parsed, expected, "{kind:?} {number:?}");
            }
            rest = &rest[length..];
            at += length;
        }
    }
}

#[test]
fn the_messages_of_a_directory_server_under_load_are_small() {
    let length = |message| Envelope { transaction: TransactionId(1), message }.emit().len();
    let keep_alive = KeepAlive { from: InterfaceId(1), generation: 1, relay_rtts: Vec::new() };
    assert_eq!(length(Message::KeepAlive(keep_alive)), 15);
    let observed = "192.0.2.1:4500".parse().unwrap();
    assert_eq!(length(Message::KeepAliveAck(KeepAliveAck { observed })), 19);
    assert_eq!(length(Message::KeepAliveAck(KeepAliveAck { observed: address6() })), 31);
    let target = Target::Name(Fqdn::parse("p.ntm.example").unwrap());
    let request = DirectionRequest { path_id: PathId([0; 16]), target };
    assert_eq!(length(Message::DirectionRequest(request)), 8 + 20 + 5 + 13);
}
