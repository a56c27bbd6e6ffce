//! Small random histories, valid, nearly valid and arbitrary.

use history::register::{Effect, Need, Unit, ValueId, Window};

/// What a random history looks like.
pub struct Shape {
    pub units: u32,
    pub processes: u32,
    /// Values are drawn from `0..values`; 0 is absent.
    pub values: u32,
    /// How far windows reach beyond the true cell.
    pub slack: u64,
    /// Of 100 units, how many have a need or effect that did not come from a run.
    pub errors: u32,
    /// Of 100 units, how many have a window that is certain.
    pub firm: u32,
    pub joined: bool,
    pub uncertain: bool,
    pub appends: bool,
}

impl Shape {
    pub fn random(random: &mut fastrand::Rng) -> Shape {
        Shape {
            units: random.u32(1..=8),
            processes: random.u32(1..=4),
            values: random.u32(2..=5),
            slack: [0, 1, 3, 6, 20][random.usize(0..5)],
            errors: [0, 0, 10, 30, 100][random.usize(0..5)],
            firm: [0, 0, 50, 100][random.usize(0..4)],
            joined: random.u8(0..3) == 0,
            uncertain: random.u8(0..3) == 0,
            appends: random.u8(0..3) == 0,
        }
    }
}

/// Runs operations one after another at random processes and notes what they found; then windows are widened,
/// some units are made wrong, and the processes are put one after another.
pub fn random_units(random: &mut fastrand::Rng, shape: &Shape) -> Vec<Unit> {
    let mut value = random.u32(0..shape.values);
    let mut counter = 0u64;
    let mut units: Vec<Unit> = vec![];
    let mut appended = 100;
    let mut process = 0;
    for id in 0..shape.units {
        let joined_before = units.last().is_some_and(|unit| unit.joined);
        if !joined_before {
            process = random.u32(0..shape.processes);
        }
        let mut need = random_need(random, value, shape.values);
        let mut effect =
            if random.bool() { Effect::Keep } else { Effect::Put(ValueId(random.u32(0..shape.values))) };
        if shape.appends && random.u8(0..3) == 0 {
            appended += 1;
            (need, effect) = (Need::Exactly(ValueId(value)), Effect::Put(ValueId(appended)));
        }
        if random.u32(0..100) < shape.errors {
            need = random_need(random, random.clone().u32(0..shape.values), shape.values);
        }
        let advances = effect != Effect::Keep && random.u8(0..4) != 0;
        let uncertain = shape.uncertain && random.u8(0..4) == 0;
        let happened = !uncertain || random.bool();
        let cell = if advances { 2 * counter + 1 } else { 2 * counter };
        if happened {
            if let Effect::Put(written) = effect {
                value = written.0;
            }
            counter += u64::from(random.bool()) + u64::from(advances);
        }
        let window = Window {
            earliest: cell.saturating_sub(random.u64(0..=shape.slack)),
            latest: cell + random.u64(0..=shape.slack),
        };
        let joined = shape.joined && random.u8(0..3) == 0;
        let firm = random.u32(0..100) < shape.firm;
        units.push(Unit { process, id, need, effect, window, firm, advances, joined, uncertain });
    }
    if let Some(last) = units.last_mut() {
        last.joined = false;
    }
    units.sort_by_key(|unit| unit.process);
    units
}

fn random_need(random: &mut fastrand::Rng, value: u32, values: u32) -> Need {
    match random.u8(0..8) {
        0 | 1 => Need::Anything,
        2 if value != 0 => Need::Present,
        3 if value < 2 => Need::AbsentOrEmpty,
        4 if random.u8(0..4) == 0 => Need::Exactly(ValueId(random.u32(0..values))),
        _ => Need::Exactly(ValueId(value)),
    }
}

/// A history as text, one unit a line.
pub fn drawing(units: &[Unit]) -> String {
    let mut text = String::from("\n");
    for unit in units {
        let mark = |set: bool, sign: &'static str| if set { sign } else { "" };
        text += &format!(
            "  p{} [{}, {}] {:?} -> {:?}{}{}{}\n",
            unit.process,
            unit.window.earliest,
            unit.window.latest,
            unit.need,
            unit.effect,
            mark(unit.advances, " advances"),
            mark(unit.joined, " joined"),
            mark(unit.uncertain, " uncertain"),
        );
    }
    text
}
