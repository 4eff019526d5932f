//! Traces of files in the order in which they began, as far as a bounded look ahead goes.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::path::PathBuf;

use super::starts;
use crate::cli::observed::Bad;
use crate::import::{self, Format, Group, Import, Observed};

/// Spans that are read ahead, at most: what is further out of order than that stays so.
const AHEAD: usize = 200_000;

/// The traces of files, one after the other.
pub(super) struct Ahead<'a> {
    files: std::slice::Iter<'a, PathBuf>,
    format: Option<Format>,
    open: Option<(Import, Bad, &'a PathBuf)>,
    group: Group,
    /// By their beginning, and in the order in which they were read.
    heap: BinaryHeap<Reverse<(u64, u64, Whole)>>,
    held: usize,
    came: u64,
    bad: u64,
    over: bool,
    /// Bytes of the files that were read to their end.
    behind: u64,
    total: u64,
}

/// A trace that orders like nothing: what comes before it in a tuple decides.
struct Whole(Vec<Observed>);

impl PartialEq for Whole {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}
impl Eq for Whole {}
impl PartialOrd for Whole {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Whole {
    fn cmp(&self, _: &Self) -> std::cmp::Ordering {
        std::cmp::Ordering::Equal
    }
}

impl<'a> Ahead<'a> {
    /// None of them was opened yet.
    pub(super) fn new(files: &'a [PathBuf], format: Option<Format>) -> Self {
        let lengths = files.iter().filter_map(|file| file.metadata().ok());
        Self {
            files: files.iter(),
            format,
            open: None,
            group: Group::default(),
            heap: BinaryHeap::new(),
            held: 0,
            came: 0,
            bad: 0,
            over: false,
            behind: 0,
            total: lengths.map(|it| it.len()).sum(),
        }
    }

    /// The next trace, by when it began; none at the end.
    pub(super) fn next(&mut self) -> anyhow::Result<Option<Vec<Observed>>> {
        while !self.over && self.held < AHEAD {
            self.read_on()?;
        }
        let Some(Reverse((_, _, Whole(trace)))) = self.heap.pop() else {
            return Ok(None);
        };
        self.held -= trace.len();
        Ok(Some(trace))
    }

    /// Bytes of all files.
    pub(super) fn total(&self) -> u64 {
        self.total
    }

    /// Bytes read so far.
    pub(super) fn read(&self) -> u64 {
        let open = self.open.as_ref();
        self.behind + open.map_or(0, |(requests, ..)| requests.progress().read())
    }

    /// What could not be used.
    pub(super) fn bad(&self) -> u64 {
        self.bad
    }

    /// Reads the next record, or goes on to the next file.
    fn read_on(&mut self) -> anyhow::Result<()> {
        let Some((requests, bad, file)) = &mut self.open else {
            match self.files.next() {
                Some(file) => {
                    let requests = import::open(file, self.format)?;
                    self.open = Some((requests, Bad::default(), file));
                }
                None => {
                    self.over = true;
                    while let Some(trace) = self.group.oldest() {
                        self.put(trace);
                    }
                }
            }
            return Ok(());
        };
        match requests.next() {
            Some(request) => {
                let taken = request
                    .map_err(|fault| fault.to_string())
                    .and_then(|bytes| {
                        self.group
                            .add_request(bytes)
                            .map_err(|fault| fault.to_string())
                    });
                match taken {
                    Ok(0) => {}
                    Ok(without) => bad.tell(&format!("{without} spans without a good id")),
                    Err(fault) => bad.tell(&fault),
                }
                while let Some(trace) = self.group.overflow() {
                    self.put(trace);
                }
            }
            None => {
                bad.end(file);
                self.bad += bad.count;
                self.behind += requests.progress().total();
                self.open = None;
            }
        }
        Ok(())
    }

    fn put(&mut self, trace: Vec<Observed>) {
        self.held += trace.len();
        self.came += 1;
        let began = starts(&trace);
        self.heap.push(Reverse((began, self.came, Whole(trace))));
    }
}
