//! Puts the parts together, and takes them apart again.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use ntm_direction::{Coordinator, LookupFailed};
use ntm_proto::id::Fqdn;
use ntm_proto::identity::ServerCert;
use ntm_proto::time::Instant;
use ntm_server::account_server::AccountServer;
use ntm_server::clock::{Clock, random, unix_now};
use ntm_server::config::Source;
use ntm_server::metrics::Metrics;
use ntm_server::{Failure, Life, LogFormat, ResultExt as _, Server, Signal};
use tokio::runtime::Handle;

use crate::account::{Renewal, Revoked};
use crate::config::{Config, is_postgres};
use crate::directory::Directory;
use crate::dns::{self, DnsStats, Zone};
use crate::domain::{Identity, pool4};
use crate::driver::{self, Driver, Parts, Published, Question};
use crate::init::Command;
use crate::lookup::{Finder, LookupStats};
use crate::mailbox::{Letter, Mailbox};
use crate::metrics::Counted;
use crate::push::{Gateway, PushStats};
use crate::sockets::Sockets;
use crate::store::{Embedded, Errand, Keeper, KeeperStats, Loaded, Orders, Postgres, Registry};

pub(crate) const EXAMPLE: &str = include_str!("example.toml");
/// Questions to the world outside that wait.
const MAX_QUESTIONS: usize = 4_096;

/// The direction coordinator as a server.
#[derive(Debug)]
pub struct DirectionServer;

impl Server for DirectionServer {
    const NAME: &'static str = "ntm-dc";
    const ABOUT: &'static str = "The direction coordinator of an NTMfw domain: tells nodes how to reach each other";
    const CONFIG: &'static str = "/etc/ntmfw/ntm-dc.toml";
    const EXAMPLE: &'static str = EXAMPLE;

    type Config = Config;
    type Command = Command;

    fn log_format(config: &Config) -> LogFormat {
        config.log_format
    }

    fn check(config: &Config, source: &Source) -> Result<(), Failure> {
        config.check(source)
    }

    fn command(Command::Init(init): Command, config: &Path) -> Result<(), Failure> {
        init.run(config)
    }

    async fn run(config: Config, path: &Path, mut life: Life) -> Result<(), Failure> {
        let mut running = Running::start(config, path).await?;
        life.ready(&running.serves);
        loop {
            tokio::select! {
                signal = life.next() => match signal {
                    Signal::Reload => {
                        match running.reload() {
                            Ok(()) => tracing::info!("configuration read again"),
                            Err(why) => tracing::error!("configuration kept as it was: {why}"),
                        }
                        life.reloaded();
                    }
                    Signal::Stop => return running.stop().await,
                },
                ended = &mut running.ended => {
                    let why = ended.unwrap_or_else(|_| "the driver is gone".into());
                    return Err(Failure::new(why));
                }
            }
        }
    }
}

/// A server at work.
struct Running {
    path: PathBuf,
    shared: Arc<Shared>,
    driver: Option<JoinHandle<()>>,
    keeper: Option<JoinHandle<()>>,
    orders: Orders,
    stopping: Arc<AtomicBool>,
    /// Says why the driver ended, if it does by itself.
    ended: tokio::sync::oneshot::Receiver<String>,
    serves: String,
}

/// What makes the core's configuration, and who is told when it changes.
struct Shared {
    state: Mutex<(Config, Identity)>,
    addresses: Vec<SocketAddr>,
    clock: Clock,
    zone: Arc<Zone>,
    mailbox: Mailbox,
    finder: Finder,
    gateway: Mutex<Option<Gateway>>,
    push_stats: Arc<PushStats>,
}

/// The registry and what was in it.
struct Opened {
    registry: Box<dyn Registry>,
    loaded: Loaded,
}

