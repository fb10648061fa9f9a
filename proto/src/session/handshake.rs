//! One Noise handshake, either side: `Noise_IKpsk2_25519_ChaChaPoly_BLAKE2s`.
//!
//! ```text
//! initiator                                                        responder
//!   HandshakeInit      e, es, s, ss   {suites ‖ generation ‖ payload}          ──▶
//!   ◀──    {suite ‖ sender index ‖ generation ‖ payload}   e, ee, se, psk   HandshakeResponse
//! ```
//!
//! Noise's prologue is a label and the eight header bytes of the first message, so both ends agree on
//! the initiator's index or on nothing; the responder's index travels inside its encrypted payload as
//! well as in the header, and both must be the same. The suite is negotiated inside the encrypted
//! payloads: the initiator offers what it has, the responder takes the best it has too, the initiator
//! checks that it offered it; who changes any of this on the way breaks the authentication.
//!
//! The PSK enters with the second message. So the responder reads the first one without it, learns who
//! asks, and looks the key up: [`Incoming`].
//!
//! [`Session`](super::Session) drives this; use it unless you know why not.

use alloc::boxed::Box;
use alloc::vec;
use alloc::vec::Vec;
use core::fmt;

use snow::{Builder, HandshakeState};
use zeroize::Zeroize as _;

use super::cookie::{self, Cookie};
use super::noise::Resolver;
use crate::crypto::{self, Provider, PublicKeyBytes, Secret, Suite};
use crate::id::SessionIndex;
use crate::identity::NoiseKey;
use crate::rng::Rng;
use crate::time::Instant;
use crate::wire::outer::{
    CookieReply, HandshakeInit, HandshakeResponse, INIT_HEADER, MIN_NOISE_INIT, MIN_NOISE_RESPONSE,
    emit_handshake_init, emit_handshake_response,
};

/// The key both ends of a session were given beforehand: by the DC between nodes, in the ticket
/// between a node and its DC.
pub type Psk = Secret;

/// The PSK of a refusal: what a responder seals its answer under where it will not, or cannot, use the key
/// that the initiator holds (a ticket it cannot open). Its own static key still authenticates it. Nothing but an
/// error may be read from such an answer, and the keys it makes are nobody's.
pub const REFUSAL_PSK: Psk = Secret::new([0; 32]);

/// The Noise protocol of every session.
pub const PATTERN: &str = "Noise_IKpsk2_25519_ChaChaPoly_BLAKE2s";

/// Bytes of the caller's payload in either message. A longer one is a caller's mistake: it is cut here,
/// and the peer will not understand it.
pub const MAX_PAYLOAD: usize = 32_768;

const PROLOGUE: &[u8] = b"ntmfw session v1";
/// Suites and generation.
const INIT_PREFIX: usize = 5;
/// Suite, sender index and generation.
const RESPONSE_PREFIX: usize = 9;

/// Why a handshake datagram was dropped. None of these changes the state of a handshake that may yet
/// succeed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HandshakeError {
    /// mac1 is not for us. Nothing was computed.
    BadMac,
    /// No handshake in flight has this index.
    UnknownIndex,
    /// Forged, damaged, for another key, or made with another PSK.
    Unauthentic,
    /// Authentic, and against the protocol: the peer is broken.
    Malformed,
    /// Authentic, but no suite was agreed on, or one that was never offered.
    NoCommonSuite,
    /// A cookie reply that answers nothing we sent, or one too many.
    BadCookie,
}

/// What a finished handshake gives.
#[derive(Clone, PartialEq, Eq)]
pub struct Established {
    pub suite: Suite,
    /// The key this end seals with.
    pub send: Secret,
    /// The key this end opens with.
    pub receive: Secret,
    /// The index this end chose, by which it finds the key pair.
    pub local: SessionIndex,
    /// The index the peer chose.
    pub remote: SessionIndex,
    pub peer_key: PublicKeyBytes,
    /// Noise's handshake hash: the same at both ends, and of this handshake alone.
    pub handshake_hash: [u8; 32],
    /// Whether this end sent the first message.
    pub initiator: bool,
    /// Orders the key pairs of one session, the same way at both ends; see [`Session`](super::Session).
    pub generation: u32,
    /// The peer's payload: the responder's in [`Initiator::finish`], empty in [`Incoming::respond`],
    /// where [`Incoming::payload`] gave it already.
    pub payload: Vec<u8>,
}

