//! A call between two agents, a transfer each way and a voice, and what its ends saw of it.

use std::collections::BTreeSet;
use std::io;
use std::time::Duration;

use crate::forward::model::Nanos;
use crate::kernel::clock;
use crate::run::agent::Agent;

/// Two ends of a call that is going on.
#[derive(Debug)]
pub(crate) struct Call {
    caller: usize,
    callee: usize,
}

/// A datagram of the voice that arrived.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Heard {
    pub(crate) number: u64,
    pub(crate) at: Nanos,
}

/// What arrived at one end.
#[derive(Clone, Debug, Default)]
pub(crate) struct Arrivals {
    /// The voice: at the callee itself, at the caller its echo.
    pub(crate) voice: Vec<Heard>,
    /// Bytes of the transfer, and when so many were there.
    pub(crate) transfer: Vec<(u64, Nanos)>,
}

/// A finished call's sums.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Totals {
    pub(crate) sent: u64,
    pub(crate) received: u64,
    pub(crate) back_sent: u64,
    pub(crate) back_received: u64,
    pub(crate) talked: u64,
}

impl Call {
    /// The caller's own lines begin with `caller`, those of who is called with `callee`.
    pub(crate) fn begin(caller: &mut Agent, callee: &Agent, name: &str, rate: u32) -> io::Result<Self> {
        Self::asked(caller, callee, name, &format!("call {name} {rate}"))
    }

    /// The same with a transfer to who is called that is over after so many bytes.
    pub(crate) fn with_file(caller: &mut Agent, callee: &Agent, name: &str, rate: u32, size: u64) -> io::Result<Self> {
        Self::asked(caller, callee, name, &format!("call {name} {rate} {size}"))
    }

    fn asked(caller: &mut Agent, callee: &Agent, name: &str, question: &str) -> io::Result<Self> {
        let call = Self { caller: caller.mark(), callee: callee.mark() };
        let answer = caller.ask(question, "call ")?;
        if answer != "begun" {
            return Err(io::Error::other(format!("{name} cannot be called: {answer}")));
        }
        Ok(call)
    }

    pub(crate) fn at_caller(&self, caller: &Agent) -> Arrivals {
        Arrivals::of(caller, self.caller, "caller")
    }

    pub(crate) fn at_callee(&self, callee: &Agent) -> Arrivals {
        Arrivals::of(callee, self.callee, "callee")
    }

    /// Waits until the transfer goes on at both ends after this time.
    pub(crate) fn await_transfer(&self, caller: &Agent, callee: &Agent, after: Nanos, patience: Duration) -> bool {
        let until = std::time::Instant::now() + patience;
        let goes_on = |arrivals: &Arrivals| arrivals.transfer.last().is_some_and(|(_, at)| *at > after);
        while std::time::Instant::now() < until {
            if goes_on(&self.at_caller(caller)) && goes_on(&self.at_callee(callee)) {
                return true;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        false
    }

    /// Waits until the file has been sent and has arrived.
    pub(crate) fn await_file(&self, caller: &Agent, callee: &Agent, patience: Duration) -> io::Result<()> {
        caller.await_within(self.caller, "caller-sent ", patience)?;
        callee.await_within(self.callee, "callee-received ", patience)?;
        Ok(())
    }

    /// Ends it, and waits until all that was sent has come; an error where it does not.
    pub(crate) fn end(self, caller: &mut Agent, callee: &Agent) -> io::Result<Totals> {
        caller.tell("hang-up")?;
        let sent = number(&caller.await_line(self.caller, "caller-sent ")?)?;
        let received = whole(&callee.await_line(self.callee, "callee-received ")?)?;
        let back_sent = number(&callee.await_line(self.callee, "callee-sent ")?)?;
        let back_received = whole(&caller.await_line(self.caller, "caller-received ")?)?;
        let talked = number(&caller.await_line(self.caller, "caller-talked ")?)?;
        Ok(Totals { sent, received, back_sent, back_received, talked })
    }
}

impl Totals {
    pub(crate) fn is_whole(&self) -> bool {
        self.sent == self.received && self.back_sent == self.back_received
    }
}

impl Arrivals {
    fn of(agent: &Agent, mark: usize, who: &str) -> Self {
        let numbers = |line: &String| -> Vec<u64> { line.split(' ').filter_map(|word| word.parse().ok()).collect() };
        let voice = agent.lines(mark, &format!("{who}-udp "));
        let transfer = agent.lines(mark, &format!("{who}-tcp "));
        Self {
            voice: voice
                .iter()
                .filter_map(|line| match numbers(line)[..] {
                    [number, _sent, at] => Some(Heard { number, at }),
                    _ => None,
                })
                .collect(),
            transfer: transfer
                .iter()
                .filter_map(|line| match numbers(line)[..] {
                    [bytes, at] => Some((bytes, at)),
                    _ => None,
                })
                .collect(),
        }
    }

    /// When the first byte of anything arrived after this time.
    pub(crate) fn first_after(&self, time: Nanos) -> Option<Nanos> {
        let voice = self.voice.iter().map(|heard| heard.at);
        let transfer = self.transfer.iter().map(|(_, at)| *at);
        voice.chain(transfer).filter(|at| *at > time).min()
    }

    /// Datagrams of the voice that never came, up to the last one that did.
    pub(crate) fn missing(&self) -> u64 {
        let different: BTreeSet<u64> = self.voice.iter().map(|heard| heard.number).collect();
        different.last().map_or(0, |last| last + 1 - different.len() as u64)
    }

    /// The longest time in which nothing of the voice arrived, of those that end within this span.
    pub(crate) fn voice_gap(&self, from: Nanos, to: Nanos) -> Nanos {
        longest(self.voice.iter().map(|heard| heard.at), from, to)
    }

    pub(crate) fn transfer_gap(&self, from: Nanos, to: Nanos) -> Nanos {
        longest(self.transfer.iter().map(|(_, at)| *at), from, to)
    }
}

fn longest(times: impl Iterator<Item = Nanos>, from: Nanos, to: Nanos) -> Nanos {
    let mut last = None;
    let mut longest = 0;
    for at in times {
        if let Some(last) = last
            && at >= from
            && last <= to
        {
            longest = longest.max(at - last);
        }
        last = Some(at);
    }
    longest
}

fn number(text: &str) -> io::Result<u64> {
    text.parse().map_err(|_| io::Error::other(format!("\"{text}\" is no number")))
}

/// The number of bytes, where the transfer ended as it should.
fn whole(text: &str) -> io::Result<u64> {
    match text.split_once(' ') {
        Some((bytes, "whole")) => number(bytes),
        _ => Err(io::Error::other(format!("a transfer broke off: {text}"))),
    }
}

/// Sleeps while something is going on that is measured by others.
pub(crate) fn let_it_run(time: Duration) {
    let until = clock::monotonic() + u64::try_from(time.as_nanos()).unwrap_or(u64::MAX / 2);
    while clock::monotonic() < until {
        std::thread::sleep(Duration::from_millis(10));
    }
}
