//! Random steps, alone and as transactions with watched keys, against a model.
//!
//! `QUORATE_LONG=1` runs a thousand times as many.
#![allow(clippy::unwrap_used)]

use fastrand::Rng;

#[path = "support/fuzz_steps.rs"]
mod fuzz_steps;

/// S4, S6, S17, S18: random steps in shared transactions answer as the model does ([`fuzz_steps::steps`]).
#[test]
fn random_steps_answer_as_the_model_does() {
    let mut rng = Rng::with_seed(testbed::seed("random_steps_answer_as_the_model_does"));
    let rounds = if std::env::var_os("QUORATE_LONG").is_some() { 40_000 } else { 40 };
    for _ in 0..rounds {
        let bytes: Vec<u8> = (0..rng.usize(..2_000)).map(|_| rng.u8(..)).collect();
        fuzz_steps::steps(&bytes);
    }
}
