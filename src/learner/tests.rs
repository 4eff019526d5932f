//! The learner from outside: traces in, snapshots and checkpoints out.

use std::sync::Arc;

use super::*;
use crate::chance;
use crate::features::{Interner, Sampled, decode};
use crate::model::VaeSettings;
use crate::trace::{Span, SpanKind, StatusCode, Symbol, Trace};
use rand::RngExt as _;

/// A trace of a root with so many calls; durations vary.
fn trace(texts: &Interner, root: &str, calls: u32, rng: &mut chance::Rng) -> Trace {
    let span = |at: u32, operation: &str, start: i64, duration: u64| Span {
        parent: (at > 0).then_some(0),
        service: texts.symbol("shop"),
        operation: texts.symbol(operation),
        profile: Symbol(0),
        kind: SpanKind::Server,
        status: StatusCode::Unset,
        start,
        duration,
    };
    let mut spans = vec![span(0, root, 0, 1_000_000)];
    let mut start = 1_000;
    for at in 1..=calls {
        let duration = rng.random_range(10_000..90_000);
        spans.push(span(at, "call", start, duration));
        start += duration as i64 + 500;
    }
    Trace::new(spans, Vec::new()).unwrap()
}

fn settings() -> LearnerSettings {
    LearnerSettings {
        min_traces: 5,
        replay: 200,
        vae: None,
        ..LearnerSettings::default()
    }
}

/// A learner that took so many traces of each root operation, in turn.
fn taught(settings: LearnerSettings, roots: &[(&str, u32)], rounds: usize) -> Learner {
    let texts = Arc::new(Interner::default());
    let mut learner = Learner::new(settings, texts.clone(), 3);
    let rng = &mut chance::stream(9, "traces");
    for _ in 0..rounds {
        for &(root, calls) in roots {
            learner.take(trace(&texts, root, calls, rng));
            learner.refit();
        }
    }
    learner
}

fn words(published: &Published) -> Vec<String> {
    let names = published
        .words
        .iter()
        .map(|word| word.operation.to_string());
    names.collect()
}

fn draw(published: &Published, count: usize) -> Vec<Sampled> {
    let Generator::Grammar(grammar) = &published.generator else {
        panic!("the grammar serves");
    };
    let rng = &mut chance::stream(1, "samples");
    let draw = |_| decode(&grammar.sample(rng, None), &published.coder);
    (0..count).map(draw).collect()
}

#[test]
fn nothing_serves_before_enough_was_learnt_and_then_the_grammar_does() {
    let mut early = taught(settings(), &[("GET /", 2)], 8);
    assert!(early.score().unwrap().is_none());
    assert_eq!(early.status().serving, Serving::Nothing);
    let mut learner = taught(settings(), &[("GET /", 2)], 60);
    let published = learner.score().unwrap().unwrap();
    assert_eq!(published.serving(), Serving::Grammar);
    assert!(
        draw(&published, 20)
            .iter()
            .all(|drawn| drawn.spans.len() == 3)
    );
}

#[test]
fn a_label_below_the_floor_is_in_no_snapshot_and_its_traces_wait() {
    let mut learner = taught(settings(), &[("GET /", 2)], 60);
    let texts = learner.texts.clone();
    let rng = &mut chance::stream(5, "rare");
    for _ in 0..4 {
        learner.take(trace(&texts, "GET /secret", 2, rng));
    }
    let published = learner.score().unwrap().unwrap();
    assert!(!words(&published).contains(&"GET /secret".to_owned()));
    assert!(learner.status().traces_waiting > 0);
    for _ in 0..10 {
        learner.take(trace(&texts, "GET /secret", 2, rng));
    }
    assert_eq!(
        learner.status().traces_waiting,
        0,
        "they are learnt once it is known"
    );
}

