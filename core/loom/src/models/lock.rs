//! The lock: one at a time, and each sees what the one before wrote.

use loom::sync::Arc;
use loom::thread;

use crate::sync::SpinLock;

#[test]
fn increments_are_not_lost() {
    loom::model(|| {
        let lock = Arc::new(SpinLock::new(0));
        let other = Arc::clone(&lock);
        let thread = thread::spawn(move || *other.lock() += 1);
        *lock.lock() += 1;
        thread.join().unwrap();
        assert_eq!(*lock.lock(), 2);
    });
}

#[test]
fn data_of_several_words_is_never_seen_half_written() {
    loom::model(|| {
        let lock = Arc::new(SpinLock::new((0_u32, vec![0_u32])));
        let add = |lock: &SpinLock<(u32, Vec<u32>)>, step| {
            let mut data = lock.lock();
            assert_eq!(data.0, data.1.iter().sum());
            data.0 += step;
            thread::yield_now();
            data.1.push(step);
        };
        let other = Arc::clone(&lock);
        let thread = thread::spawn(move || {
            add(&other, 1);
            add(&other, 2);
        });
        add(&lock, 4);
        add(&lock, 8);
        thread.join().unwrap();
        assert_eq!(lock.lock().0, 15);
    });
}
