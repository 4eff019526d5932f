//! One learner through A, B and A again: it notices, follows, and does not forget.

use std::sync::Arc;

use doppelspan::features::Interner;
use doppelspan::learner::{Learner, LearnerSettings};
use doppelspan::simulate::{Simulator, System};
use doppelspan::trace::Trace;
use integration_tests::Traces;
use prost::Message as _;

/// Traces per second: moods of stores, which last seconds, are then no regimes.
const PER_SECOND: f64 = 5.0;

/// So many traces of a system, as they would come in.
fn traffic(system: System, seed: u64, count: usize, texts: &Arc<Interner>) -> Vec<Trace> {
    let (mut simulator, mut together) = (Simulator::new(system, seed), Traces::new(texts));
    let mut now = 1_700_000_000_000_000_000;
    let mut done = Vec::new();
    while done.len() < count {
        let request = simulator.next_trace(now).encode_to_vec();
        let ended = together.add(&request).unwrap();
        done.extend(ended.into_iter().filter_map(|done| done.trace.ok()));
        now += simulator.next_gap(PER_SECOND);
    }
    done.truncate(count);
    done
}

fn learner(texts: &Arc<Interner>) -> Learner {
    // The grammar alone: what is asked here is asked of replay, codes, canary and watch.
    let settings = LearnerSettings {
        vae: None,
        ..LearnerSettings::default()
    };
    Learner::new(settings, texts.clone(), 7)
}

/// Has it learn these; the numbers of the traces at which a change was noticed, and the held-out
/// nats at every score, one each 100 traces.
fn learn(learner: &mut Learner, traces: &[Trace]) -> (Vec<u64>, Vec<f64>) {
    let (mut noticed, mut nats) = (Vec::new(), Vec::new());
    for (at, trace) in traces.iter().enumerate() {
        let before = learner.status().drift.noticed;
        learner.take(trace.clone());
        learner.refit();
        if learner.status().drift.noticed > before {
            noticed.extend(learner.status().drift.at);
        }
        if at % 100 == 99 {
            learner.score().unwrap();
            nats.extend(learner.status().held_out_grammar);
        }
    }
    (noticed, nats)
}

#[test]
fn a_steady_system_never_drifts() {
    for system in System::ALL {
        let texts = Arc::new(Interner::default());
        let mut learner = learner(&texts);
        let (noticed, _) = learn(&mut learner, &traffic(system, 3, 2_000, &texts));
        let drift = learner.status().drift;
        assert!(noticed.is_empty(), "{system}: {noticed:?}, {drift:?}");
    }
}

#[test]
fn a_switch_is_noticed_and_followed_and_the_way_back_is_shorter() {
    let texts = Arc::new(Interner::default());
    let mut learner = learner(&texts);
    let a = traffic(System::Shop, 1, 3_000, &texts);
    let b = traffic(System::TicketOffice, 2, 1_500, &texts);

    let (noticed, first) = learn(&mut learner, &a[..1_500]);
    assert!(noticed.is_empty(), "{noticed:?}");
    let labels = learner.status().tokens;
    let (noticed, _) = learn(&mut learner, &b);
    assert_eq!(noticed.len(), 1, "{noticed:?}");
    assert!((1_550..1_800).contains(&noticed[0]), "{noticed:?}");
    assert!(learner.status().tokens > labels, "B's labels are learnt");

    // Labels of A are still known: hardly anything of it waits.
    let waiting = learner.status().traces_waiting;
    let (noticed, back) = learn(&mut learner, &a[1_500..]);
    assert_eq!(noticed.len(), 1, "{noticed:?}");
    assert!((3_050..3_300).contains(&noticed[0]), "{noticed:?}");
    let waited = learner.status().traces_waiting.saturating_sub(waiting);
    assert!(waited < 100, "{waited}");
    // The held-out traces are of both for a while; at the end they are of A alone again.
    let (before, after) = (first[first.len() - 1], back[back.len() - 1]);
    println!("first {first:?}\nback {back:?}");
    assert!(
        after < before * 1.05,
        "{after} nats after B, {before} before"
    );
}
