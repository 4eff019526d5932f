//! The tree of a trace while its spans are told one by one: the same code in training and sampling.

/// Numbers that the structure network is told of a slot.
pub const SLOT_FEATURES: usize = 6;

/// Sibling indices, and numbers of siblings still to come, that are told apart.
pub(super) const SLOT_CLASSES: usize = 16;

/// Labels around a slot, each a row of its embedding; row 0 stands for none.
pub const LABELS: usize = 12;

/// Which embedding each label is a row of, in the order of [`Slot::labels`].
pub const LABEL_TABLES: [&str; LABELS] = [
    "structure.token",
    "structure.token",
    "structure.token",
    "structure.status",
    "structure.status",
    "structure.status",
    "structure.profile",
    "structure.profile",
    "structure.profile",
    "structure.arity",
    "structure.index",
    "structure.rest",
];

/// Where the next span goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Slot {
    /// Its position.
    pub at: u32,
    /// Its parent; none for the root.
    pub parent: Option<u32>,
    /// The sibling before it.
    pub previous: Option<u32>,
    /// How many siblings stand before it.
    pub index: u32,
    /// How many siblings come after it.
    pub rest: u32,
    /// How many spans stand above it.
    pub depth: u32,
    /// How many spans are promised, itself included.
    pub promised: u64,
}

impl Slot {
    /// What the network is told besides labels.
    pub fn features(&self) -> [f32; SLOT_FEATURES] {
        let log = |count: u32| (count as f32).ln_1p();
        [
            log(self.at) / 4.0,
            log(self.index) / 2.0,
            log(self.rest) / 2.0,
            log(self.depth) / 2.0,
            (self.promised as f32).ln_1p() / 2.0,
            f32::from(u8::from(self.parent.is_none())),
        ]
    }

    /// Tokens of the span told last, of the parent and of the previous sibling; statuses and
    /// profiles (as rows of their tables) of the same; the number of children of the span told last (up to `arities - 1`); sibling index and
    /// siblings to come (up to the last class). Looks at spans before the slot only.
    pub fn labels(
        &self,
        tokens: &[u32],
        status: &[u8],
        profile: &[u32],
        arity: &[u32],
        arities: usize,
    ) -> [u32; LABELS] {
        let last = self.at.checked_sub(1);
        let token = |at: Option<u32>| at.map_or(0, |at| tokens[at as usize] + 1);
        let status = |at: Option<u32>| at.map_or(0, |at| u32::from(status[at as usize].min(2)) + 1);
        let profile = |at: Option<u32>| at.map_or(0, |at| profile[at as usize]);
        let class = |count: u32, classes: usize| count.min(classes as u32 - 1);
        [
            token(last),
            token(self.parent),
            token(self.previous),
            status(last),
            status(self.parent),
            status(self.previous),
            profile(last),
            profile(self.parent),
            profile(self.previous),
            last.map_or(0, |at| class(arity[at as usize], arities) + 1),
            class(self.index, SLOT_CLASSES),
            class(self.rest, SLOT_CLASSES),
        ]
    }

    /// Whether the span before it is its parent.
    pub fn is_first(&self) -> bool {
        self.parent.is_some() && self.index == 0
    }
}

/// Spans so far. Nothing is allocated once its buffers have grown.
#[derive(Debug, Clone, Default)]
pub struct Tree {
    index: Vec<u32>,
    last_child: Vec<Option<u32>>,
    /// (position, children, children still to come) of the spans that are not over.
    open: Vec<(u32, u32, u32)>,
    promised: u64,
}

impl Tree {
    /// Forgets the spans.
    pub fn clear(&mut self) {
        self.index.clear();
        self.last_child.clear();
        self.open.clear();
        self.promised = 0;
    }

    /// Number of spans so far.
    pub fn len(&self) -> usize {
        self.index.len()
    }

    /// Whether there is no span yet.
    pub fn is_empty(&self) -> bool {
        self.index.is_empty()
    }

    /// Whether every span has all its children.
    pub fn is_whole(&self) -> bool {
        !self.is_empty() && self.promised == 0
    }

    /// Number of spans there will be at least: those so far and those promised.
    pub fn certain(&self) -> u64 {
        self.len() as u64 + self.promised
    }

    /// Where the next span goes. A span that nobody promised becomes a root.
    pub fn slot(&mut self) -> Slot {
        while self.open.last().is_some_and(|&(_, _, left)| left == 0) {
            self.open.pop();
        }
        let mut slot = Slot {
            at: self.len() as u32,
            depth: self.open.len() as u32,
            promised: self.promised.max(1),
            ..Slot::default()
        };
        if let Some(&(parent, children, left)) = self.open.last() {
            slot.parent = Some(parent);
            slot.previous = self.last_child[parent as usize];
            slot.index = children - left;
            slot.rest = left - 1;
        }
        slot
    }

    /// Adds the next span.
    pub fn add(&mut self, children: u32) {
        let slot = self.slot();
        if let Some((_, _, left)) = self.open.last_mut() {
            *left -= 1;
            self.promised -= 1;
        }
        if let Some(parent) = slot.parent {
            self.last_child[parent as usize] = Some(slot.at);
        }
        self.index.push(slot.index);
        self.last_child.push(None);
        self.open.push((slot.at, children, children));
        self.promised += u64::from(children);
    }
}

/// Link classes: none, to the parent, to the previous sibling, to another earlier span.
pub const LINKS: usize = 4;

/// The class of a span's first link to an earlier span, and where it goes; further links are not
/// told.
pub fn link_class(links: &[(u32, u32)], slot: &Slot) -> (usize, Option<u32>) {
    let target = links
        .iter()
        .find(|&&(from, to)| from == slot.at && to < slot.at);
    match target.map(|&(_, to)| to) {
        None => (0, None),
        to if to == slot.parent => (1, to),
        to if to == slot.previous => (2, to),
        to => (3, to),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Adds spans and tells each one's slot as parent.index+rest(depth)promised.
    fn check(arity: &[u32], expected: &str) {
        let mut tree = Tree::default();
        let told: Vec<String> = arity
            .iter()
            .map(|&children| {
                let slot = tree.slot();
                tree.add(children);
                let parent = slot.parent.map_or("-".into(), |at| at.to_string());
                let Slot {
                    index,
                    rest,
                    depth,
                    promised,
                    ..
                } = slot;
                format!("{parent}.{index}+{rest}({depth}){promised}")
            })
            .collect();
        assert_eq!(told.join(" "), expected);
    }

    #[test]
    fn each_slot_knows_its_parent_and_what_is_promised() {
        check(&[2, 1, 0, 0], "-.0+0(0)1 0.0+1(1)2 1.0+0(2)2 0.1+0(1)1");
    }

    #[test]
    fn a_tree_is_whole_when_nothing_is_promised() {
        let mut tree = Tree::default();
        assert!(!tree.is_whole());
        tree.add(1);
        assert!(!tree.is_whole());
        assert_eq!((tree.len(), tree.certain()), (1, 2));
        tree.add(0);
        assert!(tree.is_whole());
        assert_eq!(tree.certain(), 2);
    }

    #[test]
    fn a_link_is_told_by_its_class() {
        let slot = Slot {
            at: 3,
            parent: Some(0),
            previous: Some(2),
            ..Slot::default()
        };
        let told = |to| link_class(&[(3, to)], &slot);
        assert_eq!(
            [told(0), told(2), told(1)],
            [(1, Some(0)), (2, Some(2)), (3, Some(1))]
        );
        assert_eq!(link_class(&[(3, 4), (2, 0)], &slot), (0, None));
    }
}
