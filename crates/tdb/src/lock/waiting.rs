//! Waiters, what they hold, and the circles in which they wait for each other.
//!
//! Pure: where the waiters are found is [`super::deadlock`]'s affair.

use crate::lock::ofd::LockKind;

/// A range of bytes, locked or wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Claim {
    pub kind: LockKind,
    pub start: u64,
    /// 0 for all that follows.
    pub len: u64,
}

impl Claim {
    fn end(&self) -> u64 {
        if self.len == 0 { u64::MAX } else { self.start.saturating_add(self.len) }
    }

    pub fn excludes(&self, other: &Claim) -> bool {
        let overlap = self.start < other.end() && other.start < self.end();
        overlap && (self.kind == LockKind::Write || other.kind == LockKind::Write)
    }
}

/// A handle of ours, or a process of libtdb's, with what it holds and waits for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Waiter {
    /// The process that says so by a notice; none for one whose own locks say it.
    pub said_by: Option<i32>,
    /// It looks for circles itself, and gives up if it finds one: a handle of ours whose request is against the order of locks.
    pub gives_way: bool,
    pub held: Vec<Claim>,
    /// Empty for one that does not wait.
    pub wanted: Vec<Claim>,
}

impl Waiter {
    /// Whether this one can go on only when `other` gives something back.
    fn waits_for(&self, other: &Waiter) -> bool {
        self.wanted.iter().any(|wanted| other.held.iter().any(|held| held.excludes(wanted)))
    }
}

/// Those of `others` through whom `own` waits for itself; empty if it is part of no circle.
pub(super) fn circle<'w>(own: &'w Waiter, others: &'w [Waiter]) -> Vec<&'w Waiter> {
    let onward = reached(own, others, |from, to| from.waits_for(to));
    let back = reached(own, others, |from, to| to.waits_for(from));
    let both = onward.iter().zip(back).zip(others);
    both.filter(|((onward, back), _)| **onward && *back).map(|(_, other)| other).collect()
}

/// Which of `others` are reached from `own` over steps from one to the next.
fn reached(own: &Waiter, others: &[Waiter], leads: impl Fn(&Waiter, &Waiter) -> bool) -> Vec<bool> {
    let mut reached = vec![false; others.len()];
    let mut open = vec![own];
    while let Some(from) = open.pop() {
        for (to, seen) in others.iter().zip(&mut reached) {
            if !*seen && !std::ptr::eq(from, to) && leads(from, to) {
                *seen = true;
                open.push(to);
            }
        }
    }
    reached
}

#[cfg(test)]
mod tests {
    use super::*;
    use LockKind::{Read, Write};

    fn byte(kind: LockKind, start: u64) -> Claim {
        Claim { kind, start, len: 1 }
    }

    fn waiter(held: Claim, wanted: Claim) -> Waiter {
        Waiter { said_by: None, gives_way: true, held: vec![held], wanted: vec![wanted] }
    }

    /// T20: a circle of three is found from each of its members; a line, readers of one byte, neighbours and those who only
    /// hold something are part of none.
    #[test]
    fn circles_are_found_and_nothing_else() {
        let first = waiter(byte(Write, 4), byte(Write, 8));
        let second = waiter(byte(Read, 8), byte(Write, 12));
        let reads = waiter(byte(Write, 13), byte(Read, 8));
        let holds = Waiter { wanted: Vec::new(), ..waiter(byte(Write, 12), byte(Write, 0)) };
        let line = [second.clone(), reads.clone(), holds.clone()];
        assert!(circle(&first, &line).is_empty());
        assert!(circle(&second, &[first.clone(), reads.clone(), holds]).is_empty());

        let third = waiter(byte(Write, 12), Claim { kind: Read, start: 2, len: 0 });
        let all = [first, second, third];

        for own in 0..all.len() {
            let mut others = all.to_vec();
            let own = others.remove(own);
            others.push(reads.clone());
            assert_eq!(circle(&own, &others), [&others[0], &others[1]]);
            assert!(circle(&reads, &all).is_empty(), "it waits for a circle and is not part of it");
        }
    }

    /// T20: two that both hold a byte for reading and both want it for writing; its own lock is in nobody's way.
    #[test]
    fn two_upgrades_of_one_lock_are_a_circle() {
        let upgrade = waiter(byte(Read, 168), byte(Write, 168));
        assert!(circle(&upgrade, &[]).is_empty());
        assert_eq!(circle(&upgrade, std::slice::from_ref(&upgrade.clone())).len(), 1);
    }
}
