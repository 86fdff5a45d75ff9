//! The view counter: subscribes to what the platform publishes, and answers how often.

use std::collections::BTreeMap;
use std::path::PathBuf;

use callboard::prelude::*;
use callboard::remote::{Node, Peer, RemoteEvent, stdin_closed};
use futures::StreamExt;

use crate::messages::{Counted, GetViews, LESSON_VIEWED, Viewed};
use crate::services::VIEWS;

// ANCHOR: run
/// The process: hears of views through one Unix socket, answers questions on another.
pub(crate) async fn run(system: &System, socket: PathBuf, topic: PathBuf) -> callboard::Result<()> {
    let views = system.start(Views::default());

    let platform = Peer::unix(system, topic);
    let mut viewed = platform.subscribe::<Viewed>(LESSON_VIEWED, LESSON_VIEWED)?;
    viewed.ready().await?;
    let counter = views.clone();
    system.spawn(Placement::Spread, move || async move {
        while let Some(event) = viewed.next().await {
            match event {
                RemoteEvent::Message {
                    sequence, value, ..
                } => {
                    let slug = value.slug;
                    if counter.tell(Count { sequence, slug }).await.is_err() {
                        return;
                    }
                }
                // The count is too low from here on, and says so in the log at least.
                missed => eprintln!("{VIEWS}: views were missed: {missed:?}"),
            }
        }
    });

    // Only now: whoever is answered can rely on views being counted.
    let node = Node::new(system, VIEWS)?;
    node.expose(VIEWS, &views.recipient::<GetViews, _>())?;
    node.listen_unix(socket).await?;
    Ok(stdin_closed(system).await?)
}
// ANCHOR_END: run

// ANCHOR: views
/// Counts views by lesson, since this process started: its memory is all it has, so a restart begins at zero.
#[derive(Default)]
pub(crate) struct Views {
    counts: BTreeMap<String, u64>,
    /// The number of the last message that is in them.
    through: u64,
}

/// A view that was published, with its number in the topic.
#[derive(Message)]
struct Count {
    sequence: u64,
    slug: String,
}

impl Actor for Views {}

impl Handler<Count> for Views {
    async fn handle(&mut self, Count { sequence, slug }: Count, _ctx: &mut Context<Self>) {
        *self.counts.entry(slug).or_insert(0) += 1;
        self.through = sequence;
    }
}

impl Handler<GetViews> for Views {
    async fn handle(&mut self, GetViews { slugs }: GetViews, _ctx: &mut Context<Self>) -> Counted {
        let count = |slug: String| {
            let count = self.counts.get(&slug).copied().unwrap_or(0);
            (slug, count)
        };
        Counted {
            counts: slugs.into_iter().map(count).collect(),
            through: self.through,
        }
    }
}
// ANCHOR_END: views
