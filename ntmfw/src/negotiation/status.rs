//! What the library says of itself when asked, as JSON.
//!
//! ```json
//! {"name": "a.ntm.example", "registered": true, "virtual4": "198.18.0.1", "virtual6": "fd4e:544d::1",
//!  "relays": [{"id": 1, "addresses": ["192.0.2.1:4601"], "rtt_us": 900}],
//!  "peers": [{"name": "b.ntm.example", "virtual4": "…", "virtual6": "…",
//!             "paths": [{"kind": "direct", "interface": "wlan0", "local": "…", "remote": "…", "proven": true,
//!                        "rtt_us": 800, "loss_per_mille": 0, "in_use": true}]}],
//!  "counters": {"datagrams_received": 7, "packets_received": 5, "dropped": {"Replayed": 1}}}
//! ```

use std::time::Duration;

use ntm_node::{DropReason, Node, PathKind, PathView, RelayView};
use serde_json::{Map, Value, json};

use crate::negotiation::interfaces::Devices;
use crate::runtime::Core;

/// Everything, as one JSON object.
pub(crate) fn status(core: &Core) -> String {
    let virtual_addresses = core.virtual_addresses();
    let name = core.names.own().as_str().to_owned();
    let devices = core.devices();
    let (registered, relays, peers, counters) =
        core.engine(|node| (node.is_registered(), relays(node), peers(&devices, node), counters(node)));
    json!({
        "name": name,
        "registered": registered,
        "virtual4": virtual_addresses.map(|(virtual4, _)| virtual4.to_string()),
        "virtual6": virtual_addresses.map(|(_, virtual6)| virtual6.to_string()),
        "relays": relays,
        "peers": peers,
        "counters": counters,
    })
    .to_string()
}

/// One path, as the application may know it.
pub(crate) fn path(devices: &Devices, path: &PathView) -> Map<String, Value> {
    let (kind, remote) = match path.kind {
        PathKind::Direct(remote) => ("direct", remote.to_string()),
        PathKind::Relayed(relay) => ("relay", relay.0.to_string()),
    };
    let mut told = Map::new();
    told.insert("kind".to_owned(), kind.into());
    told.insert("interface".to_owned(), devices.name(path.interface).into());
    told.insert("local".to_owned(), path.local.to_string().into());
    told.insert("remote".to_owned(), remote.into());
    told.insert("proven".to_owned(), path.proven.into());
    told.insert("rtt_us".to_owned(), path.rtt.map(micros).into());
    told.insert("loss_per_mille".to_owned(), path.loss.into());
    told
}

fn relays(node: &Node) -> Vec<Value> {
    let told = |relay: RelayView| {
        json!({
            "id": relay.relay.0,
            "addresses": relay.addresses.iter().map(ToString::to_string).collect::<Vec<_>>(),
            "rtt_us": relay.rtt.map(micros),
        })
    };
    node.relays().into_iter().map(told).collect()
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

fn peers(devices: &Devices, node: &Node) -> Vec<Value> {
    node.peers()
        .map(|peer| {
            let paths = node.paths(&peer.node);
            let paths: Vec<Value> = paths
                .iter()
                .enumerate()
                .map(|(at, view)| {
                    let mut told = path(devices, view);
                    told.insert("in_use".to_owned(), (at == 0 && view.proven).into());
                    told.into()
                })
                .collect();
            json!({
                "name": peer.name.as_str(),
                "virtual4": peer.virtual4.to_string(),
                "virtual6": peer.virtual6.to_string(),
                "paths": paths,
            })
        })
        .collect()
}

fn counters(node: &Node) -> Value {
    let stats = node.stats();
    let dropped: Map<String, Value> =
        DropReason::ALL.into_iter().map(|reason| (format!("{reason:?}"), stats.dropped(reason).into())).collect();
    json!({
        "datagrams_received": stats.datagrams_received,
        "packets_received": stats.packets_received,
        "packets_dropped": stats.packets_dropped,
        "handshakes_begun": stats.handshakes_begun,
        "handshakes_answered": stats.handshakes_answered,
        "dropped": dropped,
    })
}
