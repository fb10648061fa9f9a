//! Configuration files: one TOML file a server, every key checked, every complaint with its line.

use std::path::Path;

use ntm_proto::id::Fqdn;
use serde::de::{DeserializeOwned, Error as _};
use serde::{Deserialize, Deserializer};

pub use toml::Spanned;

use ntm_program::Failure;

/// A file that was read, kept so that later complaints can name their line.
#[derive(Debug)]
pub struct Source {
    name: String,
    text: String,
}

impl Source {
    /// Reads and parses the file at `path`.
    pub fn load<C: DeserializeOwned>(path: &Path) -> Result<(C, Self), Failure> {
        let name = path.display().to_string();
        let text = std::fs::read_to_string(path).map_err(|why| {
            Failure::usage(format!("{name}: {why}")).way_out("the `config` command prints an example of the file")
        })?;
        Self::parse(name, text)
    }

    pub fn parse<C: DeserializeOwned>(name: String, text: String) -> Result<(C, Self), Failure> {
        let source = Self { name, text };
        match toml::from_str(&source.text) {
            Ok(config) => Ok((config, source)),
            Err(why) => Err(source.complain(why.span(), why.message().trim())),
        }
    }

    /// What is wrong with the value that stands at `span`.
    pub fn complaint<T>(&self, value: &Spanned<T>, what: impl std::fmt::Display) -> Failure {
        self.complain(Some(value.span()), what)
    }

    fn complain(&self, span: Option<std::ops::Range<usize>>, what: impl std::fmt::Display) -> Failure {
        let Some(span) = span else { return Failure::usage(format!("{}: {what}", self.name)) };
        let before = &self.text.as_bytes()[..span.start.min(self.text.len())];
        let line = 1 + before.iter().filter(|byte| **byte == b'\n').count();
        Failure::usage(format!("{}:{line}: {what}", self.name))
    }
}

/// For `#[serde(deserialize_with = "…::config::fqdn")]`.
pub fn fqdn<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Fqdn, D::Error> {
    let text = String::deserialize(deserializer)?;
    Fqdn::parse(&text).map_err(|why| D::Error::custom(format!("\"{text}\" is no domain name: {why}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Example {
        #[serde(deserialize_with = "fqdn")]
        domain: Fqdn,
        port: Spanned<u16>,
    }

    fn complaint(text: &str) -> String {
        Source::parse::<Example>("x.toml".into(), text.into()).expect_err("the file is wrong").to_string()
    }

    #[test]
    fn a_complaint_names_the_file_the_line_and_the_matter() {
        assert_eq!(
            complaint("domain = \"a b\"\nport = 1"),
            "x.toml:1: \"a b\" is no domain name: the name has a character that is not allowed"
        );
        assert!(complaint("domain = \"a\"\n\nport = 70000").starts_with("x.toml:3: "));
        assert!(complaint("domain = \"a\"\nport = 1\nprot = 2").contains("x.toml:3: unknown field `prot`"));
        assert!(complaint("domain = \"a\"\nport =").starts_with("x.toml:2: "));
        assert!(complaint("port = 1").contains("missing field `domain`"));
    }

    #[test]
    fn a_value_of_the_right_type_can_be_complained_about_later() {
        let (example, source) =
            Source::parse::<Example>("x.toml".into(), "domain = \"a\"\nport = 22".into()).expect("the file is right");
        assert_eq!(example.domain.as_str(), "a");
        assert_eq!(source.complaint(&example.port, "the port is taken").to_string(), "x.toml:2: the port is taken");
    }
}
