//! What makes two messages the same, where nobody says so by a key: one canonical form of every value.
//!
//! # The canonical form
//!
//! A value is a tag byte and what the tag says, so no value is the beginning of another, and no two different
//! messages become equal by where one field ends and the next begins. Version 1 of the form, held by a test:
//!
//! | Value | Bytes |
//! |---|---|
//! | integer from 0, of any width | `20 + n`, then its `n` bytes, highest first, without leading zeros |
//! | negative integer, of any width | `40 + n`, then its absolute value alike |
//! | `false`, `true` | `01`, `02` |
//! | `None`, `Some` | `03`; `04` and the value |
//! | `f32`, `f64` | `05`, the 8 bytes of the `f64`, highest first; `-0.0` as `0.0`, each NaN as `7ff8000000000000` |
//! | `char` | `06` and 4 bytes |
//! | text, bytes | `07` or `08`, the length as an integer, the bytes |
//! | list, tuple | `09` or `0c`, the items, `00` |
//! | set, map | `0a` or `0b`, the items, or each key and its value, in the order of these bytes, `00` |
//! | struct | `0d`, name (text), version (integer), each field's name (text) and value, `00` |
//! | variant of an enum | `0e`, name, version, the variant's name (text), fields like those of a struct, `00` |
//! | `Duration` | `0f`, its nanoseconds as an integer |
//! | `Uuid` | `10` and 16 bytes |

mod values;

#[cfg(test)]
mod tests;

use std::fmt;
use std::hash::Hasher;

/// A value with a canonical form, so that two that are equal are seen to be equal, whoever built them and however
/// they lie in memory. Derived: `#[derive(Fingerprint)]`.
///
/// Deduplication without keys rests on it: a message without a key is taken for the same request as an earlier one
/// whose canonical form has the same hash. So leave out what differs from one attempt to the next, and keep what
/// tells one request from another:
///
/// ```
/// # extern crate callboard_core as callboard;
/// use callboard_core::Fingerprint;
/// use std::time::Duration;
///
/// #[derive(Fingerprint)]
/// struct Pay {
///     to: String,
///     cents: u64,
///     #[fingerprint(skip)]
///     sent_at: Duration,
/// }
///
/// let pay = |cents, at| Pay { to: "John".to_owned(), cents, sent_at: Duration::from_secs(at) };
/// assert_eq!(pay(100, 1).canonical_form(), pay(100, 2).canonical_form());
/// assert_ne!(pay(100, 1).canonical_form(), pay(101, 1).canonical_form());
/// ```
///
/// # What is the same
/// - A struct is its name, its version and its fields by name: their order in the source says nothing, their names
///   do. The name is that of `#[message(name = "...", version = N)]`, or else the Rust type's, and the version 1.
/// - An integer is its value: a `u32` that becomes a `u64` stays the same. `-0.0` is `0.0`, and every NaN is the same.
/// - Maps and sets of any kind are the same in any order; lists are not.
/// - `Box`, `Rc`, `Arc`, `Cow` and references are what they hold. Text is its bytes, nothing is normalised: an e with
///   an accent and an e followed by an accent are two texts, although they look alike.
/// - Points in time have no canonical form, so that the compiler asks what to do with them: mostly to leave them out.
///
/// # The derive's options
/// | Option | On | Says |
/// |---|---|---|
/// | `skip` | a field | it is left out: timestamps, trace ids, the number of the attempt, tokens |
/// | `skip_default` | a field | it is left out while it equals its type's `Default`: for a field that is added later |
/// | `with = path` | a field | `path(&value, fingerprinter)` writes it: for types of other crates |
/// | `name = "..."` | a field or variant | it is known by this name: renaming it in Rust changes nothing |
/// | `name = "..."`, `version = N` | a type | in place of those of `#[message(..)]` |
///
/// # By hand
/// Write exactly one value, and fields in one fixed order; the derive's is that of their names' bytes.
///
/// ```
/// use callboard_core::{Fingerprint, Fingerprinter};
///
/// struct Money { cents: i64, currency: [u8; 3] }
///
/// impl Fingerprint for Money {
///     fn fingerprint(&self, to: &mut Fingerprinter<'_>) {
///         to.record("money", 1).field("cents", &self.cents).field("currency", &self.currency);
///     }
/// }
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` has no fingerprint",
    label = "no canonical form is known of this type",
    note = "derive it: `#[derive(Fingerprint)]`; where it is a field: leave it out with `#[fingerprint(skip)]` \
            (a timestamp, say), or write it with a function of yours: `#[fingerprint(with = path)]`"
)]
pub trait Fingerprint {
    /// Writes the value, as exactly one value.
    fn fingerprint(&self, to: &mut Fingerprinter<'_>);

    /// Hashes the canonical form, in pieces that say nothing. Whether others can make two values look alike is up to
    /// the hasher: use one with a secret key and 128 bits.
    fn fingerprint_into(&self, hasher: &mut dyn Hasher) {
        let mut to = Fingerprinter::new(hasher);
        self.fingerprint(&mut to);
        to.flush();
    }

    /// The canonical form as bytes: to see why two values are not the same.
    fn canonical_form(&self) -> Vec<u8> {
        let mut bytes = Bytes(Vec::new());
        self.fingerprint_into(&mut bytes);
        bytes.0
    }

    /// Writes a list that lies in memory as up to two slices. For `u8`, which is written as bytes.
    #[doc(hidden)]
    fn fingerprint_list(parts: [&[Self]; 2], to: &mut Fingerprinter<'_>)
    where
        Self: Sized,
    {
        to.list(parts.into_iter().flatten());
    }
}

mod tag {
    pub(super) const END: u8 = 0x00;
    pub(super) const FALSE: u8 = 0x01;
    pub(super) const TRUE: u8 = 0x02;
    pub(super) const NONE: u8 = 0x03;
    pub(super) const SOME: u8 = 0x04;
    pub(super) const FLOAT: u8 = 0x05;
    pub(super) const CHAR: u8 = 0x06;
    pub(super) const TEXT: u8 = 0x07;
    pub(super) const BYTES: u8 = 0x08;
    pub(super) const LIST: u8 = 0x09;
    pub(super) const SET: u8 = 0x0a;
    pub(super) const MAP: u8 = 0x0b;
    pub(super) const TUPLE: u8 = 0x0c;
    pub(super) const RECORD: u8 = 0x0d;
    pub(super) const VARIANT: u8 = 0x0e;
    pub(super) const DURATION: u8 = 0x0f;
    pub(super) const UUID: u8 = 0x10;
    /// And how many bytes follow.
    pub(super) const NATURAL: u8 = 0x20;
    pub(super) const NEGATIVE: u8 = 0x40;
}

/// The only NaN there is.
const NAN: u64 = 0x7ff8_0000_0000_0000;

/// Writes the canonical form of a value into a hasher. Made by [`Fingerprint::fingerprint_into`].
pub struct Fingerprinter<'a> {
    hasher: &'a mut dyn Hasher,
    /// What the hasher hasn't got yet: most values are a few bytes, and a call for each costs more than its hash.
    buffer: [u8; 128],
    filled: usize,
    /// How many bytes the hasher has got.
    passed_on: usize,
}

impl<'a> Fingerprinter<'a> {
    fn new(hasher: &'a mut dyn Hasher) -> Self {
        Fingerprinter {
            hasher,
            buffer: [0; 128],
            filled: 0,
            passed_on: 0,
        }
    }

