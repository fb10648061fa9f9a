//! What all experiments begin with: the internet, the domain, and nodes at sites.

use std::io;
use std::path::Path;

use crate::forward::impairment::Impairment;
use crate::net::Internet;
use crate::net::attachment::{Attachment, Device, Host};
use crate::net::site::{Network, Site};
use crate::run::agent::Agent;
use crate::run::domain::{Domain, Files, Shape, full_name};

/// Fields end in the order in which they stand: programs before what they run on.
#[derive(Debug)]
pub(crate) struct Bench {
    pub(crate) domain: Domain,
    pub(crate) internet: Internet,
    pub(crate) files: Files,
}

/// A node: the agent, its host, and how that is attached.
#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) agent: Agent,
    pub(crate) attachment: Attachment,
    pub(crate) device: Device,
    pub(crate) host: Host,
}

impl Bench {
    pub(crate) fn new(files: &Files, shape: Shape) -> io::Result<Self> {
        let internet = Internet::new()?;
        let domain = Domain::start(&internet, files, shape)?;
        Ok(Self { domain, internet, files: files.clone() })
    }

    pub(crate) fn site(&self, network: Network) -> io::Result<Site> {
        self.internet.site(network)
    }

    /// A node that begins; [`Node::ready`] waits for it.
    pub(crate) fn node(&self, name: &str, site: &Site, links: [Impairment; 2]) -> io::Result<Node> {
        self.node_of(&self.files.agent, name, site, links)
    }

    /// The same for another program than the agent.
    pub(crate) fn node_of(&self, program: &Path, name: &str, site: &Site, links: [Impairment; 2]) -> io::Result<Node> {
        let host = self.internet.host(name)?;
        let device = self.internet.device(&host, "wlan0")?;
        let attachment = self.internet.attach(&host, &device, site, links)?;
        let agent = self.domain.node(&host, program, site.network == Network::Only6)?;
        Ok(Node { agent, attachment, device, host })
    }
}

impl Node {
    /// Goes to another site at once: no radio, no DHCP.
    pub(crate) fn go(&mut self, internet: &Internet, site: &Site, links: [Impairment; 2]) -> io::Result<()> {
        self.host.forget_addresses(&self.device)?;
        self.attachment = internet.attach(&self.host, &self.device, site, links)?;
        Ok(())
    }

    /// Waits until the program is registered and serves.
    pub(crate) fn ready(&self) -> io::Result<()> {
        self.agent.await_line(0, "ready").map(|_| ())
    }

    pub(crate) fn name(&self) -> String {
        full_name(&self.host)
    }
}
