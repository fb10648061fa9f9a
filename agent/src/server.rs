//! The side of the agent: a thread a question, each answered by the stack of this process.

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use ntmfw::Errno;
use ntmfw::service::{self, Fault};

use crate::client::Client;
use crate::message::{Answer, Call, Request, VERSION};
use crate::node::{Local, Node as _};
use crate::wire;

/// Questions that are answered at once; what comes on top is told to come again.
const MAX_QUESTIONS: usize = 512;
/// How long a program may take to ask, and to take its answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// An agent's socket, taken away when this is dropped.
#[derive(Debug)]
pub struct Server {
    path: PathBuf,
    listener: UnixListener,
    /// Held so that there is one agent at this place; it ends with the process, however that ends.
    _lock: File,
}

impl Server {
    /// Takes the place at `path`, in a directory that only this user enters. One that a dead agent left is taken over.
    pub fn bind(path: &Path) -> Result<Self, Fault> {
        let failed = |why: io::Error| {
            let errno = Errno(why.raw_os_error().unwrap_or(libc::EIO));
            Fault { errno, message: format!("{}: {why}", path.display()) }
        };
        if let Some(directory) = path.parent() {
            DirBuilder::new().recursive(true).mode(0o700).create(directory).map_err(failed)?;
        }
        let lock = open_lock(path).map_err(failed)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let name = Client::meet(path, None).and_then(|other| other.name()).unwrap_or_default();
                let message = format!("an agent of this user runs already, as {name} (`ntm down` ends it)");
                return Err(Fault { errno: Errno(libc::EADDRINUSE), message });
            }
            Err(TryLockError::Error(why)) => return Err(failed(why)),
        }
        match fs::remove_file(path) {
            Err(why) if why.kind() != io::ErrorKind::NotFound => return Err(failed(why)),
            _ => {}
        }
        let listener = UnixListener::bind(path).map_err(failed)?;
        fs::set_permissions(path, fs::Permissions::from_mode(0o600)).map_err(failed)?;
        Ok(Self { path: path.to_owned(), listener, _lock: lock })
    }

    /// Answers for `node` from now on, on threads of its own. `stop` is called when a program wants the agent to end.
    pub fn answer(&self, node: Local, stop: impl Fn() + Send + Sync + 'static) -> io::Result<()> {
        let listener = self.listener.try_clone()?;
        let desk = Arc::new(Desk { node, stop: Box::new(stop), busy: AtomicUsize::new(0) });
        std::thread::Builder::new().name("ntm-agent".to_owned()).spawn(move || {
            for stream in listener.incoming().flatten() {
                desk.take(stream);
            }
        })?;
        Ok(())
    }

    /// Takes the socket away. Another agent may come when this process has ended, and its node's state is free.
    pub fn withdraw(self) {
        let _ = fs::remove_file(&self.path);
        std::mem::forget(self);
    }
}

/// Whether an agent runs at this place, or is about to end.
#[must_use]
pub fn runs(path: &Path) -> bool {
    open_lock(path).is_ok_and(|lock| matches!(lock.try_lock(), Err(TryLockError::WouldBlock)))
}

fn open_lock(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.create(true).write(true).truncate(false).mode(0o600).open(path.with_extension("lock"))
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}

struct Desk {
    node: Local,
    stop: Box<dyn Fn() + Send + Sync>,
    busy: AtomicUsize,
}

impl Desk {
    fn take(self: &Arc<Self>, mut stream: UnixStream) {
        if self.busy.fetch_add(1, Ordering::AcqRel) >= MAX_QUESTIONS {
            self.busy.fetch_sub(1, Ordering::AcqRel);
            let refused = Answer::Refused { errno: libc::EAGAIN, message: "the agent has too much to do".to_owned() };
            let _ = wire::write(&mut stream, &refused, None);
            return;
        }
        let desk = self.clone();
        let spawned = std::thread::Builder::new().name("ntm-question".to_owned()).spawn(move || {
            // A program that went away while it was answered needs no answer.
            let _ = desk.serve(&mut stream);
            desk.busy.fetch_sub(1, Ordering::AcqRel);
        });
        if spawned.is_err() {
            self.busy.fetch_sub(1, Ordering::AcqRel);
        }
    }

    fn serve(&self, stream: &mut UnixStream) -> io::Result<()> {
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        if wire::peer_user(stream)? != wire::own_user() {
            return Ok(());
        }
        let (request, fd) = wire::read::<Request>(stream)?;
        let stops = request.call == Call::Stop;
        let (answer, fd) = self
            .answer(request, fd)
            .unwrap_or_else(|fault| (Answer::Refused { errno: fault.errno.0, message: fault.message }, None));
        let done = stops && answer == Answer::Done;
        wire::write(stream, &answer, fd.as_ref().map(|fd| fd.as_fd()))?;
        if done {
            (self.stop)();
        }
        Ok(())
    }

    fn answer(&self, request: Request, fd: Option<OwnedFd>) -> Result<(Answer, Option<OwnedFd>), Fault> {
        let name = self.node.name()?;
        if request.version != VERSION {
            let message = format!("the agent speaks version {VERSION}, this program {}", request.version);
            return Err(Fault { errno: Errno(libc::EPROTO), message });
        }
        if request.node.is_some_and(|wanted| wanted != name) {
            let message = format!("the agent of this user runs as {name}");
            return Err(Fault { errno: Errno(libc::ENOENT), message });
        }
        Ok(match request.call {
            Call::Name => (Answer::Text(name), None),
            Call::Resolve(name) => (Answer::Found(self.node.resolve(&name)?), None),
            Call::Reverse(address) => (Answer::Reversed(self.node.name_of(address)?), None),
            Call::Connect { traffic, to, wait } => {
                let link = self.node.connect(traffic, to, wait)?;
                (Answer::Link { local: link.local, remote: link.remote, connected: link.connected }, Some(link.fd))
            }
            Call::Listen { port, backlog } => (Answer::Descriptor, Some(service::listen(port, backlog)?)),
            Call::Serve { backlog } => {
                let missing = || Fault { errno: Errno(libc::EBADF), message: "no descriptor came along".to_owned() };
                (Answer::Descriptor, Some(service::serve(fd.ok_or_else(missing)?, backlog)?))
            }
            Call::Status => (Answer::Text(self.node.status()?), None),
            Call::Flows => (Answer::Text(self.node.flows()?), None),
            Call::Capture => (Answer::Descriptor, Some(self.node.capture()?)),
            Call::Stop => (Answer::Done, None),
        })
    }
}

impl std::fmt::Debug for Desk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Desk").field("busy", &self.busy).finish_non_exhaustive()
    }
}
