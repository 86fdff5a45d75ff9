//! What tells one certificate from all others.

use std::fmt;
use std::str::FromStr;

use ring::digest::{SHA256, digest};

use super::TlsError;

/// The SHA-256 of a certificate (of its DER form), by which it is pinned or denied.
///
/// Its text is `sha256:` and 64 hexadecimal digits. Parsing takes that, and also what
/// `openssl x509 -fingerprint -sha256` prints: digits in pairs with colons between, without the prefix.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Fingerprint([u8; 32]);

impl Fingerprint {
    /// That of a certificate in its DER form.
    #[must_use]
    pub fn of(der: &[u8]) -> Self {
        let mut bytes = [0; 32];
        bytes.copy_from_slice(digest(&SHA256, der).as_ref());
        Fingerprint(bytes)
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("sha256:")?;
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Fingerprint {
    type Err = TlsError;

    fn from_str(text: &str) -> Result<Self, TlsError> {
        let bad = || TlsError::BadFingerprint(text.chars().take(200).collect());
        let digits = text.trim();
        let digits = digits.strip_prefix("sha256:").unwrap_or(digits);
        let digits: Vec<u8> = digits
            .bytes()
            .filter(|byte| *byte != b':')
            .map(|byte| {
                char::from(byte)
                    .to_digit(16)
                    .and_then(|digit| u8::try_from(digit).ok())
            })
            .collect::<Option<_>>()
            .ok_or_else(bad)?;
        let (pairs, rest) = digits.as_chunks::<2>();
        let mut bytes = [0; 32];
        if pairs.len() != bytes.len() || !rest.is_empty() {
            return Err(bad());
        }
        for (byte, [high, low]) in bytes.iter_mut().zip(pairs) {
            *byte = high << 4 | low;
        }
        Ok(Fingerprint(bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn its_text_is_read_back_also_as_openssl_prints_it() {
        let print = Fingerprint::of(b"abc");
        let text = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(print.to_string(), format!("sha256:{text}"));
        assert_eq!(print.to_string().parse(), Ok(print));
        let pairs: Vec<String> = text
            .as_bytes()
            .chunks(2)
            .map(|pair| String::from_utf8_lossy(pair).to_uppercase())
            .collect();
        assert_eq!(pairs.join(":").parse(), Ok(print));
    }

    #[test]
    fn what_is_no_fingerprint_is_told() {
        for text in [
            "",
            "sha256:",
            "ab",
            &"0".repeat(63),
            &"0".repeat(66),
            &"g".repeat(64),
        ] {
            let parsed: Result<Fingerprint, TlsError> = text.parse();
            assert_eq!(parsed, Err(TlsError::BadFingerprint(text.to_owned())));
        }
    }
}
