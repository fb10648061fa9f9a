//! A server's life: what the operator's signals ask, and what systemd is told.

use sd_notify::NotifyState;
use tokio::signal::unix::{Signal as Stream, SignalKind, signal};

use ntm_program::{Failure, ResultExt as _};

/// What the operator asks a running server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// SIGHUP: read the configuration again.
    Reload,
    /// SIGTERM or SIGINT: end cleanly. A second one says: at once.
    Stop,
}

/// A running server's ear for signals and mouth to systemd.
#[derive(Debug)]
pub struct Life {
    hang_up: Stream,
    terminate: Stream,
    interrupt: Stream,
}

impl Life {
    pub(crate) fn begin() -> Result<Self, Failure> {
        let listen = |kind| signal(kind).context("cannot listen to signals");
        Ok(Self {
            hang_up: listen(SignalKind::hangup())?,
            terminate: listen(SignalKind::terminate())?,
            interrupt: listen(SignalKind::interrupt())?,
        })
    }

    /// The server is up: says in one line what it serves, to the log and to systemd.
    pub fn ready(&self, serves: &str) {
        tracing::info!("{serves}");
        tell(&[NotifyState::Ready, NotifyState::Status(serves)]);
    }

    /// The configuration was read again.
    pub fn reloaded(&self) {
        tell(&[NotifyState::Ready]);
    }

    /// Waits for the next signal.
    pub async fn next(&mut self) -> Signal {
        tokio::select! {
            _ = self.hang_up.recv() => {
                tell(&[NotifyState::Reloading]);
                Signal::Reload
            }
            _ = self.terminate.recv() => stopping(),
            _ = self.interrupt.recv() => stopping(),
        }
    }
}

fn stopping() -> Signal {
    tell(&[NotifyState::Stopping]);
    Signal::Stop
}

/// Without systemd there is nobody to tell, which is no failure.
fn tell(states: &[NotifyState<'_>]) {
    let _ = sd_notify::notify(states);
}
