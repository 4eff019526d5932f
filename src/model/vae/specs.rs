//! Which tensors are trained: names, shapes and first values.

use rand::RngExt;

use super::VaeSettings;
use super::batch::TIMING_LABELS;
use super::tree::{LINKS, SLOT_CLASSES, SLOT_FEATURES};

/// Statuses.
pub(super) const STATUSES: usize = 3;
/// Widths of the small embeddings.
const STATUS_WIDTH: usize = 4;
const ARITY_WIDTH: usize = 12;
const CLASS_WIDTH: usize = 8;
/// How strongly a timing network that has learnt nothing bends the shares of bins.
const BEND: f32 = 0.5;
const PROFILE_WIDTH: usize = 8;

/// A row for each code of z_G, where the model has codes.
pub(super) const CODE_ROWS: &str = "structure.code";

/// Which rate a tensor is trained with, and with which others its gradient is clipped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    Structure,
    Timing,
    Encoder,
}

impl Part {
    pub(super) const ALL: [Self; 3] = [Self::Structure, Self::Timing, Self::Encoder];
}

/// First values.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Begin {
    Zero,
    /// Uniform within so much of zero.
    Within(f32),
    /// The same but for the first row, which is zero: it stands for nothing.
    AfterFirst(f32),
    /// Each row a smooth curve over the columns: the first four Legendre polynomials, with weights
    /// uniform within so much of zero. For bins, which are in order.
    Smooth(f32),
}

#[derive(Debug, Clone, PartialEq)]
pub(super) struct Spec {
    pub(super) name: &'static str,
    pub(super) shape: Vec<usize>,
    pub(super) part: Part,
    pub(super) begin: Begin,
    /// Whether the first axis grows with the vocabulary.
    pub(super) grows: bool,
}

/// Columns of the structure network's input: labels around the slot, then the slot, then z_G.
pub(super) fn structure_inputs(settings: &VaeSettings) -> usize {
    3 * settings.embedding
        + 3 * STATUS_WIDTH
        + 3 * PROFILE_WIDTH
        + ARITY_WIDTH
        + 2 * CLASS_WIDTH
        + SLOT_FEATURES
        + settings.code_size
}

/// Columns of the timing network's input: what is told, labels around the span, the plan of the
/// whole structure, then z_G.
pub(super) fn timing_inputs(settings: &VaeSettings) -> usize {
    settings.features
        + 2 * settings.recall_heads
        + TIMING_LABELS * settings.embedding
        + settings.plan
        + settings.code_size
}

/// Columns of the encoder's input per span.
pub(super) fn graph_inputs(settings: &VaeSettings) -> usize {
    settings.embedding + STATUS_WIDTH + 4
}

