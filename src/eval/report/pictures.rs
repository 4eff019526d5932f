//! What a reader wants to see: distributions, operations, components, pairs, curves.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::plot::{Axis, Chart, Unit, drawing, duration, escape, stairs};
use crate::eval::features::name;
use crate::eval::shape::{end, label};
use crate::eval::similarity::Mixed;
use crate::eval::timing::{OperationTiming, shares};
use crate::eval::{Hybrid, Measured, Observed};
use crate::features::{Interner, Skeleton};
use crate::trace::Trace;

/// Steps of a distribution, at most.
const STEPS: usize = 48;
/// Operations whose durations are drawn.
const OPERATIONS: usize = 24;
/// Pairs of traces that are drawn, and spans of each.
const PAIRS: usize = 4;
const SPANS: usize = 48;

/// Pictures of a generator's traces beside held-out ones: (title, figures).
pub(super) fn pictures(
    observed: Observed<'_>,
    synthetic: &[Trace],
    measured: &Measured,
    texts: &Interner,
) -> Vec<(&'static str, String)> {
    let mixed = Mixed::of(observed.held_out, synthetic);
    vec![
        (
            "Distributions",
            distributions([observed.held_out, synthetic]),
        ),
        ("Durations of operations", operations(&measured.operations)),
        ("What gives them away", importance(measured)),
        (
            "Mixed with observed traces for training",
            measured.hybrids.iter().map(hybrid).collect(),
        ),
        ("Principal components", components(&mixed)),
        (
            "Synthetic traces beside their nearest observed ones",
            waterfalls([observed.held_out, synthetic], &mixed, texts),
        ),
    ]
}

fn figure(caption: &str, svg: &str) -> String {
    format!(
        "<figure>{svg}<figcaption>{}</figcaption></figure>",
        escape(caption)
    )
}

fn distributions(sides: [&[Trace]; 2]) -> String {
    let of = |measure: &dyn Fn(&Trace) -> Vec<f64>| {
        sides.map(|traces| traces.iter().flat_map(measure).collect::<Vec<f64>>())
    };
    let log = |nanoseconds: u64| (nanoseconds.max(1) as f64).log10();
    let depth = |trace: &Trace| {
        let skeleton = Skeleton::of_trace(trace);
        let deepest = skeleton.places().iter().map(|place| place.depth).max();
        vec![f64::from(deepest.unwrap_or_default())]
    };
    let fan_out = |trace: &Trace| {
        let skeleton = Skeleton::of_trace(trace);
        let inner = skeleton.places().iter().filter(|place| place.children > 0);
        inner.map(|place| f64::from(place.children)).collect()
    };
    let sizes = of(&|trace| vec![trace.spans().len() as f64]);
    let roots = of(&|trace| vec![log(trace.root().duration)]);
    let spans = of(&|trace| trace.spans().iter().map(|s| log(s.duration)).collect());
    let own = of(&|trace| {
        let [_, own, _] = shares(trace.spans());
        own.into_iter().map(|share| share.clamp(0.0, 1.0)).collect()
    });
    [
        distribution("spans of a trace", Unit::Number, &sizes),
        distribution("depth", Unit::Number, &of(&depth)),
        distribution(
            "children of a span that has some",
            Unit::Number,
            &of(&fan_out),
        ),
        distribution("duration of the root", Unit::LogNanoseconds, &roots),
        distribution("duration of a span", Unit::LogNanoseconds, &spans),
        distribution(
            "share of its time that a span spends outside its children",
            Unit::Percent,
            &own,
        ),
    ]
    .concat()
}

fn distribution(caption: &str, unit: Unit, sides: &[Vec<f64>; 2]) -> String {
    let [observed, synthetic] = stairs([&sides[0], &sides[1]], STEPS);
    let all = || observed.iter().chain(&synthetic);
    let heights = all().map(|corner| corner[1]).chain([0.0]);
    let (x, y) = (
        Axis::over(all().map(|corner| corner[0]), unit),
        Axis::over(heights, Unit::Percent),
    );
    let mut chart = Chart::new(x, y, [360.0, 180.0]);
    chart.area(&observed, "observed");
    chart.line(&synthetic, "synthetic");
    figure(caption, &chart.svg(caption))
}

