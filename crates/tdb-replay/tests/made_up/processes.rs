//! Simulated processes on one simulated database.
//!
//! One process at a time makes one step. A step that a lock of another process forbids is not made; the process tries
//! again when it is drawn again. A chain may be locked several times, and a lock for reading becomes one for writing when
//! its process changes something there.

use std::collections::BTreeMap;
use std::fmt::Write;

use tdb_replay::trace::chain::Hashing;

const KEYS: u8 = 10;
const HASH_SIZE: u32 = 4;
const STEPS: usize = 900;
const PROCESSES: usize = 4;

/// What kind of history.
#[derive(Clone, Copy, Debug)]
pub struct Style {
    pub classic: bool,
    /// How many different values there are.
    pub values: u8,
}

/// A lock that lasts.
#[derive(Clone, Copy, PartialEq, Debug)]
enum Scope {
    Chain(u32, bool),
    All(bool),
    Transaction,
    Traverse(bool),
}

#[derive(Default)]
struct Process {
    text: String,
    scopes: Vec<Scope>,
    /// A line whose operation has happened.
    late: Option<String>,
    /// A lock whose line is written and that is not held yet.
    wants: Option<Scope>,
    /// The transaction's view.
    changed: BTreeMap<u8, Option<Vec<u8>>>,
    private_seq: u32,
    steps_left: u32,
    /// Operations until a scope ends.
    budget: u32,
    /// The chain locks among its scopes: their keys, and whether their lines say that they are for writing.
    chain_keys: Vec<(u8, bool)>,
    /// Chains whose lock failed, which the line does not say. Only with the right name can it be told which of two locks a
    /// line releases.
    failed: Vec<u32>,
}

/// The database and its processes.
pub struct Simulation {
    style: Style,
    random: fastrand::Rng,
    values: BTreeMap<u8, Vec<u8>>,
    seq: u32,
    processes: Vec<Process>,
}

fn record(bytes: Option<&[u8]>) -> String {
    let Some(bytes) = bytes else { return "NULL".into() };
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("{}:{hex}", bytes.len())
}

fn key_text(key: u8) -> String {
    record(Some(&[b'a' + key]))
}

impl Simulation {
    pub fn new(style: Style, seed: u64) -> Simulation {
        let flags = if style.classic { "0x0" } else { "0x801" };
        let process =
            |_| Process { text: format!("0 tdb_open {HASH_SIZE} {flags} 0x42\n"), ..Process::default() };
        Simulation {
            style,
            random: fastrand::Rng::with_seed(seed),
            values: BTreeMap::new(),
            seq: 0,
            processes: (0..PROCESSES).map(process).collect(),
        }
    }

    /// The traces' texts.
    pub fn run(mut self) -> Vec<String> {
        for _ in 0..STEPS {
            let who = self.random.usize(..PROCESSES);
            self.step(who, true);
        }
        // Everybody ends what is open, in whatever order the locks allow.
        for _ in 0..10_000 {
            let Some(who) = (0..PROCESSES).find(|&who| self.can_finish(who)) else {
                break;
            };
            self.step(who, false);
        }
        for who in 0..PROCESSES {
            assert!(
                self.processes[who].scopes.is_empty() && self.processes[who].late.is_none(),
                "the simulation ended"
            );
            self.line(who, "tdb_close");
        }
        self.processes.into_iter().map(|process| process.text).collect()
    }

    fn can_finish(&self, who: usize) -> bool {
        let process = &self.processes[who];
        let open = !process.scopes.is_empty() || process.late.is_some() || process.wants.is_some();
        open && process.wants.is_none_or(|scope| self.may_take(who, scope)) && self.may_end(who)
    }

    /// Whether the innermost scope's end is not kept out: a commit needs everything.
    fn may_end(&self, who: usize) -> bool {
        match self.processes[who].scopes.last() {
            Some(Scope::Transaction) => self.may_commit(who),
            Some(Scope::Traverse(write)) => self.may_step(who, *write),
            _ => true,
        }
    }

