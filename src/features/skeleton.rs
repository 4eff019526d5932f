//! The tree of a trace without its times: where each span stands, and whether it has failed.

use crate::model::Example;
use crate::trace::{StatusCode, Trace};

/// Where one span stands in the tree. Positions count in depth-first pre-order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Place {
    /// The parent; none for the root.
    pub parent: Option<u32>,
    /// The sibling before it.
    pub previous: Option<u32>,
    /// The sibling after it.
    pub next: Option<u32>,
    /// How many siblings stand before it.
    pub index: u32,
    /// How many spans stand above it.
    pub depth: u32,
    /// How many children it has.
    pub children: u32,
    /// How many spans its subtree has, itself included.
    pub size: u32,
    /// Whether its status is an error, if statuses were read.
    pub failed: bool,
}

/// The places of all spans of a trace. Its buffers are used again by [`Skeleton::read`].
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Skeleton {
    places: Vec<Place>,
    open: Vec<(u32, u32)>,
    last: Vec<Option<u32>>,
}

impl Skeleton {
    /// The skeleton of an example.
    pub fn of_example(example: &Example) -> Self {
        let mut skeleton = Self::default();
        skeleton.read(&example.arity);
        for (place, &status) in skeleton.places.iter_mut().zip(&example.status) {
            place.failed = status == StatusCode::Error as u8;
        }
        skeleton
    }

    /// The skeleton of a trace.
    pub fn of_trace(trace: &Trace) -> Self {
        let mut skeleton = Self::default();
        skeleton.clear(trace.spans().len());
        for (at, span) in (0_u32..).zip(trace.spans()) {
            skeleton.add(at, span.parent);
            skeleton.places[at as usize].failed = span.status == StatusCode::Error;
        }
        skeleton.sum();
        skeleton
    }

    /// Reads the numbers of children of all spans, in pre-order.
    ///
    /// Any numbers make a tree: a promise of more children than there are spans is cut short, and
    /// a span that nobody promised becomes a child of the root.
    pub fn read(&mut self, arity: &[u32]) {
        self.clear(arity.len());
        for (at, &children) in (0_u32..).zip(arity) {
            while self.open.len() > 1 && self.open.last().is_some_and(|&(_, left)| left == 0) {
                self.open.pop();
            }
            let parent = self.open.last_mut().map(|(parent, left)| {
                *left = left.saturating_sub(1);
                *parent
            });
            self.open.push((at, children));
            self.add(at, parent);
        }
        self.sum();
    }

    /// The places, root first.
    pub fn places(&self) -> &[Place] {
        &self.places
    }

    /// Number of spans.
    pub fn len(&self) -> usize {
        self.places.len()
    }

    /// Whether there is no span.
    pub fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    /// The numbers of children, in pre-order.
    pub fn arity(&self) -> Vec<u32> {
        self.places.iter().map(|place| place.children).collect()
    }

    fn clear(&mut self, spans: usize) {
        self.places.clear();
        self.places.reserve(spans);
        self.open.clear();
        self.last.clear();
        self.last.resize(spans, None);
    }

    /// Adds the next span of the walk; `last` knows the last child of each span so far.
    fn add(&mut self, at: u32, parent: Option<u32>) {
        let mut place = Place {
            parent,
            size: 1,
            ..Place::default()
        };
        if let Some(parent) = parent {
            let above = &mut self.places[parent as usize];
            place.index = above.children;
            place.depth = above.depth + 1;
            above.children += 1;
            place.previous = self.last[parent as usize].replace(at);
        }
        if let Some(previous) = place.previous {
            self.places[previous as usize].next = Some(at);
        }
        self.places.push(place);
    }

    fn sum(&mut self) {
        for at in (0..self.places.len()).rev() {
            if let Some(parent) = self.places[at].parent {
                self.places[parent as usize].size += self.places[at].size;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(arity: &[u32], expected: &str) {
        let mut skeleton = Skeleton::default();
        skeleton.read(arity);
        let told: Vec<String> = skeleton
            .places()
            .iter()
            .map(|place| {
                let parent = place.parent.map_or("-".into(), |at| at.to_string());
                let next = place.next.map_or("-".into(), |at| at.to_string());
                format!(
                    "{parent}.{}>{next} d{} s{}",
                    place.index, place.depth, place.size
                )
            })
            .collect();
        assert_eq!(told.join(", "), expected);
    }

    #[test]
    fn each_span_knows_its_parent_place_among_siblings_depth_and_subtree() {
        check(
            &[2, 1, 0, 0],
            "-.0>- d0 s4, 0.0>3 d1 s2, 1.0>- d2 s1, 0.1>- d1 s1",
        );
    }

    #[test]
    fn arities_that_do_not_add_up_still_make_one_tree() {
        check(&[9, 9], "-.0>- d0 s2, 0.0>- d1 s1");
        check(&[0, 0, 0], "-.0>- d0 s3, 0.0>2 d1 s1, 0.1>- d1 s1");
        check(&[], "");
    }

    #[test]
    fn a_trace_and_its_arities_have_the_same_skeleton() {
        use crate::trace::{Span, SpanKind, StatusCode, Symbol};
        let span = |parent| Span {
            parent,
            service: Symbol(1),
            operation: Symbol(2),
            profile: Symbol(0),
            kind: SpanKind::Internal,
            status: StatusCode::Unset,
            start: 0,
            duration: 0,
        };
        let parents = [None, Some(0), Some(1), Some(1), Some(0), Some(4)];
        let trace = Trace::new(parents.map(span).to_vec(), Vec::new()).unwrap();
        let skeleton = Skeleton::of_trace(&trace);
        let example = Example {
            arity: skeleton.arity(),
            ..Example::default()
        };
        assert_eq!(Skeleton::of_example(&example).places(), skeleton.places());
    }
}
