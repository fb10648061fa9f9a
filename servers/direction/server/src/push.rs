//! Waking nodes through the operator's push gateway.
//!
//! ```text
//! POST URL                                                    2xx: taken; 4xx: never; otherwise: again
//! NTM-Time: milliseconds since 1970
//! NTM-Signature: keyed BLAKE2s-256 of "NTM wake" ‖ time(8, big-endian) ‖ body, in hexadecimal
//!
//! {"token": base64 of what the node gave, "node": hex, "path": hex}
//! ```

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ntm_proto::crypto::{Secret, derive};
use ntm_proto::id::{NodeId, PathId};
use ntm_server::clock::unix_now;
use ntm_server::{Failure, hex};
use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;

use crate::config::Push;
use crate::domain::read_key;
use crate::lookup::agent;

const LABEL: &[u8] = b"NTM wake";
/// Calls at a time; further nodes wait for theirs.
const MAX_CALLS: usize = 16;
/// Nodes that wait for a call; on top they are not woken, and whoever asked asks again.
const MAX_WAITING: usize = 1_024;
/// The whole of it fits into the time a direction waits for its node.
const TIMEOUT: Duration = Duration::from_secs(3);
const PAUSES: [Duration; 2] = [Duration::from_millis(200), Duration::from_millis(800)];

#[derive(Debug, Default)]
pub(crate) struct PushStats {
    taken: AtomicU64,
    refused: AtomicU64,
    failed: AtomicU64,
    again: AtomicU64,
    overflowed: AtomicU64,
}

impl PushStats {
    pub(crate) fn read(&self) -> Vec<(&'static str, u64)> {
        let read = |value: &AtomicU64| value.load(Ordering::Relaxed);
        vec![
            ("taken", read(&self.taken)),
            ("refused", read(&self.refused)),
            ("failed", read(&self.failed)),
            ("tried_again", read(&self.again)),
            ("overflowed", read(&self.overflowed)),
        ]
    }
}

/// The way to the gateway; clones are the same.
#[derive(Clone, Debug)]
pub(crate) struct Gateway {
    inner: Arc<Inner>,
    stats: Arc<PushStats>,
}

#[derive(Debug)]
struct Inner {
    agent: ureq::Agent,
    url: String,
    key: Secret,
    waiting: Semaphore,
    calls: Semaphore,
}

enum Outcome {
    Taken,
    Refused(u16),
    Failed(String),
}

impl Gateway {
    pub(crate) fn new(push: &Push, stats: Arc<PushStats>) -> Result<Self, Failure> {
        let inner = Inner {
            agent: agent(push.ca.as_deref(), TIMEOUT, false)?,
            url: push.url.get_ref().clone(),
            key: read_key(&push.key)?,
            waiting: Semaphore::new(MAX_WAITING),
            calls: Semaphore::new(MAX_CALLS),
        };
        Ok(Self { inner: Arc::new(inner), stats })
    }

    /// Has a node woken, without waiting for it.
    pub(crate) fn wake(&self, token: &[u8], node: NodeId, path_id: PathId) {
        let this = self.clone();
        let body = serde_json::json!({
            "token": STANDARD.encode(token),
            "node": hex::encode(&node.0),
            "path": hex::encode(&path_id.0),
        });
        let body = body.to_string();
        tokio::spawn(async move {
            let Ok(_place) = this.inner.waiting.try_acquire() else {
                this.stats.overflowed.fetch_add(1, Ordering::Relaxed);
                return;
            };
            let Ok(_call) = this.inner.calls.acquire().await else { return };
            this.call(body).await;
        });
    }

    async fn call(&self, body: String) {
        for pause in PAUSES.into_iter().map(Some).chain([None]) {
            let (inner, text) = (self.inner.clone(), body.clone());
            let outcome = spawn_blocking(move || inner.post(&text)).await;
            match (outcome.unwrap_or_else(|why| Outcome::Failed(why.to_string())), pause) {
                (Outcome::Taken, _) => {
                    self.stats.taken.fetch_add(1, Ordering::Relaxed);
                    return;
                }
                (Outcome::Refused(status), _) => {
                    self.stats.refused.fetch_add(1, Ordering::Relaxed);
                    tracing::warn!("the push gateway refused a wake: status {status}");
                    return;
                }
                (Outcome::Failed(_), Some(pause)) => {
                    self.stats.again.fetch_add(1, Ordering::Relaxed);
                    tokio::time::sleep(pause).await;
                }
                (Outcome::Failed(why), None) => {
                    self.stats.failed.fetch_add(1, Ordering::Relaxed);
                    tracing::warn!("the push gateway does not answer: {why}");
                }
            }
        }
    }
}

impl Inner {
    fn post(&self, body: &str) -> Outcome {
        let time = unix_now().as_millis();
        let request = self
            .agent
            .post(&self.url)
            .header("Content-Type", "application/json")
            .header("NTM-Time", time.to_string())
            .header("NTM-Signature", hex::encode(&signature(&self.key, time, body.as_bytes())));
        match request.send(body.as_bytes()) {
            Ok(response) => match response.status().as_u16() {
                200..300 => Outcome::Taken,
                status @ 400..500 => Outcome::Refused(status),
                status => Outcome::Failed(format!("status {status}")),
            },
            Err(why) => Outcome::Failed(why.to_string()),
        }
    }
}

/// What a gateway compares `NTM-Signature` with.
fn signature(key: &Secret, time: u64, body: &[u8]) -> [u8; 32] {
    *derive(key, &[LABEL, &time.to_be_bytes(), body]).expose()
}
