//! q(z_G|G): which code stands for a trace, and how the encoder learns of it.
//!
//! The averaged encoder chooses, so that a code keeps its meaning while the encoder is trained:
//! codes that wander cost more nats than they save.

use std::collections::BTreeMap;

use candle_core::{Device, Tensor};

use super::batch::Graphs;
use super::codebook::{Chosen, Codebook};
use super::encoder::encode;
use super::net::Net;
use super::params::Param;
use super::specs::{CODE_ROWS, Part};
use super::{VaeError, VaeSettings};
use crate::model::Example;

/// Weight of the distance between what the encoder says and its code.
const COMMITMENT: f64 = 0.25;

/// What the averaged encoder says of some traces, of equal ones once.
pub(super) struct Seen {
    /// Traces that look equal to the encoder.
    groups: Vec<Vec<usize>>,
    /// [groups * code_size]; empty where the model has no z_G.
    encoded: Vec<f32>,
}

/// The code of each of some traces.
pub(super) struct Coded {
    /// The code; 0 where the model has no z_G.
    pub(super) code: Vec<u32>,
    /// KL(q(z_G|G) || p) = -log p(code).
    pub(super) kl: Vec<f64>,
    chosen: Option<Chosen>,
}

impl Seen {
    pub(super) fn new(
        params: &[Param],
        settings: &VaeSettings,
        examples: &[&Example],
    ) -> Result<Self, VaeError> {
        let mut seen = Self {
            groups: Vec::new(),
            encoded: Vec::new(),
        };
        if settings.codes == 0 {
            return Ok(seen);
        }
        seen.groups = match settings.graph_times {
            true => (0..examples.len()).map(|at| vec![at]).collect(),
            false => merge(examples, &vec![0; examples.len()]),
        };
        let net = Net::averaged(
            params
                .iter()
                .filter(|param| param.spec.part == Part::Encoder),
        )?;
        let first: Vec<&Example> = seen.groups.iter().map(|group| examples[group[0]]).collect();
        let encoded = encode(&net, &Graphs::new(&first, settings))?;
        seen.encoded = encoded.flatten_all()?.to_vec1::<f32>()?;
        Ok(seen)
    }

    /// What is said of each group, one after another.
    pub(super) fn encoded(&self) -> &[f32] {
        &self.encoded
    }

    /// Chooses the codes of so many traces.
    pub(super) fn choose(&self, book: &Codebook, settings: &VaeSettings, traces: usize) -> Coded {
        let mut coded = Coded {
            code: vec![0; traces],
            kl: vec![0.0; traces],
            chosen: None,
        };
        if settings.codes > 0 {
            let chosen = book.choose(&self.encoded);
            for (group, (code, kl)) in self.groups.iter().zip(chosen.code.iter().zip(&chosen.kl)) {
                for &at in group {
                    (coded.code[at], coded.kl[at]) = (*code, *kl);
                }
            }
            coded.chosen = Some(chosen);
        }
        coded
    }

    /// Lets the codes and their prior follow what was chosen in a step.
    pub(super) fn teach(&self, book: &mut Codebook, coded: &Coded, step: (u32, bool)) {
        if let Some(chosen) = &coded.chosen {
            let traces: Vec<usize> = self.groups.iter().map(Vec::len).collect();
            book.follow(&self.encoded, chosen, &traces, step);
        }
    }

    /// What the traces of each group stand for, of what each trace stands for.
    pub(super) fn weights(&self, each: &[f32]) -> Vec<f64> {
        let of = |group: &Vec<usize>| group.iter().map(|&at| f64::from(each[at])).sum();
        self.groups.iter().map(of).collect()
    }
}

/// Where the codes of the traces told lie. Shape: [told, code_size].
pub(super) fn places(
    book: &Codebook,
    settings: &VaeSettings,
    coded: &Coded,
    told: &[usize],
) -> Result<Tensor, VaeError> {
    let width = settings.code_size;
    let numbers: Vec<f32> = match settings.codes {
        0 => vec![0.0; told.len() * width],
        _ => told
            .iter()
            .flat_map(|&at| book.code(coded.code[at]))
            .copied()
            .collect(),
    };
    Ok(Tensor::from_vec(
        numbers,
        (told.len(), width),
        &Device::Cpu,
    )?)
}

/// The same places, passing their gradient on to the encoder in training, and the cost of what it
/// says being far from them. Shapes: places [told, code_size] -> the same, and a number.
pub(super) fn straight_through(
    net: &Net,
    settings: &VaeSettings,
    places: Tensor,
    told: &[&Example],
) -> Result<(Tensor, Tensor), VaeError> {
    if settings.codes == 0 {
        return Ok((places, Tensor::new(0.0_f32, &Device::Cpu)?));
    }
    let encoded = encode(net, &Graphs::new(told, settings))?;
    let distance = (&encoded - &places)?;
    let commitment = (distance.sqr()?.mean_all()? * COMMITMENT)?;
    Ok(((&encoded - distance.detach())?, commitment))
}

/// What the decoder hears of the codes of the traces told: the place of each, and a row of its own. Codes of
/// like traces lie so near each other that a network could tell them apart only by weights that the least
/// change undoes; a row tells at once which code it is. Shapes: places [told, code_size] -> the same.
pub(super) fn heard(
    net: &Net,
    settings: &VaeSettings,
    places: Tensor,
    coded: &Coded,
    told: &[usize],
) -> Result<Tensor, VaeError> {
    if settings.codes == 0 {
        return Ok(places);
    }
    let codes: Vec<u32> = told.iter().map(|&at| coded.code[at]).collect();
    let codes = Tensor::from_vec(codes, told.len(), &Device::Cpu)?;
    Ok((places + net.get(CODE_ROWS)?.index_select(&codes, 0)?)?)
}

/// Traces of equal structure and code, each in one group, in the order of their first.
pub(super) fn merge(examples: &[&Example], codes: &[u32]) -> Vec<Vec<usize>> {
    let mut known = BTreeMap::new();
    let mut groups: Vec<Vec<usize>> = Vec::new();
    for (at, (example, code)) in examples.iter().zip(codes).enumerate() {
        let Example {
            tokens,
            arity,
            status,
            profile,
            links,
            ..
        } = example;
        let group = *known
            .entry((tokens, arity, status, profile, links, code))
            .or_insert(groups.len());
        match groups.get_mut(group) {
            Some(group) => group.push(at),
            None => groups.push(vec![at]),
        }
    }
    groups
}
