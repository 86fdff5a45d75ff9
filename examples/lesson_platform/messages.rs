//! Everything the parts of the platform say to each other.
//!
//! What stays in this process is just a type. What crosses a process boundary also has a name and a
//! version of its own on the wire, so that either side can be upgraded first.

use std::collections::BTreeMap;

use callboard::Message;
use callboard::supervision::Idempotent;
use serde::{Deserialize, Serialize};

use crate::index::{Entry, Hit};
use crate::metadata::Metadata;
use crate::thumbnail::{Thumbnail, ThumbnailError};

// ANCHOR: local
/// To the renderer, in this process: a lesson as HTML.
#[derive(Debug, Clone, Message)]
#[message(reply = String)]
pub(crate) struct Render {
    pub(crate) slug: String,
}
// ANCHOR_END: local

// ANCHOR: wire
/// To the sidecar, through its pipe: one thumbnail.
#[derive(Debug, Clone, Message, Serialize, Deserialize)]
#[message(reply = Result<Thumbnail, ThumbnailError>, name = "lessons.thumbnail", version = 1)]
pub(crate) struct GetThumbnail {
    pub(crate) image: String,
}
// ANCHOR_END: wire

/// To the sidecar: the sizes of thumbnails, so that a page can leave room for them. A picture that
/// can't be made small has an entry that says why.
#[derive(Debug, Clone, Message, Serialize, Deserialize)]
#[message(reply = BTreeMap<String, Result<Size, ThumbnailError>>, name = "lessons.thumbnail_sizes", version = 1)]
pub(crate) struct GetSizes {
    pub(crate) images: Vec<String>,
}

/// Width and height in pixels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Size {
    pub(crate) width: u32,
    pub(crate) height: u32,
}

/// To the view counter, through a Unix socket: how often these lessons were viewed. (The answer of version 1
/// were the counts alone; whoever asked for those is told so.)
#[derive(Debug, Clone, Message, Serialize, Deserialize)]
#[message(reply = Counted, name = "lessons.views", version = 2)]
pub(crate) struct GetViews {
    pub(crate) slugs: Vec<String>,
}

/// What the view counter has counted.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Counted {
    pub(crate) counts: BTreeMap<String, u64>,
    /// The number of the last message of the topic that is in these counts; 0 if none is.
    pub(crate) through: u64,
}

/// To the metadata service, through TCP: what is known about these lessons.
#[derive(Debug, Clone, Message, Serialize, Deserialize)]
#[message(reply = BTreeMap<String, Metadata>, name = "lessons.metadata", version = 1)]
pub(crate) struct GetMetadata {
    pub(crate) slugs: Vec<String>,
}

/// From the drill to the metadata service: a number, to be counted once. Answered with how many have come. Not
/// idempotent: nobody asks again.
#[derive(Debug, Clone, Message, Serialize, Deserialize)]
#[message(reply = u64, name = "drill.count", version = 1)]
pub(crate) struct Count {
    pub(crate) number: u64,
}

/// What has become of these numbers.
#[derive(Debug, Clone, Message, Serialize, Deserialize)]
#[message(reply = Counts, name = "drill.counts", version = 1)]
pub(crate) struct GetCounts;

/// What the other process has seen of the numbers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Counts {
    /// How many different ones.
    pub(crate) numbers: u64,
    /// How many came again.
    pub(crate) twice: u64,
    /// How many came after a higher one.
    pub(crate) out_of_order: u64,
}

// ANCHOR: idempotent
// Reading twice does no harm, so these may be asked again whatever became of the first attempt.
impl Idempotent for Render {}
impl Idempotent for Search {}
impl Idempotent for GetThumbnail {}
impl Idempotent for GetSizes {}
impl Idempotent for GetViews {}
impl Idempotent for GetMetadata {}
// ANCHOR_END: idempotent

/// The topic that every view is published to.
pub(crate) const LESSON_VIEWED: &str = "lesson.viewed";

/// Published when a lesson was shown.
#[derive(Debug, Clone, Message, Serialize, Deserialize)]
#[message(name = "lessons.viewed", version = 1)]
pub(crate) struct Viewed {
    pub(crate) slug: String,
}

/// A job for the index workers: offered with every view.
#[derive(Debug, Clone)]
pub(crate) struct IndexJob {
    pub(crate) slug: String,
}

/// To the index, from a worker: a lesson as the index holds it.
#[derive(Debug, Message)]
pub(crate) struct PutEntry(pub(crate) Entry);

/// To the index: which lessons hold these words.
#[derive(Debug, Clone, Message)]
#[message(reply = Found)]
pub(crate) struct Search {
    pub(crate) query: String,
}

/// The answer of the index.
#[derive(Debug)]
pub(crate) struct Found {
    pub(crate) hits: Vec<Hit>,
    /// How many lessons the index knows by now.
    pub(crate) known: usize,
}

// ANCHOR: enrol
/// To the enrolment desk: charge a learner and enrol them. Not idempotent: it goes with a request key,
/// and is compared with what was asked under that key before.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Message)]
#[message(reply = Result<Receipt, EnrolError>)]
pub(crate) struct Enrol {
    pub(crate) lesson: String,
    pub(crate) learner: String,
}
// ANCHOR_END: enrol

/// What an enrolment is answered with, however often it is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Receipt {
    /// The charge's line in the ledger.
    pub(crate) number: u64,
    pub(crate) lesson: String,
    pub(crate) learner: String,
    pub(crate) cents: u32,
}

/// Why nobody was enrolled.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum EnrolError {
    #[error("an enrolment needs a request key, so that it is charged once")]
    NoKey,
    #[error("the charge could not be written: {0}")]
    Ledger(String),
}
