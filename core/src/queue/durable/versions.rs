//! The bodies of stored items: which type, in which version, and how older versions become the present one (G37).
//!
//! ```text
//! 0  1  version of this form: 1
//! 1  1  length of the type's name
//! 2  n  the type's name
//!    4  the type's version, little-endian
//!       the payload, MessagePack with field names
//! ```

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::de::DeserializeOwned;

use crate::codec;
use crate::message::WireMessage;

const FORM: u8 = 1;

type Upcast<T> = Arc<dyn Fn(&[u8]) -> Result<T, String> + Send + Sync>;

/// How items of one type are encoded, and which versions of it are understood.
pub(in crate::queue) struct Versions<T> {
    name: &'static str,
    version: u32,
    encode: fn(&T) -> Result<Vec<u8>, String>,
    known: BTreeMap<u32, Upcast<T>>,
}

impl<T> Clone for Versions<T> {
    fn clone(&self) -> Self {
        Versions {
            name: self.name,
            version: self.version,
            encode: self.encode,
            known: self.known.clone(),
        }
    }
}

impl<T: WireMessage> Versions<T> {
    /// The present version alone.
    pub(in crate::queue) fn present() -> Self {
        let present: Upcast<T> =
            Arc::new(|payload| codec::decode(payload).map_err(|error| error.to_string()));
        Versions {
            name: T::NAME,
            version: T::VERSION,
            encode: |item| codec::encode(item).map_err(|error| error.to_string()),
            known: BTreeMap::from([(T::VERSION, present)]),
        }
    }

    /// One more: what was stored in `version` is an `Old`, and becomes a `T`.
    pub(in crate::queue) fn add<Old: DeserializeOwned + 'static>(
        &mut self,
        version: u32,
        upcast: impl Fn(Old) -> T + Send + Sync + 'static,
    ) {
        let from_old: Upcast<T> = Arc::new(move |payload| {
            let old = codec::decode(payload).map_err(|error| error.to_string())?;
            Ok(upcast(old))
        });
        self.known.insert(version, from_old);
    }
}

impl<T> Versions<T> {
    pub(in crate::queue) fn encode(&self, item: &T) -> Result<Vec<u8>, String> {
        let payload = (self.encode)(item)?;
        let mut body = Vec::with_capacity(payload.len() + self.name.len() + 6);
        let length = u8::try_from(self.name.len())
            .map_err(|_| format!("the type name {} is longer than 255 bytes", self.name))?;
        body.extend([FORM, length]);
        body.extend(self.name.as_bytes());
        body.extend(self.version.to_le_bytes());
        body.extend(payload);
        Ok(body)
    }

    pub(in crate::queue) fn decode(&self, body: &[u8]) -> Result<T, String> {
        let (name, version, payload) = split(body)?;
        if name != self.name {
            return Err(format!("it is a {name}, not a {}", self.name));
        }
        let Some(decode) = self.known.get(&version) else {
            let known: Vec<String> = self.known.keys().map(u32::to_string).collect();
            return Err(format!(
                "it is a {name} of version {version}; known are {}",
                known.join(", ")
            ));
        };
        decode(payload).map_err(|why| format!("{name} of version {version}: {why}"))
    }
}

/// Type name, version and payload of a body.
pub(in crate::queue) fn split(body: &[u8]) -> Result<(&str, u32, &[u8]), String> {
    let cut = || "its body is cut off".to_owned();
    let ([form, length], rest) = body.split_first_chunk::<2>().ok_or_else(cut)?;
    if *form != FORM {
        return Err(format!("its body has version {form}, known is {FORM}"));
    }
    let (name, rest) = rest
        .split_at_checked(usize::from(*length))
        .ok_or_else(cut)?;
    let name = std::str::from_utf8(name).map_err(|_| "its type name is no UTF-8".to_owned())?;
    let (version, payload) = rest.split_first_chunk::<4>().ok_or_else(cut)?;
    Ok((name, u32::from_le_bytes(*version), payload))
}
