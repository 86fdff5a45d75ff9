//! A test in the place of a supervisor: it owns one child, and is told of its events.

use std::sync::Arc;

use callboard::{ChildEvent, ExitReason, Incarnation, OnChildEvent, Place, Terms};
use futures::StreamExt;
use futures::channel::mpsc;

pub struct Owned<P> {
    pub place: P,
    on_event: OnChildEvent,
    events: mpsc::Receiver<(Incarnation, ChildEvent)>,
}

impl<P: Place> Owned<P> {
    pub fn new(place: P) -> Self {
        let (tx, events) = mpsc::channel(64);
        Owned {
            place,
            on_event: Arc::new(move |incarnation, event| {
                let _ = tx.clone().try_send((incarnation, event));
            }),
            events,
        }
    }

    /// Starts the next incarnation, and doesn't wait.
    pub fn begin(&self) {
        self.place.start(Terms::new(Arc::clone(&self.on_event)));
    }

    /// Starts the next incarnation, and waits until it is up.
    pub async fn start(&mut self) {
        self.begin();
        assert_eq!(self.event().await, ChildEvent::Started);
    }

    /// The next event, which is one of the last incarnation begun.
    pub async fn event(&mut self) -> ChildEvent {
        let (incarnation, event) = self.events.next().await.unwrap();
        assert_eq!(incarnation, self.place.status().incarnation);
        event
    }

    /// Whether nothing has been told that wasn't asked for.
    pub fn is_silent(&mut self) -> bool {
        self.events.try_recv().is_err()
    }

    /// Waits until the incarnation has ended.
    pub async fn ended(&mut self) -> ExitReason {
        match self.event().await {
            ChildEvent::Ended(reason) => reason,
            other => panic!("{other:?}"),
        }
    }

    /// Waits until the start has failed. Answers why.
    pub async fn refused(&mut self) -> callboard::Fault {
        match self.event().await {
            ChildEvent::StartFailed(why) => why,
            other => panic!("{other:?}"),
        }
    }
}
