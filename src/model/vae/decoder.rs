//! The decoder: both networks, from z_G and what was told before. It has no encoder input.

use candle_core::{DType, Device, Tensor};

use super::batch::{Structures, Times};
use super::gru::gru;
use super::net::Net;
use super::nll::nll;
use super::pool::Mean;
use super::recall::recall;
use super::tree::{LABEL_TABLES, SLOT_FEATURES};
use super::{PLAN_SUM, VaeError, VaeSettings};

/// The logit of a mode that says nothing at a span.
const IMPOSSIBLE: f32 = -1e4;

/// -log p of what a structure's rows tell, given z_G and the rows before. Shapes: [rows] each.
pub(super) struct StructureNats {
    /// Tokens, statuses and attribute profiles.
    pub(super) node: Tensor,
    /// Numbers of children and links.
    pub(super) edge: Tensor,
}

/// Tells structures. Shapes: codes [sequences, code_size].
pub(super) fn structure(
    net: &Net,
    codes: &Tensor,
    told: &Structures,
) -> Result<StructureNats, VaeError> {
    let device = &Device::Cpu;
    let rows = told.token.len();
    let packed = told.steps.as_ref().ok_or(VaeError::Empty)?;
    let mut parts = Vec::new();
    for (table, labels) in LABEL_TABLES.into_iter().zip(&told.labels) {
        parts.push(net.rows(table, labels)?);
    }
    let features = Tensor::new(told.features.as_slice(), device)?;
    parts.push(features.reshape((rows, SLOT_FEATURES))?);
    parts.push(codes.index_select(&Tensor::new(told.sequence.as_slice(), device)?, 0)?);
    let x = Tensor::cat(&parts, 1)?; // [rows, inputs]
    let gates = net.linear(&x, "structure.gates", "structure.gates_bias")?;
    let h = gru(&gates, net.get("structure.recurrent")?, &packed.steps)?; // [rows, hidden]
    let parent = h.index_select(&Tensor::new(told.parent.as_slice(), device)?, 0)?;
    let x = Tensor::cat(&[x, h, parent], 1)?; // [rows, inputs + 2 hidden]

    let hidden = net
        .linear(&x, "structure.token_hidden", "structure.token_hidden_bias")?
        .relu()?;
    let logits = hidden
        .matmul(&net.get("structure.token_out")?.t()?)?
        .broadcast_add(net.get("structure.token_out_bias")?)?; // [rows, tokens]
    let token = nll(&logits, told.token.clone())?;

    let hidden = net.linear(
        &x,
        "structure.choice_hidden",
        "structure.choice_hidden_bias",
    )?;
    let hidden = (hidden + net.rows("structure.choice_token", &told.token)?)?;
    let logits = net.linear(
        &hidden.relu()?,
        "structure.status_out",
        "structure.status_out_bias",
    )?;
    let status = nll(&logits, told.status.clone())?;

    let hidden = (hidden + net.rows("structure.choice_status", &told.status)?)?;
    let profile = profile(net, &hidden, told)?;

    let hidden = (hidden + net.rows("structure.choice_profile", &told.profile)?)?.relu()?;
    let logits = net.linear(&hidden, "structure.arity_out", "structure.arity_out_bias")?;
    let arity = nll(&logits, told.arity.clone())?;
    let logits = net.linear(&hidden, "structure.link_out", "structure.link_out_bias")?;
    let link = nll(&logits, told.link.clone())?;
    Ok(StructureNats {
        node: ((token + status)? + profile)?,
        edge: (arity + link)?,
    })
}

