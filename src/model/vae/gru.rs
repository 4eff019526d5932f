//! A gated recurrent unit over packed sequences, as one operation with its own gradient.
//!
//! Packed: rows are ordered by step, and within a step by sequence, the longest first. Step `t`
//! has `steps[t]` rows, never more than step `t - 1`, so nothing is padded.

use std::sync::{Arc, OnceLock};

use candle_core::{CpuStorage, CustomOp2, Layout, Result, Shape, Tensor, bail};

use crate::model::dense::{GruBack, add_product, gru_step};

/// Sizes of the steps of packed sequences.
pub(super) type Steps = Arc<[usize]>;

struct Gru {
    steps: Steps,
    hidden: usize,
    kept: OnceLock<Kept>,
}

/// What the gradient needs of the forward pass.
struct Kept {
    /// (r, z, n). [rows, 3 hidden].
    gates: Vec<f32>,
    /// The candidate's part of the projected state. [rows, hidden].
    u_n: Vec<f32>,
}

/// Runs over all steps from a state of zeros.
///
/// Shapes: x [rows, 3 hidden] (the projected inputs), recurrent [hidden, 3 hidden] -> states
/// [rows, hidden].
pub(super) fn gru(x: &Tensor, recurrent: &Tensor, steps: &Steps) -> Result<Tensor> {
    let (hidden, _) = recurrent.dims2()?;
    let op = Gru {
        steps: steps.clone(),
        hidden,
        kept: OnceLock::new(),
    };
    x.apply_op2(recurrent, op)
}

/// The numbers of a contiguous tensor.
pub(super) fn numbers<'a>(storage: &'a CpuStorage, layout: &Layout) -> Result<&'a [f32]> {
    match (storage, layout.contiguous_offsets()) {
        (CpuStorage::F32(numbers), Some((from, to))) => Ok(&numbers[from..to]),
        _ => bail!("expected contiguous single-precision numbers"),
    }
}

