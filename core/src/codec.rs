//! MessagePack: the one place besides the wire that knows it.
//!
//! Payloads are encoded with field names, so that an optional field can be added without a flag day
//! (G37).

use std::io::{self, Write};

use serde::Serialize;
use serde::de::DeserializeOwned;

/// A value could not be encoded or decoded.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct CodecError(String);

impl CodecError {
    pub(crate) fn new(why: String) -> Self {
        CodecError(why)
    }
}

/// Encodes a value, structs as maps with field names.
///
/// # Errors
/// If the value refuses to be serialised, or has no MessagePack form.
pub fn encode<T: Serialize + ?Sized>(value: &T) -> Result<Vec<u8>, CodecError> {
    rmp_serde::to_vec_named(value).map_err(|error| CodecError(error.to_string()))
}

/// The same for a value that must not take more than `limit` bytes: no more are written.
///
/// # Errors
/// As [`encode`], and if the value is larger.
pub fn encode_within<T: Serialize + ?Sized>(
    value: &T,
    limit: usize,
) -> Result<Vec<u8>, CodecError> {
    let mut writer = Within {
        bytes: Vec::new(),
        limit,
        is_full: false,
    };
    match rmp_serde::encode::write_named(&mut writer, value) {
        Ok(()) => Ok(writer.bytes),
        Err(_) if writer.is_full => Err(CodecError(format!("more than {limit} bytes"))),
        Err(error) => Err(CodecError(error.to_string())),
    }
}

/// Bytes up to a limit.
struct Within {
    bytes: Vec<u8>,
    limit: usize,
    is_full: bool,
}

impl Write for Within {
    fn write(&mut self, part: &[u8]) -> io::Result<usize> {
        if part.len() > self.limit - self.bytes.len() {
            self.is_full = true;
            return Err(io::ErrorKind::StorageFull.into());
        }
        self.bytes.extend_from_slice(part);
        Ok(part.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Decodes a value. All of the input must be used.
///
/// # Errors
/// If the bytes are no MessagePack, not of that type, or followed by more.
pub fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, CodecError> {
    let mut reader = bytes;
    let mut deserializer = rmp_serde::Deserializer::new(&mut reader);
    let value = T::deserialize(&mut deserializer).map_err(|error| CodecError(error.to_string()))?;
    drop(deserializer);
    if reader.is_empty() {
        Ok(value)
    } else {
        Err(CodecError(format!("{} bytes left over", reader.len())))
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Old {
        a: u32,
    }

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct New {
        a: u32,
        #[serde(default)]
        b: Option<String>,
    }

    #[test]
    fn an_optional_field_can_be_added_both_ways() {
        let old = encode(&Old { a: 7 }).unwrap();
        assert_eq!(decode::<New>(&old), Ok(New { a: 7, b: None }));
        let new = encode(&New {
            a: 7,
            b: Some("x".into()),
        })
        .unwrap();
        assert_eq!(decode::<Old>(&new), Ok(Old { a: 7 }));
    }

    #[test]
    fn a_limit_is_kept_to_the_byte() {
        let text = "abcdefgh";
        let bytes = encode(text).unwrap();
        assert_eq!(encode_within(text, bytes.len()), Ok(bytes.clone()));
        let error = encode_within(text, bytes.len() - 1).unwrap_err();
        assert_eq!(error.to_string(), "more than 8 bytes");
    }

    #[test]
    fn garbage_and_leftovers_are_errors() {
        assert!(decode::<Old>(&[0xC1]).is_err());
        assert!(decode::<Old>(&[]).is_err());
        let mut bytes = encode(&Old { a: 7 }).unwrap();
        bytes.push(0);
        assert!(decode::<Old>(&bytes).is_err());
    }
}
