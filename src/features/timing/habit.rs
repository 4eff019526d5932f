//! What the ends of a kind of spans hang on, as a habit.

/// What the end of an open span hangs on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
pub(super) enum Anchor {
    /// On its own start or its children: such spans are not held open.
    #[default]
    Own,
    /// On the latest end of its later siblings.
    Later,
    /// On the start of its next sibling.
    Next,
    /// On the end of its parent.
    Parent,
}

/// How the ends of spans of one (operation, parent operation) hang.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
pub(super) struct Habit {
    /// What it hangs on: for `Later` and `Next`, where the span overlaps its next sibling.
    pub(super) anchor: Anchor,
    /// Whether it hangs on the start of the last child, rather than on the latest end.
    pub(super) last_start: bool,
}

/// What a span's end can be measured from.
#[derive(Debug, Clone, Copy)]
pub(super) struct References {
    pub(super) end: i64,
    /// The latest end of its children that are not deferred; the start of its last child if all are,
    /// its own start if it has none.
    pub(super) children: i64,
    /// The start of its last child; its own start if it has none.
    pub(super) last_start: i64,
    /// The latest end of its later siblings that are not deferred and the start of the next one,
    /// if there is one.
    pub(super) later: Option<(i64, i64)>,
    /// The end of its parent, if it has one.
    pub(super) parent: Option<i64>,
}

/// Orders of two ends are mixed where the rarer one has more than this share.
const MIXED: f64 = 0.02;

/// Spans that a habit is chosen from, at least.
const HABIT_SPANS: usize = 8;

/// Whether spans end behind their parents, but for chance: which of the two comes first is then not
/// left to the parent's end.
pub(super) fn is_deferred(spans: &[References]) -> bool {
    let behind = |span: &&References| span.parent.is_some_and(|parent| span.end > parent);
    let behind = spans.iter().filter(behind).count();
    spans.len() >= HABIT_SPANS && behind as f64 >= (1.0 - MIXED) * spans.len() as f64
}

impl Habit {
    /// Chooses what ends hang on: that from which they scatter least. A tie goes to what is nearer.
    pub(super) fn of(leaf: bool, spans: &[References]) -> Self {
        let mut habit = Self::default();
        if !leaf && spans.len() >= HABIT_SPANS {
            let last_start = scatter(spans.iter().map(|span| span.end - span.last_start));
            let children = scatter(spans.iter().map(|span| span.end - span.children));
            // Which of two ends comes first must not be left to chance: where it is always the same,
            // the start takes the place of the ends only if it is far more telling.
            let before = spans.iter().filter(|span| span.end < span.children).count();
            let seldom = before.min(spans.len() - before);
            let mixed = seldom as f64 > MIXED * spans.len() as f64;
            habit.last_start = last_start < children / if mixed { 1 } else { 4 };
        }
        let overlapped = |span: &References| span.later.filter(|&(_, next)| span.end > next);
        let open: Vec<(i64, i64, i64)> = spans
            .iter()
            .filter_map(|span| {
                let (later, next) = overlapped(span)?;
                let own = if habit.last_start {
                    span.last_start
                } else {
                    span.children
                };
                Some((span.end - own, span.end - later, span.end - next))
            })
            .collect();
        if open.len() >= HABIT_SPANS {
            let own = scatter(open.iter().map(|distances| distances.0));
            let later = scatter(open.iter().map(|distances| distances.1));
            let next = scatter(open.iter().map(|distances| distances.2));
            if later < own && later <= next {
                habit.anchor = Anchor::Later;
            } else if next < own {
                habit.anchor = Anchor::Next;
            }
        }
        habit
    }
}

/// The median absolute deviation from the median.
fn scatter(values: impl Iterator<Item = i64>) -> u64 {
    let mut values: Vec<i64> = values.collect();
    let middle = values.len() / 2;
    let median = *values.select_nth_unstable(middle).1;
    let mut deviations: Vec<u64> = values.iter().map(|value| value.abs_diff(median)).collect();
    *deviations.select_nth_unstable(middle).1
}
