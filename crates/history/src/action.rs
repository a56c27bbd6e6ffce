//! The algebra of what operations need and leave, in a compact form.
//!
//! Owns the numbers that stand for needs, effects and states, and the only rules by which they combine: two needs of one state
//! ([`both`]), a need met by a state ([`meet`]), and one action after another ([`Action::then`]). Whatever joins
//! operations into one step (a transaction, a group under a lock, a step of the solver) does it here. A contradiction is
//! a need like any other, [`NEVER`], which no state meets; it does not go away again.
//!
//! Values are themselves, 0 absent and 1 empty, whether a caller's ids or a solver's local numbers; the other numbers lie above
//! [`ValueId::LARGEST`].

use crate::register::{Effect, Need, ValueId};

/// State: present, with a value that nobody knows yet.
pub const UNKNOWN_PRESENT: u32 = u32::MAX;
/// Need: any state will do.
pub const ANYTHING: u32 = u32::MAX - 1;
/// Need: any value but absent.
pub const PRESENT: u32 = u32::MAX - 2;
/// Need: absent or empty.
pub const ABSENT_OR_EMPTY: u32 = u32::MAX - 3;
/// Need: cannot be met by any state.
pub const NEVER: u32 = u32::MAX - 4;
/// Effect: the state stays.
pub const KEEP: u32 = u32::MAX - 5;

const ABSENT: u32 = ValueId::ABSENT.0;
const EMPTY: u32 = ValueId::EMPTY.0;

/// What one operation, or several as one step, must find and leave.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Action {
    /// The need: a value or one of the numbers above.
    pub need: u32,
    /// The effect: a value, or [`KEEP`].
    pub effect: u32,
}

impl Action {
    /// Needs nothing and changes nothing.
    pub const NOTHING: Action = Action { need: ANYTHING, effect: KEEP };

    /// The compact form.
    pub const fn new(need: Need, effect: Effect) -> Action {
        let need = match need {
            Need::Anything => ANYTHING,
            Need::Present => PRESENT,
            Need::AbsentOrEmpty => ABSENT_OR_EMPTY,
            Need::Never => NEVER,
            Need::Exactly(value) => value.0,
        };
        let effect = match effect {
            Effect::Keep => KEEP,
            Effect::Put(value) => value.0,
        };
        Action { need, effect }
    }

    /// The need, spelt out.
    #[inline]
    pub const fn need(self) -> Need {
        match self.need {
            ANYTHING => Need::Anything,
            PRESENT => Need::Present,
            ABSENT_OR_EMPTY => Need::AbsentOrEmpty,
            NEVER => Need::Never,
            value => Need::Exactly(ValueId(value)),
        }
    }

    /// The effect, spelt out.
    #[inline]
    pub const fn effect(self) -> Effect {
        if self.effect == KEEP { Effect::Keep } else { Effect::Put(ValueId(self.effect)) }
    }

    /// This action and then `next`, as one.
    #[inline]
    #[must_use]
    pub const fn then(self, next: Action) -> Action {
        if self.effect == KEEP {
            return Action { need: both(self.need, next.need), effect: next.effect };
        }
        let need = if meet(next.need, self.effect).is_some() { self.need } else { NEVER };
        Action { need, effect: if next.effect == KEEP { self.effect } else { next.effect } }
    }

    /// Whether it leaves the state as it was.
    #[inline]
    pub const fn keeps(self) -> bool {
        self.effect == KEEP
    }

    /// Whether it says something about the state that it finds.
    #[inline]
    pub const fn asks(self) -> bool {
        self.need != ANYTHING
    }

    /// Whether no state lets it come true.
    #[inline]
    pub const fn is_contradiction(self) -> bool {
        self.need == NEVER
    }

    /// What it makes of `state`, or none if that is not what it needs.
    #[inline]
    pub const fn on(self, state: u32) -> Option<u32> {
        match meet(self.need, state) {
            Some(found) => Some(if self.effect == KEEP { found } else { self.effect }),
            None => None,
        }
    }
}

/// The state after a need was met in `state`, or none if it is not met. An unknown value becomes what is asked.
#[inline]
pub const fn meet(need: u32, state: u32) -> Option<u32> {
    if need == state || need == ANYTHING {
        return Some(state);
    }
    if state == UNKNOWN_PRESENT {
        return match need {
            PRESENT => Some(state),
            ABSENT_OR_EMPTY => Some(EMPTY),
            NEVER | ABSENT => None,
            asked => Some(asked),
        };
    }
    match need {
        PRESENT if state != ABSENT => Some(state),
        ABSENT_OR_EMPTY if state <= EMPTY => Some(state),
        _ => None,
    }
}

