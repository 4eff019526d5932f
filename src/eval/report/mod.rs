//! Samples of traces side by side: rows, JSON, text, a page.

mod asked;
mod page;
mod pictures;
mod plot;
#[cfg(test)]
mod tests;
mod text;

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::{Value, json};

use super::figures::{Bar, Bars, METRICS, Metric, Spread};
use super::timing::bias;
use super::{ABLATED, Ablation, Control, Kept, LIMITS, Measured, Observed, SizesGiven};
use crate::features::Interner;
use crate::trace::Trace;

/// The figures that tell of all generators together: at 50, 95 and 99%.
const BIASES: [&str; 3] = ["root_p50_bias", "root_p95_bias", "root_p99_bias"];

/// One generator: a model, or a file of synthetic traces.
#[derive(Debug, Clone, Serialize)]
pub struct Generator {
    /// Where it comes from.
    pub name: String,
    /// What was measured of it.
    pub measured: Measured,
}

/// Everything that was measured in one evaluation.
#[derive(Debug, Clone, Default)]
pub struct Evaluation {
    /// What was read, in words: (what, how many).
    pub inputs: Vec<(String, String)>,
    /// What a reader has to know.
    pub notes: Vec<String>,
    /// The seed.
    pub seed: u64,
    /// What is asked otherwise than usual.
    pub bars: Bars,
    /// The generators.
    pub generators: Vec<Generator>,
    /// The controls that were measured.
    pub controls: BTreeMap<Control, Measured>,
    /// What is left without a latent.
    pub ablations: Vec<Ablation>,
    /// How the first model kept to conditions: C1.
    pub kept: Vec<Kept>,
    /// The first model with sizes left to it, and given: U3.
    pub sizes: Vec<SizesGiven>,
    /// How the model learnt: optimiser step, loss, held-out nats of the VAE and of the grammar.
    pub curve: Vec<(u64, f64, f64, f64)>,
}

/// One figure with its controls.
#[derive(Debug, Clone)]
pub struct Row {
    /// Which.
    pub metric: &'static Metric,
    /// Over the generators; none if none has it.
    pub synthetic: Option<Spread>,
    /// Of each control that has it.
    pub controls: BTreeMap<Control, f64>,
    /// What is asked.
    pub bar: Option<Bar>,
    /// Whether the mean reaches the bar; none without a bar.
    pub reached: Option<bool>,
}

impl Evaluation {
    /// One row for each figure that a generator or a control has.
    pub fn rows(&self) -> Vec<Row> {
        METRICS
            .iter()
            .filter_map(|metric| self.row(metric))
            .collect()
    }

    fn row(&self, metric: &'static Metric) -> Option<Row> {
        let figure = |measured: &Measured| measured.figures.get(metric.key).copied();
        let level = BIASES.iter().position(|key| *key == metric.key);
        let values: Vec<f64> = match level {
            // One figure of all generators together.
            Some(level) => {
                let all = self.generators.iter().map(|g| &*g.measured.roots);
                bias(&all.collect::<Vec<_>>(), level).into_iter().collect()
            }
            None => {
                let values = self.generators.iter().filter_map(|g| figure(&g.measured));
                values.collect()
            }
        };
        let synthetic = Spread::of(values);
        let controls = self.controls.iter();
        let controls: BTreeMap<Control, f64> = controls
            .filter_map(|(control, measured)| {
                let told = match level {
                    Some(level) => bias(&[&measured.roots], level),
                    None => figure(measured),
                };
                Some((*control, told?))
            })
            .collect();
        let ceiling = controls.get(&Control::Ceiling).copied();
        let mean = synthetic.as_ref().map(|spread| spread.mean);
        let bar = self.bars.of(metric);
        let reached = mean
            .zip(bar)
            .and_then(|(mean, bar)| bar.reached(mean, ceiling));
        (mean.is_some() || !controls.is_empty()).then_some(Row {
            metric,
            synthetic,
            controls,
            bar,
            reached,
        })
    }

    /// Everything, for machines: one object per figure under `rows`, then all parts.
    pub fn json(&self) -> Value {
        let rows = self.rows();
        let rows = rows.iter().map(|row| {
            let controls = Control::ALL.into_iter();
            let controls: BTreeMap<&str, Option<f64>> = controls
                .map(|control| (control.key(), row.controls.get(&control).copied()))
                .collect();
            json!({
                "id": row.metric.id,
                "key": row.metric.key,
                "section": row.metric.section,
                "name": row.metric.name,
                "good": row.metric.good,
                "bar": row.bar.map(|bar| bar.to_string()),
                "published": row.metric.published,
                "reached": row.reached,
                "synthetic": row.synthetic,
                "controls": controls,
            })
        });
        let controls: BTreeMap<&str, &Measured> = self
            .controls
            .iter()
            .map(|(control, measured)| (control.key(), measured))
            .collect();
        json!({
            "version": 1,
            "seed": self.seed,
            "inputs": self.inputs.iter().cloned().collect::<BTreeMap<String, String>>(),
            "notes": self.notes,
            "rows": rows.collect::<Vec<Value>>(),
            "generators": self.generators,
            "controls": controls,
            "ablations": self.ablations,
            "limits": LIMITS,
            "conditions": self.kept,
            "sizes": self.sizes,
            "curve": self.curve,
        })
    }

    /// The report as a page that needs nothing else. `synthetic` are the traces of the first
    /// generator, which the pictures show beside held-out ones.
    pub fn html(&self, observed: Observed<'_>, synthetic: &[Trace], texts: &Interner) -> String {
        page::page(self, observed, synthetic, texts)
    }

    /// The rows as a table for a terminal.
    pub fn text(&self) -> String {
        text::table(self)
    }
}

/// The cells of the table of ablations, the first row its heads; none without ablations.
fn ablations(evaluation: &Evaluation) -> Vec<Vec<String>> {
    let names = ABLATED.into_iter().map(|(_, name)| name);
    let heads = ["model", "z_G", "z_v", "discriminator", "draws"]
        .into_iter()
        .chain(names);
    let mut rows = vec![heads.map(str::to_owned).collect::<Vec<_>>()];
    rows.extend(evaluation.ablations.iter().map(|ablation| {
        let told = |(key, _): (&str, _)| ablation.figures.get(key).map(|told| figure(*told));
        let told = ABLATED.map(|ablated| told(ablated).unwrap_or_default());
        let named = [ablation.model.clone()].into_iter();
        named.chain(ablation.parts()).chain(told).collect()
    }));
    rows.retain(|_| !evaluation.ablations.is_empty());
    rows
}

/// A figure as it is printed: as many digits as say something.
fn figure(value: f64) -> String {
    match value.abs() {
        size if size >= 100.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        size if size > 0.0 && size < 0.0995 => format!("{value:.4}"),
        _ => format!("{value:.3}"),
    }
}
