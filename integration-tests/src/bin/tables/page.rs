//! The page of results: one main table per corpus, then a table per research question.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use anyhow::Result;
use doppelspan::eval::{METRICS, Spread};
use serde_json::Value;

use super::corpus::{Corpus, Of, mean, row};

/// The figures of the main table: key in report.json, name.
const FIGURES: [(&str, &str); 28] = [
    ("c2st", "C2ST AUC, all features (trees)"),
    ("c2st_neural", "C2ST AUC, neural"),
    ("c2st_structure", "C2ST AUC, structure only"),
    ("overall", "overall fidelity"),
    ("structure", "F1 structure"),
    ("durations", "F2 durations"),
    ("semantics", "F3 semantics"),
    ("shape_distance", "shape total-variation distance"),
    ("rare_recall", "rare-shape recall"),
    (
        "rare_recall_allowed",
        "rare-shape recall, no label below the floor",
    ),
    ("outside_difference", "containment violation, difference"),
    ("operation_durations", "per-operation duration, W1 (log10)"),
    ("root_p50_error", "root latency p50, error"),
    ("root_p50_bias", "root latency p50, bias"),
    ("root_p95_error", "root latency p95, error"),
    ("root_p95_bias", "root latency p95, bias"),
    ("root_p99_error", "root latency p99, error"),
    ("root_p99_bias", "root latency p99, bias"),
    ("tstr_ratio", "TSTR ratio, least"),
    ("false_alarm_difference", "false alarms, difference, most"),
    ("hybrid_least", "hybrid, worst mix over observed only"),
    ("mia_nearest", "membership AUC, nearest neighbour"),
    ("mia_density", "membership AUC, density ratio"),
    ("mia_shadow", "membership AUC, shadow model"),
    ("mia_best", "membership AUC, best of the three"),
    ("copied_records_excess", "full-record copies above chance"),
    ("below_floor", "spans with a label below the floor"),
    ("valid_sizes", "valid at 1 to 1,000 spans"),
];

/// RQ1: what is rebuilt through all latents, and by z_G alone.
const REBUILT: [(&str, &str, &str); 7] = [
    ("services", "rebuilt_services", "code_services"),
    ("operations", "rebuilt_operations", "code_operations"),
    (
        "duration, mean error in ms",
        "rebuilt_duration_error",
        "code_duration_error",
    ),
    (
        "duration, mean error of log10",
        "rebuilt_log_duration_error",
        "code_log_duration_error",
    ),
    (
        "edges, precision",
        "rebuilt_edges_precision",
        "code_edges_precision",
    ),
    ("edges, recall", "rebuilt_edges_recall", "code_edges_recall"),
    ("edges, F1", "rebuilt_edges_f1", "code_edges_f1"),
];

/// RQ2: what training on synthetic traces is worth.
const TAUGHT: [(&str, &str); 22] = [
    ("root_accuracy", "which root operation: accuracy"),
    ("root_f1", "which root operation: F1"),
    ("root_ratio", "which root operation: accuracy over observed"),
    ("fault_pr_auc", "has an error: PR-AUC"),
    ("fault_f1", "has an error: F1"),
    ("fault_ratio", "has an error: PR-AUC over observed"),
    ("fault_false_alarms", "has an error: false alarms off by"),
    ("slow_pr_auc", "is slow: PR-AUC"),
    ("slow_f1", "is slow: F1"),
    ("slow_ratio", "is slow: PR-AUC over observed"),
    ("slow_false_alarms", "is slow: false alarms off by"),
    ("workload_accuracy", "which system: accuracy"),
    ("workload_f1", "which system: F1"),
    ("workload_pr_auc", "which system: PR-AUC"),
    ("workload_ratio", "which system: PR-AUC over observed"),
    ("workload_false_alarms", "which system: false alarms off by"),
    ("tstr_ratio", "the least of the ratios"),
    ("window_accuracy", "normal or fault window: accuracy"),
    ("window_f1", "normal or fault window: F1"),
    ("window_pr_auc", "normal or fault window: PR-AUC"),
    (
        "window_ratio",
        "normal or fault window: PR-AUC over observed",
    ),
    (
        "window_false_alarms",
        "normal or fault window: false alarms off by",
    ),
];

