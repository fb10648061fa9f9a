//! SOCKS5 (RFC 1928): connections, without a password.

use std::io::{self, Read, Write as _};
use std::net::{Ipv4Addr, Ipv6Addr, TcpStream};

use ntm_agent::Node;

use super::{Target, Trouble, go};

pub(super) const VERSION: u8 = 5;
const NO_PASSWORD: u8 = 0;
const NO_METHOD: u8 = 0xff;
const CONNECT: u8 = 1;
const V4: u8 = 1;
const NAME: u8 = 3;
const V6: u8 = 4;

/// What a reply says.
mod reply {
    pub(super) const DONE: u8 = 0;
    pub(super) const UNREACHABLE: u8 = 4;
    pub(super) const REFUSED: u8 = 5;
    pub(super) const NO_SUCH_COMMAND: u8 = 7;
}

/// Serves a client whose first byte, the version, was read.
pub(super) fn serve(node: &dyn Node, mut client: TcpStream) -> io::Result<()> {
    let methods = bytes_of_length(&mut client)?;
    if !methods.contains(&NO_PASSWORD) {
        return client.write_all(&[VERSION, NO_METHOD]);
    }
    client.write_all(&[VERSION, NO_PASSWORD])?;
    let Some(target) = read_request(&mut client)? else { return answer(&mut client, reply::NO_SUCH_COMMAND) };
    go(node, client, &target, &[], |client, reached| {
        answer(
            client,
            match reached {
                Ok(()) => reply::DONE,
                Err(Trouble::NoSuchHost(_) | Trouble::Unreachable(_)) => reply::UNREACHABLE,
                Err(Trouble::Refused(_)) => reply::REFUSED,
            },
        )
    })
}

/// Where a client wants to go; `None` where it wants something else than a connection.
fn read_request(from: &mut impl Read) -> io::Result<Option<Target>> {
    let [version, command, _, kind] = array(from)?;
    if version != VERSION {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let host = match kind {
        V4 => Ipv4Addr::from(array::<4>(from)?).to_string(),
        V6 => Ipv6Addr::from(array::<16>(from)?).to_string(),
        NAME => String::from_utf8(bytes_of_length(from)?).map_err(|_| io::ErrorKind::InvalidData)?,
        _ => return Err(io::ErrorKind::InvalidData.into()),
    };
    let port = u16::from_be_bytes(array(from)?);
    Ok((command == CONNECT).then_some(Target { host, port }))
}

fn answer(client: &mut TcpStream, what: u8) -> io::Result<()> {
    // From where the connection was made is of no use to anybody here.
    client.write_all(&[VERSION, what, 0, V4, 0, 0, 0, 0, 0, 0])
}

fn array<const N: usize>(from: &mut impl Read) -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    from.read_exact(&mut bytes)?;
    Ok(bytes)
}

fn bytes_of_length(from: &mut impl Read) -> io::Result<Vec<u8>> {
    let [length] = array(from)?;
    let mut bytes = vec![0; length.into()];
    from.read_exact(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(bytes: &[u8]) -> io::Result<Option<Target>> {
        read_request(&mut &bytes[..])
    }

    #[test]
    fn names_and_addresses_of_both_families_are_understood() {
        let target = |host: &str, port| Some(Target { host: host.to_owned(), port });
        assert_eq!(request(b"\x05\x01\x00\x03\x03a.x\x00\x50").expect("whole"), target("a.x", 80));
        assert_eq!(request(b"\x05\x01\x00\x01\xc6\x12\x00\x01\x01\xbb").expect("whole"), target("198.18.0.1", 443));
        let v6 = [&b"\x05\x01\x00\x04"[..], &[0; 15], b"\x01\x00\x07"].concat();
        assert_eq!(request(&v6).expect("whole"), target("::1", 7));
    }

    #[test]
    fn other_commands_are_no_connections_and_other_bytes_no_requests() {
        assert_eq!(request(b"\x05\x02\x00\x03\x01a\x00\x50").expect("whole"), None);
        assert!(request(b"\x04\x01\x00\x03\x01a\x00\x50").is_err());
        assert!(request(b"\x05\x01\x00\x09\x01a\x00\x50").is_err());
        assert!(request(b"\x05\x01\x00\x03\x09a").is_err());
    }
}
