//! The lab's internet, made of network namespaces.
//!
//! ```text
//!                       ┌─────────────── core ───────────────┐        core: routes IPv4 and IPv6
//!                       │ w1            w2               w3  │
//!                      wan             wan              wan
//!                 ┌─ router ─┐    ┌─ router ─┐     ┌─ carrier ─┐      sites: a router each, which may
//!                 │   lan    │    │   lan    │     │    lan    │      translate addresses; behind a
//!                 └─p1────p2─┘    └────p3────┘     └───wan─────┘      carrier's NAT another one
//!                   │      │           │            ┌─ router ─┐
//!                  s1     s2          s3            └────p4────┘
//!  ┌── air ─────────┴──────┴───────────┴─────────────────┴──────┐
//!  │   links: threads of this program, frame by frame; a host   │
//!  │   moves by being linked to another port                    │
//!  └──────────┬───────────────┬──────────────────┬──────────────┘
//!            h1              h2                 h3
//!           eth0            eth0               wlan0
//!           host            host               host
//! ```
//! Addresses are those set aside for documentation, and exist in these namespaces only.

pub(crate) mod attachment;
pub(crate) mod dhcp;
pub(crate) mod mobile;
pub(crate) mod namespace;
pub(crate) mod nat;
pub(crate) mod site;
pub(crate) mod watch;

use std::io;
use std::sync::atomic::{AtomicU8, AtomicU32, Ordering};

use self::namespace::Namespace;

/// Everything that sites and hosts are connected by.
#[derive(Debug)]
pub(crate) struct Internet {
    pub(crate) core: Namespace,
    pub(crate) air: Namespace,
    devices: AtomicU32,
    sites: AtomicU8,
}

impl Internet {
    pub(crate) fn new() -> io::Result<Self> {
        let core = Namespace::new("core")?;
        core.routes()?;
        Ok(Self { core, air: Namespace::new("air")?, devices: AtomicU32::new(1), sites: AtomicU8::new(1) })
    }

    /// For names of devices, of which each exists once.
    fn device_number(&self) -> u32 {
        self.devices.fetch_add(1, Ordering::Relaxed)
    }
}
