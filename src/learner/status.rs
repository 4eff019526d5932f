//! What the learner says of itself: for metrics, `inspect` and the page.

use super::Drift;

/// Which sampler the synthetic traces come from, the worst first.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Default,
    serde::Serialize,
    serde::Deserialize,
)]
#[serde(rename_all = "lowercase")]
pub enum Serving {
    /// Nothing learnt yet: nothing is emitted.
    #[default]
    Nothing,
    /// The table grammar, which serves at cold start.
    Grammar,
    /// The VAE, once it beats the grammar on held-out traces.
    Vae,
}

/// The terms of the objective at the last step, in nats per trace.
#[derive(Debug, Clone, Copy, PartialEq, Default, serde::Serialize, serde::Deserialize)]
pub struct Loss {
    /// L_node + lambda_edge L_edge + beta_G KL_G + beta_N sum KL_v.
    pub total: f64,
    /// L_node.
    pub node: f64,
    /// L_edge.
    pub edge: f64,
    /// KL(q(z_G|G) || p).
    pub kl_graph: f64,
    /// sum over spans of KL(q(z_v|G) || p).
    pub kl_node: f64,
}

/// The state of learning.
#[derive(Debug, Clone, PartialEq, Default, serde::Serialize, serde::Deserialize)]
#[serde(default)]
pub struct Status {
    /// Which sampler serves.
    pub serving: Serving,
    /// Complete traces taken from the assembler.
    pub traces_seen: u64,
    /// Of them, held out from training for scoring.
    pub traces_held_out: u64,
    /// Traces that wait because a label of theirs is below the vocabulary floor.
    pub traces_waiting: u64,
    /// Traces given up: too large, their times past all codes, or waiting when there was no room.
    pub traces_unlearnable: u64,
    /// Traces kept for replay.
    pub traces_kept: u64,
    /// Distinct labelled shapes among them.
    pub shapes_kept: u64,
    /// Traces offered while the learner was busy, and dropped.
    pub traces_dropped: u64,
    /// Optimiser steps.
    pub steps: u64,
    /// Steps undone because something was not finite.
    pub steps_undone: u64,
    /// Snapshots published.
    pub snapshots: u64,
    /// Labels in the vocabulary.
    pub tokens: u64,
    /// Loss of the last step.
    pub loss: Loss,
    /// Held-out nats per trace of the VAE (an upper bound on its negative log-likelihood).
    pub held_out_vae: Option<f64>,
    /// Held-out nats per trace of the grammar.
    pub held_out_grammar: Option<f64>,
    /// Held-out nats per trace of the VAE that serves, on the same traces; none where none serves,
    /// or where codes were fitted anew since.
    pub held_out_served: Option<f64>,
    /// Share of the drawn traces that are kept, as they were when they were last told from observed
    /// ones; none where all are.
    pub drawn_kept: Option<f64>,
    /// How surely traces of the VAE and of the grammar were told from observed ones in the last trial:
    /// areas under the curve, 0.5 is guessing. None where nats have always decided alone.
    pub tried: Option<[f64; 2]>,
    /// Whether the traffic is what it was.
    pub drift: Drift,
    /// CPU seconds spent learning.
    pub cpu_seconds: f64,
    /// (steps so far, total loss, held-out VAE nats, held-out grammar nats): one point per scoring.
    pub curve: Vec<(u64, f64, f64, f64)>,
}
