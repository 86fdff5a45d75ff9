//! The view counter: subscribes to what the platform publishes, and answers how often.

use std::collections::BTreeMap;

use callboard::prelude::*;

use crate::messages::{GetViews, Viewed};

// ANCHOR: views
/// Counts views by lesson.
#[derive(Default)]
pub(crate) struct Views {
    counts: BTreeMap<String, u64>,
}

impl Actor for Views {}

impl Handler<Viewed> for Views {
    async fn handle(&mut self, Viewed { slug }: Viewed, _ctx: &mut Context<Self>) {
        *self.counts.entry(slug).or_insert(0) += 1;
    }
}

impl Handler<GetViews> for Views {
    async fn handle(
        &mut self,
        GetViews { slugs }: GetViews,
        _ctx: &mut Context<Self>,
    ) -> BTreeMap<String, u64> {
        let count = |slug: String| {
            let count = self.counts.get(&slug).copied().unwrap_or(0);
            (slug, count)
        };
        slugs.into_iter().map(count).collect()
    }
}
// ANCHOR_END: views