/// All tensors, in a fixed order. `profiles` counts the rows of profile tables.
pub(super) fn specs(settings: &VaeSettings, tokens: usize, profiles: usize) -> Vec<Spec> {
    let s = settings;
    let (inputs, hidden) = (structure_inputs(s), s.structure_hidden);
    let (told, timing) = (timing_inputs(s), s.timing_hidden);
    let graph = s.graph_hidden;
    let mut specs = Vec::new();
    let mut add = |name, part, shape: &[usize], begin, grows| {
        let shape = shape.to_vec();
        specs.push(Spec {
            name,
            shape,
            part,
            begin,
            grows,
        });
    };
    let fan = |inputs: usize| Begin::Within(1.0 / (inputs as f32).sqrt());
    let embedding = Begin::Within(0.5);

    let part = Part::Structure;
    if s.codes > 0 {
        add(CODE_ROWS, part, &[s.codes, s.code_size], embedding, false);
    }
    add(
        "structure.token",
        part,
        &[tokens + 1, s.embedding],
        embedding,
        true,
    );
    add(
        "structure.status",
        part,
        &[STATUSES + 1, STATUS_WIDTH],
        embedding,
        false,
    );
    add(
        "structure.arity",
        part,
        &[s.arities + 1, ARITY_WIDTH],
        embedding,
        false,
    );
    add(
        "structure.index",
        part,
        &[SLOT_CLASSES, CLASS_WIDTH],
        embedding,
        false,
    );
    add(
        "structure.rest",
        part,
        &[SLOT_CLASSES, CLASS_WIDTH],
        embedding,
        false,
    );
    add(
        "structure.gates",
        part,
        &[inputs, 3 * hidden],
        fan(inputs),
        false,
    );
    add(
        "structure.gates_bias",
        part,
        &[3 * hidden],
        Begin::Zero,
        false,
    );
    add(
        "structure.recurrent",
        part,
        &[hidden, 3 * hidden],
        fan(hidden),
        false,
    );
    let wide = inputs + 2 * hidden;
    add(
        "structure.token_hidden",
        part,
        &[wide, hidden],
        fan(wide),
        false,
    );
    add(
        "structure.token_hidden_bias",
        part,
        &[hidden],
        Begin::Zero,
        false,
    );
    add(
        "structure.token_out",
        part,
        &[tokens, hidden],
        fan(hidden),
        true,
    );
    add(
        "structure.token_out_bias",
        part,
        &[tokens],
        Begin::Zero,
        true,
    );
    let choice = s.choice_hidden;
    add(
        "structure.choice_hidden",
        part,
        &[wide, choice],
        fan(wide),
        false,
    );
    add(
        "structure.choice_hidden_bias",
        part,
        &[choice],
        Begin::Zero,
        false,
    );
    add(
        "structure.choice_token",
        part,
        &[tokens, choice],
        embedding,
        true,
    );
    add(
        "structure.choice_status",
        part,
        &[STATUSES, choice],
        embedding,
        false,
    );
    add(
        "structure.profile",
        part,
        &[profiles, PROFILE_WIDTH],
        Begin::AfterFirst(0.5),
        true,
    );
    add(
        "structure.profile_out",
        part,
        &[profiles, choice],
        fan(choice),
        true,
    );
    add(
        "structure.profile_out_bias",
        part,
        &[profiles],
        Begin::Zero,
        true,
    );
    add(
        "structure.choice_profile",
        part,
        &[profiles, choice],
        Begin::Zero,
        true,
    );
    add(
        "structure.status_out",
        part,
        &[choice, STATUSES],
        fan(choice),
        false,
    );
    add(
        "structure.status_out_bias",
        part,
        &[STATUSES],
        Begin::Zero,
        false,
    );
    add(
        "structure.arity_out",
        part,
        &[choice, s.arities],
        fan(choice),
        false,
    );
    add(
        "structure.arity_out_bias",
        part,
        &[s.arities],
        Begin::Zero,
        false,
    );
    add(
        "structure.link_out",
        part,
        &[choice, LINKS],
        fan(choice),
        false,
    );
    add(
        "structure.link_out_bias",
        part,
        &[LINKS],
        Begin::Zero,
        false,
    );

    let part = Part::Timing;
    add(
        "timing.token",
        part,
        &[tokens + 1, s.embedding],
        embedding,
        true,
    );
    let keys = s.recall_heads * s.recall_width;
    for name in [
        "timing.query",
        "timing.query_parent",
        "timing.key",
        "timing.key_parent",
    ] {
        add(name, part, &[tokens + 1, keys], Begin::Within(1.5), true);
    }
    let plan = s.plan;
    add("timing.plan_token", part, &[tokens, plan], embedding, true);
    add(
        "timing.plan_hidden",
        part,
        &[2 * plan, plan],
        fan(2 * plan),
        false,
    );
    add("timing.plan_hidden_bias", part, &[plan], Begin::Zero, false);
    add("timing.gates", part, &[told, 3 * timing], fan(told), false);
    add("timing.gates_bias", part, &[3 * timing], Begin::Zero, false);
    add(
        "timing.recurrent",
        part,
        &[timing, 3 * timing],
        fan(timing),
        false,
    );
    let wide = told + timing;
    add(
        "timing.start_hidden",
        part,
        &[wide, timing],
        fan(wide),
        false,
    );
    add(
        "timing.start_hidden_bias",
        part,
        &[timing],
        Begin::Zero,
        false,
    );
    add(
        "timing.start_gain",
        part,
        &[tokens, timing],
        Begin::Zero,
        true,
    );
    add(
        "timing.start_mode_out",
        part,
        &[timing, s.start_modes],
        fan(timing),
        false,
    );
    add(
        "timing.start_mode_out_bias",
        part,
        &[s.start_modes],
        Begin::Zero,
        false,
    );
    add(
        "timing.start_mode",
        part,
        &[s.start_modes, timing],
        embedding,
        false,
    );
    // Bins begin near the shares that the coder counted: these add smooth curves, small ones.
    add(
        "timing.start_bin_out",
        part,
        &[timing, s.bins],
        Begin::Smooth(BEND / (timing as f32).sqrt()),
        false,
    );
    add(
        "timing.start_bin_out_bias",
        part,
        &[s.bins],
        Begin::Zero,
        false,
    );
    add("timing.end_hidden", part, &[wide, timing], fan(wide), false);
    add(
        "timing.end_hidden_bias",
        part,
        &[timing],
        Begin::Zero,
        false,
    );
    add(
        "timing.end_gain",
        part,
        &[tokens, timing],
        Begin::Zero,
        true,
    );
    add(
        "timing.end_start_mode",
        part,
        &[s.start_modes, timing],
        embedding,
        false,
    );
    add(
        "timing.end_start_bin",
        part,
        &[s.bins, timing],
        Begin::Within(0.1),
        false,
    );
    add(
        "timing.end_mode_out",
        part,
        &[timing, s.end_modes],
        fan(timing),
        false,
    );
    add(
        "timing.end_mode_out_bias",
        part,
        &[s.end_modes],
        Begin::Zero,
        false,
    );
    add(
        "timing.end_mode",
        part,
        &[s.end_modes, timing],
        embedding,
        false,
    );
    add(
        "timing.end_bin_out",
        part,
        &[timing, s.bins],
        Begin::Smooth(BEND / (timing as f32).sqrt()),
        false,
    );
    add(
        "timing.end_bin_out_bias",
        part,
        &[s.bins],
        Begin::Zero,
        false,
    );

    let part = Part::Encoder;
    let inputs = graph_inputs(s);
    add(
        "encoder.token",
        part,
        &[tokens + 1, s.embedding],
        embedding,
        true,
    );
    add(
        "encoder.status",
        part,
        &[STATUSES + 1, STATUS_WIDTH],
        embedding,
        false,
    );
    add("encoder.input", part, &[inputs, graph], fan(inputs), false);
    add("encoder.input_bias", part, &[graph], Begin::Zero, false);
    add(
        "encoder.round1",
        part,
        &[3 * graph, graph],
        fan(3 * graph),
        false,
    );
    add("encoder.round1_bias", part, &[graph], Begin::Zero, false);
    add(
        "encoder.round2",
        part,
        &[3 * graph, graph],
        fan(3 * graph),
        false,
    );
    add("encoder.round2_bias", part, &[graph], Begin::Zero, false);
    add(
        "encoder.out",
        part,
        &[2 * graph, s.code_size],
        fan(2 * graph),
        false,
    );
    specs
}

impl Begin {
    /// First values of so many rows of this width.
    pub(super) fn fill(
        self,
        values: &mut Vec<f32>,
        rows: usize,
        width: usize,
        rng: &mut impl rand::Rng,
    ) {
        let mut within = |range: f32| (rng.random::<f32>() * 2.0 - 1.0) * range;
        for _ in 0..rows {
            match self {
                Self::Zero => values.resize(values.len() + width, 0.0),
                Self::AfterFirst(_) if values.is_empty() => values.resize(width, 0.0),
                Self::Within(range) | Self::AfterFirst(range) => {
                    values.extend((0..width).map(|_| within(range)));
                }
                Self::Smooth(range) => {
                    let weights = [within(range), within(range), within(range), within(range)];
                    values.extend((0..width).map(|column| {
                        let x = 2.0 * (column as f32 + 0.5) / width as f32 - 1.0;
                        let curves = [
                            x,
                            1.5 * x * x - 0.5,
                            2.5 * x * x * x - 1.5 * x,
                            (35.0 * x * x * x * x - 30.0 * x * x + 3.0) / 8.0,
                        ];
                        weights.iter().zip(curves).map(|(w, c)| w * c).sum::<f32>()
                    }));
                }
            }
        }
    }
}
