//! A trace as the model sees it: small whole numbers in depth-first pre-order.

/// One time of a span (its start, or its end) as an event: how it hangs on what is already
/// known (`mode`), and how far, as a level among the training values of that context.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct TimeCode {
    /// Which reference the time is measured from; see `features::timing`.
    pub mode: u8,
    /// Quantile bin of the distance.
    pub bin: u8,
    /// Position inside the bin, in [0, 1). Double precision, so that a bin and a position give
    /// back a time to the nanosecond.
    pub within: f64,
}

/// One trace. Every vector has one entry per span, in depth-first pre-order, siblings by start.
///
/// Edges follow from the arities: span `i + 1` is a child of the last earlier span that still
/// lacks children, so every finished sequence is a tree.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Example {
    /// Dense label of (service, operation, kind).
    pub tokens: Vec<u32>,
    /// Number of children.
    pub arity: Vec<u32>,
    /// Status code: 0 unset, 1 ok, 2 error.
    pub status: Vec<u8>,
    /// Which of its token's attribute profiles each span has.
    pub profile: Vec<u32>,
    /// Start of each span; the root's is all zero.
    pub start: Vec<TimeCode>,
    /// End of each span.
    pub end: Vec<TimeCode>,
    /// Links between spans, as (from, to) positions.
    pub links: Vec<(u32, u32)>,
}

impl Example {
    /// Number of spans.
    pub fn len(&self) -> usize {
        self.tokens.len()
    }

    /// Whether there is no span.
    pub fn is_empty(&self) -> bool {
        self.tokens.is_empty()
    }

    /// The parent of each span, from the arities; none for the root.
    pub fn parents(&self) -> Vec<Option<u32>> {
        let mut open: Vec<(u32, u32)> = Vec::new();
        let mut parents = Vec::with_capacity(self.len());
        for (at, &arity) in (0_u32..).zip(&self.arity) {
            while open.last().is_some_and(|&(_, left)| left == 0) {
                open.pop();
            }
            parents.push(open.last_mut().map(|(parent, left)| {
                *left -= 1;
                *parent
            }));
            open.push((at, arity));
        }
        parents
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parents_follow_from_arities() {
        let example = Example {
            tokens: vec![0; 5],
            arity: vec![2, 1, 0, 1, 0],
            ..Example::default()
        };
        assert_eq!(
            example.parents(),
            [None, Some(0), Some(1), Some(0), Some(3)]
        );
    }
}
