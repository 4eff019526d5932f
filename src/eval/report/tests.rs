//! A report on small samples of a made-up system.

use rand::RngExt as _;

use super::*;
use crate::chance::stream;
use crate::eval::{Ablated, Bench, Effort, Figures, Noise, ObservedFeatures, random};
use crate::features::Interner;
use crate::trace::{Span, SpanKind, StatusCode};

/// Requests whose operations have names that a page must not take for its own text.
fn sample(seed: u64, texts: &Interner) -> Vec<Trace> {
    let mut rng = stream(seed, "report tests");
    let [service, root, call] =
        ["shop", "GET /<basket>", "SELECT \"a\" & b"].map(|t| texts.symbol(t));
    let span = |parent, operation, start: u64, duration| Span {
        parent,
        service,
        operation,
        profile: service,
        kind: SpanKind::Server,
        status: StatusCode::Unset,
        start: start as i64,
        duration,
    };
    let mut one = || {
        let calls = rng.random_range(0..4_u64);
        let whole = 1_000 + 500 * calls + rng.random_range(0..400);
        let mut spans = vec![span(None, root, 0, whole)];
        for at in 0..calls {
            let duration = rng.random_range(100..400);
            spans.push(span(Some(0), call, 10 + 450 * at, duration));
        }
        Trace::new(spans, Vec::new()).unwrap()
    };
    (0..240).map(|_| one()).collect()
}

/// An evaluation of two generators, the ceiling and chance; and what a page of it needs.
fn evaluate(check: impl FnOnce(&Evaluation, Observed<'_>, &Interner)) {
    let texts = Interner::default();
    let [train, held_out, second, one, other] = [1, 2, 3, 4, 5].map(|seed| sample(seed, &texts));
    let observed = Observed {
        train: &train,
        held_out: &held_out,
        second: &second,
    };
    let features = ObservedFeatures::of(observed);
    let bench = Bench::new(observed, &features, &texts, (1, 20)).unwrap();
    let mut steps = 0;
    let mut measure =
        |traces: &[Trace], effort| bench.measure(traces, effort, |_| steps += 1).unwrap();
    let generators = [
        ("one.model", &one, Effort::Whole),
        ("other.model", &other, Effort::Quick),
    ];
    let generators = generators.map(|(name, traces, effort)| Generator {
        name: name.to_owned(),
        measured: measure(traces, effort),
    });
    let chance = random(&train, held_out.len(), &mut stream(1, "random"));
    let controls = [(Control::Ceiling, &second), (Control::Random, &chance)];
    let controls = controls.map(|(control, traces)| (control, measure(traces, Effort::Quick)));
    assert_eq!(steps, 4 * Bench::STEPS);
    let evaluation = Evaluation {
        inputs: vec![("train".to_owned(), "240 traces".to_owned())],
        notes: vec!["a <note>".to_owned()],
        seed: 1,
        bars: Bars::read(["c2st=0.7"]).unwrap(),
        generators: generators.into(),
        controls: controls.into(),
        ablations: vec![Ablation {
            model: "no <code>".to_owned(),
            codes: 0,
            noise: Noise::Median,
            discriminator: false,
            even: false,
            figures: Ablated::new(&held_out, &texts, 1).figures(&one).unwrap(),
        }],
        kept: vec![Kept {
            asked: "shop/GET <cart>".to_owned(),
            traces: [100, 99],
            met: 0.99,
            structures: 7.5,
        }],
        sizes: [false, true]
            .map(|given| SizesGiven {
                given,
                figures: Figures::from([("c2st", 0.5)]),
            })
            .into(),
        curve: vec![(0, 9.0, 9.0, 8.0), (100, 5.0, 6.0, 8.0)],
    };
    check(&evaluation, observed, &texts);
}

#[test]
fn every_figure_stands_beside_its_controls_with_its_spread_over_generators() {
    evaluate(|evaluation, _, _| {
        let json = evaluation.json();
        let rows = json["rows"].as_array().unwrap();
        let row = |key: &str| rows.iter().find(|row| row["key"] == key).unwrap();
        let told = row("c2st");
        assert_eq!(told["synthetic"]["values"].as_array().unwrap().len(), 2);
        assert!(told["controls"]["random"].as_f64().unwrap() > 0.9, "{told}");
        assert!(told["controls"]["grammar"].is_null());
        assert_eq!(told["reached"], true, "{told}");
        // An ablation is measured as a generator is.
        let (ablated, whole) = (&json["ablations"][0], &json["generators"][0]["measured"]);
        for (key, _) in ABLATED {
            let told = &ablated["figures"][key];
            assert!(told.is_f64() && told == &whole["figures"][key], "{key}");
        }
        assert!(json["limits"].as_str().unwrap().contains("no mask"));
        // Only one generator was told apart by a network.
        let told = row("c2st_neural");
        assert_eq!(told["synthetic"]["values"].as_array().unwrap().len(), 1);
        assert!(json["generators"][0]["measured"]["hybrids"][0].is_object());
        // Errors of one sign stay, and those of two go out against each other.
        let [error, bias] = ["root_p95_error", "root_p95_bias"].map(&row);
        let [error, bias] = [error, bias].map(|row| row["synthetic"]["mean"].as_f64().unwrap());
        assert!(bias <= error + 1e-12, "{bias} {error}");
        assert_eq!(
            row("root_p95_error")["controls"]["random"],
            row("root_p95_bias")["controls"]["random"]
        );
        assert!(
            json["controls"]["ceiling"]["figures"]["overall"]
                .as_f64()
                .unwrap()
                > 0.9
        );
    });
}

#[test]
fn the_table_has_a_line_for_each_row_and_says_which_bars_are_missed() {
    evaluate(|evaluation, _, _| {
        let text = evaluation.text();
        for row in evaluation.rows() {
            assert!(text.contains(row.metric.name), "{}", row.metric.name);
        }
        assert!(text.contains("≤ 0.7 reached"), "{text}");
        assert!(text.contains("ablation no <code>"), "{text}");
        for there in ["shop/GET <cart>", "99 of 100", "given, of its own"] {
            assert!(text.contains(there), "{text}");
        }
        assert!(text.contains("one.model: told by "), "{text}");
        assert!(text.ends_with("note: a <note>"), "{text}");
    });
}

#[test]
fn the_page_needs_nothing_else_and_takes_names_for_text() {
    evaluate(|evaluation, observed, texts| {
        let page = evaluation.html(observed, &sample(4, texts), texts);
        for there in [
            "prefers-color-scheme: dark",
            "GET /&lt;basket&gt;",
            "SELECT &quot;a&quot; &amp; b",
            "a &lt;note&gt;",
            "<td>no &lt;code&gt;</td><td>none</td><td>median</td>",
            "no mask of structures",
            "over 2 generators",
            "How the model learnt",
            "synthetic: ",
            "observed: ",
        ] {
            assert!(page.contains(there), "{there}");
        }
        for absent in [
            "<script", "http://", "https://", "<basket>", "<code>", "<cart>", "NaN",
        ] {
            assert!(!page.contains(absent), "{absent}");
        }
        assert_eq!(page.matches("<svg").count(), page.matches("</svg>").count());
    });
}
