//! Strategies: every valid message, datagram and frame, with lists up to their bounds and the
//! extreme values of every number.

use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;
use core::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use core::num::NonZeroU16;
use core::time::Duration;

use proptest::collection::{btree_set, vec};
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;

use super::frame::{Fragment, FrameType, InterfaceNotice, LiveInterface, MAX_FRAGMENTED, PathChallenge, PathResponse};
use super::message::*;
use super::outer;
use super::registry::{ErrorCode, MessageType, NatMapping, OuterType, Side};
use crate::crypto::Secret;
use crate::id::{DeviceName, Fqdn, InterfaceId, NodeId, PathId, RelayId, RelayIndex, SessionIndex, TransactionId};
use crate::identity::{NodeRecord, Role, ServerCert};
use crate::session::RelayToken;
use crate::time::UnixTime;

pub(super) fn fqdn() -> impl Strategy<Value = Fqdn> {
    let label = "[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?";
    vec(label, 1..8).prop_map(|labels| {
        let mut name = labels.join(".");
        name.truncate(Fqdn::MAX_LEN);
        Fqdn::parse(name.trim_end_matches(['-', '.'])).unwrap()
    })
}

pub(super) fn address() -> impl Strategy<Value = SocketAddr> {
    prop_oneof![
        (any::<Ipv4Addr>(), any::<u16>()).prop_map(SocketAddr::from),
        (any::<Ipv6Addr>(), any::<u16>())
            .prop_filter("a mapped address is an IPv4 address", |(ip, _)| ip.to_ipv4_mapped().is_none())
            .prop_map(SocketAddr::from),
    ]
}

pub(super) fn record() -> impl Strategy<Value = NodeRecord> {
    (any::<[u8; 32]>(), fqdn(), any::<[u8; 32]>(), fqdn(), any::<bool>(), any::<u64>(), any::<[u8; 64]>()).prop_map(
        |(identity, fqdn, noise_key, manager, revoked, millis, signature)| NodeRecord {
            identity,
            fqdn,
            noise_key,
            manager,
            revoked,
            timestamp: UnixTime::from_millis(millis),
            signature,
        },
    )
}

pub(super) fn cert() -> impl Strategy<Value = ServerCert> {
    (
        select(&[Role::Direction, Role::Relay][..]),
        fqdn(),
        fqdn(),
        any::<[u8; 32]>(),
        server_addresses(),
        any::<u64>(),
        any::<[u8; 64]>(),
    )
        .prop_map(|(role, domain, name, noise_key, addresses, millis, signature)| ServerCert {
            role,
            domain,
            name,
            noise_key,
            addresses,
            not_after: UnixTime::from_millis(millis),
            signature,
        })
}

pub(super) fn envelope() -> impl Strategy<Value = Envelope> {
    select(MessageType::ALL).prop_flat_map(envelope_of)
}

pub(super) fn envelope_of(kind: MessageType) -> impl Strategy<Value = Envelope> {
    (any::<u32>(), message(kind))
        .prop_map(|(transaction, message)| Envelope { transaction: TransactionId(transaction), message })
}

