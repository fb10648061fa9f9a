//! The relay against a model that is simple enough to be seen right: lists instead of maps, no
//! timers, everything looked for each time. Both are driven through the same random history, and
//! must send the same datagrams to the same places.

use core::net::SocketAddr;
use core::time::Duration;

use ntm_proto::id::RelayIndex;
use ntm_proto::session::{TokenBody, bind_mac};
use ntm_proto::time::Instant;
use ntm_proto::wire::message::Side;
use ntm_proto::wire::outer::{self, Outer, PUNCH, RelayBind};
use ntm_relay::testing::{Client, EPOCH, Rig, address, config, inner, token_body};
use ntm_relay::{Transmit, limits};
use proptest::prelude::*;

const GRANTS: usize = 3;
const ADDRESSES: [&str; 5] =
    ["192.0.2.1:1000", "192.0.2.1:1001", "203.0.113.2:2000", "[2001:db8::1]:1", "[2001:db8::2]:2"];

/// Who acts: a grant and a side of it.
type Who = (usize, bool);

#[derive(Clone, Debug)]
enum Op {
    /// From where it is, with the next sequence number.
    Bind {
        who: Who,
        inner: Option<usize>,
    },
    /// The last bind again, from any address.
    Replay {
        who: Who,
        at: usize,
    },
    /// A bind with a bit changed.
    Touched {
        who: Who,
        byte: usize,
    },
    Move {
        who: Who,
        to: usize,
    },
    /// With one of the indices the side was ever told, from any of its addresses or its own.
    Relayed {
        who: Who,
        index: usize,
        at: Option<usize>,
        size: usize,
    },
    Punch {
        who: Who,
    },
    Garbage {
        bytes: Vec<u8>,
    },
    Wait {
        millis: u64,
    },
}

fn op() -> impl Strategy<Value = Op> {
    let who = || (0..GRANTS, any::<bool>());
    let size = || prop_oneof![32..300_usize, 1_000..1_500_usize, 8_000..9_000_usize];
    prop_oneof![
        6 => (who(), proptest::option::of(size())).prop_map(|(who, inner)| Op::Bind { who, inner }),
        1 => (who(), 0..ADDRESSES.len()).prop_map(|(who, at)| Op::Replay { who, at }),
        1 => (who(), 0..80_usize).prop_map(|(who, byte)| Op::Touched { who, byte }),
        3 => (who(), 0..ADDRESSES.len()).prop_map(|(who, to)| Op::Move { who, to }),
        8 => (who(), 0..3_usize, proptest::option::weighted(0.2, 0..ADDRESSES.len()), size())
            .prop_map(|(who, index, at, size)| Op::Relayed { who, index, at, size }),
        4 => who().prop_map(|who| Op::Punch { who }),
        1 => proptest::collection::vec(any::<u8>(), 0..100).prop_map(|bytes| Op::Garbage { bytes }),
        3 => prop_oneof![1..1_500_u64, 4_000..6_000_u64, 299_000..301_000_u64].prop_map(|millis| Op::Wait { millis }),
    ]
}

/// What is sent, as far as the model foretells it. The tag is that of the inner datagram, or of a
/// bind's sequence number.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Sent {
    to: SocketAddr,
    bound: bool,
    tag: u64,
}

#[derive(Clone, Debug)]
struct ModelBinding {
    at: SocketAddr,
    index: RelayIndex,
    proven: bool,
    left: usize,
}

#[derive(Clone, Debug, Default)]
struct ModelSide {
    sequence: u64,
    binding: Option<ModelBinding>,
    former: Option<(ModelBinding, Instant)>,
    held: Vec<(Instant, usize, u64)>,
}

#[derive(Clone, Debug)]
struct ModelGrant {
    sides: [ModelSide; 2],
    expires: Instant,
    last_used: Instant,
}

#[derive(Debug, Default)]
struct Model {
    grants: [Option<ModelGrant>; GRANTS],
}

