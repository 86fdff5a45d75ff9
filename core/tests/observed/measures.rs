//! Metrics: what is measured, of whom, and that nothing is where it is switched off.

use std::future::Future;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use callboard::metrics::MEASURED_LABELS;
use callboard::{
    Actor, ActorRef, Context, DeferredHandler, DropReason, Handler, Message, Overflow, RequestKey,
    Responder, Simulation, System,
};
use futures::channel::oneshot;

use crate::meter::Meter;

const WORK: Duration = Duration::from_millis(50);

struct Worker;

impl Actor for Worker {}

/// Takes a while.
#[derive(Message)]
#[message(reply = u64)]
struct Work;

impl Handler<Work> for Worker {
    async fn handle(&mut self, _: Work, ctx: &mut Context<Self>) -> u64 {
        ctx.sleep(WORK).await;
        7
    }
}

/// Takes none.
#[derive(Message)]
#[message(reply = u64)]
struct Quick;

impl Handler<Quick> for Worker {
    async fn handle(&mut self, _: Quick, _ctx: &mut Context<Self>) -> u64 {
        7
    }
}

/// Answered by a task.
#[derive(Message)]
#[message(reply = u64)]
struct Later;

impl DeferredHandler<Later> for Worker {
    async fn handle_deferred(&mut self, _: Later, to: Responder<u64>, ctx: &mut Context<Self>) {
        let due = ctx.sleep(WORK);
        ctx.spawn(async move {
            due.await;
            to.send(7);
        });
    }
}

#[derive(Message)]
struct Boom;

impl Handler<Boom> for Worker {
    async fn handle(&mut self, _: Boom, ctx: &mut Context<Self>) {
        ctx.sleep(WORK).await;
        panic!("boom");
    }
}

#[derive(Message)]
struct Hold(oneshot::Sender<()>, oneshot::Receiver<()>);

impl Handler<Hold> for Worker {
    async fn handle(&mut self, Hold(began, gate): Hold, _ctx: &mut Context<Self>) {
        began.send(()).unwrap();
        let _ = gate.await;
    }
}

/// A label that no other test, and no other run of this one, has.
fn label() -> String {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    format!("worker-{}", NEXT.fetch_add(1, Ordering::Relaxed))
}

fn worker(system: &System, label: &str) -> ActorRef<Worker> {
    system.actor(|| Worker).label(label).start()
}

fn wait(label: &str) -> String {
    format!("callboard_mailbox_wait_seconds{{actor={label}}}")
}

fn handler<M>(label: &str) -> String {
    let message = std::any::type_name::<M>();
    format!("callboard_handler_seconds{{actor={label},message={message}}}")
}

fn asks<M>(label: &str, outcome: &str) -> String {
    let message = std::any::type_name::<M>();
    format!("callboard_ask_seconds{{actor={label},message={message},outcome={outcome}}}")
}

/// Runs in virtual time, with a recorder of its own.
fn simulated<F: Future<Output = ()>>(body: impl FnOnce(System) -> F) -> Meter {
    let meter = Meter::default();
    metrics::with_local_recorder(&meter, || {
        let mut simulation = Simulation::new(3);
        let system = simulation.system().clone();
        simulation.block_on(async move {
            system.measure(true);
            body(system.clone()).await;
            system.shutdown().await;
        });
    });
    meter
}

#[test]
fn wait_handling_and_asks_take_the_time_they_take() {
    for hand_off in [true, false] {
        let meter = simulated(async |system| {
            system.hand_off(hand_off);
            let worker = worker(&system, "w");
            worker.ask(Quick).await.unwrap();
            // The second waits for the first.
            let both = futures::join!(
                worker.ask(Work).into_future(),
                worker.ask(Work).into_future()
            );
            assert_eq!((both.0.unwrap(), both.1.unwrap()), (7, 7));
            worker.tell(Work).await.unwrap();
            worker.ask(Later).await.unwrap();
        });
        let near = |seen: Vec<f64>, expected: &[f64]| {
            let same = seen.len() == expected.len()
                && seen.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-6);
            assert!(same, "{seen:?}, not {expected:?}, hand-off {hand_off}");
        };
        // Quick, Work, Work behind it, the told one, Later behind that.
        near(meter.samples(&wait("w")), &[0.0, 0.0, 0.05, 0.0, 0.05]);
        near(meter.samples(&handler::<Work>("w")), &[0.05; 3]);
        near(meter.samples(&handler::<Quick>("w")), &[0.0]);
        near(meter.samples(&asks::<Work>("w", "reply")), &[0.05, 0.1]);
        // Its handler ended at once; its answer took longer, behind the other.
        near(meter.samples(&handler::<Later>("w")), &[0.0]);
        near(meter.samples(&asks::<Later>("w", "reply")), &[0.1]);
    }
}