fn message(kind: MessageType) -> BoxedStrategy<Message> {
    match kind {
        MessageType::RegistrationRequest => registration_request().prop_map(Message::RegistrationRequest).boxed(),
        MessageType::RegistrationResponse => registration_response().prop_map(Message::RegistrationResponse).boxed(),
        MessageType::Deregistration => {
            any::<u64>().prop_map(|sequence| Message::Deregistration(Deregistration { sequence })).boxed()
        }
        MessageType::KeepAlive => (interface_id(), any::<u16>(), relay_rtts())
            .prop_map(|(from, generation, relay_rtts)| Message::KeepAlive(KeepAlive { from, generation, relay_rtts }))
            .boxed(),
        MessageType::KeepAliveAck => {
            address().prop_map(|observed| Message::KeepAliveAck(KeepAliveAck { observed })).boxed()
        }
        MessageType::DirectionRequest => (path_id(), target())
            .prop_map(|(path_id, target)| Message::DirectionRequest(DirectionRequest { path_id, target }))
            .boxed(),
        MessageType::NodeInformationRequest => {
            node_information_request().prop_map(|message| Message::NodeInformationRequest(Box::new(message))).boxed()
        }
        MessageType::NodeInformationResponse => (path_id(), description())
            .prop_map(|(path_id, responder)| {
                Message::NodeInformationResponse(Box::new(NodeInformationResponse { path_id, responder }))
            })
            .boxed(),
        MessageType::RouteDirection => {
            route_direction().prop_map(|message| Message::RouteDirection(Box::new(message))).boxed()
        }
        MessageType::RouteDirectionAck => Just(Message::RouteDirectionAck).boxed(),
        MessageType::RelayReport => (relay_id(), server_addresses(), any::<u16>(), any::<bool>(), any::<NonZeroU16>())
            .prop_map(|(relay, addresses, load, draining, shards)| {
                Message::RelayReport(RelayReport { relay, addresses, load, draining, shards })
            })
            .boxed(),
        MessageType::RelayDirection => {
            path_id().prop_map(|revoke| Message::RelayDirection(RelayDirection { revoke })).boxed()
        }
        MessageType::RelayAck => Just(Message::RelayAck).boxed(),
        MessageType::TunnelRequest => (path_id(), any::<u64>(), interface_id())
            .prop_map(|(path_id, sequence, interface)| {
                Message::TunnelRequest(TunnelRequest { path_id, sequence, interface })
            })
            .boxed(),
        MessageType::TunnelResponse => {
            path_id().prop_map(|path_id| Message::TunnelResponse(TunnelResponse { path_id })).boxed()
        }
        MessageType::Wake => {
            (node_id(), path_id()).prop_map(|(node, path_id)| Message::Wake(Wake { node, path_id })).boxed()
        }
        MessageType::ServerHello => (cert(), any::<u64>())
            .prop_map(|(cert, sequence)| Message::ServerHello(ServerHello { cert, sequence }))
            .boxed(),
        MessageType::Error => {
            (select(ErrorCode::ALL), any::<String>(), option::of(path_id()), option::of(any::<u64>()))
                .prop_map(|(code, text, path_id, sequence)| {
                    Message::Error(ErrorMessage { sequence, ..ErrorMessage::new(code, &text, path_id) })
                })
                .boxed()
        }
    }
}

fn registration_request() -> impl Strategy<Value = RegistrationRequest> {
    (
        record(),
        option::of(vec(any::<u8>(), 0..=MAX_TICKET)),
        any::<u64>(),
        interface_id(),
        interfaces(),
        relay_rtts(),
        option::of(vec(any::<u8>(), 0..=MAX_WAKE_TOKEN)),
    )
        .prop_map(|(record, ticket, sequence, from, interfaces, relay_rtts, wake_token)| RegistrationRequest {
            record,
            ticket,
            sequence,
            from,
            interfaces,
            relay_rtts,
            wake_token,
        })
}

fn registration_response() -> impl Strategy<Value = RegistrationResponse> {
    let relay = (relay_id(), server_addresses()).prop_map(|(relay, addresses)| RelayInfo { relay, addresses });
    (any::<[u8; 4]>(), any::<[u8; 16]>(), millis(), millis(), address(), vec(relay, 0..=MAX_RELAYS), any::<u64>())
        .prop_map(|(virtual4, virtual6, lease, keep_alive, observed, relays, time)| RegistrationResponse {
            virtual4: virtual4.into(),
            virtual6: virtual6.into(),
            lease,
            keep_alive,
            observed,
            relays,
            time: UnixTime::from_millis(time),
        })
}

fn node_information_request() -> impl Strategy<Value = NodeInformationRequest> {
    (path_id(), target(), description(), secret(), grants()).prop_map(|(path_id, target, initiator, psk, grants)| {
        NodeInformationRequest { path_id, target, initiator, psk, grants }
    })
}

