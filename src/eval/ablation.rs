//! Ablations: what is left of a generator's figures when a latent, the discriminator or the evenness
//! of its draws is taken away.
//!
//! z_v is the noise that the decoder's choices are drawn with (decision 3); without it every choice
//! is the median one, and all that differs between traces is z_G. Without z_G there is one code of
//! zeros, and all that differs is z_v. With Gaussian z_v it is another model, of `gaussian`.

use serde::Serialize;

use super::Immeasurable;
use super::features::Features;
use super::fidelity::fidelity;
use super::figures::Figures;
use super::two_sample::{Told, two_sample};
use crate::features::Interner;
use crate::trace::Trace;

/// Splits that an area under the curve is the mean of.
const SPLITS: u64 = 3;

/// The figures that are compared: key in [`super::METRICS`], short name.
pub const ABLATED: [(&str, &str); 5] = [
    ("c2st", "J1"),
    ("c2st_structure", "J2"),
    ("overall", "overall"),
    ("shape_distance", "shape TV"),
    ("operation_durations", "W1"),
];

/// What limits a draw, and what does not. A test of the sampler holds it.
pub const LIMITS: &str = "Masks and clipping: there is no mask of structures or prefixes seen in \
    training. Where the discriminator takes part, a trace that was drawn is kept with a chance that is \
    in proportion to the density ratio learnt from training traces and drawn ones (discriminator \
    rejection sampling, a resampled prior); the row without it keeps every trace. Every label, status and attribute \
    profile of the vocabulary, which has only those above the floor, can be drawn anywhere. What \
    limits a draw: numbers of children end where a trace would have more than max_spans spans (and \
    reach the size, where an exact one is asked for); a way to say when a span starts or ends is only \
    drawn where it says something (no gap to a sibling without one); a distance in time lies within \
    the bins of its context, which end at the least and the largest training value (the two bins \
    beyond are for encoding only); a start is never before an earlier sibling's, and an end never \
    before its start; where all training starts of a label lie on the ticks of a coarse clock, drawn \
    ones do. So there is no variant with a mask or without clipping to compare with.";

/// What z_v is in an ablation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Noise {
    /// The noise that the decoder's choices are drawn with, as the model has it.
    InverseCdf,
    /// That noise at its median.
    Median,
    /// Amortised Gaussian latents, in a model of its own: see [`super::gaussian`].
    Gaussian,
}

impl Noise {
    /// In words.
    pub fn words(self) -> &'static str {
        match self {
            Self::InverseCdf => "drawn",
            Self::Median => "median",
            Self::Gaussian => "Gaussian",
        }
    }
}

/// A generator with and without a latent.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Ablation {
    /// The model.
    pub model: String,
    /// Codes of z_G: 0 without it.
    pub codes: usize,
    /// What z_v is.
    pub noise: Noise,
    /// Whether the discriminator said which of the drawn traces to keep.
    pub discriminator: bool,
    /// Whether draws lie evenly over what the model draws, in place of each being independent.
    pub even: bool,
    /// Those of [`ABLATED`].
    pub figures: Figures,
}

impl Ablation {
    /// z_G, z_v, the discriminator and the draws in words.
    pub fn parts(&self) -> [String; 4] {
        let code = match self.codes {
            0 => "none".to_owned(),
            codes => format!("{codes} codes"),
        };
        let discriminator = if self.discriminator { "yes" } else { "no" };
        [
            code,
            self.noise.words().to_owned(),
            discriminator.to_owned(),
            if self.even { "even" } else { "independent" }.to_owned(),
        ]
    }
}

/// The figures of ablations: of as many traces as were held out.
#[derive(Debug)]
pub struct Ablated<'a> {
    held_out: &'a [Trace],
    features: Vec<Features>,
    texts: &'a Interner,
    seed: u64,
}

impl<'a> Ablated<'a> {
    /// Looks at the held-out traces.
    pub fn new(held_out: &'a [Trace], texts: &'a Interner, seed: u64) -> Self {
        Self {
            held_out,
            features: Features::all(held_out),
            texts,
            seed,
        }
    }

    /// The figures of [`ABLATED`] for traces, as [`super::Bench`] measures them.
    pub fn figures(&self, traces: &[Trace]) -> Result<Figures, Immeasurable> {
        let report = fidelity(self.held_out, traces);
        let features = Features::all(traces);
        let tell = |told| {
            let sides = [&*self.features, &features];
            two_sample(sides, told, (self.seed, SPLITS), self.texts).map(|told| told.auc)
        };
        Ok(Figures::from([
            ("c2st", tell(Told::All)?),
            ("c2st_structure", tell(Told::Structure)?),
            ("overall", report.overall),
            ("shape_distance", report.shape_distance),
            ("operation_durations", report.operation_durations),
        ]))
    }
}
