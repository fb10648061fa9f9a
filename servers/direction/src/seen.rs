//! Where an interface's datagrams come from, as this coordinator sees it.
//!
//! For each family the address seen last, and for IPv4 also the one seen at another of the
//! coordinator's own addresses: if a NAT shows both the same outer address it maps independently of the
//! endpoint, if not it maps by destination (RFC 4787, 4.1; the test of RFC 5780, 4.3).

use core::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

use ntm_proto::wire::message::NatMapping;

use crate::limits::AMPLIFICATION;

/// What was seen of one interface.
#[derive(Debug, Default)]
pub(crate) struct Sightings {
    v4: Seen,
    /// At another of the coordinator's addresses than `v4`.
    elsewhere4: Seen,
    v6: Seen,
}

/// One outer address, and what may be sent to it. Port zero: nothing seen.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Seen {
    ip: [u8; 16],
    port: u16,
    /// Bytes that may still be sent before it has proven itself.
    credit: u16,
    /// Which of the coordinator's addresses it was seen at.
    local: u8,
    proven: bool,
}

impl Sightings {
    /// An authentic datagram of this interface came from `from` to the coordinator's address number
    /// `local`. True where the address is news.
    pub(crate) fn note(&mut self, from: SocketAddr, local: u8) -> bool {
        let new = Seen::of(from, local);
        let (primary, other) = match from {
            SocketAddr::V4(_) => (&mut self.v4, Some(&mut self.elsewhere4)),
            SocketAddr::V6(_) => (&mut self.v6, None),
        };
        if primary.is_at(&new) && primary.local == local {
            return false;
        }
        let Some(other) = other else {
            let moved = !primary.is_at(&new);
            if moved {
                *primary = new;
            } else {
                primary.local = local;
            }
            return moved;
        };
        if primary.port == 0 || primary.local == local {
            // The NAT maps anew: what was seen elsewhere tells about the old mapping.
            *other = Seen::default();
            *primary = new;
            return true;
        }
        // Seen elsewhere than last time: the newest is the primary one, the other stays to compare.
        let news = !other.is_at(&new);
        let same = primary.is_at(&new);
        let before = *primary;
        *primary = match (same, news) {
            (true, _) => Seen { local, ..before },
            (false, false) => Seen { local, ..*other },
            (false, true) => new,
        };
        let remapped = news && other.port != 0 && other.local == local;
        *other = if remapped { Seen::default() } else { before };
        news && !same
    }

    /// The addresses seen last, at most one a family.
    pub(crate) fn addresses(&self) -> impl Iterator<Item = SocketAddr> + use<> {
        [self.address(true), self.address(false)].into_iter().flatten()
    }

    pub(crate) fn address(&self, v4: bool) -> Option<SocketAddr> {
        if v4 { self.v4.address(true) } else { self.v6.address(false) }
    }

    /// Which of the coordinator's addresses the family's last datagram came to.
    pub(crate) fn local(&self, v4: bool) -> u8 {
        if v4 { self.v4.local } else { self.v6.local }
    }

    /// The entry of `address`, if it is one of those seen.
    pub(crate) fn find(&mut self, address: SocketAddr) -> Option<&mut Seen> {
        let wanted = Seen::of(address, 0);
        match address {
            SocketAddr::V4(_) => [&mut self.v4, &mut self.elsewhere4].into_iter().find(|seen| seen.is_at(&wanted)),
            SocketAddr::V6(_) => Some(&mut self.v6).filter(|seen| seen.is_at(&wanted)),
        }
    }

    pub(crate) fn mapping(&self, own: &[SocketAddr], reported: NatMapping) -> NatMapping {
        match (self.v4.address(true), self.elsewhere4.address(true)) {
            (Some(seen), _) if own.contains(&seen) => NatMapping::None,
            (Some(seen), Some(elsewhere)) if seen == elsewhere => NatMapping::EndpointIndependent,
            (Some(_), Some(_)) => NatMapping::EndpointDependent,
            // The node cannot know better that there is no NAT.
            (Some(_), None) if reported == NatMapping::None => NatMapping::Unknown,
            (Some(_), None) => reported,
            (None, _) if self.v6.address(false).is_some_and(|seen| own.contains(&seen)) => NatMapping::None,
            (None, _) => reported,
        }
    }
}

impl Seen {
    fn of(address: SocketAddr, local: u8) -> Self {
        let mut ip = [0; 16];
        match address {
            SocketAddr::V4(address) => ip[..4].copy_from_slice(&address.ip().octets()),
            SocketAddr::V6(address) => ip = address.ip().octets(),
        }
        Self { ip, port: address.port(), credit: 0, local, proven: false }
    }

