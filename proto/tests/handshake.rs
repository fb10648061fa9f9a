//! Handshakes between two ends, and what an attacker on the path can do to them.
#![cfg(any(feature = "aws-lc", feature = "pure-rust"))]
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "tests say what went wrong by panicking")]

mod common;

use common::{End, at, connect, providers, psk};
use ntm_proto::crypto::{AeadKey, Provider, PublicKeyBytes, Secret, Suite, Unauthentic};
use ntm_proto::id::SessionIndex;
use ntm_proto::identity::NoiseKey;
use ntm_proto::rng::Rng;
use ntm_proto::session::handshake::PATTERN;
use ntm_proto::session::noise::Resolver;
use ntm_proto::session::{Established, HandshakeError, Incoming, Initiator, Psk};
use ntm_proto::wire::outer::{HandshakeInit, HandshakeResponse, MAC, emit_handshake_response};

const HERE: SessionIndex = SessionIndex(0x1111_1111);
const THERE: SessionIndex = SessionIndex(0x2222_2222);

struct Parties {
    provider: &'static dyn Provider,
    rng: Rng,
    me: NoiseKey,
    peer: NoiseKey,
}

impl Parties {
    fn new() -> Self {
        let provider = providers()[0];
        let mut rng = Rng::from_seed([5; 32]);
        let me = NoiseKey::from_secret(provider, Secret::new(rng.array()));
        let peer = NoiseKey::from_secret(provider, Secret::new(rng.array()));
        Self { provider, rng, me, peer }
    }

    fn start(&mut self) -> (Initiator, Vec<u8>) {
        let peer = *self.peer.public();
        Initiator::start(self.provider, &mut self.rng, &self.me, &peer, &psk(), HERE, b"question", None)
    }

    fn read(&mut self, datagram: &[u8]) -> Result<Incoming, HandshakeError> {
        let init = HandshakeInit::parse(datagram).unwrap();
        Incoming::read(self.provider, &mut self.rng, &self.peer, &init)
    }

    fn respond(&mut self, datagram: &[u8], psk: &Psk) -> (Established, Vec<u8>) {
        self.read(datagram).unwrap().respond(psk, THERE, b"answer").unwrap()
    }
}

fn finish(initiator: &mut Initiator, datagram: &[u8]) -> Result<Established, HandshakeError> {
    initiator.finish(&HandshakeResponse::parse(datagram).unwrap())
}

/// Makes mac1 right again after a change, as an attacker can who knows the receiver's public key.
fn with_mac1(mut datagram: Vec<u8>, receiver: &PublicKeyBytes) -> Vec<u8> {
    let end = datagram.len() - 2 * MAC;
    let key = ntm_proto::crypto::blake2s(&[b"ntmfw mac1 v1", receiver]);
    let mac = ntm_proto::crypto::keyed_mac(&key, &[&datagram[..end]]);
    datagram[end..end + MAC].copy_from_slice(&mac);
    datagram
}

#[test]
fn both_ends_agree_on_keys_and_learn_who_the_other_is() {
    let mut parties = Parties::new();
    let (mut initiator, init) = parties.start();
    let incoming = parties.read(&init).unwrap();
    assert_eq!(incoming.peer_key(), parties.me.public());
    assert_eq!(incoming.payload(), b"question");
    assert_eq!(incoming.remote(), HERE);
    let (theirs, response) = incoming.respond(&psk(), THERE, b"answer").unwrap();
    let ours = finish(&mut initiator, &response).unwrap();

    assert_eq!(ours.payload, b"answer");
    assert_eq!((ours.local, ours.remote), (HERE, THERE));
    assert_eq!((theirs.local, theirs.remote), (THERE, HERE));
    assert_eq!(ours.peer_key, *parties.peer.public());
    assert!(ours.send == theirs.receive && ours.receive == theirs.send && ours.send != ours.receive);
    assert_eq!(ours.handshake_hash, theirs.handshake_hash);
    assert_eq!(ours.suite, theirs.suite);
}

#[test]
fn the_same_seed_gives_the_same_bytes() {
    let transcript = || {
        let mut parties = Parties::new();
        let (mut initiator, init) = parties.start();
        let (_, response) = parties.respond(&init, &psk());
        let established = finish(&mut initiator, &response).unwrap();
        (init, response, established.handshake_hash)
    };
    assert_eq!(transcript(), transcript());
}

