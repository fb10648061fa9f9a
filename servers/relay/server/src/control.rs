//! The relay's life: start, reload, drain, stop.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use ntm_relay::DropReason;
use ntm_server::account_server::AccountServer;
use ntm_server::clock::Clock;
use ntm_server::config::Source;
use ntm_server::listening::listen;
use ntm_server::metrics::Metrics;
use ntm_server::{Failure, Life, Signal};
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep};

use crate::config::Config;
use crate::domain::{self, Domain};
use crate::metrics::Collected;
use crate::stream::{self, Streams};
use crate::workers::{Ledger, Workers};

/// How often the workers hear of one another and of the calendar clock.
const TICK: Duration = Duration::from_secs(1);
/// How often a draining relay looks whether it is empty.
const DRAIN_TICK: Duration = Duration::from_millis(100);
/// What a relay that is empty at once still takes to tell its direction servers that it leaves.
const FAREWELL: Duration = Duration::from_millis(300);
/// Binds refused for their time since the last that was good, before the clock is suspected.
const SUSPICIOUS: u64 = 10;

struct Running {
    config: Config,
    domain: Domain,
    workers: Workers,
    ledger: Ledger,
    streams: Arc<Streams>,
    clock: Clock,
    draining: Arc<AtomicBool>,
    suspicion: Suspicion,
    listens: Listens,
}

/// Whether tokens out of their time are all that comes.
#[derive(Default)]
struct Suspicion {
    good: u64,
    /// How many were untimely when `good` was last seen to rise.
    untimely: u64,
    told: bool,
}

/// Where the relay is reached, ports filled in.
#[derive(Default)]
struct Listens {
    udp: Vec<SocketAddr>,
    tls: Vec<SocketAddr>,
    metrics: Option<SocketAddr>,
}

/// Serves until the operator says to stop.
pub(crate) async fn run(config: Config, path: &Path, mut life: Life) -> Result<(), Failure> {
    let (mut running, mut news) = Running::start(config).await?;
    life.ready(&running.serves());
    let mut ticks = interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            signal = life.next() => match signal {
                Signal::Reload => {
                    running.reload(path);
                    life.reloaded();
                }
                Signal::Stop => break,
            },
            Some(domain) = news.recv() => {
                running.domain = domain;
                running.adopt();
            }
            _ = ticks.tick() => {
                if running.workers.is_broken() {
                    return Err(Failure::new("a worker has ended, see above"));
                }
                running.workers.reconcile(running.clock);
                running.suspect_clock();
            }
        }
    }
    running.drain(&mut life).await;
    running.workers.stop();
    Ok(())
}

impl Running {
    async fn start(config: Config) -> Result<(Self, mpsc::Receiver<Domain>), Failure> {
        let domain = Domain::load(&config)?;
        let clock = Clock::start();
        let streams = Arc::new(Streams::default());
        let mut listens = Listens::default();
        let tls = match &config.tls {
            Some(tls) => {
                let listeners = listen(tls.listen.get_ref(), "TLS")?;
                listens.tls = listeners.iter().filter_map(|listener| listener.local_addr().ok()).collect();
                Some((listeners, stream::acceptor(&tls.certificate, &tls.key)?, *tls.max_connections.get_ref()))
            }
            None => None,
        };
        let account_server = match &config.account_server {
            Some(url) => Some(AccountServer::new(url.get_ref(), config.account_server_ca.as_deref())?),
            None => None,
        };
        let draining = Arc::new(AtomicBool::new(false));
        let metrics = metrics(&draining);
        listens.metrics = Some(metrics.serve(config.metrics).await?);

        let relay = domain.relay_config(&config, clock);
        let workers = Workers::start(&relay, config.listen.get_ref(), config.worker_count(), clock, &streams)?;
        listens.udp.clone_from(&workers.listens);
        let ledger = workers.ledger();
        let collected = Collected { ledger: ledger.clone(), streams: streams.clone() };
        metrics.register(|registry| registry.register_collector(Box::new(collected)));
        streams.set_directors(relay.directors.iter().flat_map(|director| director.addresses.iter().copied()));
        if let Some((listeners, acceptor, most)) = tls {
            stream::serve(listeners, &acceptor, most, &streams, workers.post());
        }
        let (sender, news) = mpsc::channel(1);
        match account_server {
            Some(server) => domain::watch(server, domain.clone(), config.credentials.clone(), sender)?,
            // Held, so that the receiver never reports an end.
            None => std::mem::forget(sender),
        }
        let running = Self {
            config,
            domain,
            workers,
            ledger,
            streams,
            clock,
            draining,
            suspicion: Suspicion::default(),
            listens,
        };
        Ok((running, news))
    }

