//! What is seen of a call while it goes on, out of what its two ends say.

use std::collections::BTreeSet;

use serde_json::Value;

use super::screen::bar;
use crate::forward::model::Nanos;
use crate::kernel::clock;
use crate::run::agent::Agent;

/// Of how many of the voice's echoes the shown round trip is the mean.
const SMOOTHED: usize = 10;

/// Seconds from which on it is told that nothing comes.
const SILENCE: f64 = 0.2;

/// Times are seconds since the call began.
#[derive(Debug)]
pub(super) struct Meter {
    marks: Marks,
    begun: Nanos,
    size: u64,
    /// Bytes of the file that arrived.
    pub(super) arrived: Vec<(f64, f64)>,
    /// Milliseconds from the caller to who is called and back, of each datagram.
    pub(super) trips: Vec<(f64, f64)>,
    /// Numbers of datagrams that came back: copies that several paths bring count once.
    heard: BTreeSet<u64>,
    /// What the caller's packets travel by.
    pub(super) path: String,
}

/// The lines of the two ends that were read already.
#[derive(Clone, Copy, Debug)]
struct Marks {
    caller: usize,
    callee: usize,
}

impl Meter {
    /// To be made before the call begins.
    pub(super) fn new(caller: &Agent, callee: &Agent, size: u64) -> Self {
        Self {
            marks: Marks { caller: caller.mark(), callee: callee.mark() },
            begun: clock::monotonic(),
            size,
            arrived: Vec::new(),
            trips: Vec::new(),
            heard: BTreeSet::new(),
            path: "none yet".to_owned(),
        }
    }

    /// Reads what both have said since the last time.
    pub(super) fn look(&mut self, caller: &Agent, callee: &Agent) {
        for line in caller.lines_since(&mut self.marks.caller) {
            match line.split(' ').collect::<Vec<_>>()[..] {
                ["caller-udp", number, sent, heard] => {
                    if let (Ok(number), Ok(sent), Ok(heard)) = (number.parse(), sent.parse(), heard.parse::<Nanos>())
                        && self.heard.insert(number)
                    {
                        self.trips.push((self.seconds(heard), heard.saturating_sub(sent) as f64 / 1e6));
                    }
                }
                ["event", _, ..] => self.event(line.splitn(3, ' ').nth(2).unwrap_or_default()),
                _ => {}
            }
        }
        for line in callee.lines_since(&mut self.marks.callee) {
            if let ["callee-tcp", bytes, at] = line.split(' ').collect::<Vec<_>>()[..]
                && let (Ok(bytes), Ok(at)) = (bytes.parse::<f64>(), at.parse::<Nanos>())
            {
                self.arrived.push((self.seconds(at), bytes));
            }
        }
    }

    fn event(&mut self, text: &str) {
        let event: Value = serde_json::from_str(text).unwrap_or_default();
        if event["event"] == "path changed" {
            let word = |key: &str| event[key].as_str().unwrap_or("?").to_owned();
            self.path = match event["kind"].as_str() {
                Some("relay") => format!("relay, by {}", word("interface")),
                _ => format!("direct, {} → {}", word("interface"), word("remote")),
            };
        }
    }

    pub(super) fn seconds(&self, at: Nanos) -> f64 {
        at.saturating_sub(self.begun) as f64 / 1e9
    }

    /// How much of the file has arrived.
    pub(super) fn share(&self) -> f64 {
        self.arrived.last().map_or(0.0, |(_, bytes)| bytes / self.size as f64)
    }

    pub(super) fn lines(&self, place: &str) -> Vec<String> {
        let megabytes = self.arrived.last().map_or(0.0, |(_, bytes)| bytes / 1e6);
        vec![
            String::new(),
            format!("  phone   {place}"),
            format!("  path    {}", self.path),
            format!("  file    {} {megabytes:.1} of {:.1} MB", bar(self.share()), self.size as f64 / 1e6),
            format!("  voice   {}", self.voice()),
        ]
    }

    fn voice(&self) -> String {
        let Some((last, _)) = self.trips.last() else { return "begins".to_owned() };
        let silent = self.seconds(clock::monotonic()) - last;
        if silent > SILENCE {
            return format!("silent for {silent:.1} s");
        }
        let recent = &self.trips[self.trips.len().saturating_sub(SMOOTHED)..];
        let trip = recent.iter().map(|(_, trip)| trip).sum::<f64>() / recent.len() as f64;
        format!("50 datagrams a second, round trip {trip:.1} ms")
    }
}
