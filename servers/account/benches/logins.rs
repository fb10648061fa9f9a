//! Logins a second at the real account server, beside what argon2id alone allows on the same cores in the same run.
//! The clients run on these cores too, so their share of the work counts against the server.
#![forbid(unsafe_code)]
#![allow(clippy::print_stdout, reason = "figures are what it is for")]

#[path = "../tests/server/harness.rs"]
#[allow(dead_code, reason = "the tests use the rest")]
mod harness;

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use argon2::{Algorithm, Argon2, Block, Params, Version};
use harness::{Client, Node, PASSWORD, Setting, World, now};

const SPAN: Duration = Duration::from_secs(8);
/// Clients a core: the next password is there when the last is hashed.
const CLIENTS: usize = 3;

fn main() {
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let limits = "\n[limits]\nrequests_burst = 1000000\nrequests_per_minute = 60000000\nlogins_burst = 1000000\n\
                  logins_per_minute = 60000000\n";
    let world = World::with(&Setting { honest_hashes: true, tables: limits.into(), ..Default::default() });
    let clients: Vec<_> = (0..cores * CLIENTS)
        .map(|number| {
            let client = Client::new(&world.domain, world.server.addresses[0]);
            let (account, node) = (format!("user{number}"), Node::new(&format!("node{number}")));
            assert_eq!(client.sign_up(&account).status, 201);
            assert_eq!(client.login(&account, ("password", PASSWORD), &node).status, 201);
            (client, account, node)
        })
        .collect();
    // Twice, alternating, so that a load which comes and goes on the machine falls on both.
    let (mut alone, mut logins, mut renewals) = (0.0, 0.0, 0.0);
    let (mut cpu_alone, mut cpu_logins) = (0.0, 0.0);
    for _ in 0..2 {
        let (before, began) = (cpu_seconds(std::process::id()), Instant::now());
        let rate = a_second(cores, |_| hash_without_end());
        cpu_alone += (cpu_seconds(std::process::id()) - before) / (rate * began.elapsed().as_secs_f64()) / 2.0;
        alone += rate / 2.0;
        let (before, began) = (cpu_seconds(world.server.pid()), Instant::now());
        let rate = a_second(clients.len(), |number| {
            let (client, account, node) = &clients[number];
            move || assert_eq!(client.login(account, ("password", PASSWORD), node).status, 200)
        });
        cpu_logins += (cpu_seconds(world.server.pid()) - before) / (rate * began.elapsed().as_secs_f64()) / 2.0;
        logins += rate / 2.0;
        renewals += a_second(clients.len(), |number| {
            let (client, _, node) = &clients[number];
            let renew = move || client.post("/v1/tickets", &node.renewal(now(), ntm_server::clock::random())).status;
            move || assert_eq!(renew(), 200)
        }) / 2.0;
    }
    println!("argon2id alone, {cores} threads   {alone:8.1} hashes/s");
    println!("logins by password            {logins:8.1} /s   {:.2} of argon2id alone", logins / alone);
    println!(
        "processor time                {:8.1} ms a login at the server, {:.1} ms a hash alone: {:.2}",
        cpu_logins * 1e3,
        cpu_alone * 1e3,
        cpu_alone / cpu_logins
    );
    println!("renewals by signature         {renewals:8.1} /s   each durable, one commit after the other");
}

/// The processor time a process has had. Other load on the machine does not change it, as it does the rates.
fn cpu_seconds(pid: u32) -> f64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).expect("the process is there");
    // After the name, which may hold anything but ends with the last parenthesis: utime and stime are fields 14, 15.
    let fields: Vec<_> = stat.rsplit(')').next().expect("fields").split_whitespace().collect();
    let ticks: u64 = fields[11..13].iter().map(|field| field.parse::<u64>().expect("ticks")).sum();
    ticks as f64 / 100.0
}

/// How often a second `threads` threads together do what `work` gives each of them.
fn a_second<W: FnMut()>(threads: usize, work: impl Fn(usize) -> W + Sync) -> f64 {
    let done = AtomicU64::new(0);
    let began = Instant::now();
    std::thread::scope(|scope| {
        for number in 0..threads {
            let (work, done) = (&work, &done);
            scope.spawn(move || {
                let mut turn = work(number);
                while began.elapsed() < SPAN {
                    turn();
                    done.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
    });
    done.load(Ordering::Relaxed) as f64 / began.elapsed().as_secs_f64()
}

fn hash_without_end() -> impl FnMut() {
    let cost = ntm_account::passwords::Cost::default();
    let parameters = Params::new(cost.memory_kib, cost.iterations, cost.lanes, Some(32)).expect("parameters");
    let mut memory = vec![Block::default(); parameters.block_count()];
    let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, parameters);
    move || {
        let mut hash = [0; 32];
        argon2
            .hash_password_into_with_memory(PASSWORD.as_bytes(), &[7; 16], &mut hash, &mut memory[..])
            .expect("hashes");
        std::hint::black_box(hash);
    }
}
