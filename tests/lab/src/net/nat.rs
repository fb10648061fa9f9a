//! What a router does with addresses and strangers, as rules of nftables.
//!
//! The router's devices are `lan` and `wan`. A router of the first kind drops what a stranger sends to its own address
//! before connection tracking has confirmed it; one that does not ([`Nat::PortTaken`]) remembers the stranger's packet as a
//! connection of its own, and the inner host's packet that meets it later leaves from another port.

use std::net::Ipv4Addr;

/// Mapping and filtering by the words of RFC 4787.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Nat {
    /// Mapping and filtering by endpoint-independent rules; hairpins.
    FullCone,
    /// Lets in whoever has an address that was sent to.
    Restricted,
    /// Lets in whoever has an endpoint that was sent to.
    PortRestricted,
    /// As [`Nat::PortRestricted`], but a punch that comes too soon takes the port.
    PortTaken,
    /// A port for each destination.
    Symmetric,
    /// Lets TCP to port 443 through, and nothing else.
    UdpBlocked,
}

impl Nat {
    pub(crate) const CONES_AND_SYMMETRIC: [Self; 5] =
        [Self::FullCone, Self::Restricted, Self::PortRestricted, Self::PortTaken, Self::Symmetric];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::FullCone => "full cone",
            Self::Restricted => "restricted",
            Self::PortRestricted => "port-restr.",
            Self::PortTaken => "port taken",
            Self::Symmetric => "symmetric",
            Self::UdpBlocked => "UDP blocked",
        }
    }

    /// The rules, for a router whose outer address this is.
    pub(crate) fn rules(self, wan: Ipv4Addr) -> String {
        let unless_taken = match self {
            Self::PortTaken => "",
            _ => "chain input { type filter hook input priority 0; iifname wan meta l4proto udp drop; }\n",
        };
        format!("table ip nat {{\n{unless_taken}{}\n}}\n", self.chains(wan))
    }

    fn chains(self, wan: Ipv4Addr) -> String {
        const MASQUERADE: &str = "chain out { type nat hook postrouting priority 100; oifname wan masquerade; }\n";
        const NO_STRANGERS: &str =
            "chain through { type filter hook forward priority 0; iifname wan ct state new drop; }\n";
        const INNER: &str =
            "map inner { type inet_service : ipv4_addr; flags dynamic,timeout; timeout 300s; size 4096; }\n";
        const REMEMBER: &str = "oifname wan meta l4proto udp update @inner { udp sport : ip saddr } masquerade;";
        match self {
            Self::PortRestricted | Self::PortTaken => format!("{MASQUERADE}{NO_STRANGERS}"),
            Self::Symmetric => format!(
                "chain out {{ type nat hook postrouting priority 100;
                   oifname wan meta l4proto udp masquerade random,fully-random;
                   oifname wan masquerade; }}
                 {NO_STRANGERS}"
            ),
            Self::FullCone => format!(
                "{INNER}
                 chain out {{ type nat hook postrouting priority 100; {REMEMBER} oifname wan masquerade;
                   oifname lan ct status dnat snat to {wan}; }}
                 chain in {{ type nat hook prerouting priority -100;
                   ip daddr {wan} meta l4proto udp dnat to udp dport map @inner; }}"
            ),
            Self::Restricted => format!(
                "{INNER}
                 set known {{ type ipv4_addr . inet_service; flags dynamic,timeout; timeout 300s; size 4096; }}
                 chain out {{ type nat hook postrouting priority 100; {REMEMBER} oifname wan masquerade; }}
                 chain in {{ type nat hook prerouting priority -100;
                   iifname wan ip saddr . udp dport @known dnat to udp dport map @inner; }}
                 chain through {{ type filter hook forward priority 0;
                   oifname wan meta l4proto udp update @known {{ ip daddr . udp sport }};
                   iifname wan ct state new ct status dnat accept;
                   iifname wan ct state new drop; }}"
            ),
            Self::UdpBlocked => format!(
                "{MASQUERADE}
                 chain through {{ type filter hook forward priority 0; meta l4proto udp drop;
                   oifname wan tcp dport != 443 reject with tcp reset; iifname wan ct state new drop; }}"
            ),
        }
    }
}