#[test]
fn an_ask_that_ends_otherwise_counts_with_the_time_it_took() {
    let meter = simulated(async |system| {
        let worker = worker(&system, "w");
        let (began, has_begun) = oneshot::channel();
        let (open, gate) = oneshot::channel();
        worker.tell(Hold(began, gate)).await.unwrap();
        has_begun.await.unwrap();
        // Times out in the mailbox.
        worker.ask(Quick).deadline(WORK).await.unwrap_err();
        open.send(()).unwrap();
        // Times out in its handler, whose reply comes too late.
        worker.ask(Work).deadline(WORK / 2).await.unwrap_err();
        worker.ask(Boom).await.unwrap_err();
        worker.wait().await;
        // Refused.
        worker.ask(Quick).await.unwrap_err();
        assert_eq!(system.counters().drops(DropReason::LateReply), 1);
    });
    let near = |name: String, expected: &[f64]| {
        let seen = meter.samples(&name);
        let same = seen.len() == expected.len()
            && seen.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-6);
        assert!(same, "{name}: {seen:?}, not {expected:?}");
    };
    near(asks::<Quick>("w", "withdrawn"), &[0.05]);
    near(asks::<Quick>("w", "failure"), &[0.0]);
    near(asks::<Work>("w", "withdrawn"), &[0.025]);
    // Once each: what comes after the end isn't a second end.
    near(asks::<Work>("w", "reply"), &[]);
    near(handler::<Work>("w"), &[0.05]);
    near(asks::<Boom>("w", "failure"), &[0.075]);
    // A handler that panicked took time, too.
    near(handler::<Boom>("w"), &[0.05]);
    // What expired or was given up had no handler, and no wait that ended in one.
    near(handler::<Quick>("w"), &[]);
}

#[callboard::test(both)]
async fn each_message_is_measured_once_however_it_comes(system: System) {
    let (meter, label) = (Meter::global(), label());
    system.measure(true);
    assert!(system.is_measured());
    let worker = worker(&system, &label);
    worker.tell(Quick).await.unwrap();
    worker.try_tell(Quick).unwrap();
    worker.ask(Quick).await.unwrap();
    worker.ask(Quick).key(RequestKey::new()).await.unwrap();
    worker.recipient::<Quick, _>().ask(Quick).await.unwrap();
    assert_eq!(meter.samples(&wait(&label)).len(), 5);
    assert_eq!(meter.samples(&handler::<Quick>(&label)).len(), 5);
    assert_eq!(meter.samples(&asks::<Quick>(&label, "reply")).len(), 3);
    system.measure(false);
    worker.ask(Quick).await.unwrap();
    worker.tell(Quick).await.unwrap();
    worker.ask(Quick).await.unwrap();
    assert_eq!(meter.samples(&wait(&label)).len(), 5);
    assert!(meter.samples(&wait(&label)).iter().all(|wait| *wait >= 0.0));
}

#[test]
fn a_system_that_does_not_measure_is_not_measured_beside_one_that_does() {
    let (meter, ours, theirs) = (Meter::global(), label(), label());
    let [system, other] = [1, 2].map(|arbiters| System::with_arbiters(arbiters).unwrap());
    other.measure(true);
    let (a, b) = (worker(&system, &ours), worker(&other, &theirs));
    for _ in 0..3 {
        a.ask(Quick).blocking().unwrap();
        a.tell(Quick).blocking().unwrap();
        b.ask(Quick).blocking().unwrap();
    }
    // The told are handled by then.
    a.ask(Quick).blocking().unwrap();
    assert_eq!(meter.samples(&wait(&ours)).len(), 0);
    assert_eq!(meter.samples(&wait(&theirs)).len(), 3);
    other.shutdown_blocking().unwrap();
    assert!(!other.is_measured());
    other.measure(true);
    assert!(!other.is_measured(), "it has been shut down");
    system.shutdown_blocking().unwrap();
}