fn operations(rows: &[OperationTiming]) -> String {
    const ROW: f64 = 26.0;
    const NAMES: f64 = 330.0;
    const WIDTH: f64 = 760.0;
    let rows = &rows[..rows.len().min(OPERATIONS)];
    let ends = |levels: &[f64; 5]| [levels[0], levels[4]];
    let values = rows.iter().flat_map(|row| {
        let synthetic = (row.spans[1] > 0).then_some(row.synthetic);
        [Some(row.observed), synthetic]
            .into_iter()
            .flatten()
            .flat_map(|l| ends(&l))
    });
    let values: Vec<f64> = values.map(|value| value.max(1.0).log10()).collect();
    let (from, to) = values
        .iter()
        .fold((f64::INFINITY, 0.0_f64), |(a, b), &v| (a.min(v), b.max(v)));
    let (from, to) = (from.floor(), to.ceil());
    let at = |value: f64| {
        NAMES + (value.max(1.0).log10() - from) / (to - from).max(1.0) * (WIDTH - NAMES - 20.0)
    };
    let height = rows.len() as f64 * ROW + 24.0;
    let mut body = String::new();
    let mut decade = from;
    while decade <= to {
        let x = at(10_f64.powf(decade));
        write!(
            body,
            r#"<path class="grid" d="M{x:.1} 0V{:.1}"/><text class="tick" text-anchor="middle" x="{x:.1}" y="{:.1}">{}</text>"#,
            height - 20.0,
            height - 6.0,
            duration(10_f64.powf(decade))
        )
        .ok();
        decade += 1.0;
    }
    for (row, place) in rows.iter().zip(0..) {
        let top = f64::from(place) * ROW;
        let told = format!(
            "{}: observed median {}, synthetic {}; {} and {} spans",
            row.name,
            duration(row.observed[2]),
            duration(row.synthetic[2]),
            row.spans[0],
            row.spans[1]
        );
        write!(
            body,
            r#"<g><title>{}</title><text class="name" text-anchor="end" x="{:.1}" y="{:.1}">{}</text>"#,
            escape(&told),
            NAMES - 10.0,
            top + 16.0,
            escape(&shortened(&row.name, 52))
        )
        .ok();
        let sides = [
            (&row.observed, 8.0, "observed"),
            (&row.synthetic, 17.0, "synthetic"),
        ];
        for (levels, down, class) in sides {
            if class == "synthetic" && row.spans[1] == 0 {
                continue;
            }
            let y = top + down;
            let [a, b, c, d, e] = levels.map(at);
            write!(
                body,
                r#"<path class="thin {class}" d="M{a:.1} {y:.1}H{e:.1}"/><path class="thick {class}" d="M{b:.1} {y:.1}H{d:.1}"/><circle class="mark {class}" cx="{c:.1}" cy="{y:.1}" r="3.5"/>"#
            )
            .ok();
        }
        body += "</g>\n";
    }
    let caption =
        "the operations with the most spans: 5 to 95% (thin), 25 to 75% (thick), median (dot)";
    wide(caption, &drawing([WIDTH, height], caption, &body))
}

fn wide(caption: &str, svg: &str) -> String {
    format!(
        r#"<figure class="wide">{svg}<figcaption>{}</figcaption></figure>"#,
        escape(caption)
    )
}

fn importance(measured: &Measured) -> String {
    let tests = [
        ("all features (J1)", &measured.all),
        ("structure only (J2)", &measured.structure),
    ];
    let tests = tests.map(|(what, test)| {
        let most = test.importance.iter().map(|(_, lost)| *lost).fold(0.001, f64::max);
        let mut body = String::new();
        for ((name, lost), place) in test.importance.iter().zip(0..) {
            let top = f64::from(place) * 20.0;
            let width = lost.max(0.0) / most * 180.0;
            write!(
                body,
                r#"<g><title>{}</title><text class="name" text-anchor="end" x="330" y="{:.1}">{}</text><rect class="bar" x="340" y="{:.1}" width="{width:.1}" height="12" rx="2"/><text class="tick" x="{:.1}" y="{:.1}">{lost:.3}</text></g>"#,
                escape(name),
                top + 14.0,
                escape(&shortened(name, 52)),
                top + 4.0,
                346.0 + width,
                top + 14.0,
            )
            .ok();
        }
        let height = test.importance.len().max(1) as f64 * 20.0 + 6.0;
        let caption = format!(
            "{what}: AUC {:.3}; how much of it is lost when a feature's values are mixed",
            test.auc
        );
        wide(&caption, &drawing([600.0, height], &caption, &body))
    });
    tests.concat()
}

fn hybrid(told: &Hybrid) -> String {
    let added = (told.added.iter()).map(|(times, score)| [*times as f64, *score]);
    let curves = [
        (
            "share of observed traces, as many in all",
            Unit::Percent,
            told.mixed
                .iter()
                .map(|(share, score)| [*share, *score])
                .collect(),
        ),
        (
            "synthetic traces added to each of a tenth of the observed ones",
            Unit::Number,
            added.collect::<Vec<[f64; 2]>>(),
        ),
    ];
    let curves = curves.into_iter().filter(|curve| !curve.2.is_empty());
    let curves = curves.map(|(what, unit, points): (&str, Unit, Vec<[f64; 2]>)| {
        let x = Axis::over(points.iter().map(|point| point[0]), unit);
        let y = Axis::over(points.iter().map(|point| point[1]), Unit::Number);
        let mut chart = Chart::new(x, y, [360.0, 180.0]);
        chart.line(&points, "synthetic");
        chart.dots(&points, "synthetic");
        let caption = format!(
            "{} on held-out traces by: {what}",
            told.score.replace('_', " ")
        );
        figure(&caption, &chart.svg(&caption))
    });
    curves.collect()
}

