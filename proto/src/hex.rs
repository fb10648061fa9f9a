//! Keys as people and files write them.

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt::{self, Write as _};

/// Why a text is no key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotHex;

impl fmt::Display for NotHex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not the expected number of hexadecimal digits")
    }
}

impl core::error::Error for NotHex {}

pub fn encode(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

pub fn decode(text: &str) -> Result<Vec<u8>, NotHex> {
    if !text.len().is_multiple_of(2) || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Err(NotHex);
    }
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).map_err(|_| NotHex)).collect()
}

pub fn decode_array<const N: usize>(text: &str) -> Result<[u8; N], NotHex> {
    decode(text)?.try_into().map_err(|_| NotHex)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_is_read_again_and_nothing_else_is() {
        assert_eq!(encode(&[0, 0xa5, 255]), "00a5ff");
        assert_eq!(decode("00A5ff"), Ok(alloc::vec![0, 0xa5, 255]));
        assert_eq!(decode_array::<2>("00a5ff"), Err(NotHex));
        for wrong in ["0", "zz", "+1", "0é"] {
            assert_eq!(decode(wrong), Err(NotHex), "{wrong}");
        }
    }
}