fn route_direction() -> impl Strategy<Value = RouteDirection> {
    let pair = (interface_id(), interface_id(), address())
        .prop_map(|(local, remote_interface, remote)| CandidatePair { local, remote_interface, remote });
    (path_id(), select(Side::ALL), secret(), description(), vec(pair, 0..=MAX_PAIRS), grants()).prop_map(
        |(path_id, side, psk, peer, pairs, grants)| RouteDirection { path_id, side, psk, peer, pairs, grants },
    )
}

fn description() -> impl Strategy<Value = NodeDescription> {
    (record(), any::<[u8; 4]>(), any::<[u8; 16]>(), interfaces(), relay_rtts()).prop_map(
        |(record, virtual4, virtual6, interfaces, relay_rtts)| NodeDescription {
            record,
            virtual4: virtual4.into(),
            virtual6: virtual6.into(),
            interfaces,
            relay_rtts,
        },
    )
}

fn interfaces() -> impl Strategy<Value = Vec<Interface>> {
    btree_set(any::<u8>(), 0..=MAX_INTERFACES)
        .prop_flat_map(|ids| ids.into_iter().map(|id| interface(InterfaceId(id))).collect::<Vec<_>>())
}

fn interface(id: InterfaceId) -> impl Strategy<Value = Interface> {
    let families = (option::of(any::<Ipv4Addr>()), option::of(address()), any::<u16>());
    (any::<u16>(), "[!-~]{1,31}", vec(address(), 0..=MAX_ADDRESSES), families, select(NatMapping::ALL), any::<u8>())
        .prop_map(move |(generation, name, addresses, (v4, v6, port), mapping, cost)| Interface {
            id,
            generation,
            name: DeviceName::parse(&name).unwrap(),
            addresses,
            reflexive: v4
                .map(|ip| SocketAddr::from((ip, port)))
                .into_iter()
                .chain(v6.filter(SocketAddr::is_ipv6))
                .collect(),
            mapping,
            cost,
        })
}

fn target() -> impl Strategy<Value = Target> {
    prop_oneof![
        fqdn().prop_map(Target::Name),
        node_id().prop_map(Target::Node),
        any::<Ipv4Addr>().prop_map(Target::Virtual4),
        any::<Ipv6Addr>().prop_map(Target::Virtual6),
    ]
}

fn grants() -> impl Strategy<Value = Vec<RelayGrant>> {
    let grant = (relay_id(), server_addresses(), select(Side::ALL), token(), secret())
        .prop_map(|(relay, addresses, side, token, bind_key)| RelayGrant { relay, addresses, side, token, bind_key });
    vec(grant, 0..=MAX_GRANTS)
}

fn relay_rtts() -> impl Strategy<Value = Vec<RelayRtt>> {
    let rtt = (relay_id(), any::<u32>())
        .prop_map(|(relay, micros)| RelayRtt { relay, rtt: Duration::from_micros(micros.into()) });
    vec(rtt, 0..=MAX_RELAY_RTTS)
}

fn server_addresses() -> impl Strategy<Value = Vec<SocketAddr>> {
    vec(address(), 0..=MAX_SERVER_ADDRESSES)
}

fn millis() -> impl Strategy<Value = Duration> {
    any::<u32>().prop_map(|millis| Duration::from_millis(millis.into()))
}

fn secret() -> impl Strategy<Value = Secret> {
    any::<[u8; 32]>().prop_map(Secret::new)
}

pub(super) fn token() -> impl Strategy<Value = RelayToken> {
    vec(any::<u8>(), RelayToken::LEN).prop_map(|bytes| RelayToken::from_bytes(bytes.try_into().unwrap()))
}

fn path_id() -> impl Strategy<Value = PathId> {
    any::<[u8; 16]>().prop_map(PathId)
}

