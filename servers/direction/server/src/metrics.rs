//! Every figure of the server, read when Prometheus asks.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use ntm_direction::{Gauges, Stats};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric as _};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;

use crate::directory::Directory;
use crate::dns::DnsStats;
use crate::driver::Published;
use crate::lookup::LookupStats;
use crate::push::PushStats;
use crate::store::KeeperStats;

/// All who count.
#[derive(Debug)]
pub(crate) struct Counted {
    pub published: Arc<Published>,
    pub keeper: Arc<KeeperStats>,
    pub directory: Arc<Directory>,
    pub dns: Arc<DnsStats>,
    pub lookup: Arc<LookupStats>,
    pub push: Arc<PushStats>,
}

impl Collector for Counted {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let figures = self.published.read();
        for (name, help, value) in counters(&figures.stats) {
            counter(&mut encoder, name, help, value)?;
        }
        labelled(
            &mut encoder,
            "dropped",
            "Datagrams and messages that changed nothing",
            "reason",
            &figures.stats.dropped.by_reason().collect::<Vec<_>>(),
        )?;
        for (name, help, value) in gauges(&figures.gauges) {
            gauge(&mut encoder, name, help, value)?;
        }
        counter(&mut encoder, "unsent", "Datagrams the kernel had no room for", figures.unsent)?;
        counter(&mut encoder, "clock_steps", "Times the host's clock was set", figures.clock_steps)?;
        counter(&mut encoder, "unanswered", "Questions that found no room", figures.unanswered)?;
        let keeper = &self.keeper;
        let read = |value: &std::sync::atomic::AtomicU64| value.load(Ordering::Relaxed);
        counter(&mut encoder, "registry_commits", "Commits of the registry", read(&keeper.commits))?;
        counter(&mut encoder, "registry_changes", "Changes written to the registry", read(&keeper.written))?;
        counter(&mut encoder, "registry_failures", "Attempts of the registry that failed", read(&keeper.failures))?;
        counter(&mut encoder, "registry_lost", "Changes given up because the registry failed", read(&keeper.lost))?;
        gauge(&mut encoder, "names", "Names the DNS server knows", self.directory.len())?;
        labelled(&mut encoder, "dns_queries", "Questions to the DNS server", "outcome", &self.dns.read())?;
        labelled(&mut encoder, "domain_lookups", "Lookups of other domains", "outcome", &self.lookup.read())?;
        labelled(&mut encoder, "wakes_pushed", "Calls of the push gateway", "outcome", &self.push.read())
    }
}

fn counter(encoder: &mut DescriptorEncoder<'_>, name: &str, help: &str, value: u64) -> fmt::Result {
    let metric = ConstCounter::new(value);
    metric.encode(encoder.encode_descriptor(name, help, None, metric.metric_type())?)
}

fn gauge(encoder: &mut DescriptorEncoder<'_>, name: &str, help: &str, value: usize) -> fmt::Result {
    let metric = ConstGauge::new(i64::try_from(value).unwrap_or(i64::MAX));
    metric.encode(encoder.encode_descriptor(name, help, None, metric.metric_type())?)
}

fn labelled(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    label: &'static str,
    values: &[(&'static str, u64)],
) -> fmt::Result {
    let mut family = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
    for (value, count) in values {
        let metric = ConstCounter::new(*count);
        metric.encode(family.encode_family(&[(label, *value)])?)?;
    }
    Ok(())
}

type Named = (&'static str, &'static str, u64);

fn counters(stats: &Stats) -> Vec<Named> {
    // Taken apart, so that a new counter cannot be forgotten here.
    let Stats {
        datagrams,
        dropped: _,
        handshakes_answered,
        handshakes_repeated,
        handshakes_refused,
        cookies_sent,
        registrations,
        moves,
        superseded,
        keep_alives,
        deregistrations,
        leases_expired,
        forgotten,
        directions_asked,
        directions_repeated,
        directions_given,
        directions_refused,
        directions_unacknowledged,
        retransmissions,
        wakes,
        revocations,
        lookups,
        finds,
        moved_away,
        information_asked,
        information_given,
        relay_reports,
        errors_received,
        addresses_proven,
        sent,
        withheld,
        evicted,
        overflowed,
    } = *stats;
    vec![
        ("datagrams", "Datagrams received", datagrams),
        ("handshakes_answered", "Handshakes answered", handshakes_answered),
        ("handshakes_repeated", "Retransmitted handshakes answered again", handshakes_repeated),
        ("handshakes_refused", "Handshakes refused with an error", handshakes_refused),
        ("cookies_sent", "Cookies asked for under load", cookies_sent),
        ("registrations", "Registrations taken", registrations),
        ("moves", "Registrations on a live session", moves),
        ("superseded", "Identities that registered from elsewhere", superseded),
        ("keep_alives", "Keep-alives", keep_alives),
        ("deregistrations", "Nodes that left", deregistrations),
        ("leases_expired", "Nodes that fell silent", leases_expired),
        ("forgotten", "Nodes whose addresses are free again", forgotten),
        ("directions_asked", "Directions asked for", directions_asked),
        ("directions_repeated", "Directions answered as before", directions_repeated),
        ("directions_given", "Route directions sent", directions_given),
        ("directions_refused", "Directions refused", directions_refused),
        ("directions_unacknowledged", "Route directions nobody acknowledged", directions_unacknowledged),
        ("retransmissions", "Messages sent again", retransmissions),
        ("wakes", "Nodes to be woken", wakes),
        ("revocations", "Nodes revoked", revocations),
        ("lookups", "Other domains looked for", lookups),
        ("finds", "Nodes looked for at this domain's other coordinators", finds),
        ("moved_away", "Nodes that registered with another coordinator", moved_away),
        ("information_asked", "Questions to other coordinators about a node", information_asked),
        ("information_given", "Answers to other coordinators about a node", information_given),
        ("relay_reports", "Reports of relays", relay_reports),
        ("errors_received", "Errors that others sent", errors_received),
        ("addresses_proven", "Addresses that proved that they receive", addresses_proven),
        ("sent", "Datagrams sent", sent),
        ("withheld", "Messages held back from unproven addresses", withheld),
        ("evicted", "Rows given up for newer ones", evicted),
        ("overflowed", "Things left undone because a queue was full", overflowed),
    ]
}

fn gauges(gauges: &Gauges) -> Vec<(&'static str, &'static str, usize)> {
    let Gauges {
        nodes,
        online,
        sessions,
        half_open,
        applicants,
        paths,
        deliveries,
        held,
        peers,
        lookups,
        reassemblers,
        transmits,
        events,
    } = *gauges;
    vec![
        ("nodes", "Nodes known", nodes),
        ("nodes_online", "Nodes whose lease runs", online),
        ("sessions", "Sessions", sessions),
        ("half_open", "Handshakes not confirmed", half_open),
        ("applicants", "Handshakes that wait for the registry", applicants),
        ("paths", "Communications remembered", paths),
        ("deliveries", "Messages not acknowledged", deliveries),
        ("held", "Directions that wait for a node to wake", held),
        ("peers", "Sessions with other servers", peers),
        ("lookups_waiting", "Domains and nodes being looked for", lookups),
        ("reassemblers", "Senders whose fragments are being joined", reassemblers),
        ("transmits_waiting", "Datagrams that wait to be sent", transmits),
        ("events_waiting", "Events that wait for the driver", events),
    ]
}
