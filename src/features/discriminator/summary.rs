//! What a discriminator is told of a trace: numbers over the whole of it.

use std::collections::HashMap;

use foldhash::fast::FixedState;
use serde::{Deserialize, Serialize};

use super::strata;
use crate::features::{Sampled, Token};
use crate::trace::{StatusCode, Trace};

/// One number of a trace.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) enum Column {
    /// One of those that every trace has.
    Whole(Whole),
    /// How many spans a token has.
    Count(u32),
    /// How many spans of the second token have a parent of the first.
    Edge(u32, u32),
    /// How many spans of a token have failed.
    Failed(u32),
    /// The mean over a token's spans of ln(1 + nanoseconds).
    Duration(u32),
    /// The mean over a token's spans of the time from the end of the siblings before it, or from its
    /// parent's start, to its start: sign times ln(1 + nanoseconds).
    Gap(u32),
    /// The same of the time from its end to its parent's.
    Left(u32),
}

/// What every trace has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) enum Whole {
    Spans,
    Leaves,
    Tokens,
    Errors,
    Deepest,
    DepthMean,
    FanOutMost,
    FanOutSpread,
    Root,
    LogMost,
    LogMean,
    LogSpread,
    /// The share of the children that lie within their parents.
    Contained,
    RatioMean,
    RatioSpread,
    GapMean,
    GapSpread,
    /// The mean share of a parent that its children cover.
    CoverageMean,
    CoverageSpread,
    /// The mean share of a parent's children that begin before one before them has ended.
    Overlap,
}

/// A span, observed or drawn.
#[derive(Debug, Clone, Copy)]
struct Seen {
    parent: Option<u32>,
    token: u32,
    failed: bool,
    start: i64,
    duration: u64,
}

/// Looks at traces, one at a time. Its buffers are used again.
#[derive(Debug, Default)]
pub(super) struct Summary {
    spans: Vec<Seen>,
    inside: Vec<Inside>,
    depths: Vec<u32>,
    /// Spans of each token.
    tokens: HashMap<u32, u32, FixedState>,
    whole: Vec<(Whole, f32)>,
    /// The latest end of each span's children so far; the span's start before the first.
    latest: Vec<i64>,
}

/// What of a span's children came so far.
#[derive(Debug, Clone, Copy, Default)]
struct Inside {
    children: u32,
    /// The latest end of a child; the span's start before the first.
    latest: i64,
    /// Up to where its time was looked at, and how much of it children cover.
    reached: i64,
    covered: i64,
    overlapping: u32,
}

impl Seen {
    fn end(&self) -> i64 {
        self.start.saturating_add_unsigned(self.duration)
    }
}

/// A mean and a deviation, as values come.
#[derive(Debug, Clone, Copy, Default)]
struct Moments {
    count: f64,
    sum: f64,
    squares: f64,
}

impl Moments {
    fn add(&mut self, value: f64) {
        self.count += 1.0;
        self.sum += value;
        self.squares += value * value;
    }

    fn mean(&self) -> f64 {
        self.sum / self.count.max(1.0)
    }

    fn deviation(&self) -> f64 {
        let mean = self.mean();
        let variance = self.squares / self.count.max(1.0) - mean * mean;
        variance.max(0.0).sqrt()
    }
}

impl Summary {
    /// Looks at an observed trace, whose spans have these tokens.
    pub(super) fn of_observed(&mut self, trace: &Trace, tokens: &[Token]) {
        self.spans.clear();
        let spans = trace.spans().iter().zip(tokens);
        self.spans.extend(spans.map(|(span, token)| Seen {
            parent: span.parent,
            token: token.0,
            failed: span.status == StatusCode::Error,
            start: span.start,
            duration: span.duration,
        }));
        self.look();
    }

    /// Looks at a trace that was drawn.
    pub(super) fn of_drawn(&mut self, drawn: &Sampled) {
        self.spans.clear();
        self.spans.extend(drawn.spans.iter().map(|span| Seen {
            parent: span.parent,
            token: span.token.0,
            failed: span.status == StatusCode::Error,
            start: span.start,
            duration: span.duration,
        }));
        self.look();
    }

