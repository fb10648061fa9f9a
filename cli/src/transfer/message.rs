//! What the two say to each other, and digests.

use std::io::{self, Read, Write};

use blake2::{Blake2s256, Digest as _};
use ntm_proto::hex;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::ROOM;

/// What one line may weigh.
const MAX_LINE: usize = 16 * 1024;

#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Offer {
    pub(super) name: String,
    pub(super) size: u64,
    pub(super) digest: String,
}

/// The receiver's word on an offer, and on what came of it.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Reply {
    Have { size: u64, digest: String },
    Kept,
    Refused(String),
}

#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Begin {
    pub(super) from: u64,
}

pub(super) fn write(to: &mut impl Write, message: &impl Serialize) -> io::Result<()> {
    let mut line = serde_json::to_vec(message)?;
    line.push(b'\n');
    to.write_all(&line)?;
    to.flush()
}

/// Reads one line, and not a byte more: what follows may be a file's.
pub(super) fn read<T: DeserializeOwned>(from: &mut impl Read) -> io::Result<T> {
    let mut line = Vec::new();
    let mut byte = [0];
    loop {
        from.read_exact(&mut byte)?;
        match byte {
            [b'\n'] => return Ok(serde_json::from_slice(&line)?),
            _ if line.len() == MAX_LINE => return Err(io::ErrorKind::InvalidData.into()),
            [other] => line.push(other),
        }
    }
}

/// The digest of the next `length` bytes.
pub(super) fn digest(from: &mut impl Read, length: u64) -> io::Result<String> {
    let mut state = Blake2s256::new();
    let mut left = length;
    let mut room = vec![0; ROOM];
    while left > 0 {
        let most = usize::try_from(left).map_or(ROOM, |left| left.min(ROOM));
        let got = from.read(&mut room[..most])?;
        if got == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        state.update(&room[..got]);
        left -= got as u64;
    }
    Ok(hex::encode(&state.finalize()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_read_and_what_follows_is_left() {
        let mut wire = Vec::new();
        write(&mut wire, &Begin { from: 7 }).expect("written");
        wire.extend(b"bytes of the file");
        let mut rest = &wire[..];
        assert_eq!(read::<Begin>(&mut rest).expect("read"), Begin { from: 7 });
        assert_eq!(rest, b"bytes of the file");
    }

    #[test]
    fn a_line_without_an_end_is_given_up() {
        let endless = vec![b' '; MAX_LINE + 2];
        assert_eq!(read::<Begin>(&mut &endless[..]).expect_err("too long").kind(), io::ErrorKind::InvalidData);
    }

    #[test]
    fn the_digest_of_a_part_is_that_of_its_bytes_alone() {
        let part = digest(&mut &b"abcdef"[..], 3).expect("there are so many");
        assert_eq!(part, digest(&mut &b"abc"[..], 3).expect("there are so many"));
        assert!(digest(&mut &b"ab"[..], 3).is_err());
    }
}
