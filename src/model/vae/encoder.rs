//! The encoder of z_G: message passing over the DAG. It exists in training and scoring only.

use candle_core::{Device, Tensor};

use super::VaeError;
use super::batch::Graphs;
use super::net::Net;
use super::pool::Mean;

/// What the encoder makes of each trace, before a code is chosen. Shapes: [traces, code_size].
pub(super) fn encode(net: &Net, graphs: &Graphs) -> Result<Tensor, VaeError> {
    let device = &Device::Cpu;
    let spans = graphs.token.len();
    let traces = graphs.roots.len();
    let features = Tensor::new(graphs.features.as_slice(), device)?.reshape((spans, 4))?;
    let parts = [
        net.rows("encoder.token", &graphs.token)?,
        net.rows("encoder.status", &graphs.status)?,
        features,
    ];
    let x = Tensor::cat(&parts, 1)?;
    let mut x = net
        .linear(&x, "encoder.input", "encoder.input_bias")?
        .relu()?;
    let up = Mean::new(&graphs.from, &graphs.to, spans)?;
    let down = Mean::new(&graphs.to, &graphs.from, spans)?;
    for (weight, bias) in [
        ("encoder.round1", "encoder.round1_bias"),
        ("encoder.round2", "encoder.round2_bias"),
    ] {
        let around = Tensor::cat(&[&x, &up.of(&x)?, &down.of(&x)?], 1)?;
        x = net.linear(&around, weight, bias)?.relu()?;
    }
    let all: Vec<u32> = (0..spans as u32).collect();
    let mean = Mean::new(&all, &graphs.sequence, traces)?.of(&x)?;
    let roots = x.index_select(&Tensor::new(graphs.roots.as_slice(), device)?, 0)?;
    let whole = Tensor::cat(&[mean, roots], 1)?;
    Ok(whole.matmul(net.get("encoder.out")?)?)
}
