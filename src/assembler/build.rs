//! The spans of one trace, in whatever order they came, to a checked [`Trace`].

use crate::trace::{Link, Span, SpanId, SpanKind, SpanRecord, StatusCode, Symbol, Trace};

/// A span that starts, or lasts, further than this from its root says something about clocks and
/// nothing about the system: 24 hours in nanoseconds.
const LONGEST: u64 = 86_400_000_000_000;
const NONE: u32 = u32::MAX;

/// A span record without its trace id. The order of the fields is the order in which spans with
/// the same id are kept: the earliest is, whichever came first.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Part {
    span_id: SpanId,
    start: u64,
    end: u64,
    parent: Option<SpanId>,
    service: Symbol,
    operation: Symbol,
    profile: Symbol,
    kind: SpanKind,
    status: StatusCode,
    links: Option<Box<[SpanId]>>,
}

/// Why spans are no whole trace.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Partial {
    /// No span without a parent has come.
    NoRoot,
    /// A parent is missing.
    Orphans,
    /// More than one span has no parent.
    Roots,
    /// A start or a duration is more than a day away from its root.
    Times,
}

impl Partial {
    /// Every reason.
    pub const ALL: [Self; 4] = [Self::NoRoot, Self::Orphans, Self::Roots, Self::Times];

    /// The reason as a label of a metric.
    pub fn word(self) -> &'static str {
        match self {
            Self::NoRoot => "no_root",
            Self::Orphans => "orphans",
            Self::Roots => "roots",
            Self::Times => "times",
        }
    }
}

/// What the spans make, and what was wrong with them.
#[derive(Debug)]
pub(super) struct Built {
    /// The trace, if it is whole.
    pub(super) trace: Result<Trace, Partial>,
    /// Cycles broken.
    pub(super) cycles: u32,
    /// Spans that ended before they started.
    pub(super) backwards: u32,
}

impl From<SpanRecord> for Part {
    fn from(record: SpanRecord) -> Self {
        Self {
            span_id: record.span_id,
            start: record.start,
            end: record.end,
            parent: record.parent.filter(|&parent| parent != record.span_id),
            service: record.service,
            operation: record.operation,
            profile: record.profile,
            kind: record.kind,
            status: record.status,
            links: record.links,
        }
    }
}

impl Part {
    /// Bytes held outside of the part itself.
    pub(super) fn outside(&self) -> usize {
        self.links.as_ref().map_or(0, |links| size_of_val(&**links))
    }

    /// The root operation, if this is a root.
    pub(super) fn root(&self) -> Option<u64> {
        let mixed =
            (self.service.0 ^ self.operation.0.rotate_left(32)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        self.parent.is_none().then_some(mixed)
    }
}

/// Sorts the parts and drops duplicates; returns how many.
pub(super) fn without_duplicates(parts: &mut Vec<Part>) -> usize {
    let before = parts.len();
    parts.sort_unstable();
    parts.dedup_by_key(|part| part.span_id);
    before - parts.len()
}

/// Builds the trace of parts that are sorted and hold no duplicates. Neither the order in which
/// the spans came nor their ids leave a mark. Takes n log n steps and no recursion.
pub(super) fn build(parts: &[Part]) -> Built {
    let mut orphans = 0_u32;
    let mut parents: Vec<u32> = parts
        .iter()
        .map(|part| match part.parent.map(|parent| find(parts, parent)) {
            Some(Some(at)) => at,
            Some(None) => {
                orphans += 1;
                NONE
            }
            None => NONE,
        })
        .collect();
    let cycles = break_cycles(parts, &mut parents);
    let tops = parents.iter().filter(|&&parent| parent == NONE).count();
    let backwards = parts.iter().filter(|part| part.end < part.start).count() as u32;
    let trace = if orphans as usize == tops {
        Err(Partial::NoRoot)
    } else if orphans > 0 {
        Err(Partial::Orphans)
    } else if tops > 1 {
        Err(Partial::Roots)
    } else {
        arrange(parts, &parents)
    };
    Built {
        trace,
        cycles,
        backwards,
    }
}

fn find(parts: &[Part], id: SpanId) -> Option<u32> {
    let at = parts.binary_search_by_key(&id, |part| part.span_id).ok()?;
    Some(at as u32)
}

/// Makes the earliest span of each cycle a root; every span is walked over twice at most.
fn break_cycles(parts: &[Part], parents: &mut [u32]) -> u32 {
    let mut cycles = 0;
    let mut walk = vec![0_u32; parents.len()];
    for from in 0..parents.len() {
        let this = from as u32 + 1;
        let mut at = from as u32;
        while at != NONE && walk[at as usize] == 0 {
            walk[at as usize] = this;
            at = parents[at as usize];
        }
        if at == NONE || walk[at as usize] != this {
            continue;
        }
        cycles += 1;
        let (first, mut earliest) = (at, at);
        loop {
            at = parents[at as usize];
            let key = |at: u32| (parts[at as usize].start, at);
            if key(at) < key(earliest) {
                earliest = at;
            }
            if at == first {
                break;
            }
        }
        parents[earliest as usize] = NONE;
    }
    cycles
}

/// Puts the spans below one root into depth-first pre-order, siblings by start.
fn arrange(parts: &[Part], parents: &[u32]) -> Result<Trace, Partial> {
    let mut siblings: Vec<u32> = (0..parts.len() as u32).collect();
    siblings.sort_unstable_by_key(|&at| {
        let part = &parts[at as usize];
        // The root's parent, NONE, sorts last. Spans that look alike stand in the order of ids.
        let looks = (part.service, part.operation, part.kind, part.status);
        (parents[at as usize], part.start, part.end, looks, at)
    });
    let mut first = vec![0_u32; parts.len() + 1];
    for &parent in parents.iter().filter(|&&parent| parent != NONE) {
        first[parent as usize + 1] += 1;
    }
    for at in 1..first.len() {
        first[at] += first[at - 1];
    }
    let mut open: Vec<u32> = siblings.last().copied().into_iter().collect();
    let start = open.first().map_or(0, |&root| parts[root as usize].start);
    let mut places = vec![NONE; parts.len()];
    let mut spans = Vec::with_capacity(parts.len());
    while let Some(at) = open.pop() {
        let part = &parts[at as usize];
        places[at as usize] = spans.len() as u32;
        let after = i128::from(part.start) - i128::from(start);
        let duration = part.end.saturating_sub(part.start);
        if after.unsigned_abs() > u128::from(LONGEST) || duration > LONGEST {
            return Err(Partial::Times);
        }
        let parent = parents[at as usize];
        spans.push(Span {
            parent: (parent != NONE).then(|| places[parent as usize]),
            service: part.service,
            operation: part.operation,
            profile: part.profile,
            kind: part.kind,
            status: part.status,
            start: i64::try_from(after).map_err(|_| Partial::Times)?,
            duration,
        });
        let children = first[at as usize] as usize..first[at as usize + 1] as usize;
        open.extend(siblings[children].iter().rev());
    }
    let mut links = Vec::new();
    for (from, part) in parts.iter().enumerate() {
        for to in part.links.iter().flatten() {
            if let Some(to) = find(parts, *to).filter(|&to| to as usize != from) {
                links.push(Link {
                    from: places[from],
                    to: places[to as usize],
                });
            }
        }
    }
    links.sort_unstable();
    links.dedup();
    // What was arranged is in order; a fault here would be one of this file's.
    Trace::new(spans, links).map_err(|_| Partial::Roots)
}
