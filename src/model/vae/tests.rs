//! What the model promises, on a small system of made-up requests.

use candle_core::Tensor;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::batch::{Structures, Times, arity_class};
use super::net::Net;
use super::*;
use crate::model::TimeCode;

const TOKENS: u32 = 4;

fn small() -> VaeSettings {
    VaeSettings {
        structure_hidden: 16,
        timing_hidden: 16,
        choice_hidden: 16,
        graph_hidden: 8,
        embedding: 4,
        plan: 16,
        recall_heads: 2,
        recall_width: 4,
        codes: 4,
        code_size: 4,
        arities: 5,
        features: 2,
        start_modes: 3,
        end_modes: 9,
        bins: 6,
        ..VaeSettings::default()
    }
}

fn chance(seed: u64) -> ChaCha8Rng {
    ChaCha8Rng::seed_from_u64(seed)
}

/// A request of one of two kinds: a root with so many calls, whose bins hang together.
fn request(kind: u32, calls: u32, bin: u8) -> Lesson {
    let spans = calls as usize + 1;
    let code = |mode| TimeCode {
        mode,
        bin,
        within: 0.5,
    };
    let mut example = Example {
        tokens: vec![kind + 2; spans],
        arity: vec![0; spans],
        status: vec![u8::from(kind == 1) * 2; spans],
        profile: vec![0; spans],
        start: vec![code(0); spans],
        end: vec![code(0); spans],
        links: Vec::new(),
    };
    (example.tokens[0], example.arity[0]) = (kind, calls);
    example.start[0] = TimeCode::default();
    example.end[0].mode = 1;
    let even = |width: usize| vec![-(width as f32).ln(); spans * width];
    Lesson {
        told: (0..spans * 2).map(|at| at as f32 / 10.0).collect(),
        scores: (0..spans * 2).map(|at| at as f32 / 7.0 - 0.5).collect(),
        start_mode_shares: even(3),
        end_mode_shares: even(9),
        start_shares: even(6),
        end_shares: even(6),
        start_fits: vec![0b011; spans],
        end_fits: (0..spans)
            .map(|at| if at == 0 { 0b11110 } else { 0b1 })
            .collect(),
        example,
    }
}

fn system(count: u32, rng: &mut ChaCha8Rng) -> Vec<Lesson> {
    (0..count)
        .map(|at| {
            let kind = u32::from(at % 3 == 0);
            request(kind, 2 + kind, rng.random_range(1..5))
        })
        .collect()
}

/// A model after so many steps of eight lessons and sixteen further structures.
fn trained(settings: VaeSettings, steps: usize, rng: &mut ChaCha8Rng) -> Vae {
    let mut vae = Vae::new(settings, TOKENS, rng).unwrap();
    for _ in 0..steps {
        step(&mut vae, rng).unwrap();
    }
    vae
}

fn step(vae: &mut Vae, rng: &mut ChaCha8Rng) -> Result<Terms, StepError> {
    let lessons = system(24, rng);
    let (timed, others) = lessons.split_at(8);
    let others: Vec<&Example> = others.iter().map(|lesson| &lesson.example).collect();
    vae.step(&others, &timed.iter().collect::<Vec<_>>(), rng)
}

fn mean(vae: &Vae, lessons: &[Lesson]) -> Nats {
    let nats = vae.nats(&lessons.iter().collect::<Vec<_>>()).unwrap();
    let count = nats.len() as f64;
    Nats {
        structure: nats.iter().map(|nats| nats.structure).sum::<f64>() / count,
        timing: nats.iter().map(|nats| nats.timing).sum::<f64>() / count,
    }
}

