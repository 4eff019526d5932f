//! What serving needs of a VAE: plain buffers, no gradients, nothing observed.

use std::borrow::Cow;
use std::iter;

use super::params::Tensors;
use super::{ProfileRows, VaeError, VaeSettings};

/// Averaged weights, codes and their prior. The encoder is not among them.
#[derive(Debug, Clone, PartialEq)]
pub struct Weights {
    settings: VaeSettings,
    tokens: usize,
    profiles: ProfileRows,
    tensors: Tensors,
    /// The timing networks beside the one in `tensors`.
    beside: Vec<Tensors>,
    codes: Vec<f32>,
    shares: Vec<f32>,
}

impl Weights {
    pub(super) fn new(
        settings: VaeSettings,
        (tokens, profiles): (usize, ProfileRows),
        (tensors, beside): (Tensors, Vec<Tensors>),
        (codes, shares): (Vec<f32>, Vec<f32>),
    ) -> Self {
        Self {
            settings,
            tokens,
            profiles,
            tensors,
            beside,
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

    /// Each timing network: the first as it stands here, each other alone, with the codes.
    pub fn timing_networks(&self) -> impl Iterator<Item = Cow<'_, Self>> {
        let others = self.beside.iter().map(|other| {
            let alone = Self {
                settings: self.settings.clone(),
                tokens: self.tokens,
                profiles: self.profiles.clone(),
                tensors: other.clone(),
                beside: Vec::new(),
                codes: self.codes.clone(),
                shares: self.shares.clone(),
            };
            Cow::Owned(alone)
        });
        iter::once(Cow::Borrowed(self)).chain(others)
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