/// RQ4: how separable both are.
const APART: [(&str, &str); 5] = [
    ("nmi", "k-means clusters against origin, NMI"),
    ("nearest", "likeness of the nearest held-out trace"),
    ("c2st", "J1, trees"),
    ("c2st_neural", "J3, neural"),
    ("c2st_larger", "the larger"),
];

/// Operators' queries, and attributes: sections of the report that stand whole.
const WHOLE: [(&str, &str); 2] = [
    ("U4", "Operators' queries over the recording in 12 parts"),
    ("A1", "Attributes, status and events"),
];

fn number(value: &Value) -> String {
    value.as_f64().map_or("–".to_owned(), |v| format!("{v:.3}"))
}

fn head(page: &mut String, columns: &[String]) {
    let line = vec!["---"; columns.len()].join("|");
    *page += &format!("| {} |\n|{line}|\n", columns.join(" | "));
}

/// The page.
pub fn page(corpora: &[Corpus], seeds: usize) -> Result<String> {
    let models = match seeds {
        1 => "one seed, so no deviations".to_owned(),
        _ => format!("{seeds} seeds, each a split, a model and a sample of its own"),
    };
    let mut page = format!(
        "# Results\n\nMade by `make tables DATA=... SEEDS={seeds}`: {models}. A corpus is split at random by \
         trace (60% to train on, 20% held out, 20% a second observed sample), a model is trained on one core, \
         and as many traces are drawn from its prior as were held out. Mean ± standard deviation over the seeds; \
         beside them the means of the controls: another observed sample (ceiling), training traces drawn again \
         (copier), the table grammar, a VAE with one latent and no hierarchy (flat; seed 1 only), and independent \
         random draws. The bars are those asked of each system, where there are some, and otherwise the strictest. \
         An *error* of root latency is the distance of a percentile from that of the held-out sample, the mean \
         over seeds; a held-out sample's own percentiles are chance as well, so the ceiling has errors too. A \
         *bias* is what is left when the signed errors of a root operation are averaged over the seeds first: what \
         is chance of a split or a sample goes out, what is wrong stays. A *worst mix* is that of the curves \
         averaged over the seeds. Fault windows (two models, of traces that a fault was at work in and of those \
         without) are of the first three seeds; RQ3, what is asked for and what gives traces away are of seed 1. \
         What each figure is stands in [evaluation.md](evaluation.md). A report with pictures per corpus, of seed 1, \
         lies in `docs/results/` \
         where it was made; it shows observed traces, so it stays there. Wall seconds are of a machine that \
         other work shared; processor seconds are user and system of the training program.\n"
    );
    for corpus in corpora {
        main_table(&mut page, corpus)?;
    }
    reconstruction(&mut page, corpora)?;
    utility(&mut page, corpora)?;
    sizes(&mut page, corpora)?;
    conditions(&mut page, corpora)?;
    let names = APART.map(|(key, name)| (key.to_owned(), name.to_owned()));
    beside_ceiling(&mut page, corpora, "RQ4: separability and likeness", &names)?;
    for section in WHOLE {
        by_id(&mut page, corpora, section)?;
    }
    Ok(page)
}

fn main_table(page: &mut String, corpus: &Corpus) -> Result<()> {
    let average = |seconds: &[f64]| match Spread::of(seconds.to_vec()) {
        None => "not measured".to_owned(),
        Some(spread) => format!("{:.0} s", spread.mean),
    };
    let inputs = corpus.first()["inputs"].as_object().into_iter().flatten();
    let inputs = inputs.filter(|(what, _)| !what.contains('/'));
    let inputs: Vec<String> = inputs
        .map(|(what, many)| format!("{what}: {}", many.as_str().unwrap_or("")))
        .collect();
    let [wall, used] = &corpus.seconds;
    write!(
        page,
        "\n## {}\n\nSeed 1: {}. Training took on average {} by the clock, {} of a processor.\n\n",
        corpus.name,
        inputs.join("; "),
        average(wall),
        average(used)
    )?;
    let controls = ["ceiling", "copier", "grammar", "flat", "random"];
    let columns = [&["figure", "doppelspan"][..], &controls, &["bar"]].concat();
    head(
        page,
        &columns.into_iter().map(str::to_owned).collect::<Vec<_>>(),
    );
    for (key, title) in FIGURES {
        let metric = METRICS.iter().find(|metric| metric.key == key);
        let Some(metric) = metric.filter(|_| row(corpus.first(), key).is_some()) else {
            continue;
        };
        let controls = controls.map(|control| mean(corpus.figure(key, Of::Control(control))));
        writeln!(
            page,
            "| {title} | {} | {} | {} |",
            corpus.own(key),
            controls.join(" | "),
            corpus.bar(metric)
        )?;
    }
    *page += &ablated(corpus.first());
    let told = corpus.first()["generators"][0]["measured"]["all"]["importance"].as_array();
    let told: Vec<String> = told
        .into_iter()
        .flatten()
        .take(5)
        .filter_map(|one| Some(format!("{} ({:+.3})", one[0].as_str()?, one[1].as_f64()?)))
        .collect();
    if !told.is_empty() {
        writeln!(
            page,
            "\nWhat the first model's traces are told by: {}.",
            told.join("; ")
        )?;
    }
    Ok(())
}

