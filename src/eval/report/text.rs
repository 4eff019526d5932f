//! The table for a terminal.

use super::{Evaluation, Row, ablations, asked, figure};
use crate::eval::Control;

const NAME: usize = 42;
const COLUMN: usize = 9;

pub(super) fn table(evaluation: &Evaluation) -> String {
    let rows = evaluation.rows();
    let controls: Vec<Control> = Control::ALL
        .into_iter()
        .filter(|control| evaluation.controls.contains_key(control))
        .collect();
    let mut lines = Vec::new();
    let mut head = format!("{:3} {:NAME$} {:>16}", "", "", "synthetic");
    for control in &controls {
        head += &format!(" {:>COLUMN$}", control.key());
    }
    lines.push(head + "  bar");
    let mut section = "";
    for row in &rows {
        if row.metric.section != section {
            section = row.metric.section;
            lines.push(section.to_owned());
        }
        lines.push(line(row, &controls));
    }
    for generator in &evaluation.generators {
        let telling = generator.measured.all.importance.iter().take(5);
        let telling: Vec<String> = telling
            .map(|(name, lost)| format!("{name} {lost:+.3}"))
            .collect();
        lines.push(format!(
            "{}: told by {}",
            generator.name,
            telling.join(", ")
        ));
    }
    for cells in ablations(evaluation) {
        let (model, told) = cells.split_at(1);
        let told: String = told
            .iter()
            .map(|cell| format!(" {cell:>COLUMN$}"))
            .collect();
        lines.push(format!("ablation {:NAME$}{told}", model.concat()));
    }
    for (title, rows) in asked::tables(evaluation) {
        lines.push(title.to_owned());
        lines.extend(rows.iter().map(|cells| {
            let (name, told) = cells.split_at(1);
            let told = told.iter().map(|cell| format!(" {cell:>COLUMN$}"));
            format!("    {:NAME$}{}", name.concat(), told.collect::<String>())
        }));
    }
    lines.extend(evaluation.notes.iter().map(|note| format!("note: {note}")));
    lines.join("\n")
}

fn line(row: &Row, controls: &[Control]) -> String {
    let synthetic = row.synthetic.as_ref().map_or("–".to_owned(), |spread| {
        if spread.values.len() > 1 {
            format!("{} ± {}", figure(spread.mean), figure(spread.std))
        } else {
            figure(spread.mean)
        }
    });
    let mut line = format!(
        "{:3} {:NAME$} {synthetic:>16}",
        row.metric.id, row.metric.name
    );
    for control in controls {
        let told = row
            .controls
            .get(control)
            .map_or("–".to_owned(), |v| figure(*v));
        line += &format!(" {told:>COLUMN$}");
    }
    if let Some(bar) = row.bar {
        let mark = match row.reached {
            Some(true) => "reached",
            Some(false) => "missed",
            None => "",
        };
        line += &format!("  {bar} {mark}");
    }
    line.trim_end().to_owned()
}
