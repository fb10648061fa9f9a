//! A table whose rows have small numbers, in chunks: growing never moves a row, so a table of a
//! million rows neither doubles its memory nor stalls while it grows.

const CHUNK_BITS: u32 = 10;
const CHUNK: usize = 1 << CHUNK_BITS;

/// Rows numbered from zero; a freed number is used again, the most recent first.
#[derive(Debug)]
pub(crate) struct Slab<T> {
    chunks: Vec<Vec<Row<T>>>,
    free: u32,
    len: u32,
    bound: u32,
}

#[derive(Debug)]
enum Row<T> {
    Taken(T),
    /// The next free row, or [`NONE`].
    Free(u32),
}

/// No row has this number.
pub(crate) const NONE: u32 = u32::MAX;

impl<T> Slab<T> {
    /// A table that never holds more than `bound` rows.
    pub(crate) fn new(bound: usize) -> Self {
        let bound = u32::try_from(bound).unwrap_or(NONE).min(NONE - 1);
        Self { chunks: Vec::new(), free: NONE, len: 0, bound }
    }

    pub(crate) fn len(&self) -> usize {
        self.len as usize
    }

    pub(crate) fn is_full(&self) -> bool {
        self.len >= self.bound
    }

    /// The number of the new row, or the value back where the table is full.
    pub(crate) fn insert(&mut self, value: T) -> Result<u32, T> {
        if self.is_full() {
            return Err(value);
        }
        self.len += 1;
        if self.free != NONE {
            let number = self.free;
            let row = &mut self.chunks[chunk(number)][offset(number)];
            if let Row::Free(next) = *row {
                self.free = next;
            }
            *row = Row::Taken(value);
            return Ok(number);
        }
        if self.chunks.last().is_none_or(|last| last.len() == CHUNK) {
            self.chunks.push(Vec::with_capacity(CHUNK));
        }
        let at = self.chunks.len() - 1;
        self.chunks[at].push(Row::Taken(value));
        Ok((at as u32) << CHUNK_BITS | (self.chunks[at].len() - 1) as u32)
    }

    pub(crate) fn remove(&mut self, number: u32) -> Option<T> {
        let row = self.chunks.get_mut(chunk(number))?.get_mut(offset(number))?;
        if matches!(row, Row::Free(_)) {
            return None;
        }
        let Row::Taken(value) = core::mem::replace(row, Row::Free(self.free)) else { return None };
        self.free = number;
        self.len -= 1;
        Some(value)
    }

    pub(crate) fn get(&self, number: u32) -> Option<&T> {
        match self.chunks.get(chunk(number))?.get(offset(number))? {
            Row::Taken(value) => Some(value),
            Row::Free(_) => None,
        }
    }

    pub(crate) fn get_mut(&mut self, number: u32) -> Option<&mut T> {
        match self.chunks.get_mut(chunk(number))?.get_mut(offset(number))? {
            Row::Taken(value) => Some(value),
            Row::Free(_) => None,
        }
    }

    /// All rows by rising number: an order that depends on nothing but the calls made.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (u32, &T)> {
        self.chunks.iter().enumerate().flat_map(|(at, rows)| {
            rows.iter().enumerate().filter_map(move |(offset, row)| match row {
                Row::Taken(value) => Some(((at as u32) << CHUNK_BITS | offset as u32, value)),
                Row::Free(_) => None,
            })
        })
    }
}

fn chunk(number: u32) -> usize {
    (number >> CHUNK_BITS) as usize
}

fn offset(number: u32) -> usize {
    number as usize & (CHUNK - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_is_found_by_its_number_until_it_is_removed() {
        let mut slab = Slab::new(5_000);
        let numbers: Vec<u32> = (0..3_000).map(|value| slab.insert(value).unwrap()).collect();
        assert!(numbers.iter().zip(0..).all(|(&number, value)| slab.get(number) == Some(&value)));
        assert_eq!(slab.remove(numbers[1_500]), Some(1_500));
        assert_eq!(slab.remove(numbers[1_500]), None);
        assert_eq!(slab.get(numbers[1_500]), None);
        assert_eq!(slab.len(), 2_999);
        assert_eq!(slab.insert(7), Ok(numbers[1_500]));
        assert_eq!(slab.iter().count(), 3_000);
        assert_eq!(slab.get(NONE), None);
    }

    #[test]
    fn a_full_table_gives_the_value_back() {
        let mut slab = Slab::new(2);
        let first = slab.insert('a').unwrap();
        slab.insert('b').unwrap();
        assert_eq!(slab.insert('c'), Err('c'));
        slab.remove(first);
        assert_eq!(slab.insert('c'), Ok(first));
    }
}
