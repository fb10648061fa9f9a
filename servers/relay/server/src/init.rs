//! `ntm-rs init`: the relay's keys, the request to the account server, and a configuration.

use std::fs::DirBuilder;
use std::net::SocketAddr;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use clap::Args;
use ntm_proto::crypto::{Secret, default_provider};
use ntm_proto::id::Fqdn;
use ntm_proto::identity::{NoiseKey, Role};
use ntm_server::clock::random;
use ntm_server::credentials::Request;
use ntm_server::files::create_secret;
use ntm_server::{Failure, ResultExt as _, hex};
use zeroize::Zeroizing;

use crate::{EXAMPLE, stream};

/// Where `example.toml` has everything.
const USUAL: &str = "/var/lib/ntm-rs";

#[derive(Debug, Args)]
pub(crate) struct Init {
    /// The provider's domain
    #[arg(long, value_name = "DOMAIN", value_parser = name)]
    domain: Fqdn,
    /// This relay's name, in the domain
    #[arg(long, value_name = "NAME", value_parser = name)]
    name: Fqdn,
    /// Where nodes reach it by UDP; one for each address family
    #[arg(long = "address", value_name = "IP:PORT", required = true)]
    addresses: Vec<SocketAddr>,
    /// Where keys and request are written
    #[arg(long, value_name = "DIR", default_value = USUAL)]
    directory: PathBuf,
}

fn name(text: &str) -> Result<Fqdn, String> {
    Fqdn::parse(text).map_err(|why| why.to_string())
}

impl Init {
    pub(crate) fn carry_out(&self, config: &Path) -> Result<(), Failure> {
        if !self.name.as_str().ends_with(&format!(".{}", self.domain)) {
            return Err(Failure::usage(format!("{} is not a name in {}", self.name, self.domain)));
        }
        if let Some(wrong) = self.addresses.iter().find(|address| address.ip().is_unspecified() || address.port() == 0)
        {
            return Err(Failure::usage(format!("{wrong}: no node can reach that"))
                .way_out("say the address that others see, also behind a NAT"));
        }
        let directory = &self.directory;
        DirBuilder::new().recursive(true).mode(0o700).create(directory).context(directory.display())?;
        let key = NoiseKey::from_secret(default_provider(), Secret::new(random()));
        let text = Zeroizing::new(format!("{}\n", &*Zeroizing::new(hex::encode(key.secret().expose()))));
        create_secret(&directory.join("noise.key"), text.as_bytes())?;
        let (certificate, secret) = stream::self_signed(self.name.as_str())?;
        create_secret(&directory.join("tls.key"), Zeroizing::new(secret).as_bytes())?;
        write(&directory.join("tls.crt"), &certificate)?;
        let request = Request {
            role: Role::Relay,
            domain: self.domain.clone(),
            name: self.name.clone(),
            noise_key: *key.public(),
            addresses: self.addresses.clone(),
        };
        let request = serde_json::to_string_pretty(&request).context("request.json")?;
        write(&directory.join("request.json"), &format!("{request}\n"))?;
        if !config.exists() {
            write(config, &EXAMPLE.replace(USUAL, &directory.display().to_string()))?;
        }
        Ok(())
    }
}

fn write(path: &Path, text: &str) -> Result<(), Failure> {
    std::fs::write(path, text).context(path.display())
}
