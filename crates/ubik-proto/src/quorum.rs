//! Which sets of servers decide.
//!
//! A voter counts two, the one with the lowest address (C's magic host) one more; a set decides when it counts more
//! than the number of voters. Any two deciding sets share a voter, in even cells too, so the same rule serves
//! elections and commits. Every plain majority decides.

use crate::cell::{Cell, ServerId, ServerSet};

/// The rule for one cell.
#[derive(Clone, Copy, Debug)]
pub struct Quorum {
    voters: ServerSet,
    tie_breaker: ServerId,
}

impl Quorum {
    /// The rule for `cell`.
    pub fn of(cell: &Cell) -> Self {
        let voters = cell.voters();
        let tie_breaker = voters.iter().next().expect("Cell::new refuses a cell without a voter");
        Quorum { voters, tie_breaker }
    }

    /// Whether `yes` decides; clones in it count nothing.
    pub fn is_met(&self, yes: ServerSet) -> bool {
        let yes = yes.and(self.voters);
        let weight = 2 * yes.len() + usize::from(yes.contains(self.tie_breaker));
        weight > self.voters.len()
    }

    /// The servers whose votes count.
    pub fn voters(&self) -> ServerSet {
        self.voters
    }

    /// The latest value that a deciding set reaches, `mine` included: the smallest of the best deciding set.
    ///
    /// `None` if nobody decides. With the times of votes this is the time up to which a mandate is proven.
    pub fn latest<T: Copy + Ord>(&self, mut values: Vec<(ServerId, T)>) -> Option<T> {
        values.sort_by_key(|&(_, value)| std::cmp::Reverse(value));
        let mut set = ServerSet::EMPTY;
        values.into_iter().find_map(|(id, value)| {
            set.insert(id);
            self.is_met(set).then_some(value)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cell::{Dialect, Server, ServerKind};

    fn quorum(voters: usize) -> Quorum {
        let server = |address| Server { address, kind: ServerKind::Voter, dialect: Dialect::Quorate };
        Quorum::of(&Cell::new((1..=voters as u32).map(server).collect(), 1).unwrap())
    }

    fn subsets(voters: usize) -> impl Iterator<Item = ServerSet> {
        (0u32..1 << voters)
            .map(move |bits| (0..voters).filter(|i| bits & (1 << i) != 0).map(ServerId::new).collect())
    }

    /// U14, U19: no two disjoint sets decide; in an even cell the half with the tie breaker does, the other half not.
    #[test]
    fn any_two_deciding_sets_share_a_voter() {
        for voters in 1..=6 {
            let quorum = quorum(voters);
            for a in subsets(voters).filter(|&a| quorum.is_met(a)) {
                for b in subsets(voters).filter(|&b| quorum.is_met(b)) {
                    assert!(!a.and(b).is_empty(), "{a:?} and {b:?} of {voters}");
                }
            }
            for set in subsets(voters) {
                if set.len() * 2 > voters {
                    assert!(quorum.is_met(set), "a plain majority decides");
                }
            }
        }
    }

    #[test]
    fn the_latest_value_is_that_of_the_last_server_needed() {
        let values = |times: &[u64]| times.iter().enumerate().map(|(i, &t)| (ServerId::new(i), t)).collect();
        assert_eq!(quorum(3).latest(values(&[5, 9, 7])), Some(7));
        assert_eq!(quorum(5).latest(values(&[5, 9])), None);
        assert_eq!(quorum(1).latest(values(&[5])), Some(5));
    }
}
