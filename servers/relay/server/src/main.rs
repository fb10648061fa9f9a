//! `ntm-rs`, the relay server: the core of [`ntm_relay`] on real sockets.
//!
//! ```text
//!           UDP                              ┌─ worker 0: shard 0, sessions with direction servers
//!  nodes ◄─────► SO_REUSEPORT, steered by ◄──┼─ worker 1: shard 1
//!                the shard in the datagram   └─ …              ▲
//!           TLS                                                │ letters
//!  nodes ◄─────► stream ───────────────────────────────────────┘
//!                  └──── UDP ──► direction servers
//!  control: configuration, credentials, signals, metrics
//! ```
#![deny(unsafe_code)]

mod config;
mod control;
mod domain;
mod init;
mod metrics;
mod stream;
mod workers;

use std::path::Path;
use std::process::ExitCode;

use clap::Subcommand;
use ntm_server::config::Source;
use ntm_server::{Failure, Life, LogFormat, Server};

use config::Config;

const EXAMPLE: &str = include_str!("example.toml");

struct RelayServer;

#[derive(Debug, Subcommand)]
enum Command {
    /// Make keys, a TLS certificate, the request for the account server and a configuration
    Init(init::Init),
}

impl Server for RelayServer {
    const NAME: &'static str = "ntm-rs";
    const ABOUT: &'static str = "The relay server of NTMfw";
    const CONFIG: &'static str = "/etc/ntm-rs/ntm-rs.toml";
    const EXAMPLE: &'static str = EXAMPLE;

    type Config = Config;
    type Command = Command;

    fn log_format(config: &Config) -> LogFormat {
        config.log_format
    }

    fn check(config: &Config, source: &Source) -> Result<(), Failure> {
        config.check(source)
    }

    fn command(command: Command, config: &Path) -> Result<(), Failure> {
        match command {
            Command::Init(init) => init.carry_out(config),
        }
    }

    async fn run(config: Config, path: &Path, life: Life) -> Result<(), Failure> {
        control::run(config, path, life).await
    }
}

fn main() -> ExitCode {
    ntm_server::main::<RelayServer>()
}
