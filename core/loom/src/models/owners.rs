//! Two owners: the second to go frees, once, and sees what the first did.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use loom::cell::UnsafeCell;
use loom::thread;

use crate::two::Half;

/// One cell for each owner, both read by the drop.
struct Shared {
    cells: [UnsafeCell<u32>; 2],
    drops: Arc<AtomicUsize>,
}

// SAFETY: a model; loom fails it if an access isn't ordered after those of the other thread.
#[allow(unsafe_code)]
unsafe impl Sync for Shared {}

impl Shared {
    fn write(&self, cell: usize) {
        self.cells[cell].with_mut(|cell| {
            // SAFETY: each cell has one writer, and loom checks that.
            #[allow(unsafe_code)]
            unsafe {
                *cell = 7;
            }
        });
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        for cell in &self.cells {
            // SAFETY: whoever drops is the last, and loom checks that.
            #[allow(unsafe_code)]
            let written = cell.with(|cell| unsafe { *cell });
            assert_eq!(written, 7);
        }
        self.drops.fetch_add(1, Ordering::SeqCst);
    }
}

#[test]
fn exactly_one_half_frees_and_sees_the_writes_of_both() {
    loom::model(|| {
        let drops = Arc::new(AtomicUsize::new(0));
        let (left, right) = Half::pair(Shared {
            cells: [UnsafeCell::new(0), UnsafeCell::new(0)],
            drops: Arc::clone(&drops),
        });
        let thread = thread::spawn(move || {
            left.write(0);
            drop(left);
        });
        right.write(1);
        drop(right);
        thread.join().unwrap();
        assert_eq!(drops.load(Ordering::SeqCst), 1);
    });
}
