//! The metadata service: words, reading time, related lessons.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use callboard::prelude::*;
use callboard::remote::{Node, stdin_closed};

use crate::lessons::Library;
use crate::messages::{Count, GetCounts, GetMetadata};
use crate::metadata::{self, Metadata};
use crate::services::tally::Tally;
use crate::services::{METADATA, TALLY};

// ANCHOR: run
/// The process: takes a free port, and says on its standard output which one.
pub(crate) async fn run(system: &System, lessons: PathBuf) -> callboard::Result<()> {
    let library = Library::load(&lessons)?;
    let facts = system.actor(move || Facts::new(&library)).start();
    let node = Node::new(system, METADATA)?;
    node.expose(METADATA, &facts.recipient::<GetMetadata, _>())?;
    let tally = system.actor(Tally::default).start();
    node.expose(TALLY, &tally.recipient::<Count, _>())?;
    node.expose(TALLY, &tally.recipient::<GetCounts, _>())?;
    let any_port = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let listener = node.listen_tcp(any_port).await?;
    println!("{}", listener.address());
    Ok(stdin_closed(system).await?)
}
// ANCHOR_END: run

/// Knows the facts about all lessons; computed once, when the service starts.
pub(crate) struct Facts {
    facts: BTreeMap<String, Metadata>,
}

impl Facts {
    fn new(library: &Library) -> Self {
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
