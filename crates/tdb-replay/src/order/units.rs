//! Rows to units: what each must find of a key, what it leaves, and when it can have happened.
//!
//! Owns the translation of trace lines into the solver's terms and the exceptions to the rule "between the previous
//! line's sequence number and this one's" (docs/ordering.md lists them). Units stand in the order of traces and rows.

use hashbrown::HashMap;
use history::action::{Action, KEEP};
use history::register::{Unit, Window};

use super::lowest::{Lowest, died_in_a_commit};
use super::meaning::{InnerMiscount, Meaning, inner_miscount, meaning};
use super::touched::{Touched, WIPED, Worlds};
use crate::trace::columns::{NONE, Row};
use crate::trace::dialect::Dialect;
use crate::trace::op::Op;
use crate::trace::structure::{Group, GroupKind};
use crate::trace::{History, Trace};
use crate::verdict::{Contradiction, Kind, Line};

/// One unit, small: ten million of them must fit.
#[derive(Clone, Copy, Debug)]
pub struct UnitRow {
    /// The key.
    pub key: u32,
    /// The row of its trace; a transaction's units stand at its start.
    pub row: u32,
    /// What it needs and leaves.
    action: Action,
    /// Sequence numbers between which it happened.
    pub(super) low: u32,
    pub(super) high: u32,
    /// What is done in one step has the same number here: the row that took the lock for writing under which it ran, or the
    /// first row of a run under a lock for reading. [`NONE`] if it is a step by itself.
    lock: u32,
    /// The trace.
    pub trace: u16,
    /// Of [`ADVANCES`], [`UNCERTAIN`] and [`FIRM`].
    flags: u8,
}

/// It certainly moved the sequence number.
const ADVANCES: u8 = 1;
/// It may not have taken effect.
const UNCERTAIN: u8 = 2;
/// Its window is that of exact numbers.
const FIRM: u8 = 4;

fn flags(advances: bool, uncertain: bool, firm: bool) -> u8 {
    let bit = |bit: u8, is: bool| if is { bit } else { 0 };
    bit(ADVANCES, advances) | bit(UNCERTAIN, uncertain) | bit(FIRM, firm)
}

impl UnitRow {
    /// Whether it leaves the key as it was.
    pub fn keeps(&self) -> bool {
        self.action.keeps()
    }

    /// Whether it certainly moved the sequence number.
    pub fn advances(&self) -> bool {
        self.flags & ADVANCES != 0
    }

    /// What it needs and leaves.
    pub fn action(&self) -> Action {
        self.action
    }

    /// It went this way.
    pub(super) fn set_action(&mut self, action: Action) {
        self.action = action;
    }

    /// The row that took the lock under which it ran.
    pub fn lock(&self) -> Option<u32> {
        (self.lock != NONE).then_some(self.lock)
    }

    /// Whether it may not have taken effect.
    pub fn is_uncertain(&self) -> bool {
        self.flags & UNCERTAIN != 0
    }

    /// Whether its window comes from exact numbers, which are never set aside.
    pub fn is_firm(&self) -> bool {
        self.flags & FIRM != 0
    }

    /// Its window is one of times: it takes no number, and is never set aside.
    pub(super) fn make_timed(&mut self) {
        self.flags = self.flags & !ADVANCES | FIRM;
    }

    pub(super) fn make_firm(&mut self) {
        self.flags |= FIRM;
    }

    /// Whether it says something about the state that it found.
    pub fn asks(&self) -> bool {
        self.action.asks()
    }

    /// What it makes of `value`, or `None` if that is not what it needs.
    pub fn applied_to(&self, value: u32) -> Option<u32> {
        self.action.on(value)
    }

    /// The solver's form; `joined` when the key's next unit ran under the same lock.
    pub fn unit(&self, id: u32, joined: bool) -> Unit {
        let (earliest, latest) = if self.advances() {
            (2 * u64::from(self.low) + 1, (2 * u64::from(self.high)).saturating_sub(1))
        } else {
            (2 * u64::from(self.low), 2 * u64::from(self.high))
        };
        Unit {
            process: u32::from(self.trace),
            id,
            need: self.action.need(),
            effect: self.action.effect(),
            window: Window { earliest, latest },
            firm: self.is_firm(),
            advances: self.advances(),
            joined,
            uncertain: self.is_uncertain(),
        }
    }

    /// Whether `next`, the unit after this one on the same key, belongs to the same atomic step.
    pub fn joins(&self, next: &UnitRow) -> bool {
        self.lock != NONE && self.lock == next.lock && self.trace == next.trace
    }
}

