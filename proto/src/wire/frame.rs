//! Frames: what a data datagram carries once opened (DESIGN 4.3).

/// A piece of a packet that did not fit the path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fragment<'a> {
    pub id: u32,
    pub offset: u32,
    pub total: u32,
    pub data: &'a [u8],
}