impl Model {
    fn lapse(&mut self, now: Instant) {
        for grant in &mut self.grants {
            grant.take_if(|grant| now >= grant.expires || now >= grant.last_used + limits::GRANT_IDLE);
            for side in grant.iter_mut().flat_map(|grant| &mut grant.sides) {
                side.held.retain(|(since, _, _)| now < *since + limits::HELD_FOR);
                side.former.take_if(|(_, until)| now >= *until);
            }
        }
    }

    fn bind(
        &mut self,
        now: Instant,
        (number, second): Who,
        body: &TokenBody,
        at: SocketAddr,
        bind: &RelayBind<'_>,
        told: RelayIndex,
    ) -> Vec<Sent> {
        let inner = bind.inner.map(|inner| (inner.len(), tag_of(inner)));
        let sequence = bind.sequence;
        let age = now.since(Instant::ZERO);
        if EPOCH + age >= body.expires {
            return Vec::new();
        }
        let expires = Instant::from_millis(body.expires.as_millis() - EPOCH.as_millis());
        let fresh = || ModelGrant { sides: Default::default(), expires, last_used: now };
        let grant = self.grants[number].get_or_insert_with(fresh);
        let side = &mut grant.sides[usize::from(second)];
        if sequence <= side.sequence {
            return Vec::new();
        }
        side.sequence = sequence;
        grant.last_used = now;
        let len = outer::RELAY_BIND + inner.map_or(0, |(size, _)| size);
        match &mut side.binding {
            Some(binding) if binding.at == at => binding.left += 3 * len,
            before => {
                let former = before.take();
                side.former = former.map(|binding| (binding, now + limits::REBIND_GRACE));
                *before = Some(ModelBinding { at, index: told, proven: false, left: 3 * len });
            }
        }
        let binding = side.binding.as_mut().expect("made above");
        if !binding.proven {
            binding.left -= outer::RELAY_BOUND;
        }
        let mut sent = vec![Sent { to: at, bound: true, tag: sequence }];
        sent.extend(side.flush());
        if let Some((size, tag)) = inner {
            sent.extend(grant.forward(now, !second, size, tag));
        }
        sent
    }

    fn relayed(&mut self, now: Instant, index: RelayIndex, at: SocketAddr, inner: Option<(usize, u64)>) -> Vec<Sent> {
        for grant in self.grants.iter_mut().flatten() {
            for second in [false, true] {
                let side = &mut grant.sides[usize::from(second)];
                let current = side.binding.as_ref().is_some_and(|binding| (binding.index, binding.at) == (index, at));
                let former =
                    side.former.as_ref().is_some_and(|(binding, _)| (binding.index, binding.at) == (index, at));
                if !current && !former {
                    continue;
                }
                let mut sent = Vec::new();
                if current && let Some(binding) = &mut side.binding {
                    binding.proven = true;
                    sent.extend(side.flush());
                }
                grant.last_used = now;
                if let Some((size, tag)) = inner {
                    sent.extend(grant.forward(now, !second, size, tag));
                }
                return sent;
            }
        }
        Vec::new()
    }
}

impl ModelSide {
    fn flush(&mut self) -> Vec<Sent> {
        let mut sent = Vec::new();
        while let (Some(binding), Some((_, len, tag))) = (&mut self.binding, self.held.first().copied()) {
            if !binding.proven {
                if binding.left < len {
                    break;
                }
                binding.left -= len;
            }
            self.held.remove(0);
            sent.push(Sent { to: binding.at, bound: false, tag });
        }
        sent
    }
}