fn node_id() -> impl Strategy<Value = NodeId> {
    any::<[u8; 32]>().prop_map(NodeId)
}

fn relay_id() -> impl Strategy<Value = RelayId> {
    any::<u32>().prop_map(RelayId)
}

pub(super) fn interface_id() -> impl Strategy<Value = InterfaceId> {
    any::<u8>().prop_map(InterfaceId)
}

pub(super) fn session_index() -> impl Strategy<Value = SessionIndex> {
    any::<u32>().prop_map(SessionIndex)
}

pub(super) fn relay_index() -> impl Strategy<Value = RelayIndex> {
    any::<u32>().prop_map(RelayIndex)
}

/// A MAC that every byte of what it covers changes, for tests that need no key.
pub(super) fn checksum(covered: &[u8]) -> [u8; outer::MAC] {
    let mut mac = [0_u8; outer::MAC];
    covered.iter().enumerate().for_each(|(at, byte)| {
        let slot = &mut mac[at % outer::MAC];
        *slot = slot.rotate_left(1) ^ byte;
    });
    mac
}

/// A valid outer datagram of any type.
pub(super) fn outer_datagram() -> impl Strategy<Value = Vec<u8>> {
    select(OuterType::ALL).prop_flat_map(outer_of)
}

fn outer_of(kind: OuterType) -> BoxedStrategy<Vec<u8>> {
    match kind {
        OuterType::HandshakeInit | OuterType::HandshakeResponse | OuterType::CookieReply | OuterType::Data => {
            sessions_datagram(kind)
        }
        OuterType::Relayed => {
            (relay_index(), relayable()).prop_map(|(index, inner)| outer::emit_relayed(index, &inner)).boxed()
        }
        OuterType::RelayBind => (select(Side::ALL), any::<u64>(), token(), option::of(relayable()))
            .prop_map(|(side, sequence, token, inner)| {
                outer::emit_relay_bind(side, sequence, &token, inner.as_deref(), checksum)
            })
            .boxed(),
        OuterType::RelayBound => (select(Side::ALL), relay_index(), any::<u64>(), address())
            .prop_map(|(side, index, sequence, observed)| {
                outer::emit_relay_bound(side, index, sequence, observed, false, checksum)
            })
            .boxed(),
        OuterType::RelayPing => any::<u64>().prop_map(outer::emit_relay_ping).boxed(),
        OuterType::RelayPong => {
            (any::<u64>(), address()).prop_map(|(nonce, observed)| outer::emit_relay_pong(nonce, observed)).boxed()
        }
        OuterType::Punch => Just(outer::PUNCH.to_vec()).boxed(),
    }
}

/// A valid outer datagram that a relay is handed.
pub(super) fn relayable() -> impl Strategy<Value = Vec<u8>> {
    let sessions = [OuterType::HandshakeInit, OuterType::HandshakeResponse, OuterType::CookieReply, OuterType::Data];
    prop_oneof![
        4 => select(sessions.to_vec()).prop_flat_map(sessions_datagram),
        1 => Just(outer::PUNCH.to_vec()),
    ]
}

fn sessions_datagram(kind: OuterType) -> BoxedStrategy<Vec<u8>> {
    let any_bytes = |from: usize| vec(any::<u8>(), from..from + 600);
    match kind {
        OuterType::HandshakeInit => (session_index(), any_bytes(outer::MIN_NOISE_INIT))
            .prop_map(|(sender, noise)| with_macs(outer::emit_handshake_init(sender, &noise)))
            .boxed(),
        OuterType::HandshakeResponse => (session_index(), session_index(), any_bytes(outer::MIN_NOISE_RESPONSE))
            .prop_map(|(sender, receiver, noise)| with_macs(outer::emit_handshake_response(sender, receiver, &noise)))
            .boxed(),
        OuterType::CookieReply => (session_index(), any::<[u8; 24]>(), any::<[u8; 32]>())
            .prop_map(|(receiver, nonce, sealed)| {
                outer::CookieReply { receiver, nonce: &nonce, sealed: &sealed }.emit()
            })
            .boxed(),
        _ => (session_index(), any::<u64>(), any_bytes(outer::DATA_OVERHEAD))
            .prop_map(|(receiver, counter, mut datagram)| {
                outer::write_data_header(&mut datagram, receiver, counter);
                datagram
            })
            .boxed(),
    }
}