#[test]
fn ephemeral_keys_are_fresh_for_each_handshake() {
    let mut parties = Parties::new();
    let (_, first) = parties.start();
    let (_, second) = parties.start();
    assert_ne!(first[8..40], second[8..40]);
}

#[test]
fn every_pair_of_providers_understands_each_other_in_both_roles() {
    for initiating in providers() {
        for responding in providers() {
            let (mut a, mut b) = (End::new(initiating, 1), End::new(responding, 2));
            connect(at(0), &mut a, &mut b);
            let question = a.session.seal(at(0), b"question").unwrap();
            assert_eq!(b.open(at(0), &question).as_deref(), Some(&b"question"[..]));
            let answer = b.session.seal(at(0), b"answer").unwrap();
            assert_eq!(a.open(at(0), &answer).as_deref(), Some(&b"answer"[..]));

            let common = initiating.suites().iter().filter(|suite| responding.suites().contains(suite)).count();
            let suite = a.session.sealing(at(0)).unwrap().suite();
            let expected = if common == 2 { Suite::Aes256Gcm } else { Suite::ChaCha20Poly1305 };
            assert_eq!(suite, expected, "{} to {}", initiating.name(), responding.name());
        }
    }
}

#[test]
fn a_response_changed_anywhere_is_refused_and_the_true_one_still_works() {
    let mut parties = Parties::new();
    let me = *parties.me.public();
    let (mut initiator, init) = parties.start();
    let (_, response) = parties.respond(&init, &psk());
    for at in 0..response.len() - MAC {
        let mut forged = response.clone();
        forged[at] ^= 0x40;
        if at < 1 {
            continue; // Another type: not a response at all.
        }
        let refused = |datagram: &[u8], initiator: &mut Initiator| {
            HandshakeResponse::parse(datagram).map(|response| initiator.finish(&response).is_err()).unwrap_or(true)
        };
        assert!(refused(&forged, &mut initiator), "byte {at}");
        // With mac1 made right again only Noise protects: what it does not cover is the sender's index
        // in the header, whose copy inside is checked, and flags, which mean nothing.
        if at >= 8 {
            assert!(at >= response.len() - 2 * MAC || refused(&with_mac1(forged, &me), &mut initiator), "byte {at}");
        }
    }
    assert_eq!(finish(&mut initiator, &response).unwrap().payload, b"answer");
}

#[test]
fn a_response_with_another_sender_index_in_its_header_is_refused() {
    let mut parties = Parties::new();
    let me = *parties.me.public();
    let (mut initiator, init) = parties.start();
    let (_, mut response) = parties.respond(&init, &psk());
    response[4] ^= 1;
    assert_eq!(finish(&mut initiator, &with_mac1(response, &me)), Err(HandshakeError::Malformed));
}

#[test]
fn truncated_and_foreign_responses_leave_the_handshake_usable() {
    let mut parties = Parties::new();
    let me = *parties.me.public();
    let (mut initiator, init) = parties.start();
    let (_, response) = parties.respond(&init, &psk());
    for len in 0..response.len() {
        if let Ok(response) = HandshakeResponse::parse(&response[..len]) {
            assert!(initiator.finish(&response).is_err(), "{len} bytes");
        }
        // Cut, and made to look whole again.
        if (12..response.len() - 2 * MAC).contains(&len) {
            let cut = with_mac1([&response[..len], &[0; 2 * MAC]].concat(), &me);
            if let Ok(response) = HandshakeResponse::parse(&cut) {
                assert_eq!(initiator.finish(&response), Err(HandshakeError::Unauthentic), "{len} bytes");
            }
        }
    }
    // The answer to an earlier handshake of the same parties, replayed.
    let (_, other) = parties.start();
    let (_, replayed) = parties.respond(&other, &psk());
    assert_eq!(finish(&mut initiator, &replayed), Err(HandshakeError::Unauthentic));
    assert_eq!(finish(&mut initiator, &response).unwrap().payload, b"answer");
}

#[test]
fn a_response_replayed_after_the_end_is_refused() {
    let mut parties = Parties::new();
    let (mut initiator, init) = parties.start();
    let (_, response) = parties.respond(&init, &psk());
    finish(&mut initiator, &response).unwrap();
    assert_eq!(finish(&mut initiator, &response), Err(HandshakeError::UnknownIndex));
}

