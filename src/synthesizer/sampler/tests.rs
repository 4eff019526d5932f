//! The compiled decoder against the one that is trained, and what it promises of every draw.

use std::sync::Arc;

use super::choice::{Choose, Event, Outcome};
use super::*;
use crate::chance;
use crate::features::{SampledSpan, Skeleton, lesson};
use crate::model::vae::VaeSettings;
use crate::model::{Example, TimeCode, Vae};
use crate::trace::{Span, SpanKind, StatusCode, Symbol, Trace};

const TOKENS: u32 = 21;

fn settings() -> VaeSettings {
    VaeSettings {
        structure_hidden: 32,
        timing_hidden: 16,
        choice_hidden: 16,
        arities: 6,
        codes: 4,
        max_spans: 300,
        ..VaeSettings::default()
    }
}

/// A model whose weights were only drawn, not trained.
fn vae(seed: u64) -> Vae {
    vae_of(settings(), seed)
}

fn vae_of(settings: VaeSettings, seed: u64) -> Vae {
    let rng = &mut chance::stream(seed, "weights");
    let mut vae = Vae::new(settings, TOKENS, rng).unwrap();
    let slots: Vec<u32> = (0..TOKENS).map(slots).collect();
    vae.grow_profiles(&slots, rng);
    vae
}

/// Attribute profiles of a token.
fn slots(token: u32) -> u32 {
    [1, 2, 5, 32][token as usize % 4]
}

fn sampler(vae: &Vae) -> VaeSampler {
    let services: Vec<u32> = (0..TOKENS).map(|token| token % 5).collect();
    VaeSampler::new(&vae.weights(), Arc::default(), services.into()).unwrap()
}

/// Any tree of so many spans, with any labels, codes and a link now and then.
fn example(spans: usize, rng: &mut chance::Rng) -> Example {
    let mut arity = vec![0_u32; spans];
    let mut open = vec![0_usize];
    for at in 1..spans {
        let some = rng.random_range(0..open.len());
        // The last class of numbers of children is not told apart by the network.
        let room = open[some..].iter().find(|&&parent| arity[parent] < 4);
        let parent = *room.unwrap_or(&(at - 1));
        open.truncate(open.iter().position(|&o| o == parent).unwrap_or(0) + 1);
        arity[parent] += 1;
        open.push(at);
    }
    let mut skeleton = Skeleton::default();
    skeleton.read(&arity);
    let mut example = Example {
        arity: skeleton.arity(),
        ..Example::default()
    };
    for (at, place) in skeleton.places().iter().enumerate() {
        let mut code = |modes: Vec<u8>| TimeCode {
            mode: modes[rng.random_range(0..modes.len())],
            bin: rng.random_range(1..41),
            within: rng.random(),
        };
        let fits = |bits: u16| (0..13).filter(|mode| bits >> mode & 1 == 1).collect();
        let start = code(fits(crate::features::start_fits(place.index, false, false)));
        let bits = crate::features::end_fits(place, false, false);
        example.end.push(code(fits(bits)));
        example
            .start
            .push(if at == 0 { TimeCode::default() } else { start });
        let token = rng.random_range(0..TOKENS);
        example.tokens.push(token);
        example.status.push(rng.random_range(0..3));
        example.profile.push(rng.random_range(0..slots(token)));
        if at > 2 && rng.random_range(0..5) == 0 {
            let to = rng.random_range(0..at as u32);
            example.links.push((at as u32, to));
        }
    }
    example
}

/// Chooses what an example has, and adds up what that costs.
struct Forced<'a> {
    examples: &'a [Example],
    structure: Vec<f64>,
    timing: Vec<f64>,
}

