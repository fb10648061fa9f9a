//! The commands of `ntm-as` beside those that all servers have.

use std::io::Write as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use ntm_proto::id::Fqdn;
use ntm_server::config::Source;
use ntm_server::credentials::{MAX_SEALED, Request};
use ntm_server::{Failure, ResultExt as _, files, hex};
use zeroize::Zeroizing;

use crate::authority::{AccountChange, Authority, Rules, account_name, store_failure};
use crate::config::Config;
use crate::operator::{self, Order, Outcome};
use crate::passwords::{self, PasswordHash};
use crate::secrets::Secrets;
use crate::{setup, store};

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Make keys, a certificate, the store, an administrator and the configuration of a new domain
    Init(Init),
    /// The domain's direction coordinators and relays
    #[command(subcommand)]
    Server(ServerCommand),
    /// Users
    #[command(subcommand)]
    Account(AccountCommand),
    /// Nodes
    #[command(subcommand)]
    Node(NodeCommand),
    /// The keys that seal tickets and make relay grants
    #[command(subcommand)]
    Key(KeyCommand),
}

#[derive(Debug, Args)]
pub struct Init {
    /// The domain, such as ntm.example
    #[arg(long, value_parser = Fqdn::parse)]
    pub domain: Fqdn,
    /// Where others reach this server [default: `https://as.DOMAIN`]
    #[arg(long)]
    pub url: Option<String>,
    /// Addresses to listen at
    #[arg(long, default_value = "[::]:443")]
    pub listen: Vec<SocketAddr>,
    /// Where keys and store go
    #[arg(long, default_value = "/var/lib/ntm-as")]
    pub data: PathBuf,
    /// A postgres:// URL instead of the embedded store
    #[arg(long)]
    pub store: Option<String>,
    /// Further names or addresses for the self-signed certificate
    #[arg(long)]
    pub host: Vec<String>,
    /// A certificate to use instead of a self-signed one
    #[arg(long, requires = "tls_key")]
    pub tls_certificate: Option<PathBuf>,
    /// Its private key
    #[arg(long, requires = "tls_certificate")]
    pub tls_key: Option<PathBuf>,
    /// The first administrator
    #[arg(long, default_value = "admin")]
    pub admin: String,
    /// A file with the administrator's password (mode 0600); without one a password is made up and printed
    #[arg(long)]
    pub admin_password_file: Option<PathBuf>,
    /// Address for metrics, "" for none
    #[arg(long, default_value = "127.0.0.1:9101")]
    pub metrics: String,
}

#[derive(Debug, Subcommand)]
pub enum ServerCommand {
    /// Certify a server and write its credentials
    Add {
        /// The request that `ntm-dc init` or `ntm-rs init` wrote
        #[arg(long)]
        request: PathBuf,
        /// Where the sealed credentials go
        #[arg(long)]
        out: PathBuf,
    },
    /// List the servers
    List,
    /// Take a server out of the domain
    Remove { name: String },
}

#[derive(Debug, Subcommand)]
pub enum AccountCommand {
    /// Make an account
    Add {
        name: String,
        /// A file with the password (mode 0600); without one a password is made up and printed
        #[arg(long)]
        password_file: Option<PathBuf>,
        /// Make it an administrator
        #[arg(long)]
        admin: bool,
    },
    /// Set an account's password, which ends its sessions
    Password {
        name: String,
        #[arg(long)]
        password_file: Option<PathBuf>,
    },
    /// Let an account sign in no more
    Disable { name: String },
    /// Let it sign in again
    Enable { name: String },
    /// List the accounts
    List,
}

#[derive(Debug, Subcommand)]
pub enum NodeCommand {
    /// Take a node out of the domain for ever
    Revoke { name: String },
}

#[derive(Debug, Subcommand)]
pub enum KeyCommand {
    /// Make a new service key; direction coordinators keep the old one until its last ticket is over
    Rotate {
        /// A relay's grant key instead, which the relay keeps until its last token is over
        #[arg(long, value_name = "NAME")]
        relay: Option<String>,
        /// Use it at once, without the lead in which servers fetch it
        #[arg(long)]
        now: bool,
    },
}

