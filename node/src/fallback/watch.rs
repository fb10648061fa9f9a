//! What one endpoint knows of its network, and when it asks.

use core::time::Duration;

use ntm_proto::time::Instant;

use crate::interface::Endpoint;

/// How long servers may leave an endpoint without any answer before it asks whether UDP works at all.
const SILENT: Duration = Duration::from_millis(700);
/// Pauses after the pings that ask; after the last, UDP counts as blocked.
const ASK: [Duration; 3] = [Duration::from_millis(300), Duration::from_millis(300), Duration::from_millis(400)];
/// After an answer UDP is not doubted again for so long: it may be the coordinator that is gone.
const BELIEVED: Duration = Duration::from_secs(10);
/// Pauses between pings that ask whether UDP works again.
const ASK_AGAIN: [Duration; 5] = [
    Duration::from_secs(2),
    Duration::from_secs(5),
    Duration::from_secs(10),
    Duration::from_secs(20),
    Duration::from_secs(40),
];
/// Pauses between streams that came to nothing.
const CONNECT_AGAIN: [Duration; 6] = [
    Duration::from_millis(500),
    Duration::from_secs(2),
    Duration::from_secs(5),
    Duration::from_secs(10),
    Duration::from_secs(20),
    Duration::from_secs(40),
];

/// What an endpoint knows of its network.
#[derive(Debug)]
pub(super) struct Watch {
    pub(super) endpoint: Endpoint,
    /// Since when servers have been sent to without any answer.
    pub(super) unanswered: Option<Instant>,
    pub(super) believed_until: Instant,
    pub(super) state: State,
}

#[derive(Debug)]
pub(super) enum State {
    Heard,
    Asking { sent: usize, next_at: Instant },
    Blocked(Blocked),
}

#[derive(Debug)]
pub(super) struct Blocked {
    asked: usize,
    ask_at: Instant,
    /// Streams begun since one last proved good.
    pub(super) attempts: usize,
    /// When the next is begun; far in the future while there is one.
    connect_at: Instant,
    /// Some stream was up, so that the rest of the engine has been told.
    pub(super) carried: bool,
}

/// What is to be done for an endpoint now.
#[derive(Default)]
pub(super) struct Todo {
    pub(super) ask: bool,
    /// Begin a stream: the how manyeth since one was good.
    pub(super) connect: Option<usize>,
}

impl Watch {
    pub(super) fn new(endpoint: Endpoint) -> Self {
        Self { endpoint, unanswered: None, believed_until: Instant::ZERO, state: State::Heard }
    }

    pub(super) fn next_timeout(&self) -> Instant {
        match &self.state {
            State::Heard => self.unanswered.map_or(Instant::FAR_FUTURE, |since| since + SILENT),
            State::Asking { next_at, .. } => *next_at,
            State::Blocked(blocked) => blocked.ask_at.min(blocked.connect_at),
        }
    }

    pub(super) fn handle_timeout(&mut self, now: Instant) -> Todo {
        if now < self.next_timeout() {
            return Todo::default();
        }
        match &mut self.state {
            State::Heard => {
                self.state = State::Asking { sent: 1, next_at: now + ASK[0] };
                Todo { ask: true, connect: None }
            }
            State::Asking { sent, next_at } => match ASK.get(*sent) {
                Some(&pause) => {
                    (*sent, *next_at) = (*sent + 1, now + pause);
                    Todo { ask: true, connect: None }
                }
                None => {
                    let (ask_at, connect_at) = (now + ASK_AGAIN[0], Instant::FAR_FUTURE);
                    let blocked = Blocked { asked: 0, ask_at, attempts: 1, connect_at, carried: false };
                    self.state = State::Blocked(blocked);
                    Todo { ask: false, connect: Some(0) }
                }
            },
            State::Blocked(blocked) => blocked.handle_timeout(now),
        }
    }

    /// UDP works.
    pub(super) fn believe(&mut self, now: Instant) {
        self.state = State::Heard;
        self.unanswered = None;
        self.believed_until = now + BELIEVED;
    }
}

impl Blocked {
    fn handle_timeout(&mut self, now: Instant) -> Todo {
        let mut todo = Todo::default();
        if now >= self.ask_at {
            todo.ask = true;
            self.asked += 1;
            self.ask_at = now + ASK_AGAIN[self.asked.min(ASK_AGAIN.len() - 1)];
        }
        if now >= self.connect_at {
            // Where UDP works again, its pong is there before the stream is.
            todo.ask = true;
            todo.connect = Some(self.attempts);
            self.attempts += 1;
            self.connect_at = Instant::FAR_FUTURE;
        }
        todo
    }

    /// A stream is up: UDP is asked for anew.
    pub(super) fn carried_from(&mut self, now: Instant) {
        (self.carried, self.asked, self.ask_at) = (true, 0, now + ASK_AGAIN[0]);
    }

    pub(super) fn connect_again(&mut self, now: Instant) {
        self.connect_at = now + CONNECT_AGAIN[self.attempts.saturating_sub(1).min(CONNECT_AGAIN.len() - 1)];
    }
}
