//! G12 watch.

use callboard::{
    Actor, ActorRef, Context, ExitReason, Handler, Message, Overflow, System, Terminated,
};

use crate::common::{Boom, Log, Note, Worker, worker};

/// Logs the ends it is told of, and what it is told otherwise.
struct Watcher(Log);

#[derive(Message)]
struct WatchIt(ActorRef<Worker>);

#[derive(Message)]
struct Said(String);

impl Actor for Watcher {}

impl Handler<WatchIt> for Watcher {
    async fn handle(&mut self, WatchIt(worker): WatchIt, ctx: &mut Context<Self>) {
        ctx.watch(&worker);
    }
}

impl Handler<Terminated> for Watcher {
    async fn handle(&mut self, notice: Terminated, ctx: &mut Context<Self>) {
        // The name was freed first.
        let listed = ctx
            .system()
            .actors()
            .iter()
            .any(|actor| actor.id == notice.id);
        self.0.push(format!(
            "{} {} (listed: {listed})",
            notice.label, notice.reason
        ));
    }
}

impl Handler<Said> for Watcher {
    async fn handle(&mut self, Said(text): Said, _: &mut Context<Self>) {
        self.0.push(text);
    }
}

#[callboard::test(both)]
async fn g12_each_watch_gets_one_notice_with_the_reason_after_the_name_is_free(system: System) {
    let log = Log::default();
    let watcher = system.start(Watcher(log.clone()));
    let (stops, _) = worker(&system);
    let (fails, _) = worker(&system);
    let (dies, _) = worker(&system);
    for subject in [&stops, &fails, &dies] {
        watcher.ask(WatchIt(subject.clone())).await.unwrap();
    }
    stops.stop();
    stops.wait().await;
    fails.ask(Boom).await.unwrap_err();
    fails.wait().await;
    dies.kill();
    dies.wait().await;
    watcher.ask(Said("end".into())).await.unwrap();
    let expected = [
        "worker stopped (listed: false)",
        "worker failed: boom (listed: false)",
        "worker killed (listed: false)",
        "end",
    ];
    assert_eq!(log.lines(), expected);
}

#[callboard::test(both)]
async fn g12_a_watch_of_the_ended_is_answered_at_once(system: System) {
    let log = Log::default();
    let watcher = system.start(Watcher(log.clone()));
    let (subject, _) = worker(&system);
    subject.stop();
    subject.wait().await;
    watcher.ask(WatchIt(subject)).await.unwrap();
    watcher.ask(Said("end".into())).await.unwrap();
    assert_eq!(log.lines(), ["worker stopped (listed: false)", "end"]);
}

/// Tells its watcher a last word, then stops.
struct Talker(ActorRef<Watcher>);

#[derive(Message)]
struct Finish;

impl Actor for Talker {}

impl Handler<Finish> for Talker {
    async fn handle(&mut self, _: Finish, ctx: &mut Context<Self>) {
        for n in 0..3 {
            self.0.tell(Said(format!("word {n}"))).await.unwrap();
        }
        ctx.stop();
    }
}

#[derive(Message)]
struct WatchTalker(ActorRef<Talker>);

impl Handler<WatchTalker> for Watcher {
    async fn handle(&mut self, WatchTalker(talker): WatchTalker, ctx: &mut Context<Self>) {
        ctx.watch(&talker);
    }
}

#[callboard::test(both)]
async fn g12_the_notice_comes_after_every_message_of_its_subject(system: System) {
    let log = Log::default();
    let watcher = system.start(Watcher(log.clone()));
    let talker = system.start(Talker(watcher.clone()));
    watcher.ask(WatchTalker(talker.clone())).await.unwrap();
    talker.tell(Finish).await.unwrap();
    talker.wait().await;
    watcher.ask(Said("end".into())).await.unwrap();
    let expected = [
        "word 0",
        "word 1",
        "word 2",
        "Talker stopped (listed: false)",
        "end",
    ];
    assert_eq!(log.lines(), expected);
}

#[callboard::test(both)]
async fn g03_a_watch_has_room_for_its_notice_in_a_full_mailbox(system: System) {
    let log = Log::default();
    let inner = log.clone();
    let watcher = system
        .actor(move || Watcher(inner))
        .mailbox(1, Overflow::Fail)
        .start();
    let (subject, _) = worker(&system);
    watcher.ask(WatchIt(subject.clone())).await.unwrap();
    // The mailbox is full whenever the notice comes.
    let flooding = async {
        for n in 0..200 {
            let _ = watcher.try_tell(Said(format!("flood {n}")));
            if n == 100 {
                subject.kill();
            }
            let _ = subject.try_tell(Note(n));
        }
        assert_eq!(subject.wait().await, ExitReason::Killed);
    };
    flooding.await;
    while watcher.mailbox().len > 0 {
        system
            .clock()
            .sleep(std::time::Duration::from_millis(1))
            .await;
    }
    watcher.ask(Said("end".into())).await.unwrap();
    let notices = log
        .lines()
        .iter()
        .filter(|line| line.contains("killed"))
        .count();
    assert_eq!(notices, 1);
}
