//! Outer datagrams in a stream of bytes, for nodes whose network lets no UDP through (`docs/protocol/tls.md`).
//!
//! ```text
//!  0        2        3                                3+n
//! ┌────────┬────────┬────────────────────────────────┐
//! │ length │ 0      │ outer datagram                 │   to or from the relay itself
//! └────────┴────────┴────────────────────────────────┘
//!  0        2        3                 21             21+n
//! ┌────────┬────────┬─────────────────┬──────────────┐
//! │ length │ 1      │ fixed address   │ outer        │   to or from the direction server at that address
//! │        │        │ (18)            │ datagram     │
//! └────────┴────────┴─────────────────┴──────────────┘
//!           └─────────── length counts this ─────────┘
//! ```

use alloc::vec;
use alloc::vec::Vec;
use core::net::SocketAddr;

use super::ParseError;
use super::bytes::{FIXED_ADDRESS, Reader, Writer};
use super::registry::StreamEnd;

const LENGTH: usize = 2;
/// The longest datagram that travels in a stream: what fits an Ethernet frame by UDP.
pub const MAX_DATAGRAM: usize = 1_472;
/// The longest frame, its length not counted.
const MAX_FRAME: usize = 1 + FIXED_ADDRESS + MAX_DATAGRAM;

/// A datagram that came through a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Carried<'a> {
    /// To or from the relay.
    Relay(&'a [u8]),
    /// To or from the direction server at the address.
    Director(SocketAddr, &'a [u8]),
}

/// Takes what comes first in `bytes`, and says how many bytes it is; `None` where it is not there whole. After an
/// error nothing behind can be understood: the stream must be closed.
pub fn parse(bytes: &[u8]) -> Result<Option<(Carried<'_>, usize)>, ParseError> {
    let Some((length, rest)) = bytes.split_first_chunk::<LENGTH>() else { return Ok(None) };
    let length = usize::from(u16::from_be_bytes(*length));
    if length > MAX_FRAME {
        return Err(ParseError::TooMany);
    }
    let Some(frame) = rest.get(..length) else { return Ok(None) };
    let (end, datagram) = frame.split_first().ok_or(ParseError::Truncated)?;
    let (carried, datagram) = match StreamEnd::from_number(*end).ok_or(ParseError::UnknownType)? {
        StreamEnd::Relay => (Carried::Relay(datagram), datagram),
        StreamEnd::Director => {
            let mut rest = Reader::new(datagram);
            let address = rest.fixed_address()?;
            let datagram = rest.rest();
            (Carried::Director(address, datagram), datagram)
        }
    };
    if datagram.len() > MAX_DATAGRAM { Err(ParseError::TooMany) } else { Ok(Some((carried, LENGTH + length))) }
}

impl Carried<'_> {
    /// As it travels. What is longer than [`MAX_DATAGRAM`] is refused by whoever receives it.
    pub fn emit(&self) -> Vec<u8> {
        let mut out = vec![];
        Writer::new(&mut out).counted(|writer| match self {
            Self::Relay(datagram) => {
                writer.bytes(&[StreamEnd::Relay.number()]);
                writer.bytes(datagram);
            }
            Self::Director(address, datagram) => {
                writer.bytes(&[StreamEnd::Director.number()]);
                writer.fixed_address(*address);
                writer.bytes(datagram);
            }
        });
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_framed_is_read_again_when_it_is_there_whole() {
        let director: SocketAddr = "[2001:db8::9]:4500".parse().unwrap();
        let all = [Carried::Relay(b"one"), Carried::Director(director, b"two")];
        let framed = [all[0].emit(), all[1].emit()].concat();
        for cut in 0..all[0].emit().len() {
            assert_eq!(parse(&framed[..cut]), Ok(None));
        }
        let (first, length) = parse(&framed).unwrap().unwrap();
        assert_eq!(first, all[0]);
        let (second, rest) = parse(&framed[length..]).unwrap().unwrap();
        assert_eq!(second, all[1]);
        assert_eq!(length + rest, framed.len());
    }

    #[test]
    fn the_bytes_are_those_of_the_document() {
        assert_eq!(Carried::Relay(&[5, 6]).emit(), [0, 3, 0, 5, 6]);
        let director = Carried::Director("192.0.2.1:4500".parse().unwrap(), &[7]).emit();
        let mapped = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 192, 0, 2, 1];
        assert_eq!(director, [&[0, 20, 1][..], &mapped, &[0x11, 0x94, 7]].concat());
    }

    #[test]
    fn what_is_no_frame_is_refused() {
        assert_eq!(parse(&[0, 0]), Err(ParseError::Truncated));
        assert_eq!(parse(&[0xff, 0xff]), Err(ParseError::TooMany), "before it is there whole");
        assert_eq!(parse(&[0, 1, 2]), Err(ParseError::UnknownType));
        assert_eq!(parse(&[0, 3, 1, 0, 0]), Err(ParseError::Truncated), "an address cut short");
        assert!(parse(&Carried::Relay(&[0; MAX_DATAGRAM]).emit()).is_ok_and(|carried| carried.is_some()));
        assert_eq!(parse(&Carried::Relay(&[0; MAX_DATAGRAM + 1]).emit()), Err(ParseError::TooMany));
    }
}
