//! Reading fields from a body, each checked against what is left.

use super::WireError;

/// A cursor over the body of one frame.
pub(crate) struct Fields<'a> {
    frame: &'static str,
    rest: &'a [u8],
}

impl<'a> Fields<'a> {
    #[inline]
    pub(crate) fn new(frame: &'static str, body: &'a [u8]) -> Self {
        Fields { frame, rest: body }
    }

    #[inline]
    pub(crate) fn take(&mut self, len: usize) -> Result<&'a [u8], WireError> {
        let (taken, rest) = self
            .rest
            .split_at_checked(len)
            .ok_or(WireError::Truncated(self.frame))?;
        self.rest = rest;
        Ok(taken)
    }

    #[inline]
    pub(crate) fn array<const N: usize>(&mut self) -> Result<[u8; N], WireError> {
        let (taken, rest) = self
            .rest
            .split_first_chunk::<N>()
            .ok_or(WireError::Truncated(self.frame))?;
        self.rest = rest;
        Ok(*taken)
    }

    #[inline]
    pub(crate) fn u8(&mut self) -> Result<u8, WireError> {
        self.array().map(u8::from_be_bytes)
    }

    #[inline]
    pub(crate) fn u16(&mut self) -> Result<u16, WireError> {
        self.array().map(u16::from_be_bytes)
    }

    #[inline]
    pub(crate) fn u32(&mut self) -> Result<u32, WireError> {
        self.array().map(u32::from_be_bytes)
    }

    #[inline]
    pub(crate) fn u64(&mut self) -> Result<u64, WireError> {
        self.array().map(u64::from_be_bytes)
    }

    /// A text with a length of one byte.
    pub(crate) fn name(&mut self, field: &'static str) -> Result<&'a str, WireError> {
        let name = self.short_text(field)?;
        if super::limits::is_name(name) {
            Ok(name)
        } else {
            Err(self.bad(field))
        }
    }

    /// The same, whatever it says: it may be empty.
    pub(crate) fn short_text(&mut self, field: &'static str) -> Result<&'a str, WireError> {
        let len = usize::from(self.u8()?);
        self.text(len, field)
    }

    /// A text with a length of two bytes, of at most `max`.
    pub(crate) fn long_text(
        &mut self,
        max: usize,
        field: &'static str,
    ) -> Result<&'a str, WireError> {
        let len = usize::from(self.u16()?);
        if len > max {
            return Err(self.bad(field));
        }
        self.text(len, field)
    }

    fn text(&mut self, len: usize, field: &'static str) -> Result<&'a str, WireError> {
        std::str::from_utf8(self.take(len)?).map_err(|_| self.bad(field))
    }

    /// All that is left.
    #[inline]
    pub(crate) fn rest(self) -> &'a [u8] {
        self.rest
    }

    /// Checks that nothing is left.
    pub(crate) fn end(self) -> Result<(), WireError> {
        if self.rest.is_empty() {
            Ok(())
        } else {
            Err(WireError::LeftOver(self.frame))
        }
    }

    pub(crate) fn bad(&self, field: &'static str) -> WireError {
        WireError::BadField {
            frame: self.frame,
            field,
        }
    }
}

/// Appends a text with a length of one byte, cut to what that can say.
pub(super) fn put_name(out: &mut Vec<u8>, name: &str) {
    put_text(
        out,
        super::limits::cut(name, super::MAX_NAME),
        |out, len| {
            // `cut` bounds it to 255.
            out.push(u8::try_from(len).unwrap_or(u8::MAX));
        },
    );
}

/// Appends a text with a length of two bytes, cut to `max`.
pub(super) fn put_long_text(out: &mut Vec<u8>, text: &str, max: usize) {
    put_text(out, super::limits::cut(text, max), |out, len| {
        // `cut` bounds it to `max`, which is far below.
        out.extend(u16::try_from(len).unwrap_or(u16::MAX).to_be_bytes());
    });
}

fn put_text(out: &mut Vec<u8>, text: &str, put_len: impl FnOnce(&mut Vec<u8>, usize)) {
    put_len(out, text.len());
    out.extend(text.as_bytes());
}
