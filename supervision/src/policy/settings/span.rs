//! Spans of time as people write them: `"250ms"`, `"1.5s"`, `"2m"`.

use std::fmt;
use std::time::Duration;

use serde::de::{Error, Unexpected, Visitor};
use serde::{Deserializer, Serializer};

/// The units, with how many nanoseconds each has; longer names first where one ends in another.
const UNITS: [(&str, f64); 7] = [
    ("ns", 1.0),
    ("us", 1e3),
    ("ms", 1e6),
    ("min", 60e9),
    ("s", 1e9),
    ("m", 60e9),
    ("h", 3_600e9),
];

/// Reads a span, or says what it should look like.
pub(crate) fn parse(text: &str) -> Result<Duration, String> {
    let wrong = || {
        format!(
            "`{text}` is no span of time: write a number and ns, us, ms, s, m or h, such as `250ms`"
        )
    };
    let text = text.trim();
    let (number, nanos) = UNITS
        .iter()
        .find_map(|(unit, nanos)| Some((text.strip_suffix(unit)?, nanos)))
        .ok_or_else(wrong)?;
    let number: f64 = number.trim().parse().map_err(|_| wrong())?;
    let span = number * nanos;
    if !span.is_finite() || number < 0.0 {
        return Err(wrong());
    }
    Duration::try_from_secs_f64(span / 1e9).map_err(|_| wrong())
}

/// Writes it so that [`parse`] reads the same.
pub(crate) fn text(span: Duration) -> String {
    let nanos = span.as_nanos();
    for (unit, size) in [
        ("h", 3_600_000_000_000),
        ("m", 60_000_000_000),
        ("s", 1_000_000_000),
        ("ms", 1_000_000),
        ("us", 1_000),
    ] {
        if nanos >= size && nanos.is_multiple_of(size) {
            return format!("{}{unit}", nanos / size);
        }
    }
    if nanos == 0 {
        "0s".to_owned()
    } else {
        format!("{nanos}ns")
    }
}

pub(crate) fn serialize<S: Serializer>(span: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&text(*span))
}

pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Duration, D::Error> {
    deserializer.deserialize_str(Span)
}

struct Span;

impl Visitor<'_> for Span {
    type Value = Duration;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a span of time such as \"250ms\"")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Duration, E> {
        parse(text).map_err(E::custom)
    }
}

/// The same where there may be none, which is `false` in a file.
pub(crate) mod optional {
    use super::{Deserializer, Duration, Error, Serializer, Unexpected, Visitor, fmt};

    // Of the form that serde wants.
    #[allow(clippy::ref_option)]
    pub(crate) fn serialize<S: Serializer>(
        span: &Option<Duration>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        match span {
            Some(span) => super::serialize(span, serializer),
            None => serializer.serialize_none(),
        }
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<Duration>, D::Error> {
        deserializer.deserialize_any(Optional)
    }

    struct Optional;

    impl Visitor<'_> for Optional {
        type Value = Option<Duration>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a span of time such as \"250ms\", or `false`")
        }

        fn visit_str<E: Error>(self, text: &str) -> Result<Option<Duration>, E> {
            super::parse(text).map(Some).map_err(E::custom)
        }

        fn visit_bool<E: Error>(self, on: bool) -> Result<Option<Duration>, E> {
            if on {
                return Err(E::invalid_value(Unexpected::Bool(on), &self));
            }
            Ok(None)
        }

        fn visit_unit<E: Error>(self) -> Result<Option<Duration>, E> {
            Ok(None)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_read_as_people_write_them() {
        let millis = |text| parse(text).map(|span| span.as_micros());
        assert_eq!(millis("250ms"), Ok(250_000));
        assert_eq!(millis(" 1.5 s "), Ok(1_500_000));
        assert_eq!(millis("2m"), Ok(120_000_000));
        assert_eq!(millis("2min"), Ok(120_000_000));
        assert_eq!(millis("1h"), Ok(3_600_000_000));
        assert_eq!(millis("7us"), Ok(7));
        assert_eq!(parse("3ns"), Ok(Duration::from_nanos(3)));
        assert_eq!(millis("0s"), Ok(0));
    }

    #[test]
    fn what_is_no_span_is_named() {
        for text in [
            "",
            "5",
            "ms",
            "-1s",
            "1e400s",
            "NaNs",
            "infs",
            "5 parsecs",
            "1e30h",
        ] {
            let error = parse(text).unwrap_err();
            assert!(error.contains(&format!("`{text}`")), "{error}");
        }
    }

    #[test]
    fn spans_come_back_as_they_were() {
        for nanos in [
            0,
            1,
            999,
            1_000,
            1_500_000,
            50_000_000,
            60_000_000_000,
            90_000_000_000,
        ] {
            let span = Duration::from_nanos(nanos);
            assert_eq!(parse(&text(span)), Ok(span), "{}", text(span));
        }
    }
}
