use super::*;
use crate::features::profile::tests::profile;
use crate::features::{InternerSettings, Vocabulary};
use crate::trace::{Span, SpanKind, StatusCode};
use std::hash::BuildHasher as _;

fn texts() -> Interner {
    let keys = ["a", "b", "error", "id", "k", "m", "n", "r", "type"];
    Interner::new(InternerSettings {
        attributes: keys.map(str::to_owned).to_vec(),
        ..InternerSettings::default()
    })
}

/// The symbol of a profile in the words of `profile::tests`.
fn symbol(texts: &Interner, words: &str) -> Symbol {
    let hash = foldhash::quality::FixedState::with_seed(1).hash_one(words);
    texts.profile(if words.is_empty() { 0 } else { hash }, || profile(words))
}

/// A trace of spans of one label, one for each profile between bars.
fn trace(texts: &Interner, spans: &str) -> Trace {
    let span = |(at, words): (usize, &str)| Span {
        parent: (at > 0).then_some(0),
        service: texts.symbol("shop"),
        operation: texts.symbol("GET"),
        profile: symbol(texts, words.trim()),
        kind: SpanKind::Server,
        status: StatusCode::Unset,
        start: 0,
        duration: 1,
    };
    let spans = spans.split('|').enumerate().map(span);
    Trace::new(spans.collect(), Vec::new()).unwrap()
}

/// Shows traces to a vocabulary with a floor of 3, as often as the number before each says, and has
/// it learn each as soon as its label is known.
fn shown(traces: &[&str]) -> (Vocabulary, Interner) {
    let texts = texts();
    let mut vocabulary = Vocabulary::new(3, 100);
    for each in traces {
        let (times, spans) = each.split_once('x').unwrap();
        for _ in 0..times.parse().unwrap() {
            show(&mut vocabulary, &trace(&texts, spans), &texts);
        }
    }
    (vocabulary, texts)
}

fn show(vocabulary: &mut Vocabulary, trace: &Trace, texts: &Interner) {
    vocabulary.observe(trace, texts);
    if let Ok(tokens) = vocabulary.tokens(trace) {
        vocabulary.adopt(trace, &tokens, texts);
    }
}

fn known(vocabulary: &Vocabulary) -> Vec<Profile> {
    let words = vocabulary.words().iter();
    words
        .flat_map(|word| word.profiles.iter().map(|profile| (**profile).clone()))
        .collect()
}

fn check(traces: &[&str], expected: &[&str]) {
    let (vocabulary, _) = shown(traces);
    let expected: Vec<Profile> = expected.iter().map(|words| profile(words)).collect();
    assert_eq!(known(&vocabulary), expected);
}

#[test]
fn a_profile_is_known_once_enough_distinct_traces_had_it() {
    check(&["2x k=1"], &[]);
    check(&["1x k=1 | k=1 | k=1 | k=1", "1x k=1"], &[]);
    check(&["3x k=1"], &["k=1"]);
    // Two of the traces that had too rare a value are learnt without it.
    check(&["3x k=1", "2x k=2", "3x k=3"], &["k=1", "", "k=3"]);
}

#[test]
fn what_too_few_traces_have_is_dropped_and_the_rest_becomes_known() {
    let ids = ["1x k=1 id=6", "1x k=1 id=7", "1x k=1 id=8", "1x k=1 id=9"];
    check(&ids, &["", "k=1"]);
    // Different spans of one trace count it once.
    check(&["1x k=1 id=6 | k=1 id=7 | k=1 id=8 | k=1 id=9"], &[]);
    check(
        &["3x k=1 r=5", "1x k=1 r=5 !e:type=A", "2x k=1 r=5 !e:type=B"],
        &["k=1 r=5", "k=1 r=5 !e"],
    );
}

#[test]
fn each_thing_may_be_common_and_all_of_them_together_rare() {
    check(&["3x a=1", "3x b=1", "1x a=1 b=1"], &["a=1", "", "b=1"]);
}