/// -log p of the attribute profiles, among those of each row's token; 0 where it has one only.
/// Shapes: hidden [rows, choice] -> [rows].
fn profile(net: &Net, hidden: &Tensor, told: &Structures) -> Result<Tensor, VaeError> {
    let device = &Device::Cpu;
    let none = Tensor::zeros(told.token.len(), DType::F32, device)?;
    if told.several.is_empty() {
        return Ok(none);
    }
    let rows = Tensor::new(told.several.as_slice(), device)?;
    let out = net.get("structure.profile_out")?;
    let (profiles, _) = out.dims2()?;
    let others = told.own.iter().map(|&own| match own {
        0 => IMPOSSIBLE,
        _ => 0.0,
    });
    let others: Vec<f32> = others.collect();
    let logits = hidden
        .index_select(&rows, 0)?
        .relu()?
        .matmul(&out.t()?)?
        .broadcast_add(net.get("structure.profile_out_bias")?)?; // [several, profiles]
    let logits = (logits + Tensor::from_vec(others, (told.several.len(), profiles), device)?)?;
    let chosen = told.several.iter().map(|&row| told.profile[row as usize]);
    let nats = nll(&logits, chosen.collect())?;
    Ok(none.index_add(&rows, &nats, 0)?)
}

/// What timing networks add to the shares of each row's modes and bins.
pub(super) struct TimingLogits {
    /// [rows, start_modes].
    start_mode: Tensor,
    /// [rows, bins].
    start_bin: Tensor,
    /// [rows, end_modes].
    end_mode: Tensor,
    /// [rows, bins].
    end_bin: Tensor,
}

impl TimingLogits {
    /// The means of what networks say, of one at least.
    pub(super) fn mean(all: &[Self]) -> Result<Self, VaeError> {
        let (first, others) = all.split_first().ok_or(VaeError::Empty)?;
        let mean = |of: fn(&Self) -> &Tensor| -> Result<Tensor, VaeError> {
            let add = |sum: Tensor, other: &Self| sum + of(other);
            let sum = others.iter().try_fold(of(first).clone(), add)?;
            Ok((sum / all.len() as f64)?)
        };
        Ok(Self {
            start_mode: mean(|said| &said.start_mode)?,
            start_bin: mean(|said| &said.start_bin)?,
            end_mode: mean(|said| &said.end_mode)?,
            end_bin: mean(|said| &said.end_bin)?,
        })
    }

    /// -log p of the modes and bins of each row's start and end. Shapes: -> [rows].
    pub(super) fn nats(&self, settings: &VaeSettings, told: &Times) -> Result<Tensor, VaeError> {
        let device = &Device::Cpu;
        let rows = told.start_mode.len();
        let wide =
            |numbers: &[f32], width: usize| Tensor::new(numbers, device)?.reshape((rows, width));
        let shares = wide(&told.start_mode_shares, settings.start_modes)?;
        let logits = (&self.start_mode + shares)?;
        let logits = (logits + impossible(&told.start_fits, settings.start_modes)?)?;
        let mode = nll(&logits, told.start_mode.clone())?;
        let logits = (&self.start_bin + wide(&told.start_shares, settings.bins)?)?;
        let bin = nll(&logits, told.start_bin.clone())?;
        let starts = Tensor::new(told.starts.as_slice(), device)?;
        let start = ((mode + bin)? * starts)?;

        let logits = (&self.end_mode + wide(&told.end_mode_shares, settings.end_modes)?)?;
        let logits = (logits + impossible(&told.end_fits, settings.end_modes)?)?;
        let mode = nll(&logits, told.end_mode.clone())?;
        let logits = (&self.end_bin + wide(&told.end_shares, settings.bins)?)?;
        let bin = nll(&logits, told.end_bin.clone())?;
        Ok(((start + mode)? + bin)?)
    }
}

