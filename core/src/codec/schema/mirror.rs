//! Whether a value is written with the fields that its type reads, in that order.
//!
//! A type can write other fields than it reads (`skip_serializing` here, `skip_deserializing` there). With names
//! nobody minds; by position one would be taken for the other, and if they are of one type nothing would show.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, de};

use super::graph::{Content, Graph, Kind, Part, Parts};

/// Walks through a value that was written with names, beside the graph of its type.
#[derive(Clone, Copy)]
pub(super) struct Mirror<'g> {
    pub(super) graph: &'g Graph,
    pub(super) part: Part,
}

impl<'g> Mirror<'g> {
    fn of(self, part: Part) -> Self {
        Mirror { part, ..self }
    }

    /// The kind of what is here, and the parts it has as that variant.
    fn here(self, variant: usize) -> Option<(Kind, Option<&'g Parts>)> {
        match self.part {
            Part::Leaf(_) => None,
            Part::Node(at) => Some((self.graph.kind(at)?, self.graph.parts(at, variant))),
        }
    }

    fn fields<'de, A: MapAccess<'de>>(
        self,
        fields: &[&str],
        parts: &[Part],
        mut map: A,
    ) -> Result<(), A::Error> {
        let mut fields = fields.iter();
        for part in parts {
            let other = || A::Error::custom("a struct is written with other fields than it reads");
            let name = map.next_key::<String>()?.ok_or_else(other)?;
            fields.find(|field| **field == name).ok_or_else(other)?;
            map.next_value_seed(self.of(*part))?;
        }
        match map.next_key::<String>()? {
            None => Ok(()),
            Some(name) => Err(A::Error::unknown_field(&name, &[])),
        }
    }
}

impl<'de> DeserializeSeed<'de> for Mirror<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<(), D::Error> {
        match self.here(0) {
            None => IgnoredAny::deserialize(from).map(drop),
            Some((Kind::Option, _)) => from.deserialize_option(self),
            Some(_) => from.deserialize_any(self),
        }
    }
}

impl<'de> Visitor<'de> for Mirror<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("what the type reads")
    }

    fn visit_none<E: Error>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_unit<E: Error>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_some<D: Deserializer<'de>>(self, from: D) -> Result<(), D::Error> {
        match self.here(0) {
            Some((_, Some(Parts { parts, .. }))) if parts.len() == 1 => {
                self.of(parts[0]).deserialize(from)
            }
            _ => Err(D::Error::custom("an option has one value")),
        }
    }

    /// A variant without content.
    fn visit_str<E: Error>(self, _: &str) -> Result<(), E> {
        match self.here(0) {
            Some((Kind::Enum(_), _)) => Ok(()),
            _ => Err(E::invalid_type(de::Unexpected::Other("text"), &self)),
        }
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        match self.here(0) {
            Some((Kind::List, parts)) => {
                let part = parts.and_then(|parts| parts.parts.first());
                while let Some(part) = part
                    && seq.next_element_seed(self.of(*part))?.is_some()
                {}
                Ok(())
            }
            Some((Kind::Tuple(_), Some(parts))) => tuple(self, parts, seq),
            _ => Err(A::Error::invalid_type(de::Unexpected::Seq, &self)),
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        match self.here(0) {
            Some((Kind::Struct(fields), Some(parts))) => self.fields(fields, &parts.parts, map),
            Some((Kind::Map, parts)) => {
                let parts = parts.map_or(&[][..], |parts| &parts.parts);
                while let [key, value] = parts
                    && map.next_key_seed(self.of(*key))?.is_some()
                {
                    map.next_value_seed(self.of(*value))?;
                }
                Ok(())
            }
            Some((Kind::Enum(variants), _)) => {
                let name = map.next_key::<String>()?;
                let known = name.and_then(|name| variants.iter().position(|known| *known == name));
                let parts = known.and_then(|variant| self.here(variant)?.1);
                let parts = parts.ok_or_else(|| A::Error::custom("a variant that isn't read"))?;
                map.next_value_seed(Variant(self, parts))
            }
            _ => Err(A::Error::invalid_type(de::Unexpected::Map, &self)),
        }
    }
}

fn tuple<'de, A: SeqAccess<'de>>(
    mirror: Mirror<'_>,
    parts: &Parts,
    mut seq: A,
) -> Result<(), A::Error> {
    for part in &parts.parts {
        seq.next_element_seed(mirror.of(*part))?;
    }
    Ok(())
}

/// What a variant has beside its name.
struct Variant<'g>(Mirror<'g>, &'g Parts);

impl<'de> DeserializeSeed<'de> for Variant<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<(), D::Error> {
        match (self.1.content, &self.1.parts[..]) {
            (Some(Content::Value), [part]) => self.0.of(*part).deserialize(from),
            _ => from.deserialize_any(self),
        }
    }
}

impl<'de> Visitor<'de> for Variant<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("what the variant reads")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<(), A::Error> {
        tuple(self.0, self.1, seq)
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<(), A::Error> {
        match self.1.content {
            Some(Content::Struct(fields)) => self.0.fields(fields, &self.1.parts, map),
            _ => Err(A::Error::invalid_type(de::Unexpected::Map, &self)),
        }
    }
}
