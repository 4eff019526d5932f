//! Ids of other formats as OTLP's 16 and 8 bytes.

use opentelemetry_proto::tonic::trace::v1::Span;

/// A trace id. Up to 32 hexadecimal digits are the id itself, zeros before them (older tools leave
/// them out); any other text is hashed, the same text to the same id for ever. Nothing for no id:
/// an empty text, or zeros.
pub(super) fn trace_id(text: &str) -> Option<[u8; 16]> {
    let text = text.trim();
    let number = match u128::from_str_radix(text, 16) {
        Ok(number) if is_hex(text, 32) => number,
        _ if text.is_empty() => 0,
        _ => hash(text),
    };
    (number != 0).then(|| number.to_be_bytes())
}

/// A span id, of up to 16 digits; otherwise as [`trace_id`].
pub(super) fn span_id(text: &str) -> Option<[u8; 8]> {
    let text = text.trim();
    let number = match u64::from_str_radix(text, 16) {
        Ok(number) if is_hex(text, 16) => number,
        _ if text.is_empty() => 0,
        _ => {
            let whole = hash(text);
            (whole >> 64) as u64 ^ whole as u64
        }
    };
    (number != 0).then(|| number.to_be_bytes())
}

/// A parent's id: none for the words that stand for "no parent" (nothing, zero, `root`, `null`,
/// `nan`, `none`, `-1`), and none where a span names itself.
pub(super) fn parent_id(text: &str, own: [u8; 8]) -> Option<[u8; 8]> {
    let text = text.trim();
    let nobody = ["root", "null", "nan", "none", "-1", "-"];
    if nobody.iter().any(|word| text.eq_ignore_ascii_case(word)) {
        return None;
    }
    span_id(text).filter(|&parent| parent != own)
}

/// The id of the other half of a span whose id is shared.
pub(super) fn half(id: [u8; 8]) -> [u8; 8] {
    let text: String = id.iter().map(|byte| format!("{byte:02x}")).collect();
    span_id(&format!("{text}/server")).unwrap_or(id)
}

/// The trace of a span that was read: every reader gives 16 bytes.
pub(super) fn of(span: &Span) -> [u8; 16] {
    span.trace_id.as_slice().try_into().unwrap_or_default()
}

fn is_hex(text: &str, most: usize) -> bool {
    text.len() <= most && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// FNV-1a of 128 bits: stable for ever, which `std`'s hashers do not promise.
fn hash(text: &str) -> u128 {
    let basis = 0x6c62_272e_07bb_0142_62b8_2175_6295_c58d_u128;
    let prime = 0x0000_0000_0100_0000_0000_0000_0000_013b_u128;
    text.bytes().fold(basis, |hash, byte| {
        (hash ^ u128::from(byte)).wrapping_mul(prime)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    #[test]
    fn hexadecimal_ids_stay_what_they_are_and_others_are_hashed_stably() {
        let check = |text: &str, trace: &str, span: &str| {
            let seen = trace_id(text).map(|id| hex(&id)).unwrap_or_default();
            assert_eq!(seen, trace, "trace {text}");
            let seen = span_id(text).map(|id| hex(&id)).unwrap_or_default();
            assert_eq!(seen, span, "span {text}");
        };
        let whole = "0af7651916cd43dd8448eb211c80319c";
        check(whole, whole, "d470ce062c7e6847");
        check(
            "ABC",
            "00000000000000000000000000000abc",
            "0000000000000abc",
        );
        check("", "", "");
        check("0000000000000000", "", "");
        // FNV-1a of 128 bits, as its authors publish it for "foobar".
        check(
            "foobar",
            "343e1662793c64bf6f0d3597ba446f18",
            "5b3323f5c3780ba7",
        );
    }

    #[test]
    fn a_parent_that_is_a_word_for_none_or_the_span_itself_is_none() {
        let own = span_id("0a").unwrap();
        let check = |text: &str, expected: Option<&str>| {
            assert_eq!(parent_id(text, own).map(|id| hex(&id)).as_deref(), expected);
        };
        for nobody in [
            "", " ", "root", "Root", "0", "nan", "NULL", "-1", "0a", "000A",
        ] {
            check(nobody, None);
        }
        check("0b", Some("000000000000000b"));
    }

    #[test]
    fn a_half_has_an_id_of_its_own_and_always_the_same() {
        let id = span_id("0a").unwrap();
        assert_ne!(half(id), id);
        assert_eq!(half(id), half(id));
    }
}
