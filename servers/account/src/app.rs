//! The running server's parts, and what takes several of them: proving a password, signing up and in, logging nodes
//! in. The API and the page both come here.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ntm_login::message::{LoginRequest, RenewalRequest};
use ntm_server::account_server::LONG_POLL;
use tokio::sync::{Semaphore, watch};
use zeroize::Zeroizing;

use crate::authority::{Authority, Caller, NewSession, Ticketed, account_name};
use crate::counters::Counters;
use crate::guard::{Claim, Guard};
use crate::passwords::{self, Hasher};
use crate::refusal::{Code, Refusal};

/// Calls of the store at once; more wait.
const STORE_CALLS: usize = 64;
/// How often a long poll looks by itself where other processes may change the store.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// A running server.
#[derive(Debug)]
pub struct App {
    pub authority: Arc<Authority>,
    pub guard: Guard,
    pub hasher: Hasher,
    pub counters: Counters,
    store_calls: Arc<Semaphore>,
    stopping: watch::Sender<bool>,
}

impl App {
    pub fn new(authority: Arc<Authority>, guard: Guard, hasher: Hasher, counters: Counters) -> Self {
        let (store_calls, stopping) = (Arc::new(Semaphore::new(STORE_CALLS)), watch::Sender::new(false));
        Self { authority, guard, hasher, counters, store_calls, stopping }
    }

    /// Lets long polls end now.
    pub fn stop(&self) {
        self.stopping.send_replace(true);
    }

