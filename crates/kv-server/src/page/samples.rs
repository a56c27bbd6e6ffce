//! Rates and latencies of the last minutes, one sample a second, so that a page that is just opened has a past to show.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};
use tokio::time::{Instant, MissedTickBehavior, interval};

use crate::server::Shared;
use crate::statistics::Counts;

/// Five minutes.
const KEPT: usize = 300;

/// The last samples.
#[derive(Default)]
pub struct Samples(Mutex<VecDeque<Value>>);

impl Samples {
    /// All, the oldest first.
    pub fn all(&self) -> Vec<Value> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
    }

    fn push(&self, sample: Value) {
        let mut samples = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if samples.len() == KEPT {
            samples.pop_front();
        }
        samples.push_back(sample);
    }
}

/// Takes a sample each second until the server stops.
pub async fn take(shared: Arc<Shared>) {
    let mut stopping = shared.stopping.subscribe();
    let mut ticks = interval(Duration::from_secs(1));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (mut last, mut reads, mut writes) = (Instant::now(), Counts::default(), Counts::default());
    loop {
        tokio::select! {
            now = ticks.tick() => {
                let secs = now.duration_since(last).as_secs_f64().max(0.001);
                let (new_reads, new_writes) = (shared.statistics.reads.counts(), shared.statistics.writes.counts());
                let (read, written) = (new_reads.since(&reads), new_writes.since(&writes));
                (last, reads, writes) = (now, new_reads, new_writes);
                shared.samples.push(json!({
                    "at": SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64),
                    "reads": read.count() as f64 / secs,
                    "writes": written.count() as f64 / secs,
                    "readMs": milliseconds(&read, 0.5),
                    "readMs99": milliseconds(&read, 0.99),
                    "writeMs": milliseconds(&written, 0.5),
                    "writeMs99": milliseconds(&written, 0.99),
                    "clients": shared.clients.len(),
                }));
            }
            _ = stopping.changed() => return,
        }
    }
}

fn milliseconds(counts: &Counts, share: f64) -> Option<f64> {
    counts.quantile(share).map(|secs| secs * 1000.0)
}
