//! Passwords: argon2id at rest, and a bounded queue before it, because each hash costs memory and a core.
//!
//! At most `concurrency` hashes run at once and `queue` wait for them in the order they came; who comes when
//! the queue is full is told to come back. Memory is so bounded by `concurrency` × `memory_kib`.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use argon2::{Algorithm, Argon2, Block, Params, Version};
use ntm_proto::crypto;
use ntm_server::clock::random;
use ntm_server::hex;
use serde::{Deserialize, Serialize};
use tokio::sync::Semaphore;
use zeroize::Zeroizing;

use crate::refusal::{Code, Refusal};

/// Shorter passwords are refused.
pub const MIN_PASSWORD: usize = 10;
/// Longer ones as well: hashing them would cost more than reading them.
pub const MAX_PASSWORD: usize = 256;
const SALT: usize = 16;
const HASH: usize = 32;

/// What a hash costs. The defaults are OWASP's for argon2id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cost {
    pub memory_kib: u32,
    pub iterations: u32,
    pub lanes: u32,
}

impl Default for Cost {
    fn default() -> Self {
        Self { memory_kib: 19_456, iterations: 2, lanes: 1 }
    }
}

/// A password as the store has it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PasswordHash {
    #[serde(flatten)]
    pub cost: Cost,
    #[serde(with = "hex::array")]
    salt: [u8; SALT],
    #[serde(with = "hex::array")]
    hash: [u8; HASH],
}

/// Hashes passwords for the whole server.
#[derive(Debug)]
pub struct Hasher {
    cost: Cost,
    slots: Arc<Semaphore>,
    queue: usize,
    waiting: AtomicUsize,
    memory: Arc<Mutex<Vec<Vec<Block>>>>,
    nobody: PasswordHash,
}

impl Hasher {
    pub fn new(cost: Cost, concurrency: usize, queue: usize) -> Result<Self, argon2::Error> {
        parameters(cost)?;
        // What is compared where there is no account, so that this takes as long as where there is one.
        let nobody = PasswordHash { cost, salt: random(), hash: [0; HASH] };
        let slots = Arc::new(Semaphore::new(concurrency.max(1)));
        Ok(Self { cost, slots, queue, waiting: AtomicUsize::new(0), memory: Arc::default(), nobody })
    }

    /// A new hash of a password that is to be kept.
    pub async fn hash(&self, password: Zeroizing<String>) -> Result<PasswordHash, Refusal> {
        let (cost, salt) = (self.cost, random());
        let hash = self.derive(cost, salt, password).await?;
        Ok(PasswordHash { cost, salt, hash })
    }

    /// Whether the password is the one that was kept. Takes as long where nothing was.
    pub async fn verify(&self, password: Zeroizing<String>, kept: Option<&PasswordHash>) -> Result<bool, Refusal> {
        let against = kept.unwrap_or(&self.nobody);
        if password.len() > MAX_PASSWORD {
            return Ok(false);
        }
        let hash = self.derive(against.cost, against.salt, password).await?;
        Ok(crypto::equal(&hash, &against.hash) && kept.is_some())
    }

    /// Whether a hash was made with less than what is asked for today.
    pub fn is_outdated(&self, kept: &PasswordHash) -> bool {
        kept.cost != self.cost
    }

    async fn derive(&self, cost: Cost, salt: [u8; SALT], password: Zeroizing<String>) -> Result<[u8; HASH], Refusal> {
        let permit = {
            let _place = Place::take(&self.waiting, self.queue)?;
            Arc::clone(&self.slots).acquire_owned().await.map_err(|_| busy())?
        };
        let memory = Arc::clone(&self.memory);
        let work = tokio::task::spawn_blocking(move || {
            // The slot is free when the work is over, not when the asker has gone.
            let _permit = permit;
            derive(cost, &salt, &password, &memory)
        });
        match work.await {
            Ok(Ok(hash)) => Ok(hash),
            _ => Err(Refusal::new(Code::Internal, "the password could not be hashed")),
        }
    }
}

/// What a password must be like, to be set. `account` is whose it becomes.
pub fn acceptable(password: &str, account: &str) -> Result<(), Refusal> {
    let length = password.chars().count();
    if length < MIN_PASSWORD || password.len() > MAX_PASSWORD {
        return Err(Refusal::invalid(format!("a password has {MIN_PASSWORD} to {MAX_PASSWORD} characters")));
    }
    if password.to_lowercase().contains(account) {
        return Err(Refusal::invalid("the password must not contain the account's name"));
    }
    let first = password.chars().next();
    if password.chars().all(|character| Some(character) == first) {
        return Err(Refusal::invalid("the password must not be one character many times"));
    }
    Ok(())
}

