//! What the user wrote. `example.toml` beside this file documents it.

use std::path::{Path, PathBuf};

use ntm_proto::crypto::{Provider, chacha_only, default_provider};
use ntm_proto::id::Fqdn;
use ntm_recovery::Algorithm;
use serde::{Deserialize, Deserializer, de::Error as _};

use crate::stack::buffers::Bounds;
use crate::stack::tcp::StreamDefaults;

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Config {
    #[serde(deserialize_with = "name")]
    pub(crate) name: Fqdn,
    /// `https://…`; without it the state directory must hold a ticket.
    pub(crate) account_server: Option<String>,
    /// A PEM file with the certificates to believe instead of the host's.
    pub(crate) account_server_ca: Option<PathBuf>,
    /// Whose node this is.
    pub(crate) account: Option<String>,
    /// A file with an enrolment key, or with the account's password, mode 0600: needed until the first login.
    pub(crate) enrolment_key_file: Option<PathBuf>,
    pub(crate) password_file: Option<PathBuf>,
    /// Where the identity and the ticket are; `$XDG_STATE_HOME/ntmfw` where it is not said.
    pub(crate) state: Option<PathBuf>,
    /// Domains whose names are nodes, beside the node's own.
    #[serde(default, deserialize_with = "names")]
    pub(crate) domains: Vec<Fqdn>,
    #[serde(default)]
    pub(crate) cipher: Cipher,
    /// The UDP port to use on every address, if it is free.
    #[serde(default)]
    pub(crate) port: u16,
    #[serde(default)]
    pub(crate) interfaces: InterfaceChoice,
    /// Where relays take TLS in.
    #[serde(default = "https")]
    pub(crate) relay_tls_port: u16,
    /// What holds streams back where the program does not say (`TCP_CONGESTION`).
    #[serde(default, deserialize_with = "congestion")]
    pub(crate) congestion_control: Algorithm,
    /// How far the buffers of streams may grow, in bytes, whose sizes the program does not choose.
    #[serde(default = "usual_send_buffer", deserialize_with = "buffer_limit")]
    send_buffer_limit: usize,
    #[serde(default = "usual_receive_buffer", deserialize_with = "buffer_limit")]
    receive_buffer_limit: usize,
    /// Whether streams begin with what others learnt of their path.
    #[serde(default = "yes")]
    remember_paths: bool,
}

/// What may seal the data between this node and its peers.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
pub(crate) enum Cipher {
    /// The one that both ends run fastest.
    #[default]
    #[serde(rename = "fastest")]
    Fastest,
    #[serde(rename = "chacha20-poly1305")]
    ChaCha20Poly1305,
}

impl Cipher {
    pub(crate) fn provider(self) -> &'static dyn Provider {
        match self {
            Self::Fastest => default_provider(),
            Self::ChaCha20Poly1305 => chacha_only::PROVIDER,
        }
    }
}

/// Which interfaces carry datagrams.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct InterfaceChoice {
    /// Only these, where any are named. Loopback is used only if it is named here.
    include: Vec<String>,
    exclude: Vec<String>,
}

impl Default for InterfaceChoice {
    /// Without the bridges that containers and virtual machines leave behind.
    fn default() -> Self {
        let exclude = ["docker*", "veth*", "br-*", "virbr*", "lxc*", "cni*"];
        Self { include: Vec::new(), exclude: exclude.map(str::to_owned).into() }
    }
}

impl InterfaceChoice {
    pub(crate) fn takes(&self, name: &str, loopback: bool) -> bool {
        let named = self.include.iter().any(|pattern| matches(pattern, name));
        let excluded = self.exclude.iter().any(|pattern| matches(pattern, name));
        named || (self.include.is_empty() && !excluded && !loopback)
    }

    /// Wire before radio before a mobile network, which may be paid for by the byte.
    pub(crate) fn cost(&self, name: &str) -> u8 {
        match name.get(..2) {
            Some("ww" | "pp" | "rm") => 50,
            Some("wl") => 20,
            _ => 10,
        }
    }
}

/// Why there is no configuration; one line for the user.
#[derive(Debug)]
pub(crate) struct ConfigError(pub(crate) String);

impl Config {
    /// Reads the file that the caller named, or the first that is there of `$NTMFW_CONFIG`,
    /// `~/.config/ntmfw/config.toml` and `/etc/ntmfw/config.toml`.
    pub(crate) fn find(named: Option<&Path>) -> Result<Self, ConfigError> {
        if let Some(path) = named {
            return Self::load(path);
        }
        if let Some(path) = std::env::var_os("NTMFW_CONFIG") {
            return Self::load(Path::new(&path));
        }
        let home = std::env::var_os("XDG_CONFIG_HOME")
            .map(PathBuf::from)
            .or_else(|| std::env::var_os("HOME").map(|home| Path::new(&home).join(".config")));
        let candidates = home
            .into_iter()
            .map(|home| home.join("ntmfw/config.toml"))
            .chain([PathBuf::from("/etc/ntmfw/config.toml")]);
        let mut looked = Vec::new();
        for candidate in candidates {
            if candidate.exists() {
                return Self::load(&candidate);
            }
            looked.push(candidate.display().to_string());
        }
        Err(ConfigError(format!(
            "no configuration: looked for $NTMFW_CONFIG, {} (`ntm login` makes one)",
            looked.join(", ")
        )))
    }

    fn load(path: &Path) -> Result<Self, ConfigError> {
        let name = path.display();
        let text = std::fs::read_to_string(path).map_err(|why| ConfigError(format!("{name}: {why}")))?;
        Self::parse(&text).map_err(|(line, why)| ConfigError(format!("{name}:{line}: {why}")))
    }

