//! The kinds of network a node may find itself in.

use crate::net::{Dependence, Families, NatKind, Place};
use crate::rng::Dice;
use crate::world::World;

/// A kind of network, at a site of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Spot {
    /// A global IPv4 address, nothing in the way.
    V4Global,
    /// Private IPv4 behind a NAT.
    V4Nat(NatKind),
    /// Private IPv4 behind a NAT behind a carrier's NAT.
    DoubleNat,
    V6Only,
    /// Global IPv4 and IPv6.
    Dual,
}

impl Spot {
    /// Every kind that the matrix knows.
    pub fn all() -> Vec<Self> {
        let mut all = vec![Self::V4Global];
        all.extend(NatKind::nine().map(Self::V4Nat));
        all.extend([Self::DoubleNat, Self::V6Only, Self::Dual]);
        all
    }

    /// Any kind, NATs as often as all the others.
    pub fn random(dice: &mut Dice) -> Self {
        let kinds: Vec<NatKind> = NatKind::nine().collect();
        match dice.below(8) {
            0 => Self::V4Global,
            1 => Self::V6Only,
            2 => Self::Dual,
            3 => Self::DoubleNat,
            _ => Self::V4Nat(*dice.pick(&kinds)),
        }
    }

    pub fn name(&self) -> String {
        match self {
            Self::V4Global => "v4".into(),
            Self::V4Nat(kind) => format!("nat {}", kind.name()),
            Self::DoubleNat => "nat×2".into(),
            Self::V6Only => "v6".into(),
            Self::Dual => "dual".into(),
        }
    }

    pub fn families(&self) -> Families {
        match self {
            Self::V4Global | Self::V4Nat(_) | Self::DoubleNat => Families::V4,
            Self::V6Only => Families::V6,
            Self::Dual => Families::DUAL,
        }
    }

    /// Builds such a network at a new site and gives the place to attach to.
    pub fn build(&self, world: &mut World) -> Place {
        let site = world.net.add_site(self.families());
        match self {
            Self::V4Global | Self::V6Only | Self::Dual => site,
            Self::V4Nat(kind) => world.net.add_nat(site, *kind),
            Self::DoubleNat => {
                let carrier = world.net.add_nat(site, NatKind::PORT_RESTRICTED_CONE);
                world.net.add_nat(carrier, NatKind::PORT_RESTRICTED_CONE)
            }
        }
    }

    /// Whether anybody may write to an address here that nobody here has written to: then a peer that
    /// moved needs no help to be heard.
    pub fn is_open_to_strangers(&self) -> bool {
        match self {
            Self::V4Global | Self::V6Only | Self::Dual => true,
            Self::V4Nat(kind) => {
                kind.mapping == Dependence::EndpointIndependent && kind.filtering == Dependence::EndpointIndependent
            }
            Self::DoubleNat => false,
        }
    }
}