#[test]
fn few_traces_are_not_learnt_by_heart_and_new_ones_are_learnt_from() {
    let settings = LearnerSettings {
        held_out_share: 0.0,
        batch: 32,
        structures: 0,
        vae: Some(VaeSettings {
            structure_hidden: 16,
            timing_hidden: 16,
            choice_hidden: 16,
            ..VaeSettings::default()
        }),
        ..settings()
    };
    let mut learner = taught(settings, &[("GET /", 2)], 80);
    let steps = |learner: &mut Learner| (0..).take_while(|_| learner.step().unwrap()).count();
    // Twenty times 80 traces, 32 a step.
    assert_eq!(steps(&mut learner), 50);
    let texts = learner.texts.clone();
    for _ in 0..8 {
        learner.take(trace(&texts, "GET /", 2, &mut chance::stream(2, "more")));
    }
    assert_eq!(steps(&mut learner), 5);
}

#[test]
fn held_out_traces_touch_neither_vocabulary_nor_replay() {
    let all = LearnerSettings {
        held_out_share: 1.0,
        ..settings()
    };
    let learner = taught(all, &[("GET /", 2)], 60);
    assert_eq!(learner.status().traces_held_out, 60);
    assert_eq!(
        (learner.vocabulary().len(), learner.vocabulary().waiting()),
        (0, 0)
    );
    assert_eq!(learner.status().traces_kept, 0);
}

#[test]
fn every_trace_taken_is_counted_once() {
    let small = LearnerSettings {
        max_spans: 3,
        ..settings()
    };
    let learner = taught(small, &[("GET /", 2), ("GET /large", 9), ("once", 1)], 40);
    let status = learner.status();
    let told = status.traces_held_out
        + status.traces_unlearnable
        + status.traces_waiting
        + learner.fit.learnt;
    assert_eq!((status.traces_seen, told), (120, 120));
    assert_eq!(status.traces_unlearnable, 40);
}

#[test]
fn the_same_seed_and_traces_give_the_same_checkpoint() {
    let bytes = || {
        let mut learner = taught(settings(), &[("GET /", 2), ("POST /", 4)], 60);
        learner.score().unwrap();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.model");
        Checkpoint::of(&learner).save(&path).unwrap();
        std::fs::read(path).unwrap()
    };
    assert!(bytes() == bytes());
}

#[test]
fn a_learner_goes_on_from_its_checkpoint_and_serves_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.model");
    let mut learner = taught(settings(), &[("GET /", 2), ("POST /", 4)], 60);
    let before = learner.score().unwrap().unwrap();
    Checkpoint::of(&learner).save(&path).unwrap();

    let loaded = Checkpoint::load(&path).unwrap();
    let mut after = loaded.learner(settings(), Arc::default()).unwrap();
    let published = after.snapshot().unwrap();
    assert_eq!(words(&published), words(&before));
    assert_eq!(draw(&published, 30), draw(&before, 30));
    assert_eq!(after.status(), learner.status());
    let texts = after.texts.clone();
    after.take(trace(&texts, "GET /", 2, &mut chance::stream(2, "more")));
    assert_eq!(after.status().traces_seen, 121);
}

#[test]
fn a_training_ends_with_the_grammar_unless_its_last_weights_won() {
    let check = |vae: f64, grammar: f64, expected: Serving| {
        let mut learner = taught(settings(), &[("GET /", 2)], 60);
        learner.score().unwrap();
        learner.status.serving = Serving::Vae;
        learner.status.held_out_vae = Some(vae);
        learner.status.held_out_grammar = Some(grammar);
        learner.settle();
        assert_eq!(learner.status().serving, expected, "{vae} {grammar}");
    };
    check(129.0, 131.0, Serving::Vae);
    check(145.0, 131.0, Serving::Grammar);
    check(131.0, 131.0, Serving::Grammar);
}

/// What is said of a file of these bytes.
fn check_damaged(bytes: &[u8], expected: &str) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("odd.model");
    std::fs::write(&path, bytes).unwrap();
    let fault = Checkpoint::load(&path).unwrap_err().to_string();
    assert!(
        fault.contains("odd.model") && fault.contains(expected),
        "{fault}"
    );
}

