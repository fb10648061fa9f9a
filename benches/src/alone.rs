//! What no peer is compared in: starting, idling, many connections, and where the time of a datagram goes.

use std::fmt::Write as _;
use std::fs;
use std::hint::black_box;
use std::time::Instant;

use ntm_proto::crypto::{self, Secret, default_provider};

use crate::cell::BURST;
use crate::contender::{Contender, Processors, Suite};
use crate::process::{Answer, Running};
use crate::report::Spread;
use crate::scene::{CROWD, DOMAIN, End, Scene, crowd_member};
use crate::{Arguments, Outcome};

/// The size of paper 002's table 2.
const DATAGRAM: usize = 1_024;
/// IPv4 and UDP headers inside the tunnel.
const INNER_HEADERS: usize = 28;
const SEALS: u32 = 200_000;
const IDLE_SECONDS: u32 = 30;
const CONNECTIONS: u64 = 10_000;
/// Descriptors that a connection needs, and those that a process has besides.
const DESCRIPTORS: u64 = 3;
const OTHER_DESCRIPTORS: u64 = 500;
const MANY_PORT: u16 = 5_301;
/// What each of many peers is sent at the same time.
const BYTES_A_PEER: u64 = 20_000_000;
const OWN: Contender = Contender::Ntmfw(Suite::Aes);

pub(crate) fn measure(scene: &Scene, arguments: &Arguments) -> Outcome<String> {
    scene.offload(true)?;
    let mut text = String::new();
    let ready = median(arguments.rounds, || {
        let mut command = OWN.client(scene, End::Asking, Processors::Any);
        command.arg("init");
        Answer::of(command)?.figure("ready_ms")
    })?;
    writeln!(text, "from ntmfw_init to ready with a ticket: {ready:.2} ms (the round trip is less than 0.1 ms)")?;
    {
        let up = OWN.bring_up(scene, Processors::Any)?;
        let wakes = up.ask("idle", &[IDLE_SECONDS.to_string()])?.figure("wakes_a_minute")?;
        writeln!(text, "idle with one connection: {wakes:.0} wakes a minute, keep-alives and their answers")?;
    }
    many_connections(scene, &mut text)?;
    many_peers(scene, &mut text)?;
    stages(scene, arguments, &mut text)?;
    Ok(text)
}

fn many_connections(scene: &Scene, text: &mut String) -> Outcome<()> {
    let limit = soft_limit_of_descriptors()?;
    let count = CONNECTIONS.min((limit - OTHER_DESCRIPTORS) / DESCRIPTORS);
    let mut server = scene.program(End::Serving, None, "many");
    server.args(["serve", &MANY_PORT.to_string()]).env("NTMFW_CONFIG", scene.node(End::Serving, "config.toml"));
    let _server = Running::start_and_await(server, "serving")?;
    let mut client = scene.program(End::Asking, None, "many");
    client.args(["hold", &format!("a.{DOMAIN}"), &MANY_PORT.to_string(), &count.to_string()]);
    client.env("NTMFW_CONFIG", scene.node(End::Asking, "config.toml"));
    let answer = Answer::of(client)?;
    writeln!(
        text,
        "{count} connections ({limit} descriptors allowed): {:.0} connects/s, {:.0} and {:.0} bytes each at the two ends,\n  \
one stream {:.2} Gbit/s before and {:.2} among them",
        answer.figure("connects")?,
        answer.figure("own_bytes")?,
        answer.figure("other_bytes")?,
        answer.figure("gbit_alone")?,
        answer.figure("gbit_among")?,
    )?;
    Ok(())
}

