//! The side of a program.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use ntmfw::Errno;
use ntmfw::elsewhere::Found;
use ntmfw::service::{Fault, Link, Traffic};

use crate::message::{Answer, Call, Request, VERSION};
use crate::node::Node;
use crate::wire;

/// An agent that was met at its socket. It holds no descriptor between calls, so that it may be kept over `fork` and by
/// programs that close whatever they find.
#[derive(Clone, Debug)]
pub struct Client {
    path: PathBuf,
    node: Option<String>,
}

impl Client {
    /// The agent at `path`, if there is one and it holds this node, or any where `node` does not say.
    pub fn meet(path: &Path, node: Option<&str>) -> Result<Self, Fault> {
        let client = Self { path: path.to_owned(), node: node.map(str::to_owned) };
        client.name().map(|_| client)
    }

    /// A port of the kernel's listens for nodes as well: what this gives takes its place.
    pub fn serve(&self, kernel: BorrowedFd<'_>, backlog: i32) -> Result<OwnedFd, Fault> {
        match self.ask(Call::Serve { backlog }, Some(kernel))? {
            (Answer::Descriptor, Some(fd)) => Ok(fd),
            other => Err(self.odd(&other.0)),
        }
    }

    /// Ends the agent.
    pub fn stop(&self) -> Result<(), Fault> {
        match self.ask(Call::Stop, None)? {
            (Answer::Done, _) => Ok(()),
            other => Err(self.odd(&other.0)),
        }
    }

    fn ask(&self, call: Call, fd: Option<BorrowedFd<'_>>) -> Result<(Answer, Option<OwnedFd>), Fault> {
        let failed = |why: io::Error| {
            let errno = Errno(why.raw_os_error().unwrap_or(libc::EPROTO));
            Fault { errno, message: format!("the agent at {}: {why}", self.path.display()) }
        };
        let mut stream = UnixStream::connect(&self.path).map_err(failed)?;
        if wire::peer_user(&stream).map_err(failed)? != wire::own_user() {
            let message = format!("the agent at {} is another user's", self.path.display());
            return Err(Fault { errno: Errno(libc::EPERM), message });
        }
        let request = Request { version: VERSION, node: self.node.clone(), call };
        wire::write(&mut stream, &request, fd).map_err(failed)?;
        match wire::read(&mut stream).map_err(failed)? {
            (Answer::Refused { errno, message }, _) => Err(Fault { errno: Errno(errno), message }),
            answer => Ok(answer),
        }
    }

    fn text(&self, call: Call) -> Result<String, Fault> {
        match self.ask(call, None)? {
            (Answer::Text(text), _) => Ok(text),
            other => Err(self.odd(&other.0)),
        }
    }

    fn descriptor(&self, call: Call) -> Result<OwnedFd, Fault> {
        match self.ask(call, None)? {
            (Answer::Descriptor, Some(fd)) => Ok(fd),
            other => Err(self.odd(&other.0)),
        }
    }

    fn odd(&self, answer: &Answer) -> Fault {
        let message = format!("the agent at {} answered what was not asked: {answer:?}", self.path.display());
        Fault { errno: Errno(libc::EPROTO), message }
    }
}

impl Node for Client {
    fn name(&self) -> Result<String, Fault> {
        self.text(Call::Name)
    }

    fn resolve(&self, name: &str) -> Result<Found, Fault> {
        match self.ask(Call::Resolve(name.to_owned()), None)? {
            (Answer::Found(found), _) => Ok(found),
            other => Err(self.odd(&other.0)),
        }
    }

    fn name_of(&self, address: IpAddr) -> Result<Option<String>, Fault> {
        match self.ask(Call::Reverse(address), None)? {
            (Answer::Reversed(name), _) => Ok(name),
            other => Err(self.odd(&other.0)),
        }
    }

    fn connect(&self, traffic: Traffic, to: SocketAddr, wait: bool) -> Result<Link, Fault> {
        match self.ask(Call::Connect { traffic, to, wait }, None)? {
            (Answer::Link { local, remote, connected }, Some(fd)) => Ok(Link { fd, local, remote, connected }),
            other => Err(self.odd(&other.0)),
        }
    }

    fn listen(&self, port: u16) -> Result<OwnedFd, Fault> {
        self.descriptor(Call::Listen { port, backlog: crate::node::BACKLOG })
    }

    fn status(&self) -> Result<String, Fault> {
        self.text(Call::Status)
    }

    fn flows(&self) -> Result<String, Fault> {
        self.text(Call::Flows)
    }

    fn capture(&self) -> Result<OwnedFd, Fault> {
        self.descriptor(Call::Capture)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_nobody_listens_the_reason_names_the_place() {
        let why = Client::meet(Path::new("/nonexistent/agent.sock"), None).expect_err("nobody is there");
        assert!(why.message.contains("/nonexistent/agent.sock"), "{why}");
    }
}
