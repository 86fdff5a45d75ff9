//! The drill: two thousand page requests over real HTTP while processes are killed and stopped,
//! connections cut, enrolments repeated, and policies edited. It ends with a table and a verdict.

mod cuts;
mod enrolments;
mod faults;
mod judge;
mod policies;
mod traffic;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use callboard::clock::{Clock, Instant, Sleep};
use parking_lot::Mutex;

use crate::calls::Part;
use crate::platform::Platform;
use crate::report::Progress;

/// So many pages are asked for.
const PAGES: usize = 2_000;
/// They are spread over this time.
const LENGTH: Duration = Duration::from_secs(20);
/// So many clients ask at once; when pages take long they fall behind, and catch up later.
const CLIENTS: usize = 24;

/// A running drill.
pub(crate) struct Drill {
    platform: Arc<Platform>,
    server: SocketAddr,
    clock: Clock,
    started: Instant,
    progress: Mutex<Progress>,
    seen: Mutex<Vec<Seen>>,
    faults: Mutex<Vec<Fault>>,
    enrolments: Mutex<enrolments::Outcome>,
    edits: Mutex<policies::Edits>,
    cuts: Mutex<cuts::Outcome>,
}

/// One page request, as its client saw it.
#[derive(Debug)]
struct Seen {
    from: Instant,
    to: Instant,
    /// The parts that the page did without; or why it is no page.
    page: Result<Vec<Part>, String>,
}

/// A fault, and how long its part was away because of it.
#[derive(Debug)]
struct Fault {
    what: String,
    part: Part,
    from: Instant,
    /// When the part answered again.
    to: Option<Instant>,
}

/// Runs the drill against a platform that serves on `server`. Answers whether it kept its promises.
pub(crate) async fn run(platform: &Arc<Platform>, server: SocketAddr) -> bool {
    let clock = platform.system.clock().clone();
    let drill = Drill {
        platform: Arc::clone(platform),
        server,
        started: clock.now(),
        progress: Mutex::new(Progress::new(&clock, PAGES)),
        clock,
        seen: Mutex::default(),
        faults: Mutex::default(),
        enrolments: Mutex::default(),
        edits: Mutex::default(),
        cuts: Mutex::default(),
    };
    drill.say(&format!(
        "{PAGES} pages are asked for, by {CLIENTS} clients at once"
    ));
    tokio::join!(
        drill.visit_pages(),
        drill.make_faults(),
        drill.enrol_learners(),
    );
    drill.judge().await
}

impl Drill {
    /// Completes at that time of the drill.
    fn at(&self, seconds: f64) -> Sleep {
        self.clock
            .sleep_until(self.started + Duration::from_secs_f64(seconds))
    }

    fn say(&self, what: &str) {
        self.progress.lock().say(what);
    }
}
