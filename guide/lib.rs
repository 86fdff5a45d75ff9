//! The guide as a package: its short snippets are doctests here.
//!
//! Long snippets are cut from `examples/`, which are compiled and run by their own tests. A test of the
//! facade (`tests/it/guide.rs`) fails on a chapter that is missing below, on a fence that nothing checks,
//! and on an include of a file or an anchor that isn't there.

#[cfg(doctest)]
#[doc = include_str!("src/introduction.md")]
mod introduction {}

#[cfg(doctest)]
#[doc = include_str!("src/01-what-an-actor-buys-you.md")]
mod ch01 {}

#[cfg(doctest)]
#[doc = include_str!("src/02-hello-actor.md")]
mod ch02 {}

#[cfg(doctest)]
#[doc = include_str!("src/03-mailboxes-and-back-pressure.md")]
mod ch03 {}

#[cfg(doctest)]
#[doc = include_str!("src/04-ask-tell-deadlines-verdicts.md")]
mod ch04 {}

#[cfg(doctest)]
#[doc = include_str!("src/05-lifecycle-and-watch.md")]
mod ch05 {}

#[cfg(doctest)]
#[doc = include_str!("src/06-deferred-and-streamed-answers.md")]
mod ch06 {}

#[cfg(doctest)]
#[doc = include_str!("src/07-names-groups-pools.md")]
mod ch07 {}

#[cfg(doctest)]
#[doc = include_str!("src/08-testing-actors.md")]
mod ch08 {}

#[cfg(doctest)]
#[doc = include_str!("src/09-queue-actors.md")]
mod ch09 {}

#[cfg(doctest)]
#[doc = include_str!("src/10-leases-limits-dead-letters.md")]
mod ch10 {}

#[cfg(doctest)]
#[doc = include_str!("src/11-durable-queues.md")]
mod ch11 {}

#[cfg(doctest)]
#[doc = include_str!("src/12-topics-and-lag.md")]
mod ch12 {}

#[cfg(doctest)]
#[doc = include_str!("src/13-tell-queue-or-topic.md")]
mod ch13 {}

#[cfg(doctest)]
#[doc = include_str!("src/14-let-it-crash.md")]
mod ch14 {}

#[cfg(doctest)]
#[doc = include_str!("src/15-supervision-trees.md")]
mod ch15 {}

#[cfg(doctest)]
#[doc = include_str!("src/16-timeouts-from-histograms.md")]
mod ch16 {}

#[cfg(doctest)]
#[doc = include_str!("src/17-retries-jitter-budgets.md")]
mod ch17 {}

#[cfg(doctest)]
#[doc = include_str!("src/18-locks-leases-fencing.md")]
mod ch18 {}

#[cfg(doctest)]
#[doc = include_str!("src/19-strategies-and-intensity.md")]
mod ch19 {}

#[cfg(doctest)]
#[doc = include_str!("src/20-children-that-are-processes.md")]
mod ch20 {}

#[cfg(doctest)]
#[doc = include_str!("src/21-breakers-bulkheads-hedges.md")]
mod ch21 {}

#[cfg(doctest)]
#[doc = include_str!("src/22-changing-policies-while-running.md")]
mod ch22 {}

#[cfg(doctest)]
#[doc = include_str!("src/23-shutting-down.md")]
mod ch23 {}

#[cfg(doctest)]
#[doc = include_str!("src/24-replays-and-deduplication.md")]
mod ch24 {}

#[cfg(doctest)]
#[doc = include_str!("src/25-the-wire.md")]
mod ch25 {}

#[cfg(doctest)]
#[doc = include_str!("src/26-pipes-and-sidecars.md")]
mod ch26 {}
#[cfg(doctest)]
#[doc = include_str!("src/28-unix-sockets.md")]
mod ch28 {}
#[cfg(doctest)]
#[doc = include_str!("src/27-tcp-and-tls.md")]
mod ch27 {}

#[cfg(doctest)]
#[doc = include_str!("src/29-rights.md")]
mod ch29 {}

#[cfg(doctest)]
#[doc = include_str!("src/30-after-a-failure.md")]
mod ch30 {}

#[cfg(doctest)]
#[doc = include_str!("src/guarantees.md")]
mod guarantees {}

#[cfg(doctest)]
#[doc = include_str!("src/coming-from-actix.md")]
mod coming_from_actix {}

#[cfg(doctest)]
#[doc = include_str!("src/coming-from-kameo-or-ractor.md")]
mod coming_from_kameo_or_ractor {}

#[cfg(doctest)]
#[doc = include_str!("src/comparison.md")]
mod comparison {}

#[cfg(doctest)]
#[doc = include_str!("src/log-format.md")]
mod log_format {}

#[cfg(doctest)]
#[doc = include_str!("src/bench-local.md")]
mod bench_local {}

#[cfg(doctest)]
#[doc = include_str!("src/bench-policy.md")]
mod bench_policy {}

#[cfg(doctest)]
#[doc = include_str!("src/bench-queue.md")]
mod bench_queue {}

#[cfg(doctest)]
#[doc = include_str!("src/bench-remote.md")]
mod bench_remote {}

#[cfg(doctest)]
#[doc = include_str!("src/bench-supervision.md")]
mod bench_supervision {}
