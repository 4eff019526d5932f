//! A corpus and what was measured on it, over its seeds.

use std::path::PathBuf;

use anyhow::Result;
use doppelspan::eval::{Bars, Hybrid, Metric, RootTiming, Spread, bias};
use serde_json::Value;

use super::processor_seconds;

/// The biases of root latency: the key, and which ratio of a root operation it is of.
const BIASES: [(&str, usize); 3] = [
    ("root_p50_bias", 0),
    ("root_p95_bias", 1),
    ("root_p99_bias", 2),
];

/// A corpus, and what was measured on it.
pub struct Corpus {
    pub name: String,
    bars: Bars,
    /// One a seed; the first is whole.
    reports: Vec<Value>,
    /// Those on fault windows, of the first seeds, where there are some.
    windows: Vec<Value>,
    /// Seconds of each training, by the clock and of the processor.
    pub seconds: [Vec<f64>; 2],
}

/// Whose figures.
#[derive(Clone, Copy)]
pub enum Of<'a> {
    Synthetic,
    Control(&'a str),
}

impl Corpus {
    /// Reads what `evaluate` and the training left in the folder of each seed, and what `evaluate` said of
    /// fault windows in the folders of those.
    pub fn read(name: &str, bars: &str, folders: &[PathBuf], windows: &[PathBuf]) -> Result<Self> {
        let report = |at: &PathBuf| -> Result<Value> {
            let file = at.join("report/report.json");
            Ok(serde_json::from_slice(&std::fs::read(file)?)?)
        };
        let reports: Result<Vec<Value>> = folders.iter().map(report).collect();
        let windows: Result<Vec<Value>> = windows.iter().map(report).collect();
        let told = |what: &str| {
            let all = folders.iter().map(|at| at.join(format!("whole.{what}")));
            let told: Vec<String> = all
                .filter_map(|at| std::fs::read_to_string(at).ok())
                .collect();
            told
        };
        let wall = told("seconds");
        let wall = wall.iter().filter_map(|told| told.trim().parse().ok());
        let used = told("times");
        let used = used.iter().filter_map(|told| processor_seconds(told));
        Ok(Self {
            name: name.to_owned(),
            bars: Bars::read(bars.split_whitespace())?,
            reports: reports?,
            windows: windows?,
            seconds: [wall.collect(), used.collect()],
        })
    }

    /// The report of the first seed, which is whole.
    pub fn first(&self) -> &Value {
        &self.reports[0]
    }

    pub fn rows(&self) -> impl Iterator<Item = &Value> {
        rows(self.first())
    }

    /// The reports that a figure stands in.
    pub fn reports(&self, key: &str) -> &[Value] {
        match key.starts_with("window_") {
            true => &self.windows,
            false => &self.reports,
        }
    }

    /// A figure over the seeds whose reports have it.
    pub fn figure(&self, key: &str, of: Of<'_>) -> Option<Spread> {
        if let Some((_, level)) = BIASES.iter().find(|(bias, _)| *bias == key) {
            return Spread::of(self.bias(*level, of).into_iter().collect());
        }
        if key == "hybrid_least" {
            return Spread::of(self.worst_mix(of).into_iter().collect());
        }
        let reports = self.reports(key).iter();
        let rows = reports.filter_map(|report| row(report, key));
        let values = rows.filter_map(|row| match of {
            Of::Synthetic => row["synthetic"]["mean"].as_f64(),
            Of::Control(control) => row["controls"][control].as_f64(),
        });
        Spread::of(values.collect())
    }

    /// All that was measured, of each seed.
    fn measured<'a>(&'a self, of: Of<'a>) -> impl Iterator<Item = &'a Value> {
        self.reports.iter().map(move |report| match of {
            Of::Synthetic => &report["generators"][0]["measured"],
            Of::Control(control) => &report["controls"][control],
        })
    }

    /// The mixes of each task, scores being means over the seeds that have the task, in the order of the
    /// report: what a single curve goes up and down by is chance.
    pub fn mixes(&self, of: Of<'_>) -> Vec<Hybrid> {
        let mut means: Vec<(Hybrid, f64)> = Vec::new();
        let hybrids = self.measured(of).flat_map(|told| -> Vec<Hybrid> {
            serde_json::from_value(told["hybrids"].clone()).unwrap_or_default()
        });
        for hybrid in hybrids {
            let known = means
                .iter_mut()
                .find(|(mean, _)| mean.score == hybrid.score);
            let Some((mean, seeds)) = known else {
                means.push((hybrid, 1.0));
                continue;
            };
            *seeds += 1.0;
            for ((_, mean), (_, score)) in mean.mixed.iter_mut().zip(hybrid.mixed) {
                *mean += (score - *mean) / *seeds;
            }
        }
        means.into_iter().map(|(mean, _)| mean).collect()
    }

    /// The worst mix of observed and synthetic traces over observed ones only, of all tasks.
    fn worst_mix(&self, of: Of<'_>) -> Option<f64> {
        let mixes = self.mixes(of);
        mixes.iter().filter_map(Hybrid::least).reduce(f64::min)
    }

    /// What signed errors of root latency come to over the seeds: the chance of a split goes out as well as
    /// that of a sample.
    fn bias(&self, level: usize, of: Of<'_>) -> Option<f64> {
        let roots = self.measured(of);
        let roots =
            roots.map(|told| serde_json::from_value(told["roots"].clone()).unwrap_or_default());
        let roots: Vec<Vec<RootTiming>> = roots.collect();
        let roots: Vec<&[RootTiming]> = roots.iter().map(|roots| &**roots).collect();
        bias(&roots, level)
    }

    /// A figure's mean ± deviation over the seeds.
    pub fn own(&self, key: &str) -> String {
        spread(self.figure(key, Of::Synthetic))
    }

    pub fn ceiling(&self, key: &str) -> String {
        mean(self.figure(key, Of::Control("ceiling")))
    }

    /// What is asked of a figure, and whether its mean reaches it.
    pub fn bar(&self, metric: &Metric) -> String {
        let Some(bar) = self.bars.of(metric) else {
            return String::new();
        };
        let [own, ceiling] = [Of::Synthetic, Of::Control("ceiling")]
            .map(|of| self.figure(metric.key, of).map(|spread| spread.mean));
        let reached = match own.and_then(|own| bar.reached(own, ceiling)) {
            Some(true) => " ✓",
            Some(false) => " ✗",
            None => "",
        };
        format!("{bar}{reached}")
    }
}

fn rows(report: &Value) -> impl Iterator<Item = &Value> {
    report["rows"].as_array().into_iter().flatten()
}

pub fn row<'a>(report: &'a Value, key: &str) -> Option<&'a Value> {
    rows(report).find(|row| row["key"] == key)
}

/// A mean, with nothing beside it.
pub fn mean(spread: Option<Spread>) -> String {
    spread.map_or("–".to_owned(), |spread| format!("{:.3}", spread.mean))
}

fn spread(spread: Option<Spread>) -> String {
    match spread {
        Some(spread) if spread.values.len() > 1 => {
            format!("{:.3} ± {:.3}", spread.mean, spread.std)
        }
        other => mean(other),
    }
}