    /// An integer.
    #[inline]
    pub fn unsigned(&mut self, value: u128) {
        self.integer(tag::NATURAL, value);
    }

    /// An integer that may be negative. One that isn't is the same as a [`unsigned`](Fingerprinter::unsigned) one.
    #[inline]
    pub fn signed(&mut self, value: i128) {
        let sign = if value < 0 {
            tag::NEGATIVE
        } else {
            tag::NATURAL
        };
        self.integer(sign, value.unsigned_abs());
    }

    /// A floating-point number.
    pub fn float(&mut self, value: f64) {
        // The sum makes 0.0 of -0.0 and leaves the rest as it is.
        let bits = if value.is_nan() {
            NAN
        } else {
            (value + 0.0).to_bits()
        };
        self.tag(tag::FLOAT);
        self.raw(&bits.to_be_bytes());
    }

    /// A text, as it is: nothing is normalised.
    #[inline]
    pub fn text(&mut self, text: &str) {
        self.tag(tag::TEXT);
        self.unsigned(text.len() as u128);
        self.raw(text.as_bytes());
    }

    /// Bytes.
    pub fn bytes(&mut self, bytes: &[u8]) {
        self.chunks([bytes, &[]]);
    }

    /// A list: in its order.
    pub fn list<T: Fingerprint>(&mut self, items: impl IntoIterator<Item = T>) {
        self.tag(tag::LIST);
        for item in items {
            item.fingerprint(self);
        }
        self.tag(tag::END);
    }

    /// A set: in no order.
    pub fn set<T: Fingerprint>(&mut self, items: impl IntoIterator<Item = T>) {
        self.sorted(tag::SET, items, |item, to| item.fingerprint(to));
    }

    /// A map: in no order.
    pub fn map<K: Fingerprint, V: Fingerprint>(
        &mut self,
        entries: impl IntoIterator<Item = (K, V)>,
    ) {
        self.sorted(tag::MAP, entries, |(key, value), to| {
            key.fingerprint(to);
            value.fingerprint(to);
        });
    }

    /// A struct, by a name that is its own and a version that grows when its fields change their meaning. It ends
    /// where the [`FingerprintFields`] are dropped.
    #[inline]
    pub fn record(&mut self, name: &str, version: u32) -> FingerprintFields<'_, 'a> {
        self.tag(tag::RECORD);
        self.text(name);
        self.unsigned(version.into());
        FingerprintFields(self)
    }