    fn is_at(&self, other: &Self) -> bool {
        self.port != 0 && self.port == other.port && self.ip == other.ip
    }

    fn address(&self, v4: bool) -> Option<SocketAddr> {
        let [a, b, c, d, ..] = self.ip;
        match (self.port, v4) {
            (0, _) => None,
            (port, true) => Some((Ipv4Addr::new(a, b, c, d), port).into()),
            (port, false) => Some((Ipv6Addr::from(self.ip), port).into()),
        }
    }

    pub(crate) fn received(&mut self, bytes: usize) {
        if !self.proven {
            let credit = u16::try_from(bytes.saturating_mul(AMPLIFICATION)).unwrap_or(u16::MAX);
            self.credit = self.credit.saturating_add(credit);
        }
    }

    /// Whether `bytes` may be sent to it; if so they count as sent.
    pub(crate) fn spend(&mut self, bytes: usize) -> bool {
        if self.proven {
            return true;
        }
        let Some(left) = u16::try_from(bytes).ok().and_then(|bytes| self.credit.checked_sub(bytes)) else {
            return false;
        };
        self.credit = left;
        true
    }

    pub(crate) fn prove(&mut self) {
        self.proven = true;
    }

    pub(crate) fn is_proven(&self) -> bool {
        self.proven
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    #[test]
    fn an_address_of_the_interfaces_own_means_no_nat() {
        let mut seen = Sightings::default();
        assert!(seen.note(at("198.51.100.1:5000"), 0));
        assert_eq!(seen.mapping(&[at("198.51.100.1:5000")], NatMapping::Unknown), NatMapping::None);
        assert_eq!(seen.mapping(&[at("10.0.0.1:5000")], NatMapping::None), NatMapping::Unknown);
    }

    #[test]
    fn two_servers_that_see_the_same_outer_address_mean_a_nat_that_can_be_punched() {
        let mut seen = Sightings::default();
        seen.note(at("203.0.113.1:6000"), 0);
        assert!(!seen.note(at("203.0.113.1:6000"), 1));
        assert_eq!(seen.mapping(&[], NatMapping::Unknown), NatMapping::EndpointIndependent);
    }

    #[test]
    fn two_servers_that_see_different_outer_addresses_mean_a_mapping_by_destination() {
        let mut seen = Sightings::default();
        seen.note(at("203.0.113.1:6000"), 0);
        assert!(seen.note(at("203.0.113.1:6001"), 1));
        assert!(!seen.note(at("203.0.113.1:6000"), 0));
        assert!(!seen.note(at("203.0.113.1:6001"), 1));
        assert_eq!(seen.mapping(&[], NatMapping::Unknown), NatMapping::EndpointDependent);
        assert_eq!(seen.address(true), Some(at("203.0.113.1:6001")));
    }

    #[test]
    fn a_nat_that_maps_anew_is_not_taken_for_one_that_maps_by_destination() {
        let mut seen = Sightings::default();
        seen.note(at("203.0.113.1:6000"), 0);
        seen.note(at("203.0.113.1:6000"), 1);
        // The mapping expired and came again with another port, at both servers.
        seen.note(at("203.0.113.1:7000"), 0);
        assert_ne!(seen.mapping(&[], NatMapping::Unknown), NatMapping::EndpointDependent);
        seen.note(at("203.0.113.1:7000"), 1);
        assert_eq!(seen.mapping(&[], NatMapping::Unknown), NatMapping::EndpointIndependent);
    }

    #[test]
    fn an_unproven_address_gets_three_bytes_for_one_and_a_proven_one_any() {
        let mut seen = Seen::of(at("203.0.113.1:6000"), 0);
        assert!(!seen.spend(1));
        seen.received(100);
        assert!(seen.spend(200) && seen.spend(100) && !seen.spend(1));
        seen.prove();
        assert!(seen.spend(100_000));
    }

    #[test]
    fn a_new_address_has_to_prove_itself_again() {
        let mut seen = Sightings::default();
        for (old, new) in [("203.0.113.1:6000", "203.0.113.9:6000"), ("[2001:db8::1]:6000", "[2001:db8::9]:6000")] {
            seen.note(at(old), 0);
            seen.find(at(old)).unwrap().prove();
            seen.note(at(old), 0);
            assert!(seen.find(at(old)).unwrap().is_proven());
            seen.note(at(new), 0);
            assert!(!seen.find(at(new)).unwrap().is_proven());
            assert!(seen.find(at(old)).is_none());
        }
    }
}
