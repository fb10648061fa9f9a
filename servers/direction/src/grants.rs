//! Grants of relays: the right of both ends of a communication to be carried.

use ntm_proto::id::RelayId;
use ntm_proto::session::relay_token::TokenBody;
use ntm_proto::time::Instant;
use ntm_proto::wire::message::{NodeDescription, RelayGrant, Side};

use crate::coordinator::Coordinator;
use crate::limits::MAX_LANES;
use crate::paths::index;

impl Coordinator {
    /// Grants for both ends: one token a relay, a bind key a side.
    pub(crate) fn grant_both(&mut self, now: Instant, row: u32) -> [Vec<RelayGrant>; 2] {
        let unix = self.config.wall.unix(now);
        let lifetime = self.config.grant_lifetime;
        let fresh = (self.rng.u64(), unix + lifetime);
        let Some(account) = self.payer_of(row) else { return Default::default() };
        let Some(path) = self.paths.get_mut(row) else { return Default::default() };
        let path_id = path.id;
        let relays: Vec<RelayId> = path.relays.clone();
        // While the last grant has half its time left, it is given again: both ends go on with what they
        // have bound, however many directions each of them asks for.
        let (seed, expires) = *path.granted.get_or_insert(fresh);
        let (seed, expires) = if unix + lifetime / 2 < expires { (seed, expires) } else { fresh };
        path.granted = Some((seed, expires));
        let lanes = path.lanes;
        let mut grants: [Vec<RelayGrant>; 2] = Default::default();
        for (relay, lane) in relays.into_iter().flat_map(|relay| (0..lanes).map(move |lane| (relay, lane))) {
            let Some(config) = self.config.relays.get(&relay) else { continue };
            let addresses: Vec<_> = self
                .usable_relays(now)
                .find(|one| one.relay == relay)
                .map_or_else(Vec::new, |one| one.addresses.to_vec());
            let (payer, serial) = self.pay_at(relay, &account, seed, lane);
            let rate = self.config.grant_rate;
            let token = config.grant.mint(&TokenBody { payer, path_id, expires, rate, serial });
            for side in [Side::Initiator, Side::Responder] {
                let bind_key = config.grant.bind_key(&token, side);
                let (addresses, token) = (addresses.clone(), token.clone());
                grants[index(side)].push(RelayGrant { relay, addresses, side, token, bind_key });
            }
        }
        grants
    }

    /// Grants for one end on the relays the communication was given.
    pub(crate) fn grants(&mut self, now: Instant, row: u32, side: Side) -> Vec<RelayGrant> {
        let [initiator, responder] = self.grant_both(now, row);
        match side {
            Side::Initiator => initiator,
            Side::Responder => responder,
        }
    }
}

/// How often each relay is granted: once an interface of the end that has more of them, so that each of its
/// interfaces has a relayed path of its own.
pub(crate) fn lanes(initiator: &NodeDescription, responder: &NodeDescription) -> u8 {
    let most = initiator.interfaces.len().max(responder.interfaces.len());
    if most > 1 { MAX_LANES } else { 1 }
}
