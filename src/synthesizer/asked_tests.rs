//! Draws under conditions, of a grammar and of a VAE, held against draws without.

use std::sync::Arc;

use super::*;
use crate::chance;
use crate::features::timing::{BINS, END_MODES, START_MODES};
use crate::features::{Discriminator, Sampled, SampledSpan, Token, Word};
use crate::learner::{Generator, Published};
use crate::model::vae::VaeSettings;
use crate::model::{Example, Grammar, GrammarSizes, TimeCode, Vae};
use crate::trace::{Span, SpanKind, StatusCode, Symbol, Trace};

const TOKENS: u32 = 6;
const SIZES: GrammarSizes = GrammarSizes {
    start_modes: START_MODES as u32,
    end_modes: END_MODES as u32,
    bins: BINS as u32,
    max_contexts: 100_000,
    max_spans: 60,
};

fn words() -> Arc<[Word]> {
    let word = |token: u32| Word {
        service: format!("service{}", token % 2).into(),
        operation: format!("GET /{token}").into(),
        kind: SpanKind::Server,
        profiles: Vec::new(),
    };
    (0..TOKENS).map(word).collect()
}

fn published(generator: Generator) -> Published {
    Published {
        number: 1,
        words: words(),
        services: (0..TOKENS).map(|token| token % 2).collect(),
        coder: Arc::default(),
        generator,
        discriminator: None,
    }
}

/// A model whose weights were only drawn: everything happens now and then.
fn vae() -> Published {
    let settings = VaeSettings {
        structure_hidden: 16,
        timing_hidden: 16,
        choice_hidden: 16,
        arities: 4,
        codes: 4,
        max_spans: 16,
        ..VaeSettings::default()
    };
    let vae = Vae::new(settings, TOKENS, &mut chance::stream(5, "weights")).unwrap();
    published(Generator::Vae(Arc::new(vae.weights())))
}

/// A request: a root with so many calls, which fail or do not.
fn request(root: u32, calls: u32, status: u8) -> Example {
    let spans = calls as usize + 1;
    let code = TimeCode {
        mode: 0,
        bin: 3,
        within: 0.5,
    };
    let mut example = Example {
        tokens: vec![root + 1; spans],
        arity: vec![0; spans],
        status: vec![status; spans],
        profile: vec![0; spans],
        start: vec![code; spans],
        end: vec![code; spans],
        links: Vec::new(),
    };
    (example.tokens[0], example.arity[0]) = (root, calls);
    example.start[0] = TimeCode::default();
    example
}

fn grammar() -> Published {
    let mut grammar = Grammar::new(SIZES);
    for round in 0..400_u32 {
        let status = if round.is_multiple_of(20) { 2 } else { 0 };
        grammar.learn(&request(round % 3, 2 + round % 5, status), 1.0);
    }
    published(Generator::Grammar(Arc::new(grammar)))
}

fn draw(published: &Published, conditions: &Conditions, seed: u64, count: usize) -> Met {
    let mut sampler = Sampler::new(published).unwrap();
    let mut asked = Asked::new(conditions, &mut sampler, &published.words).unwrap();
    asked.sample_many(&mut sampler, &mut chance::stream(seed, "draw"), count)
}

fn has_error(sampled: &Sampled) -> bool {
    let mut spans = sampled.spans.iter();
    spans.any(|span| span.status == StatusCode::Error)
}

/// Draws 100 traces under conditions and holds each against them.
fn check(published: &Published, conditions: &Conditions) {
    let met = draw(published, conditions, 3, 100);
    assert_eq!(met.unmet, None, "{conditions:?}");
    assert_eq!(met.traces.len(), 100);
    assert!(met.structures >= 100);
    let Conditions {
        roots,
        errors,
        min_spans,
        max_spans,
        rare,
        spans,
    } = conditions;
    for sampled in &met.traces {
        let root = &published.words[sampled.spans[0].token.0 as usize];
        let root = format!("{}/{}", root.service, root.operation);
        assert!(roots.is_empty() || roots.contains(&root), "{root}");
        let size = sampled.spans.len();
        let sizes = min_spans.unwrap_or(1)..=max_spans.unwrap_or(60);
        assert!(sizes.contains(&size) && spans.is_none_or(|spans| size == spans));
    }
    let count = |is: &dyn Fn(&Sampled) -> bool| {
        met.traces.iter().filter(|sampled| is(sampled)).count() as f64 / 100.0
    };
    if let Some(errors) = errors {
        assert!((count(&has_error) - errors).abs() < 0.011);
    }
    if let Some(rare) = rare {
        let mut sampler = Sampler::new(published).unwrap();
        let shapes = Shapes::of(&mut sampler, &mut chance::stream(0, "shapes"));
        assert!((count(&|sampled| shapes.is_rare(sampled)) - rare).abs() < 0.011);
    }
    assert_eq!(met.traces, draw(published, conditions, 3, 100).traces);
    assert_ne!(met.traces, draw(published, conditions, 4, 100).traces);
}

