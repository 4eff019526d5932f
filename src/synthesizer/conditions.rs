//! What is asked of synthetic traces, and what is said when a model has nothing of the kind.

use std::fmt;

/// Draws without a trace of the kind that is looked for, before it is given up.
pub(super) const TRIES: u64 = 20_000;

/// What synthetic traces are to be like. Unset is left to the model.
///
/// A trace under conditions is drawn from the model's own distribution, cut down to what meets
/// them: structures are drawn until one does.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Conditions {
    /// Root operations, each `service/operation`: a trace has one of them. Empty: any.
    pub roots: Vec<String>,
    /// Share of the traces, from 0 to 1, that have a span of error status; the others have none.
    pub errors: Option<f64>,
    /// Spans of a trace at least.
    pub min_spans: Option<usize>,
    /// Spans of a trace at most.
    pub max_spans: Option<usize>,
    /// Share of the traces, from 0 to 1, whose shape is rare in the model's own draws; the others
    /// have one that is not. See [`super::Shapes`].
    pub rare: Option<f64>,
    /// Spans of every trace, exactly: what the model rarely draws of itself is bent to have them.
    pub spans: Option<usize>,
}

impl Conditions {
    /// Whether nothing is asked but, perhaps, a fixed size.
    pub fn is_free(&self) -> bool {
        let Self {
            roots,
            errors,
            min_spans,
            max_spans,
            rare,
            ..
        } = self;
        let sizes = min_spans.is_some() || max_spans.is_some();
        roots.is_empty() && errors.is_none() && !sizes && rare.is_none()
    }

    /// What no model could meet, as (key, what is wrong). `most` is the most spans that a
    /// synthetic trace may have.
    pub fn faults(&self, most: usize) -> Vec<(&'static str, String)> {
        let mut faults = Vec::new();
        for root in &self.roots {
            if root
                .split_once('/')
                .is_none_or(|(service, _)| service.is_empty())
            {
                let fault = format!("must be `service/operation`, got `{root}`");
                faults.push(("roots", fault));
            }
        }
        for (key, share) in [("errors", self.errors), ("rare", self.rare)] {
            // Written so that NaN is a fault too.
            if let Some(share) = share
                && !(0.0..=1.0).contains(&share)
            {
                faults.push((key, format!("must be a share from 0 to 1, got {share}")));
            }
        }
        let sizes = [("min_spans", self.min_spans), ("max_spans", self.max_spans)];
        for (key, size) in sizes {
            if let Some(size) = size
                && !(1..=most).contains(&size)
            {
                faults.push((key, format!("must be from 1 to {most}, got {size}")));
            }
            if size.is_some() && self.spans.is_some() {
                let fault = "can't stand beside a fixed number of spans; write one of the two";
                faults.push((key, fault.to_owned()));
            }
        }
        if let (Some(min), Some(max)) = (self.min_spans, self.max_spans)
            && min > max
        {
            let fault = format!("must be at most max_spans ({max}), got {min}");
            faults.push(("min_spans", fault));
        }
        faults
    }

    /// Whether a trace of so many spans is of a size that was asked for.
    pub(super) fn sizes(&self, spans: usize) -> bool {
        let exact = self.spans.is_none_or(|size| spans == size);
        exact
            && self.min_spans.is_none_or(|min| spans >= min)
            && self.max_spans.is_none_or(|max| spans <= max)
    }

    fn told_sizes(&self) -> String {
        match (self.spans, self.min_spans, self.max_spans) {
            (Some(size), ..) => format!("{size} spans"),
            (_, Some(min), Some(max)) => format!("{min} to {max} spans"),
            (_, Some(min), None) => format!("at least {min} spans"),
            (_, None, Some(max)) => format!("at most {max} spans"),
            _ => "any number of spans".to_owned(),
        }
    }
}

/// A root operation was asked for that the model knows nothing of.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct UnknownRoot {
    /// What was asked for.
    pub root: String,
    /// The root operations that the model draws whose names are most alike, the nearest first.
    pub nearest: Vec<String>,
}

impl fmt::Display for UnknownRoot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { root, nearest } = self;
        write!(f, "the model knows no operation `{root}`")?;
        match nearest.as_slice() {
            [] => Ok(()),
            nearest => write!(
                f,
                "; the nearest root operations that it draws: `{}`",
                nearest.join("`, `")
            ),
        }
    }
}

/// What a trace has to be: with or without an error, of a rare shape or not; none is either.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub(super) struct Kind {
    pub(super) error: Option<bool>,
    pub(super) rare: Option<bool>,
}

