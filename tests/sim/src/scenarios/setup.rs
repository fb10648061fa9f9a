//! Paper 003, table 2, rerun on its round-trip times: how long registration and setting up a relayed
//! tunnel across two domains take.
//!
//! ```text
//!   MN (IPv6) ── DCmn ── DCcn ── CN (IPv4 behind a NAT)
//!        └──────── RS ────────────┘
//! ```

use std::time::Duration;

use ntm_node::Event;
use ntm_proto::time::Instant;

use crate::cli::Report;
use crate::net::{Families, NatKind};
use crate::world::World;

/// The five round-trip times of paper 003, table 1, and the times of its table 2.
#[derive(Clone, Copy, Debug)]
pub struct Case {
    pub name: &'static str,
    pub mn_dc: Duration,
    pub mn_rs: Duration,
    pub dc_dc: Duration,
    pub cn_dc: Duration,
    pub cn_rs: Duration,
    pub paper_registration: Duration,
    pub paper_setup: Duration,
}

const fn tenths(tenths_of_ms: u64) -> Duration {
    Duration::from_micros(tenths_of_ms * 100)
}

pub const CASES: [Case; 2] = [
    Case {
        name: "servers in the cloud",
        mn_dc: tenths(210),
        mn_rs: tenths(220),
        dc_dc: tenths(1_010),
        cn_dc: tenths(410),
        cn_rs: tenths(1_620),
        paper_registration: tenths(323),
        paper_setup: tenths(5_252),
    },
    Case {
        name: "servers at the edge",
        mn_dc: tenths(150),
        mn_rs: tenths(150),
        dc_dc: tenths(1_010),
        cn_dc: tenths(150),
        cn_rs: tenths(1_160),
        paper_registration: tenths(263),
        paper_setup: tenths(4_402),
    },
];

#[derive(Clone, Copy, Debug)]
pub struct Outcome {
    pub registration: Duration,
    /// From the Direction Request to the session at the initiator, with the two DCs strangers to each other.
    pub cold_setup: Duration,
    /// The same with a session between the DCs, as between domains that talk at all.
    pub warm_setup: Duration,
}

pub fn run_case(seed: u64, case: &Case, report: &Report) -> Result<Outcome, String> {
    let cold = run_once(seed, case, false, report)?;
    let warm = run_once(seed, case, true, report)?;
    Ok(Outcome { registration: cold.0, cold_setup: cold.1, warm_setup: warm.1 })
}

fn run_once(seed: u64, case: &Case, warm: bool, report: &Report) -> Result<(Duration, Duration), String> {
    let mut world = World::new(seed);
    report.watch(&mut world);
    let (here, there) = (world.add_domain("here.example"), world.add_domain("there.example"));
    let [mn_site, dc_site, rs_site, far_dc_site] = [(); 4].map(|()| world.net.add_site(Families::DUAL));
    let cn_site = world.net.add_site(Families::V4);
    for (a, b, rtt) in [
        (mn_site, dc_site, case.mn_dc),
        (mn_site, rs_site, case.mn_rs),
        (dc_site, far_dc_site, case.dc_dc),
        (cn_site, far_dc_site, case.cn_dc),
        (cn_site, rs_site, case.cn_rs),
    ] {
        world.net.set_core_latency(a, b, rtt / 2);
    }
    world.add_relay(here, rs_site, Families::DUAL);
    world.add_director(here, dc_site, Families::DUAL);
    world.add_director(there, far_dc_site, Families::DUAL);
    let home = world.net.add_nat(cn_site, NatKind::PORT_RESTRICTED_CONE);
    let mn = world.add_node(here, "mn");
    let cn = world.add_node(there, "cn");
    world.attach(mn, 0, mn_site, Families::V6, 10);
    world.attach(cn, 0, home, Families::V4, 10);
    let started = world.now();
    if !world.run_while(Duration::from_secs(5), |world| !(world.is_registered(mn) && world.is_registered(cn))) {
        return Err("a node did not register".into());
    }
    let registered = world
        .events(mn)
        .iter()
        .find(|(_, event)| matches!(event, Event::Registered { .. }))
        .map(|&(at, _)| at.since(started))
        .ok_or("no registration event")?;
    world.run_for(Duration::from_secs(3));
    if warm {
        let other = world.add_node(here, "other");
        world.attach(other, 0, mn_site, Families::V6, 10);
        world.run_for(Duration::from_secs(1));
        world.connect(other, cn);
        world.run_for(Duration::from_secs(2));
    }
    let asked = world.now();
    world.connect(mn, cn);
    let up = |world: &World| -> Option<Instant> {
        world
            .events(mn)
            .iter()
            .find(|(at, event)| *at >= asked && matches!(event, Event::PeerUp { .. }))
            .map(|&(at, _)| at)
    };
    if !world.run_while(Duration::from_secs(10), |world| up(world).is_none()) {
        return Err("the tunnel did not come up".into());
    }
    let up = up(&world).ok_or("the tunnel did not come up")?;
    Ok((registered, up.since(asked)))
}

/// Fails where the paper was faster.
pub fn judge(case: &Case, outcome: &Outcome) -> Result<(), String> {
    if outcome.registration >= case.paper_registration {
        return Err(format!("{}: registration took {:?}", case.name, outcome.registration));
    }
    if outcome.cold_setup.max(outcome.warm_setup) >= case.paper_setup {
        return Err(format!("{}: setting up took {:?}", case.name, outcome.cold_setup));
    }
    Ok(())
}
