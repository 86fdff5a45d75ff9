//! What the benchmarks share: the command line, the machine, threads of a run, figures and tables.

pub mod alloc;
pub mod args;
pub mod folder;
pub mod machine;
pub mod plan;
pub mod program;
pub mod render;
pub mod results;
pub mod run;
pub mod server;
pub mod size;
pub mod stopwatch;
pub mod tally;
pub mod threads;
