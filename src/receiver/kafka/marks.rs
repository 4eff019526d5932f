//! How far each partition has been handed over: messages are on their way several at a time, and
//! a partition counts as read up to the first one that is not done.

use std::collections::{BTreeMap, VecDeque};

/// A partition: its topic and its number.
pub(super) type Partition = (String, i32);

/// Messages on their way.
#[derive(Debug, Default)]
pub(super) struct Marks {
    windows: BTreeMap<Partition, Window>,
    /// Counts up, so that what belongs to an earlier stay of a partition is told from a later one.
    stay: u64,
    flying: Flying,
}

/// Messages that are on their way, and their bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Flying {
    pub(super) messages: usize,
    pub(super) bytes: usize,
}

#[derive(Debug)]
struct Window {
    stay: u64,
    /// Messages in the order of the partition, and whether each is done.
    waiting: VecDeque<(i64, bool)>,
    /// Where to go on reading, if that has not been told yet.
    next: Option<i64>,
}

/// A message on its way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Flight {
    pub(super) partition: Partition,
    pub(super) offset: i64,
    bytes: usize,
    stay: u64,
}

impl Marks {
    /// A message of so many bytes sets out.
    pub(super) fn begin(&mut self, partition: Partition, offset: i64, bytes: usize) -> Flight {
        self.flying.messages += 1;
        self.flying.bytes += bytes;
        let stay = &mut self.stay;
        let window = self.windows.entry(partition.clone()).or_insert_with(|| {
            *stay += 1;
            Window {
                stay: *stay,
                waiting: VecDeque::new(),
                next: None,
            }
        });
        window.waiting.push_back((offset, false));
        Flight {
            partition,
            offset,
            bytes,
            stay: window.stay,
        }
    }

    /// A message has arrived, or (`handed_over` is false) was given up and stays unread.
    pub(super) fn end(&mut self, flight: &Flight, handed_over: bool) {
        self.flying.messages -= 1;
        self.flying.bytes -= flight.bytes;
        let window = self.windows.get_mut(&flight.partition);
        let Some(window) = window.filter(|window| window.stay == flight.stay) else {
            // The partition has gone to another member, which reads the message again.
            return;
        };
        if !handed_over {
            return;
        }
        let at = window
            .waiting
            .binary_search_by_key(&flight.offset, |(offset, _)| *offset);
        if let Ok(at) = at {
            window.waiting[at].1 = true;
        }
        while let Some(&(offset, true)) = window.waiting.front() {
            window.waiting.pop_front();
            window.next = Some(offset + 1);
        }
    }

    /// Messages on their way.
    pub(super) fn flying(&self) -> Flying {
        self.flying
    }

    /// Messages of these partitions that are not done.
    pub(super) fn waiting(&self, partitions: &[Partition]) -> usize {
        let windows = partitions.iter().filter_map(|p| self.windows.get(p));
        windows.map(|window| window.waiting.len()).sum()
    }

    /// Where to go on reading in each partition that has come further since the last call.
    pub(super) fn take_next(&mut self) -> Vec<(Partition, i64)> {
        let moved = self.windows.iter_mut().filter_map(|(partition, window)| {
            let next = window.next.take()?;
            Some((partition.clone(), next))
        });
        moved.collect()
    }

    /// Partitions that are ours no more; what is still on its way is of no account.
    pub(super) fn forget(&mut self, partitions: &[Partition]) {
        for partition in partitions {
            self.windows.remove(partition);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn partition(number: i32) -> Partition {
        ("spans".to_owned(), number)
    }

    /// Words: `b5` message 5 sets out, `e5` arrives, `g5` is given up, `f` forgets the partition,
    /// `t` tells where to go on reading.
    fn check(story: &str, expected: &str) {
        let mut marks = Marks::default();
        let mut flights = Vec::new();
        let mut told = Vec::new();
        for word in story.split(' ') {
            let offset = word[1..].parse().unwrap_or(0);
            let flight =
                |flights: &[Flight]| flights.iter().find(|f| f.offset == offset).unwrap().clone();
            match &word[..1] {
                "b" => flights.push(marks.begin(partition(0), offset, 7)),
                "e" => marks.end(&flight(&flights), true),
                "g" => marks.end(&flight(&flights), false),
                "f" => marks.forget(&[partition(0)]),
                _ => told.push(match &marks.take_next()[..] {
                    [] => "-".to_owned(),
                    next => next[0].1.to_string(),
                }),
            }
        }
        told.push(format!("{} flying", marks.flying().messages));
        assert_eq!(told.join(" "), expected, "{story}");
        assert_eq!(marks.flying().bytes, 7 * marks.flying().messages);
    }

    #[test]
    fn a_partition_is_read_up_to_the_first_message_that_is_not_done() {
        check("b5 b6 b9 t e6 t e5 t t e9 t", "- - 7 - 10 0 flying");
    }

    #[test]
    fn a_message_that_was_given_up_holds_the_partition_where_it_is() {
        check("b5 b6 g5 e6 t", "- 0 flying");
    }

    #[test]
    fn what_arrives_after_its_partition_went_away_is_of_no_account() {
        check("b5 f e5 t", "- 0 flying");
        check("b5 f b6 e5 t e6 t", "- 7 0 flying");
    }

    #[test]
    fn partitions_do_not_wait_for_each_other() {
        let mut marks = Marks::default();
        marks.begin(partition(0), 1, 0);
        let second = marks.begin(partition(1), 1, 0);
        marks.end(&second, true);
        assert_eq!(marks.take_next(), [(partition(1), 2)]);
        assert_eq!(marks.waiting(&[partition(0), partition(1)]), 1);
    }
}
