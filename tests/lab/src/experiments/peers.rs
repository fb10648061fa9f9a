//! What else there is, in the same networks: WireGuard, mosh, and TCP alone.

use std::fs;
use std::io;
use std::process::Command;
use std::time::Duration;

use super::call::{Call, let_it_run};
use super::handover::{RATE, STATIONS, Scene};
use super::moves::{Sample, row};
use crate::forward::impairment::Impairment;
use crate::net::mobile::{Mobile, Moved};
use crate::net::namespace::{Namespace, run};
use crate::report::{Report, median, milliseconds};
use crate::run::agent::Agent;
use crate::run::process::{Started, await_that};

const AIR: [Impairment; 2] = [Impairment::WIRE; 2];
const STAY: Duration = Duration::from_millis(1_500);
/// How long each may take to go on.
const PATIENCE: Duration = Duration::from_secs(15);
/// Stations with IPv4: each of the others was told an IPv4 address of its peer, and has no other.
const WITH_IPV4: [usize; 3] = [0, 1, 3];
const TUNNEL: [&str; 2] = ["10.9.0.1", "10.9.0.2"];
const WIREGUARD_PORT: u16 = 51_820;
const MOSH_PORT: &str = "60001";

/// All of them; WireGuard's samples.
pub(super) fn all(scene: &Scene, report: &mut Report, rounds: usize) -> io::Result<Vec<Sample>> {
    report.line("");
    report.line("others in the same networks (not into IPv6 only: none of them can change the family)");
    let samples = wireguard(scene, report, rounds)?;
    if let Err(why) = mosh(scene, report, rounds) {
        report.check(false, &format!("mosh could not be measured: {why}"));
    }
    plain_tcp(scene, report)?;
    Ok(samples)
}

fn wireguard(scene: &Scene, report: &mut Report, rounds: usize) -> io::Result<Vec<Sample>> {
    let directory = &scene.bench.files.directory;
    let there = &scene.callee.host.namespace;
    let mut mobile = start(scene, "wgmn")?;
    let keys = [key(directory, "mn")?, key(directory, "cn")?];
    let _ends = [end(&mobile.host.namespace, "wg0", directory)?, end(there, "wg1", directory)?];
    let endpoint = format!("{}:{WIREGUARD_PORT}", address(scene)?);
    for (at, (device, namespace)) in [("wg0", &mobile.host.namespace), ("wg1", there)].into_iter().enumerate() {
        let mut set = Command::new("wg");
        set.args(["set", device, "private-key"]).arg(&keys[at].0);
        if at == 1 {
            set.args(["listen-port", &WIREGUARD_PORT.to_string()]);
        }
        set.args(["peer", &keys[1 - at].1, "allowed-ips", &format!("{}/32", TUNNEL[1 - at])]);
        if at == 0 {
            set.args(["endpoint", &endpoint]);
        }
        run(&mut set)?;
        namespace.ips(&format!("address add {}/24 dev {device}\nlink set {device} up mtu 1420\n", TUNNEL[at]))?;
    }
    let mut caller = Agent::start(&scene.bench.files.agent, &mobile.host, None, directory)?;
    let callee = Agent::start(&scene.bench.files.agent, &scene.callee.host, None, directory)?;
    caller.await_line(0, "ready")?;
    callee.await_line(0, "ready")?;
    let call = Call::begin(&mut caller, &callee, TUNNEL[1], RATE)?;
    let_it_run(STAY);
    let mut samples = Vec::new();
    for _ in 0..rounds {
        for at in WITH_IPV4 {
            let moved = mobile.enter(&scene.bench.internet, &scene.sites[at], AIR, directory)?.carries()?;
            if !call.await_transfer(&caller, &callee, moved.first_back, PATIENCE) {
                report.line(&format!("wireguard-go: the transfer stood still in {}", STATIONS[at].0));
            }
            let_it_run(STAY);
            samples.push(Sample::of(&call, &caller, &callee, moved));
        }
    }
    report.line(&row("wireguard-go", &samples));
    report.line("  (it keeps its source address while the device is the same, until a handshake 15 s later fails to be answered)");
    Ok(samples)
}