#[test]
fn every_trace_meets_what_was_asked_and_shares_come_out_whoever_draws() {
    for published in [vae(), grammar()] {
        let root = |token: u32| format!("service{}/GET /{token}", token % 2);
        let of = |conditions| check(&published, &conditions);
        of(Conditions {
            roots: vec![root(1), root(2)],
            ..Conditions::default()
        });
        of(Conditions {
            errors: Some(0.3),
            ..Conditions::default()
        });
        of(Conditions {
            min_spans: Some(4),
            max_spans: Some(6),
            ..Conditions::default()
        });
        of(Conditions {
            roots: vec![root(0)],
            errors: Some(1.0),
            spans: Some(3),
            ..Conditions::default()
        });
    }
    // The grammar has learnt no shape that is rare.
    let rare = Conditions {
        rare: Some(0.25),
        ..Conditions::default()
    };
    check(&vae(), &rare);
}

#[test]
fn a_condition_takes_a_part_of_the_distribution_and_leaves_it_as_it_is() {
    let published = vae();
    let free = draw(&published, &Conditions::default(), 6, 3_000);
    let conditions = Conditions {
        roots: vec!["service1/GET /3".into()],
        max_spans: Some(3),
        ..Conditions::default()
    };
    let asked = draw(&published, &conditions, 7, 600).traces;
    let meets = |sampled: &&Sampled| sampled.spans[0].token.0 == 3 && sampled.spans.len() <= 3;
    let free: Vec<&Sampled> = free.traces.iter().filter(meets).collect();
    assert!(free.len() > 50, "{}", free.len());
    // Sizes and errors are as frequent in both: within four standard errors.
    let aspects: [fn(&Sampled) -> bool; 3] =
        [|s| s.spans.len() == 1, |s| s.spans.len() == 3, has_error];
    for aspect in aspects {
        let share = |count: usize, of: usize| count as f64 / of as f64;
        let of_free = share(free.iter().filter(|s| aspect(s)).count(), free.len());
        let of_asked = share(asked.iter().filter(|s| aspect(s)).count(), asked.len());
        let error = (0.25 / free.len() as f64 + 0.25 / 600.0).sqrt();
        assert!(
            (of_free - of_asked).abs() < 4.0 * error,
            "{of_free} {of_asked}"
        );
    }
}

#[test]
fn without_conditions_the_same_is_drawn_as_ever() {
    for published in [vae(), grammar()] {
        for spans in [None, Some(7)] {
            let mut sampler = Sampler::new(&published).unwrap();
            let plain = sampler.sample_many(&mut chance::stream(3, "draw"), 40, spans);
            let conditions = Conditions {
                spans,
                ..Conditions::default()
            };
            assert_eq!(draw(&published, &conditions, 3, 40).traces, plain);
        }
    }
}

#[test]
fn a_root_that_is_never_drawn_is_told_of() {
    let published = grammar();
    // The vocabulary has it, the grammar never saw it.
    let conditions = Conditions {
        roots: vec!["service1/GET /5".into()],
        errors: Some(0.5),
        ..Conditions::default()
    };
    let met = draw(&published, &conditions, 3, 10);
    assert!(met.traces.is_empty());
    let told = met.unmet.unwrap().to_string();
    assert!(told.contains("none began with `service1/GET /5`"), "{told}");
}

