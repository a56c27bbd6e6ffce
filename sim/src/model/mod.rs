//! An exhaustive search of a small cell: three servers, a few epochs, writes, crashes, lost calls; every order of what may happen.
//!
//! It begins with a cell that serves: server 0 is sync site, 1 in step, 2 has not been heard of yet. It drives the shipped [`Election`] and [`Replica`] without a clock: time passes only when a server is elected, by more than
//! any promise, mandate or lease lasts, and once in an epoch by a lease. So it says nothing about who may read when; the simulator does. It
//! finds every order of calls, answers, events, disks and crashes within its limits, which the simulator does by chance.
//!
//! * `cell`: the state, and what each server's outputs do to it;
//! * `elect`: an election as one step; `steps`: everything that may happen next;
//! * `fingerprint`: when two states are one.
//!
//! [`Election`]: ubik_proto::election::Election
//! [`Replica`]: ubik_proto::replica::Replica

mod cell;
mod elect;
mod fingerprint;
mod steps;

use std::collections::{HashSet, VecDeque};

use self::cell::Cell;
use self::fingerprint::fingerprint;

/// How much may happen.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Servers that are elected after the first, one after the other.
    pub elections: u8,
    /// Transactions of clients.
    pub writes: u8,
    /// Servers that lose power and start again.
    pub crashes: u8,
    /// Calls that are not answered; what they ask may be done all the same, much later.
    pub losses: u8,
    /// No more states than this are looked at.
    pub states: usize,
}

/// What was found.
#[derive(Debug)]
pub struct Report {
    /// How many states were looked at.
    pub states: usize,
    /// How many steps led to them, to one of them again too.
    pub steps: usize,
    /// Whether those are all.
    pub complete: bool,
    /// Writes that were committed on some way: a search in which there are none has shown nothing.
    pub committed: usize,
    /// The first violation, with the steps that lead to it.
    pub violation: Option<String>,
}

/// Looks at every state within the limits, nearest first, up to the first violation.
pub fn explore(limits: Limits) -> Report {
    let mut seen = HashSet::new();
    let mut came_from: Vec<(usize, String)> = vec![(0, "the beginning".to_owned())];
    let mut waiting = VecDeque::from([(0, Cell::serving())]);
    let mut report = Report { states: 0, steps: 0, complete: true, committed: 0, violation: None };
    while let Some((index, cell)) = waiting.pop_front() {
        report.states += 1;
        report.committed = report.committed.max(cell.committed());
        if report.states >= limits.states {
            report.complete = false;
            return report;
        }
        for (name, next) in cell.steps(&limits) {
            report.steps += 1;
            if let Some(what) = &next.violation {
                report.violation = Some(format!("{what}; {name}{}", way(&came_from, index)));
                return report;
            }
            if seen.insert(fingerprint(&next)) {
                came_from.push((index, name));
                waiting.push_back((came_from.len() - 1, next));
            }
        }
    }
    report
}

/// The steps to a state, the last first.
fn way(came_from: &[(usize, String)], mut index: usize) -> String {
    let mut way = String::new();
    while index > 0 {
        let (before, name) = &came_from[index];
        way = format!("{way}\n  after: {name}");
        index = *before;
    }
    way
}
