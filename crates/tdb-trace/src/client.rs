//! What a client of a replicated service did, as a trace that the same readers read.
//!
//! Owns the lines: key, value, result, and the times between which the operation happened, in the extended form. The service
//! shows no sequence number, so every line has 0, and the readers place operations by their times alone. All clients of
//! one history use one clock. A client that does not know whether a change happened ends its trace with it
//! ([`ClientTrace::lost`]) and begins another one.

use std::io::{self, Write};

use crate::call::{Call, Opened};
use crate::op::Op;
use crate::print;
use crate::stamp::Stamp;

/// When an operation was called and when it was answered, in nanoseconds of one clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Times {
    /// It was called.
    pub start_ns: u64,
    /// It was answered.
    pub end_ns: u64,
}

/// The trace of one client, which does one thing after the other.
pub struct ClientTrace<W> {
    out: W,
    text: Vec<u8>,
    /// When the last operation ended: the next one began later.
    last_ns: u64,
}

impl<W: Write> ClientTrace<W> {
    /// Begins a trace; the client is ready at `now_ns`.
    pub fn begin(out: W, now_ns: u64) -> io::Result<ClientTrace<W>> {
        let mut trace = ClientTrace { out, text: Vec::new(), last_ns: now_ns };
        let opened = Opened { seq: 0, hash_size: 131, tdb_flags: TODAY, open_flags: 2 };
        trace.line(&Call::Open(opened), Times { start_ns: now_ns, end_ns: now_ns })?;
        Ok(trace)
    }

    /// The client asked for a key and got its value, or that there is none.
    pub fn fetched(&mut self, key: &[u8], value: Option<&[u8]>, times: Times) -> io::Result<()> {
        self.line(&Call::KeyRecord(Op::Fetch, Some(key), value), times)
    }

    /// The client stored a value.
    pub fn stored(&mut self, key: &[u8], value: &[u8], times: Times) -> io::Result<()> {
        self.line(&store(key, value), times)
    }

    /// The client deleted a key; `existed` is what the service answered.
    pub fn deleted(&mut self, key: &[u8], existed: bool, times: Times) -> io::Result<()> {
        self.line(&Call::KeyResult(Op::Delete, Some(key), if existed { 0 } else { -1 }), times)
    }

    /// The client does not know whether its store, or its deletion where `value` is none, happened or will: the trace's end.
    pub fn lost(mut self, key: &[u8], value: Option<&[u8]>) -> io::Result<W> {
        self.text.clear();
        let delete = Call::KeyResult(Op::Delete, Some(key), 0);
        print::line(0, &value.map_or(delete, |value| store(key, value)), None, &mut self.text);
        // A line that says what is under way (docs/trace-extended.md).
        self.text[0] = b'?';
        self.text.pop();
        self.text.extend_from_slice(b" #?\n");
        self.out.write_all(&self.text)?;
        self.out.flush()?;
        Ok(self.out)
    }

    /// Ends the trace at `now_ns`.
    pub fn end(mut self, now_ns: u64) -> io::Result<W> {
        self.line(&Call::Bare(Op::Close), Times { start_ns: now_ns, end_ns: now_ns })?;
        self.out.flush()?;
        Ok(self.out)
    }

    fn line(&mut self, call: &Call<'_>, times: Times) -> io::Result<()> {
        // A clock that has not moved between two operations would make them one moment.
        let start_ns = times.start_ns.max(self.last_ns + 1);
        let end_ns = times.end_ns.max(start_ns + 1);
        self.last_ns = end_ns;
        self.text.clear();
        let stamp = Stamp { start_ns, duration_ns: end_ns - start_ns, version: None };
        print::line(0, call, Some(stamp), &mut self.text);
        self.out.write_all(&self.text)
    }
}

/// `TDB_INCOMPATIBLE_HASH`, which says that the dialect is today's.
const TODAY: u32 = 0x800;
/// `TDB_REPLACE`.
const REPLACE: u32 = 1;

fn store<'a>(key: &'a [u8], value: &'a [u8]) -> Call<'a> {
    Call::Store { key: Some(key), value: Some(value), flag: REPLACE, result: 0 }
}
