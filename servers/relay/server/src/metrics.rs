//! What the workers and the streams count, as Prometheus reads it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use ntm_relay::{DropReason, Stats};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric as _};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;

use crate::stream::Streams;
use crate::workers::{Account, Ledger};

/// Reads all counters when somebody asks.
#[derive(Debug)]
pub(crate) struct Collected {
    pub(crate) ledger: Ledger,
    pub(crate) streams: Arc<Streams>,
}

/// A counter of the core: its name, what it means, and where it stands.
type OfRelay = (&'static str, &'static str, fn(&Stats) -> u64);
type OfWorker = (&'static str, &'static str, fn(&Account) -> u64);

const RELAY: [OfRelay; 15] = [
    ("forwarded_datagrams", "Datagrams sent on", |stats| stats.forwarded_datagrams),
    ("forwarded_bytes", "Bytes sent on, with their outer header", |stats| stats.forwarded_bytes),
    ("account_limited_bytes", "Bytes dropped above the rate of an account", |stats| stats.account_limited_bytes),
    ("held_datagrams", "Datagrams that had to wait before they could be sent on", |stats| stats.held_datagrams),
    ("binds", "Binds that were good", |stats| stats.binds),
    ("rebinds", "Binds that moved a side to another address", |stats| stats.rebinds),
    ("proven", "Addresses that have proven that they receive", |stats| stats.proven),
    ("pings", "Pings answered", |stats| stats.pings),
    ("grants_made", "Grants made", |stats| stats.grants_made),
    ("grants_expired", "Grants whose token ended", |stats| stats.grants_expired),
    ("grants_idle", "Grants that nobody used any more", |stats| stats.grants_idle),
    ("grants_revoked", "Grants that a direction server revoked", |stats| stats.grants_revoked),
    ("revocations_evicted", "Revocations forgotten before their time", |stats| stats.revocations_evicted),
    ("director_sessions", "Sessions with direction servers that came up", |stats| stats.director_sessions),
    ("reports_answered", "Reports that a direction server acknowledged", |stats| stats.reports_answered),
];

const WORKER: [OfWorker; 6] = [
    ("received_datagrams", "Datagrams received, by UDP and by TLS", |account| account.received),
    ("receive_calls", "Calls of the kernel that brought datagrams", |account| account.batches),
    ("send_calls", "Calls of the kernel that sent datagrams", |account| account.sends),
    ("handed_over", "Datagrams that landed at another worker than theirs", |account| account.handed_over),
    ("send_blocked", "Datagrams that the kernel had no room for", |account| account.send_blocked),
    ("send_failed", "Datagrams that the kernel refused to send", |account| account.send_failed),
];

impl Collector for Collected {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let accounts = self.ledger.accounts();
        let sum = |read: &dyn Fn(&Account) -> u64| accounts.iter().map(read).sum::<u64>();
        let mut counter = |name: &str, help: &str, value: u64| {
            let counter = ConstCounter::new(value);
            counter.encode(encoder.encode_descriptor(name, help, None, counter.metric_type())?)
        };
        for (name, help, read) in RELAY {
            counter(name, help, sum(&|account| read(&account.relay)))?;
        }
        for (name, help, read) in WORKER {
            counter(name, help, sum(&read))?;
        }
        counter(
            "letters_dropped",
            "Datagrams that found no room on the way to their worker",
            self.ledger.letters_dropped(),
        )?;
        for (name, help, value) in self.of_streams() {
            counter(name, help, value.load(Ordering::Relaxed))?;
        }
        let mut gauge = |name: &str, help: &str, value: usize| {
            let gauge = ConstGauge::new(i64::try_from(value).unwrap_or(i64::MAX));
            gauge.encode(encoder.encode_descriptor(name, help, None, gauge.metric_type())?)
        };
        gauge("grants", "Grants in the table", accounts.iter().map(|account| account.relay.grants).sum())?;
        gauge("held_bytes", "Bytes that wait", accounts.iter().map(|account| account.relay.held_bytes).sum())?;
        gauge("tls_connections", "TLS connections open", self.streams.len())?;
        gauge("workers", "Threads that carry datagrams", accounts.len())?;
        let kind = ConstCounter::new(0_u64).metric_type();
        let mut dropped = encoder.encode_descriptor("dropped", "Datagrams dropped, by reason", None, kind)?;
        for reason in DropReason::ALL {
            let labels = [("reason", snake_case(&format!("{reason:?}")))];
            let value = ConstCounter::new(sum(&|account| account.relay.dropped(reason)));
            value.encode(dropped.encode_family(&labels)?)?;
        }
        Ok(())
    }
}

impl Collected {
    fn of_streams(&self) -> [(&'static str, &'static str, &AtomicU64); 10] {
        let counts = &self.streams.counts;
        [
            ("tls_accepted", "TLS connections taken in", &counts.accepted),
            ("tls_refused", "TLS connections above the bounds", &counts.refused),
            ("tls_handshakes_failed", "TLS connections that did not come up", &counts.handshakes_failed),
            ("tls_misbehaved", "TLS connections closed for what they sent or did not read", &counts.misbehaved),
            ("tls_to_relay", "Datagrams from TLS connections to the relay", &counts.to_relay),
            ("tls_to_directors", "Datagrams from TLS connections to direction servers", &counts.to_directors),
            ("tls_from_directors", "Datagrams from direction servers to TLS connections", &counts.from_directors),
            ("tls_forbidden", "Datagrams between TLS connections and others than direction servers", &counts.forbidden),
            ("tls_rate_limited", "Datagrams to direction servers above a connection's rate", &counts.rate_limited),
            ("tls_dropped", "Datagrams for TLS connections that read too slowly or are gone", &counts.dropped),
        ]
    }
}

/// `TokenExpired` is `token_expired` where labels are read.
fn snake_case(name: &str) -> String {
    let mut out = String::new();
    for letter in name.chars() {
        if letter.is_ascii_uppercase() && !out.is_empty() {
            out.push('_');
        }
        out.push(letter.to_ascii_lowercase());
    }
    out
}
