//! A text that nobody else may see.

use std::fmt;

use zeroize::Zeroizing;

use super::secrets::SecretError;

/// The shortest secret, in bytes. What programs share is generated, not remembered: `openssl rand -hex 16`, say.
pub const MIN_SECRET: usize = 16;
/// The longest secret, in bytes.
pub const MAX_SECRET: usize = 256;

/// A shared secret. It has no `Display`, its `Debug` hides it, it can't be serialised, it is
/// compared in constant time, and its memory is overwritten when it is dropped.
///
/// ```
/// use callboard_remote::Secret;
///
/// let secret = Secret::new("correct horse battery staple")?;
/// assert_eq!(format!("{secret:?}"), "Secret(..)");
/// assert!(Secret::new("12345678").is_err());
/// # Ok::<(), callboard_remote::SecretError>(())
/// ```
#[derive(Clone)]
pub struct Secret(Zeroizing<Box<[u8]>>);

impl Secret {
    /// Takes a secret. The caller's own copy is the caller's to wipe.
    ///
    /// # Errors
    /// [`SecretError::Length`]: it is shorter than [`MIN_SECRET`] or longer than [`MAX_SECRET`] bytes.
    pub fn new(secret: impl AsRef<[u8]>) -> Result<Self, SecretError> {
        let bytes = secret.as_ref();
        if !(MIN_SECRET..=MAX_SECRET).contains(&bytes.len()) {
            return Err(SecretError::Length(bytes.len()));
        }
        Ok(Secret(Zeroizing::new(Box::from(bytes))))
    }

    /// The secret itself, for what hashes it or sends it over an encrypted channel.
    pub(crate) fn expose(&self) -> &[u8] {
        &self.0
    }
}

/// Takes as long wherever the first difference is. (The length shows.)
impl PartialEq for Secret {
    fn eq(&self, other: &Self) -> bool {
        let pairs = self.0.iter().zip(other.0.iter());
        let differences = pairs.fold(0, |seen, (one, other)| seen | (one ^ other));
        self.0.len() == other.0.len() && std::hint::black_box(differences) == 0
    }
}

impl Eq for Secret {}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}
