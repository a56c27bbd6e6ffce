//! One key's operations as a search problem.
//!
//! Owns the vocabulary that callers and the solver share. A key is a register: it is absent or holds one value.
//! Every operation on it becomes a [`Unit`]: what it [`Need`]s to find, what it leaves ([`Effect`]), and the
//! [`Window`] of positions in which it happened.

/// A value of a register, interned by the caller. Equal ids are equal values.
///
/// Ids above [`ValueId::LARGEST`] are the solver's own and may not be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ValueId(pub u32);

impl ValueId {
    /// The key does not exist.
    pub const ABSENT: ValueId = ValueId(0);
    /// The key exists and holds no bytes.
    pub const EMPTY: ValueId = ValueId(1);
    /// The largest id that a caller may use.
    pub const LARGEST: ValueId = ValueId(u32::MAX - 16);
}

/// What a unit must find for its recorded result to be true.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// Any state will do.
    Anything,
    /// The key exists, with whatever value.
    Present,
    /// The key is absent, or present and empty (a first append, in the classic dialect).
    AbsentOrEmpty,
    /// Exactly this value; [`ValueId::ABSENT`] for "does not exist".
    Exactly(ValueId),
    /// What no state gives: results that exclude each other were joined into one step.
    Never,
}

impl Need {
    /// Whether a register holding `value` satisfies this need.
    pub fn is_met_by(self, value: ValueId) -> bool {
        match self {
            Need::Anything => true,
            Need::Present => value != ValueId::ABSENT,
            Need::AbsentOrEmpty => value == ValueId::ABSENT || value == ValueId::EMPTY,
            Need::Exactly(wanted) => value == wanted,
            Need::Never => false,
        }
    }
}

/// What a unit leaves behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// The state stays as it was.
    Keep,
    /// The key holds this value afterwards; [`ValueId::ABSENT`] for a delete.
    Put(ValueId),
}

/// The positions at which a unit may have happened.
///
/// Positions are *cells*: cell `2s` is "at sequence number s", cell `2s + 1` is "between s and s + 1". A unit with
/// `advances` takes effect inside an odd cell. For histories with times instead of sequence numbers use
/// `cell = 2 * time` and `advances = false`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// First cell in which it can have happened.
    pub earliest: u64,
    /// Last cell in which it can have happened.
    pub latest: u64,
}

impl Window {
    /// The window of a unit about which nothing is known.
    pub const ANYWHERE: Window = Window { earliest: 0, latest: u64::MAX };
}

/// One operation (or one atomic group's effect) on one key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unit {
    /// The sequential process it belongs to; units of one process keep their order.
    pub process: u32,
    /// The caller's name for it, given back in orders and contradictions.
    pub id: u32,
    /// What it must find.
    pub need: Need,
    /// What it leaves.
    pub effect: Effect,
    /// Where it can have happened.
    pub window: Window,
    /// Its window is certain: it counts even where windows are set aside ([`crate::solver::Windows::Prefer`]).
    pub firm: bool,
    /// It moved the counter: it takes an odd cell.
    pub advances: bool,
    /// The next unit of the same process belongs to the same atomic step.
    pub joined: bool,
    /// It may never have taken effect (its process died before it was answered).
    ///
    /// The uncertain units of one atomic step took effect all together or not at all.
    pub uncertain: bool,
}

/// The state of a register before its first unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Initial {
    /// The key did not exist.
    Absent,
    /// The key held this value: it was there before the history began.
    Planted(ValueId),
    /// The key existed, and no unit says with which value.
    Present,
}