    /// Gives the line and what is wrong there.
    pub(crate) fn parse(text: &str) -> Result<Self, (usize, String)> {
        toml::from_str(text).map_err(|why| {
            let before = why.span().map_or(0, |span| span.start.min(text.len()));
            let line = 1 + text.as_bytes()[..before].iter().filter(|byte| **byte == b'\n').count();
            (line, why.message().trim().to_owned())
        })
    }

    /// What holds for streams whose programs do not choose.
    pub(crate) fn stream_defaults(&self) -> StreamDefaults {
        let buffers = Bounds { send: self.send_buffer_limit, receive: self.receive_buffer_limit };
        StreamDefaults { congestion: self.congestion_control, buffers, remember_paths: self.remember_paths }
    }

    /// Where the state is kept.
    pub(crate) fn state(&self) -> PathBuf {
        let fallback = || {
            let base = std::env::var_os("XDG_STATE_HOME")
                .map(PathBuf::from)
                .or_else(|| std::env::var_os("HOME").map(|home| Path::new(&home).join(".local/state")))
                .unwrap_or_else(|| PathBuf::from("/var/lib"));
            base.join("ntmfw").join(self.name.as_str())
        };
        self.state.clone().unwrap_or_else(fallback)
    }
}

/// Whether a name fits a pattern, of which `*` at its end stands for any end.
fn matches(pattern: &str, name: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(beginning) => name.starts_with(beginning),
        None => pattern == name,
    }
}

fn name<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Fqdn, D::Error> {
    let text = String::deserialize(deserializer)?;
    Fqdn::parse(&text).map_err(|why| D::Error::custom(format!("\"{text}\" is no name: {why}")))
}

fn https() -> u16 {
    443
}

fn congestion<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Algorithm, D::Error> {
    let text = String::deserialize(deserializer)?;
    let known = Algorithm::ALL.map(Algorithm::name).join(", ");
    Algorithm::from_name(&text).ok_or_else(|| D::Error::custom(format!("\"{text}\" is none of {known}")))
}

fn yes() -> bool {
    true
}

fn usual_send_buffer() -> usize {
    Bounds::default().send
}

fn usual_receive_buffer() -> usize {
    Bounds::default().receive
}

/// smoltcp's buffers hold a gigabyte at most; less than a few segments would carry nothing.
fn buffer_limit<'de, D: Deserializer<'de>>(deserializer: D) -> Result<usize, D::Error> {
    const SIZES: std::ops::RangeInclusive<usize> = 16 << 10..=1 << 30;
    let size = usize::deserialize(deserializer)?;
    if SIZES.contains(&size) {
        return Ok(size);
    }
    Err(D::Error::custom(format!("{size} is not from {} to {}", SIZES.start(), SIZES.end())))
}

fn names<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Fqdn>, D::Error> {
    let texts = Vec::<String>::deserialize(deserializer)?;
    texts
        .iter()
        .map(|text| Fqdn::parse(text).map_err(|why| D::Error::custom(format!("\"{text}\" is no name: {why}"))))
        .collect()
}

#[cfg(test)]
mod tests {
    use ntm_proto::crypto::Suite;

    use super::*;

    #[test]
    fn the_example_is_a_valid_file_and_shows_the_defaults() {
        let example = include_str!("example.toml");
        // Paths in comments are examples.
        let has_default = |line: &str| !line.contains("\"/");
        let shown: String = example
            .lines()
            .map(|line| match line.strip_prefix('#') {
                Some(rest) if rest.contains(" = ") && has_default(rest) => format!("{rest}\n"),
                _ => format!("{line}\n"),
            })
            .collect();
        let parse = |text: &str| format!("{:?}", Config::parse(text).expect("the file is right"));
        assert_ne!(shown, example);
        assert_eq!(parse(&shown), parse(example));
    }

    #[test]
    fn a_mistake_is_told_with_its_line() {
        let wrong = |text: &str| Config::parse(text).expect_err("the file is wrong");
        assert_eq!(wrong("name = \"a b\"").0, 1);
        assert_eq!(wrong("name = \"a\"\n\nport = 70000").0, 3);
        assert!(wrong("name = \"a\"\nprot = 1").1.contains("prot"));
        assert!(wrong("").1.contains("name"));
        assert!(wrong("name = \"a\"\ncipher = \"rot13\"").1.contains("rot13"));
    }

    #[test]
    fn buffers_grow_as_far_as_is_said_within_reason() {
        let config = Config::parse("name = \"a\"\nsend_buffer_limit = 100000").expect("the file is right");
        let Bounds { send, receive } = config.stream_defaults().buffers;
        assert_eq!((send, receive), (100_000, Bounds::default().receive));
        assert_eq!(Config::parse("name = \"a\"\nreceive_buffer_limit = 10").expect_err("too small").0, 2);
    }

    #[test]
    fn who_wants_one_cipher_gets_that_one() {
        let suites = |text: &str| Config::parse(text).expect("the file is right").cipher.provider().suites();
        assert_eq!(suites("name = \"a\"\ncipher = \"chacha20-poly1305\""), [Suite::ChaCha20Poly1305]);
        assert_eq!(suites("name = \"a\""), default_provider().suites());
    }

    #[test]
    fn loopback_is_used_only_by_name_and_bridges_of_containers_only_if_asked_for() {
        let config = |text: &str| Config::parse(text).expect("the file is right").interfaces;
        let usual = config("name = \"a\"");
        assert!(usual.takes("eth0", false) && usual.takes("wlan0", false));
        assert!(!usual.takes("lo", true) && !usual.takes("docker0", false) && !usual.takes("veth12", false));
        let named = config("name = \"a\"\n[interfaces]\ninclude = [\"lo\", \"docker*\"]");
        assert!(named.takes("lo", true) && named.takes("docker0", false) && !named.takes("eth0", false));
    }
}
