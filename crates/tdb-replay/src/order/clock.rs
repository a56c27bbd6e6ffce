//! What each trace is known to have seen of the others.
//!
//! Owns one vector clock a trace: how many rows of every other trace have certainly finished when this trace's next
//! row starts. A dependency that the clock knows already need not be waited for, and taking dependencies latest first
//! makes that the exact transitive reduction: what remains is implied by nothing else.
//!
//! Whoever may be waited for later is kept as a [`Mark`], which names what its trace knew then. These pictures of clocks
//! are counted by the marks that are kept, and used again when none is left: their number follows from the number of
//! keys and of traces, not of rows.

use crate::prefetch;

/// A row that has finished, as those see it who come after it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Mark {
    /// How many rows of its trace are finished when it is; 0: there is no such row.
    pub finished: u32,
    /// Its place in the one order.
    pub rank: u32,
    /// The length of the longest chain of dependencies that ends with it.
    pub depth: u32,
    /// What its trace knew: the number of a picture.
    picture: u32,
}

/// The picture of a clock that knows nothing; never counted.
const BLANK: u32 = 0;

/// The clocks of all traces.
pub struct Clocks {
    traces: usize,
    /// `known[f * traces + g]`: rows of g that have finished when f's next row starts; a trace knows all of its own.
    known: Vec<u32>,
    /// The latest picture of each trace's clock.
    latest: Vec<u32>,
    /// All pictures, `traces` numbers each.
    pictures: Vec<u32>,
    /// How many marks that are kept name each picture; that it is a trace's latest counts as well.
    holders: Vec<u32>,
    unused: Vec<u32>,
}

impl Clocks {
    /// Clocks that know nothing.
    pub fn new(traces: usize) -> Clocks {
        let mut known = vec![0; traces * traces];
        known.iter_mut().step_by(traces + 1).for_each(|own| *own = u32::MAX);
        Clocks {
            traces,
            known,
            latest: vec![BLANK; traces],
            pictures: vec![0; traces],
            holders: vec![0],
            unused: Vec::new(),
        }
    }

    /// For each trace, how many of its rows trace `of` knows to have finished.
    pub fn known(&self, of: usize) -> &[u32] {
        &self.known[of * self.traces..(of + 1) * self.traces]
    }

    /// Trace `of` waits for `mark`, a row of `other`: it then knows what `other` knew there.
    pub fn learn(&mut self, of: usize, other: usize, mark: Mark) {
        let own = &mut self.known[of * self.traces..(of + 1) * self.traces];
        let before = own[other];
        if mark.picture != BLANK {
            let picture = &self.pictures[mark.picture as usize * self.traces..][..self.traces];
            for (mine, theirs) in own.iter_mut().zip(picture) {
                *mine = (*mine).max(*theirs);
            }
        }
        // The picture says of its own trace that everything is known.
        own[other] = before.max(mark.finished);
    }

    /// Takes a picture of what trace `of` knows; to be called when it has learnt something.
    pub fn keep(&mut self, of: usize) {
        let mut picture = self.latest[of];
        if picture == BLANK || self.holders[picture as usize] > 1 {
            self.release(picture);
            picture = self.unused.pop().unwrap_or_else(|| {
                self.holders.push(0);
                self.pictures.resize(self.pictures.len() + self.traces, 0);
                self.holders.len() as u32 - 1
            });
            self.holders[picture as usize] = 1;
            self.latest[of] = picture;
        }
        let known = &self.known[of * self.traces..(of + 1) * self.traces];
        self.pictures[picture as usize * self.traces..][..self.traces].copy_from_slice(known);
    }

    /// The row of trace `of` that runs now, at `rank`. To be kept, it must be put in its place by [`Clocks::replace`].
    pub fn mark(&self, of: usize, finished: u32, rank: u32, depth: u32) -> Mark {
        Mark { finished, rank, depth, picture: self.latest[of] }
    }

    /// This mark, which is kept, will be replaced soon.
    pub fn approach(&self, mark: Mark) {
        prefetch::element(&self.holders, mark.picture as usize);
    }

    /// Keeps `mark` in `place` instead of what is there.
    pub fn replace(&mut self, place: &mut Mark, mark: Mark) {
        let before = std::mem::replace(place, mark).picture;
        if before != mark.picture {
            if mark.picture != BLANK {
                self.holders[mark.picture as usize] += 1;
            }
            self.release(before);
        }
    }

    /// Keeps `mark`, without a place.
    pub fn hold(&mut self, mark: Mark) -> Mark {
        let mut held = Mark::default();
        self.replace(&mut held, mark);
        held
    }

    /// Undoes [`Clocks::hold`].
    pub fn let_go(&mut self, held: Mark) {
        self.release(held.picture);
    }

    /// Whether who waits for `mark` also knows that `rows` rows of `trace` have finished.
    pub fn implies(&self, mark: Mark, trace: usize, rows: u32) -> bool {
        mark.picture != BLANK && self.pictures[mark.picture as usize * self.traces + trace] >= rows
    }

    fn release(&mut self, picture: u32) {
        if picture == BLANK {
            return;
        }
        let holders = &mut self.holders[picture as usize];
        *holders -= 1;
        if *holders == 0 {
            self.unused.push(picture);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// R13: a trace that waits knows what the other knew, not more, and a picture lasts as long as a mark names it.
    #[test]
    fn a_mark_says_what_its_trace_knew_when_it_ran() {
        let mut clocks = Clocks::new(3);
        let first = clocks.mark(0, 5, 0, 1);
        clocks.learn(1, 0, first);
        clocks.keep(1);
        let mut kept = Mark::default();
        let early = clocks.mark(1, 7, 1, 2);
        clocks.replace(&mut kept, early);
        // Trace 1 goes on to learn more, which the row before did not know.
        clocks.learn(1, 0, clocks.mark(0, 9, 2, 1));
        clocks.keep(1);

        clocks.learn(2, 1, kept);

        assert_eq!(clocks.known(2), [5, 7, u32::MAX]);
        clocks.replace(&mut kept, Mark::default());
        assert_eq!(clocks.unused.len(), 1, "nothing names the first picture any more");
    }
}
