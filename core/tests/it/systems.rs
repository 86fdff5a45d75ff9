//! What a system keeps for layers above.

use callboard::System;

#[callboard::test(both)]
async fn what_a_layer_keeps_is_one_value_per_system(system: System) {
    #[derive(Default)]
    struct Kept(std::sync::atomic::AtomicU64);
    let count = |system: &System| {
        let kept = system.extension::<Kept>();
        kept.0.fetch_add(1, std::sync::atomic::Ordering::Relaxed)
    };
    assert_eq!((count(&system), count(&system)), (0, 1));
    let other = callboard::Simulation::new(1);
    assert_eq!(count(other.system()), 0);
    assert_eq!(count(&system), 2);
}
