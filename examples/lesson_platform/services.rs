//! The child processes: what runs in each, and how it is reached.
//!
//! Each is this same executable, started again with `--role`. Each ends when its standard input closes,
//! which the operating system sees to however its parent ends.

mod metadata;
mod tally;
mod thumbnails;
mod views;

use callboard::System;

use crate::args::Role;

/// The names under which the services expose what they do.
pub(crate) const THUMBNAILS: &str = "thumbnails";
pub(crate) const VIEWS: &str = "views";
pub(crate) const METADATA: &str = "metadata";
/// Beside the metadata: what the drill counts with.
pub(crate) const TALLY: &str = "tally";

/// Runs one of them until its parent is gone.
pub(crate) async fn run(system: &System, role: Role) -> Result<(), String> {
    let name = role.name();
    let ran = match role {
        Role::Thumbnails { lessons } => thumbnails::run(system, lessons).await,
        Role::Views { socket, topic } => views::run(system, socket, topic).await,
        Role::Metadata { lessons } => metadata::run(system, lessons).await,
    };
    ran.map_err(|error| format!("{name}: {error}"))
}