    fn line(&mut self, who: usize, text: &str) {
        let process = &mut self.processes[who];
        let seq = if process.scopes.contains(&Scope::Transaction) { process.private_seq } else { self.seq };
        writeln!(process.text, "{seq} {text}").expect("a string grows");
    }

    fn step(&mut self, who: usize, start: bool) {
        if let Some(late) = self.processes[who].late.take() {
            return self.line(who, &late);
        }
        if let Some(scope) = self.processes[who].wants {
            if self.may_take(who, scope) {
                self.processes[who].wants = None;
                self.processes[who].scopes.push(scope);
            }
            return;
        }
        let Some(&scope) = self.processes[who].scopes.last() else {
            return match self.random.u32(..10) {
                _ if !start => {}
                0 => self.start(who, Scope::Transaction),
                1 | 2 => self.start_chain(who),
                3 => self.start_all(who),
                4 => {
                    let write = self.random.bool();
                    self.start(who, Scope::Traverse(write));
                }
                _ => self.operation(who),
            };
        };
        let over = self.processes[who].budget == 0 || !start;
        match scope {
            Scope::Traverse(write) => self.in_traversal(who, write, over),
            _ if over => self.end(who, scope),
            // One more lock, of this chain or of another.
            Scope::Chain(..) if self.random.u32(..5) == 0 => self.start_chain(who),
            _ => {
                self.processes[who].budget -= 1;
                self.operation(who);
            }
        }
    }

    fn in_traversal(&mut self, who: usize, write: bool, over: bool) {
        if self.processes[who].budget > 0 && !over {
            self.processes[who].budget -= 1;
            return match self.random.u32(..8) {
                0 => self.start_chain(who),
                _ => self.operation(who),
            };
        }
        if !self.may_step(who, write) {
            return;
        }
        if self.processes[who].steps_left == 0 || over && self.random.bool() {
            return self.end(who, Scope::Traverse(write));
        }
        self.processes[who].steps_left -= 1;
        self.processes[who].budget = self.random.u32(..3);
        self.line(who, "traversefn");
    }

    fn others(&self, who: usize, what: impl Fn(Scope) -> bool) -> bool {
        let all = self.processes.iter().enumerate().filter(|&(other, _)| other != who);
        all.flat_map(|(_, process)| &process.scopes).any(|&scope| what(scope))
    }

    fn may_take(&self, who: usize, scope: Scope) -> bool {
        let classic = self.style.classic;
        !self.others(who, |held| match (scope, held) {
            (Scope::Chain(mine, write), Scope::Chain(theirs, held)) => mine == theirs && (write || held),
            (Scope::Chain(_, write), Scope::All(held)) => write || held,
            (Scope::Chain(_, write), Scope::Transaction) => write,
            (Scope::All(write), Scope::Chain(_, held) | Scope::All(held)) => write || held,
            (Scope::All(write), Scope::Transaction) => write,
            (Scope::Transaction, Scope::Chain(_, held) | Scope::All(held)) => held,
            (Scope::Transaction, Scope::Transaction | Scope::Traverse(true)) => true,
            (Scope::Transaction, Scope::Traverse(false)) => classic,
            (Scope::Traverse(true), Scope::Transaction | Scope::Traverse(true)) => true,
            (Scope::Traverse(true), Scope::Traverse(false)) => classic,
            (Scope::Traverse(false), Scope::Transaction | Scope::Traverse(true)) => classic,
            _ => false,
        })
    }

    fn may_step(&self, who: usize, write: bool) -> bool {
        !self.others(who, |held| matches!(held, Scope::Chain(_, held) | Scope::All(held) if held || write))
    }

    fn may_commit(&self, who: usize) -> bool {
        !self.others(who, |held| matches!(held, Scope::Chain(..) | Scope::All(_)))
    }

