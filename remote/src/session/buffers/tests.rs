use super::*;

fn kept(buffers: &Buffers) -> (usize, usize) {
    let free = buffers.free.lock();
    let sum: usize = free.buffers.iter().map(Vec::capacity).sum();
    assert_eq!(free.bytes, sum);
    (free.buffers.len(), free.bytes)
}

#[test]
fn a_payload_lies_where_one_before_it_lay() {
    let buffers = Arc::new(Buffers::default());
    let first = buffers.copy_of(&[1; 50_000]);
    let second = buffers.copy_of(&[2; 50_000]);
    assert!(first == [1; 50_000][..] && second == [2; 50_000][..]);
    let at = first.as_ptr();
    let part = first.slice(10..20);
    drop(first);
    // Somebody still holds a part of it.
    assert_eq!(kept(&buffers).0, 0);
    drop(part);
    assert_eq!(kept(&buffers).0, 1);
    let third = buffers.copy_of(&[3; 49_000]);
    assert_eq!(third.as_ptr(), at);
    // A small one doesn't hold a large one.
    drop(third);
    assert_ne!(buffers.copy_of(&[4; 20_000]).as_ptr(), at);
}

#[test]
fn g33_what_is_kept_is_bounded_and_forgotten() {
    let buffers = Arc::new(Buffers::default());
    let many: Vec<Bytes> = (0..100).map(|_| buffers.copy_of(&[7; 50_000])).collect();
    drop(many);
    let (count, bytes) = kept(&buffers);
    assert!(count > 10 && bytes <= KEPT, "{count}, {bytes}");
    // Other sizes take their place.
    drop(buffers.copy_of(&[7; 200_000]));
    assert!(kept(&buffers).0 < count);
    let large = buffers.copy_of(&[7; 190_000]);
    drop(buffers.copy_of(&vec![7; KEPT + 1]));
    assert!(kept(&buffers).1 <= KEPT);
    buffers.rest();
    assert_eq!(kept(&buffers), (0, 0));
    // What comes back later has somewhere to go, or nowhere.
    drop(buffers);
    assert_eq!(large.len(), 190_000);
}