impl Choose for Forced<'_> {
    fn choose(
        &mut self,
        trace: usize,
        at: usize,
        event: Event,
        weights: &[f32],
        allowed: &dyn Fn(usize) -> bool,
    ) -> usize {
        let example = &self.examples[trace];
        let arities = settings().arities;
        let outcome = Outcome { example, arities }.of(event, at);
        assert!(allowed(outcome), "{event:?} {outcome} of span {at}");
        let total: f64 = weights.iter().map(|&weight| f64::from(weight)).sum();
        let nats = (total / f64::from(weights[outcome])).ln();
        match event {
            Event::Token | Event::Status | Event::Profile | Event::Arity => {
                self.structure[trace] += nats
            }
            Event::Link => {
                let beyond = if outcome == 3 { (at as f64).ln() } else { 0.0 };
                self.structure[trace] += nats + beyond;
            }
            _ => self.timing[trace] += nats,
        }
        outcome
    }

    fn number(&mut self, _trace: usize) -> f64 {
        0.0
    }
}

#[test]
fn the_compiled_decoder_gives_every_choice_the_share_that_the_trained_one_gives_it() {
    for timing_networks in [1, 2, 3] {
        check_shares(&vae_of(
            VaeSettings {
                timing_networks,
                ..settings()
            },
            5,
        ));
    }
}

fn check_shares(vae: &Vae) {
    let mut sampler = sampler(vae);
    let rng = &mut chance::stream(6, "examples");
    let mut examples = [1, 2, 9, 30, 17].map(|spans| example(spans, rng));
    // Positions within bins are what `Forced` gives: what is told of earlier times must agree.
    for code in examples
        .iter_mut()
        .flat_map(|e| e.start.iter_mut().chain(&mut e.end))
    {
        code.within = 0.0;
    }
    let mut memory = Memory::default();
    let lessons: Vec<_> = examples
        .iter()
        .map(|e| lesson(e.clone(), &sampler.coder, &sampler.services, &mut memory))
        .collect();
    let lessons: Vec<_> = lessons.iter().collect();
    let expected = vae.nats(&lessons).unwrap();
    let codes = vae.codes(&lessons).unwrap();

    let mut forced = Forced {
        examples: &examples,
        structure: vec![0.0; examples.len()],
        timing: vec![0.0; examples.len()],
    };
    let growing = codes
        .iter()
        .map(|&code| Growing::new(code as usize, 1, 300));
    let mut growing: Vec<Growing> = growing.collect();
    sampler.structure.grow(&mut growing, &mut forced);
    let shares = vae.shares();
    for (growing, example) in growing.iter().zip(&examples) {
        assert_eq!(growing.example.tokens, example.tokens);
        assert_eq!(growing.example.arity, example.arity);
        assert_eq!(growing.example.profile, example.profile);
    }
    sampler.times(&growing, &mut forced);
    for (at, expected) in expected.iter().enumerate() {
        let kl = -f64::from(shares[codes[at] as usize]).ln();
        let spans = examples[at].len() as f64;
        for (name, told, expected) in [
            ("structure", forced.structure[at] + kl, expected.structure),
            ("timing", forced.timing[at], expected.timing),
        ] {
            let off = (told - expected).abs() / spans;
            assert!(off < 1e-4, "{name} of trace {at}: {told} for {expected}");
        }
    }
}

#[test]
fn a_trace_comes_back_through_its_latents_whole() {
    let two = VaeSettings {
        timing_networks: 2,
        ..settings()
    };
    check_rebuilt(&vae(5));
    check_rebuilt(&vae_of(two, 5));
}

fn check_rebuilt(vae: &Vae) {
    let mut sampler = sampler(vae);
    let rng = &mut chance::stream(8, "examples");
    let examples = [1, 2, 9, 30, 17, 64].map(|spans| example(spans, rng));
    let mut memory = Memory::default();
    let mut lesson =
        |e: &Example| lesson(e.clone(), &sampler.coder, &sampler.services, &mut memory);
    let lessons: Vec<_> = examples.iter().map(&mut lesson).collect();
    let codes = vae.codes(&lessons.iter().collect::<Vec<_>>()).unwrap();
    let rebuilt = sampler.reconstruct(rng, &examples, &codes);
    let from_code = sampler.of_codes(rng, &codes);
    for (at, example) in examples.iter().enumerate() {
        assert_eq!(
            rebuilt[at],
            crate::features::decode(example, &sampler.coder)
        );
        // A model that knows nothing tells next to nothing by its code alone.
        assert!(at < 2 || from_code[at] != rebuilt[at]);
    }
}