    fn may_touch(&self, who: usize, key: u8, write: bool) -> bool {
        let process = &self.processes[who];
        if process.scopes.contains(&Scope::Transaction) {
            return true;
        }
        // What one's own lock of everything refuses leaves no line, but for a delete.
        let refused = write && process.scopes.contains(&Scope::All(false));
        self.may_take(who, Scope::Chain(self.chain(key), write)) && !refused
    }

    /// What the process holds of this chain for reading becomes a lock for writing.
    fn upgrade(&mut self, who: usize, chain: u32) {
        for scope in &mut self.processes[who].scopes {
            if *scope == Scope::Chain(chain, false) {
                *scope = Scope::Chain(chain, true);
            }
        }
    }

    fn chain(&self, key: u8) -> u32 {
        Hashing { hash_size: HASH_SIZE, jenkins: !self.style.classic }.chain(&[b'a' + key])
    }

    fn start(&mut self, who: usize, scope: Scope) {
        if !self.may_take(who, scope) || matches!(scope, Scope::Traverse(write) if !self.may_step(who, write))
        {
            return;
        }
        let name = match scope {
            Scope::Transaction => "tdb_transaction_start",
            Scope::Traverse(true) => "tdb_traverse_start",
            _ => "tdb_traverse_read_start",
        };
        self.line(who, name);
        let process = &mut self.processes[who];
        process.scopes.push(scope);
        process.changed.clear();
        process.private_seq = self.seq;
        process.steps_left = self.values.len() as u32;
        process.budget = if scope == Scope::Transaction { self.random.u32(..6) } else { 0 };
    }

    fn start_chain(&mut self, who: usize) {
        let key = self.random.u8(..KEYS);
        let chain = self.chain(key);
        let own = self.processes[who].scopes.iter().find_map(|&scope| match scope {
            Scope::Chain(held, write) if held == chain => Some(write),
            _ => None,
        });
        // Inside a read traversal locks for writing are refused, like changes.
        let write = self.random.bool() && !self.processes[who].scopes.contains(&Scope::Traverse(false));
        let name = if write { "tdb_chainlock" } else { "tdb_chainlock_read" };
        let line = format!("{name} {}", key_text(key));
        if own.is_none() && self.random.u32(..8) == 0 {
            self.processes[who].failed.push(chain);
            return self.line(who, &line);
        }
        if !self.may_take(who, Scope::Chain(chain, write)) {
            return;
        }
        self.line(who, &line);
        if write {
            self.upgrade(who, chain);
        }
        let process = &mut self.processes[who];
        process.scopes.push(Scope::Chain(chain, write || own == Some(true)));
        process.chain_keys.push((key, write));
        process.budget = self.random.u32(1..4);
    }

    /// The line is written before the lock is held, and then the call may fail.
    fn start_all(&mut self, who: usize) {
        let write = self.random.bool();
        self.line(who, if write { "tdb_lockall" } else { "tdb_lockall_read" });
        if self.random.u32(..6) > 0 {
            self.processes[who].wants = Some(Scope::All(write));
            self.processes[who].budget = self.random.u32(1..4);
        }
    }

    fn end(&mut self, who: usize, scope: Scope) {
        match scope {
            Scope::Chain(chain, _) => {
                let (key, write) = self.processes[who].chain_keys.pop().expect("each chain lock has its key");
                let other = !self.processes[who].failed.contains(&chain) && self.random.u32(..4) == 0;
                let name = if write == other { "tdb_chainunlock_read" } else { "tdb_chainunlock" };
                self.line(who, &format!("{name} {}", key_text(key)));
            }
            Scope::All(true) => self.line(who, "tdb_unlockall"),
            Scope::All(false) => self.line(who, "tdb_unlockall_read"),
            Scope::Traverse(_) => self.line(who, "tdb_traverse_end"),
            Scope::Transaction => return self.end_transaction(who),
        }
        self.processes[who].scopes.pop();
        self.processes[who].budget = 0;
    }

