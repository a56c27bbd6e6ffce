//! Watches the servers while the demo runs: who is sync site, by the word of each, as soon as that changes.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use super::connection::Connection;
use super::record::Record;
use super::servers::NAMES;

/// How often each server is asked.
const EVERY: Duration = Duration::from_millis(100);

/// Who is sync site.
#[derive(Default)]
pub struct Watcher {
    sync_site: Mutex<Option<usize>>,
}

impl Watcher {
    /// Asks until it is stopped.
    pub fn run(&self, servers: [SocketAddr; 3], record: &Record, stop: &AtomicBool) {
        let mut connections = [None, None, None];
        while !stop.load(Ordering::Relaxed) {
            for (connection, address) in connections.iter_mut().zip(servers) {
                if connection.is_none() {
                    *connection = Connection::open(address).ok();
                }
            }
            let own_word = |(nth, connection): (usize, &mut Option<Connection>)| {
                let open = connection.as_mut()?;
                match sync_site_of(open) {
                    Ok(named) => (named.as_deref() == Some(NAMES[nth])).then_some(nth),
                    Err(()) => {
                        *connection = None;
                        None
                    }
                }
            };
            let found = connections.iter_mut().enumerate().find_map(own_word);
            self.learn(found, record);
            std::thread::sleep(EVERY);
        }
    }

    fn learn(&self, found: Option<usize>, record: &Record) {
        let mut known = self.sync_site.lock().unwrap_or_else(PoisonError::into_inner);
        if *known == found {
            return;
        }
        *known = found;
        match found {
            Some(nth) => record.note(format!("server {} is sync site", NAMES[nth]), true),
            None => record.note("no server is sync site", true),
        }
    }

    /// The sync site, if there is one.
    pub fn sync_site(&self) -> Option<usize> {
        *self.sync_site.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whom a server takes for the sync site.
fn sync_site_of(connection: &mut Connection) -> Result<Option<String>, ()> {
    let answer = connection.ask(&["INFO", "replication"]).map_err(drop)?;
    let text = String::from_utf8_lossy(answer.as_bytes().unwrap_or_default()).into_owned();
    let named = text.lines().find_map(|line| line.strip_prefix("quorate_sync_site:"));
    Ok(named.map(str::to_owned))
}
