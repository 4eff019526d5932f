//! Layers of the decoder, compiled: padded to whole vectors, embeddings multiplied in beforehand.

use std::ops::Range;

use crate::model::dense::{add_product, add_row};
use crate::model::{VaeError, Weights};

/// Columns are padded to a multiple of this.
const LANES: usize = 16;

/// A matrix cut out of a tensor: some of its rows, all of its columns.
pub(super) struct Block<'a> {
    pub(super) rows: usize,
    pub(super) cols: usize,
    pub(super) numbers: &'a [f32],
}

/// The tensor of this name as a matrix; a vector is one row.
pub(super) fn matrix<'a>(weights: &'a Weights, name: &str) -> Result<Block<'a>, VaeError> {
    let (shape, numbers) = weights.tensor(name)?;
    match *shape {
        [rows, cols] => Ok(Block {
            rows,
            cols,
            numbers,
        }),
        [cols] => Ok(Block {
            rows: 1,
            cols,
            numbers,
        }),
        _ => Err(VaeError::Damaged(format!("{name} is no matrix"))),
    }
}

impl<'a> Block<'a> {
    /// Some of its rows.
    pub(super) fn part(&self, rows: Range<usize>) -> Result<Block<'a>, VaeError> {
        let numbers = self
            .numbers
            .get(rows.start * self.cols..rows.end * self.cols);
        Ok(Block {
            rows: rows.len(),
            cols: self.cols,
            numbers: numbers.ok_or_else(|| VaeError::Damaged("a tensor is too short".into()))?,
        })
    }
}

