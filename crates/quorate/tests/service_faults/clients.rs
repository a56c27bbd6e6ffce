//! Clients at all three servers, and what each of them saw.
//!
//! Five kinds of objects: registers; counters and lists, whose replies tell at which place a write came; accounts between
//! which transactions move amounts; locks with a time and a fencing token.

use std::net::SocketAddr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use fastrand::Rng;
use history::linearizability::Call;
use history::register::{Effect, Need, ValueId};
use resp::Value;

use crate::connection::{Connection, Failure};

const REGISTERS: u32 = 6;
const COUNTERS: usize = 2;
const LISTS: usize = 2;
pub const ACCOUNTS: usize = 5;
const LOCKS: usize = 2;
/// A client's pause after a command: the servers share a machine with other work.
const PAUSE: Duration = Duration::from_millis(4);
/// How long a reply may take: longer than any fault lasts.
const PATIENCE: Duration = Duration::from_secs(30);
/// Bytes of an element of a list.
pub const ELEMENT: usize = 8;

/// When something was called and when it was answered, in microseconds.
#[derive(Clone, Copy, Debug)]
pub struct Span {
    pub invoked: u64,
    pub returned: u64,
}

/// A write or a read of an object whose writes are numbered by the object itself.
#[derive(Clone, Copy, Debug)]
pub struct Placed {
    /// The number of the write; of a read, that of the last write that it shows. `None` if it was not answered.
    pub at: Option<u64>,
    pub writes: bool,
    pub span: Span,
}

/// A lock that a client was given.
#[derive(Clone, Copy, Debug)]
pub struct Held {
    pub lock: usize,
    pub revision: u64,
    pub lasts_micros: u64,
    pub span: Span,
    /// When its holder began to give it back.
    pub released: Option<u64>,
}

/// What a transaction left or saw of the accounts.
#[derive(Clone, Debug)]
pub struct Balances {
    pub at: u64,
    /// By account; of a transfer only those two that it changed.
    pub of: Vec<(usize, i64)>,
}

/// All that the clients saw.
#[derive(Default)]
pub struct Seen {
    pub registers: Vec<Call>,
    pub counters: [Vec<Placed>; COUNTERS],
    pub lists: [Vec<Placed>; LISTS],
    /// What reads of a list found, and what each append wrote, with its outcome.
    pub contents: [Vec<Vec<u8>>; LISTS],
    pub appended: [Vec<(u64, Option<bool>)>; LISTS],
    pub transfers: Vec<Placed>,
    pub balances: Vec<Balances>,
    pub held: Vec<Held>,
    /// Writes that were guarded by a token: its lock and revision, and whether they were let through.
    pub guarded: Vec<(usize, u64, bool, Span)>,
    pub unknown: u64,
    pub refused: u64,
}

impl Seen {
    /// How many operations were answered or are unknown.
    pub fn operations(&self) -> usize {
        let placed = self.counters.iter().chain(&self.lists).map(Vec::len).sum::<usize>();
        self.registers.len() + placed + self.transfers.len() + self.held.len() + self.guarded.len()
    }
}

/// What the clients share.
pub struct Work {
    begun: Instant,
    ends: AtomicBool,
    values: AtomicU32,
    processes: AtomicU32,
    /// When the last acknowledged write was called.
    written: AtomicU64,
    seen: Mutex<Seen>,
}

impl Work {
    pub fn new() -> Work {
        Work {
            begun: Instant::now(),
            ends: AtomicBool::new(false),
            values: AtomicU32::new(1),
            processes: AtomicU32::new(0),
            written: AtomicU64::new(0),
            seen: Mutex::default(),
        }
    }

    pub fn now(&self) -> u64 {
        self.begun.elapsed().as_micros() as u64
    }

    pub fn end(&self) {
        self.ends.store(true, Ordering::Relaxed);
    }

    pub fn has_ended(&self) -> bool {
        self.ends.load(Ordering::Relaxed)
    }

    /// Whether a write that was called after `moment` was acknowledged.
    pub fn has_written_since(&self, moment: u64) -> bool {
        self.written.load(Ordering::Relaxed) > moment
    }

    pub fn into_seen(self) -> Seen {
        self.seen.into_inner().unwrap()
    }

    /// A client of one server, until the end.
    pub fn run(&self, address: SocketAddr, rng: Rng) {
        let process = self.processes.fetch_add(1, Ordering::Relaxed);
        let mut client = Client { work: self, rng, process, known: [None; REGISTERS as usize] };
        while !self.has_ended() {
            let Ok(mut connection) = Connection::open(address, PATIENCE) else {
                std::thread::sleep(PAUSE);
                continue;
            };
            while !self.has_ended() && client.act(&mut connection) {
                std::thread::sleep(PAUSE);
            }
        }
    }