    fn end_transaction(&mut self, who: usize) {
        if self.random.u32(..4) == 0 {
            self.line(who, "tdb_transaction_cancel");
        } else if self.may_commit(who) {
            self.line(who, "tdb_transaction_commit");
            self.seq = self.processes[who].private_seq;
            for (key, value) in std::mem::take(&mut self.processes[who].changed) {
                match value {
                    Some(value) => self.values.insert(key, value),
                    None => self.values.remove(&key),
                };
            }
        } else {
            return;
        }
        self.processes[who].scopes.pop();
    }

    fn look(&self, who: usize, key: u8) -> Option<Vec<u8>> {
        let changed = self.processes[who].changed.get(&key);
        let inside = self.processes[who].scopes.contains(&Scope::Transaction);
        changed.filter(|_| inside).cloned().unwrap_or_else(|| self.values.get(&key).cloned())
    }

    fn put(&mut self, who: usize, key: u8, value: Option<Vec<u8>>) {
        let process = &mut self.processes[who];
        if process.scopes.contains(&Scope::Transaction) {
            process.changed.insert(key, value);
            process.private_seq += 1;
            return;
        }
        // A store that grows counts twice.
        self.seq += 1 + u32::from(self.random.u32(..5) == 0);
        match value {
            Some(value) => self.values.insert(key, value),
            None => self.values.remove(&key),
        };
    }

    fn operation(&mut self, who: usize) {
        let in_read_traversal = self.processes[who].scopes.contains(&Scope::Traverse(false));
        let write = self.random.bool() && !in_read_traversal;
        let key = self.random.u8(..KEYS);
        if write && self.processes[who].scopes.contains(&Scope::All(false)) && self.random.bool() {
            return self.line(who, &format!("tdb_delete {} = -1", key_text(key)));
        }
        if !self.may_touch(who, key, write) {
            return;
        }
        if write {
            self.upgrade(who, self.chain(key));
        }
        let name = key_text(key);
        let before = self.look(who, key);
        // The number of these is read after the unlock.
        let (text, may_be_late) = if !write {
            match self.random.bool() {
                true => (format!("tdb_fetch {name} = {}", record(before.as_deref())), true),
                false => (format!("tdb_exists {name} = {}", u8::from(before.is_some())), true),
            }
        } else {
            self.change(who, key, before)
        };
        if may_be_late && self.random.u32(..4) == 0 {
            self.processes[who].late = Some(text);
        } else {
            self.line(who, &text);
        }
    }

    fn change(&mut self, who: usize, key: u8, before: Option<Vec<u8>>) -> (String, bool) {
        let name = key_text(key);
        let value = vec![self.random.u8(..self.style.values)];
        match self.random.u32(..6) {
            0 | 1 => {
                let found = before.is_some();
                if found {
                    self.put(who, key, None);
                }
                (format!("tdb_delete {name} = {}", if found { 0 } else { -1 }), true)
            }
            2 => {
                let (old, more) = (record(before.as_deref()), record(Some(&value)));
                let whole = [before.unwrap_or_default(), value].concat();
                let new = record(Some(&whole));
                self.put(who, key, Some(whole));
                match self.style.classic {
                    true => (format!("tdb_append {name} {more} = {new}"), false),
                    false => (format!("tdb_append {name} {old} = {more}"), false),
                }
            }
            flag @ (3..=5) => {
                let flag = flag - 2;
                let allowed = flag == 1 || (flag == 2) == before.is_none();
                let text = format!(
                    "tdb_store {name} {} {flag:#x} = {}",
                    record(Some(&value)),
                    if allowed { 0 } else { -1 }
                );
                if allowed {
                    self.put(who, key, Some(value));
                }
                (text, false)
            }
            _ => unreachable!("six kinds were drawn from"),
        }
    }
}