#[test]
fn each_term_is_what_is_worked_by_hand_where_every_choice_is_even() {
    let mut vae = Vae::new(small(), TOKENS, &mut chance(1)).unwrap();
    // Children have the token 2; the root has one profile only.
    vae.grow_profiles(&[1, 7, 3, 2], &mut chance(1));
    // With all weights at zero every softmax is even over its outcomes, and so is the prior.
    for param in &mut vae.params {
        param.value.fill(0.0);
        param.average.fill(0.0);
    }
    let mut lesson = request(0, 2, 3);
    lesson.example.profile = vec![0, 2, 1];
    let nats = vae.nats(&[&lesson]).unwrap()[0];
    let ln = |outcomes: f64| outcomes.ln();
    let (spans, codes) = (3.0, ln(4.0));
    // Tokens among 4, statuses among 3, profiles of two children among 3; numbers of children among
    // 5, links among 4.
    let node = spans * (ln(4.0) + ln(3.0)) + 2.0 * ln(3.0);
    let edge = spans * (ln(5.0) + ln(4.0));
    // Starts of two children: 2 modes fit, 6 bins. Ends: 4 modes fit the root, 1 a leaf; 6 bins.
    let times = 2.0 * (ln(2.0) + ln(6.0)) + ln(4.0) + spans * ln(6.0);
    assert!(
        (nats.structure - node - edge - codes).abs() < 1e-4,
        "{nats:?}"
    );
    assert!((nats.timing - times).abs() < 1e-4, "{nats:?}");

    let terms = vae.step(&[], &[&lesson], &mut chance(2)).unwrap();
    let VaeSettings {
        lambda_edge,
        beta_graph,
        beta_node,
        ..
    } = small();
    let total = node
        + f64::from(lambda_edge) * edge
        + f64::from(beta_graph) * codes
        + f64::from(beta_node) * times;
    for (name, told, expected) in [
        ("L_node", terms.node, node),
        ("L_edge", terms.edge, edge),
        ("KL_G", terms.kl_graph, codes),
        ("sum of KL_v", terms.kl_node, times),
        ("total", terms.total, total),
    ] {
        assert!(
            (told - expected).abs() < 1e-3,
            "{name}: {told} for {expected}"
        );
    }
}

#[test]
fn no_divergence_is_ever_negative() {
    let rng = &mut chance(3);
    let mut vae = trained(small(), 0, rng);
    for _ in 0..40 {
        let Terms {
            node,
            edge,
            kl_graph,
            kl_node,
            ..
        } = step(&mut vae, rng).unwrap();
        for term in [node, edge, kl_graph, kl_node] {
            assert!(term >= 0.0, "{term}");
        }
        let total: f32 = vae.shares().iter().sum();
        assert!((total - 1.0).abs() < 1e-4, "the prior adds up to {total}");
    }
}

#[test]
fn training_saves_nats_on_traces_that_it_never_saw() {
    for codes in [0, 4] {
        for seed in 5..8 {
            let rng = &mut chance(seed);
            let settings = VaeSettings { codes, ..small() };
            let mut vae = trained(settings, 0, rng);
            let held_out = system(60, rng);
            let before = mean(&vae, &held_out);
            for _ in 0..300 {
                step(&mut vae, rng).unwrap();
            }
            let after = mean(&vae, &held_out);
            // Two kinds at 1 to 2: .64 nats are all there is to tell of a structure.
            let structure = after.structure;
            assert!(
                (0.55..0.75).contains(&structure),
                "{codes} codes: {after:?}"
            );
            assert!(after.timing < before.timing, "{codes} codes: {after:?}");
        }
    }
}

#[test]
fn a_dumped_model_goes_on_bit_for_bit() {
    for timing_networks in [1, 3] {
        let settings = VaeSettings {
            timing_networks,
            ..small()
        };
        let rng = &mut chance(5);
        let mut vae = trained(settings.clone(), 12, rng);
        let mut loaded = Vae::load(settings, vae.dump()).unwrap();
        assert_eq!(loaded, vae);
        let mut again = rng.clone();
        for _ in 0..3 {
            let terms = step(&mut vae, rng).unwrap();
            assert_eq!(step(&mut loaded, &mut again).unwrap(), terms);
        }
        assert_eq!(loaded.dump(), vae.dump());
    }
}

/// A model of one of its timing networks alone.
fn with_network(vae: &Vae, at: usize) -> Vae {
    let mut alone = vae.clone();
    alone.settings.timing_networks = 1;
    let beside = std::mem::take(&mut alone.beside);
    if let Some(params) = at.checked_sub(1).map(|at| &beside[at]) {
        let timing = |param: &&mut Param| param.spec.part == Part::Timing;
        for (param, other) in alone.params.iter_mut().filter(timing).zip(params) {
            *param = other.clone();
        }
    }
    alone
}

