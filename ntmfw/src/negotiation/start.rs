//! The one runtime of the process: begun by the first call that needs it.

use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant as HostInstant};

use ntm_login::unix_now;
use ntm_node::{Config as NodeConfig, Event, Node};
use ntm_proto::time::WallClock;
use once_cell::sync::OnceCell;

use crate::errno::Errno;
use crate::inside;
use crate::negotiation::config::{Config, ConfigError};
use crate::negotiation::interfaces::Known;
use crate::negotiation::login;
use crate::negotiation::names::Names;
use crate::negotiation::netlink::Netlink;
use crate::negotiation::state::{State, StateError};
use crate::packet::reader::{Reader, wait_for};
use crate::packet::streams::Streams;
use crate::runtime::{self, Beginning, Core, now_since};
use crate::stack::readiness::{ERR, IN, Readiness};
use crate::sync::Lock;

/// How long the first registration may take.
const PATIENCE: Duration = Duration::from_secs(10);

static CORE: OnceCell<Arc<Core>> = OnceCell::new();

static STARTING: AtomicBool = AtomicBool::new(false);

/// Whether some thread begins the runtime right now.
pub(crate) fn is_starting() -> bool {
    STARTING.load(Ordering::Acquire)
}

/// Why the library could not start: one line, and the error number that fits it best.
#[derive(Debug)]
pub(crate) struct StartError {
    pub(crate) errno: Errno,
    pub(crate) message: String,
}

/// Whether the node is registered, for those who wait for it.
#[derive(Debug, Default)]
pub(crate) struct Registration {
    readiness: Readiness,
    refusal: Lock<Option<String>>,
    /// What the coordinator said last while it will not have the node yet.
    hindrance: Lock<Option<String>>,
}

impl Registration {
    pub(crate) fn handle_event(&self, event: &Event) {
        match event {
            Event::Registered { .. } => self.readiness.set(IN),
            Event::Superseded => self.refuse("another program runs as this node"),
            Event::RegistrationRefused(why) => *self.hindrance.lock() = Some(why.clone()),
            Event::TicketRefused(code) => self.refuse(&format!("the ticket was refused: {code:?}; log in again")),
            _ => {}
        }
    }

    fn refuse(&self, why: &str) {
        *self.refusal.lock() = Some(why.to_owned());
        self.readiness.set(ERR);
    }
}

/// The runtime, if it was begun.
pub(crate) fn core() -> Option<&'static Arc<Core>> {
    if runtime::is_child() { None } else { CORE.get() }
}

/// Whether an address is virtual, as far as is known before the runtime was begun.
pub(crate) fn is_virtual(address: IpAddr) -> bool {
    Core::is_of_virtual_range(address) || core().is_some_and(|core| core.is_virtual(address))
}

/// The runtime, begun now if it was not.
pub(crate) fn begin(config: Option<&Path>) -> Result<&'static Arc<Core>, StartError> {
    if runtime::is_child() {
        let message = "this process was forked from the one that runs the node; it has the sockets it inherited, \
                       and the kernel's";
        return Err(StartError { errno: Errno(libc::ENETDOWN), message: message.to_owned() });
    }
    let core = CORE.get_or_try_init(|| {
        STARTING.store(true, Ordering::Release);
        let started = start(config);
        STARTING.store(false, Ordering::Release);
        started
    })?;
    await_registration(core)?;
    Ok(core)
}

fn start(config: Option<&Path>) -> Result<Arc<Core>, StartError> {
    let config = Config::find(config)?;
    let state = State::open(&config.state())?;
    let keys = state.keys()?;
    let unix = unix_now();
    let login = login::login(&config, &state, &keys, unix)?;
    let origin = HostInstant::now();
    let now = now_since(origin);
    let mut seed = [0; 32];
    getrandom::fill(&mut seed).map_err(|_| StartError::host("no random numbers", Errno(libc::EIO)))?;
    let mut domains = config.domains.clone();
    domains.push(login.record.manager.clone());
    let names = Names::new(login.record.fqdn.clone(), domains);
    let node = Node::new(
        now,
        NodeConfig {
            provider: config.cipher.provider(),
            record: login.record,
            noise: keys.noise,
            ticket: login.ticket,
            ticket_key: login.key,
            directors: login.directors,
            relays: login.relays,
            wall: WallClock::new(now, unix),
            wake_token: None,
        },
        seed,
    );
    let netlink = Netlink::open().map_err(|why| StartError::host("interface monitor", why.into()))?;
    let reader = Reader::new(netlink).map_err(|why| StartError::host("descriptors", why.into()))?;
    let streams = Streams::new(config.relay_tls_port);
    let interfaces = Known::new(config.interfaces.clone(), config.port);
    let stream_defaults = config.stream_defaults();
    let core = Core::new(Beginning { origin, node, reader, streams, names, interfaces, state, stream_defaults });
    let core = Arc::new(core);
    core.refresh_interfaces();
    let control = core.clone();
    let spawned = std::thread::Builder::new().name("ntmfw-control".to_owned()).spawn(move || {
        become_own_thread();
        control.reader.run_control(&control);
    });
    spawned.map_err(|why| StartError::host("control thread", why.into()))?;
    Ok(core)
}

/// What every thread of the library's own begins with.
pub(crate) fn become_own_thread() {
    std::mem::forget(inside::enter());
    refuse_signals();
}

/// The application's signals are for the application's threads.
pub fn refuse_signals() {
    // SAFETY: a set of signals of this thread's own, filled before it is used.
    unsafe {
        let mut all = std::mem::zeroed();
        libc::sigfillset(&raw mut all);
        libc::pthread_sigmask(libc::SIG_SETMASK, &raw const all, std::ptr::null_mut());
    }
}

fn await_registration(core: &Core) -> Result<(), StartError> {
    let registration = &core.registration;
    let until = core.now() + PATIENCE;
    loop {
        match wait_for(core, &registration.readiness, IN | ERR, Some(until)) {
            Ok(()) => break,
            Err(Errno(libc::EINTR)) => {}
            Err(_) => {
                let message = match registration.hindrance.lock().as_deref() {
                    Some(why) => format!("the direction coordinator answered: {why}; trying goes on"),
                    None => "no direction coordinator answered; trying goes on (`ntm netcheck` tells more)".to_owned(),
                };
                return Err(StartError { errno: Errno(libc::ETIMEDOUT), message });
            }
        }
    }
    match registration.refusal.lock().clone() {
        Some(message) => Err(StartError { errno: Errno(libc::EACCES), message }),
        None => Ok(()),
    }
}

impl StartError {
    pub(crate) fn host(what: &str, errno: Errno) -> Self {
        Self { errno, message: format!("{what}: {errno}") }
    }
}

impl From<ConfigError> for StartError {
    fn from(error: ConfigError) -> Self {
        Self { errno: Errno(libc::EINVAL), message: error.0 }
    }
}

impl From<StateError> for StartError {
    fn from(error: StateError) -> Self {
        Self { errno: Errno(libc::EACCES), message: error.0 }
    }
}
