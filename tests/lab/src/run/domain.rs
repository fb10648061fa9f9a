//! A provider domain: `ntm-as`, `ntm-dc` and `ntm-rs`, each on a host of its own at one dual-stack site.

use std::fs::{self, OpenOptions, Permissions};
use std::io::{self, Write as _};
use std::net::SocketAddr;
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::Command;

use super::agent::Agent;
use super::process::{Started, await_that};
use crate::forward::impairment::Impairment;
use crate::net::Internet;
use crate::net::attachment::{Attachment, Device, Host};
use crate::net::namespace::run;
use crate::net::site::{Network, Site};

const DOMAIN: &str = "ntm.example";
const ACCOUNT: &str = "alice";
const PASSWORD: &str = "a long enough passphrase";
const AS_PORT: u16 = 443;
const DC_PORT: u16 = 4500;
const RS_PORT: u16 = 4501;
const TLS_PORT: u16 = 443;

/// Where the programs are, and where files go.
#[derive(Clone, Debug)]
pub(crate) struct Files {
    pub(crate) programs: PathBuf,
    pub(crate) agent: PathBuf,
    pub(crate) directory: PathBuf,
}

impl Files {
    /// The same programs with a directory of their own.
    pub(crate) fn below(&self, name: &str) -> io::Result<Self> {
        let directory = self.directory.join(name);
        fs::create_dir_all(&directory)?;
        Ok(Self { directory, ..self.clone() })
    }
}

/// A server on its host.
#[derive(Debug)]
pub(crate) struct Server {
    name: &'static str,
    host: Host,
    _device: Device,
    pub(crate) attachment: Attachment,
    pub(crate) process: Option<Started>,
}

#[derive(Debug)]
pub(crate) struct Domain {
    pub(crate) account: Server,
    pub(crate) direction: Server,
    pub(crate) relays: Vec<Server>,
    files: Files,
    _site: Site,
}

/// What the domain is made of.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shape {
    pub(crate) relays: usize,
    /// What the link of each server does.
    pub(crate) links: [Impairment; 2],
}

impl Default for Shape {
    fn default() -> Self {
        Self { relays: 1, links: [Impairment::default(); 2] }
    }
}

impl Server {
    fn place(internet: &Internet, site: &Site, name: &'static str, links: [Impairment; 2]) -> io::Result<Self> {
        let host = internet.host(name)?;
        let device = internet.device(&host, "eth0")?;
        let attachment = internet.attach(&host, &device, site, links)?;
        Ok(Self { name, host, _device: device, attachment, process: None })
    }

    /// Where it is reached at a port, by IPv4 and IPv6.
    pub(crate) fn endpoints(&self, port: u16) -> Vec<SocketAddr> {
        self.attachment.all().map(|address| SocketAddr::new(address, port)).collect()
    }

    /// Starts it again, or for the first time; back when it listens.
    pub(crate) fn start(&mut self, files: &Files) -> io::Result<()> {
        let mut command = Command::new(files.programs.join(self.program()));
        command.arg("--config").arg(self.config(files)).env("RUST_LOG", "warn");
        let log = files.directory.join(format!("{}.log", self.name));
        let mut process = Started::new(&self.host.namespace, command, &log)?;
        let (port, table) = match self.program() {
            "ntm-as" => (AS_PORT, ["tcp", "tcp6"]),
            "ntm-dc" => (DC_PORT, ["udp", "udp6"]),
            _ => (RS_PORT, ["udp", "udp6"]),
        };
        let wanted = format!(":{port:04X} ");
        let listens = || {
            let tables = self.host.namespace.within(|| {
                Ok(table.map(|name| fs::read_to_string(format!("/proc/thread-self/net/{name}")).unwrap_or_default()))
            });
            tables.is_ok_and(|tables| tables.iter().any(|text| text.contains(&wanted))).then_some(())
        };
        await_that(&format!("{} listens", self.name), &log, listens)?;
        if !process.is_running() {
            return Err(io::Error::other(format!("{} ended; {}", self.name, log.display())));
        }
        self.process = Some(process);
        Ok(())
    }

    pub(crate) fn kill(&mut self) {
        self.process = None;
    }

    fn program(&self) -> &'static str {
        match self.name {
            "as" => "ntm-as",
            "dc" => "ntm-dc",
            _ => "ntm-rs",
        }
    }

    fn config(&self, files: &Files) -> PathBuf {
        files.directory.join(format!("{}.toml", self.name))
    }
}

impl Domain {
    pub(crate) fn start(internet: &Internet, files: &Files, shape: Shape) -> io::Result<Self> {
        let site = internet.site(Network::Dual)?;
        let account = Server::place(internet, &site, "as", shape.links)?;
        let direction = Server::place(internet, &site, "dc", shape.links)?;
        let relays = ["rs1", "rs2"][..shape.relays]
            .iter()
            .map(|name| Server::place(internet, &site, name, shape.links))
            .collect::<io::Result<Vec<_>>>()?;
        let mut domain = Self { account, direction, relays, files: files.clone(), _site: site };
        domain.found()?;
        domain.account.start(files)?;
        domain.direction.start(files)?;
        for relay in &mut domain.relays {
            relay.start(files)?;
        }
        domain.open_account()?;
        Ok(domain)
    }

    pub(crate) fn servers(&self) -> impl Iterator<Item = &Server> {
        [&self.account, &self.direction].into_iter().chain(&self.relays)
    }

