//! The canonical forms of the types that everybody has.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque};
use std::marker::PhantomData;
use std::num::{
    NonZeroI8, NonZeroI16, NonZeroI32, NonZeroI64, NonZeroI128, NonZeroIsize, NonZeroU8,
    NonZeroU16, NonZeroU32, NonZeroU64, NonZeroU128, NonZeroUsize,
};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use uuid::Uuid;

use super::{Fingerprint, Fingerprinter, tag};
use crate::id::RequestKey;

// The compiler is not to list all of these where a type has no fingerprint.
macro_rules! fingerprint {
    ($([$($generics:tt)*] $type:ty: |$value:ident, $to:ident| $write:expr;)*) => {$(
        #[diagnostic::do_not_recommend]
        impl<$($generics)*> Fingerprint for $type {
            fn fingerprint(&self, $to: &mut Fingerprinter<'_>) {
                let $value = self;
                $write;
            }
        }
    )*};
}

macro_rules! unsigned {
    ($($type:ty),*) => { fingerprint! {$([] $type: |value, to| to.unsigned(*value as u128);)*} };
}

macro_rules! signed {
    ($($type:ty),*) => { fingerprint! {$([] $type: |value, to| to.signed(*value as i128);)*} };
}

macro_rules! non_zero {
    ($($type:ty),*) => { fingerprint! {$([] $type: |value, to| value.get().fingerprint(to);)*} };
}

unsigned!(u16, u32, u64, u128, usize);
signed!(i8, i16, i32, i64, i128, isize);
non_zero!(
    NonZeroU8,
    NonZeroU16,
    NonZeroU32,
    NonZeroU64,
    NonZeroU128,
    NonZeroUsize
);
non_zero!(
    NonZeroI8,
    NonZeroI16,
    NonZeroI32,
    NonZeroI64,
    NonZeroI128,
    NonZeroIsize
);

#[diagnostic::do_not_recommend]
impl Fingerprint for u8 {
    fn fingerprint(&self, to: &mut Fingerprinter<'_>) {
        to.unsigned(u128::from(*self));
    }

    fn fingerprint_list(parts: [&[u8]; 2], to: &mut Fingerprinter<'_>) {
        to.chunks(parts);
    }
}

fingerprint! {
    [] bool: |value, to| to.tag(if *value { tag::TRUE } else { tag::FALSE });
    [] f32: |value, to| to.float(f64::from(*value));
    [] f64: |value, to| to.float(*value);
    [] char: |value, to| {
        to.tag(tag::CHAR);
        to.raw(&u32::from(*value).to_be_bytes());
    };
    [] str: |value, to| to.text(value);
    [] String: |value, to| to.text(value);
    [] Duration: |value, to| {
        to.tag(tag::DURATION);
        to.unsigned(value.as_nanos());
    };
    [] Uuid: |value, to| {
        to.tag(tag::UUID);
        to.raw(value.as_bytes());
    };
    [] RequestKey: |value, to| value.as_uuid().fingerprint(to);

    [T: Fingerprint] Option<T>: |value, to| match value {
        None => to.tag(tag::NONE),
        Some(value) => {
            to.tag(tag::SOME);
            value.fingerprint(to);
        }
    };
    [T: Fingerprint, E: Fingerprint] Result<T, E>: |value, to| match value {
        Ok(value) => {
            to.variant("Result", 1, "Ok").field("0", value);
        }
        Err(error) => {
            to.variant("Result", 1, "Err").field("0", error);
        }
    };

    [T: Fingerprint] [T]: |value, to| T::fingerprint_list([value, &[]], to);
    [T: Fingerprint, const N: usize] [T; N]: |value, to| T::fingerprint_list([value, &[]], to);
    [T: Fingerprint] Vec<T>: |value, to| T::fingerprint_list([value, &[]], to);
    [T: Fingerprint] VecDeque<T>: |value, to| {
        let (head, tail) = value.as_slices();
        T::fingerprint_list([head, tail], to);
    };
    [T: Fingerprint] BTreeSet<T>: |value, to| to.set(value);
    [T: Fingerprint, S] HashSet<T, S>: |value, to| to.set(value);
    [K: Fingerprint, V: Fingerprint] BTreeMap<K, V>: |value, to| to.map(value);
    [K: Fingerprint, V: Fingerprint, S] HashMap<K, V, S>: |value, to| to.map(value);

    [T: Fingerprint + ?Sized] &T: |value, to| (**value).fingerprint(to);
    [T: Fingerprint + ?Sized] Box<T>: |value, to| (**value).fingerprint(to);
    [T: Fingerprint + ?Sized] Rc<T>: |value, to| (**value).fingerprint(to);
    [T: Fingerprint + ?Sized] Arc<T>: |value, to| (**value).fingerprint(to);
    [T: Fingerprint + ToOwned + ?Sized] Cow<'_, T>: |value, to| (**value).fingerprint(to);
    [T: ?Sized] PhantomData<T>: |_value, to| to.tuple(|_| {});
    [] (): |_value, to| to.tuple(|_| {});
}

macro_rules! tuples {
    ($($($name:ident)+;)*) => { fingerprint! {$(
        [$($name: Fingerprint),+] ($($name,)+): |value, to| to.tuple(|to| {
            #[expect(non_snake_case, reason = "the values are named after their types")]
            let ($($name,)+) = value;
            $($name.fingerprint(to);)+
        });
    )*} };
}

tuples! {
    A;
    A B;
    A B C;
    A B C D;
    A B C D E;
    A B C D E F;
    A B C D E F G;
    A B C D E F G H;
}
