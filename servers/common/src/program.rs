//! The command line that all servers have, and what each command does.

use std::future::Future;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, CommandFactory, FromArgMatches, Parser, Subcommand};
use ntm_program::{Failure, Papers, ResultExt as _};
use serde::de::DeserializeOwned;

use crate::config::Source;
use crate::life::Life;
use crate::logging::{self, LogFormat};

/// A server program.
pub trait Server: Sized + 'static {
    /// The program's name: `ntm-dc`.
    const NAME: &'static str;
    /// One line about it.
    const ABOUT: &'static str;
    /// Where its configuration is when nobody says otherwise.
    const CONFIG: &'static str;
    /// The commented example that `config` prints; it must be a valid file.
    const EXAMPLE: &'static str;

    type Config: DeserializeOwned;
    /// Commands of its own (`init` and others), beside those that all servers have.
    type Command: Subcommand;

    fn log_format(config: &Self::Config) -> LogFormat;

    /// Says what is wrong with a configuration whose types are right, without starting anything.
    fn check(config: &Self::Config, source: &Source) -> Result<(), Failure>;

    /// Carries out a command of its own. `config` is the path the operator named or the usual one.
    fn command(command: Self::Command, config: &Path) -> Result<(), Failure>;

    /// Serves until [`Life`] says to stop. `config` is the path to read again on a reload.
    fn run(config: Self::Config, path: &Path, life: Life) -> impl Future<Output = Result<(), Failure>>;
}

/// For a server without commands of its own.
#[derive(Debug, Subcommand)]
pub enum NoCommands {}

#[derive(Debug, Parser)]
struct CommandLine<C: Subcommand> {
    /// The configuration file
    #[arg(long, short, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(flatten)]
    run: Run,
    #[command(subcommand)]
    command: Option<Command<C>>,
}

#[derive(Debug, Args)]
struct Run {
    /// Only check the configuration, start nothing
    #[arg(long)]
    check: bool,
}

#[derive(Debug, Subcommand)]
enum Command<C: Subcommand> {
    /// Serve; the same as no command
    Run(Run),
    /// Print a commented example of the configuration file
    Config,
    #[command(flatten)]
    Papers(Papers),
    #[command(flatten)]
    Own(C),
}

/// The whole of a server's `main`.
pub fn main<S: Server>() -> ExitCode {
    let mut command = CommandLine::<S::Command>::command()
        .name(S::NAME)
        .about(S::ABOUT)
        .version(env!("CARGO_PKG_VERSION"))
        .mut_arg("config", |arg| arg.help(format!("The configuration file [default: {}]", S::CONFIG)));
    let matches = command.clone().get_matches();
    let outcome = CommandLine::<S::Command>::from_arg_matches(&matches)
        .map_err(|why| Failure::usage(why.to_string()))
        .and_then(|line| carry_out::<S>(line, &mut command));
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            let _ = writeln!(std::io::stderr(), "{}: {failure}", S::NAME);
            failure.exit_code()
        }
    }
}

fn carry_out<S: Server>(line: CommandLine<S::Command>, command: &mut clap::Command) -> Result<(), Failure> {
    let path = line.config.unwrap_or_else(|| S::CONFIG.into());
    match line.command {
        None => run::<S>(&path, line.run.check),
        Some(Command::Run(options)) => run::<S>(&path, options.check || line.run.check),
        Some(Command::Config) => std::io::stdout().write_all(S::EXAMPLE.as_bytes()).context("standard output"),
        Some(Command::Papers(papers)) => papers.print(command),
        Some(Command::Own(own)) => S::command(own, &path),
    }
}

fn run<S: Server>(path: &Path, only_check: bool) -> Result<(), Failure> {
    let (config, source) = Source::load::<S::Config>(path)?;
    S::check(&config, &source)?;
    if only_check {
        return writeln!(std::io::stdout(), "{}: no faults found", path.display()).context("standard output");
    }
    logging::init(S::log_format(&config));
    // One provider for all TLS of the process; a second installation changes nothing.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().context("cannot start threads")?;
    let outcome = runtime.block_on(async {
        let life = Life::begin()?;
        S::run(config, path, life).await
    });
    runtime.shutdown_timeout(std::time::Duration::from_secs(1));
    outcome
}