#[test]
fn a_wrong_psk_is_refused_and_the_right_one_still_works() {
    let mut parties = Parties::new();
    let (mut initiator, init) = parties.start();
    let (_, wrong) = parties.respond(&init, &Secret::new([8; 32]));
    assert_eq!(finish(&mut initiator, &wrong), Err(HandshakeError::Unauthentic));
    let (_, right) = parties.respond(&init, &psk());
    assert!(finish(&mut initiator, &right).is_ok());
}

#[test]
fn a_first_message_for_another_key_is_dropped_before_any_diffie_hellman() {
    let mut parties = Parties::new();
    let (_, init) = parties.start();
    let counting: &'static Counting = Box::leak(Box::new(Counting::new(parties.provider)));
    let stranger = NoiseKey::from_secret(parties.provider, Secret::new([3; 32]));
    let parsed = HandshakeInit::parse(&init).unwrap();
    let result = Incoming::read(counting, &mut parties.rng, &stranger, &parsed);
    assert_eq!(result.err(), Some(HandshakeError::BadMac));
    assert_eq!(counting.agreements(), 0);
    assert!(Incoming::read(counting, &mut parties.rng, &parties.peer, &parsed).is_ok());
    assert!(counting.agreements() > 0, "the counter counts");
}

#[test]
fn a_response_with_a_wrong_mac_costs_no_diffie_hellman() {
    let mut parties = Parties::new();
    let counting: &'static Counting = Box::leak(Box::new(Counting::new(parties.provider)));
    let peer = *parties.peer.public();
    let (mut initiator, init) =
        Initiator::start(counting, &mut parties.rng, &parties.me, &peer, &psk(), HERE, b"question", None);
    let (_, mut response) = parties.respond(&init, &psk());
    let before = counting.agreements();
    response[20] ^= 1;
    assert_eq!(finish(&mut initiator, &response), Err(HandshakeError::BadMac));
    assert_eq!(counting.agreements(), before);
}

#[test]
fn a_first_message_changed_anywhere_is_refused() {
    let mut parties = Parties::new();
    let peer = *parties.peer.public();
    let (_, init) = parties.start();
    for at in 1..init.len() - 2 * MAC {
        let mut forged = init.clone();
        forged[at] ^= 0x40;
        assert_eq!(parties.read(&forged).err(), Some(HandshakeError::BadMac), "byte {at}");
        let result = parties.read(&with_mac1(forged, &peer));
        assert_eq!(result.err(), Some(HandshakeError::Unauthentic), "byte {at}");
    }
}

#[test]
fn a_responder_that_has_no_suite_of_those_offered_refuses() {
    let mut parties = Parties::new();
    let (modest, stubborn) = (only(&[Suite::ChaCha20Poly1305]), only(&[Suite::Aes256Gcm]));
    let peer = *parties.peer.public();
    let (_, init) = Initiator::start(modest, &mut parties.rng, &parties.me, &peer, &psk(), HERE, b"question", None);
    let parsed = HandshakeInit::parse(&init).unwrap();
    let incoming = Incoming::read(stubborn, &mut parties.rng, &parties.peer, &parsed).unwrap();
    assert_eq!(incoming.respond(&psk(), THERE, b"").err(), Some(HandshakeError::NoCommonSuite));
}

#[test]
fn a_suite_that_was_not_offered_is_refused_even_from_the_true_responder() {
    // Offer and choice travel encrypted, so nobody on the path can change them (the tests above change
    // every byte). Here the responder itself, written from the specification, chooses wrongly.
    for (chosen, expected) in [
        (1, Ok(Suite::ChaCha20Poly1305)),
        (2, Err(HandshakeError::NoCommonSuite)),
        (0, Err(HandshakeError::NoCommonSuite)),
        (77, Err(HandshakeError::NoCommonSuite)),
    ] {
        let mut parties = Parties::new();
        let peer = *parties.peer.public();
        let modest = only(&[Suite::ChaCha20Poly1305]);
        let (mut initiator, init) =
            Initiator::start(modest, &mut parties.rng, &parties.me, &peer, &psk(), HERE, b"question", None);

        let prologue = [b"ntmfw session v1", &init[..8]].concat();
        let resolver = Resolver::new(parties.provider, &mut parties.rng);
        let mut noise = snow::Builder::with_resolver(PATTERN.parse().unwrap(), Box::new(resolver))
            .prologue(&prologue)
            .unwrap()
            .local_private_key(parties.peer.secret().expose())
            .unwrap()
            .psk(2, psk().expose())
            .unwrap()
            .build_responder()
            .unwrap();
        let mut buffer = [0; 1_000];
        let len = noise.read_message(HandshakeInit::parse(&init).unwrap().noise, &mut buffer).unwrap();
        assert_eq!(buffer[..len], [&[1, 0, 0, 0, 0], &b"question"[..]].concat());

        let payload = [&[chosen][..], &THERE.0.to_be_bytes(), &[0, 0, 0, 7], b"answer"].concat();
        let len = noise.write_message(&payload, &mut buffer).unwrap();
        let response = emit_handshake_response(THERE, HERE, &buffer[..len]);
        let result = finish(&mut initiator, &with_mac1(response, parties.me.public()));
        assert_eq!(result.map(|established| established.suite), expected, "{chosen}");
    }
}

