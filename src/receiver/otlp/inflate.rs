//! Content encodings, inflated under a cap.

use std::io::{self, Read};

use bytes::Bytes;

use super::answer::Answer;
use crate::pipeline::off_reactor;

/// What is inflated right away; the rest of a longer request is inflated off the reactor.
const FIRST: usize = 256 << 10;

/// How a request's bytes are packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Encoding {
    /// Not at all.
    Identity,
    /// One or more gzip members.
    Gzip,
    /// One or more zstd frames.
    Zstd,
}

impl Encoding {
    /// The encoding that a `content-encoding` or `grpc-encoding` header names.
    pub(super) fn named(name: Option<&http::HeaderValue>) -> Result<Self, Answer> {
        let Some(name) = name else {
            return Ok(Self::Identity);
        };
        let name = name.as_bytes().trim_ascii();
        let named = |other: &str| name.eq_ignore_ascii_case(other.as_bytes());
        if name.is_empty() || named("identity") {
            Ok(Self::Identity)
        } else if named("gzip") {
            Ok(Self::Gzip)
        } else if named("zstd") {
            Ok(Self::Zstd)
        } else {
            let message = "unknown content encoding; identity, gzip and zstd are understood";
            Err(Answer::unsupported(message))
        }
    }
}

/// The bytes unpacked, at most `cap` of them.
pub(super) fn inflate(packed: Bytes, encoding: Encoding, cap: usize) -> Result<Bytes, Answer> {
    match encoding {
        Encoding::Identity => Ok(packed),
        // No header at all packs an empty request.
        _ if packed.is_empty() => Ok(packed),
        Encoding::Gzip => {
            let source = flate2::bufread::MultiGzDecoder::new(&packed[..]);
            read_capped(source, packed.len(), cap)
        }
        Encoding::Zstd => {
            let source = zstd::stream::read::Decoder::with_buffer(&packed[..]);
            let mut source = source.map_err(|cause| broken(&cause))?;
            // A frame says how much history it wants held: the 8 MiB that every decoder grants,
            // and beyond them no more than the request may hold.
            let window = usize::BITS - cap.leading_zeros();
            source
                .window_log_max(window.clamp(23, 27))
                .map_err(|cause| broken(&cause))?;
            read_capped(source, packed.len(), cap)
        }
    }
}

fn read_capped(mut source: impl Read, packed: usize, cap: usize) -> Result<Bytes, Answer> {
    let mut inflated = Vec::with_capacity((packed * 4).min(cap).min(FIRST));
    let first = source
        .by_ref()
        .take(FIRST as u64)
        .read_to_end(&mut inflated);
    first.map_err(|cause| broken(&cause))?;
    if inflated.len() == FIRST {
        let rest = (cap + 1).saturating_sub(FIRST) as u64;
        off_reactor(|| source.take(rest).read_to_end(&mut inflated))
            .map_err(|cause| broken(&cause))?;
    }
    if inflated.len() > cap {
        return Err(Answer::too_large(cap));
    }
    Ok(inflated.into())
}

fn broken(cause: &io::Error) -> Answer {
    Answer::malformed(format!("can't be decompressed: {cause}"))
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use tonic::Code;

    use super::*;

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    fn zstd(bytes: &[u8]) -> Vec<u8> {
        zstd::stream::encode_all(bytes, 1).unwrap()
    }

    fn check(packed: Vec<u8>, encoding: Encoding, cap: usize, expected: Result<usize, Code>) {
        let inflated = inflate(packed.into(), encoding, cap);
        let shown = inflated
            .map(|bytes| bytes.len())
            .map_err(|fault| fault.code);
        assert_eq!(shown, expected);
    }

    #[test]
    fn bytes_are_inflated_up_to_the_cap_and_not_a_byte_further() {
        for size in [0, 10, FIRST - 1, FIRST, FIRST + 1, 3 * FIRST] {
            let bytes = vec![7; size];
            let over = match size {
                0 => Ok(0),
                _ => Err(Code::ResourceExhausted),
            };
            for (packed, encoding) in [
                (gzip(&bytes), Encoding::Gzip),
                (zstd(&bytes), Encoding::Zstd),
            ] {
                check(packed.clone(), encoding, size.max(1), Ok(size));
                check(packed, encoding, size.max(1) - 1, over);
            }
        }
    }

    #[test]
    fn several_members_are_one_request() {
        let twice = |packed: Vec<u8>| [packed.clone(), packed].concat();
        check(twice(gzip(b"abc")), Encoding::Gzip, 100, Ok(6));
        check(twice(zstd(b"abc")), Encoding::Zstd, 100, Ok(6));
    }

    #[test]
    fn bombs_cost_no_more_than_the_cap() {
        let bomb = vec![0; 64 << 20];
        let too_large = Err(Code::ResourceExhausted);
        check(gzip(&bomb), Encoding::Gzip, 1 << 20, too_large);
        check(zstd(&bomb), Encoding::Zstd, 1 << 20, too_large);
    }

    #[test]
    fn what_is_not_packed_as_it_says_can_not_be_decoded() {
        let malformed = Err(Code::InvalidArgument);
        check(b"not packed".to_vec(), Encoding::Gzip, 100, malformed);
        check(b"not packed".to_vec(), Encoding::Zstd, 100, malformed);
        let mut cut = gzip(&[7; 1000]);
        cut.truncate(20);
        check(cut, Encoding::Gzip, 2000, malformed);
    }
}
