//! What the program is told when something happens.
//!
//! The program's function runs on a thread of its own: it may take its time and call the library as it likes.

use std::sync::OnceLock;

use crossbeam_channel::{Sender, bounded};
use ntm_node::Event;
use serde_json::{Map, Value, json};

use crate::errno::{Errno, Result};
use crate::negotiation::status;
use crate::runtime::Core;

/// Tidings that wait for the program; what comes on top is lost.
const MAX_WAITING: usize = 1_024;

#[derive(Debug, Default)]
pub(crate) struct Tidings {
    to_program: OnceLock<Sender<String>>,
}

impl Tidings {
    /// From now on `listener` hears of everything, one JSON object at a time. There is one listener a process.
    pub(crate) fn listen(&self, listener: impl Fn(String) + Send + 'static) -> Result<()> {
        let (sender, receiver) = bounded::<String>(MAX_WAITING);
        if self.to_program.set(sender).is_err() {
            return Err(Errno(libc::EALREADY));
        }
        let spawned = std::thread::Builder::new().name("ntmfw-events".to_owned()).spawn(move || {
            while let Ok(tidings) = receiver.recv() {
                listener(tidings);
            }
        });
        spawned.map(|_| ()).map_err(Errno::from)
    }

    pub(crate) fn tell(&self, core: &Core, event: &Event) {
        if let Some(program) = self.to_program.get() {
            // A program that does not listen in time misses some, and the tunnels go on.
            let _ = program.try_send(describe(core, event).to_string());
        }
    }
}

fn describe(core: &Core, event: &Event) -> Value {
    let peer_name = |peer: &ntm_proto::id::NodeId| {
        core.engine(|node| node.peers().find(|one| one.node == *peer).map(|one| one.name.as_str().to_owned()))
    };
    match event {
        Event::Registered { virtual4, virtual6 } => {
            json!({"event": "registered", "virtual4": virtual4.to_string(), "virtual6": virtual6.to_string()})
        }
        Event::RegistrationLost => json!({"event": "registration lost"}),
        Event::Superseded => json!({"event": "superseded"}),
        Event::RegistrationRefused(why) => json!({"event": "registration refused", "reason": why}),
        Event::TicketRefused(code) => json!({"event": "ticket refused", "reason": format!("{code:?}")}),
        Event::Resolved { name, virtual4, virtual6, .. } => json!({
            "event": "resolved", "peer": name.as_str(),
            "virtual4": virtual4.to_string(), "virtual6": virtual6.to_string(),
        }),
        Event::ConnectFailed { reason, .. } => json!({"event": "connect failed", "reason": format!("{reason:?}")}),
        Event::PeerUp { peer } => json!({"event": "peer up", "peer": peer_name(peer)}),
        Event::PeerLost { peer } => json!({"event": "peer lost", "peer": peer_name(peer)}),
        Event::PathChanged { peer, path } => {
            let mut told = Map::new();
            told.insert("event".to_owned(), "path changed".into());
            told.insert("peer".to_owned(), peer_name(peer).into());
            told.append(&mut status::path(&core.devices(), path));
            told.into()
        }
    }
}
