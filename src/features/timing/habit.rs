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
    pub(super) start: i64,
    pub(super) end: i64,
    /// The start of its first child, if it has one.
    pub(super) first: Option<i64>,
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

impl References {
    /// Whether it is over before its first child starts, as what sends a message is before it is received;
    /// also where it has no children.
    pub(super) fn is_over(&self) -> bool {
        self.first.is_none_or(|first| self.end < first)
    }

    /// What its end is measured from where it is not held open.
    fn own(&self, last_start: bool) -> i64 {
        match (self.is_over(), last_start) {
            (true, _) => self.start,
            (false, true) => self.last_start,
            (false, false) => self.children,
        }
    }
}

/// Orders of two ends are mixed where the rarer one has more than this share.
const MIXED: f64 = 0.02;

/// Spans that a habit is chosen from, at least.
const HABIT_SPANS: usize = 8;

/// Whether spans outlive their parents, but for chance: which of the two ends comes first is then not
/// left to the parent's end. What begins behind that has nothing to do with it.
pub(super) fn is_deferred(spans: &[References]) -> bool {
    let behind = |span: &&References| {
        span.parent
            .is_some_and(|parent| span.start <= parent && parent < span.end)
    };
    let behind = spans.iter().filter(behind).count();
    spans.len() >= HABIT_SPANS && behind as f64 >= (1.0 - MIXED) * spans.len() as f64
}

impl Habit {
    /// Chooses what ends hang on: that from which they scatter least. A tie goes to what is nearer.
    pub(super) fn of(spans: &[References]) -> Self {
        let mut habit = Self::default();
        let with_children = spans.iter().filter(|span| !span.is_over());
        let with_children: Vec<&References> = with_children.collect();
        if with_children.len() >= HABIT_SPANS {
            let spans = with_children.iter();
            let last_start = scatter(spans.clone().map(|span| span.end - span.last_start));
            let children = scatter(spans.clone().map(|span| span.end - span.children));
            // Which of two ends comes first must not be left to chance: where it is always the same,
            // the start takes the place of the ends only if it is far more telling.
            let before = spans.filter(|span| span.end < span.children).count();
            let seldom = before.min(with_children.len() - before);
            let mixed = seldom as f64 > MIXED * with_children.len() as f64;
            habit.last_start = last_start < children / if mixed { 1 } else { 4 };
        }
        let overlapped = |span: &References| span.later.filter(|&(_, next)| span.end > next);
        let open: Vec<(i64, i64, i64)> = spans
            .iter()
            .filter_map(|span| {
                let (later, next) = overlapped(span)?;
                let own = span.own(habit.last_start);
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
