//! C1 and U3: does a model keep to what is asked of it, and what do given sizes cost?

use std::collections::BTreeMap;

use serde::Serialize;

use super::figures::Figures;
use crate::chance::{Rng, stream};
use crate::features::Sampled;
use crate::learner::Published;
use crate::model::VaeError;
use crate::synthesizer::{Asked, Conditions, Sampler, Shapes, UnknownRoot};
use crate::trace::StatusCode;

/// Traces asked for under each condition.
const TRACES: usize = 100;
/// Root operations asked for: the most frequent.
const ROOTS: usize = 3;

/// How a model kept to one condition.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Kept {
    /// What was asked for, in words.
    pub asked: String,
    /// Traces asked for, and traces that there were.
    pub traces: [usize; 2],
    /// Share of those asked for that meet it.
    pub met: f64,
    /// Structures drawn for each trace.
    pub structures: f64,
}

/// One model with the size of each trace left to it, or given.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SizesGiven {
    /// Whether sizes were given: those that the model itself draws.
    pub given: bool,
    /// Those of [`super::ABLATED`].
    pub figures: Figures,
}

/// Why a model can't be asked.
#[derive(Debug, thiserror::Error)]
pub enum Unasked {
    /// It can't be drawn from.
    #[error(transparent)]
    Model(#[from] VaeError),
    /// It drew a root operation that it does not know.
    #[error(transparent)]
    Root(#[from] UnknownRoot),
}

/// C1: asks a model for its most frequent root operations, for errors, for small and large traces
/// (by the median of its own), and for rare shapes. `drawn` are traces of it without conditions:
/// what is asked for comes from them, nothing from observed traces.
///
/// Each trace is held against what was asked for by what stands in it; a shape is rare unless a count
/// of the model's shapes that the sampler did not have says beyond doubt that it is frequent. Errors are asked for if a drawn trace has one.
pub fn kept(published: &Published, drawn: &[Sampled], seed: u64) -> Result<Vec<Kept>, Unasked> {
    let root = |sampled: &Sampled| -> Option<String> {
        let word = published
            .words
            .get(sampled.spans.first()?.token.0 as usize)?;
        Some(format!("{}/{}", word.service, word.operation))
    };
    let mut roots: BTreeMap<String, usize> = BTreeMap::new();
    for root in drawn.iter().filter_map(root) {
        *roots.entry(root).or_default() += 1;
    }
    let mut roots: Vec<(String, usize)> = roots.into_iter().collect();
    roots.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    let mut sizes: Vec<usize> = drawn.iter().map(|sampled| sampled.spans.len()).collect();
    sizes.sort_unstable();
    let median = sizes.get(sizes.len() / 2).copied().unwrap_or(1);
    let mut sampler = Sampler::new(published)?;
    let shapes = Shapes::of(&mut sampler, &mut stream(seed, "shapes again"));

    let of = Conditions::default;
    type Met<'a> = Box<dyn Fn(&Sampled) -> bool + 'a>;
    let mut asked: Vec<(String, Conditions, Met<'_>)> = Vec::new();
    for (name, _) in roots.into_iter().take(ROOTS) {
        let roots = vec![name.clone()];
        let met = {
            let name = name.clone();
            move |sampled: &Sampled| root(sampled).as_ref() == Some(&name)
        };
        asked.push((name, Conditions { roots, ..of() }, Box::new(met)));
    }
    if drawn.iter().any(has_error) {
        let errors = Some(1.0);
        let conditions = Conditions { errors, ..of() };
        asked.push(("an error".to_owned(), conditions, Box::new(has_error)));
    }
    let max_spans = Some(median);
    asked.push((
        format!("at most {median} spans"),
        Conditions { max_spans, ..of() },
        Box::new(move |sampled| sampled.spans.len() <= median),
    ));
    if sizes.last().is_some_and(|largest| *largest > median) {
        let min_spans = Some(median + 1);
        asked.push((
            format!("more than {median} spans"),
            Conditions { min_spans, ..of() },
            Box::new(move |sampled| sampled.spans.len() > median),
        ));
    }
    let rare = Some(1.0);
    asked.push((
        "a rare shape".to_owned(),
        Conditions { rare, ..of() },
        Box::new(|sampled| !shapes.is_frequent(sampled)),
    ));
    let rng = &mut stream(seed, "conditions");
    let mut kept = Vec::new();
    for (name, conditions, met) in asked {
        let mut asked = Asked::new(&conditions, &mut sampler, &published.words)?;
        let got = asked.sample_many(&mut sampler, rng, TRACES);
        let right = got.traces.iter().filter(|sampled| met(sampled)).count();
        kept.push(Kept {
            asked: name,
            traces: [TRACES, got.traces.len()],
            met: right as f64 / TRACES as f64,
            structures: got.structures as f64 / got.traces.len().max(1) as f64,
        });
    }
    Ok(kept)
}

fn has_error(sampled: &Sampled) -> bool {
    let mut spans = sampled.spans.iter();
    spans.any(|span| span.status == StatusCode::Error)
}

/// U3: as many traces, each of a size that is given beforehand: sizes that the model itself drew, in
/// traces that are thrown away. No size of an observed trace takes part.
pub fn of_given_sizes(sampler: &mut Sampler, rng: &mut Rng, count: usize) -> Vec<Sampled> {
    let mut sizes: BTreeMap<usize, usize> = BTreeMap::new();
    for sampled in sampler.sample_many(rng, count, None) {
        *sizes.entry(sampled.spans.len()).or_default() += 1;
    }
    let sizes = sizes.into_iter();
    sizes
        .flat_map(|(size, count)| sampler.sample_many(rng, count, Some(size)))
        .collect()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::features::Word;
    use crate::features::timing::{BINS, END_MODES, START_MODES};
    use crate::learner::Generator;
    use crate::model::{Example, Grammar, GrammarSizes, TimeCode};
    use crate::trace::SpanKind;

    /// A model of roots with 1 to 6 calls, of which one in ten fails, and of twenty shapes that it
    /// draws once in two thousand traces each.
    fn published() -> Published {
        let mut grammar = Grammar::new(GrammarSizes {
            start_modes: START_MODES as u32,
            end_modes: END_MODES as u32,
            bins: BINS as u32,
            max_contexts: 100_000,
            max_spans: 60,
        });
        for round in 0..620_u32 {
            let (calls, times) = match round.checked_sub(600) {
                None => (1 + round % 6, 1.0),
                Some(odd) => (8 + odd, 0.3),
            };
            let spans = calls as usize + 1;
            let code = TimeCode {
                mode: 0,
                bin: 3,
                within: 0.5,
            };
            let mut example = Example {
                tokens: vec![2; spans],
                arity: vec![0; spans],
                status: vec![if round.is_multiple_of(10) { 2 } else { 0 }; spans],
                profile: vec![0; spans],
                start: vec![code; spans],
                end: vec![code; spans],
                links: Vec::new(),
            };
            (example.tokens[0], example.arity[0]) = (round % 2, calls);
            example.start[0] = TimeCode::default();
            grammar.learn(&example, times);
        }
        let word = |operation: &str| Word {
            service: "shop".into(),
            operation: operation.into(),
            kind: SpanKind::Server,
            profiles: Vec::new(),
        };
        Published {
            number: 1,
            words: ["GET /", "POST /", "query"].map(word).into(),
            services: [0, 0, 0].into(),
            coder: Arc::default(),
            discriminator: None,
            generator: Generator::Grammar(Arc::new(grammar)),
        }
    }

    #[test]
    fn a_model_keeps_to_what_is_asked_and_what_is_scarce_costs_more_draws() {
        let published = published();
        let mut sampler = Sampler::new(&published).unwrap();
        let drawn = sampler.sample_many(&mut stream(1, "draw"), 200, None);
        let kept = kept(&published, &drawn, 1).unwrap();
        let told = |asked: &str| {
            let found = kept.iter().find(|kept| kept.asked == asked);
            found.unwrap_or_else(|| panic!("{asked}: {kept:?}"))
        };
        for asked in ["shop/GET /", "shop/POST /", "an error"] {
            assert_eq!((told(asked).met, told(asked).traces), (1.0, [100, 100]));
        }
        assert!(told("an error").structures > told("shop/GET /").structures);
        let of_size = |kept: &&Kept| kept.asked.ends_with("spans");
        let of_size: Vec<&Kept> = kept.iter().filter(of_size).collect();
        assert!(of_size.len() == 2 && of_size.iter().all(|kept| kept.met == 1.0));
        // By another count, a shape at the edge may be none that is rare.
        let rare = told("a rare shape");
        let found = rare.traces[1] as f64 / rare.traces[0] as f64;
        assert!(rare.met >= 0.8 * found && rare.met <= found, "{rare:?}");
    }

    #[test]
    fn given_sizes_are_as_frequent_as_the_model_draws_them() {
        let mut sampler = Sampler::new(&published()).unwrap();
        let drawn = of_given_sizes(&mut sampler, &mut stream(2, "draw"), 600);
        assert_eq!(drawn.len(), 600);
        for size in 2..=7 {
            let count = drawn.iter().filter(|s| s.spans.len() == size).count();
            assert!((60..140).contains(&count), "{count} of {size} spans");
        }
    }
}
