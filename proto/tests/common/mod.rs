//! Two ends of a session, and what their owners do.
#![allow(dead_code, reason = "each test file uses its part")]

use std::collections::BTreeSet;

use ntm_proto::crypto::{Provider, Secret};
use ntm_proto::id::SessionIndex;
use ntm_proto::identity::NoiseKey;
use ntm_proto::rng::Rng;
use ntm_proto::session::{HandshakeError, Incoming, Psk, SIGNAL_WINDOW_WORDS, Session};
use ntm_proto::time::Instant;
use ntm_proto::wire::outer::{HandshakeInit, HandshakeResponse};

pub(crate) type TestSession = Session<SIGNAL_WINDOW_WORDS>;

pub(crate) fn providers() -> Vec<&'static dyn Provider> {
    vec![
        #[cfg(feature = "aws-lc")]
        ntm_proto::crypto::aws_lc::PROVIDER,
        #[cfg(feature = "pure-rust")]
        ntm_proto::crypto::pure::PROVIDER,
    ]
}

pub(crate) fn psk() -> Psk {
    Secret::new([9; 32])
}

pub(crate) fn at(seconds: u64) -> Instant {
    Instant::from_millis(seconds * 1_000)
}

/// One end with the bookkeeping its owner does.
pub(crate) struct End {
    pub(crate) provider: &'static dyn Provider,
    pub(crate) rng: Rng,
    pub(crate) key: NoiseKey,
    pub(crate) session: TestSession,
    /// What the owner's table holds for this session.
    pub(crate) indices: BTreeSet<SessionIndex>,
    /// The number of the last handshake begun, and of the peer's last one taken.
    pub(crate) begun: u64,
    pub(crate) taken: u64,
}

impl End {
    pub(crate) fn new(provider: &'static dyn Provider, seed: u8) -> Self {
        let mut rng = Rng::from_seed([seed; 32]);
        let key = NoiseKey::from_secret(provider, Secret::new(rng.array()));
        let session = Session::new(provider);
        Self { provider, rng, key, session, indices: BTreeSet::new(), begun: 0, taken: 0 }
    }

    pub(crate) fn public(&self) -> [u8; 32] {
        *self.key.public()
    }

    pub(crate) fn begin(&mut self, now: Instant, peer: &[u8; 32]) -> Vec<u8> {
        let index = self.index();
        self.begun += 1;
        let payload = self.begun.to_be_bytes();
        let datagram = self.session.begin(now, &mut self.rng, &self.key, peer, &psk(), index, &payload);
        self.settle();
        datagram
    }

    /// What an owner does with a first message: refuses old ones, but answers a repeated one again.
    pub(crate) fn accept(&mut self, now: Instant, datagram: &[u8]) -> Option<Vec<u8>> {
        let init = HandshakeInit::parse(datagram).ok()?;
        let incoming = Incoming::read(self.provider, &mut self.rng, &self.key, &init).ok()?;
        let number = u64::from_be_bytes(incoming.payload().try_into().unwrap());
        if number <= self.taken && !self.session.is_repeat(&incoming) {
            return None;
        }
        self.taken = self.taken.max(number);
        let index = self.index();
        let response = self.session.accept(now, incoming, &psk(), index, b"welcome").unwrap();
        self.settle();
        Some(response)
    }

    pub(crate) fn finish(&mut self, now: Instant, datagram: &[u8]) -> Result<Vec<u8>, HandshakeError> {
        let response = HandshakeResponse::parse(datagram).expect("a response");
        let result = self.session.handle_response(now, &response);
        self.settle();
        result
    }

    pub(crate) fn open(&mut self, now: Instant, datagram: &[u8]) -> Option<Vec<u8>> {
        let mut datagram = datagram.to_vec();
        let opened = self.session.open_in_place(now, &mut datagram).ok()?;
        Some(datagram[opened.plaintext].to_vec())
    }

    /// Brings the owner's table up to date, and checks that it is what the session says.
    pub(crate) fn settle(&mut self) {
        while let Some(index) = self.session.take_retired() {
            assert!(self.indices.remove(&index), "each index is retired once");
        }
        assert_eq!(self.indices, self.session.indices().collect());
    }

    fn index(&mut self) -> SessionIndex {
        loop {
            let index = SessionIndex(self.rng.u32());
            if self.indices.insert(index) {
                return index;
            }
        }
    }
}

/// A whole handshake without loss; the keep-alive that confirms it is not yet sent.
pub(crate) fn connect(now: Instant, a: &mut End, b: &mut End) {
    let init = a.begin(now, &b.public());
    let response = b.accept(now, &init).expect("an answer");
    assert_eq!(a.finish(now, &response).expect("established"), b"welcome");
}

/// A whole handshake, with the first datagram each way.
pub(crate) fn established(now: Instant) -> (End, End) {
    let provider = providers()[0];
    let (mut a, mut b) = (End::new(provider, 1), End::new(provider, 2));
    connect(now, &mut a, &mut b);
    for (from, to) in [(0, 1), (1, 0)] {
        let ends = [&mut a, &mut b];
        let datagram = ends[from].session.seal(now, b"hello").unwrap();
        assert_eq!(ends[to].open(now, &datagram).as_deref(), Some(&b"hello"[..]));
    }
    (a, b)
}