impl Running {
    async fn start(config: Config, path: &Path) -> Result<Self, Failure> {
        let begin = std::time::Instant::now();
        let identity = Identity::load(&config)?;
        let clock = Clock::start();
        let sockets = Sockets::bind(&identity.listen(&config))?;
        let addresses = sockets.addresses();
        let core = identity.core(&config, addresses.clone(), clock.wall())?;
        let Opened { registry, loaded } = open_registry(&config, &identity).await?;
        let directory = Arc::new(Directory::default());
        let mut coordinator = Coordinator::new(clock.now(), core, random());
        let own = identity.credentials.cert.name.clone();
        let nodes = loaded.rows.len();
        let read = Arc::new(AtomicU64::new(loaded.revocations));
        restore(&mut coordinator, clock.now(), &directory, &own, loaded);

        let (poll, mailbox, letters) = driver::mailbox().context("cannot wait for datagrams")?;
        let keeper_stats = Arc::new(KeeperStats::default());
        let (keeper, orders) =
            Keeper::new(registry, mailbox.clone(), directory.clone(), own.clone(), keeper_stats.clone());
        let (questions, asked) = tokio::sync::mpsc::channel(MAX_QUESTIONS);
        let published = Arc::new(Published::default());
        let parts = Parts {
            coordinator,
            sockets,
            clock,
            poll,
            letters,
            orders: orders.clone(),
            questions,
            published: published.clone(),
        };
        let driver = Driver::new(parts).context("cannot wait for datagrams")?;

        let (lookup_stats, push_stats) = (Arc::new(LookupStats::default()), Arc::new(PushStats::default()));
        let finder = Finder::new(&config, lookup_stats.clone())?;
        let gateway = config.push.as_ref().map(|push| Gateway::new(push, push_stats.clone())).transpose()?;
        let domain = identity.credentials.cert.domain.clone();
        let serial = (unix_now().as_millis() / 1_000) as u32;
        let servers = servers(&config, &identity);
        let zone = Arc::new(Zone::new(domain.clone(), &servers, directory.clone(), config.dns.ttl, serial));
        let dns_stats = Arc::new(DnsStats::default());
        let names = dns::serve(&config.dns.listen, zone.clone(), config.dns.rate, dns_stats.clone()).await?;

        let failing = keeper_stats.clone();
        let metrics = Metrics::new("ntm_dc", move || match failing.failing.load(Ordering::Relaxed) {
            true => Err("the registry fails".into()),
            false => Ok(()),
        });
        let counted = Counted {
            published,
            keeper: keeper_stats,
            directory,
            dns: dns_stats,
            lookup: lookup_stats,
            push: push_stats.clone(),
        };
        metrics.register(|registry| registry.register_collector(Box::new(counted)));
        let watched = match config.metrics {
            Some(address) => Some(metrics.serve(address).await?),
            None => None,
        };

        let serves = said(&own, &domain, &addresses, &names, watched, nodes, begin.elapsed());
        let shared = Arc::new(Shared {
            state: Mutex::new((config, identity)),
            addresses,
            clock,
            zone,
            mailbox,
            finder,
            gateway: Mutex::new(gateway),
            push_stats,
        });
        tokio::spawn(answer_questions(asked, shared.clone()));
        let stopping = Arc::new(AtomicBool::new(false));
        shared.ask_account_server(&orders, &read, &stopping)?;
        let (report, ended) = tokio::sync::oneshot::channel();
        let driver = spawn("driver", move || {
            if let Err(why) = driver.run() {
                let _ = report.send(format!("cannot wait for datagrams: {why}"));
            }
        })?;
        let keeper = spawn("keeper", move || keeper.run())?;
        let path = path.to_owned();
        Ok(Self { path, shared, driver: Some(driver), keeper: Some(keeper), orders, stopping, ended, serves })
    }

