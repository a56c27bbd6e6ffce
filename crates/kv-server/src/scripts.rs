//! The texts of scripts that clients may name by their hash, within a bound.
//!
//! They are kept by each server for its own clients: a store is given whole scripts, so that nothing depends on which
//! server knows which. A client that meets NOSCRIPT at another server sends the text again, as Redis asks of it.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use sha1::{Digest, Sha1};

/// The texts, by hash.
pub struct Scripts {
    most_bytes: usize,
    kept: Mutex<Kept>,
}

#[derive(Default)]
struct Kept {
    texts: HashMap<String, Vec<u8>>,
    bytes: usize,
}

impl Scripts {
    /// None yet; at most `most_bytes` of text.
    pub fn new(most_bytes: usize) -> Scripts {
        Scripts { most_bytes, kept: Mutex::default() }
    }

    /// Keeps `text`; its hash, or `None` if there is no room for it.
    pub fn keep(&self, text: &[u8]) -> Option<String> {
        let hash = hash(text);
        let mut kept = self.lock();
        if !kept.texts.contains_key(&hash) {
            let bytes = kept.bytes + text.len() + OVERHEAD;
            if bytes > self.most_bytes {
                return None;
            }
            kept.bytes = bytes;
            kept.texts.insert(hash.clone(), text.to_vec());
        }
        Some(hash)
    }

    /// The text of this hash, in whatever case.
    pub fn find(&self, hash: &[u8]) -> Option<Vec<u8>> {
        let hash = String::from_utf8(hash.to_ascii_lowercase()).ok()?;
        self.lock().texts.get(&hash).cloned()
    }

    /// Forgets all.
    pub fn flush(&self) {
        *self.lock() = Kept::default();
    }

    /// How many are kept, and their bytes.
    pub fn held(&self) -> (usize, usize) {
        let kept = self.lock();
        (kept.texts.len(), kept.bytes)
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a text takes besides itself, about.
const OVERHEAD: usize = 128;

/// The name of a script: SHA-1 in hexadecimal digits. It is a name, and proves nothing.
fn hash(text: &[u8]) -> String {
    Sha1::digest(text).iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// S20, S25: scripts are found by the hash that clients compute; beyond the bound none is taken, and what was is kept.
    #[test]
    fn scripts_are_found_by_their_hash_within_a_bound() {
        let scripts = Scripts::new(300);
        let hash = scripts.keep(b"return 1").unwrap();
        assert_eq!(hash, "e0e1f9fabfc9d4800c877a703b823ac0578ff8db");
        assert_eq!(scripts.find(hash.to_ascii_uppercase().as_bytes()).unwrap(), b"return 1");
        assert_eq!(scripts.keep(b"return 1"), Some(hash.clone()), "it is there already");
        assert_eq!(scripts.keep(&[b' '; 200]), None);
        assert!(scripts.find(hash.as_bytes()).is_some() && scripts.find(b"\xff").is_none());
        scripts.flush();
        assert!(scripts.find(hash.as_bytes()).is_none() && scripts.held() == (0, 0));
    }
}
