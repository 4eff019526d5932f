//! The tensors of one pass, by name.

use std::collections::BTreeMap;

use candle_core::{Device, Tensor, Var};

use super::VaeError;
use super::params::Param;

/// The tensors of one pass, by name.
pub(super) struct Net {
    tensors: BTreeMap<&'static str, Tensor>,
}

impl Net {
    /// Trained values, as variables that gradients can be asked of.
    pub(super) fn trained(params: &[Param]) -> Result<Self, VaeError> {
        let mut tensors = BTreeMap::new();
        for Param { spec, value, .. } in params {
            let shape = spec.shape.as_slice();
            let var = Var::from_vec(value.clone(), shape, &Device::Cpu)?;
            tensors.insert(spec.name, var.as_tensor().clone());
        }
        Ok(Self { tensors })
    }

    /// Averaged values.
    pub(super) fn averaged<'a>(
        params: impl IntoIterator<Item = &'a Param>,
    ) -> Result<Self, VaeError> {
        let mut tensors = BTreeMap::new();
        for Param { spec, average, .. } in params {
            let shape = spec.shape.as_slice();
            let tensor = Tensor::from_vec(average.clone(), shape, &Device::Cpu)?;
            tensors.insert(spec.name, tensor);
        }
        Ok(Self { tensors })
    }

    /// A tensor by name.
    pub(super) fn get(&self, name: &'static str) -> Result<&Tensor, VaeError> {
        let tensor = self.tensors.get(name);
        tensor.ok_or_else(|| VaeError::Damaged(format!("there is no tensor {name}")))
    }

    /// `x · weight + bias`. Shapes: x [rows, inputs] -> [rows, outputs].
    pub(super) fn linear(
        &self,
        x: &Tensor,
        weight: &'static str,
        bias: &'static str,
    ) -> Result<Tensor, VaeError> {
        let product = x.matmul(self.get(weight)?)?;
        Ok(product.broadcast_add(self.get(bias)?)?)
    }

    /// Rows of an embedding. Shapes: rows [n] -> [n, width].
    pub(super) fn rows(&self, name: &'static str, rows: &[u32]) -> Result<Tensor, VaeError> {
        let rows = Tensor::new(rows, &Device::Cpu)?;
        Ok(self.get(name)?.index_select(&rows, 0)?)
    }
}