    /// Reads the file and the credentials again. What cannot change while nodes are served stays as it is.
    fn reload(&self) -> Result<(), Failure> {
        let (config, source) = Source::load::<Config>(&self.path)?;
        config.check(&source)?;
        let identity = Identity::load(&config)?;
        self.shared.change(|before, known| {
            let (new, old) = (&identity.credentials.cert, &known.credentials.cert);
            if new.domain != old.domain || new.name != old.name || identity.noise.public() != known.noise.public() {
                return Err(Failure::new("the key or the name of this server changed").way_out("restart"));
            }
            let fixed = [
                ("listen", config.listen != before.listen),
                ("registry", config.registry.get_ref() != before.registry.get_ref()),
                ("metrics", config.metrics != before.metrics),
                ("dns.listen", config.dns.listen != before.dns.listen),
                ("lookup.resolvers", config.lookup.resolvers != before.lookup.resolvers),
                ("nodes.virtual4", config.nodes.virtual4.get_ref() != before.nodes.virtual4.get_ref()),
                ("nodes.virtual6", config.nodes.virtual6.get_ref() != before.nodes.virtual6.get_ref()),
            ];
            for (key, _) in fixed.iter().filter(|(_, changed)| *changed) {
                tracing::warn!("{key} changes when ntm-dc is restarted");
            }
            let stats = self.shared.push_stats.clone();
            let gateway = config.push.as_ref().map(|push| Gateway::new(push, stats)).transpose()?;
            *lock(&self.shared.gateway) = gateway;
            self.shared.finder.pin(&config);
            (*before, *known) = (config, identity);
            Ok(())
        })
    }

    /// Ends cleanly: what the driver has told the keeper is on disk afterwards.
    async fn stop(&mut self) -> Result<(), Failure> {
        self.stopping.store(true, Ordering::Relaxed);
        let (driver, keeper, orders) = (self.driver.take(), self.keeper.take(), self.orders.clone());
        let mailbox = self.shared.mailbox.clone();
        let ended = tokio::task::spawn_blocking(move || {
            mailbox.post(Letter::Stop);
            let driven = driver.is_none_or(|driver| driver.join().is_ok());
            orders.give_surely(Errand::Stop);
            driven & keeper.is_none_or(|keeper| keeper.join().is_ok())
        });
        match ended.await {
            Ok(true) => Ok(()),
            _ => Err(Failure::new("a thread ended by a fault")),
        }
    }
}

impl Shared {
    /// Changes what makes the core's configuration, and tells everybody.
    fn change(&self, change: impl FnOnce(&mut Config, &mut Identity) -> Result<(), Failure>) -> Result<(), Failure> {
        let mut state = lock(&self.state);
        let (config, identity) = &mut *state;
        change(config, identity)?;
        self.zone.set_servers(&servers(config, identity));
        let core = identity.core(config, self.addresses.clone(), self.clock.wall())?;
        self.mailbox.post(Letter::Configure(Box::new(core)));
        Ok(())
    }

    /// Begins to ask for credentials and revocations, where an account server is named.
    fn ask_account_server(
        self: &Arc<Self>,
        orders: &Orders,
        read: &Arc<AtomicU64>,
        stopping: &Arc<AtomicBool>,
    ) -> Result<(), Failure> {
        let (server, renewal, credentials) = {
            let state = lock(&self.state);
            let (config, identity) = &*state;
            let Some(url) = &config.account_server else { return Ok(()) };
            let server = AccountServer::new(url.get_ref(), config.account_server_ca.as_deref())?;
            let renewal = Renewal {
                server: server.clone(),
                noise: identity.noise.clone(),
                path: config.credentials.clone(),
                stopping: stopping.clone(),
            };
            (server, renewal, identity.credentials.clone())
        };
        let revoked = Revoked {
            server,
            domain_key: credentials.domain_key,
            orders: orders.clone(),
            read: read.clone(),
            stopping: stopping.clone(),
        };
        let shared = self.clone();
        // Both end with the process: a long poll cannot be cut short.
        spawn("credentials", move || {
            renewal.run(credentials, |newer| {
                let renewed = shared.change(|_, identity| {
                    identity.credentials = newer;
                    Ok(())
                });
                if let Err(why) = renewed {
                    tracing::error!("new credentials: {why}");
                }
            });
        })?;
        spawn("revocations", move || revoked.run())?;
        Ok(())
    }
}