/// Draws, and notes every outcome that may not come though it has a share or could have one.
struct Watched {
    draw: Draw,
    denied: Vec<(Event, usize)>,
    zero: Vec<(Event, usize)>,
    asked: usize,
}

impl Choose for Watched {
    fn choose(
        &mut self,
        trace: usize,
        at: usize,
        event: Event,
        weights: &[f32],
        allowed: &dyn Fn(usize) -> bool,
    ) -> usize {
        for (outcome, &weight) in weights.iter().enumerate() {
            match allowed(outcome) {
                false => self.denied.push((event, outcome)),
                true if weight <= 0.0 => self.zero.push((event, outcome)),
                true => self.asked += 1,
            }
        }
        self.draw.choose(trace, at, event, weights, allowed)
    }

    fn number(&mut self, trace: usize) -> f64 {
        self.draw.number(trace)
    }
}

/// What the report of `evaluate` says of masks and clipping.
#[test]
fn nothing_is_masked_but_what_has_no_place() {
    let mut sampler = sampler(&vae(2));
    let draw = Draw::new(60, &mut chance::stream(2, "draw"));
    let mut watched = Watched {
        draw,
        denied: Vec::new(),
        zero: Vec::new(),
        asked: 0,
    };
    let mut growing: Vec<Growing> = (0..60).map(|at| Growing::new(at % 4, 1, 300)).collect();
    sampler.structure.grow(&mut growing, &mut watched);
    let largest = growing.iter().map(|growing| growing.example.len()).max();
    sampler.times(&growing, &mut watched);
    assert!(watched.asked > 1_000 && watched.zero.is_empty());
    watched.denied.retain(|&(event, outcome)| match event {
        // No link to a parent, a sibling or an earlier span that is not there.
        Event::Link => outcome == 0,
        // A trace may not outgrow its most spans.
        Event::Arity => outcome == 0 || largest.is_none_or(|largest| largest < 290),
        // Beyond the least and the largest training value of a context.
        Event::StartBin | Event::EndBin => (1..41).contains(&outcome),
        Event::StartMode | Event::EndMode => false,
        Event::Token | Event::Status | Event::Profile => true,
    });
    assert_eq!(watched.denied, []);
}

#[test]
fn without_noise_a_code_is_one_trace() {
    let vae = vae(3);
    let mut sampler = sampler(&vae);
    let drawn = sampler.sample_medians(&mut chance::stream(3, "draw"), 9);
    assert_eq!(drawn.len(), 9);
    drawn.iter().for_each(check_whole);
    let mut distinct: Vec<&Sampled> = Vec::new();
    for sampled in &drawn {
        if !distinct.contains(&sampled) {
            distinct.push(sampled);
        }
    }
    assert!((1..=4).contains(&distinct.len()), "{}", distinct.len());
}

fn check_whole(sampled: &Sampled) {
    let spans = &sampled.spans;
    assert!(spans[0].parent.is_none() && spans[0].start == 0);
    for (at, span) in spans.iter().enumerate().skip(1) {
        assert!(span.parent.is_some_and(|parent| (parent as usize) < at));
        assert!(span.token.0 < TOKENS && span.profile < slots(span.token.0));
    }
}

#[test]
fn every_draw_of_a_model_that_knows_nothing_is_a_whole_tree() {
    for seed in 0..4 {
        let drawn = sampler(&vae(seed)).sample_many(&mut chance::stream(seed, "draw"), 40, None);
        assert_eq!(drawn.len(), 40);
        for sampled in drawn {
            assert!((1..=300).contains(&sampled.spans.len()));
            check_whole(&sampled);
        }
    }
}