#[test]
fn a_damaged_checkpoint_is_a_sentence_that_names_the_file() {
    check_damaged(
        b"this is no model",
        "is no doppelspan model, or a damaged one",
    );
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("whole.model");
    let learner = taught(settings(), &[("GET /", 2)], 60);
    Checkpoint::of(&learner).save(&path).unwrap();
    let whole = std::fs::read(&path).unwrap();
    for cut in [0, 7, whole.len() / 2, whole.len() - 1] {
        check_damaged(&whole[..cut], "damaged");
    }
    let mut flipped = whole;
    let middle = flipped.len() - 40;
    flipped[middle] ^= 0x55;
    check_damaged(&flipped, "damaged");
    let fault = Checkpoint::load(&folder.path().join("nowhere.model"));
    assert!(fault.unwrap_err().to_string().contains("nowhere.model"));
}

/// A learner whose VAE has taken so many steps and serves, as far as it says.
fn with_vae(steps: u64) -> Learner {
    let mut learner = taught(settings(), &[("GET /", 2), ("POST /", 4)], 60);
    learner.score().unwrap();
    learner.status.serving = Serving::Vae;
    learner.status.steps = steps;
    learner
}

/// Tells what its grammar draws from what it keeps, as if the VAE had drawn it.
fn tell_apart(learner: &mut Learner) -> Published {
    let generator = Generator::Grammar(Arc::new(learner.grammar.clone()));
    let published = Published {
        number: 1,
        words: Arc::default(),
        services: Arc::default(),
        coder: learner.coder.clone(),
        generator,
        discriminator: None,
    };
    let telling = learner.to_tell_apart().unwrap();
    let drawn = draw(&published, telling.count());
    learner.tell_apart(&published, telling, &drawn)
}

#[test]
fn drawn_traces_are_told_apart_at_once_and_whenever_steps_have_doubled() {
    assert_eq!(with_vae(99).to_tell_apart(), None);
    let mut learner = with_vae(100);
    let kept = learner.status().traces_kept as usize;
    assert_eq!(learner.to_tell_apart(), Some(Telling::Anew(5 * kept)));
    assert!(tell_apart(&mut learner).discriminator.is_some());
    learner.status.steps = 199;
    let bounds = Telling::Bounds(5 * kept / 2);
    assert_eq!(learner.to_tell_apart(), Some(bounds));
    learner.status.steps = 200;
    assert_eq!(learner.to_tell_apart(), Some(Telling::Anew(5 * kept)));
    learner.settings.discriminator = false;
    assert_eq!(learner.to_tell_apart(), None);
    learner.settings.discriminator = true;
    learner.status.serving = Serving::Grammar;
    assert_eq!(learner.to_tell_apart(), None);
}

#[test]
fn where_nats_nearly_tie_the_one_serves_whose_traces_are_told_apart_less_surely() {
    let mut learner = with_vae(100);
    let alike = learner.published(Generator::Grammar(Arc::new(learner.grammar.clone())));
    let alike = draw(&alike, 100);
    // As slow in every span as no observed trace is.
    let mut odd = alike.clone();
    for span in odd.iter_mut().flat_map(|drawn| &mut drawn.spans) {
        span.duration *= 3;
    }
    learner.status.held_out_grammar = Some(100.0);
    let mut check = |vae: f64, drawn: [&[Sampled]; 2], expected: Serving| {
        learner.status.held_out_vae = Some(vae);
        learner.tried(drawn);
        learner.settle();
        assert_eq!(learner.status().serving, expected, "{vae}");
    };
    check(105.0, [&odd, &alike], Serving::Grammar);
    check(105.0, [&alike, &alike], Serving::Grammar);
    check(105.0, [&alike, &odd], Serving::Vae);
    check(111.0, [&alike, &odd], Serving::Grammar);
    check(99.0, [&odd, &alike], Serving::Vae);
    let [vae, grammar] = learner.status().tried.unwrap();
    assert!(vae > 0.9 && grammar < 0.9, "{vae} {grammar}");
}