impl ModelGrant {
    fn forward(&mut self, now: Instant, second: bool, size: usize, tag: u64) -> Option<Sent> {
        let len = outer::RELAYED_HEADER + size;
        let side = &mut self.sides[usize::from(second)];
        if let Some(binding) = &mut side.binding
            && (binding.proven || binding.left >= len)
        {
            binding.left = binding.left.saturating_sub(if binding.proven { 0 } else { len });
            return Some(Sent { to: binding.at, bound: false, tag });
        }
        let held: usize = side.held.iter().map(|(_, len, _)| len).sum();
        if side.held.len() < limits::MAX_HELD && held + len <= limits::MAX_HELD_BYTES {
            side.held.push((now, len, tag));
            return None;
        }
        let (former, _) = side.former.as_ref()?;
        former.proven.then_some(Sent { to: former.at, bound: false, tag })
    }
}

/// The relay, the model, and the clients that talk to both.
struct World {
    rig: Rig,
    model: Model,
    bodies: Vec<TokenBody>,
    clients: Vec<[Client; 2]>,
    /// Every index a side was ever told, newest last.
    told: Vec<[Vec<RelayIndex>; 2]>,
    last_bind: Vec<[Option<Vec<u8>>; 2]>,
    tag: u64,
}

impl World {
    fn new() -> Self {
        let bodies: Vec<_> = (0..GRANTS as u64)
            .map(|number| {
                // One token ends while the history runs.
                let expires = EPOCH + Duration::from_secs(if number == 0 { 400 } else { 80_000 });
                TokenBody { expires, ..token_body(number) }
            })
            .collect();
        let client = |body, side, at: usize| Client::new(body, side, ADDRESSES[at]);
        Self {
            rig: Rig::new(config()),
            model: Model::default(),
            clients: bodies
                .iter()
                .map(|body| [client(body, Side::Initiator, 0), client(body, Side::Responder, 3)])
                .collect(),
            bodies,
            told: vec![Default::default(); GRANTS],
            last_bind: vec![Default::default(); GRANTS],
            tag: 1_000_000,
        }
    }

    fn client(&mut self, (number, second): Who) -> &mut Client {
        &mut self.clients[number][usize::from(second)]
    }

    fn step(&mut self, op: &Op) -> Result<(), TestCaseError> {
        let now = self.rig.now;
        self.model.lapse(now);
        self.tag += 1;
        let tag = self.tag;
        let (from, datagram) = match op {
            Op::Wait { millis } => {
                let sent = self.rig.advance(Duration::from_millis(*millis));
                prop_assert_eq!(sent, vec![]);
                self.model.lapse(self.rig.now);
                prop_assert_eq!(self.rig.relay.stats().grants, self.model.grants.iter().flatten().count());
                return Ok(());
            }
            Op::Move { who, to } => {
                self.client(*who).move_to(ADDRESSES[*to]);
                return Ok(());
            }
            Op::Bind { who, inner: size } => {
                let inner = size.map(|size| inner(tag, size));
                let client = self.client(*who);
                let datagram = client.bind(inner.as_deref());
                let from = client.address;
                self.last_bind[who.0][usize::from(who.1)] = Some(datagram.clone());
                (from, datagram)
            }
            Op::Replay { who, at } => match &self.last_bind[who.0][usize::from(who.1)] {
                Some(bind) => (address(ADDRESSES[*at]), bind.clone()),
                None => return Ok(()),
            },
            Op::Touched { who, byte } => {
                let client = self.client(*who);
                let mut bind = client.bind(None);
                // Its number stays free for the next: nobody saw this one.
                client.sequence -= 1;
                // The reserved bytes are authentic too.
                bind[2 + byte % 78] ^= 0x10;
                (client.address, bind)
            }
            Op::Relayed { who, index, at, size } => {
                let told = &self.told[who.0][usize::from(who.1)];
                let Some(index) = told.iter().rev().nth(*index).copied() else { return Ok(()) };
                let from = at.map_or(self.client(*who).address, |at| address(ADDRESSES[at]));
                (from, outer::emit_relayed(index, &inner(tag, *size)))
            }
            Op::Punch { who } => {
                let told = &self.told[who.0][usize::from(who.1)];
                let Some(index) = told.last().copied() else { return Ok(()) };
                (self.client(*who).address, outer::emit_relayed(index, &PUNCH))
            }
            Op::Garbage { bytes } => (address(ADDRESSES[0]), bytes.clone()),
        };

        let local = address(if from.is_ipv4() { ntm_relay::testing::RELAY4 } else { ntm_relay::testing::RELAY6 });
        let sent = self.rig.input(local, from, &datagram);
        let expected = self.foretell(op, now, from, &datagram, &sent, tag);
        let mut summary: Vec<_> = sent.iter().map(|transmit| self.summary(transmit)).collect();
        let mut expected = expected;
        // The order among a bound, what waited and what goes on is the relay's own.
        summary.sort();
        expected.sort();
        prop_assert_eq!(summary, expected, "{:?}", op);
        for transmit in &sent {
            prop_assert_eq!(transmit.from.is_ipv4(), transmit.to.is_ipv4());
        }
        let held: usize = self
            .model
            .grants
            .iter()
            .flatten()
            .flat_map(|grant| &grant.sides)
            .flat_map(|side| &side.held)
            .map(|(_, len, _)| len)
            .sum();
        prop_assert_eq!(self.rig.relay.stats().held_bytes, held);
        Ok(())
    }