/// Draws traces of a fixed size.
fn check_size(vae: &Vae, size: usize) {
    let drawn = sampler(vae).sample_many(&mut chance::stream(9, "draw"), 2, Some(size));
    assert_eq!(drawn.len(), 2);
    for sampled in drawn {
        assert_eq!(sampled.spans.len(), size);
        check_whole(&sampled);
    }
}

#[test]
fn a_trace_of_fixed_size_has_exactly_that_size() {
    let settings = VaeSettings {
        max_spans: 1_000,
        ..settings()
    };
    let vae = Vae::new(settings, TOKENS, &mut chance::stream(3, "weights")).unwrap();
    for size in [1, 2, 50, 1_000] {
        check_size(&vae, size);
    }
}

#[test]
fn a_structure_is_given_up_once_it_must_become_too_large_and_never_bent() {
    let mut sampler = sampler(&vae(5));
    let rng = &mut chance::stream(11, "draw");
    let drawn = sampler.grown(rng, 200, |code| Growing::up_to(code, 300, 5));
    let (whole, given_up): (Vec<_>, Vec<_>) = drawn.iter().partition(|drawn| drawn.is_whole());
    assert!(whole.iter().all(|drawn| drawn.example.len() <= 5));
    let promised = |drawn: &Growing| drawn.example.arity.iter().sum::<u32>() + 1;
    assert!(given_up.iter().all(|drawn| promised(drawn) > 5));
    // Those with a single span need one number of children of six, even at the outset.
    let single = whole.iter().filter(|drawn| drawn.example.len() == 1);
    let single = single.count();
    assert!((10..70).contains(&single), "{single} of 200");
}

#[test]
fn the_same_chance_draws_the_same_and_other_chance_something_else() {
    let draw = |seed| sampler(&vae(1)).sample_many(&mut chance::stream(seed, "draw"), 70, None);
    assert_eq!(draw(4), draw(4));
    assert_ne!(draw(4), draw(5));
}

#[test]
fn what_a_coarse_clock_times_is_drawn_on_its_ticks() {
    const TICK: i64 = 1_000_000;
    let span = |parent, start, duration| Span {
        parent,
        service: Symbol(0),
        operation: Symbol(0),
        profile: Symbol(0),
        kind: SpanKind::Unspecified,
        status: StatusCode::Unset,
        start,
        duration,
    };
    let observed: Vec<Trace> = (0..400)
        .map(|at| {
            let call = 300_000 + at * 7_919 % TICK;
            let server = (call + 2_000 * at) / TICK * TICK;
            let spans = vec![
                span(None, 0, 9_000_000),
                span(Some(0), call, 4_000_000 + at as u64 * 13),
                span(Some(1), server, 2_000_000 + at as u64 * 17),
            ];
            Trace::new(spans, Vec::new()).unwrap()
        })
        .collect();
    let tokens = [0, 1, 2].map(Token);
    let coder = Coder::fit(observed.iter().map(|trace| (trace, &tokens[..])));
    let weights = vae(4).weights();
    let services: Vec<u32> = vec![0; TOKENS as usize];
    let mut sampler = VaeSampler::new(&weights, Arc::new(coder), services.into()).unwrap();
    let drawn = sampler.sample_many(&mut chance::stream(4, "draw"), 100, None);
    let spans = drawn.iter().flat_map(|drawn| &drawn.spans[1..]);
    let (timed, free): (Vec<_>, Vec<_>) = spans.partition(|span| span.token == Token(2));
    let on_tick = |spans: &[&SampledSpan]| {
        let on = spans.iter().filter(|span| span.start % TICK == 0);
        on.count() as f64 / spans.len() as f64
    };
    assert!(
        timed.len() > 100 && on_tick(&timed) > 0.99,
        "{}",
        on_tick(&timed)
    );
    assert!(on_tick(&free) < 0.01, "{}", on_tick(&free));
}
