//! What `generate` draws from where no model is given: a table grammar, learnt in a moment from
//! traces of a simulated system.

use std::sync::Arc;

use anyhow::Context as _;
use prost::Message as _;

use super::observed::Assembly;
use crate::features::Interner;
use crate::learner::{Learner, LearnerSettings, Published};
use crate::simulate::{Simulator, System};

/// Traces that it is learnt from.
const TRACES: u64 = 600;
/// Distinct traces that a label needs: nothing of these is anybody's.
const FLOOR: u32 = 5;
/// When the first begins: 2026-01-01T00:00:00Z. It shows nowhere.
const START: u64 = 1_767_225_600_000_000_000;
/// Traces a second, and the seed.
const RATE: f64 = 10.0;
const SEED: u64 = 1;

/// The grammar of a system; always the same.
pub(super) fn published(system: System) -> anyhow::Result<Published> {
    let texts = Arc::new(Interner::default());
    let settings = LearnerSettings {
        min_traces: FLOOR,
        ..LearnerSettings::default()
    };
    let mut learner = Learner::new(settings, texts.clone(), SEED);
    let mut take = |_, trace| {
        learner.take(trace);
        Ok(())
    };
    let mut assembly = Assembly::new(&texts);
    let mut simulator = Simulator::new(system, SEED);
    let mut now = START;
    for _ in 0..TRACES {
        let request = simulator.next_trace(now).encode_to_vec();
        assembly.walk(&request).map_err(anyhow::Error::msg)?;
        assembly.done(&mut take)?;
        now += simulator.next_gap(RATE);
    }
    assembly.finish(take)?;
    learner.refit();
    learner.score()?;
    learner
        .snapshot()
        .context("the simulated system taught nothing")
}