/// Computes a hash here and now, as the operator's commands do.
pub fn hash_now(cost: Cost, password: &str) -> Result<PasswordHash, Refusal> {
    let salt = random();
    let hash = derive(cost, &salt, password, &Mutex::default())
        .map_err(|why| Refusal::new(Code::Internal, format!("argon2: {why}")))?;
    Ok(PasswordHash { cost, salt, hash })
}

/// Checks what the configuration asks for.
pub fn parameters(cost: Cost) -> Result<Params, argon2::Error> {
    Params::new(cost.memory_kib, cost.iterations, cost.lanes, Some(HASH))
}

fn derive(
    cost: Cost,
    salt: &[u8; SALT],
    password: &str,
    memory: &Mutex<Vec<Vec<Block>>>,
) -> Result<[u8; HASH], argon2::Error> {
    let parameters = parameters(cost)?;
    let blocks = parameters.block_count();
    // Memory is kept from hash to hash: fresh pages would cost as much as a tenth of the hash.
    let mut area = memory.lock().unwrap_or_else(PoisonError::into_inner).pop().unwrap_or_default();
    area.resize(blocks, Block::default());
    let mut hash = [0; HASH];
    let derived = Argon2::new(Algorithm::Argon2id, Version::V0x13, parameters).hash_password_into_with_memory(
        password.as_bytes(),
        salt,
        &mut hash,
        &mut area[..],
    );
    memory.lock().unwrap_or_else(PoisonError::into_inner).push(area);
    derived.map(|()| hash)
}

fn busy() -> Refusal {
    Refusal::new(Code::Busy, "too many passwords are being checked; try again").retry_after(Duration::from_secs(2))
}

/// A place in the queue, free again when dropped.
struct Place<'a>(&'a AtomicUsize);

impl<'a> Place<'a> {
    fn take(waiting: &'a AtomicUsize, queue: usize) -> Result<Self, Refusal> {
        let place = Self(waiting);
        if waiting.fetch_add(1, Ordering::Relaxed) >= queue { Err(busy()) } else { Ok(place) }
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHEAP: Cost = Cost { memory_kib: 64, iterations: 1, lanes: 1 };

    fn runtime() -> tokio::runtime::Runtime {
        tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime")
    }

    fn secret(text: &str) -> Zeroizing<String> {
        Zeroizing::new(text.to_owned())
    }

    #[test]
    fn the_right_password_opens_and_no_other() {
        runtime().block_on(async {
            let hasher = Hasher::new(CHEAP, 1, 4).expect("parameters");
            let kept = hasher.hash(secret("correct horse")).await.expect("hashed");
            assert!(hasher.verify(secret("correct horse"), Some(&kept)).await.expect("checked"));
            assert!(!hasher.verify(secret("correct horsf"), Some(&kept)).await.expect("checked"));
            assert!(!hasher.verify(secret("correct horse"), None).await.expect("checked"));
            assert!(!hasher.verify(secret(&"x".repeat(MAX_PASSWORD + 1)), Some(&kept)).await.expect("checked"));
        });
    }

    #[test]
    fn two_hashes_of_one_password_differ() {
        let hash = || hash_now(CHEAP, "correct horse").expect("hashed");
        assert_ne!(hash(), hash());
    }

    #[test]
    fn who_finds_the_queue_full_is_told_to_come_back() {
        runtime().block_on(async {
            let hasher = Arc::new(Hasher::new(CHEAP, 1, 2).expect("parameters"));
            let slot = Arc::clone(&hasher.slots).acquire_owned().await.expect("a slot");
            let ask = |hasher: Arc<Hasher>| tokio::spawn(async move { hasher.verify(secret("p"), None).await });
            let waiting = [ask(Arc::clone(&hasher)), ask(Arc::clone(&hasher))];
            while hasher.waiting.load(Ordering::Relaxed) < 2 {
                tokio::task::yield_now().await;
            }
            let refused = hasher.verify(secret("p"), None).await.expect_err("the queue is full");
            assert_eq!((refused.code, refused.retry_after.is_some()), (Code::Busy, true));
            drop(slot);
            for asked in waiting {
                assert_eq!(asked.await.expect("ran"), Ok(false));
            }
            assert_eq!(hasher.verify(secret("p"), None).await, Ok(false));
        });
    }

    #[test]
    fn weak_passwords_are_not_taken() {
        for weak in ["short", "aaaaaaaaaaaaaa", "my-Alice-password", &"x1".repeat(200)] {
            assert!(acceptable(weak, "alice").is_err(), "{weak}");
        }
        assert!(acceptable("correct horse", "alice").is_ok());
    }
}