    /// A variant of an enum, by the names of both. It ends where the [`FingerprintFields`] are dropped.
    #[inline]
    pub fn variant(
        &mut self,
        name: &str,
        version: u32,
        variant: &str,
    ) -> FingerprintFields<'_, 'a> {
        self.tag(tag::VARIANT);
        self.text(name);
        self.unsigned(version.into());
        self.text(variant);
        FingerprintFields(self)
    }

    fn tuple(&mut self, items: impl FnOnce(&mut Self)) {
        self.tag(tag::TUPLE);
        items(self);
        self.tag(tag::END);
    }

    /// Bytes that lie in two places.
    fn chunks(&mut self, [head, tail]: [&[u8]; 2]) {
        self.tag(tag::BYTES);
        self.unsigned(head.len() as u128 + tail.len() as u128);
        self.raw(head);
        self.raw(tail);
    }

    /// Entries in the order of what they are written as. None is the beginning of another, so that of map entries
    /// is the order of their keys.
    fn sorted<T>(
        &mut self,
        kind: u8,
        entries: impl IntoIterator<Item = T>,
        write: impl Fn(T, &mut Fingerprinter<'_>),
    ) {
        let mut bytes = Bytes(Vec::new());
        let mut ends = Vec::new();
        let mut to = Fingerprinter::new(&mut bytes);
        for entry in entries {
            write(entry, &mut to);
            ends.push(to.passed_on + to.filled);
        }
        to.flush();
        let starts = std::iter::once(0).chain(ends.iter().copied());
        let ranges = starts.zip(&ends).map(|(start, end)| start..*end);
        let mut written: Vec<&[u8]> = ranges.filter_map(|range| bytes.0.get(range)).collect();
        written.sort_unstable();
        self.tag(kind);
        for entry in written {
            self.raw(entry);
        }
        self.tag(tag::END);
    }

    #[inline]
    fn integer(&mut self, sign: u8, value: u128) {
        if let Ok(short) = u64::try_from(value)
            && let Some(room) = self.buffer.get_mut(self.filled..self.filled + 9)
        {
            // All 8 are written, the leading zeros last, where what comes next replaces them.
            let zeros = short.leading_zeros() / 8;
            let digits = short.checked_shl(zeros * 8).unwrap_or(0);
            room[0] = sign + 8 - zeros as u8;
            room[1..].copy_from_slice(&digits.to_be_bytes());
            self.filled += 9 - zeros as usize;
        } else {
            self.long_integer(sign, value);
        }
    }

    #[cold]
    fn long_integer(&mut self, sign: u8, value: u128) {
        let zeros = value.leading_zeros() / 8;
        self.tag(sign + 16 - zeros as u8);
        self.raw(&value.to_be_bytes()[zeros as usize..]);
    }

    #[inline]
    fn tag(&mut self, tag: u8) {
        self.raw(&[tag]);
    }

    #[inline]
    fn raw(&mut self, bytes: &[u8]) {
        if let Some(room) = self.buffer.get_mut(self.filled..self.filled + bytes.len()) {
            room.copy_from_slice(bytes);
            self.filled += bytes.len();
        } else {
            self.past_buffer(bytes);
        }
    }

    #[cold]
    fn past_buffer(&mut self, bytes: &[u8]) {
        self.flush();
        if let Some(room) = self.buffer.get_mut(..bytes.len()) {
            room.copy_from_slice(bytes);
            self.filled = bytes.len();
        } else {
            self.hasher.write(bytes);
            self.passed_on += bytes.len();
        }
    }

    fn flush(&mut self) {
        if self.filled > 0 {
            self.hasher.write(&self.buffer[..self.filled]);
            self.passed_on += self.filled;
            self.filled = 0;
        }
    }
}

impl fmt::Debug for Fingerprinter<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fingerprinter")
            .field("bytes", &(self.passed_on + self.filled))
            .finish_non_exhaustive()
    }
}

/// The fields of a struct or variant that is being written. Made by [`Fingerprinter::record`] and
/// [`Fingerprinter::variant`]; dropping it ends the value.
#[derive(Debug)]
pub struct FingerprintFields<'f, 'a>(&'f mut Fingerprinter<'a>);

impl FingerprintFields<'_, '_> {
    /// A field with its name.
    #[inline]
    pub fn field(&mut self, name: &str, value: &(impl Fingerprint + ?Sized)) -> &mut Self {
        self.field_with(name, |to| value.fingerprint(to))
    }

    /// A field that a function writes, as exactly one value.
    #[inline]
    pub fn field_with(
        &mut self,
        name: &str,
        write: impl FnOnce(&mut Fingerprinter<'_>),
    ) -> &mut Self {
        self.0.text(name);
        write(self.0);
        self
    }
}

impl Drop for FingerprintFields<'_, '_> {
    fn drop(&mut self) {
        self.0.tag(tag::END);
    }
}

/// Keeps what is written, in place of a hash of it.
struct Bytes(Vec<u8>);

impl Hasher for Bytes {
    fn write(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }

    fn finish(&self) -> u64 {
        0
    }
}
