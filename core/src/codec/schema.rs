//! The shape of a type, as a number that two builds can compare.

mod graph;
mod mirror;
#[cfg(test)]
mod tests;
mod tracer;

use std::any::TypeId;
use std::collections::BTreeMap;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};

use parking_lot::RwLock;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{Shape, decode, encode, encode_into, is_raw};
use tracer::{Tracer, Unknown};

/// The shape of a type in 64 bits: equal for two types if, and but for chance only if, a value of one that was
/// [written by position](Shape::Positional) is read as the same value of the other.
///
/// Part of it are the kinds of all values inside (numbers by width, texts, bytes, options, lists, maps, tuples),
/// the names and the order of fields, and those of variants, aliases included. Not part of it are the names of
/// types, how a newtype is called around its value, attributes like `default` that change no place, and anything of
/// compiler, platform or run. Made by [`schema`].
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Schema(u64);

impl Schema {
    /// That of bytes which travel as they are, without MessagePack.
    pub const RAW: Schema = Schema(1);

    /// The number, to be told to a peer. Never 0.
    #[must_use]
    pub fn as_u64(self) -> u64 {
        self.0
    }

    /// What a peer told; `None` for 0, which stands for an unknown schema.
    #[must_use]
    pub fn from_u64(number: u64) -> Option<Self> {
        (number != 0).then_some(Schema(number))
    }
}

impl fmt::Debug for Schema {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Schema({:016x})", self.0)
    }
}

/// The schema of a type; `None` if it can't be known, and its values are to be [written by
/// names](Shape::Named) (G37).
///
/// It is found by having the type's `Deserialize` read made-up values, each variant of each enum among them, and
/// noting what it asks for; then each is written by position, read again and compared. So it needs nothing from
/// who writes the type. It can't be known of types that
///
/// - ask what comes, not for what they want (`untagged`, `tag`, `flatten`), or read fields only by their names;
/// - refuse made-up values (a text that must be an address, a struct that checks its fields);
/// - are read otherwise than written (`skip_serializing` alone in the middle of a struct);
/// - have no end, or are larger than some thousand parts.
///
/// Looked for once per type and process; some microseconds then, a look into a table later. `Deserialize` should
/// do nothing but make a value: what it does is done to made-up values, too. A panic in it is caught.
///
/// ```
/// use callboard_core::codec;
/// use serde::{Deserialize, Serialize};
///
/// #[derive(Serialize, Deserialize)]
/// struct Old {
///     cents: u64,
/// }
/// mod later {
///     #[derive(serde::Serialize, serde::Deserialize)]
///     pub struct Old {
///         cents: u64,
///         note: Option<String>,
///     }
/// }
/// assert!(codec::schema::<Old>().is_some());
/// assert_ne!(codec::schema::<Old>(), codec::schema::<later::Old>());
/// ```
#[must_use]
pub fn schema<T: Serialize + DeserializeOwned + 'static>() -> Option<Schema> {
    // A pure function of the type: who asks first changes nothing.
    static KNOWN: RwLock<BTreeMap<TypeId, Option<Schema>>> = RwLock::new(BTreeMap::new());
    if is_raw::<T>() {
        return Some(Schema::RAW);
    }
    let id = TypeId::of::<T>();
    if let Some(known) = KNOWN.read().get(&id) {
        return *known;
    }
    // Outside the lock: it runs code of the type.
    let found = find::<T>();
    KNOWN.write().insert(id, found);
    found
}

fn find<T: Serialize + DeserializeOwned>() -> Option<Schema> {
    // `Deserialize` and `Drop` are the user's, and know nothing of what made-up values are for.
    let traced = catch_unwind(AssertUnwindSafe(trace::<T>)).ok()?;
    traced.ok().map(|hash| Schema(hash.max(Schema::RAW.0 + 1)))
}

fn trace<T: Serialize + DeserializeOwned>() -> Result<u64, Unknown> {
    let mut tracer = Tracer::default();
    while let Some(value) = tracer.next_value::<T>()? {
        check(&tracer, &value).ok_or(Unknown)?;
    }
    Ok(tracer.hash())
}

/// Whether a value that was written by position is read as what was written.
fn check<T: Serialize + DeserializeOwned>(tracer: &Tracer, value: &T) -> Option<()> {
    let mut bytes = Vec::new();
    let shape = encode_into(value, &mut bytes, Shape::Positional).ok()?;
    let again = decode::<T>(&bytes).ok()?;
    let named = encode(value).ok()?;
    // One that leaves a field out is written with names whatever was asked.
    let is_mirrored = shape == Shape::Named || tracer.is_mirrored(&named);
    (is_mirrored && encode(&again).ok()? == named).then_some(())
}
