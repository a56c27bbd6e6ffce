//! Cells of servers in one process, on loopback addresses that no other test has.
#![allow(dead_code, reason = "each test program uses some")]

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{Receiver, channel};

use kv::{Body, Step, StepError, Store};
use kv_cell::{Cell, Settings, open};
use resp::{Limits, Replies, Value, Version};
use tempfile::TempDir;

/// The servers' names.
pub const NAMES: [&str; 3] = ["a", "b", "c"];

/// Three servers and their disks.
pub struct Three {
    // These end before their disks are taken away, which would end the process.
    pub cells: Vec<Option<Arc<Cell>>>,
    folders: Vec<TempDir>,
    servers: BTreeMap<String, SocketAddrV4>,
}

static NEXT: AtomicU32 = AtomicU32::new(0);

/// Addresses of this process and test: the process has 64 of 127.64/10.
fn addresses() -> BTreeMap<String, SocketAddrV4> {
    let block = ((std::process::id() % (1 << 16)) << 6) | (NEXT.fetch_add(4, Ordering::Relaxed) % 64);
    let address = |nth: u32| Ipv4Addr::from(u32::from(Ipv4Addr::new(127, 64, 0, 0)) + block + nth + 1);
    (0..).zip(NAMES).map(|(nth, name)| (name.to_owned(), SocketAddrV4::new(address(nth), 7100))).collect()
}

impl Three {
    /// Starts all three on empty disks.
    pub fn start() -> Three {
        let folders = NAMES.map(|_| tempfile::tempdir().unwrap()).into();
        let mut three = Three { folders, servers: addresses(), cells: vec![None, None, None] };
        (0..3).for_each(|nth| three.restart(nth));
        three
    }

    /// Starts server `nth` on its disk.
    pub fn restart(&mut self, nth: usize) {
        let settings = Settings {
            server: NAMES[nth].to_owned(),
            servers: self.servers.clone(),
            ..Settings::alone(self.folders[nth].path())
        };
        self.cells[nth] = Some(open(&settings).unwrap());
    }

    /// Stops server `nth`.
    pub fn stop(&mut self, nth: usize) {
        self.cells[nth] = None;
    }

    /// The server, which runs.
    pub fn cell(&self, nth: usize) -> &Arc<Cell> {
        self.cells[nth].as_ref().unwrap()
    }

    /// The place of the sync site, when there is one.
    pub fn sync_site(&self) -> usize {
        loop {
            let running = self.cells.iter().enumerate().filter_map(|(nth, cell)| Some((nth, cell.as_ref()?)));
            for (nth, cell) in running {
                if cell.database_status(0).unwrap().is_sync_site {
                    return nth;
                }
            }
            std::thread::yield_now();
        }
    }
}

/// A cell of one.
pub fn alone(folder: &Path) -> Arc<Cell> {
    open(&Settings::alone(folder)).unwrap()
}

/// A step of one command.
pub fn one(text: &str) -> Step {
    let words = text.split(' ').map(|word| word.as_bytes().to_vec()).collect();
    Step { database: 0, body: Body::Command(words), watched: Vec::new(), protocol: Version::Resp3 }
}

/// Hands a step over.
pub fn submit(cell: &Cell, step: Step) -> Receiver<Result<Vec<u8>, StepError>> {
    let (sender, receiver) = channel();
    cell.submit(step, Box::new(move |reply| drop(sender.send(reply))));
    receiver
}

/// The reply to a command.
pub fn ask(cell: &Cell, text: &str) -> Result<Value, StepError> {
    submit(cell, one(text)).recv().unwrap().map(|bytes| value(&bytes))
}

/// A reply, read.
pub fn value(reply: &[u8]) -> Value {
    let mut replies = Replies::new(Limits::default());
    replies.receive(reply);
    replies.poll().unwrap().expect("one whole reply")
}

/// A string as a reply.
pub fn text(value: &str) -> Value {
    Value::Bytes(value.as_bytes().to_vec())
}

/// What SET and others answer.
pub fn ok() -> Value {
    Value::Simple(b"OK".to_vec())
}