#[test]
fn a_trial_is_due_where_the_vae_needs_few_more_nats() {
    let taught = || {
        let small = VaeSettings {
            structure_hidden: 16,
            timing_hidden: 16,
            ..VaeSettings::default()
        };
        let settings = LearnerSettings {
            vae: Some(small),
            ..settings()
        };
        let mut learner = taught(settings, &[("GET /", 2), ("POST /", 4)], 60);
        learner.step().unwrap();
        learner.status.held_out_grammar = Some(100.0);
        learner.status.held_out_vae = Some(105.0);
        learner.status.steps = 100;
        learner
    };
    let mut learner = taught();
    let trial = learner.trial().unwrap();
    let kept = learner.status().traces_kept as usize;
    assert_eq!(trial.count, kept);
    let serving = trial.contenders.map(|contender| contender.serving());
    assert_eq!(serving, [Serving::Vae, Serving::Grammar]);
    for (vae, due) in [(99.0, false), (100.0, true), (109.0, true), (111.0, false)] {
        learner.status.held_out_vae = Some(vae);
        assert_eq!(learner.trial().is_some(), due, "{vae}");
    }
    learner.status.held_out_vae = Some(105.0);
    learner.settings.discriminator = false;
    assert!(learner.trial().is_none());
    // Again once steps are half as many again, and not at once.
    let mut learner = taught();
    learner.status.steps = 400;
    learner.tried([&[], &[]]);
    for (steps, due) in [(400, false), (599, false), (600, true)] {
        learner.status.steps = steps;
        assert_eq!(learner.trial().is_some(), due, "{steps}");
    }
}

#[test]
fn what_tells_drawn_traces_apart_is_kept_with_the_model_until_codes_are_fitted_anew() {
    let mut learner = with_vae(100);
    tell_apart(&mut learner);
    let bytes = Checkpoint::of(&learner).to_bytes().unwrap();
    let mut read = Checkpoint::from_bytes(&bytes)
        .unwrap()
        .learner(settings(), Arc::default())
        .unwrap();
    assert_eq!(read.told.by, learner.told.by);
    let bounds = |learner: &Learner| matches!(learner.to_tell_apart(), Some(Telling::Bounds(_)));
    let anew = |learner: &Learner| matches!(learner.to_tell_apart(), Some(Telling::Anew(_)));
    // Nothing was learnt from since, so there is nothing to compare with.
    assert_eq!(read.to_tell_apart(), None);
    // The grammar is served as it is.
    read.status.serving = Serving::Grammar;
    assert!(read.snapshot().unwrap().discriminator.is_none());

    let texts = learner.texts.clone();
    let rng = &mut chance::stream(2, "more");
    while !learner.refit() {
        learner.take(trace(&texts, "GET /", 2, rng));
    }
    assert!(learner.told.by.is_none());
    // Once the VAE has had time to learn the new codes; what serves goes on serving until then.
    for (steps, due) in [(100, false), (139, false), (140, true)] {
        learner.status.steps = steps;
        assert_eq!(learner.to_tell_apart().is_some(), due);
        assert_eq!(anew(&learner), due);
        assert_eq!(learner.told.stays(steps), !due);
    }
    // Nothing was fitted since: each time that it has learnt these codes for twice as long, and in
    // between the bounds of a VAE that is newer by a while.
    tell_apart(&mut learner);
    for (steps, due) in [(179, false), (180, true)] {
        learner.status.steps = steps;
        assert_eq!((learner.told.stays(steps), anew(&learner)), (!due, due));
    }
    tell_apart(&mut learner);
    for (steps, stays, due) in [(219, true, false), (259, false, false), (260, false, true)] {
        learner.status.steps = steps;
        assert_eq!(learner.told.stays(steps), stays);
        assert_eq!((bounds(&learner), anew(&learner)), (!due, due));
    }
    learner.status.steps = 240;
    let before = learner.told.by.clone();
    tell_apart(&mut learner);
    assert!(learner.told.by.is_some() && learner.told.stays(279));
    assert_ne!(learner.told.by, before);
    learner.status.steps = 280;
    assert!(anew(&learner));
}
