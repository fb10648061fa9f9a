//! What the server counts, under the prefix `ntm_as`.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;

use crate::refusal::Code;

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Reason {
    reason: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Kind {
    kind: &'static str,
}

/// Why a connection was closed before it was answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Closed {
    /// As many connections as there may be.
    Full,
    /// As many from this address as there may be.
    AddressFull,
    /// The TLS handshake failed or took too long.
    Handshake,
    /// The request's head did not come in time or was none.
    Request,
}

/// Counters; clones are the same.
#[derive(Clone, Debug)]
pub struct Counters {
    requests: Counter,
    refusals: Family<Reason, Counter>,
    closed: Family<Reason, Counter>,
    tickets: Family<Kind, Counter>,
    pub connections: Gauge,
    pub hashes: Histogram,
}

impl Counters {
    pub fn register(registry: &mut Registry) -> Self {
        let counters = Self {
            requests: Counter::default(),
            refusals: Family::default(),
            closed: Family::default(),
            tickets: Family::default(),
            connections: Gauge::default(),
            hashes: Histogram::new(exponential_buckets(0.01, 2.0, 10)),
        };
        // A reason that has not occurred shows as 0, so that alarms need not tell "never" from "not counted".
        Code::ALL.iter().for_each(|code| drop(counters.refusals.get_or_create(&Reason { reason: code.word() })));
        registry.register("requests", "Requests", counters.requests.clone());
        registry.register("refusals", "Requests refused, by reason", counters.refusals.clone());
        registry.register("closed", "Connections closed unanswered, by reason", counters.closed.clone());
        registry.register("tickets", "Tickets issued, by what proved the node", counters.tickets.clone());
        registry.register("connections", "Connections now", counters.connections.clone());
        registry.register("password_seconds", "Waiting for and hashing a password", counters.hashes.clone());
        counters
    }

    pub fn request(&self) {
        self.requests.inc();
    }

    pub fn refused(&self, code: Code) {
        self.refusals.get_or_create(&Reason { reason: code.word() }).inc();
    }

    pub fn closed(&self, why: Closed) {
        let reason = match why {
            Closed::Full => "full",
            Closed::AddressFull => "address_full",
            Closed::Handshake => "handshake",
            Closed::Request => "request",
        };
        self.closed.get_or_create(&Reason { reason }).inc();
    }

    pub fn ticket(&self, kind: &'static str) {
        self.tickets.get_or_create(&Kind { kind }).inc();
    }
}
