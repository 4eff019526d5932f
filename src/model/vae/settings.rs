//! Sizes and rates.

use serde::{Deserialize, Serialize};

/// Widths are rounded up to this by whoever sets them; kernels work on whole vectors.
pub const LANES: usize = 16;

/// What one span adds to the sum of a whole structure, so that sums are about as large as means.
pub const PLAN_SUM: f32 = 1.0 / 32.0;

/// Sizes of the networks and how they are trained. A checkpoint's tensors fit the settings they
/// were trained with; rates and weights of terms may change between runs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct VaeSettings {
    /// Width of the recurrent state that tells structures; a multiple of 16.
    pub structure_hidden: usize,
    /// Width of the recurrent state that tells times; a multiple of 16.
    pub timing_hidden: usize,
    /// Timing networks that learn side by side from the same traces, each from first values of its
    /// own. Their logits are averaged: where traces are few each learns some of its own by heart, and what
    /// they agree on is what hangs together (Lakshminarayanan et al. 2017, "Simple and scalable
    /// predictive uncertainty estimation using deep ensembles"). At least 1.
    pub timing_networks: usize,
    /// Width of the hidden layer before status, arity and link; a multiple of 16.
    pub choice_hidden: usize,
    /// Width of the encoder's node states.
    pub graph_hidden: usize,
    /// Width of token embeddings.
    pub embedding: usize,
    /// Width of what the timing network is told of the whole structure; a multiple of 16.
    pub plan: usize,
    /// Heads with which a span looks back at the times of earlier ones.
    pub recall_heads: usize,
    /// Width of a key of a head.
    pub recall_width: usize,
    /// Codes of z_G. 0 takes z_G out of the model (an ablation).
    pub codes: usize,
    /// Whether the encoder of z_G sees times besides the structure. With them a code can stand for
    /// a slow execution; without them equal structures have equal codes and are learnt as one.
    pub graph_times: bool,
    /// Width of a code.
    pub code_size: usize,
    /// Learning rate of the structure network.
    pub structure_rate: f32,
    /// Learning rate of the timing network.
    pub timing_rate: f32,
    /// Learning rate of the encoder: low, so that codes keep their meaning.
    pub encoder_rate: f32,
    /// AdamW's decay of weights, per step and unit of rate.
    pub weight_decay: f32,
    /// A gradient of the timing network, or of the encoder, longer than this is shortened to it.
    pub clip: f32,
    /// The same of the structure network. Steps that meet rare structures have the longest gradients:
    /// with 1, structures that one trace in some hundreds has are learnt at half their share.
    pub structure_clip: f32,
    /// Steps in which the rates rise to their full height.
    pub warmup: u32,
    /// Steps after which the rates have fallen to half, along 1 / (1 + steps / half_life), but
    /// never below a fifth: the horizon of online training is not known.
    pub half_life: u32,
    /// Steps after which training ends, if that is known: the rates then fall to nothing along half
    /// a cosine, in place of `half_life`. 0 where it is not known.
    pub horizon: u32,
    /// Decay per step of the average of weights that scores and serves.
    pub average: f32,
    /// Weight of L_edge.
    pub lambda_edge: f32,
    /// Weight of KL(q(z_G|G) || p) in the objective as it is told: q chooses the nearest code, so that nothing
    /// learns from it.
    pub beta_graph: f32,
    /// Weight of the sum of KL(q(z_v|G) || p).
    pub beta_node: f32,
    /// Numbers of children that are told apart; the last stands for itself and all above.
    pub arities: usize,
    /// Numbers per span in [`super::Lesson::told`].
    pub features: usize,
    /// Start modes.
    pub start_modes: usize,
    /// End modes.
    pub end_modes: usize,
    /// Bins of a time; the first and the last are escapes, which are never drawn.
    pub bins: usize,
    /// Spans of a drawn trace, at most.
    pub max_spans: usize,
}

impl Default for VaeSettings {
    fn default() -> Self {
        Self {
            structure_hidden: 96,
            timing_hidden: 96,
            timing_networks: 1,
            choice_hidden: 64,
            graph_hidden: 32,
            embedding: 24,
            plan: 32,
            recall_heads: 4,
            recall_width: 16,
            codes: 64,
            graph_times: false,
            code_size: 16,
            structure_rate: 6e-3,
            timing_rate: 6e-3,
            encoder_rate: 1e-4,
            weight_decay: 0.01,
            clip: 1.0,
            structure_clip: 20.0,
            warmup: 50,
            half_life: 4_000,
            horizon: 0,
            average: 0.99,
            lambda_edge: 1.0,
            beta_graph: 4.0,
            beta_node: 1.0,
            arities: 256,
            features: 36,
            start_modes: 5,
            end_modes: 14,
            bins: 42,
            max_spans: 2_000,
        }
    }
}

impl VaeSettings {
    /// Says what is wrong with the sizes, if anything is.
    pub fn fault(&self) -> Option<&'static str> {
        let whole = |width: usize| width > 0 && width.is_multiple_of(LANES);
        let widths = [
            self.structure_hidden,
            self.timing_hidden,
            self.choice_hidden,
            self.plan,
        ];
        if !widths.into_iter().all(whole) {
            return Some("hidden widths must be multiples of 16");
        }
        let sizes = [
            self.graph_hidden,
            self.embedding,
            self.code_size,
            self.features,
            self.max_spans,
            self.recall_heads,
            self.recall_width,
            self.timing_networks,
        ];
        if sizes.contains(&0) {
            return Some("sizes must be at least 1");
        }
        let modes = |count: usize| (1..=16).contains(&count);
        if !modes(self.start_modes) || !modes(self.end_modes) {
            return Some("there must be 1 to 16 modes");
        }
        if self.arities < 2 || !(3..=256).contains(&self.bins) {
            return Some("there must be at least 2 arities and 3 to 256 bins");
        }
        None
    }
}
