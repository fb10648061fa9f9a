//! `ntm login`: from an account to a configuration and a ticket.

use std::fs::OpenOptions;
use std::io::{self, IsTerminal as _, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use clap::Args;
use ntm_login::Credential;
use ntm_program::{Failure, ResultExt as _};
use ntmfw::service;
use zeroize::Zeroizing;

use crate::host;
use crate::session::failure;

/// What a secret may weigh.
const MAX_SECRET: u64 = 4_096;

/// Log this node in at its account server, and write its configuration where there is none
///
/// The password is asked for on a terminal, and read from standard input elsewhere. It is not kept: later logins are signed
/// by the node's own key.
#[derive(Debug, Args)]
pub(crate) struct Login {
    /// What this node is called, such as printer.ntm.example
    #[arg(value_name = "NAME", requires_all = ["server", "account"])]
    name: Option<String>,
    /// The account server
    #[arg(long, value_name = "https://HOST[:PORT]", requires = "name")]
    server: Option<String>,
    /// A PEM file with the certificates to believe instead of the system's
    #[arg(long, value_name = "FILE", requires = "name")]
    ca: Option<PathBuf>,
    /// Whose node this is
    #[arg(long, requires = "name")]
    account: Option<String>,
    /// Where the node's keys and ticket are kept [default: ~/.local/state/ntmfw/NAME]
    #[arg(long, value_name = "DIRECTORY", requires = "name")]
    state: Option<PathBuf>,
    /// Network interfaces to use, instead of all but those of containers
    #[arg(long = "interface", value_name = "NAME", requires = "name")]
    interfaces: Vec<String>,
    /// The secret is an enrolment key of the account, not its password
    #[arg(long)]
    enrolment_key: bool,
}

impl Login {
    pub(crate) fn carry_out(self, config: Option<&Path>) -> Result<(), Failure> {
        let path = config.map_or_else(usual_place, |path| Ok(path.to_owned()))?;
        let text = match (self.new_config(), path.exists()) {
            (Some(_), true) => {
                return Err(Failure::usage(format!("{} exists already", path.display()))
                    .way_out("`ntm login` without a name logs that node in anew; --config names another file"));
            }
            (None, false) => {
                return Err(Failure::usage(format!("{} does not exist yet", path.display()))
                    .way_out("ntm login NAME --server https://HOST --account ACCOUNT"));
            }
            (Some(text), false) => text,
            (None, true) => std::fs::read_to_string(&path).context(path.display())?,
        };
        let secret = read_secret(if self.enrolment_key { "Enrolment key" } else { "Password" })?;
        let credential =
            if self.enrolment_key { Credential::EnrolmentKey(secret) } else { Credential::Password(secret) };
        let ticket = service::log_in(&text, &credential).map_err(failure)?;
        if !path.exists() {
            write(&path, &text)?;
        }
        let (name, count) = (ticket.name, ticket.coordinators);
        let coordinators = if count == 1 { "1 coordinator".to_owned() } else { format!("{count} coordinators") };
        writeln!(io::stdout(), "{name}: logged in, {coordinators}; {}", path.display()).context("standard output")
    }

    /// The text of a configuration, where the command line describes one.
    fn new_config(&self) -> Option<String> {
        let (name, server, account) = (self.name.as_ref()?, self.server.as_ref()?, self.account.as_ref()?);
        let quoted = |text: &str| format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""));
        let file =
            |path: &Path| quoted(&std::path::absolute(path).unwrap_or_else(|_| path.to_owned()).display().to_string());
        let mut lines = vec![
            format!("name = {}", quoted(name)),
            format!("account_server = {}", quoted(server)),
            format!("account = {}", quoted(account)),
        ];
        lines.extend(self.ca.as_deref().map(|ca| format!("account_server_ca = {}", file(ca))));
        lines.extend(self.state.as_deref().map(|state| format!("state = {}", file(state))));
        if !self.interfaces.is_empty() {
            let names: Vec<String> = self.interfaces.iter().map(|name| quoted(name)).collect();
            lines.push(format!("\n[interfaces]\ninclude = [{}]", names.join(", ")));
        }
        Some(lines.join("\n") + "\n")
    }
}

fn usual_place() -> Result<PathBuf, Failure> {
    if let Some(named) = std::env::var_os("NTMFW_CONFIG") {
        return Ok(named.into());
    }
    let home = std::env::var_os("XDG_CONFIG_HOME")
        .map(PathBuf::from)
        .or_else(|| std::env::var_os("HOME").map(|home| Path::new(&home).join(".config")));
    let home = home.ok_or_else(|| Failure::usage("neither HOME nor XDG_CONFIG_HOME is set").way_out("use --config"))?;
    Ok(home.join("ntmfw/config.toml"))
}

fn write(path: &Path, text: &str) -> Result<(), Failure> {
    let name = path.display();
    if let Some(directory) = path.parent() {
        std::fs::create_dir_all(directory).context(directory.display())?;
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).context(&name)?;
    file.write_all(text.as_bytes()).context(&name)
}

/// A line of a person's, not shown; or of standard input.
pub(crate) fn read_secret(what: &str) -> Result<Zeroizing<String>, Failure> {
    let input = io::stdin();
    let mut line = Zeroizing::new(String::new());
    if input.is_terminal() {
        let _ = write!(io::stderr(), "{what}: ");
        let hidden = host::hide_input();
        let read = input.read_line(&mut line);
        drop(hidden);
        let _ = writeln!(io::stderr());
        read.context("the terminal")?;
    } else {
        input.lock().take(MAX_SECRET).read_to_string(&mut line).context("standard input")?;
    }
    let secret = Zeroizing::new(line.lines().next().unwrap_or_default().to_owned());
    if secret.is_empty() { Err(Failure::usage(format!("no {} was given", what.to_lowercase()))) } else { Ok(secret) }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        login: Login,
    }

    #[test]
    fn what_the_command_line_says_becomes_a_configuration() {
        let words =
            ["ntm", "desk.x", "--server", "https://as", "--account", "a\"b", "--state", "/s", "--interface", "lo"];
        let config = Line::try_parse_from(words).expect("a line").login.new_config();
        assert_eq!(
            config.as_deref(),
            Some(
                "name = \"desk.x\"\naccount_server = \"https://as\"\naccount = \"a\\\"b\"\nstate = \"/s\"\n\n\
                 [interfaces]\ninclude = [\"lo\"]\n"
            )
        );
        assert!(Line::try_parse_from(["ntm", "desk.x"]).is_err(), "a name alone is not enough");
        assert_eq!(Line::try_parse_from(["ntm"]).expect("a line").login.new_config(), None);
    }
}
