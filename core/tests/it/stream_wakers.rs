//! G7: streamed answers.

use std::sync::Arc;

use callboard::answer_stream;

/// A waker that holds on to something, as that of a task does.
struct Holds<T>(T);

impl<T: Send + Sync + 'static> std::task::Wake for Holds<T> {
    fn wake(self: Arc<Self>) {
        let _ = &self.0;
    }
}

/// If it were under the lock, this would never end.
#[test]
fn g07_a_waker_of_a_streamed_answer_is_dropped_outside_the_lock() {
    let (mut sink, stream) = answer_stream::<u8>(1);
    sink.try_send(1).unwrap();
    let waker = Arc::new(Holds(parking_lot::Mutex::new(stream))).into();
    let mut cx = std::task::Context::from_waker(&waker);
    {
        let mut send = std::pin::pin!(sink.send(2));
        assert!(send.as_mut().poll(&mut cx).is_pending());
    }
    drop(waker);
    // The one that waited before was the last to hold the stream.
    let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
    let mut send = std::pin::pin!(sink.send(3));
    assert!(send.as_mut().poll(&mut cx).is_pending());
}
