//! Which contexts each event leans on, most specific first.

use std::collections::HashMap;

use super::tree::Tree;
use crate::model::{Example, TimeCode};

/// In place of a token or bin that is not there.
const NONE: u64 = u32::MAX as u64;

/// Bins per class where the bins of one time are the context of another.
const COARSE: u8 = 7;

/// One number for an event, a level of its back-off and the fields of a context (splitmix64).
fn key(event: u64, level: u64, fields: &[u64]) -> u64 {
    // Spread first: a small field would else turn one event's number into another's.
    let mut hash = (event * 16 + level).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    for field in fields {
        hash = (hash ^ *field).wrapping_add(0x9e37_79b9_7f4a_7c15);
        hash = (hash ^ (hash >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        hash = (hash ^ (hash >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        hash ^= hash >> 31;
    }
    hash
}

/// Numbers of spans told last that a choice may lean on.
const RECENT: [usize; 2] = [24, 8];

/// The last so many spans before `known` as one number: tokens, statuses and arities.
fn recent(example: &Example, known: usize, spans: usize) -> u64 {
    let range = known.saturating_sub(spans)..known;
    range.fold(0, |hash, at| {
        let status = u64::from(example.status[at]);
        let fields = [
            hash,
            example.tokens[at].into(),
            status,
            example.arity[at].into(),
        ];
        key(10, 0, &fields)
    })
}

/// Labels around a span that is about to be told. Its parent and previous sibling are known.
#[derive(Debug, Clone, Copy)]
pub(super) struct Around {
    parent: u64,
    grandparent: u64,
    previous: u64,
    index: u64,
    /// Children that the parent has.
    among: u64,
    parent_status: u64,
    previous_status: u64,
    parent_profile: u64,
    previous_profile: u64,
    /// What is known early of the whole trace: its root, how many children it has, its first span.
    code: u64,
    /// The spans told last, many and few.
    recent: [u64; 2],
}

impl Around {
    pub(super) fn next(tree: &mut Tree, example: &Example) -> Self {
        let (parent, previous, index) = tree.next();
        let grandparent = parent.and_then(|parent| tree.parent(parent));
        let token = |at: Option<u32>| at.map_or(NONE, |at| example.tokens[at as usize].into());
        let status = |at: Option<u32>| at.map_or(NONE, |at| example.status[at as usize].into());
        let among = parent.map_or(0, |parent| example.arity[parent as usize].into());
        let profile = |at: Option<u32>| at.map_or(NONE, |at| example.profile[at as usize].into());
        // Only what was told before: the example may be whole.
        let known = tree.len();
        let first = |at: usize| {
            if at < known {
                example.tokens[at].into()
            } else {
                NONE
            }
        };
        let root_children = if known > 0 {
            example.arity[0].into()
        } else {
            NONE
        };
        Self {
            parent: token(parent),
            grandparent: token(grandparent),
            previous: token(previous),
            index: index.into(),
            among,
            parent_status: status(parent),
            previous_status: status(previous),
            parent_profile: profile(parent),
            previous_profile: profile(previous),
            code: key(9, 0, &[first(0), root_children, first(1)]),
            recent: RECENT.map(|spans| recent(example, known, spans)),
        }
    }

    pub(super) fn token(&self) -> [u64; 8] {
        let a = self;
        [
            key(1, 6, &[a.recent[0], a.parent, a.previous, a.index, a.code]),
            key(1, 7, &[a.recent[1], a.parent, a.previous, a.index, a.code]),
            key(
                1,
                0,
                &[
                    a.parent,
                    a.previous,
                    a.grandparent,
                    a.index,
                    a.among,
                    a.code,
                ],
            ),
            key(1, 1, &[a.parent, a.previous, a.index, a.among]),
            key(1, 2, &[a.parent, a.previous, a.index.min(3)]),
            key(1, 3, &[a.parent, a.previous]),
            key(1, 4, &[a.parent]),
            key(1, 5, &[]),
        ]
    }

    pub(super) fn status(&self, token: u32) -> [u64; 4] {
        let (a, token) = (self, u64::from(token));
        [
            key(2, 0, &[token, a.parent, a.parent_status, a.previous_status]),
            key(2, 1, &[token, a.parent_status]),
            key(2, 2, &[token]),
            key(2, 3, &[]),
        ]
    }

    pub(super) fn profile(&self, token: u32, status: u8) -> [u64; 4] {
        let (a, token, status) = (self, u64::from(token), u64::from(status));
        let (above, beside) = (a.parent_profile, a.previous_profile);
        [
            key(11, 0, &[token, status, a.parent, above, a.previous, beside]),
            key(11, 1, &[token, status, a.parent, above]),
            key(11, 2, &[token, status]),
            key(11, 3, &[token]),
        ]
    }

    pub(super) fn arity(&self, token: u32, status: u8) -> [u64; 7] {
        let (a, token, status) = (self, u64::from(token), u64::from(status));
        [
            key(
                3,
                5,
                &[a.recent[0], token, status, a.parent, a.index, a.code],
            ),
            key(
                3,
                6,
                &[a.recent[1], token, status, a.parent, a.index, a.code],
            ),
            key(
                3,
                0,
                &[
                    token,
                    status,
                    a.parent,
                    a.previous,
                    a.grandparent,
                    a.index,
                    a.code,
                ],
            ),
            key(3, 1, &[token, status, a.parent, a.previous, a.index.min(3)]),
            key(3, 2, &[token, status, a.parent]),
            key(3, 3, &[token]),
            key(3, 4, &[]),
        ]
    }

    pub(super) fn link(&self, token: u32) -> [u64; 4] {
        let token = u64::from(token);
        [
            key(
                4,
                0,
                &[token, self.parent, self.previous, self.index.min(2)],
            ),
            key(4, 1, &[token, self.parent]),
            key(4, 2, &[token]),
            key(4, 3, &[]),
        ]
    }
}

/// What is around the times of one span of a finished structure.
#[derive(Debug, Clone, Copy)]
pub(super) struct Times {
    token: u64,
    parent: u64,
    index: u64,
    leaf: u64,
    has_next: u64,
    parent_start: u64,
    parent_end: u64,
    previous_end_mode: u64,
    /// End of the last span with the same token.
    same_end: u64,
}

fn class(code: Option<TimeCode>) -> u64 {
    code.map_or(NONE, |code| {
        u64::from(code.mode) << 8 | u64::from(code.bin / COARSE)
    })
}

/// Walks over the spans of a finished structure.
#[derive(Debug)]
pub(super) struct Timer {
    tree: Tree,
    has_next: Vec<bool>,
    same: HashMap<u32, u32>,
}

impl Timer {
    pub(super) fn new(example: &Example) -> Self {
        let mut tree = Tree::default();
        for &arity in &example.arity {
            tree.add(arity);
        }
        Self {
            has_next: tree.has_next(),
            tree,
            same: HashMap::new(),
        }
    }

    /// What is around the times of the span at `at`; spans are to be asked for in order.
    pub(super) fn next(&mut self, example: &Example, at: usize) -> Times {
        let same = self.same.insert(example.tokens[at], at as u32);
        Times::new(&self.tree, example, at as u32, same, self.has_next[at])
    }
}

impl Times {
    /// `same` is the last span with the same token.
    fn new(tree: &Tree, example: &Example, at: u32, same: Option<u32>, has_next: bool) -> Self {
        let parent = tree.parent(at);
        let end = |at: Option<u32>| at.map(|at| example.end[at as usize]);
        Self {
            token: example.tokens[at as usize].into(),
            parent: parent.map_or(NONE, |parent| example.tokens[parent as usize].into()),
            index: tree.index(at).min(2).into(),
            leaf: (example.arity[at as usize] == 0).into(),
            has_next: has_next.into(),
            parent_start: class(parent.map(|parent| example.start[parent as usize])),
            parent_end: class(end(parent)),
            previous_end_mode: end(tree.previous(at)).map_or(NONE, |code| code.mode.into()),
            same_end: class(end(same)),
        }
    }

    pub(super) fn start_mode(&self) -> [u64; 4] {
        let t = self;
        [
            key(
                5,
                0,
                &[t.token, t.parent, t.index, t.leaf, t.previous_end_mode],
            ),
            key(5, 1, &[t.token, t.parent, t.index]),
            key(5, 2, &[t.token, t.index]),
            key(5, 3, &[t.index]),
        ]
    }

    pub(super) fn start_bin(&self, mode: u8) -> [u64; 5] {
        let (t, mode) = (self, u64::from(mode));
        [
            key(
                6,
                0,
                &[
                    mode,
                    t.token,
                    t.parent,
                    t.index,
                    t.parent_start,
                    t.parent_end,
                ],
            ),
            key(6, 1, &[mode, t.token, t.parent, t.index, t.parent_end]),
            key(6, 2, &[mode, t.token, t.parent, t.index]),
            key(6, 3, &[mode, t.token]),
            key(6, 4, &[mode]),
        ]
    }

    pub(super) fn end_mode(&self, start: TimeCode) -> [u64; 4] {
        let (t, start) = (self, u64::from(start.mode));
        [
            key(
                7,
                0,
                &[
                    t.token,
                    t.parent,
                    t.index,
                    t.leaf,
                    t.has_next,
                    start,
                    t.parent_end,
                ],
            ),
            key(7, 1, &[t.token, t.parent, t.leaf, t.has_next, start]),
            key(7, 2, &[t.token, t.leaf, t.has_next]),
            key(7, 3, &[t.leaf, t.has_next]),
        ]
    }

    pub(super) fn end_bin(&self, mode: u8, start: TimeCode) -> [u64; 5] {
        let (t, mode, start) = (self, u64::from(mode), class(Some(start)));
        [
            key(
                8,
                0,
                &[
                    mode,
                    t.token,
                    t.parent,
                    t.index,
                    t.same_end,
                    t.parent_end,
                    start,
                ],
            ),
            key(
                8,
                1,
                &[mode, t.token, t.parent, t.index, t.same_end, t.parent_end],
            ),
            key(8, 2, &[mode, t.token, t.parent, t.index]),
            key(8, 3, &[mode, t.token]),
            key(8, 4, &[mode]),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_event_has_the_context_of_another() {
        let mut seen = HashMap::new();
        for event in 1..12 {
            for level in 0..8 {
                for field in (0..2_000).chain([NONE]) {
                    let before = seen.insert(key(event, level, &[field]), (event, level, field));
                    assert_eq!(before, None, "{event} {level} {field}");
                }
            }
        }
    }
}