#[test]
fn several_timing_networks_learn_apart_and_together_cost_no_more_than_their_mean() {
    let rng = &mut chance(15);
    let settings = VaeSettings {
        timing_networks: 3,
        ..small()
    };
    let mut vae = trained(settings, 0, rng);
    let held_out = system(60, rng);
    let alone = |vae: &Vae| [0, 1, 2].map(|at| mean(&with_network(vae, at), &held_out));
    let before = alone(&vae);
    for _ in 0..200 {
        step(&mut vae, rng).unwrap();
    }
    let after = alone(&vae);
    for (before, after) in before.iter().zip(&after) {
        assert!(after.timing < before.timing, "{before:?} to {after:?}");
    }
    assert!(after[0].timing != after[1].timing && after[1].timing != after[2].timing);
    let together = mean(&vae, &held_out);
    assert_eq!(together.structure, after[0].structure);
    // The mean of logits, made a distribution again, can only cost less (Hoelder's inequality).
    let of_each = after.iter().map(|nats| nats.timing).sum::<f64>() / 3.0;
    assert!(together.timing < of_each, "{together:?} {after:?}");
}

#[test]
fn a_network_beside_learns_what_it_would_learn_first() {
    let rng = &mut chance(16);
    let settings = VaeSettings {
        codes: 0,
        timing_networks: 2,
        ..small()
    };
    let mut both = trained(settings, 0, rng);
    let mut second = with_network(&both, 1);
    for at in 0..20 {
        step(&mut both, &mut chance(at)).unwrap();
        step(&mut second, &mut chance(at)).unwrap();
    }
    assert_eq!(with_network(&both, 1).params, second.params);
}

#[test]
fn a_damaged_dump_is_refused_with_the_tensor_s_name() {
    let vae = trained(small(), 1, &mut chance(6));
    let refused = |change: &dyn Fn(&mut Tensors)| {
        let mut tensors = vae.dump();
        change(&mut tensors);
        Vae::load(small(), tensors).unwrap_err().to_string()
    };
    let missing = refused(&|tensors| {
        tensors.remove("timing.recurrent");
    });
    assert!(missing.contains("timing.recurrent is missing"), "{missing}");
    let unsound = refused(&|tensors| {
        if let Some((_, numbers)) = tensors.get_mut("codebook.codes") {
            numbers[0] = f32::NAN;
        }
    });
    assert!(unsound.contains("codebook.codes"), "{unsound}");
    let other = VaeSettings {
        timing_hidden: 32,
        ..small()
    };
    assert!(Vae::load(other, vae.dump()).is_err());
}

#[test]
fn the_same_seed_trains_the_same_model_and_another_a_different_one() {
    let dump = |seed| trained(small(), 5, &mut chance(seed)).dump();
    assert_eq!(dump(7), dump(7));
    assert_ne!(dump(7), dump(8));
}

#[test]
fn new_tokens_leave_what_was_learnt_as_it_was_and_can_be_learnt() {
    let rng = &mut chance(9);
    let mut vae = trained(small(), 60, rng);
    let known = system(30, rng);
    let before = mean(&vae, &known);
    vae.grow(TOKENS + 2, rng).unwrap();
    assert_eq!(vae.tokens(), TOKENS + 2);
    let after = mean(&vae, &known);
    assert!(
        (after.structure - before.structure).abs() < 0.05,
        "{before:?} to {after:?}"
    );
    assert_eq!(after.timing, before.timing);
    let mut new = request(0, 2, 3);
    new.example.tokens[2] = TOKENS + 1;
    let strange = vae.nats(&[&new]).unwrap()[0];
    for _ in 0..60 {
        vae.step(&[], &[&new], rng).unwrap();
    }
    assert!(vae.nats(&[&new]).unwrap()[0].structure < strange.structure - 3.0);
    assert_eq!(Vae::load(small(), vae.dump()).unwrap(), vae);
    vae.grow(1, rng).unwrap();
    assert_eq!(vae.tokens(), TOKENS + 2);
}

/// A request whose root has this profile, and its two calls that one.
fn answered(root: u32, calls: u32) -> Lesson {
    let mut lesson = request(0, 2, 3);
    lesson.example.profile = vec![root, calls, calls];
    lesson
}

