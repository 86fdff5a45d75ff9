//! The rules of the house, as tests. ARCHITECTURE.md says why they are there.

mod arrows;
mod manifests;
mod sources;
mod texts;
