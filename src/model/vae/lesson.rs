//! What a step learns from, and what it says of it.

use crate::model::Example;

/// One trace with what the timing network is told before each span.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Lesson {
    /// The trace.
    pub example: Example,
    /// What is known before each span's times. Shape: [spans * features].
    pub told: Vec<f32>,
    /// Log shares of training values per bin, in the mode that the start has. [spans * bins].
    pub start_shares: Vec<f32>,
    /// Log shares of training values per bin, in the mode that the end has. [spans * bins].
    pub end_shares: Vec<f32>,
    /// Which start modes say something for each span: bit `m` for mode `m`. [spans].
    pub start_fits: Vec<u16>,
    /// Which end modes say something for each span: bit `m` for mode `m`. [spans].
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
    /// L_node: cross-entropy of service, operation and kind (one token) and of status.
    pub node: f64,
    /// L_edge: cross-entropy of the numbers of children, which decide the tree, and of links.
    pub edge: f64,
    /// KL(q(z_G|G) || p) = -log p(code): q is the one code that the encoder chooses.
    pub kl_graph: f64,
    /// Sum over spans of KL(q(z_v|G) || p) for the times: modes and bins of starts and ends.
    pub kl_node: f64,
}