    /// Reads everything once more, when all is well again: what is left must be what was acknowledged.
    pub fn read_all(&self, servers: &[SocketAddr]) {
        for server in servers {
            let mut connection = Connection::open(*server, PATIENCE).unwrap();
            let process = self.processes.fetch_add(1, Ordering::Relaxed);
            let rng = Rng::with_seed(0);
            let mut client = Client { work: self, rng, process, known: [None; REGISTERS as usize] };
            (0..REGISTERS).for_each(|key| drop(client.read(&mut connection, key)));
            (0..COUNTERS).for_each(|nth| drop(client.read_counter(&mut connection, nth)));
            (0..LISTS).for_each(|nth| drop(client.read_list(&mut connection, nth)));
            client.read_accounts(&mut connection).unwrap();
        }
    }
}

struct Client<'a> {
    work: &'a Work,
    rng: Rng,
    process: u32,
    known: [Option<u32>; REGISTERS as usize],
}

fn number(value: &Value) -> Option<i64> {
    match value {
        Value::Integer(number) => Some(*number),
        Value::Null => Some(0),
        other => std::str::from_utf8(other.as_bytes()?).ok()?.parse().ok(),
    }
}

fn id(value: Option<u32>) -> ValueId {
    value.map_or(ValueId::ABSENT, |value| ValueId(value + 1))
}