#[test]
fn a_kind_that_is_never_drawn_is_given_up_once_and_the_others_are_drawn() {
    let published = vae();
    // So many trees have six spans or more that each of them is rare.
    let conditions = Conditions {
        min_spans: Some(6),
        max_spans: Some(8),
        rare: Some(0.5),
        ..Conditions::default()
    };
    let mut sampler = Sampler::new(&published).unwrap();
    let mut asked = Asked::new(&conditions, &mut sampler, &published.words).unwrap();
    let rng = &mut chance::stream(3, "draw");
    let first = asked.sample_many(&mut sampler, rng, 10);
    assert_eq!(first.traces.len(), 5);
    let told = first.unmet.unwrap().to_string();
    assert!(
        told.contains("none of those was without a rare shape"),
        "{told}"
    );
    let second = asked.sample_many(&mut sampler, rng, 10);
    assert_eq!((second.traces.len(), second.unmet), (5, None));
    assert!(second.structures < first.structures / 10);
}

#[test]
fn an_unknown_root_is_told_with_the_nearest_that_are_drawn() {
    let published = grammar();
    let mut sampler = Sampler::new(&published).unwrap();
    let ask = |roots: &[&str]| Conditions {
        roots: roots.iter().map(|&root| root.to_owned()).collect(),
        ..Conditions::default()
    };
    let (known, unknown) = ("service0/GET /0", "service0/get /9");
    let words = published.words;
    let fault = Asked::new(&ask(&[known, unknown]), &mut sampler, &words).unwrap_err();
    assert_eq!(fault.nearest.first().map(String::as_str), Some(known));
    assert!(fault.to_string().contains(unknown));
    // One that still learns goes on with what it knows.
    assert!(Asked::of_known(&ask(&[known, unknown]), &mut sampler, &words).is_ok());
    assert!(Asked::of_known(&ask(&[unknown]), &mut sampler, &words).is_err());
}

/// A snapshot that keeps traces of which fewer spans failed: as if in observed ones none did.
fn with_discriminator() -> Published {
    let drawn =
        Sampler::new(&vae())
            .unwrap()
            .sample_many(&mut chance::stream(4, "drawn"), 2_000, None);
    let span = |span: &SampledSpan| Span {
        parent: span.parent,
        service: Symbol(1),
        operation: Symbol(1),
        profile: Symbol(0),
        kind: SpanKind::Server,
        status: span.status,
        start: span.start,
        duration: span.duration,
    };
    let sound = drawn.iter().filter(|sampled| !has_error(sampled));
    let sound: Vec<(Trace, Vec<Token>)> = sound
        .filter_map(|sampled| {
            let trace = Trace::new(sampled.spans.iter().map(span).collect(), Vec::new());
            let tokens = sampled.spans.iter().map(|span| span.token).collect();
            Some((trace.ok()?, tokens))
        })
        .collect();
    let observed = sound.iter().map(|(trace, tokens)| (trace, &**tokens, 1.0));
    let discriminator = Discriminator::fit(observed, &drawn).unwrap();
    Published {
        discriminator: Some(Arc::new(discriminator)),
        ..vae()
    }
}

#[test]
fn a_discriminator_keeps_what_was_observed_and_conditions_are_met_all_the_same() {
    let published = with_discriminator();
    let share = |traces: &[Sampled]| {
        let failed = traces.iter().filter(|sampled| has_error(sampled)).count();
        failed as f64 / traces.len() as f64
    };
    let rng = &mut chance::stream(6, "draw");
    let mut sampler = Sampler::new(&published).unwrap();
    let kept = sampler.sample_many(rng, 300, None);
    assert!(sampler.drawn() > 400, "{}", sampler.drawn());
    let all = Sampler::new(&published)
        .unwrap()
        .keep_all()
        .sample_many(rng, 300, None);
    let (kept, all) = (share(&kept), share(&all));
    assert!(kept < all / 2.0, "{kept} {all}");

    // What is asked for is drawn, however often it is refused.
    let conditions = Conditions {
        errors: Some(0.5),
        min_spans: Some(2),
        ..Conditions::default()
    };
    let met = draw(&published, &conditions, 3, 60);
    assert_eq!((met.traces.len(), met.unmet), (60, None));
    assert_eq!(share(&met.traces), 0.5);
    assert!(met.traces.iter().all(|sampled| sampled.spans.len() >= 2));
    let again = draw(&published, &conditions, 3, 60);
    assert_eq!(again.traces, met.traces);
}