/// The need that asks for both.
pub const fn both(first: u32, second: u32) -> u32 {
    if first == second {
        return first;
    }
    match (first, second) {
        (ANYTHING, other) | (other, ANYTHING) => other,
        (NEVER, _) | (_, NEVER) => NEVER,
        (PRESENT, ABSENT_OR_EMPTY) | (ABSENT_OR_EMPTY, PRESENT) => EMPTY,
        (PRESENT, ABSENT) | (ABSENT, PRESENT) => NEVER,
        (PRESENT, value) | (value, PRESENT) => value,
        (ABSENT_OR_EMPTY, value) | (value, ABSENT_OR_EMPTY) if value <= EMPTY => value,
        _ => NEVER,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Values enough to tell all needs apart: absent, empty, and three others.
    const VALUES: [u32; 5] = [ABSENT, EMPTY, 2, 3, ValueId::LARGEST.0];

    fn needs() -> Vec<u32> {
        [&VALUES[..], &[ANYTHING, PRESENT, ABSENT_OR_EMPTY, NEVER]].concat()
    }

    fn actions() -> Vec<Action> {
        let effects = [&VALUES[..], &[KEEP]].concat();
        let with = |need| effects.iter().map(move |&effect| Action { need, effect });
        needs().into_iter().flat_map(|need| with(need).collect::<Vec<_>>()).collect()
    }

    fn means(need: u32) -> Vec<u32> {
        let action = Action { need, effect: KEEP };
        VALUES.into_iter().filter(|&value| action.need().is_met_by(ValueId(value))).collect()
    }

    /// R31: the compact form means what the spelt-out one means, and comes back from it.
    #[test]
    fn the_compact_form_says_the_same() {
        for action in actions() {
            assert_eq!(Action::new(action.need(), action.effect()), action);
            for value in VALUES {
                let met = action.need().is_met_by(ValueId(value));
                assert_eq!(meet(action.need, value), met.then_some(value), "{action:?} in {value}");
                let after = if let Effect::Put(put) = action.effect() { put.0 } else { value };
                assert_eq!(action.on(value), met.then_some(after), "{action:?} on {value}");
            }
        }
    }

    /// R31: two needs of one state are met by the states that meet each, whatever their order; a contradiction stays one.
    #[test]
    fn a_conjunction_is_met_by_what_meets_both() {
        for first in needs() {
            assert_eq!((both(first, first), both(first, ANYTHING)), (first, first));
            assert_eq!(both(first, NEVER), NEVER);
            for second in needs() {
                let expected: Vec<u32> =
                    means(first).into_iter().filter(|value| means(second).contains(value)).collect();
                assert_eq!(means(both(first, second)), expected, "{first} and {second}");
                assert_eq!(both(first, second), both(second, first));
                for third in needs() {
                    assert_eq!(both(both(first, second), third), both(first, both(second, third)));
                }
            }
        }
    }

    /// R31: one action after another does what both do in turn, and how they are bracketed does not matter.
    #[test]
    fn a_sequence_does_what_its_parts_do_in_turn() {
        for first in actions() {
            assert_eq!(first.then(Action::NOTHING), first);
            assert_eq!(Action::NOTHING.then(first), first);
            for second in actions() {
                let joined = first.then(second);
                for value in VALUES {
                    let in_turn = first.on(value).and_then(|after| second.on(after));
                    assert_eq!(joined.on(value), in_turn, "{first:?} then {second:?} on {value}");
                }
                let impossible = VALUES.into_iter().all(|value| joined.on(value).is_none());
                assert_eq!(joined.is_contradiction(), impossible, "{first:?} then {second:?}");
                for third in actions() {
                    assert_eq!(first.then(second).then(third), first.then(second.then(third)));
                }
            }
        }
    }

    /// R11, R31: a present value that nobody knows becomes what is asked, if a present value can be that.
    #[test]
    fn an_unknown_value_becomes_what_is_asked() {
        for need in needs() {
            let met = means(need).into_iter().find(|&value| value != ABSENT);
            assert_eq!(meet(need, UNKNOWN_PRESENT).is_some(), met.is_some(), "{need}");
            let known = meet(need, UNKNOWN_PRESENT).filter(|&state| state != UNKNOWN_PRESENT);
            assert!(known.is_none_or(|state| means(need).contains(&state)), "{need}");
        }
    }
}
