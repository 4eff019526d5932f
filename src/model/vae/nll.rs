//! Cross-entropy of rows of logits, as one operation with its own gradient.

use std::sync::OnceLock;

use candle_core::{CpuStorage, CustomOp1, Layout, Result, Shape, Tensor, bail};

use super::gru::numbers;
use crate::model::dense::exponents;

struct Nll {
    targets: Vec<u32>,
    /// Probabilities. [rows, outcomes].
    kept: OnceLock<Vec<f32>>,
}

/// -log softmax(logits)[target] of each row. Shapes: logits [rows, outcomes] -> [rows].
pub(super) fn nll(logits: &Tensor, targets: Vec<u32>) -> Result<Tensor> {
    let kept = OnceLock::new();
    logits.contiguous()?.apply_op1(Nll { targets, kept })
}

impl CustomOp1 for Nll {
    fn name(&self) -> &'static str {
        "nll"
    }

    fn cpu_fwd(&self, logits: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let (rows, outcomes) = layout.shape().dims2()?;
        let mut shares = numbers(logits, layout)?.to_vec();
        if rows != self.targets.len() {
            bail!("{rows} rows of logits for {} targets", self.targets.len());
        }
        let mut nats = Vec::with_capacity(rows);
        for (row, &target) in shares.chunks_exact_mut(outcomes).zip(&self.targets) {
            let Some(&logit) = row.get(target as usize) else {
                bail!("target {target} of {outcomes} outcomes");
            };
            let highest = exponents(row);
            let total: f32 = row.iter().sum();
            nats.push(total.ln() + highest - logit);
            let scale = 1.0 / total;
            for share in row {
                *share *= scale;
            }
        }
        self.kept.get_or_init(|| shares);
        Ok((CpuStorage::F32(nats), Shape::from(rows)))
    }

    fn bwd(&self, logits: &Tensor, _: &Tensor, gradient: &Tensor) -> Result<Option<Tensor>> {
        let Some(shares) = self.kept.get() else {
            bail!("the gradient of a cross-entropy was asked for before its value");
        };
        let (rows, outcomes) = logits.dims2()?;
        let gradient = gradient.to_vec1::<f32>()?;
        let mut back = shares.clone();
        let rows_back = back.chunks_exact_mut(outcomes).zip(&self.targets);
        for ((row, &target), &gradient) in rows_back.zip(&gradient) {
            row[target as usize] -= 1.0;
            for share in row {
                *share *= gradient;
            }
        }
        Tensor::from_vec(back, (rows, outcomes), logits.device()).map(Some)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::{Device, Var};

    #[test]
    fn nats_and_gradients_are_those_worked_by_hand() {
        // Shares 1/2, 1/4, 1/4 and 1/3 each.
        let logits = [[2_f32.ln(), 0.0, 0.0], [5.0, 5.0, 5.0]];
        let logits = Var::new(&logits, &Device::Cpu).unwrap();
        let nats = nll(logits.as_tensor(), vec![1, 2]).unwrap();
        let told = nats.to_vec1::<f32>().unwrap();
        assert!((told[0] - 4_f32.ln()).abs() < 1e-5 && (told[1] - 3_f32.ln()).abs() < 1e-5);
        let gradients = nats.sum_all().unwrap().backward().unwrap();
        let gradient = gradients
            .get(logits.as_tensor())
            .unwrap()
            .to_vec2::<f32>()
            .unwrap();
        let expected = [[0.5, -0.75, 0.25], [1.0 / 3.0, 1.0 / 3.0, -2.0 / 3.0]];
        for (told, expected) in gradient.iter().flatten().zip(expected.iter().flatten()) {
            assert!((told - expected).abs() < 1e-5);
        }
    }
}
