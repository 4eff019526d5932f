//! Doubly linked lists over slots: each slot is in one list at most and leaves it at once.

const NONE: u32 = u32::MAX;

#[derive(Debug, Clone, Copy)]
struct Node {
    before: u32,
    after: u32,
    list: u32,
}

const OUT: Node = Node {
    before: NONE,
    after: NONE,
    list: NONE,
};

/// A fixed number of lists; slots are numbered from 0 and take room as they are used.
#[derive(Debug)]
pub(super) struct Lists {
    ends: Vec<(u32, u32)>,
    nodes: Vec<Node>,
}

impl Lists {
    /// So many empty lists.
    pub(super) fn new(count: usize) -> Self {
        Self {
            ends: vec![(NONE, NONE); count],
            nodes: Vec::new(),
        }
    }

    /// The first slot of a list.
    pub(super) fn front(&self, list: usize) -> Option<u32> {
        Some(self.ends[list].0).filter(|&slot| slot != NONE)
    }

    /// Whether the slot is in a list.
    pub(super) fn holds(&self, slot: u32) -> bool {
        self.nodes
            .get(slot as usize)
            .is_some_and(|node| node.list != NONE)
    }

    /// Puts a slot at the end of a list, out of where it was.
    pub(super) fn push_back(&mut self, list: usize, slot: u32) {
        self.remove(slot);
        if self.nodes.len() <= slot as usize {
            self.nodes.resize(slot as usize + 1, OUT);
        }
        let last = self.ends[list].1;
        self.nodes[slot as usize] = Node {
            before: last,
            after: NONE,
            list: list as u32,
        };
        match last {
            NONE => self.ends[list].0 = slot,
            last => self.nodes[last as usize].after = slot,
        }
        self.ends[list].1 = slot;
    }

    /// Takes a slot out of whatever list it is in.
    pub(super) fn remove(&mut self, slot: u32) {
        if !self.holds(slot) {
            return;
        }
        let node = std::mem::replace(&mut self.nodes[slot as usize], OUT);
        let ends = &mut self.ends[node.list as usize];
        match node.before {
            NONE => ends.0 = node.after,
            before => self.nodes[before as usize].after = node.after,
        }
        match node.after {
            NONE => ends.1 = node.before,
            after => self.nodes[after as usize].before = node.before,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slot_leaves_from_anywhere_and_is_in_one_list_only() {
        let mut lists = Lists::new(2);
        for slot in 0..4 {
            lists.push_back(0, slot);
        }
        lists.remove(1);
        lists.push_back(1, 0);
        lists.push_back(0, 1);
        let mut drain = |list| {
            let mut out = Vec::new();
            while let Some(slot) = lists.front(list) {
                lists.remove(slot);
                out.push(slot);
            }
            out
        };
        assert_eq!(drain(0), [2, 3, 1]);
        assert_eq!(drain(1), [0]);
    }
}
