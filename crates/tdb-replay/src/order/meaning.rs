//! What a line says of its key: what it must find and what it leaves, whenever that was.
//!
//! Owns the translation of a row's result into an action, and of what it counts inside a transaction. It knows no window, lock or order.

use history::action::{ABSENT_OR_EMPTY, ANYTHING, Action, KEEP, NEVER, PRESENT};

use crate::trace::Trace;
use crate::trace::columns::{self, ABSENT, NONE, Row};
use crate::trace::op::Op;

/// What a row needs and leaves, windows aside.
pub(crate) struct Meaning {
    pub(crate) key: u32,
    pub(crate) action: Action,
    uncertain: bool,
}

impl Meaning {
    /// Whether it may not have taken effect, though its line says nothing of that.
    pub(crate) fn is_uncertain(&self) -> bool {
        self.uncertain
    }
}

/// `None`: the row says nothing about a key.
pub(crate) fn meaning(row: Row, in_read_traversal: bool) -> Option<Meaning> {
    let absent_or_not = |present: bool| if present { PRESENT } else { ABSENT };
    // Inside a read traversal every change is refused, whatever it finds.
    let refused = |need: u32| if in_read_traversal { ANYTHING } else { need };
    let (key, need, effect) = match row.op {
        Op::Fetch | Op::Traverse => (row.key, row.a, KEEP),
        Op::Exists | Op::ParseRecord => (row.key, absent_or_not(!row.failed()), KEEP),
        Op::Delete if row.failed() => (row.key, refused(ABSENT), KEEP),
        Op::Delete if row.b == 1 => (row.key, ANYTHING, ABSENT),
        Op::Delete => (row.key, PRESENT, ABSENT),
        Op::Store => match (row.store_flag(), row.failed()) {
            (2, false) => (row.key, ABSENT, row.a),
            (3, false) => (row.key, PRESENT, row.a),
            (_, false) => (row.key, ANYTHING, row.a),
            (2, true) => (row.key, refused(PRESENT), KEEP),
            (3, true) => (row.key, refused(ABSENT), KEEP),
            (_, true) => return None,
        },
        Op::Storev if in_read_traversal => return None,
        Op::Storev => match row.store_flag() {
            2 => (row.key, ABSENT, row.a),
            3 => (row.key, PRESENT, row.a),
            _ => (row.key, ANYTHING, row.a),
        },
        Op::Append if row.a == columns::ABSENT_OR_EMPTY => (row.key, ABSENT_OR_EMPTY, row.b),
        Op::Append => (row.key, row.a, row.b),
        Op::Firstkey | Op::Nextkey if row.a != NONE => (row.a, PRESENT, KEEP),
        _ => return None,
    };
    // A conditional storev's result is not recorded.
    let uncertain = row.op == Op::Storev && matches!(row.store_flag(), 2 | 3);
    Some(Meaning { key, action: Action { need, effect }, uncertain })
}

/// What a conditional change is if it was refused.
pub fn refusal(action: Action) -> Action {
    let need = match action.need {
        ABSENT => PRESENT,
        PRESENT => ABSENT,
        _ => NEVER,
    };
    Action { need, effect: KEEP }
}

/// A row of a transaction whose number contradicts those before it.
pub(super) struct InnerMiscount {
    pub row: usize,
    /// The row that shows the largest number before it,
    pub before: usize,
    /// and that number.
    pub reached: u32,
    /// What its own number should be at least.
    pub least: u32,
}

/// The first row of a transaction, after its first one, whose number goes back or does not count the changes before it.
/// Numbers inside a transaction are its own: they count its changes from the number of its start. Refused changes do not count, and a
/// nested transaction may take its numbers back: nothing is said of one that has these.
pub(super) fn inner_miscount(trace: &Trace, start: usize, end: usize) -> Option<InnerMiscount> {
    let rows = &trace.rows;
    let inner = |op: Op| matches!(op, Op::TransactionStart | Op::TransactionCancel | Op::TraverseReadStart);
    if (start + 1..end).any(|index| inner(rows.op(index))) {
        return None;
    }
    let counts = |meaning: Meaning| !meaning.action.keeps() && !meaning.uncertain;
    let (mut before, mut reached) = (start, rows.seq(start));
    let mut least = reached;
    // The line of what was under way when its process died has no number.
    let shown = end + 1 - usize::from(trace.unfinished && end + 1 == rows.len());
    for index in start + 1..shown {
        let row = rows.row(index);
        least = least.saturating_add(u32::from(meaning(row, false).is_some_and(counts)));
        if row.seq < least {
            return Some(InnerMiscount { row: index, before, reached, least });
        }
        if row.seq > reached {
            (before, reached) = (index, row.seq);
        }
        // Its line is written first.
        least = row.seq.saturating_add(u32::from(row.op == Op::WipeAll));
    }
    None
}
