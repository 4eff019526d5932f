//! One file while it is followed: what was added since the last look, record by record.

use std::fs::{File, Metadata};
use std::io::{self, BufReader, Seek as _, SeekFrom};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use bytes::Bytes;

use super::read::{LineError, request};
use super::record::{self, Framing, MAX_RECORD, Record};

/// Which file it is, whatever its name.
pub(super) type Identity = (u64, u64);

/// A file that is read as it grows.
#[derive(Debug)]
pub(super) struct Tail {
    path: PathBuf,
    source: BufReader<File>,
    /// Where the next record begins.
    at: u64,
    number: u64,
    framing: Option<Framing>,
    record: Vec<u8>,
}

/// Which file a name stands for.
pub(super) fn identity(metadata: &Metadata) -> Identity {
    (metadata.dev(), metadata.ino())
}

impl Tail {
    /// From so many bytes on.
    pub(super) fn new(path: &Path, mut file: File, at: u64) -> io::Result<Self> {
        file.seek(SeekFrom::Start(at))?;
        Ok(Self {
            path: path.to_owned(),
            source: BufReader::with_capacity(256 << 10, file),
            at,
            number: 0,
            framing: None,
            record: Vec::new(),
        })
    }

    /// The next record that was added; none if there is none yet, or only a part of one.
    pub(super) fn next(&mut self) -> io::Result<Option<Result<Bytes, LineError>>> {
        let length = self.source.get_ref().metadata()?.len();
        if length < self.at {
            (self.at, self.number) = (0, 0);
            self.source.seek(SeekFrom::Start(0))?;
        }
        loop {
            let framing = match self.framing {
                Some(framing) => framing,
                None => match io::BufRead::fill_buf(&mut self.source)?.first() {
                    // A file that is followed from its end is one of lines unless its next record
                    // says otherwise.
                    Some(&first) => *self.framing.insert(Framing::of(first)),
                    None => return Ok(None),
                },
            };
            let read = record::next(&mut self.source, framing, MAX_RECORD, &mut self.record)?;
            let around = match framing {
                Framing::Lines => 1,
                Framing::Lengths => 4,
            };
            let long = match read {
                Record::Whole => self.record.len(),
                Record::TooLong(long) => long,
                Record::Unfinished | Record::End => {
                    // What there is of it is read again once the rest has come.
                    self.source.seek(SeekFrom::Start(self.at))?;
                    return Ok(None);
                }
            };
            self.at += (long + around) as u64;
            self.number += 1;
            if read != Record::Whole {
                let fault = format!("{long} bytes long, at most {MAX_RECORD} will do");
                return Ok(Some(Err(self.fault(fault))));
            }
            match request(&self.record, MAX_RECORD) {
                Ok(bytes) if bytes.is_empty() => {}
                Ok(bytes) => return Ok(Some(Ok(bytes))),
                Err(fault) => return Ok(Some(Err(self.fault(fault)))),
            }
        }
    }

    /// The name it was found by.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    fn fault(&self, fault: String) -> LineError {
        LineError {
            path: self.path.clone(),
            number: self.number,
            fault,
        }
    }
}