impl Client<'_> {
    /// One thing; false if the connection is of no use any more.
    fn act(&mut self, connection: &mut Connection) -> bool {
        let done = match self.rng.u32(..14) {
            0..=1 => self.write(connection),
            2 => self.compare_and_set(connection),
            3..=4 => {
                let key = self.rng.u32(..REGISTERS);
                self.read(connection, key)
            }
            5 => self.increment(connection),
            6 => {
                let nth = self.rng.usize(..COUNTERS);
                self.read_counter(connection, nth)
            }
            7 => self.append(connection),
            8 => {
                let nth = self.rng.usize(..LISTS);
                self.read_list(connection, nth)
            }
            9..=10 => self.transfer(connection),
            11 => self.read_accounts(connection),
            _ => self.lock(connection),
        };
        match done {
            Ok(()) => true,
            Err(Failure::Refused(_)) => {
                self.work.seen.lock().unwrap().refused += 1;
                true
            }
            Err(Failure::Unknown(_)) => {
                // It does not know whether its command has ended, so it goes on as another.
                self.process = self.work.processes.fetch_add(1, Ordering::Relaxed);
                false
            }
        }
    }

    /// Runs `ask`; when it was called and answered.
    fn timed(&self, ask: impl FnOnce() -> Result<Value, Failure>) -> (Result<Value, Failure>, Span) {
        let invoked = self.work.now();
        let answer = ask();
        (answer, Span { invoked, returned: self.work.now() })
    }

    /// Notes that a write was acknowledged or is unknown.
    fn note_write(&self, answer: &Result<Value, Failure>, span: Span) {
        match answer {
            Ok(_) => drop(self.work.written.fetch_max(span.invoked, Ordering::Relaxed)),
            Err(Failure::Unknown(_)) => self.work.seen.lock().unwrap().unknown += 1,
            Err(Failure::Refused(_)) => {}
        }
    }

    fn call(&mut self, key: u32, need: Need, effect: Effect, span: Span, is_known: bool) {
        let returned_at = is_known.then_some(span.returned);
        let call = Call { process: self.process, key, need, effect, invoked_at: span.invoked, returned_at };
        self.work.seen.lock().unwrap().registers.push(call);
    }

    fn fresh(&self) -> u32 {
        self.work.values.fetch_add(1, Ordering::Relaxed)
    }

    fn write(&mut self, connection: &mut Connection) -> Result<(), Failure> {
        let (key, value) = (self.rng.u32(..REGISTERS), self.fresh());
        let (answer, span) = self.timed(|| connection.ask(&["SET", &format!("r{key}"), &value.to_string()]));
        self.note_write(&answer, span);
        if !matches!(answer, Err(Failure::Refused(_))) {
            self.call(key, Need::Anything, Effect::Put(id(Some(value))), span, answer.is_ok());
        }
        answer.map(drop)
    }

    fn compare_and_set(&mut self, connection: &mut Connection) -> Result<(), Failure> {
        let key = self.rng.u32(..REGISTERS);
        let Some(old) = self.known[key as usize] else { return self.read(connection, key) };
        let value = self.fresh();
        let (name, old_text) = (format!("r{key}"), old.to_string());
        let (answer, span) =
            self.timed(|| connection.ask(&["SET", &name, &value.to_string(), "IFEQ", &old_text]));
        self.note_write(&answer, span);
        // A comparison that failed says that the value was another, which the search has no word for.
        if !matches!(answer, Err(Failure::Refused(_)) | Ok(Value::Null)) {
            self.call(key, Need::Exactly(id(Some(old))), Effect::Put(id(Some(value))), span, answer.is_ok());
        }
        answer.map(drop)
    }

    fn read(&mut self, connection: &mut Connection, key: u32) -> Result<(), Failure> {
        let (answer, span) = self.timed(|| connection.ask(&["GET", &format!("r{key}")]));
        let answer = answer?;
        let found = (answer != Value::Null).then(|| number(&answer).unwrap() as u32);
        self.known[key as usize] = found;
        self.call(key, Need::Exactly(id(found)), Effect::Keep, span, true);
        Ok(())
    }

    /// The place of a write in its object, from the reply.
    fn placed(
        &self,
        answer: &Result<Value, Failure>,
        span: Span,
        of: impl FnOnce(i64) -> u64,
    ) -> Option<Placed> {
        self.note_write(answer, span);
        match answer {
            Ok(value) => Some(Placed { at: Some(of(number(value)?)), writes: true, span }),
            Err(Failure::Unknown(_)) => Some(Placed { at: None, writes: true, span }),
            Err(Failure::Refused(_)) => None,
        }
    }

    fn increment(&mut self, connection: &mut Connection) -> Result<(), Failure> {
        let nth = self.rng.usize(..COUNTERS);
        let (answer, span) = self.timed(|| connection.ask(&["INCR", &format!("c{nth}")]));
        let placed = self.placed(&answer, span, |value| value as u64);
        self.work.seen.lock().unwrap().counters[nth].extend(placed);
        answer.map(drop)
    }

    fn read_counter(&mut self, connection: &mut Connection, nth: usize) -> Result<(), Failure> {
        let (answer, span) = self.timed(|| connection.ask(&["GET", &format!("c{nth}")]));
        let at = number(&answer?).map(|value| value as u64);
        self.work.seen.lock().unwrap().counters[nth].push(Placed { at, writes: false, span });
        Ok(())
    }

    fn append(&mut self, connection: &mut Connection) -> Result<(), Failure> {
        let (nth, element) = (self.rng.usize(..LISTS), self.fresh());
        let text = format!("{element:07},");
        let (answer, span) = self.timed(|| connection.ask(&["APPEND", &format!("l{nth}"), &text]));
        let placed = self.placed(&answer, span, |length| length as u64 / ELEMENT as u64);
        let outcome = match &answer {
            Ok(_) => Some(true),
            Err(Failure::Refused(_)) => Some(false),
            Err(Failure::Unknown(_)) => None,
        };
        let mut seen = self.work.seen.lock().unwrap();
        seen.lists[nth].extend(placed);
        seen.appended[nth].push((u64::from(element), outcome));
        drop(seen);
        answer.map(drop)
    }

    fn read_list(&mut self, connection: &mut Connection, nth: usize) -> Result<(), Failure> {
        let (answer, span) = self.timed(|| connection.ask(&["GET", &format!("l{nth}")]));
        let content = answer?.as_bytes().unwrap_or_default().to_vec();
        let at = Some((content.len() / ELEMENT) as u64);
        let mut seen = self.work.seen.lock().unwrap();
        seen.lists[nth].push(Placed { at, writes: false, span });
        seen.contents[nth].push(content);
        Ok(())
    }

    fn transfer(&mut self, connection: &mut Connection) -> Result<(), Failure> {
        let from = self.rng.usize(..ACCOUNTS);
        let to = (from + 1 + self.rng.usize(..ACCOUNTS - 1)) % ACCOUNTS;
        let amount = self.rng.u32(1..100).to_string();
        let (one, other) = (format!("a{from}"), format!("a{to}"));
        let transaction: [&[&str]; 5] = [
            &["MULTI"],
            &["INCR", "transfers"],
            &["DECRBY", &one, &amount],
            &["INCRBY", &other, &amount],
            &["EXEC"],
        ];
        let (answer, span) = self.timed(|| connection.ask_all(&transaction));
        self.note_write(&answer, span);
        let mut seen = self.work.seen.lock().unwrap();
        match &answer {
            Ok(Value::Array(replies)) => {
                let [at, of_from, of_to] = [0, 1, 2].map(|nth| number(&replies[nth]).unwrap());
                seen.transfers.push(Placed { at: Some(at as u64), writes: true, span });
                seen.balances.push(Balances { at: at as u64, of: vec![(from, of_from), (to, of_to)] });
            }
            Ok(other) => panic!("{other:?}"),
            Err(Failure::Unknown(_)) => seen.transfers.push(Placed { at: None, writes: true, span }),
            Err(Failure::Refused(_)) => {}
        }
        drop(seen);
        answer.map(drop)
    }

    fn read_accounts(&mut self, connection: &mut Connection) -> Result<(), Failure> {
        let names: Vec<String> = (0..ACCOUNTS).map(|nth| format!("a{nth}")).collect();
        let all: Vec<&str> =
            ["MGET", "transfers"].into_iter().chain(names.iter().map(String::as_str)).collect();
        let (answer, span) = self.timed(|| connection.ask(&all));
        let answer = answer?;
        let found: Vec<i64> =
            answer.as_elements().unwrap().iter().map(|value| number(value).unwrap()).collect();
        let at = found[0] as u64;
        let mut seen = self.work.seen.lock().unwrap();
        seen.transfers.push(Placed { at: Some(at), writes: false, span });
        seen.balances.push(Balances { at, of: found[1..].iter().copied().enumerate().collect() });
        Ok(())
    }

    /// Takes a lock by `SET NX PX`, in a script or in a transaction, together with its revision; that is 0 if another holds it.
    fn take(
        &mut self,
        connection: &mut Connection,
        name: &str,
        token: &str,
        lasts: &str,
    ) -> Result<(u64, Span), Failure> {
        const TAKE: &str = "if redis.call('SET', KEYS[1], ARGV[1], 'NX', 'PX', ARGV[2]) then return \
                            redis.call('QUORATE.REVISION', KEYS[1])[1] end return 0";
        let transaction: [&[&str]; 4] =
            [&["MULTI"], &["SET", name, token, "NX", "PX", lasts], &["QUORATE.REVISION", name], &["EXEC"]];
        let in_script = self.rng.bool();
        let (answer, span) = self.timed(|| match in_script {
            true => connection.ask(&["EVAL", TAKE, "1", name, token, lasts]),
            false => connection.ask_all(&transaction),
        });
        self.note_write(&answer, span);
        let revision = match answer? {
            Value::Array(replies) if replies[0] == Value::Null => Some(0),
            Value::Array(replies) => replies[1].as_elements().and_then(|revisions| number(&revisions[0])),
            value => number(&value),
        };
        Ok((revision.unwrap() as u64, span))
    }

    /// Takes a lock, writes under it, and gives it back or lets it end.
    fn lock(&mut self, connection: &mut Connection) -> Result<(), Failure> {
        const WRITE: &str = "if tonumber(redis.call('GET', KEYS[1]) or '0') > tonumber(ARGV[1]) then return 0 end \
                             redis.call('SET', KEYS[1], ARGV[1]) return 1";
        let (lock, token) = (self.rng.usize(..LOCKS), self.fresh().to_string());
        let (name, lasts) = (format!("lock{lock}"), self.rng.u64(50..3000));
        let (revision, span) = self.take(connection, &name, &token, &lasts.to_string())?;
        if revision == 0 {
            return Ok(());
        }
        let mut held = Held { lock, revision, lasts_micros: lasts * 1000, span, released: None };
        if self.rng.u32(..3) == 0 {
            // It tarries: another may have the lock by the time it writes.
            std::thread::sleep(Duration::from_millis(self.rng.u64(..400)));
        }
        let guarded = format!("guarded{lock}");
        let (answer, span) =
            self.timed(|| connection.ask(&["EVAL", WRITE, "1", &guarded, &revision.to_string()]));
        let is_released = self.rng.bool();
        if is_released {
            held.released = Some(self.work.now());
        }
        let mut seen = self.work.seen.lock().unwrap();
        seen.held.push(held);
        if let Ok(answer) = &answer {
            seen.guarded.push((lock, revision, number(answer) == Some(1), span));
        }
        drop(seen);
        answer?;
        if is_released {
            connection.ask(&["DELIFEQ", &name, &token])?;
        }
        Ok(())
    }
}
