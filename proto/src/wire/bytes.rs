//! Reading and writing bytes: the one place that knows byte order and the forms of an address.
//!
//! All integers are big-endian. An address with its port has two forms:
//!
//! ```text
//! tagged   family(1) = 4   IPv4 address(4)    port(2)      7 bytes, in lists
//!          family(1) = 6   IPv6 address(16)   port(2)     19 bytes
//! fixed                    IPv6 address(16)   port(2)     18 bytes, an IPv4 address as ::ffff:a.b.c.d
//! ```
//!
//! Either form has one encoding an address: an IPv4-mapped IPv6 address *is* the IPv4 address, and the
//! flow label and scope of an IPv6 address mean nothing on another machine and do not travel.

use alloc::vec::Vec;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::ParseError;

/// Bytes of an address in the fixed form.
pub(crate) const FIXED_ADDRESS: usize = 18;

/// What is left to read of some bytes. Reads past the end are [`ParseError::Truncated`].
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    pub(crate) const fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    pub(crate) const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn take(&mut self, count: usize) -> Result<&'a [u8], ParseError> {
        let (taken, rest) = self.0.split_at_checked(count).ok_or(ParseError::Truncated)?;
        self.0 = rest;
        Ok(taken)
    }

    pub(crate) fn array<const N: usize>(&mut self) -> Result<&'a [u8; N], ParseError> {
        let (taken, rest) = self.0.split_first_chunk().ok_or(ParseError::Truncated)?;
        self.0 = rest;
        Ok(taken)
    }

    pub(crate) fn u8(&mut self) -> Result<u8, ParseError> {
        self.array().map(|&[byte]| byte)
    }

    pub(crate) fn u16(&mut self) -> Result<u16, ParseError> {
        self.array().map(|bytes| u16::from_be_bytes(*bytes))
    }

    pub(crate) fn u32(&mut self) -> Result<u32, ParseError> {
        self.array().map(|bytes| u32::from_be_bytes(*bytes))
    }

    pub(crate) fn u64(&mut self) -> Result<u64, ParseError> {
        self.array().map(|bytes| u64::from_be_bytes(*bytes))
    }

    /// Bytes preceded by their number in one byte.
    pub(crate) fn short_bytes(&mut self) -> Result<&'a [u8], ParseError> {
        let count = self.u8()?;
        self.take(usize::from(count))
    }

    pub(crate) fn tagged_address(&mut self) -> Result<SocketAddr, ParseError> {
        let ip = match self.u8()? {
            4 => IpAddr::V4(Ipv4Addr::from(*self.array()?)),
            6 => {
                let ip = Ipv6Addr::from(*self.array()?);
                if ip.to_ipv4_mapped().is_some() {
                    return Err(ParseError::BadValue);
                }
                IpAddr::V6(ip)
            }
            _ => return Err(ParseError::BadValue),
        };
        Ok(SocketAddr::new(ip, self.u16()?))
    }

    pub(crate) fn fixed_address(&mut self) -> Result<SocketAddr, ParseError> {
        let ip = Ipv6Addr::from(*self.array()?).to_canonical();
        Ok(SocketAddr::new(ip, self.u16()?))
    }

    /// Everything that is left.
    pub(crate) fn rest(&mut self) -> &'a [u8] {
        core::mem::take(&mut self.0)
    }

    /// Asserts that nothing is left.
    pub(crate) const fn finish(&self) -> Result<(), ParseError> {
        if self.0.is_empty() { Ok(()) } else { Err(ParseError::TrailingBytes) }
    }
}

/// Appends to a buffer.
#[derive(Debug)]
pub(crate) struct Writer<'a>(&'a mut Vec<u8>);

impl<'a> Writer<'a> {
    pub(crate) const fn new(out: &'a mut Vec<u8>) -> Self {
        Self(out)
    }

    pub(crate) fn bytes(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }

    pub(crate) fn zeros(&mut self, count: usize) {
        self.0.resize(self.0.len() + count, 0);
    }

    pub(crate) fn u8(&mut self, value: u8) {
        self.0.push(value);
    }

    pub(crate) fn u16(&mut self, value: u16) {
        self.bytes(&value.to_be_bytes());
    }

    pub(crate) fn u32(&mut self, value: u32) {
        self.bytes(&value.to_be_bytes());
    }

    pub(crate) fn u64(&mut self, value: u64) {
        self.bytes(&value.to_be_bytes());
    }

    pub(crate) fn tagged_address(&mut self, address: SocketAddr) {
        match address.ip().to_canonical() {
            IpAddr::V4(ip) => {
                self.u8(4);
                self.bytes(&ip.octets());
            }
            IpAddr::V6(ip) => {
                self.u8(6);
                self.bytes(&ip.octets());
            }
        }
        self.u16(address.port());
    }

    pub(crate) fn fixed_address(&mut self, address: SocketAddr) {
        let ip = match address.ip() {
            IpAddr::V4(ip) => ip.to_ipv6_mapped(),
            IpAddr::V6(ip) => ip,
        };
        self.bytes(&ip.octets());
        self.u16(address.port());
    }

    /// Writes what `body` writes, preceded by its length in two bytes.
    ///
    /// No valid value comes near 65,535 bytes (`MAX_ENVELOPE`). A longer one is a bug of the caller:
    /// debug builds stop, others send a length that every receiver refuses.
    pub(crate) fn counted(&mut self, body: impl FnOnce(&mut Self)) {
        let at = self.0.len();
        self.u16(0);
        let start = self.0.len();
        body(self);
        let length = self.0.len() - start;
        debug_assert!(length <= usize::from(u16::MAX), "{length} bytes do not fit a length field");
        let length = u16::try_from(length).unwrap_or(u16::MAX);
        self.0[at..start].copy_from_slice(&length.to_be_bytes());
    }

    /// Writes bytes preceded by their number in one byte. Callers pass names, which are at most 253 bytes.
    pub(crate) fn short_bytes(&mut self, bytes: &[u8]) {
        debug_assert!(bytes.len() <= usize::from(u8::MAX));
        self.u8(u8::try_from(bytes.len()).unwrap_or(u8::MAX));
        self.bytes(bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mapped_address_has_one_encoding() {
        let mapped: SocketAddr = "[::ffff:192.0.2.1]:7".parse().unwrap();
        let plain: SocketAddr = "192.0.2.1:7".parse().unwrap();
        let tagged = |address| {
            let mut out = Vec::new();
            Writer::new(&mut out).tagged_address(address);
            out
        };
        assert_eq!(tagged(mapped), tagged(plain));
        let mut forged = alloc::vec![6];
        Writer::new(&mut forged).fixed_address(plain);
        assert_eq!(Reader::new(&forged).tagged_address(), Err(ParseError::BadValue));
    }

    #[test]
    fn reading_past_the_end_reads_nothing() {
        let mut reader = Reader::new(&[1, 2, 3]);
        assert_eq!(reader.u32(), Err(ParseError::Truncated));
        assert_eq!(reader.u16(), Ok(0x0102));
        assert_eq!(reader.finish(), Err(ParseError::TrailingBytes));
        assert_eq!(reader.rest(), &[3]);
        assert_eq!(reader.finish(), Ok(()));
    }
}
