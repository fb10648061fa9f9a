//! What the answers mean, in the words of RFC 4787.

use std::net::{Ipv4Addr, SocketAddr};

use serde::Serialize;

/// Whether one socket looks the same to everybody.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Mapping {
    EndpointIndependent,
    /// Each destination sees another port: two such NATs stay on the relay.
    EndpointDependent,
}

/// Whom the NAT lets in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Filtering {
    EndpointIndependent,
    /// Only those who were written to.
    EndpointDependent,
}

/// What came through when two sockets behind the same NAT wrote to what each other looks like from outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Loops {
    AtOnce,
    /// Only after the other one had written, too.
    AfterAWord,
    Never,
}

impl Mapping {
    pub(super) fn told(self) -> &'static str {
        match self {
            Self::EndpointIndependent => "endpoint-independent: direct paths are possible",
            Self::EndpointDependent => "endpoint-dependent (symmetric): direct paths only to easier networks",
        }
    }
}

impl Filtering {
    pub(super) fn told(self) -> &'static str {
        match self {
            Self::EndpointIndependent => "endpoint-independent: anybody is let in",
            Self::EndpointDependent => "endpoint-dependent: only those who were written to are let in",
        }
    }
}

/// Whether what servers see is an address that this host does not have.
pub(super) fn has_nat(observed: &[SocketAddr], own: &[Ipv4Addr]) -> Option<bool> {
    let first = observed.first()?;
    Some(!own.iter().any(|own| first.ip() == *own))
}

/// It takes two servers to see a difference.
pub(super) fn mapping(nat: Option<bool>, observed: &[SocketAddr]) -> Option<Mapping> {
    let (first, rest) = observed.split_first()?;
    match nat? {
        false => Some(Mapping::EndpointIndependent),
        true if rest.is_empty() => None,
        true if rest.iter().all(|other| other == first) => Some(Mapping::EndpointIndependent),
        true => Some(Mapping::EndpointDependent),
    }
}

/// Whether the NAT leads packets back in, and, as far as those tell, whom it lets in. Without a NAT nothing is in the way.
pub(super) fn hairpin(nat: Option<bool>, loops: Option<Loops>) -> (Option<bool>, Option<Filtering>) {
    match (nat, loops) {
        (None | Some(false), _) | (_, None) => (None, None),
        (Some(true), Some(Loops::AtOnce)) => (Some(true), Some(Filtering::EndpointIndependent)),
        (Some(true), Some(Loops::AfterAWord)) => (Some(true), Some(Filtering::EndpointDependent)),
        (Some(true), Some(Loops::Never)) => (Some(false), None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(texts: &[&str]) -> Vec<SocketAddr> {
        texts.iter().map(|text| text.parse().expect("an address")).collect()
    }

    #[test]
    fn a_host_with_the_address_that_servers_see_has_no_nat() {
        let own = ["192.0.2.7".parse().expect("an address")];
        assert_eq!(has_nat(&seen(&["192.0.2.7:9"]), &own), Some(false));
        assert_eq!(has_nat(&seen(&["198.51.100.1:9"]), &own), Some(true));
        assert_eq!(has_nat(&[], &own), None);
    }

    #[test]
    fn a_mapping_is_known_when_two_servers_saw_it() {
        assert_eq!(mapping(Some(true), &seen(&["192.0.2.1:9"])), None);
        assert_eq!(mapping(Some(true), &seen(&["192.0.2.1:9", "192.0.2.1:9"])), Some(Mapping::EndpointIndependent));
        assert_eq!(mapping(Some(true), &seen(&["192.0.2.1:9", "192.0.2.1:8"])), Some(Mapping::EndpointDependent));
        assert_eq!(mapping(Some(false), &seen(&["192.0.2.1:9"])), Some(Mapping::EndpointIndependent));
    }

    #[test]
    fn packets_that_come_back_tell_whom_the_nat_lets_in() {
        let nat = Some(true);
        assert_eq!(hairpin(nat, Some(Loops::AtOnce)), (Some(true), Some(Filtering::EndpointIndependent)));
        assert_eq!(hairpin(nat, Some(Loops::AfterAWord)), (Some(true), Some(Filtering::EndpointDependent)));
        assert_eq!(hairpin(nat, Some(Loops::Never)), (Some(false), None));
        assert_eq!(hairpin(Some(false), None), (None, None));
    }
}