fn components(mixed: &Mixed) -> String {
    let Some([observed, synthetic]) = mixed.components() else {
        return String::new();
    };
    let along = |axis: usize| {
        let all = observed
            .iter()
            .chain(&synthetic)
            .map(move |point| point[axis]);
        Axis::over(all, Unit::Number)
    };
    let mut chart = Chart::new(along(0), along(1), [560.0, 320.0]);
    chart.dots(&observed, "observed");
    chart.dots(&synthetic, "synthetic");
    let caption = "the pooled features of F1, first two components; a dot is a trace";
    wide(caption, &chart.svg(caption))
}

/// Some synthetic traces, small to large, each with the held-out trace nearest to it.
fn waterfalls(sides: [&[Trace]; 2], mixed: &Mixed, texts: &Interner) -> String {
    let [observed, synthetic] = sides;
    let mut pairs: Vec<(usize, usize)> = mixed.pairs().map(|(a, b, _)| (a, b)).collect();
    pairs.retain(|(at, _)| synthetic[*at].spans().len() > 1);
    pairs.sort_by_key(|(at, _)| (synthetic[*at].spans().len(), *at));
    let chosen = (0..PAIRS).filter_map(|at| pairs.get((2 * at + 1) * pairs.len() / (2 * PAIRS)));
    let mut shown: BTreeMap<usize, usize> = BTreeMap::new();
    shown.extend(chosen.copied());
    let drawn = shown.into_iter().map(|(at, nearest)| {
        let pair = [
            waterfall(&synthetic[at], "synthetic", texts),
            waterfall(&observed[nearest], "observed", texts),
        ];
        format!(r#"<div class="pair">{}</div>"#, pair.concat())
    });
    drawn.collect()
}

fn waterfall(trace: &Trace, class: &str, texts: &Interner) -> String {
    const ROW: f64 = 14.0;
    const WIDTH: f64 = 520.0;
    const NAMES: f64 = 230.0;
    let spans = &trace.spans()[..trace.spans().len().min(SPANS)];
    let skeleton = Skeleton::of_trace(trace);
    let first = spans
        .iter()
        .map(|span| span.start)
        .min()
        .unwrap_or_default();
    let last = spans.iter().map(end).max().unwrap_or_default();
    let length = (last - i128::from(first)).max(1) as f64;
    let at =
        |time: i128| NAMES + (time - i128::from(first)) as f64 / length * (WIDTH - NAMES - 4.0);
    let mut body = String::new();
    for ((span, place), row) in spans.iter().zip(skeleton.places()).zip(0..) {
        let top = f64::from(row) * ROW;
        let (from, to) = (at(span.start.into()), at(end(span)));
        let text = name(label(span), texts);
        let operation = texts
            .text(span.operation)
            .map_or("?".into(), |t| t.to_string());
        let indent = f64::from(place.depth.min(8)) * 6.0;
        let letters = 40 - 2 * place.depth.min(8) as usize / 2;
        write!(
            body,
            r#"<g><title>{}, {}</title><text class="small" x="{indent:.0}" y="{:.1}">{}</text><rect class="span {class}" x="{from:.1}" y="{:.1}" width="{:.1}" height="9" rx="1.5"/></g>"#,
            escape(&text),
            duration(span.duration as f64),
            top + 10.5,
            escape(&shortened(&operation, letters)),
            top + 2.0,
            (to - from).max(1.0),
        )
        .ok();
    }
    let left = trace.spans().len() - spans.len();
    let more = if left > 0 {
        format!(", {left} more not shown")
    } else {
        String::new()
    };
    let caption = format!(
        "{class}: {} spans, {}{more}",
        trace.spans().len(),
        duration(trace.root().duration as f64)
    );
    let height = spans.len() as f64 * ROW + 4.0;
    figure(&caption, &drawing([WIDTH, height], &caption, &body))
}

/// How the model learnt.
pub(super) fn curve(points: &[(u64, f64, f64, f64)]) -> String {
    if points.len() < 2 {
        return String::new();
    }
    let of = |value: fn(&(u64, f64, f64, f64)) -> f64| -> Vec<[f64; 2]> {
        points
            .iter()
            .map(|point| [point.0 as f64, value(point)])
            .collect()
    };
    let (vae, grammar) = (of(|point| point.2), of(|point| point.3));
    let all = || vae.iter().chain(&grammar);
    let (x, y) = (
        Axis::over(all().map(|point| point[0]), Unit::Number),
        Axis::over(all().map(|point| point[1]), Unit::Number),
    );
    let mut chart = Chart::new(x, y, [560.0, 240.0]);
    chart.line(&grammar, "observed");
    chart.line(&vae, "synthetic");
    let caption =
        "nats of a held-out trace by optimiser step: the VAE (orange) and the table grammar (blue)";
    wide(caption, &chart.svg(caption))
}

/// The text's end, where names differ, if it is too long.
fn shortened(text: &str, most: usize) -> String {
    let letters = text.chars().count();
    if letters <= most {
        return text.to_owned();
    }
    let end: String = text.chars().skip(letters + 1 - most).collect();
    format!("…{end}")
}
