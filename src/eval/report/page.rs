//! The report as one page that needs nothing else.

use std::fmt::Write as _;

use super::pictures::{curve, pictures};
use super::plot::escape;
use super::{Evaluation, Row, ablations, asked, figure};
use crate::eval::{Control, LIMITS, Observed};
use crate::features::Interner;
use crate::trace::Trace;

const STYLE: &str = include_str!("page.css");

/// The page. `synthetic` are the traces of the first generator, which the pictures show.
pub(super) fn page(
    evaluation: &Evaluation,
    observed: Observed<'_>,
    synthetic: &[Trace],
    texts: &Interner,
) -> String {
    let mut body = String::new();
    for (what, told) in &evaluation.inputs {
        write!(body, "<li>{}: {}</li>", escape(what), escape(told)).ok();
    }
    let inputs = std::mem::take(&mut body);
    for note in &evaluation.notes {
        write!(body, "<li>{}</li>", escape(note)).ok();
    }
    let notes = std::mem::take(&mut body);
    if let Some(first) = evaluation.generators.first() {
        for (title, charts) in pictures(observed, synthetic, &first.measured, texts) {
            section(&mut body, title, &charts);
        }
    }
    section(&mut body, "How the model learnt", &curve(&evaluation.curve));
    let several = match evaluation.generators.len() {
        0 | 1 => String::new(),
        count => format!(
            " Figures are means ± sample deviations over {count} generators; pictures show the first."
        ),
    };
    format!(
        r#"<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>Synthetic traces, measured</title><style>{STYLE}</style></head><body>
<h1>Synthetic traces, measured</h1>
<p>Everything is compared with held-out observed traces; each figure stands beside what other
observed traces (ceiling), copies of training traces (copier), a table grammar and independent
chance (random) get.{several}</p>
<p class="key"><span><i class="observed"></i>observed</span><span><i class="synthetic"></i>synthetic</span></p>
<ul>{inputs}{notes}</ul>
<h2>Figures</h2><div class="scroll">{}</div>
{}{}{body}</body></html>
"#,
        table(evaluation),
        ablated(evaluation),
        asked_for(evaluation)
    )
}

/// The table of ablations and what limits a draw; nothing without ablations.
fn ablated(evaluation: &Evaluation) -> String {
    let rows = ablations(evaluation).into_iter().map(|cells| {
        let cells = cells
            .iter()
            .map(|cell| format!("<td>{}</td>", escape(cell)));
        format!("<tr>{}</tr>\n", cells.collect::<String>())
    });
    let rows: String = rows.collect();
    match rows.is_empty() {
        true => String::new(),
        false => format!(
            r#"<h2>Without a part</h2><div class="scroll"><table><tbody>{rows}</tbody></table></div><p>{}</p>"#,
            escape(LIMITS)
        ),
    }
}

/// The tables of what was asked of the first model.
fn asked_for(evaluation: &Evaluation) -> String {
    let tables = asked::tables(evaluation).into_iter().map(|(title, rows)| {
        let rows = rows.iter().map(|cells| {
            let cells = cells
                .iter()
                .map(|cell| format!("<td>{}</td>", escape(cell)));
            format!("<tr>{}</tr>\n", cells.collect::<String>())
        });
        let rows: String = rows.collect();
        format!(r#"<h2>{title}</h2><div class="scroll"><table><tbody>{rows}</tbody></table></div>"#)
    });
    tables.collect()
}

fn section(body: &mut String, title: &str, charts: &str) {
    if !charts.is_empty() {
        write!(
            body,
            r#"<h2>{title}</h2><div class="charts">{charts}</div>"#
        )
        .ok();
    }
}

fn table(evaluation: &Evaluation) -> String {
    let controls: Vec<Control> = Control::ALL
        .into_iter()
        .filter(|control| evaluation.controls.contains_key(control))
        .collect();
    let heads: String = controls
        .iter()
        .map(|control| format!("<th>{}</th>", control.key()))
        .collect();
    let mut rows = String::new();
    let mut section = "";
    for row in evaluation.rows() {
        if row.metric.section != section {
            section = row.metric.section;
            let columns = controls.len() + 4;
            write!(
                rows,
                r#"<tr class="section"><td colspan="{columns}">{section}</td></tr>"#
            )
            .ok();
        }
        rows += &line(&row, &controls);
    }
    format!(
        "<table><thead><tr><th></th><th></th><th>synthetic</th>{heads}<th>asked</th></tr></thead><tbody>{rows}</tbody></table>"
    )
}

fn line(row: &Row, controls: &[Control]) -> String {
    let synthetic = row.synthetic.as_ref().map_or("–".to_owned(), |spread| {
        let [least, largest] = spread.range.map(figure);
        match spread.values.len() {
            1 => figure(spread.mean),
            _ => format!(
                r#"<span title="{least} to {largest}">{} <small>± {}</small></span>"#,
                figure(spread.mean),
                figure(spread.std)
            ),
        }
    });
    let class = match row.reached {
        Some(true) => "main reached",
        Some(false) => "main missed",
        None => "main",
    };
    let controls: String = controls
        .iter()
        .map(|control| {
            let told = row
                .controls
                .get(control)
                .map_or("–".to_owned(), |v| figure(*v));
            format!("<td>{told}</td>")
        })
        .collect();
    let bar = row.bar.map_or(String::new(), |bar| {
        let mark = match row.reached {
            Some(true) => " ✓",
            Some(false) => " ✗",
            None => "",
        };
        format!("{bar}{mark}")
    });
    let published = row.metric.published.map_or(String::new(), |published| {
        format!("<br><small>published: {published}</small>")
    });
    format!(
        "<tr><td>{}</td><td>{}{published}</td><td class=\"{class}\">{synthetic}</td>{controls}<td>{bar}</td></tr>\n",
        row.metric.id, row.metric.name
    )
}
