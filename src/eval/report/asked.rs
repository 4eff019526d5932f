//! The tables of what was asked of the first model: conditions, and sizes.

use super::{Evaluation, figure};
use crate::eval::ABLATED;

/// Titles and cells, the first row of each its heads; a table without figures is left out.
pub(super) fn tables(evaluation: &Evaluation) -> Vec<(&'static str, Vec<Vec<String>>)> {
    let heads = ["asked for", "traces", "met", "structures for each"];
    let mut conditions = vec![heads.map(str::to_owned).to_vec()];
    conditions.extend(evaluation.kept.iter().map(|kept| {
        let [asked, got] = kept.traces;
        vec![
            kept.asked.clone(),
            format!("{got} of {asked}"),
            figure(kept.met),
            figure(kept.structures),
        ]
    }));
    let names = ABLATED.into_iter().map(|(_, name)| name.to_owned());
    let mut sizes = vec![
        ["sizes".to_owned()]
            .into_iter()
            .chain(names)
            .collect::<Vec<_>>(),
    ];
    sizes.extend(evaluation.sizes.iter().map(|sizes| {
        let name = match sizes.given {
            true => "given, of its own",
            false => "left to the model",
        };
        let told = ABLATED.into_iter().map(|(key, _)| sizes.figures.get(key));
        let told = told.map(|told| told.map_or(String::new(), |told| figure(*told)));
        [name.to_owned()].into_iter().chain(told).collect()
    }));
    let mut tables = vec![
        ("What is asked for", conditions),
        ("Sizes left to the model, or given", sizes),
    ];
    tables.retain(|(_, rows)| rows.len() > 1);
    tables
}