    fn foretell(
        &mut self,
        op: &Op,
        now: Instant,
        from: SocketAddr,
        datagram: &[u8],
        sent: &[Transmit],
        tag: u64,
    ) -> Vec<Sent> {
        match op {
            Op::Bind { who, .. } | Op::Replay { who, .. } => {
                let Ok(Outer::RelayBind(bind)) = Outer::parse(datagram) else { return Vec::new() };
                // The index is the relay's choice: it is taken from the answer, once authentic.
                let told = self.bound_in(*who, sent);
                if let Some(index) = told
                    && self.told[who.0][usize::from(who.1)].last() != Some(&index)
                {
                    self.told[who.0][usize::from(who.1)].push(index);
                }
                let body = self.bodies[who.0];
                self.model.bind(now, *who, &body, from, &bind, told.unwrap_or(RelayIndex(0)))
            }
            Op::Relayed { size, .. } => self.model.relayed(now, index_of(datagram), from, Some((*size, tag))),
            Op::Punch { .. } => self.model.relayed(now, index_of(datagram), from, None),
            Op::Touched { .. } | Op::Garbage { .. } | Op::Move { .. } | Op::Wait { .. } => Vec::new(),
        }
    }

    fn bound_in(&self, (number, second): Who, sent: &[Transmit]) -> Option<RelayIndex> {
        let client = &self.clients[number][usize::from(second)];
        sent.iter().find_map(|transmit| match Outer::parse(&transmit.datagram) {
            Ok(Outer::RelayBound(bound)) if bind_mac(&client.bind_key, bound.covered()) == *bound.mac => {
                assert_eq!(bound.observed, transmit.to);
                Some(bound.index)
            }
            _ => None,
        })
    }

    fn summary(&self, transmit: &Transmit) -> Sent {
        match Outer::parse(&transmit.datagram) {
            Ok(Outer::RelayBound(bound)) => Sent { to: transmit.to, bound: true, tag: bound.sequence },
            Ok(Outer::Relayed { index, inner }) => {
                assert!(self.told.iter().flatten().flatten().any(|told| *told == index), "an index nobody was told");
                Sent { to: transmit.to, bound: false, tag: tag_of(inner) }
            }
            other => panic!("the relay sent {other:?}"),
        }
    }
}

/// Which inner datagram it is.
fn tag_of(inner: &[u8]) -> u64 {
    u64::from_be_bytes(inner[8..16].try_into().expect("8 bytes"))
}

fn index_of(datagram: &[u8]) -> RelayIndex {
    RelayIndex(u32::from_be_bytes(datagram[4..8].try_into().expect("4 bytes")))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_relay_does_what_the_model_does(history in proptest::collection::vec(op(), 1..200)) {
        let mut world = World::new();
        for op in &history {
            world.step(op)?;
        }
    }
}
