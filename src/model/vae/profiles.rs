//! Which rows of the profile tables belong to which token.

use crate::model::Example;

/// The profiles of each token, as rows of tables that all tokens share. Rows are given in the order
/// in which profiles come, and a row once given never changes.
///
/// Row 0 stands for none, and for the profile of a token that has no other: there is nothing to
/// choose then.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct ProfileRows {
    /// By token; empty for those with one profile.
    rows: Vec<Vec<u32>>,
    /// The token of each row from 1 on.
    owners: Vec<u32>,
}

impl ProfileRows {
    /// Rows as a checkpoint holds them: the token of each row from 1 on. None if a token has a
    /// single row, which it never is given.
    pub(super) fn of_owners(owners: Vec<u32>) -> Option<Self> {
        let mut rows: Vec<Vec<u32>> = Vec::new();
        for (row, &owner) in (1..).zip(&owners) {
            let owner = owner as usize;
            if rows.len() <= owner {
                rows.resize(owner + 1, Vec::new());
            }
            rows[owner].push(row);
        }
        let sound = rows.iter().all(|rows| rows.len() != 1);
        sound.then_some(Self { rows, owners })
    }

    /// The token of each row from 1 on.
    pub(super) fn owners(&self) -> &[u32] {
        &self.owners
    }

    /// Number of rows, row 0 included.
    pub(super) fn count(&self) -> usize {
        self.owners.len() + 1
    }

    /// Takes in how many profiles each token has; fewer than before change nothing. For each row
    /// that is new: whether its token had a profile before.
    pub(super) fn grow(&mut self, slots: &[u32]) -> Vec<bool> {
        let mut late = Vec::new();
        if self.rows.len() < slots.len() {
            self.rows.resize(slots.len(), Vec::new());
        }
        for (token, (rows, &slots)) in (0..).zip(self.rows.iter_mut().zip(slots)) {
            let had = rows.len().max(1);
            while slots > 1 && rows.len() < slots as usize {
                late.push(rows.len() >= had);
                self.owners.push(token);
                rows.push(self.owners.len() as u32);
            }
        }
        late
    }

    /// The rows of a token, in the order of its slots; none if it has one profile.
    pub fn of(&self, token: u32) -> &[u32] {
        self.rows.get(token as usize).map_or(&[], Vec::as_slice)
    }

    /// The row of a token's profile; 0 where it has one only.
    pub fn row(&self, token: u32, slot: u32) -> u32 {
        self.of(token).get(slot as usize).copied().unwrap_or(0)
    }

    /// Whether every span's profile is one of its token's.
    pub(super) fn fit(&self, example: &Example) -> bool {
        let mut spans = example.tokens.iter().zip(&example.profile);
        spans.all(|(&token, &slot)| (slot as usize) < self.of(token).len().max(1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_gets_rows_once_there_is_something_to_choose_and_keeps_them() {
        let mut rows = ProfileRows::default();
        assert_eq!(rows.grow(&[1, 2]), [false, true]);
        assert_eq!(rows.grow(&[3, 2, 1]), [false, true, true]);
        assert_eq!(
            (rows.of(0), rows.of(1), rows.of(2)),
            (&[3, 4, 5][..], &[1, 2][..], &[][..])
        );
        assert_eq!((rows.row(0, 1), rows.row(2, 0), rows.count()), (4, 0, 6));
        let fits = |token, slot| {
            rows.fit(&Example {
                tokens: vec![token],
                profile: vec![slot],
                ..Example::default()
            })
        };
        assert!(fits(2, 0) && !fits(2, 1) && fits(0, 2));
        assert!(rows.grow(&[1, 1, 1]).is_empty());
        let back = ProfileRows::of_owners(rows.owners().to_vec()).unwrap();
        assert_eq!((back.of(0), back.of(1)), (rows.of(0), rows.of(1)));
        assert_eq!(ProfileRows::of_owners(vec![0, 1, 1]), None);
    }
}
