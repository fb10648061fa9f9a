//! `ntm-lab forward`: a link on its own, between two devices of the namespace it is started in.

use std::io::{self, BufRead as _, Write as _};

use clap::Args;

use super::impairment::Impairment;
use super::{Counts, Link};
use crate::kernel::packet::PacketSocket;

#[derive(Debug, Args)]
pub(crate) struct Forward {
    /// The device whose frames go forth
    a: String,
    /// The device whose frames come back
    b: String,
    /// What happens to frames from A to B, such as delay=20ms,loss=0.01,rate=100mbit
    #[arg(long, value_name = "SPEC", default_value = "")]
    forth: Impairment,
    /// The same from B to A; as forth where it is not given
    #[arg(long, value_name = "SPEC")]
    back: Option<Impairment>,
    /// The same seed gives the same losses
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Read commands from standard input, "both SPEC", "forth SPEC", "back SPEC", "counts", and end when it ends
    #[arg(long)]
    control: bool,
}

impl Forward {
    pub(crate) fn run(self) -> io::Result<()> {
        let mut impairments = [self.forth, self.back.unwrap_or(self.forth)];
        let link = Link::between(PacketSocket::open(&self.a)?, PacketSocket::open(&self.b)?, impairments, self.seed)?;
        say("forwarding")?;
        if !self.control {
            return link.join();
        }
        for line in io::stdin().lock().lines() {
            let line = line?;
            match self.obey(&line, &mut impairments, &link) {
                Ok(answer) => say(&answer)?,
                Err(why) => say(&format!("error: {why}"))?,
            }
        }
        Ok(())
    }

    fn obey(&self, line: &str, impairments: &mut [Impairment; 2], link: &Link) -> Result<String, String> {
        let (what, text) = line.trim().split_once(' ').unwrap_or((line.trim(), ""));
        match what {
            "both" => *impairments = [text.parse()?; 2],
            "forth" => impairments[0] = text.parse()?,
            "back" => impairments[1] = text.parse()?,
            "counts" => {
                let [forth, back] = link.counts();
                return Ok(format!("{}: {}; {}: {}", self.a, told(forth), self.b, told(back)));
            }
            _ => return Err(format!("\"{what}\" is none of: both, forth, back, counts")),
        }
        link.set(*impairments);
        Ok("changed".to_owned())
    }
}

fn told(counts: Counts) -> String {
    let Counts { delivered, bytes, lost, dropped, refused, unfinished, waited } = counts;
    let wait = waited / 1_000 / delivered.max(1);
    format!(
        "delivered {delivered} ({bytes} bytes) lost {lost} dropped {dropped} refused {refused} unfinished {unfinished} \
         wait {wait} us"
    )
}

fn say(text: &str) -> io::Result<()> {
    let mut out = io::stdout();
    writeln!(out, "{text}")?;
    out.flush()
}