/// Carries out a command with the configuration at `path`.
pub fn carry_out(command: Command, path: &Path) -> Result<(), Failure> {
    let command = match command {
        Command::Init(init) => return setup::init(&init, path),
        other => other,
    };
    let (config, source) = Source::load::<Config>(path)?;
    config.check(&source)?;
    match command {
        Command::Init(_) => Ok(()),
        Command::Server(ServerCommand::Add { request, out }) => add_server(&config, &request, &out),
        Command::Server(ServerCommand::List) => print(order(&config, &Order::ListServers)?),
        Command::Server(ServerCommand::Remove { name }) => print(order(&config, &Order::RemoveServer { name })?),
        Command::Account(AccountCommand::Add { name, password_file, admin }) => {
            let (password, shown) = password(&config, &name, password_file.as_deref())?;
            print(order(&config, &Order::AddAccount { name, password, admin })?)?;
            show_password(shown)
        }
        Command::Account(AccountCommand::Password { name, password_file }) => {
            let (password, shown) = password(&config, &name, password_file.as_deref())?;
            print(order(&config, &Order::SetPassword { name, password })?)?;
            show_password(shown)
        }
        Command::Account(AccountCommand::Disable { name }) => change(&config, name, true),
        Command::Account(AccountCommand::Enable { name }) => change(&config, name, false),
        Command::Account(AccountCommand::List) => list_accounts(&config),
        Command::Node(NodeCommand::Revoke { name }) => print(order(&config, &Order::RevokeNode { name })?),
        Command::Key(KeyCommand::Rotate { relay: None, now }) => {
            print(order(&config, &Order::RotateKey { at_once: now })?)
        }
        Command::Key(KeyCommand::Rotate { relay: Some(relay), now }) => {
            print(order(&config, &Order::RotateGrantKey { relay, at_once: now })?)
        }
    }
}

/// A password from a file, or one made up; hashed, and in the latter case to be shown.
pub(crate) fn password_for(
    cost: passwords::Cost,
    account: &str,
    file: Option<&Path>,
) -> Result<(PasswordHash, Option<Zeroizing<String>>), Failure> {
    let usage = |why: crate::refusal::Refusal| Failure::usage(why.to_string());
    let name = account_name(account).map_err(usage)?;
    let (password, shown) = match file {
        Some(path) => {
            let bytes = files::read_secret(path)?;
            let text = std::str::from_utf8(&bytes).context(path.display())?;
            (Zeroizing::new(text.trim_end_matches(['\r', '\n']).to_owned()), None)
        }
        None => {
            let made_up = Zeroizing::new(hex::encode(&ntm_server::clock::random::<12>()));
            (made_up.clone(), Some(made_up))
        }
    };
    passwords::acceptable(&password, &name).map_err(usage)?;
    let hash = passwords::hash_now(cost, &password).map_err(|why| Failure::new(why.to_string()))?;
    Ok((hash, shown))
}

/// Shows a password that was made up.
pub(crate) fn show_password(password: Option<Zeroizing<String>>) -> Result<(), Failure> {
    match password {
        Some(password) => line(&format!("password: {}", *password)),
        None => Ok(()),
    }
}

pub(crate) fn line(text: &str) -> Result<(), Failure> {
    writeln!(std::io::stdout(), "{text}").context("standard output")
}

fn password(
    config: &Config,
    account: &str,
    file: Option<&Path>,
) -> Result<(PasswordHash, Option<Zeroizing<String>>), Failure> {
    password_for(config.passwords.cost(), account, file)
}

fn change(config: &Config, name: String, disabled: bool) -> Result<(), Failure> {
    let change = AccountChange { disabled: Some(disabled), admin: None };
    print(order(config, &Order::ChangeAccount { name, change })?)
}

fn list_accounts(config: &Config) -> Result<(), Failure> {
    let mut after = String::new();
    loop {
        let outcome = order(config, &Order::ListAccounts { after })?;
        let last = match &outcome {
            Outcome::Lines(lines) => lines.last().and_then(|line| line.split(' ').next()).map(str::to_owned),
            _ => None,
        };
        print(outcome)?;
        match last {
            Some(name) => after = name,
            None => return Ok(()),
        }
    }
}

fn add_server(config: &Config, request: &Path, out: &Path) -> Result<(), Failure> {
    let text = std::fs::read(request).context(request.display())?;
    if text.len() > MAX_SEALED {
        return Err(Failure::usage(format!("{}: too large for a request", request.display())));
    }
    let request: Request =
        serde_json::from_slice(&text).map_err(|why| Failure::usage(format!("{}: {why}", request.display())))?;
    match order(config, &Order::AddServer(request))? {
        Outcome::Credentials(text) => files::replace_secret(out, &hex::decode(&text).context("the server's answer")?),
        other => print(other),
    }
}

/// Through the running server where there is one, else on the store itself.
fn order(config: &Config, order: &Order) -> Result<Outcome, Failure> {
    if let Some(outcome) = operator::send(&config.operator_socket(), order)? {
        return Ok(outcome);
    }
    let secrets = Secrets::load(&config.data)?;
    let store = store::open(&config.store_place()).map_err(|why| store_failure(&why))?;
    let authority = Authority::new(config.domain.clone(), store, secrets, Rules::from(config))?;
    Ok(operator::carry_out(&authority, order))
}

fn print(outcome: Outcome) -> Result<(), Failure> {
    match outcome {
        Outcome::Done => Ok(()),
        Outcome::Lines(lines) => lines.iter().try_for_each(|text| line(text)),
        Outcome::Credentials(text) => line(&text),
        Outcome::KeyUsedFrom(at) => line(&format!("the new key is used from {at} ms after 1970 on")),
        Outcome::Refused(why) => Err(Failure::new(why)),
    }
}
