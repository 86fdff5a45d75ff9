//! The metadata service: words, reading time, related lessons.

use std::collections::BTreeMap;

use callboard::prelude::*;

use crate::lessons::Library;
use crate::messages::GetMetadata;
use crate::metadata::{self, Metadata};

/// Knows the facts about all lessons; computed once, when the service starts.
pub(crate) struct Facts {
    facts: BTreeMap<String, Metadata>,
}

impl Facts {
    pub(crate) fn new(library: &Library) -> Self {
        Facts {
            facts: metadata::compute(library),
        }
    }
}

impl Actor for Facts {}

impl Handler<GetMetadata> for Facts {
    async fn handle(
        &mut self,
        GetMetadata { slugs }: GetMetadata,
        _ctx: &mut Context<Self>,
    ) -> BTreeMap<String, Metadata> {
        let fact = |slug: String| Some((slug.clone(), self.facts.get(&slug)?.clone()));
        slugs.into_iter().filter_map(fact).collect()
    }
}