impl CustomOp2 for Gru {
    fn name(&self) -> &'static str {
        "gru"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        x_layout: &Layout,
        recurrent: &CpuStorage,
        recurrent_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let hidden = self.hidden;
        let mut gates = numbers(x, x_layout)?.to_vec();
        let recurrent = numbers(recurrent, recurrent_layout)?;
        let rows: usize = self.steps.iter().sum();
        let most = self.steps.first().copied().unwrap_or_default();
        let mut states = vec![0.0; rows * hidden];
        let mut u_n = vec![0.0; rows * hidden];
        let mut state = vec![0.0; most * hidden];
        let mut u = vec![0.0; most * 3 * hidden];
        let mut row = 0;
        for &width in self.steps.iter() {
            let state = &mut state[..width * hidden];
            let u = &mut u[..width * 3 * hidden];
            u.fill(0.0);
            if row > 0 {
                add_product(u, state, recurrent, hidden, 3 * hidden);
            }
            let gates = &mut gates[row * 3 * hidden..(row + width) * 3 * hidden];
            gru_step(gates, u, state, hidden);
            let here = row * hidden..(row + width) * hidden;
            states[here.clone()].copy_from_slice(state);
            for (kept, u) in u_n[here]
                .chunks_exact_mut(hidden)
                .zip(u.chunks_exact(3 * hidden))
            {
                kept.copy_from_slice(&u[2 * hidden..]);
            }
            row += width;
        }
        self.kept.get_or_init(|| Kept { gates, u_n });
        Ok((CpuStorage::F32(states), Shape::from((rows, hidden))))
    }

    fn bwd(
        &self,
        x: &Tensor,
        recurrent: &Tensor,
        states: &Tensor,
        gradient: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let hidden = self.hidden;
        let Some(kept) = self.kept.get() else {
            bail!("the gradient of a recurrent unit was asked for before its states");
        };
        let across = recurrent
            .t()?
            .contiguous()?
            .flatten_all()?
            .to_vec1::<f32>()?;
        let states = states.flatten_all()?.to_vec1::<f32>()?;
        let gradient = gradient.flatten_all()?.to_vec1::<f32>()?;
        let rows = states.len() / hidden;
        let most = self.steps.first().copied().unwrap_or_default();
        // The state before each row: that of the same sequence a step earlier.
        let mut before = vec![0.0; rows * hidden];
        let mut row = most;
        for pair in self.steps.windows(2) {
            let from = row - pair[0];
            let width = pair[1] * hidden;
            before[row * hidden..row * hidden + width]
                .copy_from_slice(&states[from * hidden..from * hidden + width]);
            row += pair[1];
        }
        let mut d_x = vec![0.0; rows * 3 * hidden];
        let mut d_u = vec![0.0; rows * 3 * hidden];
        let mut d_h = vec![0.0; most * hidden];
        let mut row = rows;
        for &width in self.steps.iter().rev() {
            row -= width;
            let narrow = row * hidden..(row + width) * hidden;
            let wide = row * 3 * hidden..(row + width) * 3 * hidden;
            let d_h = &mut d_h[..width * hidden];
            for (d, more) in d_h.iter_mut().zip(&gradient[narrow.clone()]) {
                *d += more;
            }
            GruBack {
                gates: &kept.gates[wide.clone()],
                u_n: &kept.u_n[narrow.clone()],
                h: &before[narrow],
                d_h,
                d_x: &mut d_x[wide.clone()],
                d_u: &mut d_u[wide.clone()],
                hidden,
            }
            .run();
            add_product(d_h, &d_u[wide], &across, 3 * hidden, hidden);
        }
        let device = x.device();
        let before = Tensor::from_vec(before, (rows, hidden), device)?;
        let d_u = Tensor::from_vec(d_u, (rows, 3 * hidden), device)?;
        let d_x = Tensor::from_vec(d_x, (rows, 3 * hidden), device)?;
        Ok((Some(d_x), Some(before.t()?.matmul(&d_u)?)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::{Device, Var};

    const HIDDEN: usize = 16;

    fn numbers(count: usize, seed: usize) -> Vec<f32> {
        (0..count)
            .map(|at| ((at * 29 + seed * 13) % 83) as f32 / 60.0 - 0.7)
            .collect()
    }

    /// The same unit out of candle's own operations, one step at a time.
    fn slow(x: &Tensor, recurrent: &Tensor, steps: &Steps) -> Result<Tensor> {
        let mut all: Vec<Tensor> = Vec::new();
        let mut row = 0;
        for &width in steps.iter() {
            let h = match all.last() {
                Some(h) => h.narrow(0, 0, width)?,
                None => Tensor::zeros((width, HIDDEN), x.dtype(), x.device())?,
            };
            let x = x.narrow(0, row, width)?;
            let u = h.matmul(recurrent)?;
            let part = |of: &Tensor, at| of.narrow(1, at * HIDDEN, HIDDEN);
            let sigmoid = |x: Tensor| (x.neg()?.exp()? + 1.0)?.recip();
            let r = sigmoid((part(&x, 0)? + part(&u, 0)?)?)?;
            let z = sigmoid((part(&x, 1)? + part(&u, 1)?)?)?;
            let n = (part(&x, 2)? + (r * part(&u, 2)?)?)?.tanh()?;
            let h = ((&n - (&z * &n)?)? + (z * h)?)?;
            all.push(h);
            row += width;
        }
        Tensor::cat(&all, 0)
    }

    fn close(one: &Tensor, other: &Tensor) {
        let difference = (one - other).unwrap().abs().unwrap().max_all().unwrap();
        assert!(difference.to_scalar::<f32>().unwrap() < 1e-5);
    }

    #[test]
    fn states_and_gradients_are_those_of_the_formula() {
        let steps: Steps = Arc::new([5, 5, 3, 1, 1]);
        let device = &Device::Cpu;
        let var = |shape: (usize, usize), seed| {
            Var::from_vec(numbers(shape.0 * shape.1, seed), shape, device).unwrap()
        };
        let (x, recurrent) = (var((15, 3 * HIDDEN), 1), var((HIDDEN, 3 * HIDDEN), 2));
        let fast = gru(x.as_tensor(), recurrent.as_tensor(), &steps).unwrap();
        let slow = slow(x.as_tensor(), recurrent.as_tensor(), &steps).unwrap();
        close(&fast, &slow);
        let weight = var((15, HIDDEN), 3).as_tensor().detach();
        let [fast, slow] = [fast, slow].map(|states| {
            let loss = (states * &weight).unwrap().sum_all().unwrap();
            loss.backward().unwrap()
        });
        for var in [&x, &recurrent] {
            close(
                fast.get(var.as_tensor()).unwrap(),
                slow.get(var.as_tensor()).unwrap(),
            );
        }
    }
}
