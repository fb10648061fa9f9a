//! Names asked for and not yet answered.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
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
/// Who may wait for one answer; what comes on top is told to try again.
const MAX_WAITING: usize = 4_096;

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
    waiting: Lock<HashMap<PathId, Vec<Waiting>>>,
    known: Lock<Vec<Resolved>>,
}

type Answer = core::result::Result<Resolved, LookupError>;

type Task = dyn FnOnce(&Core, Result<()>) + Send;

/// Who waits for an answer.
enum Waiting {
    Thread(Arc<Lookup>),
    /// Nobody waits, but this is to be done.
    Task(Box<Task>),
}

/// What a thread waits for.
#[derive(Debug, Default)]
struct Lookup {
    readiness: Readiness,
    answer: Lock<Option<Answer>>,
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
    pub(crate) fn by_address(&self, address: IpAddr) -> Option<Resolved> {
        let known = self.known.lock();
        known.iter().rev().find(|one| address == one.virtual4 || address == one.virtual6).cloned()
    }

    pub(crate) fn handle_event(&self, core: &Core, event: &Event) {
        match event {
            Event::Resolved { path_id, name, virtual4, virtual6, .. } => {
                let resolved = Resolved { name: name.clone(), virtual4: *virtual4, virtual6: *virtual6 };
                self.remember(resolved.clone());
                self.answer(core, *path_id, &Ok(resolved));
            }
            Event::ConnectFailed { path_id, reason } => {
                self.answer(core, *path_id, &Err(LookupError::from(*reason)));
            }
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

    fn answer(&self, core: &Core, path_id: PathId, answer: &Answer) {
        let waiting = self.waiting.lock().remove(&path_id).unwrap_or_default();
        for one in waiting {
            match one {
                Waiting::Thread(lookup) => {
                    *lookup.answer.lock() = Some(answer.clone());
                    lookup.readiness.set(IN);
                }
                Waiting::Task(then) => then(core, answer.as_ref().map(|_| ()).map_err(|error| error.errno())),
            }
        }
    }
}

impl Core {
    /// Asks the way to a node and waits for the answer.
    pub(crate) fn look_up(&self, target: Target) -> Answer {
        let lookup = Arc::new(Lookup::default());
        let path_id = self.ask(target, Waiting::Thread(lookup.clone()))?;
        self.settle();
        let waited: Result<()> = wait_for(self, &lookup.readiness, IN, Some(self.now() + PATIENCE));
        if let Some(answer) = lookup.answer.lock().take() {
            return answer;
        }
        let mut waiting = self.names.waiting.lock();
        if let Some(others) = waiting.get_mut(&path_id) {
            others.retain(|other| !matches!(other, Waiting::Thread(other) if Arc::ptr_eq(other, &lookup)));
            if others.is_empty() {
                waiting.remove(&path_id);
            }
        }
        match waited {
            Err(Errno(libc::EINTR)) => Err(LookupError::Interrupted),
            _ => Err(LookupError::Again),
        }
    }

    /// Whether the engine knows who has a virtual address.
    pub(crate) fn knows(&self, address: IpAddr) -> bool {
        self.is_own(address) || self.engine(|node| node.knows(address))
    }

    /// Makes sure that the engine knows who has a virtual address.
    pub(crate) fn know(&self, address: IpAddr) -> Result<()> {
        if self.knows(address) {
            return Ok(());
        }
        self.look_up(target(address)).map(|_| ()).map_err(|error| error.errno())
    }

    /// The same without waiting: `then` is called with the outcome, by whichever thread reads it. The engine gives up
    /// after a time of its own, so it is called in any case.
    pub(crate) fn know_later(
        &self,
        address: IpAddr,
        then: impl FnOnce(&Core, Result<()>) + Send + 'static,
    ) -> Result<()> {
        self.ask(target(address), Waiting::Task(Box::new(then))).map_err(|error| error.errno())?;
        self.settle();
        Ok(())
    }

    fn ask(&self, target: Target, who: Waiting) -> core::result::Result<PathId, LookupError> {
        // Held over the question, so that the answer finds who waits.
        let mut waiting = self.names.waiting.lock();
        let path_id = self.engine(|node| node.connect(self.now(), target))?;
        let others = waiting.entry(path_id).or_default();
        if others.len() >= MAX_WAITING {
            return Err(LookupError::Again);
        }
        others.push(who);
        Ok(path_id)
    }
}

fn target(address: IpAddr) -> Target {
    match address {
        IpAddr::V4(address) => Target::Virtual4(address),
        IpAddr::V6(address) => Target::Virtual6(address),
    }
}

impl LookupError {
    /// What a call on a socket tells of it.
    fn errno(self) -> Errno {
        Errno(match self {
            Self::Interrupted => libc::EINTR,
            Self::NoName => libc::EHOSTUNREACH,
            Self::Again => libc::ETIMEDOUT,
            Self::Fail => libc::ENETDOWN,
        })
    }
}

impl std::fmt::Debug for Waiting {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Thread(_) => "Thread",
            Self::Task(_) => "Task",
        })
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
