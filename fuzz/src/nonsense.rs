//! Frames and messages that are authentic and make no sense.

use std::net::SocketAddr;

use ntm_proto::id::{InterfaceId, TransactionId};
use ntm_proto::wire::frame::{
    Fragment, Frame, InterfaceNotice, LiveInterface, MAX_FRAGMENTED, PathChallenge, PathResponse,
};
use ntm_proto::wire::message::{Envelope, MAX_INTERFACES, MessageType};

use crate::Input;

/// What a peer may seal into a data datagram. Half of the choices are well-formed as far as a header goes,
/// which would otherwise take a fuzzer long to find.
pub fn plaintext(input: &mut Input<'_>, place: SocketAddr) -> Vec<u8> {
    let mut out = Vec::new();
    match input.number() % 10 {
        0 => out.extend_from_slice(input.bytes()),
        1..=3 => {
            let envelope = message(input);
            Frame::Signal(&envelope).emit(&mut out);
        }
        4 => {
            let challenge = PathChallenge {
                nonce: input.number().into(),
                interface: InterfaceId(input.number() % 4),
                generation: input.number().into(),
            };
            let size = usize::from(input.number()) * 8;
            challenge.emit(size, &mut out);
        }
        5 => {
            let response = PathResponse {
                nonce: input.number().into(),
                interface: InterfaceId(input.number() % 4),
                generation: input.number().into(),
                observed: place,
            };
            Frame::PathResponse(response).emit(&mut out);
        }
        6 | 7 => {
            let (id, offset, total) = (input.number() % 4, input.number(), input.number());
            let scale = [1, 1, 16, 256][input.below(4)];
            let data = input.bytes();
            let (offset, total) = (u32::from(offset) * scale, ((u32::from(total) + 1) * scale).min(MAX_FRAGMENTED));
            if !data.is_empty() && offset as usize + data.len() <= total as usize {
                Frame::Fragment(Fragment { id: id.into(), offset, total, data }).emit(&mut out);
            }
        }
        8 => Frame::KeepAlive.emit(&mut out),
        _ => {
            let sequence = u64::from(input.number()) << input.below(57);
            let mut live: Vec<LiveInterface> = Vec::new();
            for _ in 0..input.below(MAX_INTERFACES + 1) {
                let id = InterfaceId(input.number() % 8);
                let (generation, ending) = (input.number().into(), input.flag());
                if live.iter().all(|one| one.id != id) {
                    live.push(LiveInterface { id, generation, ending });
                }
            }
            Frame::InterfaceNotice(InterfaceNotice { sequence, live }).emit(&mut out);
        }
    }
    out
}

/// The bytes of a message: a true header round anything, and now and then nothing true at all.
pub fn message(input: &mut Input<'_>) -> Vec<u8> {
    let choice = input.number();
    let transaction = TransactionId(input.number().into());
    let body = input.bytes();
    if choice == 0 {
        return body.to_vec();
    }
    let kind = MessageType::ALL[usize::from(choice) % MessageType::ALL.len()];
    let length = u16::try_from(body.len()).expect("one byte says how long it is");
    [&[kind.number(), 1][..], &length.to_be_bytes(), &transaction.0.to_be_bytes(), body].concat()
}

/// The frame that carries a message.
pub fn signal(envelope: &Envelope) -> Vec<u8> {
    let mut out = Vec::new();
    Frame::Signal(&envelope.emit()).emit(&mut out);
    out
}
