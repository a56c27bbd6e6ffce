//! Measuring two programs in turn, and the table of medians and ratios.

use std::collections::BTreeMap;
use std::time::Instant;

/// What one round measured: name of the figure, nanoseconds (or another unit: the name says which).
pub type Figures = Vec<(String, f64)>;

/// Times `operations` calls of `body` and adds the nanoseconds of one.
pub fn time(figures: &mut Figures, name: &str, operations: u64, body: impl FnOnce()) {
    let start = Instant::now();
    body();
    figures.push((name.to_owned(), start.elapsed().as_nanos() as f64 / operations as f64));
}

/// Rounds asked for by `QUORATE_ROUNDS`; five by default.
pub fn rounds() -> usize {
    std::env::var("QUORATE_ROUNDS").ok().and_then(|text| text.parse().ok()).unwrap_or(5)
}

/// Runs `ours` and `peer` in turn and prints the table; limits are `(figure, highest ratio asked for)`.
pub fn compare(
    title: &str,
    limits: &[(&str, f64)],
    mut ours: impl FnMut() -> Figures,
    mut peer: impl FnMut() -> Figures,
) {
    let mut measured: [BTreeMap<String, Vec<f64>>; 2] = Default::default();
    let mut order: Vec<String> = Vec::new();
    for _ in 0..rounds() {
        for (side, figures) in [ours(), peer()].into_iter().enumerate() {
            for (name, value) in figures {
                if !order.contains(&name) {
                    order.push(name.clone());
                }
                measured[side].entry(name).or_default().push(value);
            }
        }
    }
    println!("\n{title} ({} rounds in turn, medians, ns unless named; ratio = ours / peer)", rounds());
    println!("| figure | ours | peer | ratio | asked | |\n| --- | ---: | ---: | ---: | ---: | --- |");
    for name in order {
        let (Some(ours), Some(peer)) = (measured[0].get(&name), measured[1].get(&name)) else {
            continue;
        };
        print_row(
            &name,
            ours,
            peer,
            limits.iter().find(|(limited, _)| *limited == name).map(|(_, limit)| *limit),
        );
    }
}

fn print_row(name: &str, ours: &[f64], peer: &[f64], limit: Option<f64>) {
    let ratio = median(&ours.iter().zip(peer).map(|(a, b)| a / b).collect::<Vec<_>>());
    let (asked, verdict) = match limit {
        Some(limit) => (format!("{limit:.2}"), if ratio <= limit { "met" } else { "missed" }),
        None => (String::new(), ""),
    };
    println!("| {name} | {:.1} | {:.1} | {ratio:.3} | {asked} | {verdict} |", median(ours), median(peer));
}

/// The middle value; of two middle ones, the lower.
pub fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get((sorted.len().max(1) - 1) / 2).copied().unwrap_or(f64::NAN)
}
