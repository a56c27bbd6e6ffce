//! Why a key's units cannot be ordered.
//!
//! Owns what "these few units contradict each other" means. A contradiction is a set of units such that there is no
//! order of them even if every other unit of the key is *forgotten*: a forgotten unit needs nothing, keeps no
//! order and no window, and may have written what it writes at any time and any number of times. So a unit is in the
//! set because what is known about it matters, not because someone needed what it wrote. Forgetting never makes a
//! possible history impossible; therefore a set from which no single unit can be forgotten has no smaller
//! contradiction inside it.
//!
//! * [`forget`]: the history that is left when units are forgotten.
//! * [`suspects`](mod@suspects): small sets that are worth a look before a long search.
//!
//! Who makes an impossible set a smallest one is the solver, which can tell what is impossible.

mod forget;
mod suspects;

use crate::register::{Effect, Need, Unit, ValueId};
pub use forget::{after_forgetting, background};
pub(crate) use suspects::suspects;

/// The few units that cannot be ordered together, whatever the others did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Contradiction {
    /// The units, in the order of the input.
    pub conflicts: Vec<Conflict>,
    /// No unit can be forgotten: if any one of them counted only as one that may have written what it writes, at any time, the rest would have
    /// an order. False if that was not settled within the bound.
    pub minimal: bool,
}

/// One unit of a contradiction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conflict {
    /// Index of the unit in the input.
    pub unit: u32,
    /// The units of the contradiction that leave what this one needs (indexes in the input). None of a contradiction of hundreds, nor
    /// `spoiled_by` or `why`.
    pub served_by: Vec<u32>,
    /// The units of the contradiction that take away what this one needs.
    pub spoiled_by: Vec<u32>,
    /// Its part in the contradiction, as text. Units are named by their `id`, as in `#17`.
    pub why: String,
}

impl Contradiction {
    /// Describes the units `kept` (indexes into `units`), which are impossible together.
    pub(crate) fn of(units: &[Unit], kept: &[u32], minimal: bool) -> Self {
        let background = background(units, kept);
        let describe = |&unit: &u32| match kept.len() <= DESCRIBED {
            true => describe(units, kept, unit, &background),
            false => Conflict { unit, served_by: vec![], spoiled_by: vec![], why: String::new() },
        };
        let conflicts = kept.iter().map(describe).collect();
        Contradiction { conflicts, minimal }
    }
}

/// Of more units than this nobody would read the parts that they play, and finding these takes the square of their number.
const DESCRIBED: usize = 200;

fn describe(units: &[Unit], kept: &[u32], unit: u32, background: &[ValueId]) -> Conflict {
    let need = units[unit as usize].need;
    let leaves = |other: &u32, meets: bool| match units[*other as usize].effect {
        Effect::Put(value) => *other != unit && need.is_met_by(value) == meets,
        Effect::Keep => false,
    };
    let others = |meets: bool| kept.iter().copied().filter(|other| leaves(other, meets)).collect::<Vec<_>>();
    let (served_by, spoiled_by) = (others(true), others(false));
    let elsewhere = background.iter().any(|&value| need.is_met_by(value));
    let why = why(units, unit, &served_by, &spoiled_by, elsewhere);
    Conflict { unit, served_by, spoiled_by, why }
}

fn why(units: &[Unit], unit: u32, served_by: &[u32], spoiled_by: &[u32], elsewhere: bool) -> String {
    let Unit { need, effect, .. } = units[unit as usize];
    let names = |list: &[u32]| {
        let names: Vec<String> = list.iter().map(|&other| format!("#{}", units[other as usize].id)).collect();
        match names.split_last() {
            Some((last, [])) => last.clone(),
            Some((last, others)) => format!("{} and {last}", others.join(", ")),
            None => String::new(),
        }
    };
    let verb = |list: &[u32], one: &'static str, many: &'static str| if list.len() == 1 { one } else { many };
    let asked = match need {
        Need::Anything => None,
        Need::Present => Some("needs the key to exist"),
        Need::AbsentOrEmpty => Some("needs the key to be absent or empty"),
        Need::Exactly(ValueId::ABSENT) => Some("needs the key to be absent"),
        Need::Exactly(_) => Some("needs its exact value"),
        Need::Never => Some("needs what excludes itself"),
    };
    let mut text = match (asked, served_by, elsewhere) {
        (None, ..) if effect == Effect::Keep => String::from("needs nothing"),
        (None, ..) => String::new(),
        (Some(asked), [], false) => format!("{asked}, which no operation leaves"),
        (Some(asked), [], true) => format!("{asked}, which others may leave at any time"),
        (Some(asked), some, _) => format!("{asked}, which {} {}", names(some), verb(some, "leaves", "leave")),
    };
    if asked.is_some() && !spoiled_by.is_empty() {
        text += &format!(" and {} {} away", names(spoiled_by), verb(spoiled_by, "takes", "take"));
    }
    match effect {
        Effect::Keep => return text,
        _ if !text.is_empty() => text += "; ",
        _ => {}
    }
    text += if effect == Effect::Put(ValueId::ABSENT) { "leaves the key absent" } else { "writes a value" };
    text
}