/// One node that talks with a hundred others at the same time, each of them a process.
fn many_peers(scene: &Scene, text: &mut String) -> Outcome<()> {
    let port = MANY_PORT.to_string();
    let serve = |number| {
        let mut server = scene.program(End::Serving, None, "many");
        server.args(["serve", &port]).env("NTMFW_CONFIG", scene.member(number));
        Running::start_and_await(server, "serving")
    };
    let _peers = (0..CROWD).map(serve).collect::<Outcome<Vec<Running>>>()?;
    let mut client = scene.program(End::Asking, None, "many");
    client.args(["meet", &port, &BYTES_A_PEER.to_string()]);
    client.args((0..CROWD).map(|number| format!("{}.{DOMAIN}", crowd_member(number))));
    client.env("NTMFW_CONFIG", scene.node(End::Asking, "config.toml"));
    let answer = Answer::of(client)?;
    writeln!(
        text,
        "{CROWD} peers at once: a tunnel and a connection to each of them in {:.0} ms, then {:.2} Gbit/s to all together\n  \
({:.2} to one of them alone), {:.0} bytes of memory a peer",
        answer.figure("connected_ms")?,
        answer.figure("gbit_all")?,
        answer.figure("gbit_alone")?,
        answer.figure("own_bytes")?,
    )?;
    Ok(())
}

/// Processor time of a datagram of 1,024 bytes at each end, in microseconds. What the kernel's own socket costs is
/// what the tunnel's socket costs too, unless datagrams leave together; sealing is measured by itself; the rest is the
/// virtual IP and everything else.
fn stages(scene: &Scene, arguments: &Arguments, text: &mut String) -> Outcome<()> {
    writeln!(text, "\na datagram of {DATAGRAM} bytes, processor time in us (paper 002, table 2: 3,116 and 3,106)")?;
    writeln!(text, "  {:<38} {:>8} {:>12} {:>8} {:>8}", "", "total", "kernel alone", "AEAD", "rest")?;
    let contenders = [Contender::Kernel, OWN, Contender::Ntmfw(Suite::ChaCha)];
    let seals = [0.0, seal_time(crypto::Suite::Aes256Gcm), seal_time(crypto::Suite::ChaCha20Poly1305)];
    for (burst, call) in [(1, "one a call"), (BURST, "32 a call")] {
        let mut sent = contenders.map(|_| Vec::new());
        let mut received = contenders.map(|_| Vec::new());
        for _ in 0..arguments.rounds {
            for (number, contender) in contenders.into_iter().enumerate() {
                let up = contender.bring_up(scene, Processors::Two)?;
                let seconds = arguments.seconds.to_string();
                let answer = up.ask("flood", &[seconds, DATAGRAM.to_string(), burst.to_string()])?;
                sent[number].push(answer.figure("sender_cpu")?);
                received[number].push(answer.figure("receiver_cpu")?);
            }
        }
        let median = |values: &Vec<f64>| Spread::of(values.iter().copied()).map_or(0.0, |spread| spread.median);
        for (what, ends) in [("sending", &sent), ("receiving", &received)] {
            let kernel = median(&ends[0]);
            for (number, contender) in contenders.iter().enumerate().skip(1) {
                let (total, seal) = (median(&ends[number]), seals[number]);
                // Datagrams that leave together share the kernel's work, which is not taken apart then.
                let rest = if burst == 1 { format!("{:.2}", total - kernel - seal) } else { "-".to_owned() };
                let name = format!("{what}, {call}, {contender}");
                writeln!(text, "  {name:<38} {total:>8.2} {kernel:>12.2} {seal:>8.2} {rest:>8}")?;
            }
        }
    }
    Ok(())
}

/// Microseconds to seal one datagram; opening takes as long.
fn seal_time(suite: crypto::Suite) -> f64 {
    let key = default_provider().aead(suite, &Secret::new([7; 32]));
    let mut packet = vec![0; DATAGRAM + INNER_HEADERS];
    let begun = Instant::now();
    for counter in 0..SEALS {
        black_box(key.seal(u64::from(counter), &[0; 16], black_box(&mut packet)));
    }
    begun.elapsed().as_secs_f64() * 1e6 / f64::from(SEALS)
}

fn median(rounds: usize, mut measure: impl FnMut() -> Outcome<f64>) -> Outcome<f64> {
    let values = (0..rounds).map(|_| measure()).collect::<Outcome<Vec<f64>>>()?;
    Ok(Spread::of(values.into_iter()).ok_or("no rounds")?.median)
}

fn soft_limit_of_descriptors() -> Outcome<u64> {
    let limits = fs::read_to_string("/proc/self/limits")?;
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files")).ok_or("no limit of files")?;
    Ok(line.split_whitespace().next().ok_or("no limit of files")?.parse().unwrap_or(u64::MAX))
}