/// Answers what the driver asks of the world outside.
async fn answer_questions(mut asked: tokio::sync::mpsc::Receiver<Question>, shared: Arc<Shared>) {
    while let Some(question) = asked.recv().await {
        match question {
            Question::FindDomain(name) => {
                let shared = shared.clone();
                tokio::spawn(async move {
                    let found = shared.finder.find(&name).await.ok_or(LookupFailed);
                    shared.mailbox.post(Letter::DomainFound(name, Box::new(found)));
                });
            }
            Question::Wake { token, node, path_id } => match &*lock(&shared.gateway) {
                Some(gateway) => gateway.wake(&token, node, path_id),
                None => tracing::debug!("{node:?} sleeps, and no push gateway is configured"),
            },
        }
    }
}

async fn open_registry(config: &Config, identity: &Identity) -> Result<Opened, Failure> {
    let name = config.registry.get_ref().clone();
    let (dc, pool, runtime) = (identity.credentials.cert.name.clone(), pool4(config), Handle::current());
    let opened = tokio::task::spawn_blocking(move || {
        let mut registry: Box<dyn Registry> = if is_postgres(&name) {
            Box::new(Postgres::open(&name, dc, pool, runtime)?)
        } else {
            Box::new(Embedded::open(Path::new(&name), dc, pool)?)
        };
        let loaded = registry.load()?;
        Ok(Opened { registry, loaded })
    });
    opened.await.context("registry")?
}

/// Gives the coordinator and the directory what was stored. Revoked nodes are known as such, and to nobody else.
fn restore(coordinator: &mut Coordinator, now: Instant, directory: &Directory, own: &Fqdn, loaded: Loaded) {
    let mut lost = 0;
    for row in &loaded.rows {
        directory.list(&row.stored);
        if row.dc == *own && !coordinator.restore(now, &row.stored) {
            lost += 1;
        }
    }
    if lost > 0 {
        tracing::error!("{lost} stored nodes do not fit: is nodes.virtual4 or nodes.most other than before?");
    }
    for node in loaded.revoked {
        directory.strike(&node);
        coordinator.handle_revocation(now, node);
    }
    // What is said to nodes at this moment nobody hears.
    while coordinator.poll_transmit().is_some() || coordinator.poll_event().is_some() {}
}

/// The DCs that the zone names, this one first.
fn servers(config: &Config, identity: &Identity) -> Vec<ServerCert> {
    let siblings = identity.direction().map_or(&[][..], |direction| &direction.siblings);
    let siblings = siblings.iter().filter(|_| config.is_shared()).cloned();
    std::iter::once(identity.credentials.cert.clone()).chain(siblings).collect()
}

fn said(
    own: &Fqdn,
    domain: &Fqdn,
    nodes_at: &[SocketAddr],
    names_at: &[SocketAddr],
    metrics_at: Option<SocketAddr>,
    nodes: usize,
    took: std::time::Duration,
) -> String {
    let list = |addresses: &[SocketAddr]| {
        let texts: Vec<String> = addresses.iter().map(ToString::to_string).collect();
        if texts.is_empty() { "nowhere".into() } else { texts.join(", ") }
    };
    let metrics = metrics_at.map_or_else(|| "nowhere".into(), |address| address.to_string());
    format!(
        "{own} serves {domain}: nodes at {}, DNS at {}, metrics at {metrics}; {nodes} nodes known, ready in {} ms",
        list(nodes_at),
        list(names_at),
        took.as_millis(),
    )
}

fn spawn(name: &str, work: impl FnOnce() + Send + 'static) -> Result<JoinHandle<()>, Failure> {
    std::thread::Builder::new().name(name.into()).spawn(work).context("cannot start threads")
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