fn reconstruction(page: &mut String, corpora: &[Corpus]) -> Result<()> {
    *page += "\n## RQ1: reconstruction\n\nHeld-out traces through the latents and back, and (*z_G*) drawn anew \
              from their code alone; nothing else of a trace goes round the latents. The published model \
              passes the encoder's hidden state round its latent.\n\n";
    let mut columns = vec!["figure".to_owned()];
    for corpus in corpora {
        columns.extend([corpus.name.clone(), format!("{}, z_G", corpus.name)]);
    }
    columns.push("published".to_owned());
    head(page, &columns);
    for (name, all, alone) in REBUILT {
        let mut cells = vec![name.to_owned()];
        let mut published = "";
        for corpus in corpora {
            cells.extend([corpus.own(all), corpus.own(alone)]);
            let told = row(corpus.first(), all).and_then(|row| row["published"].as_str());
            published = told.unwrap_or(published);
        }
        cells.push(published.to_owned());
        writeln!(page, "| {} |", cells.join(" | "))?;
    }
    *page += "\nStructure of drawn traces: F1, S1 to S3 in the tables above and in the reports.\n";
    Ok(())
}

fn utility(page: &mut String, corpora: &[Corpus]) -> Result<()> {
    let names = TAUGHT.map(|(key, name)| (key.to_owned(), name.to_owned()));
    let title = "RQ2: training on synthetic traces, testing on held-out ones";
    beside_ceiling(page, corpora, title, &names)?;
    *page += "\nMixes at a fixed number of training traces, by the share of observed ones, means over the \
              seeds: the models' traces, and as a control (*ceiling*) a second observed sample in their place, whose \
              differences are chance.\n\n";
    let shares = ["0%", "10%", "30%", "50%", "70%", "100%"].map(str::to_owned);
    let columns = ["corpus", "score", "mixed with"].map(str::to_owned);
    head(page, &[&columns[..], &shares].concat());
    for corpus in corpora {
        let sides = [
            ("synthetic", Of::Synthetic),
            ("ceiling", Of::Control("ceiling")),
        ];
        let mut lines: BTreeMap<usize, Vec<String>> = BTreeMap::new();
        for (side, of) in sides {
            for (at, mix) in corpus.mixes(of).into_iter().enumerate() {
                let task = mix.score.replace('_', " ");
                let scores = mix.mixed.iter().map(|(_, score)| format!("{score:.3}"));
                let scores = scores.collect::<Vec<_>>().join(" | ");
                let line = format!("| {} | {task} | {side} | {scores} |\n", corpus.name);
                lines.entry(at).or_default().push(line);
            }
        }
        *page += &lines.into_values().flatten().collect::<String>();
    }
    Ok(())
}

/// A table with a row for each figure that a corpus has: that of the models, and the ceiling's.
fn beside_ceiling(
    page: &mut String,
    corpora: &[Corpus],
    title: &str,
    figures: &[(String, String)],
) -> Result<()> {
    let there = |key: &str| {
        let reports = corpora
            .iter()
            .flat_map(|corpus| corpus.reports(key).first());
        let mut rows = reports.filter_map(|report| row(report, key));
        rows.next()
    };
    if !figures.iter().any(|(key, _)| there(key).is_some()) {
        return Ok(());
    }
    write!(page, "\n## {title}\n\n")?;
    let mut columns = vec!["figure".to_owned()];
    for corpus in corpora {
        columns.extend([corpus.name.clone(), "ceiling".to_owned()]);
    }
    columns.push("published".to_owned());
    head(page, &columns);
    for (key, name) in figures {
        let Some(row) = there(key) else { continue };
        let mut cells = vec![name.clone()];
        for corpus in corpora {
            cells.extend([corpus.own(key), corpus.ceiling(key)]);
        }
        cells.push(row["published"].as_str().unwrap_or("").to_owned());
        writeln!(page, "| {} |", cells.join(" | "))?;
    }
    Ok(())
}

