//! `ntm ping`: echoes, and the path that each answer's packets take.

use std::io::{self, Read as _, Write};
use std::net::SocketAddr;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use clap::Args;
use ntm_agent::{Node, Traffic};
use ntm_program::{Failure, ResultExt as _};

use crate::open::{self, Family};
use crate::session::Session;
use crate::view::View;

/// Types of RFC 792 and RFC 4443.
const V4_ECHO: u8 = 8;
const V6_ECHO: u8 = 128;
const HEADER: usize = 8;
const SEQUENCE: std::ops::Range<usize> = 6..8;
const PAYLOAD: &[u8; 48] = b"ntm ping: as long as what other pings send, so..";
const ROOM: usize = 1_500;

/// Send echoes to a node; each answer is shown with the path in use, and the first direct one is pointed out
#[derive(Debug, Args)]
pub(crate) struct Ping {
    /// The node
    name: String,
    /// End after so many
    #[arg(long, short = 'n', value_name = "NUMBER")]
    count: Option<u16>,
    /// Seconds between two
    #[arg(long, short, value_name = "SECONDS", default_value_t = 1.0)]
    interval: f64,
    /// Seconds to wait for an answer
    #[arg(long, short = 'W', value_name = "SECONDS", default_value_t = 5.0)]
    timeout: f64,
    /// End when an answer came by a direct path
    #[arg(long)]
    until_direct: bool,
    #[command(flatten)]
    family: Family,
}

impl Ping {
    pub(crate) fn carry_out(self, session: Session) -> Result<(), Failure> {
        let node = session.node()?;
        let found = open::find(&*node, &self.name)?;
        let address = self.family.of(&found);
        let mut echoes = open::datagrams(&*node, Traffic::Echoes, SocketAddr::new(address, 0))?;
        let seconds = |value: f64| Duration::try_from_secs_f64(value).map_err(|why| Failure::usage(why.to_string()));
        let (interval, timeout) = (seconds(self.interval)?, seconds(self.timeout)?.max(Duration::from_millis(1)));
        let mut out = io::stdout();
        writeln!(out, "{} is {address}", found.name).context("standard output")?;
        let kind = if address.is_ipv4() { V4_ECHO } else { V6_ECHO };
        let mut tally = Tally::default();
        for number in 1..=self.count.unwrap_or(u16::MAX) {
            let begun = Instant::now();
            let took = ask(&mut echoes, kind, number, timeout).context("echoes")?;
            let path = path_to(&*node, &found.name)?;
            let line = tally.take(number, took, &path);
            writeln!(out, "{line}").and_then(|()| out.flush()).context("standard output")?;
            if self.until_direct && tally.went_direct {
                break;
            }
            if Some(number) != self.count {
                std::thread::sleep(interval.saturating_sub(begun.elapsed()));
            }
        }
        writeln!(out, "{} sent, {} answered", tally.sent, tally.answered).context("standard output")?;
        if tally.answered == 0 {
            return Err(
                Failure::new(format!("{}: no answer", found.name)).way_out("`ntm debug tunnels` shows what was tried")
            );
        }
        if self.until_direct && !tally.went_direct {
            return Err(Failure::new(format!("{}: answers came, but none by a direct path", found.name)));
        }
        Ok(())
    }
}

/// The path in use, as one word or two, and whether it is direct.
struct InUse {
    told: String,
    direct: bool,
}

fn path_to(node: &dyn Node, name: &str) -> Result<InUse, Failure> {
    let view = View::of(node)?;
    if view.name == name {
        return Ok(InUse { told: "this node itself".to_owned(), direct: false });
    }
    Ok(view.path_to(name).map_or(InUse { told: "no path yet".to_owned(), direct: false }, |path| InUse {
        told: format!("{} {} by {}", path.kind, path.remote, path.interface),
        direct: path.kind == "direct",
    }))
}

/// Sends an echo and waits for its answer; `None` where none came in time.
fn ask(echoes: &mut UnixStream, kind: u8, number: u16, timeout: Duration) -> io::Result<Option<Duration>> {
    let mut request = vec![kind, 0, 0, 0, 0, 0, 0, 0];
    request[SEQUENCE].copy_from_slice(&number.to_be_bytes());
    request.extend(PAYLOAD);
    let begun = Instant::now();
    echoes.write_all(&request)?;
    let mut room = [0; ROOM];
    loop {
        let left = timeout.saturating_sub(begun.elapsed());
        if left.is_zero() {
            return Ok(None);
        }
        echoes.set_read_timeout(Some(left))?;
        match echoes.read(&mut room) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(length) if length >= HEADER && room[SEQUENCE] == number.to_be_bytes() => {
                return Ok(Some(begun.elapsed()));
            }
            // The answer to an earlier one.
            Ok(_) => {}
            Err(why) if matches!(why.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => return Ok(None),
            Err(why) if why.kind() == io::ErrorKind::Interrupted => {}
            Err(why) => return Err(why),
        }
    }
}

#[derive(Debug, Default)]
struct Tally {
    sent: u32,
    answered: u32,
    relayed: bool,
    went_direct: bool,
}

impl Tally {
    /// Counts one, and gives its line.
    fn take(&mut self, number: u16, took: Option<Duration>, path: &InUse) -> String {
        self.sent += 1;
        let Some(took) = took else { return format!("{number}: no answer ({})", path.told) };
        self.answered += 1;
        let first = path.direct && self.relayed && !self.went_direct;
        self.relayed |= !path.direct;
        self.went_direct |= path.direct;
        let note = if first { "  <- direct from here on" } else { "" };
        format!("{number}: {:.1} ms  {}{note}", took.as_secs_f64() * 1_000.0, path.told)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_direct_answer_after_relayed_ones_is_pointed_out_once() {
        let path = |told: &str| InUse { told: told.to_owned(), direct: told == "direct" };
        let took = Some(Duration::from_millis(2));
        let mut tally = Tally::default();
        assert_eq!(tally.take(1, None, &path("relay")), "1: no answer (relay)");
        assert_eq!(tally.take(2, took, &path("relay")), "2: 2.0 ms  relay");
        assert_eq!(tally.take(3, took, &path("direct")), "3: 2.0 ms  direct  <- direct from here on");
        assert_eq!(tally.take(4, took, &path("direct")), "4: 2.0 ms  direct");
        assert_eq!((tally.sent, tally.answered), (4, 3));
    }
}
