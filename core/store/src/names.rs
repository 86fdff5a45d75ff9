//! Journals' names as names of directories: any text in, nothing of a path out.

use std::fmt::Write;

use callboard_core::journal::{JournalError, JournalErrorKind};

/// The longest name of a directory that is made. File systems take 255 bytes; some are left for a prefix.
const LONGEST: usize = 240;

/// The name of the directory. Small letters, digits and `_-.` stay, all else becomes `%` and two hexadecimal
/// digits for each byte: also capitals, because there are file systems that don't tell them from small letters,
/// and a dot in front, because those names are the store's own.
pub(crate) fn escape(name: &str) -> Result<String, JournalError> {
    let mut escaped = String::with_capacity(name.len());
    for (at, byte) in name.bytes().enumerate() {
        match byte {
            b'a'..=b'z' | b'0'..=b'9' | b'_' | b'-' => escaped.push(char::from(byte)),
            b'.' if at > 0 => escaped.push('.'),
            // Writing to a string doesn't fail.
            _ => {
                let _ = write!(escaped, "%{byte:02X}");
            }
        }
    }
    if escaped.is_empty() {
        let text = "a journal's name must not be empty";
        return Err(JournalError::new(JournalErrorKind::Invalid, text));
    }
    if escaped.len() > LONGEST {
        let len = escaped.len();
        let text = format!("the journal's name {name:?} takes {len} bytes, more than {LONGEST}");
        return Err(JournalError::new(JournalErrorKind::Invalid, text));
    }
    Ok(escaped)
}

/// The journal's name, if this is the name of a journal's directory.
pub(crate) fn unescape(escaped: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(escaped.len());
    let mut rest = escaped.bytes();
    while let Some(byte) = rest.next() {
        if byte == b'%' {
            let digits = [rest.next()?, rest.next()?];
            let digits = std::str::from_utf8(&digits).ok()?;
            bytes.push(u8::from_str_radix(digits, 16).ok()?);
        } else {
            bytes.push(byte);
        }
    }
    let name = String::from_utf8(bytes).ok()?;
    // Only names that would be written so: nothing else is ours.
    (escape(&name).ok()? == escaped).then_some(name)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn any_name_comes_back_and_leads_nowhere_else(name in "\\PC{1,20}") {
            let escaped = escape(&name).unwrap();
            prop_assert!(!escaped.contains(['/', '\\', '\0']) && !escaped.starts_with('.'));
            prop_assert_eq!(unescape(&escaped), Some(name));
        }
    }

    #[test]
    fn names_of_no_journal_are_none() {
        for escaped in ["", ".lock", ".removed-a", "A", "a%2", "a%2f", "%61", "a b"] {
            assert_eq!(unescape(escaped), None, "{escaped}");
        }
    }

    #[test]
    fn names_that_make_no_directory_are_refused() {
        for name in ["".to_owned(), "x".repeat(241), "/".repeat(81)] {
            let refused = escape(&name).unwrap_err();
            assert_eq!(refused.kind(), JournalErrorKind::Invalid);
        }
    }
}
