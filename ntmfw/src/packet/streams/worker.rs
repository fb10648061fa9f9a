//! The thread that has the connections.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::AsRawFd as _;
use std::sync::Arc;

use libc::pollfd;
use ntm_node::StreamId;
use rustls::ClientConfig;

use super::connection::{Connection, tls};
use super::{Letter, News, Post};
use crate::negotiation::start::become_own_thread;

/// Begins the thread. It lives as long as the process.
pub(super) fn start(post: Arc<Post>) -> io::Result<()> {
    let tls = tls().map_err(io::Error::other)?;
    let worker = Worker { post, tls, open: BTreeMap::new() };
    std::thread::Builder::new().name("ntmfw-streams".to_owned()).spawn(move || worker.run()).map(drop)
}

struct Worker {
    post: Arc<Post>,
    tls: Arc<ClientConfig>,
    open: BTreeMap<StreamId, Connection>,
}

impl Worker {
    fn run(mut self) {
        become_own_thread();
        loop {
            self.sleep();
            for letter in self.post.take_letters() {
                self.handle(letter);
            }
            let post = &self.post;
            self.open.retain(|id, connection| {
                let goes_on = connection.advance(post).is_ok();
                if !goes_on {
                    post.tell(News::Down(*id));
                }
                goes_on
            });
        }
    }

    /// Until there is a letter, or a connection has something or room.
    fn sleep(&self) {
        let entry = |fd, events| pollfd { fd, events, revents: 0 };
        let connections = self.open.values().map(|open| entry(open.as_raw_fd(), open.interest()));
        let letters = entry(self.post.letters_came.as_raw_fd(), libc::POLLIN);
        let mut set: Vec<pollfd> = connections.chain([letters]).collect();
        // SAFETY: `set` holds that many entries. Whatever ends the wait, looking round does no harm.
        unsafe { libc::poll(set.as_mut_ptr(), set.len() as libc::nfds_t, -1) };
    }

    fn handle(&mut self, letter: Letter) {
        match letter {
            Letter::Open(opening) => match Connection::open(&opening, &self.tls) {
                Ok(connection) => drop(self.open.insert(connection.id, connection)),
                Err(_) => self.post.tell(News::Down(opening.id)),
            },
            Letter::Send(id, frame) => {
                if let Some(connection) = self.open.get_mut(&id) {
                    connection.send(frame);
                }
            }
            Letter::Close(id) => {
                if let Some(connection) = self.open.remove(&id) {
                    connection.close();
                }
            }
        }
    }
}
