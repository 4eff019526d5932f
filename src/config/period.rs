//! Lengths of time, written as the OpenTelemetry Collector (Go) writes them: `1m30s`, `200ms`, `0`.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::de::{self, Deserialize, Deserializer};
use serde::{Serialize, Serializer};

/// A length of time in a config: `1m30s`, `1.5h`, `200ms`, `0`. Never negative.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Period(Duration);

/// The units and their nanoseconds, longest first so that showing a period can walk them.
const UNITS: [(&str, u64); 8] = [
    ("h", 3_600_000_000_000),
    ("m", 60_000_000_000),
    ("s", 1_000_000_000),
    ("ms", 1_000_000),
    ("us", 1_000),
    ("µs", 1_000),
    ("μs", 1_000),
    ("ns", 1),
];

impl Period {
    /// No time at all, which many keys read as "never" or "without limit".
    pub const ZERO: Self = Self(Duration::ZERO);

    /// So many seconds.
    pub const fn from_secs(seconds: u64) -> Self {
        Self(Duration::from_secs(seconds))
    }

    /// So many milliseconds.
    pub const fn from_millis(millis: u64) -> Self {
        Self(Duration::from_millis(millis))
    }

    /// The same as the standard library's type.
    pub const fn duration(self) -> Duration {
        self.0
    }

    /// Whether it is no time at all.
    pub const fn is_zero(self) -> bool {
        self.0.is_zero()
    }
}

impl From<Duration> for Period {
    fn from(duration: Duration) -> Self {
        Self(duration)
    }
}

impl From<Period> for Duration {
    fn from(period: Period) -> Self {
        period.0
    }
}

impl FromStr for Period {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let bad = || format!("`{text}` is not a length of time; write one as 30s, 1m30s or 200ms");
        let mut rest = text.trim();
        if rest.starts_with('-') {
            return Err(format!("`{text}` is negative; a length of time is not"));
        }
        rest = rest.strip_prefix('+').unwrap_or(rest);
        if rest == "0" {
            return Ok(Self::ZERO);
        }
        if rest.is_empty() {
            return Err(bad());
        }
        let mut total = Duration::ZERO;
        while !rest.is_empty() {
            let digits = rest
                .find(|c: char| !c.is_ascii_digit() && c != '.')
                .ok_or_else(|| {
                    format!("`{text}` has no unit; write {rest}s, {rest}ms or {rest}m")
                })?;
            let (number, after) = rest.split_at(digits);
            let letters = after
                .find(|c: char| c.is_ascii_digit() || c == '.')
                .unwrap_or(after.len());
            let (unit, after) = after.split_at(letters);
            let nanos = UNITS
                .iter()
                .find(|(name, _)| *name == unit)
                .ok_or_else(|| {
                    format!("`{text}` has the unknown unit `{unit}`; the units are h, m, s, ms, us and ns")
                })?
                .1;
            let part = amount(number, nanos).ok_or_else(bad)?;
            total = total
                .checked_add(part)
                .ok_or_else(|| format!("`{text}` is too long"))?;
            rest = after;
        }
        Ok(Self(total))
    }
}

/// `1.5` of a unit of so many nanoseconds; none where the number is not one or is too large.
fn amount(number: &str, unit: u64) -> Option<Duration> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if whole.is_empty() && fraction.is_empty() {
        return None;
    }
    let whole: u64 = if whole.is_empty() {
        0
    } else {
        whole.parse().ok()?
    };
    let mut nanos = whole.checked_mul(unit)?;
    let mut scale = unit;
    for digit in fraction.chars() {
        scale /= 10;
        nanos = nanos.checked_add(u64::from(digit.to_digit(10)?).checked_mul(scale)?)?;
    }
    Some(Duration::from_nanos(nanos))
}

impl fmt::Display for Period {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut left = self.0.as_nanos();
        if left == 0 {
            return f.write_str("0s");
        }
        for (name, nanos) in UNITS.iter().filter(|(name, _)| name.is_ascii()) {
            let whole = left / u128::from(*nanos);
            left %= u128::from(*nanos);
            if whole > 0 {
                write!(f, "{whole}{name}")?;
            }
        }
        Ok(())
    }
}

impl<'de> Deserialize<'de> for Period {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl de::Visitor<'_> for Visitor {
            type Value = Period;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a length of time such as 30s, 1m30s or 200ms")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Period, E> {
                text.parse().map_err(E::custom)
            }

            fn visit_u64<E: de::Error>(self, number: u64) -> Result<Period, E> {
                number.to_string().parse().map_err(E::custom)
            }

            fn visit_i64<E: de::Error>(self, number: i64) -> Result<Period, E> {
                number.to_string().parse().map_err(E::custom)
            }
        }
        deserializer.deserialize_str(Visitor)
    }
}

impl Serialize for Period {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: &str) {
        let read = text.parse::<Period>();
        assert_eq!(
            read.map_or_else(|fault| fault, |period| period.to_string()),
            expected
        );
    }

    #[test]
    fn a_period_is_read_as_go_reads_it() {
        check("0", "0s");
        check("0s", "0s");
        check("200ms", "200ms");
        check("90s", "1m30s");
        check("1m30s", "1m30s");
        check("1.5h", "1h30m");
        check(".5s", "500ms");
        check("5µs", "5us");
    }

    #[test]
    fn what_is_not_a_period_is_told_what_would_be_one() {
        check("30", "`30` has no unit; write 30s, 30ms or 30m");
        check(
            "",
            "`` is not a length of time; write one as 30s, 1m30s or 200ms",
        );
        check(
            "1.2.3s",
            "`1.2.3s` is not a length of time; write one as 30s, 1m30s or 200ms",
        );
        check("-5s", "`-5s` is negative; a length of time is not");
        check(
            "3 days",
            "`3 days` has the unknown unit ` days`; the units are h, m, s, ms, us and ns",
        );
        check(
            "99999999999h",
            "`99999999999h` is not a length of time; write one as 30s, 1m30s or 200ms",
        );
    }
}
