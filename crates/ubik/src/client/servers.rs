//! The servers that a client knows: where they are listed, and which of them answered last.
//!
//! Nothing here is certain, only recent: a server that is down is asked last, not never.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::{Duration, Instant, SystemTime};

use crate::cell_files::{self, CellFileError};

/// How long a server that did not answer is asked last.
const DOWN_FOR: Duration = Duration::from_secs(60);

/// Where the list comes from.
#[derive(Debug)]
struct Source {
    directory: PathBuf,
    udp_port: u16,
    /// When the list was changed that was read last.
    modified: Option<SystemTime>,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Servers {
    list: Vec<SocketAddr>,
    source: Option<Source>,
    /// Servers that answered the last call, and until when those that did not are asked last.
    answered: HashMap<SocketAddr, Result<(), Instant>>,
    turn: usize,
}

impl Servers {
    /// These, and never others.
    pub fn fixed(list: Vec<SocketAddr>) -> Self {
        // Whoever starts many clients does not start them all at the same server.
        let turn = RandomState::new().hash_one(0) as usize;
        Servers { list, source: None, answered: HashMap::new(), turn }
    }

    /// Those that `ThisCell` and `CellServDB` in `directory` name.
    pub fn of_cell(directory: PathBuf, udp_port: u16) -> Result<Self, CellFileError> {
        let mut servers = Servers::fixed(Vec::new());
        let mut source = Source { directory, udp_port, modified: None };
        servers.list = source.read()?;
        servers.source = Some(source);
        Ok(servers)
    }

    /// Reads the files again if the list was changed; a bad file changes nothing.
    pub fn refresh(&mut self) {
        let Some(source) = &mut self.source else { return };
        if source.last_change() != source.modified
            && let Ok(list) = source.read()
        {
            self.answered.retain(|server, _| list.contains(server));
            self.list = list;
        }
    }

    /// All of them, each time another first; those that are down last.
    pub fn in_turn(&mut self, now: Instant) -> Vec<SocketAddr> {
        self.turn = self.turn.wrapping_add(1);
        let mut servers = self.list.clone();
        if !servers.is_empty() {
            let first = self.turn % servers.len();
            servers.rotate_left(first);
        }
        servers.sort_by_key(|server| match self.answered.get(server) {
            Some(Ok(())) => 0,
            Some(Err(until)) if now < *until => 2,
            Some(Err(_)) | None => 1,
        });
        servers
    }

    /// Whether a server did not answer a short time ago.
    pub fn is_down(&self, now: Instant, server: SocketAddr) -> bool {
        self.answered.get(&server).is_some_and(|state| state.is_err_and(|until| now < until))
    }

    /// Whether any is known to have answered.
    pub fn any_answered(&self) -> bool {
        self.answered.values().any(Result::is_ok)
    }

    /// The listed server at this address.
    pub fn at(&self, address: Ipv4Addr) -> Option<SocketAddr> {
        self.list.iter().copied().find(|server| server.ip() == address)
    }

    /// A server answered, or did not.
    pub fn note(&mut self, now: Instant, server: SocketAddr, answered: bool) {
        if self.list.contains(&server) {
            let state = if answered { Ok(()) } else { Err(now + DOWN_FOR) };
            self.answered.insert(server, state);
        }
    }
}

impl Source {
    fn last_change(&self) -> Option<SystemTime> {
        std::fs::metadata(self.directory.join("CellServDB")).and_then(|found| found.modified()).ok()
    }

    fn read(&mut self) -> Result<Vec<SocketAddr>, CellFileError> {
        // Before the file is read: a change in between is seen the next time.
        let modified = self.last_change();
        let cell = cell_files::read(&self.directory)?;
        self.modified = modified;
        let at = |address| SocketAddr::new(Ipv4Addr::from(address).into(), self.udp_port);
        Ok(cell.servers.iter().map(|server| at(server.address)).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(last: u8) -> SocketAddr {
        SocketAddr::from(([10, 0, 0, last], 7002))
    }

    /// U55: each call begins at another server; one that did not answer is asked last, and for a minute only.
    #[test]
    fn servers_that_are_down_are_asked_last() {
        let now = Instant::now();
        let mut servers = Servers::fixed(vec![at(1), at(2), at(3)]);
        let firsts: std::collections::HashSet<SocketAddr> = (0..3).map(|_| servers.in_turn(now)[0]).collect();
        assert_eq!(firsts.len(), 3);
        servers.note(now, at(2), false);
        servers.note(now, at(3), true);
        for _ in 0..3 {
            assert_eq!(servers.in_turn(now), [at(3), at(1), at(2)]);
        }
        let later = now + DOWN_FOR;
        assert!((0..3).any(|_| servers.in_turn(later)[1] == at(2)));
    }

    /// U55: a client follows the list of its cell, and keeps the old one while the new one is bad.
    #[test]
    fn the_list_is_read_again_when_it_changes() {
        let folder = tempfile::tempdir().unwrap();
        let list = folder.path().join("CellServDB");
        let mut tick = 0;
        let mut write = |text: &str| {
            std::fs::write(&list, text).unwrap();
            // Times of files may be coarse.
            tick += 1;
            let time = SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000 + tick);
            std::fs::File::open(&list).unwrap().set_modified(time).unwrap();
        };
        std::fs::write(folder.path().join("ThisCell"), "c\n").unwrap();
        write(">c\n10.0.0.1\n10.0.0.2\n");
        let mut servers = Servers::of_cell(folder.path().to_owned(), 7002).unwrap();
        assert_eq!(servers.list, [at(1), at(2)]);
        write(">c\n10.0.0.1\nwhat\n");
        servers.refresh();
        assert_eq!(servers.list, [at(1), at(2)]);
        write(">c\n10.0.0.3\n");
        servers.refresh();
        assert_eq!(servers.list, [at(3)]);
    }
}
