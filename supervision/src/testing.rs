//! Tests for what programs write against this crate's traits. Behind the feature `test`; for dev-dependencies.

pub use crate::outcome::check::{OutcomeStoreCase, check_outcome_store};
