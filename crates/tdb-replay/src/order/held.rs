//! The locks that the traces hold at a moment of the merge.
//!
//! Owns each trace's holds, one for each of its groups that has a lock, and the table of who excludes whom. A hold is
//! taken, may be upgraded, and is released once, or given up and then released without effect. Any other transition is
//! a fault of the merge, and an error here: a lock that was counted wrongly would order a history by locks that nobody
//! held, or replay it without some that somebody did.

use super::locks::{Access, Momentary, Scope, Table};

/// One group's lock.
#[derive(Clone, Copy, Debug)]
struct Hold {
    group: u32,
    /// None once it was given up.
    scope: Option<Scope>,
}

/// A transition that no trace can make.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Illegal {
    /// The group has a lock already.
    #[error("group {group} of trace {trace} takes its lock twice")]
    TakenTwice {
        /// The trace.
        trace: usize,
        /// The group.
        group: u32,
    },
    /// Another trace holds what excludes it.
    #[error("trace {trace} takes {scope:?}, which another one excludes")]
    NotFree {
        /// The trace.
        trace: usize,
        /// The lock.
        scope: Scope,
    },
    /// The trace has no lock of this chain that is for reading.
    #[error("trace {trace} makes a lock of chain {chain} one for writing, and has none for reading")]
    NothingToUpgrade {
        /// The trace.
        trace: usize,
        /// The chain.
        chain: u32,
    },
    /// The group has no lock.
    #[error("group {group} of trace {trace} releases a lock that it does not hold")]
    NotHeld {
        /// The trace.
        trace: usize,
        /// The group.
        group: u32,
    },
}

/// What every trace holds.
pub struct Held {
    table: Table,
    holds: Vec<Vec<Hold>>,
}

impl Held {
    /// Nobody holds anything.
    pub fn new(traces: usize) -> Held {
        Held { table: Table::new(traces), holds: vec![Vec::new(); traces] }
    }

    /// What `trace` gets that asks for `scope`: a chain that it holds for writing is not held for less.
    pub fn counted(&self, trace: usize, scope: Scope) -> Scope {
        match scope {
            Scope::Chain { chain, .. } if self.access(trace, chain) == Some(Access::Write) => {
                Scope::Chain { chain, access: Access::Write }
            }
            other => other,
        }
    }

    /// Whether `trace` may take `scope` now.
    pub fn scope_free(&self, trace: usize, scope: Scope) -> bool {
        self.table.scope_free(trace, self.counted(trace, scope))
    }

    /// Whether `trace` may do this now.
    pub fn moment_free(&self, trace: usize, what: Momentary) -> bool {
        self.table.moment_free(trace, what)
    }

    /// The chains that `trace` holds for reading and has to hold for writing once it does `what`, each once.
    pub fn upgrades(&self, trace: usize, what: Momentary, mut upgrade: impl FnMut(u32)) {
        let holds = &self.holds[trace];
        if holds.is_empty() {
            return;
        }
        let wanted = match what {
            Momentary::Chain { chain, write: true } => Some(chain),
            // It passes every chain that has records.
            Momentary::Step { write: true } => None,
            _ => return,
        };
        let of = |hold: &Hold| match hold.scope {
            Some(Scope::Chain { chain, access: Access::Read | Access::Update }) => Some(chain),
            _ => None,
        };
        for (place, chain) in holds.iter().enumerate().filter_map(|(place, hold)| Some((place, of(hold)?))) {
            let first = !holds[..place].iter().any(|hold| of(hold) == Some(chain));
            if first && wanted.is_none_or(|wanted| wanted == chain) {
                upgrade(chain);
            }
        }
    }

    /// `trace` takes the lock of its group; a chain that it holds for reading is upgraded if that is for writing.
    pub fn take(&mut self, trace: usize, group: u32, scope: Scope) -> Result<(), Illegal> {
        if self.place(trace, group).is_ok() {
            return Err(Illegal::TakenTwice { trace, group });
        }
        let scope = self.counted(trace, scope);
        if !self.table.scope_free(trace, scope) {
            return Err(Illegal::NotFree { trace, scope });
        }
        if let Scope::Chain { chain, access: Access::Write } = scope
            && self.access(trace, chain).is_some_and(|access| access < Access::Write)
        {
            self.upgrade(trace, chain)?;
        }
        self.table.add(trace, scope);
        self.holds[trace].push(Hold { group, scope: Some(scope) });
        Ok(())
    }