#[test]
fn counters_and_gauges_are_published_now_and_then_and_at_the_end() {
    let meter = Meter::default();
    metrics::with_local_recorder(&meter, || {
        let mut simulation = Simulation::new(3);
        let system = simulation.system().clone();
        simulation.block_on(async {
            let full = system
                .actor(|| Worker)
                .label("full")
                .mailbox(2, Overflow::DropNewest)
                .start();
            let (began, has_begun) = oneshot::channel();
            let (_open, gate) = oneshot::channel();
            full.tell(Hold(began, gate)).await.unwrap();
            has_begun.await.unwrap();
            let others = [worker(&system, "same"), worker(&system, "same")];
            assert!(system.publish_metrics(Duration::from_secs(10)));
            let clock = system.clock().clone();
            clock.sleep(Duration::from_secs(1)).await;
            assert_eq!(
                meter.gauge("callboard_mailbox_depth{actor=full}"),
                Some(0.0)
            );
            assert_eq!(meter.gauge("callboard_actors{actor=same}"), Some(2.0));
            let drops = "callboard_drops_total{reason=drop_newest}";
            assert_eq!(
                meter.names("callboard_drops_total").len(),
                DropReason::ALL.len()
            );
            for _ in 0..5 {
                full.tell(Quick).await.unwrap();
            }
            assert_eq!(
                (
                    meter.counter(drops),
                    system.counters().drops(DropReason::DropNewest)
                ),
                (0, 3)
            );
            clock.sleep(Duration::from_secs(10)).await;
            assert_eq!(meter.counter(drops), 3);
            assert_eq!(
                meter.gauge("callboard_mailbox_depth{actor=full}"),
                Some(2.0)
            );
            // Told again, as a growth of nothing.
            clock.sleep(Duration::from_secs(10)).await;
            assert_eq!(meter.counter(drops), 3);
            // Another period takes the place of the first.
            assert!(system.publish_metrics(Duration::from_secs(1_000)));
            clock.sleep(Duration::from_secs(1)).await;
            others[0].ask(Boom).await.unwrap_err();
            others[0].wait().await;
            clock.sleep(Duration::from_secs(100)).await;
            assert_eq!(meter.counter("callboard_panics_total{}"), 0);
            full.kill();
            system.shutdown().await;
            // What nobody waited for came at the end, and who is gone is nobody.
            assert_eq!(meter.counter("callboard_panics_total{}"), 1);
            assert_eq!(meter.counter("callboard_drops_total{reason=stopped}"), 2);
            assert_eq!(
                meter.gauge("callboard_mailbox_depth{actor=full}"),
                Some(0.0)
            );
            assert_eq!(meter.gauge("callboard_actors{actor=same}"), Some(0.0));
            assert!(!system.publish_metrics(Duration::from_secs(1)));
        });
    });
    // Names and units are what Prometheus expects; the recorder has asserted that each is described.
    for (name, unit) in meter.described() {
        let unit = unit.unwrap();
        assert_eq!(
            name.ends_with("_seconds"),
            unit == metrics::Unit::Seconds,
            "{name}"
        );
        assert!(name.starts_with("callboard_"), "{name}");
    }
}

#[test]
fn late_replies_have_a_counter_of_their_own() {
    let meter = simulated(async |system| {
        system.publish_metrics(Duration::from_secs(1));
        let worker = worker(&system, "w");
        worker.ask(Work).deadline(WORK / 2).await.unwrap_err();
        worker.ask(Quick).await.unwrap();
    });
    assert_eq!(meter.counter("callboard_late_replies_total{}"), 1);
    assert_eq!(meter.counter("callboard_drops_total{reason=late_reply}"), 1);
}

#[test]
fn g03_labels_past_the_bound_are_reported_together() {
    let labels = |n: usize| format!("user {n:04}");
    let meter = simulated(async |system| {
        system.publish_metrics(Duration::from_secs(1));
        let mut all = Vec::new();
        for n in 0..MEASURED_LABELS + 5 {
            let worker = worker(&system, &labels(n));
            worker.ask(Quick).await.unwrap();
            worker.ask(Quick).await.unwrap();
            all.push(worker);
        }
        system.clock().sleep(Duration::from_secs(2)).await;
    });
    assert_eq!(meter.samples(&wait(&labels(0))).len(), 2);
    assert_eq!(meter.samples(&wait("other")).len(), 10);
    assert_eq!(meter.samples(&handler::<Quick>("other")).len(), 10);
    let bound = MEASURED_LABELS + 1;
    assert_eq!(meter.names("callboard_mailbox_wait_seconds").len(), bound);
    assert_eq!(meter.names("callboard_mailbox_depth").len(), bound);
}
