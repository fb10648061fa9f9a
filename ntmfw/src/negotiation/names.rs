//! Names asked for and not yet answered.

use std::collections::HashMap;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::Arc;
use std::time::Duration;

use ntm_node::{ConnectError, Event, FailReason};
use ntm_proto::id::{Fqdn, PathId};
use ntm_proto::wire::message::{ErrorCode, Target};

use crate::errno::{Errno, Result};
use crate::packet::reader::wait_for;
use crate::runtime::Core;
use crate::stack::readiness::{IN, Readiness};
use crate::sync::Lock;

/// How long an answer may take: a direction over two slow domains, with a retry.
const PATIENCE: Duration = Duration::from_secs(10);
/// Answers kept for look-ups from addresses to names; the oldest go first.
const MAX_KNOWN: usize = 4_096;

/// What is known of a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Resolved {
    pub(crate) name: Fqdn,
    pub(crate) virtual4: Ipv4Addr,
    pub(crate) virtual6: Ipv6Addr,
}

/// Why a name or address leads nowhere, as `getaddrinfo` tells it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LookupError {
    /// There is no such node.
    NoName,
    /// Nobody could be asked; later somebody may.
    Again,
    /// What was said cannot be believed, or nothing can be asked any more.
    Fail,
    /// A signal came while waiting.
    Interrupted,
}

#[derive(Debug)]
pub(crate) struct Names {
    own: Fqdn,
    domains: Vec<Fqdn>,
    waiting: Lock<HashMap<PathId, Vec<Arc<Lookup>>>>,
    known: Lock<Vec<Resolved>>,
}

/// One look-up that waits.
#[derive(Debug, Default)]
struct Lookup {
    readiness: Readiness,
    answer: Lock<Option<core::result::Result<Resolved, LookupError>>>,
}

impl Names {
    /// `own` is what this node is called; `domains` are those whose names are nodes.
    pub(crate) fn new(own: Fqdn, domains: Vec<Fqdn>) -> Self {
        Self { own, domains, waiting: Lock::default(), known: Lock::default() }
    }

    /// What this node is called.
    pub(crate) fn own(&self) -> &Fqdn {
        &self.own
    }

    /// Whether a name is a node's.
    pub(crate) fn is_ours(&self, name: &Fqdn) -> bool {
        self.domains.iter().any(|domain| name.is_within(domain) && name != domain)
    }

    /// What is known of the node with this address.
    pub(crate) fn by_address(&self, address: std::net::IpAddr) -> Option<Resolved> {
        let known = self.known.lock();
        known.iter().rev().find(|one| address == one.virtual4 || address == one.virtual6).cloned()
    }

    pub(crate) fn handle_event(&self, event: &Event) {
        match event {
            Event::Resolved { path_id, name, virtual4, virtual6, .. } => {
                let resolved = Resolved { name: name.clone(), virtual4: *virtual4, virtual6: *virtual6 };
                self.remember(resolved.clone());
                self.answer(*path_id, &Ok(resolved));
            }
            Event::ConnectFailed { path_id, reason } => self.answer(*path_id, &Err(LookupError::from(*reason))),
            _ => {}
        }
    }

    fn remember(&self, resolved: Resolved) {
        let mut known = self.known.lock();
        known.retain(|one| one.name != resolved.name && one.virtual4 != resolved.virtual4);
        if known.len() >= MAX_KNOWN {
            known.remove(0);
        }
        known.push(resolved);
    }

    fn answer(&self, path_id: PathId, answer: &core::result::Result<Resolved, LookupError>) {
        for lookup in self.waiting.lock().remove(&path_id).unwrap_or_default() {
            *lookup.answer.lock() = Some(answer.clone());
            lookup.readiness.set(IN);
        }
    }
}

impl Core {
    /// Asks the way to a node and waits for the answer.
    pub(crate) fn look_up(&self, target: Target) -> core::result::Result<Resolved, LookupError> {
        let lookup = Arc::new(Lookup::default());
        let path_id = {
            // Held over the question, so that the answer finds the look-up.
            let mut waiting = self.names.waiting.lock();
            let path_id = self.engine(|node| node.connect(self.now(), target))?;
            waiting.entry(path_id).or_default().push(lookup.clone());
            path_id
        };
        self.settle();
        let waited: Result<()> = wait_for(self, &lookup.readiness, IN, Some(self.now() + PATIENCE));
        if let Some(answer) = lookup.answer.lock().take() {
            return answer;
        }
        let mut waiting = self.names.waiting.lock();
        if let Some(others) = waiting.get_mut(&path_id) {
            others.retain(|other| !Arc::ptr_eq(other, &lookup));
            if others.is_empty() {
                waiting.remove(&path_id);
            }
        }
        match waited {
            Err(Errno(libc::EINTR)) => Err(LookupError::Interrupted),
            _ => Err(LookupError::Again),
        }
    }
}

impl From<ConnectError> for LookupError {
    fn from(error: ConnectError) -> Self {
        match error {
            ConnectError::Busy => Self::Again,
            ConnectError::Superseded => Self::Fail,
        }
    }
}

impl From<FailReason> for LookupError {
    fn from(reason: FailReason) -> Self {
        match reason {
            FailReason::Refused(ErrorCode::NoSuchNode) => Self::NoName,
            FailReason::Refused(_) | FailReason::NoDirector | FailReason::Unreachable | FailReason::Full => Self::Again,
            FailReason::Unauthentic => Self::Fail,
        }
    }
}
