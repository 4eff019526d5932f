//! What serving needs of a VAE: plain buffers, no gradients, nothing observed.

use super::params::Tensors;
use super::{ProfileRows, VaeError, VaeSettings};

/// Averaged weights, codes and their prior. The encoder is not among them.
#[derive(Debug, Clone, PartialEq)]
pub struct Weights {
    settings: VaeSettings,
    tokens: usize,
    profiles: ProfileRows,
    tensors: Tensors,
    codes: Vec<f32>,
    shares: Vec<f32>,
}

impl Weights {
    pub(super) fn new(
        settings: VaeSettings,
        (tokens, profiles): (usize, ProfileRows),
        tensors: Tensors,
        (codes, shares): (Vec<f32>, Vec<f32>),
    ) -> Self {
        Self {
            settings,
            tokens,
            profiles,
            tensors,
            codes,
            shares,
        }
    }

    /// Sizes.
    pub fn settings(&self) -> &VaeSettings {
        &self.settings
    }

    /// Size of the vocabulary.
    pub fn tokens(&self) -> usize {
        self.tokens
    }

    /// Which rows of the profile tables are whose.
    pub fn profiles(&self) -> &ProfileRows {
        &self.profiles
    }

    /// Shape and numbers of a tensor, row-major.
    pub fn tensor(&self, name: &str) -> Result<(&[usize], &[f32]), VaeError> {
        match self.tensors.get(name) {
            Some((shape, numbers)) => Ok((shape, numbers)),
            None => Err(VaeError::Damaged(format!("there is no tensor {name}"))),
        }
    }

    /// The codes of z_G, one after another. Shape: [codes * code_size]; one code of zeros where
    /// the model has none.
    pub fn codes(&self) -> &[f32] {
        &self.codes
    }

    /// The prior: a share per code.
    pub fn shares(&self) -> &[f32] {
        &self.shares
    }
}
