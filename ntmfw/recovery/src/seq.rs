//! Positions in a stream: the wire's 32-bit sequence numbers, unwrapped.
//!
//! A [`Position`] is a sequence number with the times it wrapped in its upper half, so that positions compare
//! as numbers do for as long as a connection lives.

pub(crate) type Position = u64;

/// The position of a connection's first sequence number. It leaves room below for what is older.
pub(crate) fn first(sequence: u32) -> Position {
    (1 << 32) | Position::from(sequence)
}

/// The position nearest to `near` that is `sequence` on the wire.
pub(crate) fn extend(near: Position, sequence: u32) -> Position {
    let distance = sequence.wrapping_sub(wire(near)).cast_signed();
    near.wrapping_add_signed(i64::from(distance))
}

/// A position as it goes on the wire.
#[expect(clippy::cast_possible_truncation, reason = "the wire carries the lower half")]
pub(crate) fn wire(position: Position) -> u32 {
    position as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_go_on_where_sequence_numbers_wrap() {
        let start = first(u32::MAX - 10);
        let later = extend(start, 20);
        assert_eq!(later - start, 31);
        assert_eq!(wire(later), 20);
        assert_eq!(extend(later, u32::MAX - 10), start);
        assert!(extend(first(0), u32::MAX) < first(0));
    }
}