/// A table of every figure with such an id in a report.
fn by_id(page: &mut String, corpora: &[Corpus], (id, title): (&str, &str)) -> Result<()> {
    let mut figures: Vec<(String, String)> = Vec::new();
    for row in corpora.iter().flat_map(Corpus::rows) {
        let text = |part: &str| row[part].as_str().unwrap_or("").to_owned();
        let figure = (text("key"), text("name"));
        if row["id"] == id && !figures.contains(&figure) {
            figures.push(figure);
        }
    }
    beside_ceiling(page, corpora, title, &figures)
}

/// The figures that the first model's variants are compared by: those of `eval::ABLATED`.
const COMPARED: [(&str, &str); 5] = [
    ("c2st", "J1"),
    ("c2st_structure", "J2"),
    ("overall", "overall"),
    ("shape_distance", "shape TV"),
    ("operation_durations", "W1"),
];

fn compared(row: &Value) -> String {
    let told = COMPARED.map(|(key, _)| number(&row["figures"][key]));
    told.join(" | ")
}

/// Sizes left to the model, and given.
fn sizes(page: &mut String, corpora: &[Corpus]) -> Result<()> {
    *page += "\n## RQ3: fixed against variable size\n\nThe first model, with the size of each trace left to it, \
              and with sizes given: those that it drew for other traces, none of an observed one.\n\n";
    let names = COMPARED.map(|(_, name)| name.to_owned());
    head(
        page,
        &[&["corpus", "sizes"].map(str::to_owned)[..], &names].concat(),
    );
    for corpus in corpora {
        for row in corpus.first()["sizes"].as_array().into_iter().flatten() {
            let sizes = match row["given"].as_bool() {
                Some(true) => "given",
                _ => "left to it",
            };
            writeln!(page, "| {} | {sizes} | {} |", corpus.name, compared(row))?;
        }
    }
    Ok(())
}

/// Whether the first model gives what it is asked for.
fn conditions(page: &mut String, corpora: &[Corpus]) -> Result<()> {
    *page += "\n## What is asked for\n\nThe first model under conditions: the share of the traces asked for that \
              came and meet what was asked, and structures drawn for each. A shape counts as rare unless a second \
              count of the model's own draws says beyond doubt that it is not.\n\n";
    let columns = ["corpus", "asked for", "met", "structures for each"];
    head(page, &columns.map(str::to_owned));
    for corpus in corpora {
        let rows = corpus.first()["conditions"]
            .as_array()
            .into_iter()
            .flatten();
        for row in rows {
            let asked = row["asked"].as_str().unwrap_or("");
            let [met, structures] = ["met", "structures"].map(|part| number(&row[part]));
            writeln!(page, "| {} | {asked} | {met} | {structures} |", corpus.name)?;
        }
    }
    Ok(())
}

/// The table of ablations; nothing without ablations.
fn ablated(report: &Value) -> String {
    let rows = report["ablations"].as_array().into_iter().flatten();
    let mut table: String = rows
        .map(|row| {
            let noise = match row["noise"].as_str() {
                Some("inverse_cdf") => "drawn",
                Some("median") => "at its median",
                Some("gaussian") => "amortised Gaussian",
                _ => "–",
            };
            let told = if row["discriminator"] == true {
                "yes"
            } else {
                "no"
            };
            let draws = if row["even"] == true {
                "even"
            } else {
                "independent"
            };
            let (model, codes) = (row["model"].as_str().unwrap_or(""), &row["codes"]);
            format!(
                "| {model} | {codes} | {noise} | {told} | {draws} | {} |\n",
                compared(row)
            )
        })
        .collect();
    if !table.is_empty() {
        table.insert_str(
            0,
            "\n| without a part | codes of z_G | z_v | discriminator | draws | J1 | J2 | overall | shape TV | W1 |\n|---|---|---|---|---|---|---|---|---|---|\n",
        );
        table += &format!("\n{}\n", report["limits"].as_str().unwrap_or(""));
    }
    table
}
