//! HTTP: `CONNECT` for tunnels, and requests with a whole address (`GET http://host/…`), each on a connection of its own.

use std::io::{self, Read, Write as _};
use std::net::TcpStream;

use ntm_agent::Node;

use super::{Target, Trouble, go};

const MAX_HEAD: usize = 64 * 1024;
const HTTP_PORT: u16 = 80;

/// What a client wants.
#[derive(Debug, PartialEq, Eq)]
enum Wish {
    Tunnel(Target),
    /// This head is to go there before what follows.
    Request(Target, Vec<u8>),
}

/// Serves a client whose first byte was read.
pub(super) fn serve(node: &dyn Node, mut client: TcpStream, first: u8) -> io::Result<()> {
    let head = read_head(&mut client, first)?;
    match parse(&head) {
        Some(Wish::Tunnel(target)) => go(node, client, &target, &[], |client, reached| match reached {
            Ok(()) => client.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n"),
            Err(trouble) => refuse(client, trouble),
        }),
        Some(Wish::Request(target, head)) => go(node, client, &target, &head, |client, reached| match reached {
            Ok(()) => Ok(()),
            Err(trouble) => refuse(client, trouble),
        }),
        None => client.write_all(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"),
    }
}

/// The head of a request, and not a byte more.
fn read_head(client: &mut impl Read, first: u8) -> io::Result<Vec<u8>> {
    let mut head = vec![first];
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        if head.len() >= MAX_HEAD {
            return Err(io::ErrorKind::InvalidData.into());
        }
        client.read_exact(&mut byte)?;
        head.push(byte[0]);
    }
    Ok(head)
}

fn parse(head: &[u8]) -> Option<Wish> {
    let head = std::str::from_utf8(head).ok()?;
    let (line, fields) = head.split_once("\r\n")?;
    let mut words = line.split(' ');
    let (method, address, version) = (words.next()?, words.next()?, words.next()?);
    if method == "CONNECT" {
        return Some(Wish::Tunnel(target(address, None)?));
    }
    let rest = address.strip_prefix("http://")?;
    let at = rest.find(['/', '?']).unwrap_or(rest.len());
    let (host, path) = rest.split_at(at);
    let target = target(host.rsplit('@').next()?, Some(HTTP_PORT))?;
    let slash = if path.starts_with('/') { "" } else { "/" };
    let mut passed = format!("{method} {slash}{path} {version}\r\n");
    // The next request may be for another host: it comes on another connection.
    let concerns_us = |field: &str| {
        let name = field.split(':').next().unwrap_or_default();
        ["proxy-connection", "proxy-authorization", "connection", "keep-alive"]
            .iter()
            .any(|ours| name.eq_ignore_ascii_case(ours))
    };
    for field in fields.split("\r\n").filter(|field| !field.is_empty() && !concerns_us(field)) {
        passed.push_str(field);
        passed.push_str("\r\n");
    }
    passed.push_str("Connection: close\r\n\r\n");
    Some(Wish::Request(target, passed.into_bytes()))
}

/// `HOST[:PORT]`, where the host may be an IPv6 address in brackets.
fn target(text: &str, usual: Option<u16>) -> Option<Target> {
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => (host, Some(port.parse().ok()?)),
        _ => (text, None),
    };
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let port = port.or(usual)?;
    (!host.is_empty()).then(|| Target { host: host.to_owned(), port })
}

fn refuse(client: &mut TcpStream, trouble: &Trouble) -> io::Result<()> {
    let (Trouble::NoSuchHost(why) | Trouble::Refused(why) | Trouble::Unreachable(why)) = trouble;
    let length = why.len() + 1;
    let head = "HTTP/1.1 502 Bad Gateway\r\nConnection: close\r\nContent-Type: text/plain; charset=utf-8\r\n";
    client.write_all(format!("{head}Content-Length: {length}\r\n\r\n{why}\n").as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn to(host: &str, port: u16) -> Target {
        Target { host: host.to_owned(), port }
    }

    #[test]
    fn a_tunnel_goes_where_its_first_line_says() {
        let tunnel = |text: &str| parse(format!("CONNECT {text} HTTP/1.1\r\nHost: x\r\n\r\n").as_bytes());
        assert_eq!(tunnel("a.x:443"), Some(Wish::Tunnel(to("a.x", 443))));
        assert_eq!(tunnel("[fd4e:544d::1]:443"), Some(Wish::Tunnel(to("fd4e:544d::1", 443))));
        assert_eq!(tunnel("a.x"), None);
        assert_eq!(tunnel(":443"), None);
    }

    #[test]
    fn a_request_is_passed_on_as_its_host_expects_it_and_ends_its_connection() {
        let head =
            b"GET http://a.x/file?q HTTP/1.1\r\nHost: a.x\r\nProxy-Connection: keep-alive\r\nAccept: */*\r\n\r\n";
        let passed = b"GET /file?q HTTP/1.1\r\nHost: a.x\r\nAccept: */*\r\nConnection: close\r\n\r\n".to_vec();
        assert_eq!(parse(head), Some(Wish::Request(to("a.x", 80), passed)));
        let head = b"GET http://a.x:8000 HTTP/1.0\r\n\r\n";
        assert_eq!(
            parse(head),
            Some(Wish::Request(to("a.x", 8_000), b"GET / HTTP/1.0\r\nConnection: close\r\n\r\n".to_vec()))
        );
        assert_eq!(parse(b"GET /file HTTP/1.1\r\n\r\n"), None);
    }

    #[test]
    fn a_head_without_an_end_is_given_up() {
        let endless = vec![b'a'; MAX_HEAD + 1];
        assert!(read_head(&mut &endless[..], b'G').is_err());
        assert_eq!(read_head(&mut &b"ET /\r\n\r\nbody"[..], b'G').expect("whole"), b"GET /\r\n\r\n");
    }
}
