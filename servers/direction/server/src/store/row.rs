//! How a stored node is written.
//!
//! ```text
//!  version(1) = 1   virtual4(4)   virtual6(16)   sequence(8)   token length(2)   wake token   node record
//! ```

use ntm_direction::Stored;
use ntm_proto::wire::identity::{emit_record, parse_record};

const VERSION: u8 = 1;

/// The row of a node.
pub(crate) fn emit(stored: &Stored) -> Vec<u8> {
    let token = stored.wake_token.as_deref().unwrap_or_default();
    let length = u16::try_from(token.len()).unwrap_or_default();
    let mut bytes = vec![VERSION];
    bytes.extend(stored.virtual4.octets());
    bytes.extend(stored.virtual6.octets());
    bytes.extend(stored.sequence.to_be_bytes());
    bytes.extend(length.to_be_bytes());
    bytes.extend(&token[..usize::from(length)]);
    bytes.extend(emit_record(&stored.record));
    bytes
}

/// The node of a row; `None` where this version did not write it.
pub(crate) fn parse(bytes: &[u8]) -> Option<Stored> {
    let (&VERSION, rest) = bytes.split_first()? else { return None };
    let (virtual4, rest) = rest.split_first_chunk::<4>()?;
    let (virtual6, rest) = rest.split_first_chunk::<16>()?;
    let (sequence, rest) = rest.split_first_chunk::<8>()?;
    let (length, rest) = rest.split_first_chunk::<2>()?;
    let (token, record) = rest.split_at_checked(usize::from(u16::from_be_bytes(*length)))?;
    Some(Stored {
        record: parse_record(record).ok()?,
        virtual4: (*virtual4).into(),
        virtual6: (*virtual6).into(),
        sequence: u64::from_be_bytes(*sequence),
        wake_token: (!token.is_empty()).then(|| token.to_vec()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::testing::application;

    #[test]
    fn what_was_written_is_read_again_and_what_was_cut_short_is_not() {
        let application = application(7, 3);
        let stored = Stored {
            record: application.record,
            virtual4: [198, 18, 0, 9].into(),
            virtual6: application.virtual6,
            sequence: 5,
            wake_token: Some(vec![1, 2, 3]),
        };
        let bytes = emit(&stored);
        assert_eq!(parse(&bytes), Some(stored));
        for length in 0..bytes.len() {
            assert_eq!(parse(&bytes[..length]), None, "{length} bytes");
        }
    }
}
