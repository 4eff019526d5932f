//! Means of rows that point to the same target, as one matrix operation.

use candle_core::{DType, Device, Tensor};

use super::VaeError;

/// The mean, at each target, of the rows that point to it; zero where none does.
pub(super) struct Mean {
    from: Tensor,
    to: Tensor,
    /// One over the number of rows that point to each target. [targets, 1].
    scale: Tensor,
}

impl Mean {
    pub(super) fn new(from: &[u32], to: &[u32], targets: usize) -> Result<Self, VaeError> {
        let mut counts = vec![0.0_f32; targets];
        for &target in to {
            counts[target as usize] += 1.0;
        }
        let scale: Vec<f32> = counts.iter().map(|count| 1.0 / count.max(1.0)).collect();
        let device = &Device::Cpu;
        Ok(Self {
            from: Tensor::new(from, device)?,
            to: Tensor::new(to, device)?,
            scale: Tensor::from_vec(scale, (targets, 1), device)?,
        })
    }

    /// Shapes: x [rows, width] -> [targets, width].
    pub(super) fn of(&self, x: &Tensor) -> Result<Tensor, VaeError> {
        let (targets, _) = self.scale.dims2()?;
        let sums = Tensor::zeros((targets, x.dim(1)?), DType::F32, x.device())?;
        if self.from.dim(0)? == 0 {
            return Ok(sums);
        }
        let rows = x.index_select(&self.from, 0)?;
        let sums = sums.index_add(&self.to, &rows, 0)?;
        Ok(sums.broadcast_mul(&self.scale)?)
    }
}
