//! The systems that are measured, behind one trait.
//!
//! A workload is written once, generic over [`System`], so that all do the same work; how a system supervises, and how a
//! child of it is told something, is written once per system, in its best documented way.

mod bare;
mod callboard;
mod kameo;
mod ractor;

use std::future::Future;
use std::sync::Arc;

use common::size::Size;
use common::threads::Layout;

use crate::roll::Roll;
use crate::workloads::{self, Work};

/// The capacity of every bounded mailbox.
pub(crate) const CAPACITY: usize = 1_024;

/// What kind of system it is; goals compare Callboard with actor frameworks only.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Family {
    Callboard,
    /// An actor framework.
    Actors,
    /// What a crash costs without one.
    Floor,
}

/// A system under test.
pub(crate) trait System: Sync + 'static {
    /// What code of a run needs to start supervisors.
    type Stage: Send + Sync + 'static;
    /// A reference to a child, over its restarts.
    type Child: Send + Sync + 'static;
    /// Children under a supervisor.
    type Tree: Send + 'static;

    fn name(&self) -> &'static str;

    fn family(&self) -> Family;

    /// Whether this workload says something about this system.
    fn takes(&self, work: Work) -> bool;

    /// Sets up fresh threads, runs `body` as a task on the first one, and tears all down.
    fn run<F, Fut>(&self, layout: Layout, body: F) -> Fut::Output
    where
        F: FnOnce(Self::Stage) -> Fut + Send + 'static,
        Fut: Future<Output: Send> + Send + 'static;

    /// Starts a child for each on the roll, under one supervisor that restarts those that panic, at once and as often
    /// as they do. All are there when it is done, in their order. `children` has room for them.
    fn start(
        stage: &Self::Stage,
        roll: &Arc<Roll>,
        children: &mut Vec<Self::Child>,
    ) -> impl Future<Output = Self::Tree> + Send;

    /// Tells a child to crash, and sees to it that its next incarnation finds the job behind it.
    fn crash(child: &Self::Child) -> impl Future<Output = ()> + Send;

    /// Stops the supervisor, and its children before it.
    fn stop(tree: Self::Tree, children: Vec<Self::Child>) -> impl Future<Output = ()> + Send;
}

/// A [`System`] without its types.
pub(crate) trait Candidate {
    fn name(&self) -> &'static str;
    fn family(&self) -> Family;
    fn takes(&self, work: Work) -> bool;
    /// Runs a workload once; one value per column of its cell.
    fn measure(&self, work: Work, size: Size) -> Vec<f64>;
}

impl<S: System> Candidate for S {
    fn name(&self) -> &'static str {
        System::name(self)
    }

    fn family(&self) -> Family {
        System::family(self)
    }

    fn takes(&self, work: Work) -> bool {
        System::takes(self, work)
    }

    fn measure(&self, work: Work, size: Size) -> Vec<f64> {
        match work {
            Work::Tell { layout } => callboard::tells(layout, size),
            _ => workloads::measure(self, work, size),
        }
    }
}

/// All systems, in the order of the tables.
pub(crate) fn all() -> Vec<Box<dyn Candidate>> {
    vec![
        Box::new(callboard::Supervised::OneForOne),
        Box::new(callboard::Supervised::Dynamic),
        Box::new(callboard::ByHand),
        Box::new(kameo::Kameo),
        Box::new(ractor::Ractor),
        Box::new(bare::Respawn),
        Box::new(bare::CatchUnwind),
    ]
}