#[test]
fn spans_learn_to_agree_with_their_parents_and_siblings_and_a_profile_comes_late() {
    let rng = &mut chance(13);
    let mut vae = Vae::new(
        VaeSettings {
            codes: 0,
            ..small()
        },
        TOKENS,
        rng,
    )
    .unwrap();
    vae.grow_profiles(&[2, 1, 2], rng);
    let lessons = [answered(0, 0), answered(1, 1)];
    let mut teach = |vae: &mut Vae, times: usize, lessons: &[Lesson]| {
        for _ in 0..times {
            vae.step(&[], &lessons.iter().collect::<Vec<_>>(), rng)
                .unwrap();
        }
    };
    teach(&mut vae, 150, &lessons);
    let cost = |vae: &Vae, lesson: &Lesson| vae.nats(&[lesson]).unwrap()[0].structure;
    let told = lessons.each_ref().map(|lesson| cost(&vae, lesson));
    // One choice between two is all that there is to tell.
    assert!(
        told.iter().all(|nats| (0.5..1.2).contains(nats)),
        "{told:?}"
    );
    let odd = [answered(0, 1), answered(1, 0)].map(|lesson| cost(&vae, &lesson));
    assert!(odd.iter().all(|nats| *nats > 4.0), "{odd:?}");

    let rng = &mut chance(14);
    assert!(vae.nats(&[&answered(2, 0)]).is_err());
    vae.grow_profiles(&[3, 1, 2], rng);
    let after = lessons.each_ref().map(|lesson| cost(&vae, lesson));
    for (before, after) in told.iter().zip(after) {
        assert!((after - before).abs() < 0.05, "{before} to {after}");
    }
    let new = answered(2, 1);
    let strange = cost(&vae, &new);
    teach(&mut vae, 80, &[answered(0, 0), new.clone()]);
    assert!(cost(&vae, &new) < strange - 3.0);
    assert_eq!(Vae::load(vae.settings.clone(), vae.dump()).unwrap(), vae);
}

#[test]
fn a_step_that_is_not_finite_is_undone_and_says_so() {
    let rng = &mut chance(10);
    let mut vae = trained(small(), 3, rng);
    let before = vae.clone();
    let mut broken = request(0, 2, 3);
    broken.told[1] = f32::NAN;
    let step = vae.step(&[], &[&broken], rng);
    assert!(matches!(step, Err(StepError::NotFinite)), "{step:?}");
    assert_eq!(vae, before);
}

#[test]
fn a_lesson_that_does_not_fit_is_refused_and_changes_nothing() {
    let rng = &mut chance(11);
    let mut vae = trained(small(), 1, rng);
    let before = vae.clone();
    let refused = |change: &dyn Fn(&mut Lesson)| {
        let mut lesson = request(0, 2, 3);
        change(&mut lesson);
        let step = vae.clone().step(&[], &[&lesson], &mut chance(1));
        matches!(step, Err(StepError::Impossible(_))) && vae.nats(&[&lesson]).is_err()
    };
    assert!(refused(&|lesson| lesson.example.tokens[0] = TOKENS));
    assert!(refused(&|lesson| lesson.example.profile[1] = 1));
    assert!(refused(&|lesson| lesson.example.profile.clear()));
    assert!(refused(&|lesson| lesson.example.end[1].bin = 6));
    assert!(refused(&|lesson| lesson.told.truncate(1)));
    assert!(refused(&|lesson| lesson.start_fits.clear()));
    assert!(refused(&|lesson| *lesson = Lesson::default()));
    assert!(vae.step(&[], &[], rng).is_err());
    assert_eq!(vae, before);
}

#[test]
fn merged_structures_teach_what_each_alone_would() {
    let rng = &mut chance(12);
    let vae = trained(small(), 0, rng);
    let [one, other] = [request(0, 2, 3), request(1, 3, 2)];
    let timed = [&one, &other];
    let terms = |others: &[&Example]| vae.clone().step(others, &timed, &mut chance(1)).unwrap();
    // Doubling every structure changes no mean; tripling one moves it towards that one.
    let (single, double) = (terms(&[]), terms(&[&one.example, &other.example]));
    assert!((single.node - double.node).abs() < 1e-3);
    assert!((single.edge - double.edge).abs() < 1e-3);
    let more = terms(&[&one.example, &one.example]);
    assert!((more.node - single.node).abs() > 1e-3);
}

#[test]
fn the_decoder_sees_codes_and_its_own_earlier_output_and_nothing_else() {
    // A function that took anything of the encoder would not have these types.
    let _structure: fn(&Net, &Tensor, &Structures) -> Result<decoder::StructureNats, VaeError> =
        decoder::structure;
    let _timing: fn(&Net, &VaeSettings, &Tensor, &Times) -> Result<TimingLogits, VaeError> =
        decoder::timing;
    // What is served has no encoder in it.
    let vae = trained(small(), 0, &mut chance(13));
    let weights = vae.weights();
    assert!(weights.tensor("encoder.out").is_err());
    assert!(weights.tensor("structure.recurrent").is_ok());
}