/// The model gave no trace of a kind that was asked for, in so many draws.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub struct Unmet {
    pub(super) conditions: Conditions,
    /// Structures drawn since the last that was of use, how many of them had a root that was
    /// asked for, and how many of those a size.
    pub(super) drawn: u64,
    pub(super) with_root: u64,
    pub(super) with_size: u64,
    /// A kind that is missing.
    pub(super) kind: Kind,
}

impl fmt::Display for Unmet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (drawn, conditions) = (self.drawn, &self.conditions);
        if self.with_root == 0 {
            let roots = conditions.roots.join("`, `");
            return write!(
                f,
                "condition roots: of {drawn} structures that the model drew, none began with `{roots}`"
            );
        }
        let roots = match conditions.roots.is_empty() {
            true => format!("{drawn} structures that the model drew"),
            false => format!(
                "{drawn} structures that the model drew, {} began with a root operation that was asked for; of these",
                self.with_root
            ),
        };
        let sizes = conditions.told_sizes();
        if self.with_size == 0 {
            return write!(f, "condition of size: of {roots}, none had {sizes}");
        }
        let wanted = |name, flag: Option<bool>| match flag {
            Some(true) => Some(format!("with {name}")),
            Some(false) => Some(format!("without {name}")),
            None => None,
        };
        let kind = [
            ("errors", wanted("an error", self.kind.error)),
            ("rare", wanted("a rare shape", self.kind.rare)),
        ];
        let asked = kind
            .iter()
            .filter_map(|(key, told)| Some((*key, told.as_ref()?)));
        let (keys, told): (Vec<&str>, Vec<&str>) =
            asked.map(|(key, told)| (key, told.as_str())).unzip();
        write!(
            f,
            "condition {}: of {roots}, {} had {sizes}, and none of those was {}",
            keys.join(" and "),
            self.with_size,
            told.join(" and ")
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(conditions: &Conditions, expected: &[&str]) {
        let told = conditions.faults(2_000);
        let told: Vec<String> = told
            .iter()
            .map(|(key, told)| format!("{key} {told}"))
            .collect();
        assert_eq!(told, expected);
    }

    #[test]
    fn what_no_model_could_meet_is_a_fault_of_its_key() {
        check(&Conditions::default(), &[]);
        let right = Conditions {
            roots: vec!["shop/GET /".into()],
            errors: Some(0.0),
            rare: Some(1.0),
            min_spans: Some(5),
            max_spans: Some(5),
            ..Conditions::default()
        };
        check(&right, &[]);
        let wrong = Conditions {
            roots: vec!["checkout".into(), "/pay".into()],
            errors: Some(f64::NAN),
            rare: Some(-0.1),
            min_spans: Some(9),
            max_spans: Some(5),
            ..right
        };
        check(
            &wrong,
            &[
                "roots must be `service/operation`, got `checkout`",
                "roots must be `service/operation`, got `/pay`",
                "errors must be a share from 0 to 1, got NaN",
                "rare must be a share from 0 to 1, got -0.1",
                "min_spans must be at most max_spans (5), got 9",
            ],
        );
        let both = Conditions {
            spans: Some(9),
            min_spans: Some(0),
            ..Conditions::default()
        };
        let beside = "can't stand beside a fixed number of spans; write one of the two";
        check(
            &both,
            &[
                "min_spans must be from 1 to 2000, got 0",
                &format!("min_spans {beside}"),
            ],
        );
    }

    #[test]
    fn what_was_not_met_is_told_by_the_first_condition_that_nothing_passed() {
        let conditions = Conditions {
            roots: vec!["shop/GET /".into()],
            min_spans: Some(50),
            ..Conditions::default()
        };
        let unmet = |with_root, with_size| Unmet {
            conditions: conditions.clone(),
            drawn: 100,
            with_root,
            with_size,
            kind: Kind {
                error: Some(true),
                rare: Some(false),
            },
        };
        let drew = "of 100 structures that the model drew";
        let began = "9 began with a root operation that was asked for; of these";
        for (unmet, expected) in [
            (
                unmet(0, 0),
                format!("condition roots: {drew}, none began with `shop/GET /`"),
            ),
            (
                unmet(9, 0),
                format!("condition of size: {drew}, {began}, none had at least 50 spans"),
            ),
            (
                unmet(9, 4),
                format!(
                    "condition errors and rare: {drew}, {began}, 4 had at least 50 spans, and none of those was with an error and without a rare shape"
                ),
            ),
        ] {
            assert_eq!(unmet.to_string(), expected);
        }
    }
}
