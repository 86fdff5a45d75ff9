//! What stands for a payload: 128 bits under a key, so that nobody outside can make two payloads look alike.
//!
//! SipHash-1-3 (Aumasson and Bernstein 2012) with an output of 128 bits; its bytes are the same in every build,
//! so a print can be kept on disk beside its key.

use std::hash::Hasher;

use siphasher::sip128::{Hasher128, SipHasher13};

/// The key of a store's prints.
pub(crate) type PrintKey = [u8; 16];

/// Takes in a payload, and answers its print.
pub(crate) struct Printer(SipHasher13);

impl Printer {
    pub(crate) fn new(key: &PrintKey) -> Self {
        Printer(SipHasher13::new_with_key(key))
    }

    /// Where the payload is to be written, in as many pieces as it likes.
    pub(crate) fn hasher(&mut self) -> &mut dyn Hasher {
        &mut self.0
    }

    pub(crate) fn finish(self) -> u128 {
        self.0.finish128().as_u128()
    }
}

/// The print of bytes.
#[cfg(test)]
pub(crate) fn of_bytes(key: &PrintKey, bytes: &[u8]) -> u128 {
    let mut printer = Printer::new(key);
    printer.hasher().write(bytes);
    printer.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prints_are_the_same_in_every_build_and_differ_by_key() {
        let key: PrintKey = std::array::from_fn(|i| u8::try_from(i).unwrap());
        // A vector of the reference implementation would be of SipHash-2-4; this one is from the first build, so
        // that a later one that prints otherwise is noticed: prints lie on disk.
        let print = of_bytes(&key, b"pay John 100");
        assert_eq!(format!("{print:032x}"), "ba6d9d0ceceba714f2641b5040055b2c");
        assert_ne!(print, of_bytes(&key, b"pay John 101"));
        assert_ne!(print, of_bytes(&[7; 16], b"pay John 100"));
    }
}
