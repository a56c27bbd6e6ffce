//! What a history turned out to be.
//!
//! Owns the five verdicts, their words and their exit codes, which `check`, `order` and `replay` share, and
//! [`Contradiction`]: the lines that say why.

use serde::Serialize;

/// What a history turned out to be, from best to worst.
///
/// [`Verdict::worst`] is how verdicts combine: parts of one history, several histories, several questions about one. The
/// order of the parts does not matter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// One order explains every result, every sequence number and every time.
    Explained,
    /// An order explains the results, but only if plain sequence numbers on some lines are set aside. Exact numbers
    /// never are.
    NumbersDisbelieved,
    /// A search reached its bound first; the answer is not known.
    GaveUp,
    /// It is proved that there is no order, whatever else is unknown.
    Impossible,
    /// The traces cannot be read, so nothing is known.
    Unreadable,
}

impl Verdict {
    /// All verdicts, from best to worst.
    pub const ALL: [Verdict; 5] = [
        Verdict::Explained,
        Verdict::NumbersDisbelieved,
        Verdict::GaveUp,
        Verdict::Impossible,
        Verdict::Unreadable,
    ];

    /// The word for it, in text and in JSON.
    pub fn word(self) -> &'static str {
        match self {
            Verdict::Explained => "explained",
            Verdict::NumbersDisbelieved => "numbers-disbelieved",
            Verdict::GaveUp => "gave-up",
            Verdict::Impossible => "impossible",
            Verdict::Unreadable => "unreadable",
        }
    }

    /// The exit code of a command that ends with it.
    pub fn exit_code(self) -> u8 {
        match self {
            Verdict::Explained => 0,
            Verdict::Impossible => 1,
            Verdict::Unreadable => 3,
            Verdict::GaveUp => 4,
            Verdict::NumbersDisbelieved => 5,
        }
    }

    /// The worse of two: unreadable, impossible, gave up, numbers disbelieved, explained.
    #[must_use]
    pub fn worst(self, other: Verdict) -> Verdict {
        self.max(other)
    }
}

impl std::fmt::Display for Verdict {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str(self.word())
    }
}

/// What lines contradict each other about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// Operations on one key have no order.
    Key,
    /// Operations on one key have an order, but none that keeps their times.
    Times,
    /// Two results inside one transaction exclude each other.
    Transaction,
    /// Each key has an order, but all of them together have none.
    Cycle,
    /// Every order was tried: these lines are as far as any of them gets.
    Stuck,
    /// Locks that exclude each other were held at one time.
    Locks,
    /// Plain sequence numbers do not agree with the results or with each other; they are set aside.
    Numbers,
    /// Exact sequence numbers do not agree with the results or with each other.
    ExactNumbers,
    /// Without times it is not known after which clearing of the database these lines' processes opened it; as it was guessed, the
    /// lines have no order, or not with their numbers.
    Lives,
}

/// A line of a contradiction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// The trace.
    pub trace: u16,
    /// The row.
    pub row: u32,
    /// Its part in the contradiction, if it is known; `#N` names the Nth line that has one, counted from 1.
    pub why: String,
}

/// Lines that exclude each other, or a search that was given up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Contradiction {
    /// What it is about.
    pub kind: Kind,
    /// The key, if it is about one.
    pub key: Option<u32>,
    /// The bound, in states, at which the search was given up: there may be an order.
    pub gave_up: Option<u64>,
    /// The lines.
    pub lines: Vec<Line>,
    /// None of the lines can be left out. False if that was not settled within the bound of the search.
    pub minimal: bool,
}

impl Contradiction {
    /// Lines that exclude each other, without more to say of each.
    pub fn of_rows(kind: Kind, rows: impl IntoIterator<Item = (u16, u32)>) -> Contradiction {
        let lines = rows.into_iter().map(|(trace, row)| Line { trace, row, why: String::new() });
        Contradiction { kind, key: None, gave_up: None, lines: lines.collect(), minimal: false }
    }

    /// What it makes of the history.
    pub fn verdict(&self) -> Verdict {
        match self.kind {
            _ if self.gave_up.is_some() => Verdict::GaveUp,
            Kind::Lives => Verdict::GaveUp,
            Kind::Numbers => Verdict::NumbersDisbelieved,
            _ => Verdict::Impossible,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// R32: five verdicts, each with a word, which JSON uses too, and an exit code of its own.
    #[test]
    fn each_verdict_has_its_own_word_and_exit_code() {
        for one in Verdict::ALL {
            let json = serde_json::to_string(&one).expect("a verdict is plain data");
            assert_eq!(json, format!("\"{}\"", one.word()));
            let same = Verdict::ALL.into_iter().filter(|other| other.exit_code() == one.exit_code());
            assert_eq!(same.count(), 1, "{one}");
        }
        // Wrong use, which is not a verdict.
        assert!(Verdict::ALL.iter().all(|verdict| verdict.exit_code() != 2));
    }

    /// R32: verdicts combine to the worst, in whatever order; the list goes from best to worst.
    #[test]
    fn the_worst_verdict_counts_in_any_order() {
        for (nth, one) in Verdict::ALL.into_iter().enumerate() {
            for (other_nth, other) in Verdict::ALL.into_iter().enumerate() {
                assert_eq!(one.worst(other), Verdict::ALL[nth.max(other_nth)]);
                assert_eq!(one.worst(other), other.worst(one));
            }
        }
    }
}