    /// All that `trace` holds of `chain` is for writing from now on.
    pub fn upgrade(&mut self, trace: usize, chain: u32) -> Result<(), Illegal> {
        let to = Scope::Chain { chain, access: Access::Write };
        if !self.table.scope_free(trace, to) {
            return Err(Illegal::NotFree { trace, scope: to });
        }
        let mut any = false;
        for hold in &mut self.holds[trace] {
            if let Some(from @ Scope::Chain { chain: held, access: Access::Read | Access::Update }) =
                hold.scope
                && held == chain
            {
                self.table.remove(trace, from);
                self.table.add(trace, to);
                hold.scope = Some(to);
                any = true;
            }
        }
        if any { Ok(()) } else { Err(Illegal::NothingToUpgrade { trace, chain }) }
    }

    /// The lock of the group is released: what it was in the end, or nothing if it was given up.
    pub fn release(&mut self, trace: usize, group: u32) -> Result<Option<Scope>, Illegal> {
        let place = self.place(trace, group)?;
        let Hold { scope, .. } = self.holds[trace].swap_remove(place);
        scope.into_iter().for_each(|scope| self.table.remove(trace, scope));
        Ok(scope)
    }

    /// Gives up every lock that `trace` holds; `given_up` hears of the groups.
    pub fn give_up(&mut self, trace: usize, mut given_up: impl FnMut(u32)) {
        for hold in &mut self.holds[trace] {
            if let Some(scope) = hold.scope.take() {
                self.table.remove(trace, scope);
                given_up(hold.group);
            }
        }
    }

    fn place(&self, trace: usize, group: u32) -> Result<usize, Illegal> {
        let place = self.holds[trace].iter().position(|hold| hold.group == group);
        place.ok_or(Illegal::NotHeld { trace, group })
    }

    /// How `trace` holds this chain, if it does.
    fn access(&self, trace: usize, chain: u32) -> Option<Access> {
        let of_chain = |hold: &Hold| match hold.scope {
            Some(Scope::Chain { chain: held, access }) if held == chain => Some(access),
            _ => None,
        };
        self.holds[trace].iter().filter_map(of_chain).max()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const READ: Scope = Scope::Chain { chain: 7, access: Access::Read };
    const WRITE: Scope = Scope::Chain { chain: 7, access: Access::Write };

    fn free(held: &Held, trace: usize) -> [bool; 2] {
        [READ, WRITE].map(|scope| held.scope_free(trace, scope))
    }

    /// R16, R35: a chain that is upgraded stays locked for writing until the last lock of it is released.
    #[test]
    fn an_upgraded_chain_is_held_for_writing_until_all_is_released() {
        let mut held = Held::new(2);
        held.take(0, 1, READ).expect("it is free");
        assert_eq!(free(&held, 1), [true, false]);
        held.take(0, 2, WRITE).expect("nobody else has it");
        held.take(0, 3, READ).expect("it is held for writing");
        assert_eq!(held.release(0, 1), Ok(Some(WRITE)));
        assert_eq!(held.release(0, 2), Ok(Some(WRITE)));
        assert_eq!(free(&held, 1), [false, false]);
        assert_eq!(held.release(0, 3), Ok(Some(WRITE)));
        assert_eq!(free(&held, 1), [true, true]);
    }

    /// R35: who will have to upgrade keeps out others who will, from the start, but no readers.
    #[test]
    fn two_that_will_upgrade_exclude_each_other() {
        let update = Scope::Chain { chain: 7, access: Access::Update };
        let mut held = Held::new(3);
        held.take(0, 0, update).expect("it is free");
        assert!(!held.scope_free(1, update));
        held.take(1, 0, READ).expect("readers may come");
        assert_eq!(held.upgrade(0, 7), Err(Illegal::NotFree { trace: 0, scope: WRITE }));
        held.release(1, 0).expect("it is held");
        held.upgrade(0, 7).expect("the reader is gone");
    }

    /// R16: what no trace can do is an error.
    #[test]
    fn illegal_transitions_are_refused() {
        let mut held = Held::new(2);
        held.take(0, 1, WRITE).expect("it is free");
        assert_eq!(held.take(0, 1, WRITE), Err(Illegal::TakenTwice { trace: 0, group: 1 }));
        assert_eq!(held.take(1, 1, READ), Err(Illegal::NotFree { trace: 1, scope: READ }));
        assert_eq!(held.upgrade(0, 7), Err(Illegal::NothingToUpgrade { trace: 0, chain: 7 }));
        assert_eq!(held.release(0, 2), Err(Illegal::NotHeld { trace: 0, group: 2 }));
        held.give_up(0, |group| assert_eq!(group, 1));
        assert_eq!(held.release(0, 1), Ok(None));
        assert_eq!(held.release(0, 1), Err(Illegal::NotHeld { trace: 0, group: 1 }));
    }
}
