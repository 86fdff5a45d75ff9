//! The sidecar: pictures made small, in a process that may die of them.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;

use callboard::prelude::*;
use callboard::remote::Node;
use futures::future::join_all;

use crate::lessons::{self, Library, plain};
use crate::messages::{GetSizes, GetThumbnail, Size};
use crate::services::THUMBNAILS;
use crate::thumbnail::{self, Thumbnail, ThumbnailError};

/// Wide enough for a card, on a screen with small pixels.
const WIDTH: u32 = 640;
const HEIGHT: u32 = 400;

type Made = Result<Arc<Thumbnail>, ThumbnailError>;

// ANCHOR: run
/// The process: makes all thumbnails, then serves its parent through the pipe that it was started with.
pub(crate) async fn run(system: &System, lessons: PathBuf) -> callboard::Result<()> {
    let library = Library::load(&lessons)?;
    let images = library.images().iter().cloned().collect();
    let thumbnails = system
        .actor(move || Thumbnails::new(lessons, &library))
        .start();
    // Whoever connects then needn't wait for the first one of each.
    thumbnails.ask(GetSizes { images }).no_deadline().await?;

    let node = Node::new(system, THUMBNAILS)?;
    node.expose(THUMBNAILS, &thumbnails.recipient::<GetThumbnail, _>())?;
    node.expose(THUMBNAILS, &thumbnails.recipient::<GetSizes, _>())?;
    // Ends when the parent closes the pipe, or ends in whatever way.
    Ok(node.serve_stdio().await?)
}
// ANCHOR_END: run

// ANCHOR: sidecar
/// Makes thumbnails, each once in the life of this process.
pub(crate) struct Thumbnails {
    folder: PathBuf,
    images: BTreeSet<String>,
    made: BTreeMap<String, Made>,
}

impl Actor for Thumbnails {}

impl Handler<GetThumbnail> for Thumbnails {
    async fn handle(
        &mut self,
        GetThumbnail { image }: GetThumbnail,
        _ctx: &mut Context<Self>,
    ) -> Result<Thumbnail, ThumbnailError> {
        self.make(std::slice::from_ref(&image)).await;
        match self.made.get(&image) {
            Some(made) => made.clone().map(|made| Thumbnail::clone(&made)),
            None => Err(ThumbnailError::Unknown),
        }
    }
}
// ANCHOR_END: sidecar

impl Handler<GetSizes> for Thumbnails {
    async fn handle(
        &mut self,
        GetSizes { images }: GetSizes,
        _ctx: &mut Context<Self>,
    ) -> BTreeMap<String, Result<Size, ThumbnailError>> {
        self.make(&images).await;
        images
            .into_iter()
            .map(|image| {
                let size = match self.made.get(&image) {
                    Some(Ok(made)) => Ok(Size {
                        width: made.width,
                        height: made.height,
                    }),
                    Some(Err(error)) => Err(error.clone()),
                    None => Err(ThumbnailError::Unknown),
                };
                (image, size)
            })
            .collect()
    }
}

impl Thumbnails {
    fn new(folder: PathBuf, library: &Library) -> Self {
        Thumbnails {
            folder,
            images: library.images().clone(),
            made: BTreeMap::new(),
        }
    }

    /// Makes those that are not made yet, side by side, on threads that may take their time.
    async fn make(&mut self, images: &[String]) {
        let new: Vec<&String> = images
            .iter()
            .filter(|image| self.images.contains(*image) && !self.made.contains_key(*image))
            .collect();
        let made = join_all(new.iter().map(|image| {
            let path = lessons::image_path(&self.folder, image);
            tokio::task::spawn_blocking(move || {
                let picture = std::fs::read(path)
                    .map_err(|error| ThumbnailError::Unreadable(plain(&error)))?;
                thumbnail::make(&picture, WIDTH, HEIGHT)
            })
        }));
        for (image, made) in new.into_iter().zip(made.await) {
            // A decoder that panics has met a picture that it can't decode.
            let made = made.unwrap_or_else(|error| Err(ThumbnailError::Damaged(error.to_string())));
            self.made.insert(image.clone(), made.map(Arc::new));
        }
    }
}
