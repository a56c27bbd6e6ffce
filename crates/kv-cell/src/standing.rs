//! What this server knows of itself and of the others, for people and monitoring; and the last lines about elections,
//! recoveries and disks.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use kv::status::{Happening, ServerStatus, Standing, Status};
use ubik::driver::Server;
use ubik::locks::Held;
use ubik::watch::Log;
use ubik_proto::cell::Cell;
use ubik_proto::version::Version;

/// How many lines are kept.
const KEPT: usize = 32;

/// The last lines of the log.
#[derive(Clone, Default)]
pub struct Happenings(Arc<Mutex<VecDeque<Happening>>>);

impl Happenings {
    /// A log that keeps its last lines here and gives all to `log`.
    pub fn before(&self, log: Log) -> Log {
        let kept = self.0.clone();
        Arc::new(move |line: &str| {
            let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
            let happening = Happening { at_ms: since.as_millis() as u64, what: line.to_owned() };
            let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
            if kept.len() == KEPT {
                kept.pop_front();
            }
            kept.push_back(happening);
            drop(kept);
            log(line);
        })
    }

    fn all(&self) -> Vec<Happening> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
    }
}

/// What `server` is at present; `names` are those of the servers of `cell`, in its order.
pub fn status(server: &Server, cell: &Cell, names: &[String], happenings: &Happenings) -> Status {
    let mut held = Held::thread_entry();
    let (sync_site, left) = server.state().with_election(&mut held, |now, election| {
        let left = election.mandate_end().map_or(Duration::ZERO, |end| end.since(now.moment));
        (election.sync_site(now.moment), left)
    });
    let standing = match sync_site {
        _ if cell.len() == 1 && sync_site.is_some() => Standing::Alone,
        Some(site) if site == cell.me() => Standing::SyncSite { for_ms: left.as_millis() as u64 },
        Some(site) => Standing::Follower { sync_site: names[site.index()].clone() },
        None => Standing::NoSyncSite,
    };
    let own_version = server.version().map(|version| version.to_string());
    let mut servers: Vec<ServerStatus> = names
        .iter()
        .zip(cell.ids())
        .map(|(name, id)| ServerStatus {
            name: name.clone(),
            is_up: id == cell.me(),
            is_sync_site: sync_site == Some(id),
            version: own_version.clone().filter(|_| id == cell.me()),
        })
        .collect();
    for (which, id) in cell.peers().enumerate() {
        if let Some(peer) = server.state().server_debug(&mut held, which as u32) {
            servers[id.index()].is_up = peer.up;
            let version = Some(peer.remote_version).filter(|version| *version != Version::NONE);
            servers[id.index()].version = version.map(|version| version.to_string());
        }
    }
    let server = names[cell.me().index()].clone();
    Status { server, standing, servers, events: happenings.all() }
}