    /// The root; of no trace it is that of zeros.
    pub(super) fn root(&self) -> strata::Root {
        let root = self.spans.first();
        strata::Root {
            token: root.map_or(0, |root| root.token),
            long: root.map_or(0.0, |root| log(root.duration)),
        }
    }

    /// Tells every number of the trace, those of tokens and edges in parts that are to be added up.
    pub(super) fn tell(&mut self, mut each: impl FnMut(Column, f32)) {
        for &(whole, value) in &self.whole {
            each(Column::Whole(whole), value);
        }
        self.latest.clear();
        self.latest.extend(self.spans.iter().map(|span| span.start));
        for span in &self.spans {
            let token = span.token;
            let share = 1.0 / self.tokens.get(&token).copied().unwrap_or(1).max(1) as f32;
            each(Column::Count(token), 1.0);
            if span.failed {
                each(Column::Failed(token), 1.0);
            }
            each(Column::Duration(token), log(span.duration) * share);
            let Some(parent) = span.parent else { continue };
            let above = &self.spans[parent as usize];
            let latest = &mut self.latest[parent as usize];
            each(Column::Edge(above.token, token), 1.0);
            let gap = signed_log(span.start.saturating_sub(*latest));
            each(Column::Gap(token), gap * share);
            let left = signed_log(above.end().saturating_sub(span.end()));
            each(Column::Left(token), left * share);
            *latest = (*latest).max(span.end());
        }
    }

    fn look(&mut self) {
        self.tokens.clear();
        self.depths.clear();
        self.inside.clear();
        self.inside.extend(self.spans.iter().map(|span| Inside {
            latest: span.start,
            reached: span.start,
            ..Inside::default()
        }));
        let [mut logs, mut ratios, mut gaps, mut depths] = [Moments::default(); 4];
        let (mut most, mut contained, mut errors, mut deepest) = (0.0_f64, 0_u32, 0_u32, 0);
        for span in &self.spans {
            *self.tokens.entry(span.token).or_default() += 1;
            let long = f64::from(log(span.duration));
            logs.add(long);
            most = most.max(long);
            errors += u32::from(span.failed);
            let depth = span.parent.map_or(0, |at| self.depths[at as usize] + 1);
            self.depths.push(depth);
            depths.add(depth.into());
            deepest = deepest.max(depth);
            let Some(parent) = span.parent else { continue };
            let above = self.spans[parent as usize];
            let inside = &mut self.inside[parent as usize];
            let length = above.duration.max(1) as f64;
            contained += u32::from(span.start >= above.start && span.end() <= above.end());
            ratios.add(span.duration as f64 / length);
            gaps.add(span.start.saturating_sub(inside.latest) as f64 / length);
            inside.overlapping += u32::from(inside.children > 0 && span.start < inside.latest);
            inside.children += 1;
            inside.latest = inside.latest.max(span.end());
            let high = span.end().min(above.end());
            let low = span.start.max(inside.reached);
            inside.covered += high.saturating_sub(low).max(0);
            inside.reached = inside.reached.max(high);
        }
        let [mut fan_outs, mut coverages, mut overlaps] = [Moments::default(); 3];
        let (mut widest, mut leaves) = (0, 0_u32);
        for (span, inside) in self.spans.iter().zip(&self.inside) {
            if inside.children == 0 {
                leaves += 1;
                continue;
            }
            fan_outs.add(inside.children.into());
            widest = widest.max(inside.children);
            coverages.add(inside.covered as f64 / span.duration.max(1) as f64);
            if inside.children > 1 {
                overlaps.add(f64::from(inside.overlapping) / f64::from(inside.children - 1));
            }
        }
        let root = self.spans.first().map_or(0.0, |root| log(root.duration));
        let children = self.spans.len().saturating_sub(1).max(1) as f64;
        self.whole.clear();
        let whole = [
            (Whole::Spans, self.spans.len() as f64),
            (Whole::Leaves, leaves.into()),
            (Whole::Tokens, self.tokens.len() as f64),
            (Whole::Errors, errors.into()),
            (Whole::Deepest, deepest.into()),
            (Whole::DepthMean, depths.mean()),
            (Whole::FanOutMost, widest.into()),
            (Whole::FanOutSpread, fan_outs.deviation()),
            (Whole::Root, root.into()),
            (Whole::LogMost, most),
            (Whole::LogMean, logs.mean()),
            (Whole::LogSpread, logs.deviation()),
            (Whole::Contained, f64::from(contained) / children),
            (Whole::RatioMean, ratios.mean()),
            (Whole::RatioSpread, ratios.deviation()),
            (Whole::GapMean, gaps.mean()),
            (Whole::GapSpread, gaps.deviation()),
            (Whole::CoverageMean, coverages.mean()),
            (Whole::CoverageSpread, coverages.deviation()),
            (Whole::Overlap, overlaps.mean()),
        ];
        self.whole
            .extend(whole.map(|(whole, value)| (whole, value as f32)));
    }
}

