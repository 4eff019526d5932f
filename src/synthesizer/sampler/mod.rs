//! STUB
use crate::chance::Rng;
use crate::features::{Sampled, timing::Coder};
use crate::model::Weights;
use std::sync::Arc;
#[derive(Debug)]
pub struct VaeSampler;
impl VaeSampler {
    pub fn new(_: Arc<Weights>, _: Arc<Coder>, _: Arc<[u32]>) -> Self {
        Self
    }
    pub fn sample(&mut self, _: &mut Rng, _: Option<usize>) -> Sampled {
        Sampled::default()
    }
    pub fn sample_many(&mut self, _: &mut Rng, n: usize) -> Vec<Sampled> {
        vec![Sampled::default(); n]
    }
}
