//! The child processes: what runs in each, and how it is reached.
//!
//! Each is this same executable, started again with `--role`. Each ends when its standard input closes,
//! which the operating system sees to however its parent ends.

mod metadata;
mod thumbnails;
mod views;