/// Matrices side by side, padded to whole vectors. All have the same number of rows.
fn beside(blocks: &[Block<'_>]) -> (Vec<f32>, usize) {
    let used: usize = blocks.iter().map(|block| block.cols).sum();
    let cols = used.next_multiple_of(LANES);
    let rows = blocks.first().map_or(0, |block| block.rows);
    let mut numbers = Vec::with_capacity(rows * cols);
    for row in 0..rows {
        for block in blocks {
            numbers.extend_from_slice(&block.numbers[row * block.cols..(row + 1) * block.cols]);
        }
        numbers.resize((row + 1) * cols, 0.0);
    }
    (numbers, cols)
}

/// Linear layers side by side over the same input.
#[derive(Debug)]
pub(super) struct Layer {
    depth: usize,
    cols: usize,
    weight: Vec<f32>,
    bias: Vec<f32>,
}

impl Layer {
    /// Weights [depth, outputs] and biases [outputs] of each.
    pub(super) fn new(weights: &[Block<'_>], biases: &[Block<'_>]) -> Self {
        let depth = weights.first().map_or(0, |block| block.rows);
        let (weight, cols) = beside(weights);
        let (mut bias, _) = beside(biases);
        bias.resize(cols, 0.0);
        Self {
            depth,
            cols,
            weight,
            bias,
        }
    }

    /// A layer whose weights stand the other way: [outputs, depth].
    pub(super) fn turned(weight: &Block<'_>, bias: &Block<'_>) -> Self {
        let mut turned = Vec::with_capacity(weight.numbers.len());
        for col in 0..weight.cols {
            turned.extend((0..weight.rows).map(|row| weight.numbers[row * weight.cols + col]));
        }
        let block = Block {
            rows: weight.cols,
            cols: weight.rows,
            numbers: &turned,
        };
        Self::new(
            &[block],
            &[Block {
                rows: 1,
                cols: bias.cols,
                numbers: bias.numbers,
            }],
        )
    }

    /// Columns of the output, padding included.
    pub(super) fn cols(&self) -> usize {
        self.cols
    }

    /// `out = x · weight + bias`. Shapes: x [rows, depth] -> out [rows, cols].
    pub(super) fn run(&self, x: &[f32], out: &mut Vec<f32>) {
        out.clear();
        for _ in 0..x.len() / self.depth {
            out.extend_from_slice(&self.bias);
        }
        self.add(x, out);
    }

    /// `out += x · weight`.
    pub(super) fn add(&self, x: &[f32], out: &mut [f32]) {
        add_product(out, x, &self.weight, self.depth, self.cols);
    }
}

/// Rows to be added to others of the same width.
#[derive(Debug)]
pub(super) struct Rows {
    cols: usize,
    numbers: Vec<f32>,
}

impl Rows {
    /// The rows of an embedding, as they are. Its width is a multiple of 16.
    pub(super) fn new(block: &Block<'_>) -> Self {
        Self {
            cols: block.cols,
            numbers: block.numbers.to_vec(),
        }
    }

    /// Width of a row.
    pub(super) fn cols(&self) -> usize {
        self.cols
    }

    /// `row · x`.
    pub(super) fn product(&self, row: usize, x: &[f32]) -> f32 {
        let mut sums = [0.0_f32; LANES];
        let row = &self.numbers[row * self.cols..(row + 1) * self.cols];
        for (row, x) in row.chunks_exact(LANES).zip(x.chunks_exact(LANES)) {
            for ((sum, row), x) in sums.iter_mut().zip(row).zip(x) {
                *sum += row * x;
            }
        }
        sums.iter().sum()
    }

    /// `out += row`.
    pub(super) fn add(&self, row: usize, out: &mut [f32]) {
        add_row(out, &self.numbers[row * self.cols..(row + 1) * self.cols]);
    }

    /// `out *= 1 + row`.
    pub(super) fn gain(&self, row: usize, out: &mut [f32]) {
        let row = &self.numbers[row * self.cols..(row + 1) * self.cols];
        for (number, gain) in out.iter_mut().zip(row) {
            *number += *number * gain;
        }
    }
}

/// The part of a first layer that reads embeddings, numbers and z_G: what an embedding's row or a
/// code adds to the output is worked out beforehand.
#[derive(Debug)]
pub(super) struct First {
    cols: usize,
    codes: Rows,
    labels: Vec<Rows>,
    features: Vec<f32>,
    width: usize,
    plan: Vec<f32>,
}

/// What a first layer's input columns are, in order.
pub(super) enum Input<'a> {
    /// A row of this embedding.
    Label(&'a str),
    /// So many numbers.
    Features(usize),
    /// So many numbers that are the same for all spans of a trace.
    Plan(usize),
    /// z_G.
    Code,
}

impl First {
    /// Layers (weight, bias) side by side over the same inputs; further rows of the weights, for
    /// inputs behind these, are left to others.
    pub(super) fn new(
        weights: &Weights,
        inputs: &[Input<'_>],
        layers: &[(&str, &str)],
    ) -> Result<Self, VaeError> {
        let mut first = Self {
            cols: 0,
            codes: Rows {
                cols: 0,
                numbers: Vec::new(),
            },
            labels: Vec::new(),
            features: Vec::new(),
            width: 0,
            plan: Vec::new(),
        };
        let parts = |rows: Range<usize>| -> Result<(Vec<f32>, usize), VaeError> {
            let blocks: Result<Vec<_>, _> = layers
                .iter()
                .map(|(weight, _)| matrix(weights, weight)?.part(rows.clone()))
                .collect();
            Ok(beside(&blocks?))
        };
        let product = |rows: &[f32], width: usize, part: &[f32], cols: usize| {
            let mut out = vec![0.0; rows.len() / width * cols];
            add_product(&mut out, rows, part, width, cols);
            out
        };
        let mut at = 0;
        for input in inputs {
            match *input {
                Input::Label(name) => {
                    let table = matrix(weights, name)?;
                    let (part, cols) = parts(at..at + table.cols)?;
                    at += table.cols;
                    let numbers = product(table.numbers, table.cols, &part, cols);
                    first.labels.push(Rows { cols, numbers });
                    first.cols = cols;
                }
                Input::Features(width) => {
                    let (part, cols) = parts(at..at + width)?;
                    at += width;
                    (first.features, first.width, first.cols) = (part, width, cols);
                }
                Input::Plan(width) => {
                    (first.plan, first.cols) = parts(at..at + width)?;
                    at += width;
                }
                Input::Code => {
                    let width = weights.settings().code_size;
                    let (part, cols) = parts(at..at + width)?;
                    at += width;
                    let mut numbers = product(weights.codes(), width, &part, cols);
                    let biases: Result<Vec<_>, _> = layers
                        .iter()
                        .map(|(_, bias)| matrix(weights, bias))
                        .collect();
                    let (bias, _) = beside(&biases?);
                    for code in numbers.chunks_exact_mut(cols) {
                        add_row(code, &bias);
                    }
                    first.codes = Rows { cols, numbers };
                    first.cols = cols;
                }
            }
        }
        Ok(first)
    }

    /// Columns of the output.
    pub(super) fn cols(&self) -> usize {
        self.cols
    }

    /// Sets a row of the output to what its code and labels say. Shape: out [cols].
    pub(super) fn begin(&self, code: usize, labels: &[u32], out: &mut [f32]) {
        out.fill(0.0);
        self.codes.add(code, out);
        for (table, &label) in self.labels.iter().zip(labels) {
            table.add(label as usize, out);
        }
    }

    /// Adds to `out` what a trace's code and plan say to all of its spans. Shape: out [cols].
    pub(super) fn base(&self, code: usize, plan: &[f32], out: &mut Vec<f32>) {
        let from = out.len();
        out.resize(from + self.cols, 0.0);
        self.codes.add(code, &mut out[from..]);
        add_product(&mut out[from..], plan, &self.plan, plan.len(), self.cols);
    }

    /// As [`First::begin`], from a trace's base.
    pub(super) fn begin_at(&self, base: &[f32], labels: &[u32], out: &mut [f32]) {
        out.copy_from_slice(base);
        for (table, &label) in self.labels.iter().zip(labels) {
            table.add(label as usize, out);
        }
    }

    /// Adds what the numbers say. Shapes: features [rows, width] -> out [rows, cols].
    pub(super) fn add(&self, features: &[f32], out: &mut [f32]) {
        add_product(out, features, &self.features, self.width, self.cols);
    }
}

/// `max(x, 0)` of some columns of each row, one after another in `out`.
pub(super) fn relu(x: &[f32], cols: usize, part: Range<usize>, out: &mut Vec<f32>) {
    out.clear();
    for row in x.chunks_exact(cols) {
        out.extend(row[part.clone()].iter().map(|x| x.max(0.0)));
    }
}