/// The initiator's side: the first message is out, the answer is awaited.
pub struct Initiator {
    /// `None` once finished, and from the start where the peer's key is no key.
    noise: Option<Box<HandshakeState>>,
    me: PublicKeyBytes,
    peer: PublicKeyBytes,
    psk: Psk,
    local: SessionIndex,
    offered: u8,
    datagram: Vec<u8>,
}

impl Initiator {
    /// Makes the first message: gives the state and the datagram to send.
    ///
    /// A peer whose public key is of low order gets a message of zeros, which nobody answers: such
    /// a peer is unreachable, as it wants to be.
    #[expect(clippy::too_many_arguments, reason = "a handshake has this many inputs, each of another type")]
    pub fn start(
        provider: &'static dyn Provider,
        rng: &mut Rng,
        me: &NoiseKey,
        peer: &PublicKeyBytes,
        psk: &Psk,
        local: SessionIndex,
        payload: &[u8],
        cookie: Option<&Cookie>,
    ) -> (Self, Vec<u8>) {
        let initiator = Self::start_generation(provider, rng, me, peer, psk, local, 0, payload);
        let datagram = initiator.datagram(cookie);
        (initiator, datagram)
    }

    #[expect(clippy::too_many_arguments, reason = "a handshake has this many inputs, each of another type")]
    pub(super) fn start_generation(
        provider: &'static dyn Provider,
        rng: &mut Rng,
        me: &NoiseKey,
        peer: &PublicKeyBytes,
        psk: &Psk,
        local: SessionIndex,
        generation: u32,
        payload: &[u8],
    ) -> Self {
        debug_assert!(payload.len() <= MAX_PAYLOAD);
        let payload = &payload[..payload.len().min(MAX_PAYLOAD)];
        let offered = provider.suites().iter().fold(0, |mask, suite| mask | suite.bit());

        let mut plaintext = Vec::with_capacity(INIT_PREFIX + payload.len());
        plaintext.push(offered);
        plaintext.extend_from_slice(&generation.to_be_bytes());
        plaintext.extend_from_slice(payload);

        let resolver = Resolver::new(provider, rng).knowing(me);
        // The header comes first: Noise's prologue holds it.
        let mut message = vec![0; MIN_NOISE_INIT + plaintext.len()];
        let mut datagram = emit_handshake_init(local, &message);
        let prologue = [PROLOGUE, &datagram[..INIT_HEADER]].concat();
        let mut noise = builder(resolver, me, &prologue)
            .remote_public_key(peer)
            .and_then(|builder| builder.psk(2, psk.expose()))
            .and_then(Builder::build_initiator)
            .expect("the keys are all there, each once");

        let written = noise.write_message(&plaintext, &mut message);
        plaintext.zeroize();
        let noise = written.is_ok().then(|| {
            datagram[INIT_HEADER..][..message.len()].copy_from_slice(&message);
            Box::new(noise)
        });
        cookie::write_macs(&mut datagram, peer, None);
        Self { noise, me: *me.public(), peer: *peer, psk: psk.clone(), local, offered, datagram }
    }

    /// The first message again: the same bytes but for mac2.
    pub fn datagram(&self, cookie: Option<&Cookie>) -> Vec<u8> {
        let mut datagram = self.datagram.clone();
        cookie::refresh_mac2(&mut datagram, cookie);
        datagram
    }

    /// Reads the answer. After an error from an unauthentic one the true answer is still welcome.
    pub fn finish(&mut self, response: &HandshakeResponse<'_>) -> Result<Established, HandshakeError> {
        if response.receiver != self.local {
            return Err(HandshakeError::UnknownIndex);
        }
        if !cookie::mac1_is_valid(&self.me, response.covered(), response.mac1) {
            return Err(HandshakeError::BadMac);
        }
        let noise = self.noise.as_mut().ok_or(HandshakeError::UnknownIndex)?;
        let mut plaintext = vec![0; response.noise.len()];
        let len = noise.read_message(response.noise, &mut plaintext).map_err(|_| HandshakeError::Unauthentic)?;
        plaintext.truncate(len);
        let mut noise = self.noise.take().ok_or(HandshakeError::UnknownIndex)?;

        let (prefix, payload) = plaintext.split_first_chunk::<RESPONSE_PREFIX>().ok_or(HandshakeError::Malformed)?;
        let [suite, s0, s1, s2, s3, g0, g1, g2, g3] = *prefix;
        if SessionIndex(u32::from_be_bytes([s0, s1, s2, s3])) != response.sender {
            return Err(HandshakeError::Malformed);
        }
        let suite = Suite::from_number(suite)
            .filter(|suite| suite.bit() & self.offered != 0)
            .ok_or(HandshakeError::NoCommonSuite)?;
        let (send, receive) = split(&mut noise);
        Ok(Established {
            suite,
            send,
            receive,
            local: self.local,
            remote: response.sender,
            peer_key: self.peer,
            handshake_hash: handshake_hash(&noise),
            initiator: true,
            generation: u32::from_be_bytes([g0, g1, g2, g3]),
            payload: payload.to_vec(),
        })
    }