/// ln(1 + nanoseconds).
fn log(duration: u64) -> f32 {
    (duration as f64).ln_1p() as f32
}

fn signed_log(time: i64) -> f32 {
    let long = log(time.unsigned_abs());
    if time < 0 { -long } else { long }
}

impl Column {
    /// What a trace has to which nothing of it is told.
    pub(super) fn absent(self) -> f32 {
        match self {
            Self::Duration(_) | Self::Gap(_) | Self::Left(_) => f32::NAN,
            Self::Whole(_) | Self::Count(_) | Self::Edge(..) | Self::Failed(_) => 0.0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::features::SampledSpan;

    fn span(parent: Option<u32>, token: u32, start: i64, duration: u64) -> SampledSpan {
        SampledSpan {
            parent,
            token: Token(token),
            status: StatusCode::Unset,
            profile: 0,
            start,
            duration,
        }
    }

    fn told(spans: Vec<SampledSpan>) -> HashMap<Column, f32> {
        let mut summary = Summary::default();
        let links = Vec::new();
        summary.of_drawn(&Sampled { spans, links });
        let mut told: HashMap<Column, f32> = HashMap::new();
        summary.tell(|column, part| *told.entry(column).or_default() += part);
        told
    }

    #[test]
    fn numbers_are_of_the_whole_trace_and_means_of_tokens() {
        let told = told(vec![
            span(None, 0, 0, 100),
            span(Some(0), 1, 10, 20),
            // Begins before the one before it has ended.
            span(Some(0), 1, 20, 50),
            // Ends after its parent.
            span(Some(0), 2, 80, 40),
        ]);
        let check = |column: Column, expected: f64| {
            let got = f64::from(told[&column]);
            assert!((got - expected).abs() < 1e-5, "{column:?} {got} {expected}");
        };
        let log = |value: f64| value.ln_1p();
        check(Column::Whole(Whole::Spans), 4.0);
        check(Column::Whole(Whole::Leaves), 3.0);
        check(Column::Whole(Whole::Deepest), 1.0);
        check(Column::Whole(Whole::FanOutMost), 3.0);
        check(Column::Whole(Whole::Contained), 2.0 / 3.0);
        check(Column::Whole(Whole::Overlap), 0.5);
        check(Column::Whole(Whole::CoverageMean), 0.8);
        check(Column::Whole(Whole::RatioMean), 1.1 / 3.0);
        check(Column::Whole(Whole::GapMean), 0.1 / 3.0);
        check(Column::Count(1), 2.0);
        check(Column::Edge(0, 1), 2.0);
        check(Column::Edge(0, 2), 1.0);
        check(Column::Duration(1), (log(20.0) + log(50.0)) / 2.0);
        check(Column::Gap(1), (log(10.0) - log(10.0)) / 2.0);
        check(Column::Gap(2), log(10.0));
        check(Column::Left(1), (log(70.0) + log(30.0)) / 2.0);
        check(Column::Left(2), -log(20.0));
        assert!(!told.contains_key(&Column::Gap(0)));
    }

    #[test]
    fn times_at_the_ends_of_their_range_are_no_fault() {
        let told = told(vec![
            span(None, 0, 0, u64::MAX),
            span(Some(0), 1, i64::MIN, u64::MAX),
            span(Some(0), 1, i64::MAX, 1),
        ]);
        assert!(told.values().all(|value| value.is_finite()));
    }
}
