use std::task::Waker;

use super::*;

struct Bench {
    clock: Clock,
    heartbeat: Heartbeat,
    pings: u32,
}

impl Bench {
    fn new() -> Self {
        let clock = Clock::manual();
        let heartbeat = Heartbeat::new(clock.clone(), &LinkConfig::default());
        let pings = 0;
        Bench {
            clock,
            heartbeat,
            pings,
        }
    }

    /// Lets time pass in small steps; whether the peer is given up.
    fn pass(&mut self, span: Duration) -> bool {
        let end = self.clock.now() + span;
        let mut dead = false;
        while self.clock.now() < end {
            self.clock
                .advance_to((self.clock.now() + Duration::from_millis(100)).min(end));
            dead |= self.poll();
        }
        dead
    }

    fn heard(&mut self) {
        self.heartbeat.heard(self.clock.now());
    }

    fn poll(&mut self) -> bool {
        let mut cx = Context::from_waker(Waker::noop());
        self.heartbeat
            .poll(self.clock.now(), &mut cx, || self.pings += 1)
    }
}

#[test]
fn a_silent_peer_is_asked_after_one_second_and_given_up_four_later() {
    let mut bench = Bench::new();
    assert!(!bench.pass(Duration::from_millis(900)));
    assert_eq!(bench.pings, 0);
    assert!(!bench.pass(Duration::from_millis(200)));
    assert_eq!(bench.pings, 1);
    assert!(!bench.pass(Duration::from_millis(3_800)));
    assert!(bench.pass(Duration::from_millis(200)));
    assert_eq!(bench.pings, 1);
}

#[test]
fn anything_heard_starts_the_count_again() {
    let mut bench = Bench::new();
    for _ in 0..10 {
        assert!(!bench.pass(Duration::from_millis(3_500)));
        bench.heard();
    }
    assert_eq!(bench.pings, 10);
}

#[test]
fn a_process_that_slept_itself_does_not_blame_its_peer() {
    let mut bench = Bench::new();
    assert!(!bench.pass(Duration::from_secs(2)));
    bench
        .clock
        .advance_to(bench.clock.now() + Duration::from_secs(60));
    assert!(!bench.poll());
    assert!(!bench.pass(Duration::from_millis(3_900)));
    assert!(bench.pass(Duration::from_millis(200)));
}