    /// Reads an answer that [`finish`](Self::finish) could not, as a refusal: gives its payload, and the
    /// handshake is over. After an error the true answer is still welcome.
    pub fn refusal(&mut self, response: &HandshakeResponse<'_>) -> Result<Vec<u8>, HandshakeError> {
        if response.receiver != self.local {
            return Err(HandshakeError::UnknownIndex);
        }
        if !cookie::mac1_is_valid(&self.me, response.covered(), response.mac1) {
            return Err(HandshakeError::BadMac);
        }
        let noise = self.noise.as_mut().ok_or(HandshakeError::UnknownIndex)?;
        let mut plaintext = vec![0; response.noise.len()];
        let read = noise
            .set_psk(2, REFUSAL_PSK.expose())
            .and_then(|()| noise.read_message(response.noise, &mut plaintext))
            .map_err(|_| HandshakeError::Unauthentic);
        noise.set_psk(2, self.psk.expose()).map_err(|_| HandshakeError::Unauthentic)?;
        plaintext.truncate(read?);
        self.noise = None;
        plaintext.get(RESPONSE_PREFIX..).map(<[u8]>::to_vec).ok_or(HandshakeError::Malformed)
    }

    pub fn local(&self) -> SessionIndex {
        self.local
    }

    pub fn peer_key(&self) -> &PublicKeyBytes {
        &self.peer
    }

    pub(super) fn me(&self) -> &PublicKeyBytes {
        &self.me
    }

    pub(super) fn open_cookie(&self, now: Instant, reply: &CookieReply<'_>) -> Option<Cookie> {
        Cookie::open(now, &self.peer, &HandshakeInit::parse(&self.datagram).ok()?, reply)
    }
}

/// The responder's side: the first message is read and authentic, and says who asks. It says nothing
/// yet about *when* it was made: the caller must refuse a payload it has seen (a sequence number that
/// does not rise), unless [`Session::is_repeat`](super::Session::is_repeat) knows it.
pub struct Incoming {
    provider: &'static dyn Provider,
    noise: Box<HandshakeState>,
    me: PublicKeyBytes,
    peer: PublicKeyBytes,
    remote: SessionIndex,
    offered: u8,
    generation: u32,
    payload: Vec<u8>,
    digest: [u8; 32],
}

impl Incoming {
    /// Reads a first message: two Diffie-Hellmans, so ask a [`CookieJar`](super::CookieJar) first.
    pub fn read(
        provider: &'static dyn Provider,
        rng: &mut Rng,
        me: &NoiseKey,
        init: &HandshakeInit<'_>,
    ) -> Result<Self, HandshakeError> {
        if !cookie::mac1_is_valid(me.public(), init.covered(), init.mac1) {
            return Err(HandshakeError::BadMac);
        }
        let (header, _) = init.covered().split_at_checked(INIT_HEADER).ok_or(HandshakeError::Unauthentic)?;
        let resolver = Resolver::new(provider, rng).knowing(me);
        let prologue = [PROLOGUE, header].concat();
        let mut noise = builder(resolver, me, &prologue).build_responder().expect("the keys are all there, each once");
        let mut plaintext = vec![0; init.noise.len()];
        let len = noise.read_message(init.noise, &mut plaintext).map_err(|_| HandshakeError::Unauthentic)?;
        plaintext.truncate(len);

        let (prefix, payload) = plaintext.split_first_chunk::<INIT_PREFIX>().ok_or(HandshakeError::Malformed)?;
        let [offered, g0, g1, g2, g3] = *prefix;
        let peer = noise.get_remote_static().and_then(|key| key.try_into().ok()).ok_or(HandshakeError::Malformed)?;
        Ok(Self {
            provider,
            me: *me.public(),
            peer,
            remote: init.sender,
            offered,
            generation: u32::from_be_bytes([g0, g1, g2, g3]),
            payload: payload.to_vec(),
            digest: crypto::blake2s(&[header, init.noise]),
            noise: Box::new(noise),
        })
    }

