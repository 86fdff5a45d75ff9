//! A small picture from a large one.
//!
//! Decoding pictures from strangers is the riskiest thing this platform does, so it happens in a process
//! of its own, with limits on what a picture may ask for before any memory is taken.

use std::io::Cursor;

use image::codecs::jpeg::JpegEncoder;
use image::{DynamicImage, ImageDecoder, ImageError, ImageFormat, ImageReader, Limits};
use serde::{Deserialize, Serialize};

/// No side of a picture may be longer, in pixels.
const LONGEST_SIDE: u32 = 8_000;
/// No picture may take more memory than this, decoded.
const MOST_MEMORY: u64 = 128 * 1024 * 1024;
const JPEG_QUALITY: u8 = 82;

/// A thumbnail, ready to be sent to a browser.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Thumbnail {
    pub(crate) width: u32,
    pub(crate) height: u32,
    pub(crate) kind: Kind,
    #[serde(with = "serde_bytes")]
    pub(crate) bytes: Vec<u8>,
}

/// A thumbnail has the format of its picture: drawings stay sharp, photographs small.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Kind {
    Png,
    Jpeg,
}

impl Kind {
    pub(crate) fn mime(self) -> &'static str {
        match self {
            Kind::Png => "image/png",
            Kind::Jpeg => "image/jpeg",
        }
    }
}

/// Why there is no thumbnail. A part of the protocol between the platform and its sidecar.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub(crate) enum ThumbnailError {
    #[error("is shown in no lesson")]
    Unknown,
    #[error("is missing or can't be read: {0}")]
    Unreadable(String),
    #[error("is neither a PNG nor a JPEG")]
    OtherFormat,
    #[error("is too large to be decoded: {0}")]
    TooLarge(String),
    #[error("is damaged: {0}")]
    Damaged(String),
}

/// Makes a thumbnail that fits into `width` by `height`; a smaller picture keeps its size.
pub(crate) fn make(picture: &[u8], width: u32, height: u32) -> Result<Thumbnail, ThumbnailError> {
    let mut limits = Limits::default();
    limits.max_image_width = Some(LONGEST_SIDE);
    limits.max_image_height = Some(LONGEST_SIDE);
    limits.max_alloc = Some(MOST_MEMORY);

    let mut reader = ImageReader::new(Cursor::new(picture))
        .with_guessed_format()
        .map_err(|error| ThumbnailError::Damaged(error.to_string()))?;
    reader.limits(limits);
    let kind = match reader.format() {
        Some(ImageFormat::Png) => Kind::Png,
        Some(ImageFormat::Jpeg) => Kind::Jpeg,
        _ => return Err(ThumbnailError::OtherFormat),
    };
    let decoder = reader.into_decoder().map_err(refuse)?;
    let (full_width, full_height) = decoder.dimensions();
    let picture = DynamicImage::from_decoder(decoder).map_err(refuse)?;
    let small = if full_width <= width && full_height <= height {
        picture
    } else {
        picture.thumbnail(width, height)
    };
    let mut bytes = Vec::new();
    let encoded = match kind {
        Kind::Png => small.write_to(Cursor::new(&mut bytes), ImageFormat::Png),
        Kind::Jpeg => small.write_with_encoder(JpegEncoder::new_with_quality(
            Cursor::new(&mut bytes),
            JPEG_QUALITY,
        )),
    };
    encoded.map_err(refuse)?;
    Ok(Thumbnail {
        width: small.width(),
        height: small.height(),
        kind,
        bytes,
    })
}

fn refuse(error: ImageError) -> ThumbnailError {
    match error {
        ImageError::Limits(limit) => ThumbnailError::TooLarge(limit.to_string()),
        ImageError::Unsupported(_) => ThumbnailError::OtherFormat,
        damaged => ThumbnailError::Damaged(damaged.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const JPEG: &[u8] = include_bytes!("lessons/images/callboard.jpg");
    const PNG: &[u8] = include_bytes!("lessons/images/dedup-timeline.png");

    #[test]
    fn a_picture_is_made_to_fit_and_keeps_its_shape_and_format() {
        for (picture, kind) in [(JPEG, Kind::Jpeg), (PNG, Kind::Png)] {
            let small = make(picture, 320, 320).unwrap();
            assert_eq!((small.width, small.height, small.kind), (320, 192, kind));
            assert!(small.bytes.len() < picture.len());
            let again = image::load_from_memory(&small.bytes).unwrap();
            assert_eq!((again.width(), again.height()), (320, 192));
        }
    }

    #[test]
    fn a_small_picture_keeps_its_size() {
        let small = make(PNG, 320, 320).unwrap();
        let again = make(&small.bytes, 640, 640).unwrap();
        assert_eq!((again.width, again.height), (320, 192));
    }

    #[test]
    fn broken_pictures_are_typed_errors() {
        assert_eq!(make(b"<svg/>", 9, 9), Err(ThumbnailError::OtherFormat));
        assert_eq!(make(b"", 9, 9), Err(ThumbnailError::OtherFormat));
        for half in [&PNG[..PNG.len() / 2], &PNG[..20]] {
            let error = make(half, 9, 9).unwrap_err();
            assert!(matches!(error, ThumbnailError::Damaged(_)), "{error}");
        }
    }

    #[test]
    fn a_picture_that_claims_to_be_huge_is_refused_before_memory_is_taken() {
        // The header of a PNG says 60,000 by 60,000; the checksum of that chunk is made to fit.
        let mut bomb = PNG[..33].to_vec();
        bomb[16..20].copy_from_slice(&60_000_u32.to_be_bytes());
        bomb[20..24].copy_from_slice(&60_000_u32.to_be_bytes());
        let checksum = crc(&bomb[12..29]);
        bomb[29..33].copy_from_slice(&checksum.to_be_bytes());
        bomb.extend_from_slice(&PNG[33..]);
        let error = make(&bomb, 9, 9).unwrap_err();
        assert!(matches!(error, ThumbnailError::TooLarge(_)), "{error}");
    }

    fn crc(bytes: &[u8]) -> u32 {
        !bytes.iter().fold(!0_u32, |crc, byte| {
            (0..8).fold(crc ^ u32::from(*byte), |crc, _| {
                (crc >> 1) ^ (0xEDB8_8320 & 0_u32.wrapping_sub(crc & 1))
            })
        })
    }

    impl std::fmt::Debug for Thumbnail {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            write!(
                f,
                "Thumbnail({}x{}, {:?})",
                self.width, self.height, self.kind
            )
        }
    }
}
