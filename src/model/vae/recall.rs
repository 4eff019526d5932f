//! A look back: each span asks the earlier spans of its trace for the scores of their times.
//!
//! Queries and keys are of labels alone, so that it learns which operations' times hang together
//! however far apart they stand; what comes back is, per head, the weighted mean of the scores.
//! One more thing to look at, always there, says nothing: nobody has to listen.

use candle_core::{CpuStorage, CustomOp2, Layout, Result, Shape, Tensor, bail};

use super::batch::Packed;
use super::gru::{Steps, numbers};
use crate::model::dense::exponents;

/// Numbers that a span has to give: the scores of its start and its end.
const SCORES: usize = 2;

struct Recall {
    heads: usize,
    steps: Steps,
    offsets: Vec<usize>,
    scores: Vec<f32>,
}

/// Shapes: queries and keys [rows, heads * width] -> [rows, heads * 2].
pub(super) fn recall(
    queries: &Tensor,
    keys: &Tensor,
    heads: usize,
    packed: &Packed,
    scores: &[f32],
) -> Result<Tensor> {
    let recall = Recall {
        heads,
        steps: packed.steps.clone(),
        offsets: packed.offsets.clone(),
        scores: scores.to_vec(),
    };
    queries.contiguous()?.apply_op2(&keys.contiguous()?, recall)
}

impl Recall {
    /// Visits each span that has earlier ones, per head: its row, the rows of the earlier ones,
    /// the head and the weight of each earlier one.
    fn visit(
        &self,
        queries: &[f32],
        keys: &[f32],
        cols: usize,
        mut each: impl FnMut(usize, &[usize], usize, &[f32]),
    ) {
        let width = cols / self.heads;
        let scale = 1.0 / (width as f32).sqrt();
        let mut rows: Vec<usize> = Vec::new();
        let mut weights: Vec<f32> = Vec::new();
        for column in 0..self.steps.first().copied().unwrap_or_default() {
            rows.clear();
            for (step, &columns) in self.steps.iter().enumerate() {
                if columns <= column {
                    break;
                }
                let row = self.offsets[step] + column;
                for head in 0..self.heads {
                    let of = head * width..(head + 1) * width;
                    let query = &queries[row * cols..][of.clone()];
                    weights.clear();
                    weights.extend(rows.iter().map(|earlier| {
                        let key = &keys[earlier * cols..][of.clone()];
                        query.iter().zip(key).map(|(q, k)| q * k).sum::<f32>() * scale
                    }));
                    weights.push(0.0);
                    exponents(&mut weights);
                    let total: f32 = weights.iter().sum();
                    weights.iter_mut().for_each(|weight| *weight /= total);
                    each(row, &rows, head, &weights);
                }
                rows.push(row);
            }
        }
    }
}

impl CustomOp2 for Recall {
    fn name(&self) -> &'static str {
        "recall"
    }

    fn cpu_fwd(
        &self,
        queries: &CpuStorage,
        layout: &Layout,
        keys: &CpuStorage,
        keys_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (rows, cols) = layout.shape().dims2()?;
        let (queries, keys) = (numbers(queries, layout)?, numbers(keys, keys_layout)?);
        if rows * SCORES != self.scores.len() || keys.len() != queries.len() {
            bail!("queries, keys and scores differ in number");
        }
        let mut out = vec![0.0; rows * self.heads * SCORES];
        self.visit(queries, keys, cols, |row, earlier, head, weights| {
            let out = &mut out[(row * self.heads + head) * SCORES..][..SCORES];
            for (&earlier, weight) in earlier.iter().zip(weights) {
                let scores = &self.scores[earlier * SCORES..][..SCORES];
                for (out, score) in out.iter_mut().zip(scores) {
                    *out += weight * score;
                }
            }
        });
        let shape = Shape::from((rows, self.heads * SCORES));
        Ok((CpuStorage::F32(out), shape))
    }

    fn bwd(
        &self,
        queries: &Tensor,
        keys: &Tensor,
        _: &Tensor,
        gradient: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let (rows, cols) = queries.dims2()?;
        let width = cols / self.heads;
        let scale = 1.0 / (width as f32).sqrt();
        let flat = |tensor: &Tensor| tensor.flatten_all()?.to_vec1::<f32>();
        let (query, key) = (flat(queries)?, flat(keys)?);
        let gradient = flat(gradient)?;
        let mut back = [vec![0.0_f32; rows * cols], vec![0.0_f32; rows * cols]];
        let [back_query, back_key] = &mut back;
        self.visit(&query, &key, cols, |row, earlier, head, weights| {
            let asked = &gradient[(row * self.heads + head) * SCORES..][..SCORES];
            let worth = |earlier: usize| -> f32 {
                let scores = &self.scores[earlier * SCORES..][..SCORES];
                asked.iter().zip(scores).map(|(g, s)| g * s).sum()
            };
            let mean: f32 = earlier
                .iter()
                .zip(weights)
                .map(|(&earlier, weight)| weight * worth(earlier))
                .sum();
            let from = row * cols + head * width;
            for (&earlier, weight) in earlier.iter().zip(weights) {
                let push = weight * (worth(earlier) - mean) * scale;
                let to = earlier * cols + head * width;
                for at in 0..width {
                    back_query[from + at] += push * key[to + at];
                    back_key[to + at] += push * query[from + at];
                }
            }
        });
        let shape = (rows, cols);
        let [query, key] = back.map(|back| Tensor::from_vec(back, shape, queries.device()));
        Ok((Some(query?), Some(key?)))
    }
}