#[test]
fn how_a_call_ended_needs_the_floor_on_all_labels_together() {
    let texts = texts();
    let mut vocabulary = Vocabulary::new(3, 100);
    let on = |operation: &str, words: &str| {
        let mut spans = trace(&texts, words).spans().to_vec();
        spans[0].operation = texts.symbol(operation);
        Trace::new(spans, Vec::new()).unwrap()
    };
    for operation in ["a", "b", "c"] {
        for _ in 0..3 {
            show(&mut vocabulary, &on(operation, "k=1"), &texts);
        }
        show(&mut vocabulary, &on(operation, "k=1 error=9 !e"), &texts);
        show(
            &mut vocabulary,
            &on(operation, &format!("k={operation}")),
            &texts,
        );
    }
    let again = on("a", "k=1 error=9 !e");
    show(&mut vocabulary, &again, &texts);
    let words = vocabulary.words().iter().map(|word| &word.profiles);
    let slots: Vec<usize> = words.map(Vec::len).collect();
    // c met the ending when it passed the floor, a when it met it again; what was asked of one
    // label says nothing of another.
    assert_eq!(slots, [3, 2, 3]);
    let whole = profile("k=1 error=9 !e");
    assert_eq!(*vocabulary.words()[0].profiles[2], whole);
    assert_eq!(*vocabulary.words()[2].profiles[1], whole);
}

#[test]
fn a_span_reads_as_the_largest_known_part_of_what_it_carries() {
    let (mut vocabulary, texts) = shown(&["3x k=1", "3x k=1 m=2", "1x k=1 m=2 !e"]);
    let spans = trace(&texts, "k=1 m=2 !e | k=1 | k=1 n=4 | m=2 | k=1 m=2 | k=5");
    let tokens = vocabulary.tokens(&spans).unwrap();
    // Two spans are left with nothing, and no trace that was learnt had such a one yet.
    assert!(vocabulary.profiles(&spans, &tokens, &texts).is_err());
    let slots = vocabulary.adopt(&spans, &tokens, &texts);
    assert_eq!(slots, [1, 0, 0, 2, 1, 2]);
    assert_eq!(vocabulary.profiles(&spans, &tokens, &texts), Ok(slots));
    assert_eq!(known(&vocabulary)[2], Profile::default());
}

#[test]
fn a_checkpoint_keeps_slots_and_nothing_below_the_floor() {
    let (vocabulary, _) = shown(&["3x k=1", "3x k=2 error=7", "2x k=secret"]);
    let json = serde_json::to_string(&vocabulary.dump()).unwrap();
    assert!(
        json.contains("\"int\":2") && !json.contains("secret"),
        "{json}"
    );
    let texts = texts();
    let words = serde_json::from_str(&json).unwrap();
    let mut loaded = Vocabulary::load(&words, 1, 100, &texts);
    assert_eq!(loaded.dump(), vocabulary.dump());
    let spans = trace(&texts, "k=2 error=7 | k=1 | k=2 m=1 error=7 | k=1 error=7");
    let tokens = loaded.tokens(&spans).unwrap();
    let slot = |words: &str| {
        let at = known(&loaded)
            .iter()
            .position(|known| *known == profile(words));
        at.unwrap() as u32
    };
    let (one, two) = (slot("k=1"), slot("k=2 error=7"));
    let slots = loaded.profiles(&spans, &tokens, &texts);
    assert_eq!(slots, Ok(vec![two, one, two, one]));
    let before = loaded.size();
    show(&mut loaded, &trace(&texts, "k=2 error=7"), &texts);
    assert_eq!(loaded.size(), before, "it was known already");
}

#[test]
fn values_that_never_come_again_do_not_pile_up() {
    let texts = texts();
    let mut vocabulary = Vocabulary::new(3, 10);
    for number in 0..2_000 {
        show(
            &mut vocabulary,
            &trace(&texts, &format!("k={number} a=1 b=2")),
            &texts,
        );
    }
    assert!(known(&vocabulary).contains(&profile("a=1 b=2")));
    assert!(known(&vocabulary).len() < 5);
    assert!(vocabulary.profiles.items.len() <= 10 * ITEMS_PER_LABEL);
    assert!(vocabulary.profiles.parts.len() <= 10 * PARTS_PER_LABEL);
    assert!(vocabulary.profiles.slots.len() <= 10 * ITEMS_PER_LABEL);
}

#[test]
fn a_label_has_no_more_profiles_than_there_is_room_for() {
    let many: Vec<String> = (0..60).map(|number| format!("3x k={number}")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    let (vocabulary, _) = shown(&many);
    assert!((MOST..=MOST + 1).contains(&known(&vocabulary).len()));
}