#[test]
fn a_peer_with_an_impossible_key_is_unreachable_and_nothing_else() {
    let mut parties = Parties::new();
    let low_order = [0; 32];
    let (mut initiator, init) =
        Initiator::start(parties.provider, &mut parties.rng, &parties.me, &low_order, &psk(), HERE, b"question", None);
    assert!(HandshakeInit::parse(&init).is_ok());
    let (_, other) = parties.start();
    let (_, response) = parties.respond(&other, &psk());
    assert_eq!(finish(&mut initiator, &response), Err(HandshakeError::UnknownIndex));
}

#[test]
fn secrets_are_wiped_when_dropped_and_never_printed() {
    fn wiped<T: zeroize::ZeroizeOnDrop>() {}
    wiped::<Secret>();
    let mut parties = Parties::new();
    let (mut initiator, init) = parties.start();
    let (_, response) = parties.respond(&init, &psk());
    let established = finish(&mut initiator, &response).unwrap();
    let printed = format!("{established:?} {:?} {:?}", parties.me, established.send);
    assert!(!printed.contains(&format!("{:?}", &established.send.expose()[..4])[1..10]));
    assert!(printed.contains("Secret(..)"));
}

/// A provider that counts Diffie-Hellmans.
#[derive(Debug)]
struct Counting {
    inner: &'static dyn Provider,
    agreements: std::sync::atomic::AtomicU32,
}

impl Counting {
    fn new(inner: &'static dyn Provider) -> Self {
        Self { inner, agreements: 0.into() }
    }

    fn agreements(&self) -> u32 {
        self.agreements.load(std::sync::atomic::Ordering::SeqCst)
    }
}

fn only(suites: &'static [Suite]) -> &'static dyn Provider {
    Box::leak(Box::new(Modest(providers()[0], suites)))
}

/// A provider with other suites.
#[derive(Debug)]
struct Modest(&'static dyn Provider, &'static [Suite]);

macro_rules! forward {
    ($type:ty, $inner:ident => $inner_of:expr, $suites:expr, $count:expr) => {
        impl Provider for $type {
            fn name(&self) -> &'static str {
                "test"
            }
            fn aead(&self, suite: Suite, key: &Secret) -> Box<dyn AeadKey> {
                let $inner = self;
                $inner_of.aead(suite, key)
            }
            fn x25519(&self, secret: &Secret, public: &PublicKeyBytes) -> Result<Secret, Unauthentic> {
                let $inner = self;
                $count($inner);
                $inner_of.x25519(secret, public)
            }
            fn x25519_public(&self, secret: &Secret) -> PublicKeyBytes {
                let $inner = self;
                $inner_of.x25519_public(secret)
            }
            fn ed25519_public(&self, seed: &Secret) -> PublicKeyBytes {
                let $inner = self;
                $inner_of.ed25519_public(seed)
            }
            fn ed25519_sign(&self, seed: &Secret, message: &[u8]) -> [u8; 64] {
                let $inner = self;
                $inner_of.ed25519_sign(seed, message)
            }
            fn ed25519_verify(
                &self,
                public: &PublicKeyBytes,
                message: &[u8],
                signature: &[u8; 64],
            ) -> Result<(), Unauthentic> {
                let $inner = self;
                $inner_of.ed25519_verify(public, message, signature)
            }
            fn suites(&self) -> &'static [Suite] {
                let $inner = self;
                $suites($inner)
            }
        }
    };
}

forward!(Counting, it => it.inner, |it: &Counting| it.inner.suites(), |it: &Counting| {
    it.agreements.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
});
forward!(Modest, it => it.0, |it: &Modest| it.1, |_: &Modest| {});
