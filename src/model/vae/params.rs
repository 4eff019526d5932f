//! Every trained tensor and its state in the optimiser.

use std::collections::BTreeMap;

use super::VaeError;
use super::specs::Spec;

/// Tensors by name: shape and numbers, row-major.
pub type Tensors = BTreeMap<String, (Vec<usize>, Vec<f32>)>;

/// The logit that a new token's bias begins with: known tokens keep their shares.
const NEW_TOKEN: f32 = -6.0;

/// One trained tensor.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Param {
    pub(super) spec: Spec,
    pub(super) value: Vec<f32>,
    /// Decayed mean of gradients.
    pub(super) first: Vec<f32>,
    /// Decayed mean of squared gradients.
    pub(super) second: Vec<f32>,
    /// Decayed mean of values: what scores and serves.
    pub(super) average: Vec<f32>,
}

impl Param {
    /// First values from the generator.
    pub(super) fn new(spec: Spec, rng: &mut impl rand::Rng) -> Self {
        let count = spec.shape.iter().product();
        let width = spec.shape.last().copied().unwrap_or(1).max(1);
        let mut value = Vec::with_capacity(count);
        spec.begin.fill(&mut value, count / width, width, rng);
        Self {
            first: vec![0.0; count],
            second: vec![0.0; count],
            average: value.clone(),
            value,
            spec,
        }
    }

    /// Takes a longer first axis: old rows stay, new ones are drawn.
    pub(super) fn grow(&mut self, spec: &Spec, rng: &mut impl rand::Rng) {
        let count: usize = spec.shape.iter().product();
        let missing = count.saturating_sub(self.value.len());
        if spec.name == "structure.token_out_bias" {
            self.value.resize(count, NEW_TOKEN);
        } else {
            let width = count / spec.shape[0].max(1);
            let begin = spec.begin;
            begin.fill(&mut self.value, missing / width.max(1), width, rng);
        }
        let new = self.average.len();
        self.average.extend_from_slice(&self.value[new..]);
        self.first.resize(count, 0.0);
        self.second.resize(count, 0.0);
        self.spec = spec.clone();
    }

    /// Sets the last values of a bias that has grown: those that are late begin at a sliver.
    pub(super) fn begin_late(&mut self, late: &[bool]) {
        let from = self.value.len().saturating_sub(late.len());
        for (at, &late) in (from..).zip(late) {
            let begin = if late { NEW_TOKEN } else { 0.0 };
            (self.value[at], self.average[at]) = (begin, begin);
        }
    }

    /// `before` comes before its name.
    pub(super) fn save(&self, before: &str, into: &mut Tensors) {
        let parts = [&self.value, &self.first, &self.second, &self.average];
        for (state, numbers) in STATES.iter().zip(parts) {
            let name = format!("{before}{}{state}", self.spec.name);
            into.insert(name, (self.spec.shape.clone(), numbers.clone()));
        }
    }

    /// See [`Param::save`].
    pub(super) fn restore(spec: Spec, before: &str, from: &mut Tensors) -> Result<Self, VaeError> {
        let mut take = |state: &str| {
            let name = format!("{before}{}{state}", spec.name);
            take(from, &name, &spec.shape)
        };
        let [value, first, second, average] = STATES.map(&mut take);
        Ok(Self {
            value: value?,
            first: first?,
            second: second?,
            average: average?,
            spec,
        })
    }
}

/// What the four parts of a parameter's state are called in a checkpoint, after its name.
const STATES: [&str; 4] = ["", "@first", "@second", "@average"];

/// Takes a tensor out of a checkpoint; it must be there, in this shape and finite.
pub(super) fn take(from: &mut Tensors, name: &str, shape: &[usize]) -> Result<Vec<f32>, VaeError> {
    match from.remove(name) {
        Some((found, numbers))
            if found == shape
                && numbers.len() == shape.iter().product::<usize>()
                && numbers.iter().all(|number| number.is_finite()) =>
        {
            Ok(numbers)
        }
        Some((found, _)) => Err(VaeError::Damaged(format!(
            "tensor {name} has the shape {found:?} or numbers that are not finite; {shape:?} is needed"
        ))),
        None => Err(VaeError::Damaged(format!("tensor {name} is missing"))),
    }
}