    /// Asks the authority on a thread that may block.
    pub async fn ask<T: Send + 'static>(
        &self,
        question: impl FnOnce(&Authority) -> Result<T, Refusal> + Send + 'static,
    ) -> Result<T, Refusal> {
        let internal = || Refusal::new(Code::Internal, "the server failed; its log says why");
        let permit = Arc::clone(&self.store_calls).acquire_owned().await.map_err(|_| internal())?;
        let authority = Arc::clone(&self.authority);
        let work = tokio::task::spawn_blocking(move || {
            let _permit = permit;
            question(&authority)
        });
        work.await.unwrap_or_else(|why| {
            tracing::error!("a request failed: {why}");
            Err(internal())
        })
    }

    /// Asks until there is an answer, for at most `wait`.
    pub async fn poll<T: Send + 'static>(
        &self,
        wait: Duration,
        question: impl Fn(&Authority) -> Result<Option<T>, Refusal> + Clone + Send + 'static,
    ) -> Result<Option<T>, Refusal> {
        let deadline = tokio::time::Instant::now() + wait.min(LONG_POLL);
        let mut changes = self.authority.changes();
        let mut stopping = self.stopping.subscribe();
        loop {
            // What changes from here on wakes; what changed before is seen by the question.
            changes.borrow_and_update();
            let answer = self.ask(question.clone()).await?;
            let now = tokio::time::Instant::now();
            if answer.is_some() || now >= deadline || *stopping.borrow_and_update() {
                return Ok(answer);
            }
            let until = if self.authority.is_shared() { deadline.min(now + LOOK_AGAIN) } else { deadline };
            tokio::select! {
                _ = changes.changed() => {}
                _ = stopping.changed() => {}
                () = tokio::time::sleep_until(until) => {}
            }
        }
    }

    pub async fn sign_up(&self, from: IpAddr, account: &str, password: Zeroizing<String>) -> Result<(), Refusal> {
        if !self.authority.rules().sign_up.open {
            return Err(Refusal::new(Code::Closed, "sign-up is closed: ask the operator for an account"));
        }
        self.guard.costly(Instant::now(), from)?;
        let name = account_name(account)?;
        passwords::acceptable(&password, &name)?;
        let asked = name.clone();
        self.ask(move |authority| authority.check_account_is_free(&asked)).await?;
        let hash = self.hasher.hash(password).await?;
        let by = Caller { account: name.clone(), admin: false, from: from.to_string() };
        self.ask(move |authority| authority.add_account(&by, &name, &hash, false)).await
    }

    /// Begins a session; the one that `replaces` names ends.
    pub async fn sign_in(
        &self,
        from: IpAddr,
        account: &str,
        password: Zeroizing<String>,
        replaces: Option<String>,
    ) -> Result<(Caller, NewSession), Refusal> {
        self.guard.costly(Instant::now(), from)?;
        let mut by = self.prove(from, account, password).await?;
        let asked = by.clone();
        let session = self.ask(move |authority| authority.sign_in(&asked, replaces.as_deref())).await?;
        by.admin = session.admin;
        Ok((by, session))
    }

    pub async fn change_password(
        &self,
        by: &Caller,
        from: IpAddr,
        old: Zeroizing<String>,
        new: Zeroizing<String>,
    ) -> Result<(), Refusal> {
        self.guard.costly(Instant::now(), from)?;
        passwords::acceptable(&new, &by.account)?;
        self.prove(from, &by.account, old).await?;
        let (by, hash) = (by.clone(), self.hasher.hash(new).await?);
        self.ask(move |authority| authority.set_password(&by, &by.account, &hash)).await
    }

    /// Logs a node in.
    pub async fn login(&self, from: IpAddr, request: LoginRequest) -> Result<Ticketed, Refusal> {
        self.guard.costly(Instant::now(), from)?;
        // A request that is wrong by itself costs no hash.
        let record = self.authority.parse_record(&request.record)?;
        let (ticketed, kind) = match (&request.password, &request.enrolment_key) {
            (Some(password), None) => {
                let by = self.prove(from, &request.account, Zeroizing::new(password.clone())).await?;
                (self.ask(move |authority| authority.login(&by, &record)).await?, "password")
            }
            (None, Some(key)) => {
                let key = Zeroizing::new(key.clone());
                let by = self.prove_key(from, &request.account, key.clone()).await?;
                (self.ask(move |authority| authority.login_with_key(&by, &key, &record)).await?, "enrolment_key")
            }
            _ => return Err(Refusal::invalid("a login has either a password or an enrolment key")),
        };
        self.counters.ticket(kind);
        Ok(ticketed)
    }

    /// Renews a node's ticket. Costs no hash, and a write only for a node that signs for itself, so the rate of all
    /// requests is enough: a house full of nodes behind one address may come back at once.
    pub async fn renew(&self, request: RenewalRequest) -> Result<Ticketed, Refusal> {
        let ticketed = self.ask(move |authority| authority.renew(&request)).await?;
        self.counters.ticket("renewal");
        Ok(ticketed)
    }

    /// Whose password this is. Takes as long for an account that is not there.
    async fn prove(&self, from: IpAddr, account: &str, password: Zeroizing<String>) -> Result<Caller, Refusal> {
        let name = account_name(account).map_err(|_| Refusal::credentials())?;
        let asked = name.clone();
        let known = self.ask(move |authority| authority.known_password(&asked)).await?;
        let claim = Claim { account: name.clone(), exists: known.is_some() };
        let attempt = self.guard.attempt(Instant::now(), from, claim)?;
        let began = Instant::now();
        let right = self.hasher.verify(password.clone(), known.as_ref().map(|known| &known.hash)).await?;
        self.counters.hashes.observe(began.elapsed().as_secs_f64());
        match known.filter(|known| right && !known.disabled) {
            Some(known) => {
                attempt.succeeded();
                if self.hasher.is_outdated(&known.hash) {
                    let hash = self.hasher.hash(password).await?;
                    let asked = name.clone();
                    self.ask(move |authority| authority.renew_hash(&asked, &known.hash, &hash)).await?;
                }
                Ok(Caller { account: name, admin: false, from: from.to_string() })
            }
            None => {
                let locked = attempt.failed(Instant::now());
                Err(self.wrong(from, name, locked))
            }
        }
    }

    async fn prove_key(&self, from: IpAddr, account: &str, key: Zeroizing<String>) -> Result<Caller, Refusal> {
        let name = account_name(account).map_err(|_| Refusal::credentials())?;
        let asked = name.clone();
        let (exists, right) = self
            .ask(move |authority| Ok((authority.known_password(&asked)?.is_some(), authority.check_key(&asked, &key)?)))
            .await?;
        let attempt = self.guard.attempt(Instant::now(), from, Claim { account: name.clone(), exists })?;
        if right {
            attempt.succeeded();
            return Ok(Caller { account: name, admin: false, from: from.to_string() });
        }
        let locked = attempt.failed(Instant::now());
        Err(self.wrong(from, name, locked))
    }

    /// The refusal of a wrong secret. A lock is written down aside, so that its time says nothing about the account.
    fn wrong(&self, from: IpAddr, name: String, locked: bool) -> Refusal {
        if locked {
            let authority = Arc::clone(&self.authority);
            tokio::task::spawn_blocking(move || {
                let by = Caller { account: "nobody".into(), admin: false, from: from.to_string() };
                let _ = authority.note(&by, "locked after wrong secrets", &name);
            });
        }
        Refusal::credentials()
    }
}