/// All units of a history.
#[derive(Default)]
pub struct Units {
    /// By trace, then row.
    pub rows: Vec<UnitRow>,
    /// Where each trace's units start, and one entry more.
    pub starts: Vec<u32>,
    /// Lines whose numbers contradict those before them in their trace, or their own results.
    pub miscounts: Vec<Contradiction>,
    /// Results inside transactions that exclude each other, whatever happened outside: at most one for each transaction.
    pub violations: Vec<Contradiction>,
    /// Transactions that were committed.
    pub committed: u32,
    /// Transactions that were cancelled.
    pub cancelled: u32,
}

impl Units {
    /// Builds the units of `history`. `dead[t]` is the row from which trace `t` says nothing (its length, normally).
    /// `chains` are the keys' chains in the recorded database.
    pub fn build(history: &History, chains: &[u32], dead: &[u32]) -> Units {
        let mut units = Units::default();
        let taken_back = died_in_a_commit(history);
        for (number, trace) in history.traces.iter().enumerate() {
            units.starts.push(units.rows.len() as u32);
            let end = dead[number] as usize;
            let builder = Builder {
                units: &mut units,
                trace,
                number: number as u16,
                chains,
                end,
                last: trace.opened.seq,
                runs: HashMap::new(),
                last_row: None,
                lowest: Lowest::of(history, trace),
                exact: trace.rows.has_versions() && !trace.rows.is_timed(),
                taken_back,
                today: history.dialect == Dialect::Today,
            };
            builder.run();
        }
        units.starts.push(units.rows.len() as u32);
        units
    }
}

struct Builder<'a> {
    units: &'a mut Units,
    trace: &'a Trace,
    number: u16,
    chains: &'a [u32],
    end: usize,
    /// The largest sequence number that is known to have been reached.
    last: u32,
    /// By lock for reading and key: the first row of the run under way, and the cells that it can be in.
    runs: HashMap<(u32, u32), (u32, u64, u64)>,
    /// The row that shows it; none if that is the line that opened the database.
    last_row: Option<u32>,
    lowest: Lowest,
    /// The numbers of the trace's lines are exact.
    exact: bool,
    /// Today's tracer wrote the trace: numbers count inside transactions.
    today: bool,
    /// A process died in a commit: whoever asks for the number may have been told one that was taken back.
    taken_back: bool,
}