    /// Who asks.
    pub fn peer_key(&self) -> &PublicKeyBytes {
        &self.peer
    }

    pub fn payload(&self) -> &[u8] {
        &self.payload
    }

    /// The index the initiator chose.
    pub fn remote(&self) -> SessionIndex {
        self.remote
    }

    /// Makes the answer: gives the keys and the datagram to send.
    pub fn respond(
        self,
        psk: &Psk,
        local: SessionIndex,
        payload: &[u8],
    ) -> Result<(Established, Vec<u8>), HandshakeError> {
        let generation = self.generation;
        self.respond_generation(psk, local, generation, payload)
    }

    pub(super) fn respond_generation(
        mut self,
        psk: &Psk,
        local: SessionIndex,
        generation: u32,
        payload: &[u8],
    ) -> Result<(Established, Vec<u8>), HandshakeError> {
        debug_assert!(payload.len() <= MAX_PAYLOAD);
        let payload = &payload[..payload.len().min(MAX_PAYLOAD)];
        let suite = (self.provider.suites().iter().copied())
            .find(|suite| suite.bit() & self.offered != 0)
            .ok_or(HandshakeError::NoCommonSuite)?;

        let mut plaintext = Vec::with_capacity(RESPONSE_PREFIX + payload.len());
        plaintext.push(suite as u8);
        plaintext.extend_from_slice(&local.0.to_be_bytes());
        plaintext.extend_from_slice(&generation.to_be_bytes());
        plaintext.extend_from_slice(payload);

        let mut message = vec![0; MIN_NOISE_RESPONSE + plaintext.len()];
        let written =
            self.noise.set_psk(2, psk.expose()).and_then(|()| self.noise.write_message(&plaintext, &mut message));
        plaintext.zeroize();
        written.map_err(|_| HandshakeError::Unauthentic)?;

        let mut datagram = emit_handshake_response(local, self.remote, &message);
        cookie::write_macs(&mut datagram, &self.peer, None);

        let (receive, send) = split(&mut self.noise);
        let established = Established {
            suite,
            send,
            receive,
            local,
            remote: self.remote,
            peer_key: self.peer,
            handshake_hash: handshake_hash(&self.noise),
            initiator: false,
            generation,
            payload: Vec::new(),
        };
        Ok((established, datagram))
    }

    pub(super) fn me(&self) -> &PublicKeyBytes {
        &self.me
    }

    pub(super) fn generation(&self) -> u32 {
        self.generation
    }

    /// Names the message: the same for its retransmissions, which differ in mac2 alone.
    pub(super) fn digest(&self) -> &[u8; 32] {
        &self.digest
    }
}

fn builder<'a>(resolver: Resolver, me: &'a NoiseKey, prologue: &'a [u8]) -> Builder<'a> {
    Builder::with_resolver(PATTERN.parse().expect("a pattern snow knows"), Box::new(resolver))
        .prologue(prologue)
        .and_then(|builder| builder.local_private_key(me.secret().expose()))
        .expect("each is set once")
}

/// The initiator's sending key, the responder's sending key.
fn split(noise: &mut HandshakeState) -> (Secret, Secret) {
    let (mut first, mut second) = noise.dangerously_get_raw_split();
    let keys = (Secret::new(first), Secret::new(second));
    first.zeroize();
    second.zeroize();
    keys
}

fn handshake_hash(noise: &HandshakeState) -> [u8; 32] {
    noise.get_handshake_hash().try_into().expect("BLAKE2s hashes have 32 bytes")
}

impl fmt::Display for HandshakeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::BadMac => "the first MAC is not for this end",
            Self::UnknownIndex => "no handshake in flight has this index",
            Self::Unauthentic => "not authentic",
            Self::Malformed => "authentic, and against the protocol",
            Self::NoCommonSuite => "no suite in common",
            Self::BadCookie => "the cookie answers nothing we sent",
        })
    }
}

impl core::error::Error for HandshakeError {}

impl fmt::Debug for Established {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Established")
            .field("suite", &self.suite)
            .field("local", &self.local)
            .field("remote", &self.remote)
            .field("initiator", &self.initiator)
            .field("generation", &self.generation)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Initiator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Initiator").field("local", &self.local).finish_non_exhaustive()
    }
}

impl fmt::Debug for Incoming {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Incoming").field("remote", &self.remote).finish_non_exhaustive()
    }
}
