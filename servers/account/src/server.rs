//! The program's life: from the configuration to a running server and its clean end.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use ntm_server::config::Source;
use ntm_server::listening::listen;
use ntm_server::metrics::Metrics;
use ntm_server::{Failure, Life, LogFormat, ResultExt as _, Server, Signal};
use tokio::sync::watch;

use crate::app::App;
use crate::authority::{Authority, Rules, store_failure};
use crate::commands::{self, Command};
use crate::config::{Config, MIN_MEMORY_KIB};
use crate::counters::Counters;
use crate::guard::Guard;
use crate::operator;
use crate::passwords::Hasher;
use crate::secrets::Secrets;
use crate::store;
use crate::web::{self, Listening, Timeouts, TlsFiles};

/// How often what is over is tidied away, and the store asked whether it works.
const HOUSEKEEPING: Duration = Duration::from_secs(60);
const HEALTH_CHECK: Duration = Duration::from_secs(5);

/// `ntm-as`.
#[derive(Debug)]
pub struct AccountServer;

impl Server for AccountServer {
    const NAME: &'static str = "ntm-as";
    const ABOUT: &'static str = "The account server of an NTM domain: accounts, logins, server certificates";
    const CONFIG: &'static str = "/etc/ntm/ntm-as.toml";
    const EXAMPLE: &'static str = include_str!("example.toml");

    type Config = Config;
    type Command = Command;

    fn log_format(config: &Config) -> LogFormat {
        config.log_format
    }

    fn check(config: &Config, source: &Source) -> Result<(), Failure> {
        config.check(source)
    }

    fn command(command: Command, config: &Path) -> Result<(), Failure> {
        commands::carry_out(command, config)
    }

    async fn run(config: Config, path: &Path, mut life: Life) -> Result<(), Failure> {
        let running = Running::start(&config).await?;
        life.ready(&running.serves(&config));
        while life.next().await == Signal::Reload {
            match running.reload(path) {
                Ok(()) => tracing::info!("the configuration is read again"),
                Err(why) => tracing::error!("going on as before: {why}"),
            }
            life.reloaded();
        }
        running.app.stop();
        running.stop.send_replace(true);
        // A second signal ends it at once.
        tokio::select! {
            _ = running.serving => {}
            _ = life.next() => {}
        }
        Ok(())
    }
}

struct Running {
    app: Arc<App>,
    tls: Arc<TlsFiles>,
    addresses: Vec<String>,
    metrics_at: Option<SocketAddr>,
    stop: watch::Sender<bool>,
    serving: tokio::task::JoinHandle<()>,
}

impl Running {
    async fn start(config: &Config) -> Result<Self, Failure> {
        let secrets = Secrets::load(&config.data)?;
        let tls = Arc::new(TlsFiles::load(&config.path(&config.tls.certificate), &config.path(&config.tls.key))?);
        let listeners = listen(config.listen.get_ref(), "HTTPS")?;
        let authority = open(config, secrets).await?;
        let cost = config.passwords.cost();
        if cost.memory_kib < MIN_MEMORY_KIB {
            tracing::warn!("passwords are hashed with {} KiB: too weak for anything but tests", cost.memory_kib);
        }
        let hasher =
            Hasher::new(cost, config.passwords.concurrency(), config.passwords.queue).context("[passwords]")?;
        let health = Arc::new(Mutex::new(Ok(())));
        let (counters, metrics) = metrics(Arc::clone(&health));
        let metrics_at = match config.metrics_address().map_err(Failure::usage)? {
            Some(address) => Some(metrics.serve(address).await?),
            None => None,
        };
        let app = Arc::new(App::new(authority, Guard::new(config.limits.rates()), hasher, counters.clone()));
        let (stop, stopping) = watch::channel(false);
        operator::listen(&config.operator_socket(), Arc::clone(&app.authority), stopping.clone()).await?;
        tokio::spawn(keep_house(Arc::clone(&app)));
        tokio::spawn(watch_health(Arc::clone(&app), health));
        let addresses = listeners.iter().filter_map(|listener| listener.local_addr().ok());
        let addresses = addresses.map(|address| format!("https://{address}")).collect();
        let listening = Listening {
            tls: Arc::clone(&tls),
            timeouts: Timeouts::default(),
            connections: config.limits.connections,
            connections_per_address: config.limits.connections_per_address,
            counters,
        };
        let router = web::router(Arc::clone(&app));
        let serving = tokio::spawn(web::serve(listeners, listening, router, stopping));
        Ok(Self { app, tls, addresses, metrics_at, stop, serving })
    }

    fn serves(&self, config: &Config) -> String {
        let store = if self.app.authority.is_shared() { "PostgreSQL" } else { "an embedded store" };
        let metrics = self.metrics_at.map(|address| format!(", metrics at http://{address}")).unwrap_or_default();
        format!("serving accounts of {} at {} from {store}{metrics}", config.domain, self.addresses.join(" "))
    }

    /// Takes over what can change while the server runs: the rules, and the TLS files.
    fn reload(&self, path: &Path) -> Result<(), Failure> {
        let (config, source) = Source::load::<Config>(path)?;
        config.check(&source)?;
        self.tls.reload()?;
        self.app.authority.set_rules(Rules::from(&config));
        Ok(())
    }
}

/// Opens the store and takes up the authority; blocks, so not on a thread of the runtime.
async fn open(config: &Config, secrets: Secrets) -> Result<Arc<Authority>, Failure> {
    let (place, domain, rules) = (config.store_place(), config.domain.clone(), Rules::from(config));
    let opening = tokio::task::spawn_blocking(move || {
        let store = store::open(&place).map_err(|why| store_failure(&why))?;
        Authority::new(domain, store, secrets, rules)
    });
    opening.await.context("opening the store")?.map(Arc::new)
}

fn metrics(health: Arc<Mutex<Result<(), String>>>) -> (Counters, Metrics) {
    let state = move || health.lock().unwrap_or_else(PoisonError::into_inner).clone();
    let metrics = Metrics::new("ntm_as", state);
    let mut counters = None;
    metrics.register(|registry| counters = Some(Counters::register(registry)));
    (counters.expect("registered on the line before"), metrics)
}

async fn keep_house(app: Arc<App>) {
    let mut ticks = tokio::time::interval(HOUSEKEEPING);
    loop {
        ticks.tick().await;
        if let Err(why) = app.ask(Authority::housekeeping).await {
            tracing::error!("housekeeping: {why}");
        }
    }
}

async fn watch_health(app: Arc<App>, health: Arc<Mutex<Result<(), String>>>) {
    let mut ticks = tokio::time::interval(HEALTH_CHECK);
    loop {
        ticks.tick().await;
        let state = app.ask(|authority| Ok(authority.check_store()?)).await.map_err(|why| why.to_string());
        *health.lock().unwrap_or_else(PoisonError::into_inner) = state;
    }
}