    /// Makes keys, certificates and configurations, as an operator does.
    fn found(&self) -> io::Result<()> {
        let directory = &self.files.directory;
        let [url, ..] = &self.account_urls()[..] else { return Err(io::Error::other("an AS without an address")) };
        secret(&directory.join("admin.password"), "correct horse battery staple\n")?;
        secret(&directory.join("password"), &format!("{PASSWORD}\n"))?;
        let mut init = self.command("ntm-as", &self.account);
        init.args(["init", "--domain", DOMAIN, "--url", url, "--metrics", "", "--listen", "[::]:443"]);
        for address in self.account.attachment.all() {
            init.arg("--host").arg(address.to_string());
        }
        init.arg("--data").arg(directory.join("as"));
        init.arg("--admin-password-file").arg(directory.join("admin.password"));
        run(&mut init)?;
        // All nodes log in at once, many of them from behind one NAT.
        let mut config = OpenOptions::new().append(true).open(self.account.config(&self.files))?;
        writeln!(config, "\n[limits]\nlogins_burst = 1000\nlogins_per_minute = 6000")?;
        // The coordinator asks for the relays that come after it; a relay carries only what is for coordinators that were
        // there before it.
        self.certify(&self.direction, DC_PORT)?;
        self.relays.iter().try_for_each(|relay| self.certify(relay, RS_PORT))?;
        self.configure()
    }

    fn certify(&self, server: &Server, port: u16) -> io::Result<()> {
        let folder = self.files.directory.join(server.name);
        let mut init = self.command(server.program(), server);
        init.args(["init", "--domain", DOMAIN, "--name", &format!("{}.{DOMAIN}", server.name)]);
        for endpoint in server.endpoints(port) {
            init.arg("--address").arg(endpoint.to_string());
        }
        run(init.arg("--directory").arg(&folder))?;
        let mut add = self.command("ntm-as", &self.account);
        add.args(["server", "add", "--request"]).arg(folder.join("request.json"));
        run(add.arg("--out").arg(folder.join("credentials.bin")))
    }

    fn configure(&self) -> io::Result<()> {
        let directory = self.files.directory.display();
        let [url, ..] = &self.account_urls()[..] else { return Err(io::Error::other("an AS without an address")) };
        let text = format!(
            "noise_key = \"{directory}/dc/noise.key\"\ncredentials = \"{directory}/dc/credentials.bin\"\n\
             registry = \"{directory}/dc/registry.redb\"\naccount_server = \"{url}\"\n\
             account_server_ca = \"{directory}/as/tls-ca.crt\"\n"
        );
        fs::write(self.direction.config(&self.files), text)?;
        for relay in &self.relays {
            let name = relay.name;
            let quoted = |port| relay.endpoints(port).iter().map(|one| format!("\"{one}\"")).collect::<Vec<_>>();
            let (listen, tls) = (quoted(RS_PORT), quoted(TLS_PORT));
            let text = format!(
                "listen = [{}]\nmetrics = \"127.0.0.1:9103\"\nnoise_key = \"{directory}/{name}/noise.key\"\n\
                 credentials = \"{directory}/{name}/credentials.bin\"\nworkers = 1\n\n[tls]\nlisten = [{}]\n\
                 certificate = \"{directory}/{name}/tls.crt\"\nkey = \"{directory}/{name}/tls.key\"\n",
                listen.join(", "),
                tls.join(", ")
            );
            fs::write(relay.config(&self.files), text)?;
        }
        Ok(())
    }

    fn open_account(&self) -> io::Result<()> {
        let [url, ..] = &self.account_urls()[..] else { return Err(io::Error::other("an AS without an address")) };
        let body = format!("{{\"account\":\"{ACCOUNT}\",\"password\":\"{PASSWORD}\"}}");
        let mut curl = Command::new("curl");
        curl.args(["--silent", "--show-error", "--fail", "--retry", "20", "--retry-connrefused", "--retry-delay", "1"]);
        curl.arg("--cacert").arg(self.authority()).args(["--json", &body, &format!("{url}/v1/accounts")]);
        self.account.host.namespace.within(|| run(&mut curl))
    }

    /// A program of a node that is called as its host, begun as its user would: it logs in with the account's password.
    pub(crate) fn node(&self, host: &Host, program: &Path, v6_only: bool) -> io::Result<Agent> {
        let name = host.namespace.name();
        let directory = &self.files.directory;
        let urls = self.account_urls();
        let url = if v6_only { urls.last() } else { urls.first() }.ok_or_else(|| io::Error::other("no AS"))?;
        let config = directory.join(format!("node-{name}.toml"));
        let text = format!(
            "name = \"{name}.{DOMAIN}\"\nstate = \"{state}\"\naccount_server = \"{url}\"\n\
             account_server_ca = \"{ca}\"\naccount = \"{ACCOUNT}\"\npassword_file = \"{password}\"\n",
            state = directory.join(format!("state-{name}")).display(),
            ca = self.authority().display(),
            password = directory.join("password").display(),
        );
        fs::write(&config, text)?;
        Agent::start(program, host, Some(&config), directory)
    }

    pub(crate) fn account_urls(&self) -> Vec<String> {
        self.account.attachment.all().map(|address| format!("https://{}", SocketAddr::new(address, AS_PORT))).collect()
    }

    /// The certificate that the account server is believed by.
    pub(crate) fn authority(&self) -> PathBuf {
        self.files.directory.join("as/tls-ca.crt")
    }

    fn command(&self, program: &str, server: &Server) -> Command {
        let mut command = Command::new(self.files.programs.join(program));
        command.arg("--config").arg(server.config(&self.files));
        command
    }
}

/// What a node of this name is asked for by.
pub(crate) fn full_name(host: &Host) -> String {
    format!("{}.{DOMAIN}", host.namespace.name())
}

fn secret(path: &Path, text: &str) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
    file.set_permissions(Permissions::from_mode(0o600))?;
    file.write_all(text.as_bytes())
}
