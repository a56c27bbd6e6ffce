//! Everything that may happen next.

use std::time::Duration;

use ubik_proto::cell::ServerId;
use ubik_proto::messages::DiskCall;
use ubik_proto::replica::SyncSite;
use ubik_proto::replica::outputs::{AnswerId, ClientId};

use super::Limits;
use super::cell::{Call, Cell, Progress, Request, SERVERS};

/// Longer than a lease, and shorter than a mandate.
const LEASE: Duration = Duration::from_secs(50);
/// The answer to a call that was given up is nobody's.
const NOBODY: u64 = u64::MAX;

impl Cell {
    /// A cell that serves: server 0 was elected by 1, and both hold its label; nothing is under way.
    pub(super) fn serving() -> Cell {
        let nothing = Limits { elections: 0, writes: 0, crashes: 0, losses: 0, states: 0 };
        let mut cell = Cell::new().elect(0, &[1]).expect("nobody has promised anything");
        // Every other step comes before a lease passes.
        while let Some((_, next)) = cell.steps(&nothing).into_iter().next() {
            cell = next;
        }
        assert!(cell.servers[0].replica.role().is_some_and(SyncSite::is_established), "{cell:?}");
        cell.elections = 0;
        cell
    }

    /// Every step that is possible, by name, and what it leads to.
    pub(super) fn steps(&self, limits: &Limits) -> Vec<(String, Cell)> {
        let mut steps = Vec::new();
        for at in 0..SERVERS {
            self.steps_of_server(at, limits, &mut steps);
        }
        for &(from, to) in self.calls.keys() {
            self.steps_of_call(from, to, limits, &mut steps);
        }
        for nth in 0..self.late.len() {
            let mut next = self.clone();
            let (from, to, request) = next.late.remove(nth);
            steps.push((
                format!("late, from {from} at {to}: {request:?}"),
                next.arrive(NOBODY, from, to, request),
            ));
        }
        if self.elections > 0 && !self.waited {
            let mut next = self.clone();
            next.waited = true;
            next.pass(LEASE);
            (0..SERVERS).for_each(|at| next.input(at, |replica, cx| replica.on_time(cx)));
            steps.push(("a lease passes".to_owned(), next));
        }
        if self.elections < limits.elections {
            self.elections_now(&mut steps);
        }
        steps
    }

    fn elections_now(&self, steps: &mut Vec<(String, Cell)>) {
        for candidate in 0..SERVERS {
            for voter in (0..SERVERS).filter(|&voter| voter != candidate) {
                if let Some(next) = self.clone().elect(candidate, &[voter]) {
                    steps.push((format!("{candidate} is elected by {voter}"), next));
                }
            }
        }
    }

    fn steps_of_server(&self, at: usize, limits: &Limits, steps: &mut Vec<(String, Cell)>) {
        let server = &self.servers[at];
        // What votes tell a copy is told at once, but that it is sync site no more: that may come late.
        if let Some(event) = server.events.front() {
            let (event, mut next) = (*event, self.clone());
            next.servers[at].events.pop_front();
            next.input(at, |replica, cx| replica.on_event(cx, event));
            steps.push((format!("{at} hears {event:?}"), next));
        }
        if let Some(work) = &server.work {
            let mut next = self.clone();
            next.servers[at].work = None;
            next.write(at, work.clone());
            next.input(at, |replica, cx| replica.on_disk(cx, Ok(())));
            steps.push((format!("{at}'s disk does {work:?}"), next));
        }
        if self.crashes < limits.crashes {
            self.restarts(at, false, steps);
            if self.owes_an_answer(at) {
                self.restarts(at, true, steps);
            }
        }
        let serves = server.replica.role().is_some_and(SyncSite::is_established);
        if serves && self.writes < limits.writes {
            let mut next = self.clone();
            next.writes += 1;
            let client = ClientId(u64::from(next.writes));
            next.input(at, |replica, cx| replica.begin_write(cx, client));
            steps.push((format!("write {} at {at}", next.writes), next));
        }
    }

    fn restarts(&self, at: usize, repeated: bool, steps: &mut Vec<(String, Cell)>) {
        let calls = if repeated { ", a call comes again" } else { "" };
        let mut lost = self.clone();
        lost.crashes += 1;
        if let Some(work) = &self.servers[at].work {
            let mut kept = lost.clone();
            kept.write(at, work.clone());
            kept.restart(at, repeated);
            steps.push((format!("{at} restarts, its disk had done {work:?}{calls}"), kept));
        }
        lost.restart(at, repeated);
        steps.push((format!("{at} restarts{calls}"), lost));
    }

    fn steps_of_call(&self, from: usize, to: usize, limits: &Limits, steps: &mut Vec<(String, Cell)>) {
        let Some(call) = self.calls.get(&(from, to)).and_then(|calls| calls.front()) else { return };
        let what = format!("from {from} to {to}: {:?}", call.request);
        let mut next = self.clone();
        match &call.progress {
            Progress::Sent => {
                if let Some(call) = next.calls.get_mut(&(from, to)).and_then(|calls| calls.front_mut()) {
                    call.progress = Progress::Taken;
                }
                let next =
                    next.arrive(from as u64, from, to, call.request.clone()).answered_at_once(from, to);
                steps.push((format!("arrives, {what}"), next));
            }
            Progress::Taken => {}
            Progress::Answered(_) => {
                let next = next.answered_at_once(from, to);
                steps.push((format!("is answered, {what}"), next));
            }
        }
        if self.losses < limits.losses {
            let mut next = self.clone();
            next.losses += 1;
            next.pop(from, to);
            let mut later = next.clone();
            next.reply(from, call.token, None);
            steps.push((format!("lost, {what}"), next));
            if matches!(call.progress, Progress::Sent) && call.request.changes_something() {
                later.late.push((from, to, call.request.clone()));
                later.reply(from, call.token, None);
                steps.push((format!("delayed, {what}"), later));
            }
        }
    }

    /// The answer to a call that waits for no disk arrives in the same step: nothing that happens between could tell.
    fn answered_at_once(mut self, from: usize, to: usize) -> Cell {
        let first = self.calls.get(&(from, to)).and_then(|calls| calls.front()).cloned();
        if let Some(Call { token, progress: Progress::Answered(reply), .. }) = first {
            self.pop(from, to);
            self.reply(from, token, Some(reply));
        }
        self
    }

    fn pop(&mut self, from: usize, to: usize) {
        if let Some(calls) = self.calls.get_mut(&(from, to)) {
            calls.pop_front();
            if calls.is_empty() {
                self.calls.remove(&(from, to));
            }
        }
    }

    /// A call is let in, to be answered as call `id`.
    fn arrive(mut self, id: u64, from: usize, to: usize, request: Request) -> Cell {
        let (caller, id) = (ServerId::new(from), AnswerId(id));
        match request {
            Request::Call(call) => self.input(to, |replica, cx| replica.on_call(cx, caller, id, call)),
            Request::Database(version, history) => {
                self.input(to, |replica, cx| replica.on_database(cx, caller, id, version, history));
            }
        }
        self
    }
}

impl Request {
    /// Whether it matters that it arrives late.
    fn changes_something(&self) -> bool {
        let changes = |call: &DiskCall| {
            matches!(call, DiskCall::Commit(_) | DiskCall::SetVersion { .. } | DiskCall::WriteV { .. })
        };
        match self {
            Request::Call(call) => changes(call),
            Request::Database(..) => true,
        }
    }
}