/// What one timing network says of the modes and bins of each row's start and end, given z_G, the
/// whole structure and the times before. Shapes: codes [sequences, code_size].
pub(super) fn timing(
    net: &Net,
    settings: &VaeSettings,
    codes: &Tensor,
    told: &Times,
) -> Result<TimingLogits, VaeError> {
    let device = &Device::Cpu;
    let rows = told.start_mode.len();
    let packed = told.steps.as_ref().ok_or(VaeError::Empty)?;
    let wide = |numbers: &[f32], width: usize| Tensor::new(numbers, device)?.reshape((rows, width));
    let [own, parent, ..] = &told.labels;
    let queries = (net.rows("timing.query", own)? + net.rows("timing.query_parent", parent)?)?;
    let keys = (net.rows("timing.key", own)? + net.rows("timing.key_parent", parent)?)?;
    let recalled = recall(&queries, &keys, settings.recall_heads, packed, &told.scores)?;
    let mut parts = vec![wide(&told.told, settings.features)?, recalled];
    for labels in &told.labels {
        parts.push(net.rows("timing.token", labels)?);
    }
    let sequence = Tensor::new(told.sequence.as_slice(), device)?;
    parts.push(plan(net, told, codes.dim(0)?)?.index_select(&sequence, 0)?);
    parts.push(codes.index_select(&sequence, 0)?);
    let x = Tensor::cat(&parts, 1)?; // [rows, inputs]
    let gates = net.linear(&x, "timing.gates", "timing.gates_bias")?;
    let h = gru(&gates, net.get("timing.recurrent")?, &packed.steps)?; // [rows, hidden]
    let x = Tensor::cat(&[x, h], 1)?; // [rows, inputs + hidden]
    // Each token reads the hidden layers in a way of its own.
    let own: Vec<u32> = told.labels[0].iter().map(|label| label - 1).collect();

    let hidden = net.linear(&x, "timing.start_hidden", "timing.start_hidden_bias")?;
    let hidden = (&hidden + (&hidden * net.rows("timing.start_gain", &own)?)?)?;
    let start_mode = net.linear(
        &hidden.relu()?,
        "timing.start_mode_out",
        "timing.start_mode_out_bias",
    )?;
    let hidden = (hidden + net.rows("timing.start_mode", &told.start_mode)?)?.relu()?;
    let start_bin = net.linear(&hidden, "timing.start_bin_out", "timing.start_bin_out_bias")?;

    let hidden = net.linear(&x, "timing.end_hidden", "timing.end_hidden_bias")?;
    let hidden = (&hidden + (&hidden * net.rows("timing.end_gain", &own)?)?)?;
    let hidden = (hidden + net.rows("timing.end_start_mode", &told.start_mode)?)?;
    let hidden = (hidden + net.rows("timing.end_start_bin", &told.start_bin)?)?;
    let end_mode = net.linear(
        &hidden.relu()?,
        "timing.end_mode_out",
        "timing.end_mode_out_bias",
    )?;
    let hidden = (hidden + net.rows("timing.end_mode", &told.end_mode)?)?.relu()?;
    let end_bin = net.linear(&hidden, "timing.end_bin_out", "timing.end_bin_out_bias")?;
    Ok(TimingLogits {
        start_mode,
        start_bin,
        end_mode,
        end_bin,
    })
}

/// What a whole structure says to the times of each of its spans: its tokens, as a mean and as a
/// sum. Shapes: -> [sequences, plan].
fn plan(net: &Net, told: &Times, sequences: usize) -> Result<Tensor, VaeError> {
    let own: Vec<u32> = told.labels[0].iter().map(|label| label - 1).collect();
    let rows: Vec<u32> = (0..own.len() as u32).collect();
    let mut spans = vec![0.0_f32; sequences];
    for &sequence in &told.sequence {
        spans[sequence as usize] += PLAN_SUM;
    }
    let mean =
        Mean::new(&rows, &told.sequence, sequences)?.of(&net.rows("timing.plan_token", &own)?)?;
    let spans = Tensor::from_vec(spans, (sequences, 1), &Device::Cpu)?;
    let both = Tensor::cat(&[&mean, &mean.broadcast_mul(&spans)?], 1)?;
    let plan = net.linear(&both, "timing.plan_hidden", "timing.plan_hidden_bias")?;
    Ok(plan.relu()?)
}

/// What is added to the logits of modes that say nothing. Shapes: [rows] -> [rows, modes].
fn impossible(fits: &[u16], modes: usize) -> Result<Tensor, VaeError> {
    let mut mask = Vec::with_capacity(fits.len() * modes);
    for fits in fits {
        mask.extend((0..modes).map(|mode| {
            if fits >> mode & 1 == 1 {
                0.0
            } else {
                IMPOSSIBLE
            }
        }));
    }
    Ok(Tensor::from_vec(mask, (fits.len(), modes), &Device::Cpu)?)
}
