//! Whatever the bytes are, reading ends, nothing panics, and what comes out are requests.

use std::io::Write as _;
use std::path::Path;

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use proptest::prelude::*;
use prost::Message as _;

use super::*;
use crate::otlp::view::{Limits, SpanView, Visit, walk};

const FILES: [&str; 6] = [
    "otlp.json",
    "tempo.json",
    "jaeger.json",
    "zipkin.json",
    "nezha.csv",
    "eadro.csv",
];
const FORMATS: [Format; 6] = [
    Format::Otlp,
    Format::Documents,
    Format::Jaeger,
    Format::Zipkin,
    Format::Nezha,
    Format::Eadro(Unit::Millis),
];

fn fixture(name: &str) -> Vec<u8> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/imports");
    std::fs::read(path.join(name)).unwrap()
}

struct Count(usize);

impl Visit for Count {
    fn span(&mut self, _: &SpanView<'_>) {
        self.0 += 1;
    }
}

/// Good spans and faults of a file of these bytes; none where its beginning is that of no format.
fn read(bytes: &[u8], format: Option<Format>) -> Option<(usize, usize)> {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(bytes).unwrap();
    let requests = open(file.path(), format).ok()?;
    let (mut spans, mut faults) = (Count(0), 0);
    for request in requests {
        match request {
            Ok(bytes) => {
                ExportTraceServiceRequest::decode(bytes.clone()).unwrap();
                // What breaks the protocol is cut out by the walk, as it is from the network.
                walk(&bytes, &Limits::default(), &mut spans).unwrap();
            }
            Err(fault) => {
                assert!(fault.number > 0, "{fault}");
                faults += 1;
            }
        }
    }
    Some((spans.0, faults))
}

/// A change of a file.
#[derive(Debug, Clone)]
enum Change {
    Set(usize, u8),
    Insert(usize, Vec<u8>),
    Remove(usize, usize),
    Repeat(usize, usize),
    Cut(usize),
}

fn change() -> impl Strategy<Value = Change> {
    let at = 0..40_000_usize;
    let signs = prop_oneof![
        Just(b'"'),
        Just(b'{'),
        Just(b'}'),
        Just(b'['),
        Just(b']'),
        Just(b','),
        Just(b':'),
        Just(b'\n'),
        Just(b'\\'),
        Just(b'-'),
        Just(0xff),
        Just(0),
        any::<u8>(),
    ];
    prop_oneof![
        (at.clone(), signs.clone()).prop_map(|(at, byte)| Change::Set(at, byte)),
        (at.clone(), prop::collection::vec(signs, 1..40))
            .prop_map(|(at, bytes)| Change::Insert(at, bytes)),
        (at.clone(), 1..2_000_usize).prop_map(|(at, length)| Change::Remove(at, length)),
        (at.clone(), 1..2_000_usize).prop_map(|(at, length)| Change::Repeat(at, length)),
        at.prop_map(Change::Cut),
    ]
}

fn apply(bytes: &mut Vec<u8>, change: &Change) {
    let within = |at: usize| at % bytes.len().max(1);
    match change {
        _ if bytes.is_empty() => {}
        Change::Set(at, byte) => {
            let at = within(*at);
            bytes[at] = *byte;
        }
        Change::Insert(at, more) => {
            let at = within(*at);
            bytes.splice(at..at, more.iter().copied());
        }
        Change::Remove(at, length) => {
            let at = within(*at);
            bytes.drain(at..(at + length).min(bytes.len()));
        }
        Change::Repeat(at, length) => {
            let at = within(*at);
            let part = bytes[at..(at + length).min(bytes.len())].to_vec();
            bytes.splice(at..at, part);
        }
        Change::Cut(at) => {
            let at = within(*at);
            bytes.truncate(at);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn changed_files_are_read_to_their_end_in_every_format(
        file in 0..FILES.len(),
        format in 0..FORMATS.len() + 1,
        changes in prop::collection::vec(change(), 1..5),
    ) {
        let mut bytes = fixture(FILES[file]);
        changes.iter().for_each(|change| apply(&mut bytes, change));
        read(&bytes, FORMATS.get(format).copied());
    }

    #[test]
    fn any_bytes_are_read_to_their_end(
        bytes in prop::collection::vec(any::<u8>(), 0..600),
        format in 0..FORMATS.len() + 1,
    ) {
        read(&bytes, FORMATS.get(format).copied());
    }
}

#[test]
fn one_broken_span_costs_itself_and_all_others_are_read() {
    let check = |name: &str, from: &str, to: &str, lost: usize| {
        let good = fixture(name);
        let (all, none) = read(&good, None).unwrap();
        assert_eq!(none, 0, "{name}");
        let text = String::from_utf8(good).unwrap();
        assert!(text.contains(from), "{name} has no {from}");
        let broken = text.replacen(from, to, 1);
        assert_eq!(
            read(broken.as_bytes(), None),
            Some((all - lost, 1)),
            "{name}"
        );
    };
    check(
        "otlp.json",
        r#""startTimeUnixNano": "1"#,
        r#""startTimeUnixNano": "x"#,
        1,
    );
    check(
        "tempo.json",
        r#""kind":"SPAN_KIND_CLIENT""#,
        r#""kind":"CUSTOMER""#,
        1,
    );
    check(
        "jaeger.json",
        r#""startTime":1"#,
        r#""startTime":"soon","was":1"#,
        1,
    );
    check("zipkin.json", r#""timestamp":1"#, r#""timestamp":-1"#, 1);
    check("nezha.csv", ",root,", ",root,,", 1);
    check("eadro.csv", "\n0,1", "\n0,one", 1);
}

#[test]
fn the_same_file_gives_the_same_bytes() {
    for name in FILES {
        let path = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("fixtures/imports")
            .join(name);
        let bytes = || -> Vec<Bytes> { open(&path, None).unwrap().map(Result::unwrap).collect() };
        assert_eq!(bytes(), bytes(), "{name}");
    }
}
