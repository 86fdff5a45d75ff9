//! Settings that can be off. In a file `false` says so, since a key that is left out has its default, which may be on;
//! `true` is on with the defaults.

use std::fmt;
use std::marker::PhantomData;

use serde::de::value::MapAccessDeserializer;
use serde::de::{Error, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

// Of the form that serde wants.
#[allow(clippy::ref_option)]
pub(crate) fn serialize<T: Serialize, S: Serializer>(
    group: &Option<T>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    match group {
        Some(group) => group.serialize(serializer),
        None => serializer.serialize_bool(false),
    }
}

pub(crate) fn deserialize<'de, T, D>(deserializer: D) -> Result<Option<T>, D::Error>
where
    T: Default + Deserialize<'de>,
    D: Deserializer<'de>,
{
    deserializer.deserialize_any(Group(PhantomData))
}

struct Group<T>(PhantomData<T>);

impl<'de, T: Default + Deserialize<'de>> Visitor<'de> for Group<T> {
    type Value = Option<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a table, `true` or `false`")
    }

    fn visit_bool<E: Error>(self, on: bool) -> Result<Option<T>, E> {
        Ok(on.then(T::default))
    }

    fn visit_unit<E: Error>(self) -> Result<Option<T>, E> {
        Ok(None)
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Option<T>, A::Error> {
        T::deserialize(MapAccessDeserializer::new(map)).map(Some)
    }
}

/// The same for a number, which has no default to be switched on with.
pub(crate) mod number {
    use super::{Deserializer, Error, Serializer, Visitor, fmt};

    // Of the form that serde wants.
    #[allow(clippy::ref_option)]
    pub(crate) fn serialize<S: Serializer>(
        number: &Option<f64>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        match number {
            Some(number) => serializer.serialize_f64(*number),
            None => serializer.serialize_bool(false),
        }
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<f64>, D::Error> {
        deserializer.deserialize_any(Number)
    }

    struct Number;

    impl Visitor<'_> for Number {
        type Value = Option<f64>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a number or `false`")
        }

        fn visit_bool<E: Error>(self, on: bool) -> Result<Option<f64>, E> {
            if on {
                return Err(E::invalid_value(serde::de::Unexpected::Bool(on), &self));
            }
            Ok(None)
        }

        fn visit_unit<E: Error>(self) -> Result<Option<f64>, E> {
            Ok(None)
        }

        fn visit_f64<E: Error>(self, number: f64) -> Result<Option<f64>, E> {
            Ok(Some(number))
        }

        // Whole numbers beyond 2^53 make no sense in any setting, and are refused for that.
        #[allow(clippy::cast_precision_loss)]
        fn visit_i64<E: Error>(self, number: i64) -> Result<Option<f64>, E> {
            Ok(Some(number as f64))
        }

        #[allow(clippy::cast_precision_loss)]
        fn visit_u64<E: Error>(self, number: u64) -> Result<Option<f64>, E> {
            Ok(Some(number as f64))
        }
    }
}
