//! `ntm-dc init`: a key, and a request that the account server signs.

use std::io::Write as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use ntm_proto::crypto::{Secret, default_provider};
use ntm_proto::id::Fqdn;
use ntm_proto::identity::{NoiseKey, Role};
use ntm_server::clock::random;
use ntm_server::credentials::Request;
use ntm_server::files::create_secret;
use ntm_server::{Failure, ResultExt as _, hex};
use zeroize::Zeroizing;

use crate::server::EXAMPLE;

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Make this server's key, and a request for the account server
    Init(Init),
}

#[derive(Debug, Args)]
pub struct Init {
    /// The domain that is served
    #[arg(long, value_name = "DOMAIN", value_parser = name)]
    domain: Fqdn,
    /// This server's name in the domain
    #[arg(long, value_name = "NAME", value_parser = name)]
    name: Fqdn,
    /// Where nodes reach it; may be given several times
    #[arg(long = "address", value_name = "ADDRESS:PORT", required = true)]
    addresses: Vec<SocketAddr>,
    /// Where the files go
    #[arg(long, value_name = "DIR", default_value = ".")]
    directory: PathBuf,
}

impl Init {
    pub fn run(&self, config: &Path) -> Result<(), Failure> {
        if !self.name.is_within(&self.domain) || self.name == self.domain {
            return Err(Failure::usage(format!("{} is no name below {}", self.name, self.domain)));
        }
        if let Some(address) = self.addresses.iter().find(|one| one.ip().is_unspecified() || one.port() == 0) {
            return Err(Failure::usage(format!("{address}: nodes cannot send there; name this host's address")));
        }
        std::fs::create_dir_all(&self.directory).context(self.directory.display())?;
        let secret: Zeroizing<[u8; 32]> = Zeroizing::new(random());
        let noise = NoiseKey::from_secret(default_provider(), Secret::new(*secret));
        let key = self.directory.join("noise.key");
        create_secret(&key, Zeroizing::new(format!("{}\n", *Zeroizing::new(hex::encode(&*secret)))).as_bytes())?;
        let request = Request {
            role: Role::Direction,
            domain: self.domain.clone(),
            name: self.name.clone(),
            noise_key: *noise.public(),
            addresses: self.addresses.clone(),
        };
        let path = self.directory.join("request.json");
        let text = serde_json::to_string_pretty(&request).context("request")?;
        std::fs::write(&path, text + "\n").context(path.display())?;
        let written = self.write_config(config)?;
        let next = format!(
            "{} and {} made{written}. Next: ntm-as server add --request {} --out {}\n",
            key.display(),
            path.display(),
            path.display(),
            self.directory.join("credentials.bin").display(),
        );
        std::io::stdout().write_all(next.as_bytes()).context("standard output")
    }

    /// Writes an example configuration with this server's paths, unless there is a file.
    fn write_config(&self, path: &Path) -> Result<String, Failure> {
        if path.exists() {
            return Ok(String::new());
        }
        let folder = std::path::absolute(&self.directory).context(self.directory.display())?;
        let text = EXAMPLE.replace("/var/lib/ntm-dc/", &format!("{}/", folder.display()));
        match std::fs::write(path, text) {
            Ok(()) => Ok(format!(", {} too", path.display())),
            // The usual place is the system's: who may not write there names another, or does without.
            Err(why) => Ok(format!(" ({}: {why}; `ntm-dc config` prints an example)", path.display())),
        }
    }
}

fn name(text: &str) -> Result<Fqdn, String> {
    Fqdn::parse(text).map_err(|why| why.to_string())
}
