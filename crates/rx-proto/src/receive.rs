//! The receiving half of a call: packets in any order become the stream, and the stream is acked.
//!
//! Holds opened packets only. At most a window of them is kept, so memory is bounded by the window whatever comes.

use std::collections::{BTreeMap, VecDeque};

/// What became of a data packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Received {
    /// It was the next.
    InOrder,
    /// It was kept for later.
    OutOfOrder,
    /// It had come before.
    Duplicate,
    /// It lies beyond the window or beyond the end, and was dropped.
    BeyondWindow,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct ReceiveHalf {
    /// In order, not yet read.
    ready: VecDeque<Vec<u8>>,
    /// Bytes of the first ready packet that have been read.
    read_of_first: usize,
    /// Taken out of `ready` before the reader came: the beginning of what it will read.
    gathered: VecDeque<u8>,
    /// Out of order.
    early: BTreeMap<u32, Vec<u8>>,
    /// Sequence number that continues `ready`.
    next: u32,
    highest: u32,
    last: Option<u32>,
    window: u32,
    /// `first_packet` of the last ack sent, to see when the peer's window deserves an update.
    pub acked_first: u32,
}

impl ReceiveHalf {
    pub fn new(window: u32) -> Self {
        ReceiveHalf {
            ready: VecDeque::new(),
            read_of_first: 0,
            gathered: VecDeque::new(),
            early: BTreeMap::new(),
            next: 1,
            highest: 0,
            last: None,
            window,
            acked_first: 1,
        }
    }

    /// Takes a packet.
    pub fn insert(&mut self, seq: u32, is_last: bool, payload: Vec<u8>) -> Received {
        if seq < self.next || self.early.contains_key(&seq) {
            return Received::Duplicate;
        }
        let contradicts = match self.last {
            Some(last) => seq > last || (is_last && seq != last),
            None => is_last && seq < self.highest,
        };
        if contradicts || seq >= self.first_unread().saturating_add(self.window) {
            return Received::BeyondWindow;
        }
        if is_last {
            self.last = Some(seq);
        }
        self.highest = self.highest.max(seq);
        if seq > self.next {
            self.early.insert(seq, payload);
            return Received::OutOfOrder;
        }
        self.append(payload);
        while let Some(payload) = self.early.remove(&self.next) {
            self.append(payload);
        }
        Received::InOrder
    }

    fn append(&mut self, payload: Vec<u8>) {
        self.ready.push_back(payload);
        self.next += 1;
    }

    /// Copies bytes into `out`, as many as are there and fit.
    pub fn read(&mut self, out: &mut [u8]) -> usize {
        let mut copied = self.read_gathered(out);
        while let Some(first) = self.ready.front() {
            let rest = &first[self.read_of_first..];
            let count = rest.len().min(out.len() - copied);
            out[copied..copied + count].copy_from_slice(&rest[..count]);
            copied += count;
            self.read_of_first += count;
            if self.read_of_first < first.len() {
                break;
            }
            self.ready.pop_front();
            self.read_of_first = 0;
        }
        copied
    }

    fn read_gathered(&mut self, out: &mut [u8]) -> usize {
        let count = self.gathered.len().min(out.len());
        for (to, from) in out.iter_mut().zip(self.gathered.drain(..count)) {
            *to = from;
        }
        count
    }

    /// Takes what is in order out of the window, for a reader that comes when everything is here; returns how many packets.
    pub fn gather(&mut self) -> usize {
        let count = self.ready.len();
        for packet in self.ready.drain(..) {
            self.gathered.extend(&packet[self.read_of_first..]);
            self.read_of_first = 0;
        }
        count
    }

    /// How many bytes were gathered.
    pub fn gathered(&self) -> usize {
        self.gathered.len()
    }

    /// The bytes of the first packet, before anything was read.
    pub fn first_packet(&self) -> &[u8] {
        self.ready.front().map_or(&[], |packet| packet)
    }

    /// Changes how many packets beyond the first unread one are taken.
    pub fn set_window(&mut self, window: u32) {
        self.window = window;
    }

    /// Throws away what has arrived and was not read.
    pub fn discard(&mut self) {
        self.ready.clear();
        self.gathered = VecDeque::new();
        self.read_of_first = 0;
    }

    /// The sequence number of the first packet that the reader has not finished: everything below is hard-acked.
    pub fn first_unread(&self) -> u32 {
        self.next - self.ready.len() as u32
    }

    /// Whether there are bytes to read, or the end is known.
    pub fn is_readable(&self) -> bool {
        self.has_unread() || self.is_at_end()
    }

    /// Whether bytes wait to be read.
    pub fn has_unread(&self) -> bool {
        !self.ready.is_empty() || !self.gathered.is_empty()
    }

    /// Whether the last packet and all before it have arrived.
    pub fn is_complete(&self) -> bool {
        self.last.is_some_and(|last| self.next > last)
    }

    /// Whether everything has been read.
    pub fn is_at_end(&self) -> bool {
        self.is_complete() && !self.has_unread()
    }

    /// Whether packets are missing before some that are here.
    pub fn has_gap(&self) -> bool {
        !self.early.is_empty()
    }

    /// The highest sequence number seen.
    pub fn highest(&self) -> u32 {
        self.highest
    }

    /// How many packets beyond the first unread one are taken.
    pub fn window(&self) -> u32 {
        self.window
    }

    /// One byte a packet from the first unread to the highest: 1 here, 0 missing.
    pub fn acks(&self) -> Vec<u8> {
        let first = self.first_unread();
        let count = (self.highest + 1).saturating_sub(first).min(255);
        (first..first + count).map(|seq| u8::from(seq < self.next || self.early.contains_key(&seq))).collect()
    }
}