    /// The one line that says what this process serves.
    fn serves(&self) -> String {
        let join = |addresses: &[SocketAddr]| addresses.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ");
        let Listens { udp, tls, metrics } = &self.listens;
        let tls = if tls.is_empty() { String::new() } else { format!(", TLS {}", join(tls)) };
        let metrics = metrics.map_or_else(String::new, |address| format!(", metrics {address}"));
        format!(
            "relay {} serves at UDP {}{tls}{metrics}, with {} workers, for {} direction servers",
            self.domain.name(),
            join(udp),
            self.workers.len(),
            self.domain.changes(&self.config).directors.len(),
        )
    }

    /// Reads configuration and credentials again. What is wrong with them is said, and the old go on.
    fn reload(&mut self, path: &Path) {
        let read = Source::load::<Config>(path).and_then(|(config, source)| {
            config.check(&source)?;
            let domain = Domain::load(&config)?;
            Ok((config, domain))
        });
        match read {
            Ok((config, domain)) if domain.version() >= self.domain.version() => {
                // Sockets and threads stay what they were.
                self.config.max_grants = config.max_grants;
                self.config.megabits_per_second = config.megabits_per_second;
                self.config.grace_seconds = config.grace_seconds;
                self.domain = domain;
                self.adopt();
            }
            Ok((_, domain)) => tracing::error!(
                "not reloaded: the credentials are of version {}, older than the {} in use",
                domain.version(),
                self.domain.version()
            ),
            Err(why) => tracing::error!("not reloaded: {why}"),
        }
    }

    fn adopt(&mut self) {
        let changes = self.domain.changes(&self.config);
        self.streams.set_directors(changes.directors.iter().flat_map(|director| director.addresses.iter().copied()));
        self.workers.adopt(&changes);
        tracing::info!(
            "credentials of version {}: {} grant keys, {} direction servers",
            self.domain.version(),
            changes.grant_keys.len(),
            changes.directors.len()
        );
    }

    /// Tells direction servers and nodes to go elsewhere, and goes on for those that are here until they are gone, the
    /// grace is over, or the operator says again to stop.
    async fn drain(&mut self, life: &mut Life) {
        self.draining.store(true, Ordering::Relaxed);
        let grants = self.grants();
        tracing::info!("leaving: {grants} grants, at most {} s", self.config.grace_seconds);
        self.workers.drain();
        let end = Instant::now() + self.config.grace();
        sleep(FAREWELL.min(self.config.grace())).await;
        let mut ticks = interval(DRAIN_TICK);
        while self.grants() > 0 && Instant::now() < end && !self.workers.is_broken() {
            tokio::select! {
                signal = life.next() => if signal == Signal::Stop { break },
                _ = ticks.tick() => self.workers.reconcile(self.clock),
            }
        }
        tracing::info!("stopped with {} grants", self.grants());
    }

    fn grants(&self) -> usize {
        self.ledger.accounts().iter().map(|account| account.relay.grants).sum()
    }

    /// Nothing but tokens out of time says that this host's clock, or the direction servers', is wrong.
    fn suspect_clock(&mut self) {
        let accounts = self.ledger.accounts();
        let sum = |reason| accounts.iter().map(|account| account.relay.dropped(reason)).sum::<u64>();
        let untimely = sum(DropReason::TokenExpired) + sum(DropReason::TokenTooLong);
        let good = accounts.iter().map(|account| account.relay.binds).sum::<u64>();
        if good != self.suspicion.good {
            self.suspicion = Suspicion { good, untimely, told: false };
        }
        let since = untimely - self.suspicion.untimely;
        if !self.suspicion.told && since >= SUSPICIOUS {
            self.suspicion.told = true;
            tracing::warn!(
                "the last {since} binds were all out of their time: this host's clock or the direction servers' is \
                 wrong (`timedatectl` tells)"
            );
        }
    }
}

fn metrics(draining: &Arc<AtomicBool>) -> Metrics {
    let draining = draining.clone();
    Metrics::new("ntm_rs", move || match draining.load(Ordering::Relaxed) {
        true => Err("draining".into()),
        false => Ok(()),
    })
}