#[test]
fn what_a_span_costs_depends_on_no_later_span() {
    let rng = &mut chance(14);
    let settings = VaeSettings {
        codes: 0,
        ..small()
    };
    let vae = trained(settings, 10, rng);
    let net = Net::averaged(&vae.params).unwrap();
    let nats = |lesson: &Lesson| {
        let told = Structures::new(&[&lesson.example], &vae.settings, &vae.profiles);
        let codes = Tensor::zeros((1, 4), candle_core::DType::F32, &Device::Cpu).unwrap();
        let nats = decoder::structure(&net, &codes, &told).unwrap();
        (nats.node + nats.edge).unwrap().to_vec1::<f32>().unwrap()
    };
    let one = request(0, 3, 3);
    let mut other = one.clone();
    other.example.tokens[3] = 1;
    other.example.status[3] = 1;
    let (one, other) = (nats(&one), nats(&other));
    assert_eq!(one[..3], other[..3]);
    assert_ne!(one[3], other[3]);
}

#[test]
fn numbers_of_children_beyond_the_last_class_have_shares_that_add_up_to_one() {
    let shares: f64 = (4..100_000)
        .map(|children| (-arity_class(children, 5).1).exp())
        .sum();
    assert!((shares - 1.0).abs() < 1e-4, "{shares}");
    assert_eq!(arity_class(3, 5), (3, 0.0));
    assert_eq!(arity_class(9, 5).0, 4);
}

#[test]
fn structures_that_are_rare_and_long_are_learnt_at_their_share() {
    const LONG: u32 = 20;
    let settings = VaeSettings {
        arities: 32,
        codes: 0,
        horizon: 400,
        ..small()
    };
    let rng = &mut chance(5);
    let mut vae = Vae::new(settings, TOKENS, rng).unwrap();
    let (mut long, mut all) = (0.0, 0.0);
    for _ in 0..400 {
        let mut calls = |rng: &mut ChaCha8Rng| {
            let is_long = rng.random_bool(0.02);
            all += 1.0;
            long += f64::from(u8::from(is_long));
            if is_long { LONG } else { 1 }
        };
        let lessons: Vec<Lesson> = (0..25).map(|_| request(0, calls(rng), 1)).collect();
        let (timed, others) = lessons.split_at(1);
        let others: Vec<&Example> = others.iter().map(|lesson| &lesson.example).collect();
        vae.step(&others, &[&timed[0]], rng).unwrap();
    }
    let share = (-mean(&vae, &[request(0, LONG, 1)]).structure).exp();
    let learnt = share * all / long;
    assert!((0.75..1.25).contains(&learnt), "{learnt}");
}

#[test]
fn a_hundred_children_are_told_from_a_hundred_and_one() {
    let arities = VaeSettings::default().arities;
    let classes = [100, 101].map(|children| arity_class(children, arities));
    assert_eq!(classes, [(100, 0.0), (101, 0.0)]);
}

#[test]
fn a_prior_that_is_fitted_anew_is_how_often_traces_use_each_code() {
    let rng = &mut chance(21);
    let mut vae = trained(small(), 60, rng);
    let lessons = [request(0, 1, 1), request(1, 3, 2), request(0, 1, 4)];
    let each: Vec<&Lesson> = lessons.iter().collect();
    let codes = vae.codes(&each).unwrap();
    let unknown = request(7, 1, 1);
    let each = lessons.iter().chain([&unknown]).map(|it| &it.example);
    let each: Vec<(&Example, f32)> = each.zip([6.0, 1.0, 3.0, 90.0]).collect();
    vae.refit_prior(&each).unwrap();
    let shares = vae.shares();
    assert_ne!(codes[0], codes[1]);
    let (often, seldom) = (shares[codes[0] as usize], shares[codes[1] as usize]);
    assert!((often - 0.9).abs() < 1e-3, "{often}");
    assert!((seldom - 0.1).abs() < 1e-3, "{seldom}");
    vae.refit_prior(&[]).unwrap();
    assert_eq!(vae.shares(), shares);
}
