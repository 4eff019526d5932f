//! The tree of a trace while its spans are told one by one.

/// Positions and neighbours of the spans so far, and the spans still promised.
#[derive(Debug, Clone, Default)]
pub(super) struct Tree {
    parents: Vec<Option<u32>>,
    previous: Vec<Option<u32>>,
    index: Vec<u32>,
    last_child: Vec<Option<u32>>,
    /// (position, children still to come) of the spans that are not over.
    open: Vec<(u32, u32)>,
    promised: u64,
}

impl Tree {
    /// Parent, previous sibling and sibling index of the next span.
    pub(super) fn next(&mut self) -> (Option<u32>, Option<u32>, u32) {
        while self.open.last().is_some_and(|&(_, left)| left == 0) {
            self.open.pop();
        }
        let Some(&(parent, _)) = self.open.last() else {
            return (None, None, 0);
        };
        let previous = self.last_child[parent as usize];
        let index = previous.map_or(0, |previous| self.index[previous as usize] + 1);
        (Some(parent), previous, index)
    }

    /// Adds the next span.
    pub(super) fn add(&mut self, children: u32) {
        let (parent, previous, index) = self.next();
        let at = self.parents.len() as u32;
        if let Some((_, left)) = self.open.last_mut() {
            *left -= 1;
            self.promised -= 1;
        }
        if let Some(parent) = parent {
            self.last_child[parent as usize] = Some(at);
        }
        self.parents.push(parent);
        self.previous.push(previous);
        self.index.push(index);
        self.last_child.push(None);
        self.open.push((at, children));
        self.promised += u64::from(children);
    }

    /// Number of spans so far.
    pub(super) fn len(&self) -> usize {
        self.parents.len()
    }

    /// Spans that are still promised.
    pub(super) fn promised(&self) -> u64 {
        self.promised
    }

    pub(super) fn parent(&self, at: u32) -> Option<u32> {
        self.parents[at as usize]
    }

    pub(super) fn previous(&self, at: u32) -> Option<u32> {
        self.previous[at as usize]
    }

    pub(super) fn index(&self, at: u32) -> u32 {
        self.index[at as usize]
    }

    /// Which spans have a later sibling.
    pub(super) fn has_next(&self) -> Vec<bool> {
        let mut has_next = vec![false; self.len()];
        for previous in self.previous.iter().flatten() {
            has_next[*previous as usize] = true;
        }
        has_next
    }
}
