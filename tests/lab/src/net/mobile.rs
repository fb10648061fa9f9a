//! A host with one radio that goes from network to network, as a phone does: out of reach, into reach, an address.

use std::collections::HashMap;
use std::io;
use std::net::IpAddr;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use super::Internet;
use super::attachment::{Device, Host};
use super::dhcp;
use super::site::Site;
use super::watch::Watch;
use crate::forward::impairment::Impairment;
use crate::forward::model::Nanos;
use crate::forward::{Direction, Link};
use crate::frame::Datagram;
use crate::run::process::{Started, await_that};

#[derive(Debug)]
pub(crate) struct Mobile {
    /// What holds only while the host is in a network; the client ends before the link.
    joined: Option<(Option<Started>, Link)>,
    watch: Watch,
    pub(crate) device: Device,
    pub(crate) host: Host,
}

/// When what happened in a move, on the monotonic clock.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Moved {
    /// The old network was lost.
    pub(crate) left: Nanos,
    /// The kernel said that there is an address.
    pub(crate) gained: Nanos,
    /// The first datagram that is not about addresses, and the first that came for it.
    pub(crate) first_out: Nanos,
    pub(crate) first_back: Nanos,
}

/// The first datagrams of a link, from and to each address of the host: what is left of the old network may still try to
/// leave by the new one.
type Firsts = Arc<Mutex<HashMap<(Direction, IpAddr), Nanos>>>;

impl Mobile {
    pub(crate) fn new(internet: &Internet, name: &str) -> io::Result<Self> {
        let host = internet.host(name)?;
        let device = internet.device(&host, "wlan0")?;
        host.namespace.setting("ipv6/conf/wlan0/router_solicitation_delay", "0")?;
        Ok(Self { joined: None, watch: Watch::new(&host)?, device, host })
    }

    /// Leaves the network it is in and enters another; back when it has an address there.
    pub(crate) fn enter(
        &mut self,
        internet: &Internet,
        site: &Site,
        links: [Impairment; 2],
        directory: &Path,
    ) -> io::Result<Entered> {
        let left = crate::kernel::clock::monotonic();
        self.joined = None;
        self.host.forget_addresses(&self.device)?;
        let before = self.watch.changes().len();
        let link = internet.link(&self.device, site, links)?;
        let firsts = Firsts::default();
        link.observe(Some(observer(firsts.clone())));
        let client =
            if site.network.has_v4() { Some(dhcp::client(&self.host, &self.device, directory)?) } else { None };
        if site.network.has_v6() {
            dhcp::solicit(&self.host.namespace, &self.device)?;
        }
        self.joined = Some((client, link));
        let log = directory.join(format!("udhcpc-{}.log", self.host.namespace.name()));
        let gained = await_that("an address", &log, || {
            self.watch.changes()[before..].iter().find(|change| change.gained).copied()
        })?;
        Ok(Entered { left, gained: gained.at, address: gained.address, firsts, log })
    }
}

/// In a network, with an address.
pub(crate) struct Entered {
    left: Nanos,
    gained: Nanos,
    pub(crate) address: IpAddr,
    firsts: Firsts,
    log: std::path::PathBuf,
}

impl Entered {
    /// Waits until datagrams went and came.
    pub(crate) fn carries(&self) -> io::Result<Moved> {
        let look = || {
            let firsts = self.firsts.lock().unwrap_or_else(PoisonError::into_inner);
            let first = |direction| firsts.get(&(direction, self.address)).copied();
            first(Direction::Forth).zip(first(Direction::Back))
        };
        let (first_out, first_back) = await_that("datagrams both ways", &self.log, look)?;
        Ok(Moved { left: self.left, gained: self.gained, first_out, first_back })
    }
}

fn observer(firsts: Firsts) -> crate::forward::Observer {
    Box::new(move |direction, bytes, at| {
        if let Some(datagram) = Datagram::of(bytes).filter(|datagram| !datagram.is_about_addresses()) {
            let address = if direction == Direction::Forth { datagram.source } else { datagram.destination };
            firsts.lock().unwrap_or_else(PoisonError::into_inner).entry((direction, address)).or_insert(at);
        }
    })
}