fn mosh(scene: &Scene, report: &mut Report, rounds: usize) -> io::Result<()> {
    let directory = &scene.bench.files.directory;
    let mut mobile = start(scene, "moshmn")?;
    let address = address(scene)?;
    let mut server = Command::new("mosh-server");
    server.args(["new", "-s", "-i", &address, "-p", MOSH_PORT, "--", "sh", "-c", "while :; do date; sleep 0.1; done"]);
    server.env("LC_ALL", "C.UTF-8").env("SSH_CONNECTION", format!("{address} 1 {address} 22"));
    let output = scene.callee.host.namespace.within(|| server.output())?;
    let told = String::from_utf8_lossy(&output.stdout).into_owned();
    let key = told.lines().find_map(|line| line.strip_prefix("MOSH CONNECT ")?.split(' ').nth(1));
    let key = key.ok_or_else(|| io::Error::other(format!("mosh-server: {told}")))?;
    let mut client = Command::new("script");
    client.args([
        "--quiet",
        "--flush",
        "--command",
        &format!("stty rows 24 cols 80; mosh-client {address} {MOSH_PORT}"),
        "/dev/null",
    ]);
    client.env("MOSH_KEY", key).env("LC_ALL", "C.UTF-8").env("TERM", "xterm");
    let _client = Started::new(&mobile.host.namespace, client, &directory.join("mosh.log"))?;
    let_it_run(STAY);
    let mut moves: Vec<Moved> = Vec::new();
    for _ in 0..rounds {
        for at in WITH_IPV4 {
            moves.push(mobile.enter(&scene.bench.internet, &scene.sites[at], AIR, directory)?.carries()?);
            let_it_run(STAY);
        }
    }
    let of = |value: fn(&Moved) -> u64| milliseconds(median(moves.iter().map(value)));
    report.line(&format!(
        "{:14}{:>12}{:>12}{:>12}",
        "mosh",
        of(|moved| moved.gained.saturating_sub(moved.left)),
        of(|moved| moved.first_out.saturating_sub(moved.gained)),
        of(|moved| moved.first_back - moved.first_out)
    ));
    Ok(())
}

fn plain_tcp(scene: &Scene, report: &mut Report) -> io::Result<()> {
    let directory = &scene.bench.files.directory;
    let mut mobile = start(scene, "tcpmn")?;
    let mut caller = Agent::start(&scene.bench.files.agent, &mobile.host, None, directory)?;
    let callee = Agent::start(&scene.bench.files.agent, &scene.callee.host, None, directory)?;
    caller.await_line(0, "ready")?;
    callee.await_line(0, "ready")?;
    let call = Call::begin(&mut caller, &callee, &address(scene)?, RATE)?;
    let_it_run(STAY);
    mobile.enter(&scene.bench.internet, &scene.sites[0], AIR, directory)?;
    let moved = crate::kernel::clock::monotonic();
    let goes_on = call.await_transfer(&caller, &callee, moved, PATIENCE);
    let what = if goes_on { "goes on" } else { "nothing arrives any more" };
    report.line(&format!("plain TCP: {what}, {} s after a move", PATIENCE.as_secs()));
    report.check(!goes_on, "TCP alone does not survive a move, or the lab's moves are none");
    Ok(())
}

/// A host that moves, at the station where all begin.
fn start(scene: &Scene, name: &str) -> io::Result<Mobile> {
    let mut mobile = Mobile::new(&scene.bench.internet, name)?;
    mobile.enter(&scene.bench.internet, &scene.sites[3], AIR, &scene.bench.files.directory)?;
    Ok(mobile)
}

fn address(scene: &Scene) -> io::Result<String> {
    let address = scene.callee.attachment.v4().ok_or_else(|| io::Error::other("no IPv4 address"))?;
    Ok(address.to_string())
}

/// A key pair: the private one's file, and the public one.
fn key(directory: &std::path::Path, name: &str) -> io::Result<(std::path::PathBuf, String)> {
    let path = directory.join(format!("wireguard-{name}.key"));
    let text = |output: std::process::Output| String::from_utf8_lossy(&output.stdout).trim().to_owned();
    fs::write(&path, text(Command::new("wg").arg("genkey").output()?))?;
    let public = text(Command::new("wg").arg("pubkey").stdin(fs::File::open(&path)?).output()?);
    Ok((path, public))
}

/// An end of the tunnel; back when it can be configured.
fn end(namespace: &Namespace, device: &str, directory: &std::path::Path) -> io::Result<Started> {
    let mut command = Command::new("wireguard-go");
    command.args(["--foreground", device]).env("LOG_LEVEL", "error");
    let log = directory.join(format!("{device}.log"));
    let started = Started::new(namespace, command, &log)?;
    let socket = format!("/run/wireguard/{device}.sock");
    await_that("wireguard-go", &log, || fs::metadata(&socket).ok())?;
    Ok(started)
}