impl Builder<'_> {
    fn run(mut self) {
        let groups = &self.trace.groups;
        let mut next_group = 0;
        let mut active: Vec<Group> = Vec::new();
        let mut row = 0;
        while row < self.end {
            active.retain(|group| group.end as usize >= row);
            let mut transaction = None;
            while let Some(group) = groups.get(next_group).filter(|group| group.start as usize <= row) {
                next_group += 1;
                match group.is_transaction() {
                    true => transaction = Some(*group),
                    false => active.push(*group),
                }
            }
            if let Some(group) = transaction {
                let end = (group.end as usize).min(self.end - 1);
                self.transaction(row, end, group);
                row = end + 1;
                // Groups inside it are atomic with it.
                while groups.get(next_group).is_some_and(|group| (group.start as usize) < row) {
                    next_group += 1;
                }
                continue;
            }
            self.row(row, &active);
            row += 1;
        }
    }

    fn row(&mut self, index: usize, active: &[Group]) {
        let row = self.trace.rows.row(index);
        let refuses = self.refuses_changes(row, active);
        self.look(index, row, refuses);
        if row.op == Op::WipeAll {
            self.wipe(index, row.seq, None);
            self.reach(index, row.seq.saturating_add(1));
            return;
        }
        if let Some(meaning) = meaning(row, refuses) {
            let (lock, exclusive) = self.lock_over(index, meaning.key, active);
            let unfinished = self.trace.unfinished && index + 1 == self.trace.rows.len();
            let high = match unfinished {
                // Its process kept the lock until it died: for this key it is as if it happened at once.
                true if lock != NONE => self.last,
                true => self.trace.last_number,
                false => row.seq.max(self.last),
            };
            let mut unit = UnitRow {
                key: meaning.key,
                row: index as u32,
                action: meaning.action,
                low: self.last,
                high,
                lock,
                trace: self.number,
                // Its process may have died between the change and the number.
                flags: flags(
                    !meaning.action.keeps() && !unfinished,
                    meaning.is_uncertain() || unfinished,
                    false,
                ),
            };
            if lock != NONE && !exclusive {
                unit.lock = self.run_of(&unit);
            }
            self.units.rows.push(unit);
        }
        self.reach(index, row.seq);
    }

    /// Whether a change that failed says nothing about its key: inside a traversal for reading, in a process that only
    /// reads, and, for a delete, while its process may have locked all records for reading.
    fn refuses_changes(&self, row: Row, active: &[Group]) -> bool {
        let reading = |group: &Group| match group.kind {
            GroupKind::Traverse { write: false } => true,
            GroupKind::AllRecord { write: false } => row.op == Op::Delete,
            _ => false,
        };
        self.trace.opened.open_flags & 3 == 0 || active.iter().any(reading)
    }

    /// Notes that `number` was reached by row `index`.
    fn reach(&mut self, index: usize, number: u32) {
        let number = self.lowest.of_row(index, number);
        if number > self.last {
            (self.last, self.last_row) = (number, Some(index as u32));
        }
    }

    /// Looks at the number of a row, outside of transactions, before it is used: no number goes back, a change counts,
    /// and whoever asks for the number is told it.
    fn look(&mut self, index: usize, row: Row, refuses: bool) {
        if self.trace.unfinished && index + 1 == self.trace.rows.len() {
            return;
        }
        if row.seq < self.last {
            let (shown, reached) = (self.trace.written(row.seq), self.trace.written(self.last));
            self.miscount(index, format!("shows {shown} after {reached} was reached"));
            return;
        }
        let most = if self.taken_back { u32::MAX } else { row.seq };
        if row.op == Op::GetSeqnum && row.b == 1 && !(self.last..=most).contains(&row.a) {
            let [answer, low, high] = [row.a, self.last, row.seq].map(|number| self.trace.written(number));
            let answer = answer.cast_signed();
            self.miscount(index, format!("answers {answer} while the number was {low} to {high}"));
        }
        let counts = |meaning: Meaning| !meaning.action.keeps() && !meaning.is_uncertain();
        if row.seq == self.last && row.op != Op::WipeAll && meaning(row, refuses).is_some_and(counts) {
            let number = self.trace.written(row.seq);
            self.miscount(index, format!("changes the database, and the number is still {number}"));
        }
    }

    /// Looks at the numbers inside a transaction.
    fn look_inside(&mut self, start: usize, end: usize) {
        let Some(InnerMiscount { row: index, before, reached, least }) =
            inner_miscount(self.trace, start, end)
        else {
            return;
        };
        let [shown, reached, least] =
            [self.trace.rows.seq(index), reached, least].map(|number| self.trace.written(number));
        let why = match shown < reached {
            true => format!("shows {shown} after {reached} was reached"),
            false => format!("shows {shown}, and by the changes inside it is {least} at least"),
        };
        let line = |row: usize, why: String| Line { trace: self.number, row: row as u32, why };
        let lines = vec![line(before, format!("shows that {reached} was reached")), line(index, why)];
        let kind = Kind::Numbers;
        self.units.miscounts.push(Contradiction { kind, key: None, gave_up: None, lines, minimal: true });
    }

    /// Row `index` and the one before it that shows what it contradicts.
    #[cold]
    fn miscount(&mut self, index: usize, why: String) {
        let line = |row: u32, why: String| Line { trace: self.number, row, why };
        let reached = self.trace.written(self.last);
        let before = self.last_row.map(|row| line(row, format!("shows that {reached} was reached")));
        let exact = |row: u32| self.exact && self.trace.rows.version(row as usize).is_some();
        let both = exact(index as u32) && self.last_row.is_some_and(exact);
        let kind = if both { Kind::ExactNumbers } else { Kind::Numbers };
        let lines: Vec<Line> = before.into_iter().chain([line(index as u32, why)]).collect();
        self.units.miscounts.push(Contradiction { kind, key: None, gave_up: None, lines, minimal: true });
    }

    /// The row of the outermost lock that covers `key` at row `index`, and makes one step of what is done under it; and
    /// whether it keeps out readers. A lock for reading makes no step where a version says when the row happened.
    fn lock_over(&self, index: usize, key: u32, active: &[Group]) -> (u32, bool) {
        let versioned = self.trace.rows.version(index).is_some();
        let covers = |group: &&Group| match group.kind {
            GroupKind::AllRecord { write } => write || !versioned,
            GroupKind::Chain { key: locked, write } => {
                (write || !versioned) && self.chains[locked as usize] == self.chains[key as usize]
            }
            _ => false,
        };
        let found = active.iter().filter(|group| group.taken).find(covers);
        let exclusive = |group: &Group| {
            matches!(group.kind, GroupKind::AllRecord { write: true } | GroupKind::Chain { write: true, .. })
        };
        found.map_or((NONE, false), |group| (group.start, exclusive(group)))
    }

    /// The run that a unit under a lock for reading belongs to. Others read meanwhile, and may have done so between two numbers:
    /// only what can have happened at one number is one step.
    fn run_of(&mut self, unit: &UnitRow) -> u32 {
        let Window { earliest, latest } = unit.unit(0, false).window;
        let run = self.runs.entry((unit.lock, unit.key)).or_insert((unit.row, earliest, latest));
        let both = (run.1.max(earliest), run.2.min(latest));
        *run = if both.0 <= both.1 { (run.0, both.0, both.1) } else { (unit.row, earliest, latest) };
        run.0
    }

    /// A wipe leaves nothing, of any key: exactly between `seq` and the number after it, since it holds every lock.
    fn wipe(&mut self, index: usize, seq: u32, but: Option<&HashMap<u32, Worlds>>) {
        for key in 0..self.chains.len() as u32 {
            if but.is_some_and(|touched| touched.contains_key(&key)) {
                continue;
            }
            self.units.rows.push(UnitRow {
                key,
                row: index as u32,
                action: WIPED,
                low: seq,
                high: seq.saturating_add(1),
                lock: NONE,
                trace: self.number,
                flags: flags(true, false, false),
            });
        }
    }

    /// A transaction is one unit for each key that it touched, all at one place: nobody else changes anything between
    /// its start and its end, and its start line is written while it holds the lock.
    fn transaction(&mut self, start: usize, end: usize, group: Group) {
        // Its end may be left out: then it was cancelled.
        let committed =
            group.kind == GroupKind::Transaction { committed: true } && (group.end as usize) < self.end;
        self.look(start, self.trace.rows.row(start), false);
        if self.today {
            self.look_inside(start, end);
        }
        let touched = self.touched(start, end);
        let seq = self.trace.rows.seq(start);
        let changes =
            committed && (touched.wiped || touched.states.values().any(|worlds| !worlds.first().keeps()));
        if committed {
            self.units.committed += 1;
        } else {
            self.units.cancelled += 1;
        }
        for &key in &touched.order {
            let worlds = &touched.states[&key];
            let mut action = worlds.first();
            if !committed {
                action.effect = KEEP;
            }
            if action == Action::NOTHING {
                continue;
            }
            self.units.rows.push(UnitRow {
                key,
                row: start as u32,
                action,
                low: seq,
                high: seq.saturating_add(u32::from(changes)),
                lock: NONE,
                trace: self.number,
                flags: flags(changes, worlds.is_uncertain(), false),
            });
        }
        if touched.wiped && committed {
            self.wipe(start, seq, Some(&touched.states));
        }
        // The tracer of 2009 shows the number from before the transaction until its end; today's counts inside.
        self.last = if changes { self.trace.rows.seq(end).max(seq) } else { seq };
        self.last_row = Some(if changes { end } else { start } as u32);
    }

    fn touched(&mut self, start: usize, end: usize) -> Touched {
        let mut touched = Touched::default();
        let (mut reading, mut possible) = (0u32, true);
        for index in start + 1..=end {
            let row = self.trace.rows.row(index);
            match row.op {
                Op::WipeAll => {
                    touched.wiped = true;
                    touched.states.values_mut().for_each(|worlds| worlds.act(WIPED));
                }
                Op::TraverseReadStart => reading += 1,
                Op::TraverseEnd => reading = reading.saturating_sub(1),
                _ => {}
            }
            let Some(meaning) = meaning(row, reading > 0) else {
                continue;
            };
            if !touched.add(&meaning) && possible {
                possible = false;
                let contradiction = self.exclusion(start, index, meaning.key);
                self.units.violations.push(contradiction);
            }
        }
        touched
    }

    /// The rows of a transaction that started at row `start` that exclude what row `last` says of a key.
    fn exclusion(&self, start: usize, last: usize, key: u32) -> Contradiction {
        let rows = &self.trace.rows;
        let in_read_traversal = |index: usize| {
            let op = |index: &usize| rows.op(*index);
            let starts = (start..index).filter(|index| op(index) == Op::TraverseReadStart).count();
            starts > (start..index).filter(|index| op(index) == Op::TraverseEnd).count()
        };
        let says = |index: usize| match rows.op(index) {
            Op::WipeAll => Some(WIPED),
            _ => meaning(rows.row(index), in_read_traversal(index))
                .filter(|meaning| meaning.key == key)
                .map(|meaning| meaning.action),
        };
        let excluded = says(last).unwrap_or(Action::NOTHING);
        // Nearest first: a write hides what was before it.
        let mut others = Vec::new();
        for index in (start + 1..last).rev() {
            let Some(action) = says(index) else { continue };
            if action.then(excluded).is_contradiction() {
                others = vec![index];
                break;
            }
            others.push(index);
            if !action.keeps() {
                break;
            }
        }
        let pair = others.len() == 1;
        let lines = others.into_iter().rev().chain([last]).map(|index| (self.number, index as u32));
        Contradiction { key: Some(key), minimal: pair, ..Contradiction::of_rows(Kind::Transaction, lines) }
    }
}
