//! What a step learns from, and what it says of it.

use super::{ProfileRows, VaeSettings};
use crate::model::{Example, TimeCode};

/// One trace with what the timing network is told before each span.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Lesson {
    /// The trace.
    pub example: Example,
    /// What is known before each span's times. Shape: `[spans * features]`.
    pub told: Vec<f32>,
    /// How high each span's start and end are among training values: what later spans may look
    /// back at. Shape: `[spans * 2]`.
    pub scores: Vec<f32>,
    /// Log shares of training values per bin, in the mode that the start has. Shape: `[spans * bins]`.
    pub start_shares: Vec<f32>,
    /// Log shares of training values per bin, in the mode that the end has. Shape: `[spans * bins]`.
    pub end_shares: Vec<f32>,
    /// Log shares of training spans per start mode. Shape: `[spans * start_modes]`.
    pub start_mode_shares: Vec<f32>,
    /// Log shares of training spans per end mode. Shape: `[spans * end_modes]`.
    pub end_mode_shares: Vec<f32>,
    /// Which start modes say something for each span: bit `m` for mode `m`. Shape: `[spans]`.
    pub start_fits: Vec<u16>,
    /// Which end modes say something for each span: bit `m` for mode `m`. Shape: `[spans]`.
    pub end_fits: Vec<u16>,
}

/// The terms of the objective, in nats per trace, unweighted but for `total`.
///
/// z_v is inverse-CDF noise (decision 3): the decoder maps it to the span, so all three terms of a
/// span are KL(q(z_v|G) || p) of coordinates of z_v. They are told apart by what the coordinates
/// decide: the span's label, its edges, its times.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Terms {
    /// L_node + lambda_edge L_edge + beta_graph KL_G + beta_node sum of KL_v.
    pub total: f64,
    /// L_node: cross-entropy of service, operation and kind (one token), of status and of the
    /// attribute profile.
    pub node: f64,
    /// L_edge: cross-entropy of the numbers of children, which decide the tree, and of links.
    pub edge: f64,
    /// KL(q(z_G|G) || p) = -log p(code): q is the one code that the encoder chooses.
    pub kl_graph: f64,
    /// Sum over spans of KL(q(z_v|G) || p) for the times: modes and bins of starts and ends.
    pub kl_node: f64,
}

impl Lesson {
    /// Says how the lesson does not fit, if it does not.
    pub(super) fn fault(
        &self,
        settings: &VaeSettings,
        tokens: usize,
        profiles: &ProfileRows,
    ) -> Option<&'static str> {
        if let Some(fault) = example_fault(&self.example, tokens, profiles) {
            return Some(fault);
        }
        let (example, spans) = (&self.example, self.example.len());
        let Example { start, end, .. } = example;
        if [self.start_fits.len(), self.end_fits.len()] != [spans; 2] {
            return Some("not every span has everything");
        }
        let bins = spans * settings.bins;
        if self.scores.len() != spans * 2 {
            return Some("the scores of its times have another size");
        }
        let modes = [settings.start_modes, settings.end_modes].map(|modes| spans * modes);
        if [self.start_mode_shares.len(), self.end_mode_shares.len()] != modes {
            return Some("the shares of its modes have another size");
        }
        if self.told.len() != spans * settings.features
            || [self.start_shares.len(), self.end_shares.len()] != [bins; 2]
        {
            return Some("what is told of its times has another size");
        }
        let known = |code: &TimeCode, modes: usize| {
            usize::from(code.mode) < modes && usize::from(code.bin) < settings.bins
        };
        let starts = start.iter().all(|code| known(code, settings.start_modes));
        if !starts || !end.iter().all(|code| known(code, settings.end_modes)) {
            return Some("a mode or a bin does not exist");
        }
        None
    }
}

/// Says how an example does not fit a vocabulary, if it does not.
pub(super) fn example_fault(
    example: &Example,
    tokens: usize,
    profiles: &ProfileRows,
) -> Option<&'static str> {
    let Example {
        arity,
        status,
        profile,
        start,
        end,
        ..
    } = example;
    let sizes = [
        arity.len(),
        status.len(),
        profile.len(),
        start.len(),
        end.len(),
    ];
    if sizes != [example.len(); 5] {
        return Some("not every span has everything");
    }
    if example.tokens.iter().any(|&token| token as usize >= tokens) {
        return Some("a token is not in the vocabulary");
    }
    (!profiles.fit(example)).then_some("a profile is not its token's")
}
