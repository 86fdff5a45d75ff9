//! The platform: its supervision tree, and how the parts are asked.
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use callboard::prelude::*;
use callboard::Failure;

use crate::calls::Part;
use crate::lessons::Library;
use crate::messages::*;
use crate::metadata::Metadata;
use crate::pages::{Missing, SystemReport};
use crate::thumbnail::{Thumbnail, ThumbnailError};

pub(crate) struct Platform {
    pub(crate) system: System,
    pub(crate) library: Arc<Library>,
    pub(crate) folder: PathBuf,
}

impl Platform {
    pub(crate) async fn render(&self, slug: &str) -> Result<String, Missing> { todo!() }
    pub(crate) async fn sizes(&self, images: Vec<String>) -> Result<BTreeMap<String, Size>, Missing> { todo!() }
    pub(crate) async fn views(&self, slugs: Vec<String>) -> Result<BTreeMap<String, u64>, Missing> { todo!() }
    pub(crate) async fn metadata(&self, slugs: Vec<String>) -> Result<BTreeMap<String, Metadata>, Missing> { todo!() }
    pub(crate) async fn viewed(&self, slug: &str) { todo!() }
    pub(crate) async fn search(&self, query: &str) -> Result<Found, Missing> { todo!() }
    pub(crate) async fn thumbnail(&self, image: &str) -> Result<Result<Thumbnail, ThumbnailError>, Missing> { todo!() }
    pub(crate) async fn enrol(&self, key: RequestKey, enrol: Enrol) -> Result<Result<Receipt, EnrolError>, Failure> { todo!() }
    pub(crate) async fn report(&self) -> SystemReport { todo!() }
    pub(crate) fn pid(&self, part: Part) -> Option<u32> { todo!() }
    pub(crate) async fn probe(&self, part: Part) -> bool { todo!() }
    pub(crate) async fn index_is_idle(&self, span: Duration) -> bool { todo!() }
    pub(crate) async fn views_published(&self) -> u64 { todo!() }
}
