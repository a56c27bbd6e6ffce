//! Users and their passwords.
//!
//! A password is checked against an argon2 hash, which takes memory and milliseconds on purpose: on threads for blocking
//! work, few at a time, so that a storm of connections after a failover neither stops the serving threads nor takes
//! their memory. Who was right once is recognized by a keyed digest that lives in this process alone.

use std::collections::BTreeMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;
use argon2::Argon2;
use argon2::password_hash::phc::PasswordHash;
use argon2::password_hash::{PasswordHasher, PasswordVerifier};
use tokio::sync::Semaphore;

/// A password's hash is not one, or cannot be made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PasswordError {
    /// What stands in the configuration.
    #[error("user {user}: not an argon2 hash ({why}); make one with `quorate hash-password`")]
    NotAHash {
        /// Whose.
        user: String,
        /// What is wrong with it.
        why: String,
    },
    /// A user's name that clients could not send, or that CLIENT LIST could not show.
    #[error("user {0:?}: a name has 1 to 64 letters, digits, or any of `-_.@`")]
    Name(String),
    /// No hash could be made.
    #[error("the password cannot be hashed: {0}")]
    Hash(String),
}

/// The hash of `password` for the configuration, with a new salt.
///
/// # Errors
/// The system gives no random numbers.
pub fn hash_password(password: &[u8]) -> Result<String, PasswordError> {
    let hash = Argon2::default().hash_password(password);
    hash.map(|hash| hash.to_string()).map_err(|error| PasswordError::Hash(error.to_string()))
}

/// The name that AUTH with a password alone means, and what a connection is where nobody has to authenticate.
pub const DEFAULT: &str = "default";

/// Hashes at the same time: each takes 19 MiB, which its thread keeps.
pub const AT_ONCE: usize = 2;

/// All users, which may be exchanged while the server runs.
pub struct Users {
    users: ArcSwap<BTreeMap<String, User>>,
    gate: Arc<Semaphore>,
    keys: [RandomState; 2],
}

struct User {
    name: Arc<str>,
    hash: String,
    /// The digest of the password that was right last.
    known: Mutex<Option<[u64; 2]>>,
}

impl Users {
    /// Users by name with the hashes of their passwords.
    ///
    /// # Errors
    /// One of the names or hashes is none.
    pub fn new(hashes: &BTreeMap<String, String>) -> Result<Users, PasswordError> {
        Ok(Users {
            users: ArcSwap::from_pointee(read(hashes)?),
            gate: Arc::new(Semaphore::new(AT_ONCE)),
            keys: [RandomState::new(), RandomState::new()],
        })
    }

    /// Other users from now on; returns the names of those that are gone or have another password.
    ///
    /// # Errors
    /// One of the names or hashes is none; the old users stay.
    pub fn replace(&self, hashes: &BTreeMap<String, String>) -> Result<Vec<String>, PasswordError> {
        let old = self.users.swap(Arc::new(read(hashes)?));
        let changed = old.values().filter(|user| hashes.get(&*user.name) != Some(&user.hash));
        Ok(changed.map(|user| user.name.to_string()).collect())
    }

    /// Whether anybody has to authenticate.
    pub fn required(&self) -> bool {
        !self.users.load().is_empty()
    }

    /// Their names.
    pub fn names(&self) -> Vec<String> {
        self.users.load().keys().cloned().collect()
    }

    /// The user of this name if the password is right.
    pub async fn verify(&self, name: &[u8], password: Vec<u8>) -> Option<Arc<str>> {
        let users = self.users.load_full();
        let user = std::str::from_utf8(name).ok().and_then(|name| users.get(name));
        let digest = self.keys.each_ref().map(|key| key.hash_one((name, &password)));
        if let Some(user) = user
            && *user.known.lock().unwrap_or_else(PoisonError::into_inner) == Some(digest)
        {
            return Some(Arc::clone(&user.name));
        }
        // A name that does not exist takes as long as one that does, so that names cannot be found out.
        let hash = user.or_else(|| users.values().next())?.hash.clone();
        let turn = Arc::clone(&self.gate).acquire_owned().await.ok()?;
        let right = tokio::task::spawn_blocking(move || {
            // Until it is done, also when the client has gone meanwhile.
            let _turn = turn;
            matches(&hash, &password)
        });
        let right = right.await.unwrap_or(false);
        let user = user.filter(|_| right)?;
        *user.known.lock().unwrap_or_else(PoisonError::into_inner) = Some(digest);
        Some(Arc::clone(&user.name))
    }
}

fn matches(hash: &str, password: &[u8]) -> bool {
    PasswordHash::new(hash).is_ok_and(|hash| Argon2::default().verify_password(password, &hash).is_ok())
}

fn read(hashes: &BTreeMap<String, String>) -> Result<BTreeMap<String, User>, PasswordError> {
    hashes.iter().map(|(name, hash)| Ok((name.clone(), user(name, hash)?))).collect()
}

fn user(name: &str, hash: &str) -> Result<User, PasswordError> {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.@".contains(&byte);
    if !(1..=64).contains(&name.len()) || !name.bytes().all(fits) {
        return Err(PasswordError::Name(name.to_owned()));
    }
    let not = |why: String| PasswordError::NotAHash { user: name.to_owned(), why };
    let parsed = PasswordHash::new(hash).map_err(|error| not(error.to_string()))?;
    if !parsed.algorithm.as_str().starts_with("argon2") || parsed.hash.is_none() {
        return Err(not("it begins with another name than $argon2id$".to_owned()));
    }
    Ok(User { name: name.into(), hash: hash.to_owned(), known: Mutex::default() })
}