fn with_macs(mut datagram: Vec<u8>) -> Vec<u8> {
    let macs = outer::handshake_macs(&mut datagram).unwrap();
    *macs.mac1 = checksum(macs.covered);
    *macs.mac2 = checksum(macs.mac1);
    datagram
}

/// A valid frame of any type, emitted.
pub(super) fn frame() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        (select(&[4_u8, 6][..]), vec(any::<u8>(), 1..1_500)).prop_map(|(version, mut packet)| {
            packet[0] = version << 4 | packet[0] & 0x0f;
            packet
        }),
        select(FrameType::ALL).prop_flat_map(frame_of),
    ]
}

fn frame_of(kind: FrameType) -> BoxedStrategy<Vec<u8>> {
    match kind {
        FrameType::Signal => envelope()
            .prop_map(|envelope| {
                let mut out = Vec::from([FrameType::Signal.number()]);
                envelope.emit_into(&mut out);
                out
            })
            .boxed(),
        FrameType::PathChallenge => (path_challenge(), 0..1_500_usize)
            .prop_map(|(challenge, total)| emitted(|out| challenge.emit(total, out)))
            .boxed(),
        FrameType::PathResponse => path_response().prop_map(|response| emitted(|out| response.emit(out))).boxed(),
        FrameType::Fragment => fragment_parts()
            .prop_map(|(id, offset, total, data)| emitted(|out| Fragment { id, offset, total, data: &data }.emit(out)))
            .boxed(),
        FrameType::KeepAlive => Just(Vec::from([FrameType::KeepAlive.number()])).boxed(),
        FrameType::InterfaceNotice => notice().prop_map(|notice| emitted(|out| notice.emit(out))).boxed(),
    }
}

pub(super) fn emitted(emit: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut out = Vec::new();
    emit(&mut out);
    out
}

pub(super) fn path_challenge() -> impl Strategy<Value = PathChallenge> {
    (any::<u64>(), interface_id(), any::<u16>()).prop_map(|(nonce, interface, generation)| PathChallenge {
        nonce,
        interface,
        generation,
    })
}

pub(super) fn path_response() -> impl Strategy<Value = PathResponse> {
    (path_challenge(), address()).prop_map(|(PathChallenge { nonce, interface, generation }, observed)| PathResponse {
        nonce,
        interface,
        generation,
        observed,
    })
}

/// Id, offset, total and data of a fragment that lies within its frame.
pub(super) fn fragment_parts() -> impl Strategy<Value = (u32, u32, u32, Vec<u8>)> {
    (any::<u32>(), vec(any::<u8>(), 1..1_400)).prop_flat_map(|(id, data)| {
        let length = u32::try_from(data.len()).unwrap();
        (Just(id), 0..=MAX_FRAGMENTED - length, Just(data)).prop_flat_map(move |(id, offset, data)| {
            (Just(id), Just(offset), offset + length..=MAX_FRAGMENTED, Just(data))
        })
    })
}

pub(super) fn notice() -> impl Strategy<Value = InterfaceNotice> {
    (any::<u64>(), btree_set(any::<u8>(), 0..=MAX_INTERFACES), any::<[(u16, bool); MAX_INTERFACES]>()).prop_map(
        |(sequence, ids, states)| InterfaceNotice {
            sequence,
            live: ids
                .into_iter()
                .zip(states)
                .map(|(id, (generation, ending))| LiveInterface { id: InterfaceId(id), generation, ending })
                .collect(),
        },
    )
}
