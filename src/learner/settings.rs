//! How a learner learns.

use crate::model::VaeSettings;

/// Settings of a [`super::Learner`].
#[derive(Debug, Clone, PartialEq)]
pub struct LearnerSettings {
    /// Distinct traces that a label needs before it can stand in a synthetic trace.
    pub min_traces: u32,
    /// Labels of the vocabulary, at most.
    pub max_tokens: usize,
    /// Traces kept for replay, at most.
    pub replay: usize,
    /// Share of the traces that are held out from training, for scoring.
    pub held_out_share: f64,
    /// Held-out traces kept, at most; the newest stay.
    pub held_out: usize,
    /// Traces of an optimiser step whose structure and times are learnt.
    pub batch: usize,
    /// Further traces of a step whose structure is learnt: equal ones cost as much as one.
    pub structures: usize,
    /// Contexts of the grammar, at most.
    pub max_contexts: usize,
    /// Spans of a trace that is learnt, and of one that is drawn, at most.
    pub max_spans: usize,
    /// The VAE; none leaves the grammar to serve for good.
    pub vae: Option<VaeSettings>,
}

impl Default for LearnerSettings {
    fn default() -> Self {
        Self {
            min_traces: 20,
            max_tokens: 4_096,
            replay: 4_096,
            held_out_share: 0.1,
            held_out: 400,
            batch: 32,
            structures: 160,
            max_contexts: 400_000,
            max_spans: 2_000,
            vae: Some(VaeSettings::default()),
        }
    }
}
