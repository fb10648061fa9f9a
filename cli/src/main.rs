//! `ntm`: what a node's user does with it, from the login to a look at what goes on in the tunnels.
//!
//! | module | commands |
//! |---|---|
//! | `login`, `account` | `login`; `node list`, `node rename`, `node revoke` |
//! | `agent` | `agent`, `up`, `down` |
//! | `run`, `keep` | `run`: existing programs under the shim; `keep`, which the shim starts itself |
//! | `status`, `names`, `ping`, `debug` | what is there, how it is reached, what passes |
//! | `netcheck` | what the network around this host allows |
//! | `nc`, `transfer`, `proxy` | bytes, files, and programs that the shim cannot take |
//!
//! Each command works on a [`ntm_agent::Node`]: the agent's where one runs, else this process's own (`session`).
#![deny(unsafe_code)]

mod account;
mod agent;
mod debug;
mod host;
mod keep;
mod login;
mod names;
mod nc;
mod netcheck;
mod open;
mod ping;
mod proxy;
mod pump;
mod run;
mod session;
mod status;
mod terminal;
mod transfer;
mod view;

use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{CommandFactory as _, FromArgMatches as _, Parser, Subcommand};
use ntm_program::{Failure, Papers};

const EXIT_STATUS: &str = "Exit status: 0 done; 1 it failed, the line on standard error says why and what to do; 2 the command \
line or the configuration is wrong. `run` ends as the program does, with 126 where it cannot be run and 127 where there is none.";

/// Talk to nodes of an NTM network by their names
#[derive(Debug, Parser)]
#[command(name = "ntm", version, after_help = EXIT_STATUS)]
struct CommandLine {
    /// The node's configuration [default: $NTMFW_CONFIG, ~/.config/ntmfw/config.toml or /etc/ntmfw/config.toml]
    #[arg(long, short, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Use no agent: register in this process, for as long as it runs
    #[arg(long, global = true)]
    no_agent: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Login(login::Login),
    Up(agent::Up),
    Down(agent::Down),
    Agent(agent::Agent),
    Run(run::Run),
    #[command(hide = true)]
    Keep(keep::Keep),
    Status(status::Status),
    Names(names::Names),
    Ping(ping::Ping),
    Netcheck(netcheck::Netcheck),
    Nc(nc::Nc),
    Send(transfer::Send),
    Recv(transfer::Recv),
    Proxy(proxy::Proxy),
    #[command(subcommand)]
    Node(account::Node),
    #[command(subcommand)]
    Debug(debug::Debug),
    #[command(flatten)]
    Papers(Papers),
}

fn main() -> ExitCode {
    let mut command = CommandLine::command();
    let matches = command.clone().get_matches_from(arguments());
    let outcome = CommandLine::from_arg_matches(&matches)
        .map_err(|why| Failure::usage(why.to_string()))
        .and_then(|line| carry_out(line, &mut command));
    match outcome {
        Ok(status) => status,
        Err(failure) => {
            let _ = writeln!(std::io::stderr(), "ntm: {failure}");
            failure.exit_code()
        }
    }
}

/// Called `ntm-run`, the program is `ntm run`.
fn arguments() -> Vec<std::ffi::OsString> {
    let mut arguments: Vec<_> = std::env::args_os().collect();
    let called = arguments.first().map(PathBuf::from);
    if called.is_some_and(|path| path.file_name().is_some_and(|name| name == "ntm-run")) {
        arguments.splice(..1, ["ntm".into(), "run".into()]);
    }
    arguments
}

fn carry_out(line: CommandLine, command: &mut clap::Command) -> Result<ExitCode, Failure> {
    if let Some(config) = &line.config {
        session::use_config(config);
    }
    let session = session::Session { agent: !line.no_agent };
    match line.command {
        Command::Login(login) => login.carry_out(line.config.as_deref())?,
        Command::Up(up) => up.carry_out()?,
        Command::Down(down) => down.carry_out()?,
        Command::Agent(agent) => agent.carry_out()?,
        Command::Run(run) => return Ok(run.carry_out(session)),
        Command::Keep(keep) => keep.carry_out()?,
        Command::Status(status) => status.carry_out(session)?,
        Command::Names(names) => names.carry_out(session)?,
        Command::Ping(ping) => ping.carry_out(session)?,
        Command::Netcheck(netcheck) => netcheck.carry_out(session)?,
        Command::Nc(nc) => nc.carry_out(session)?,
        Command::Send(send) => send.carry_out(session)?,
        Command::Recv(recv) => recv.carry_out(session)?,
        Command::Proxy(proxy) => proxy.carry_out(session)?,
        Command::Node(node) => node.carry_out()?,
        Command::Debug(debug) => debug.carry_out(session)?,
        Command::Papers(papers) => papers.print(command)?,
    }
    Ok(ExitCode::SUCCESS)
}
