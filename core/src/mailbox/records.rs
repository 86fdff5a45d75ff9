//! A run of messages of any types, packed one behind the other: what a mailbox holds.
//!
//! Each record is a pointer to the table of its type, then the message itself, padded to eight bytes. So
//! a tell writes a few words and allocates nothing, and the loop takes all that has come by swapping two
//! of these. A message that is over-aligned or large sits in a box. The first few messages lie in a block
//! of the thread's pool, so that an actor at rest holds no memory for them, and one that gets a message
//! finds some that is still in the cache.
#![allow(unsafe_code)]

use std::alloc::{Layout, alloc, dealloc, handle_alloc_error};
use std::fmt;
use std::marker::PhantomData;
use std::ptr::NonNull;

use crate::sync::{BLOCK, give_block, take_block};

/// Bytes of a word; records begin on one.
const WORD: usize = 8;
/// A message above this size is boxed, so that a buffer of a few of them doesn't grow huge. (And so that
/// the words of a record fit into the low bits of its header.)
const INLINE: usize = 480;
/// Words of the first buffer: a block of the pool.
const FIRST: u32 = (BLOCK / WORD) as u32;
/// Words of the largest buffer that is kept when it is empty.
const KEPT: u32 = 16 * 1_024;

/// What records of one kind are consumed with.
pub(crate) trait Kind: 'static {
    /// What a record is handed when its turn has come.
    type Use<'a>;
    /// What it answers.
    type Done;
}

/// What is put into [`Records`].
pub(crate) trait Record<K: Kind>: Send + 'static {
    /// Consumes the record. Must not touch the `Records` it came from.
    fn consume(self, with: K::Use<'_>) -> K::Done;
}

/// Aligned, so that the low bits of its address are free for what is needed before the table is: the chain
/// of loads from one record to the next is what bounds the loop.
#[repr(align(128))]
struct Vtable<K: Kind> {
    consume: unsafe fn(NonNull<u64>, K::Use<'_>) -> K::Done,
    drop: unsafe fn(NonNull<u64>),
}

unsafe fn consume_as<R: Record<K>, K: Kind>(payload: NonNull<u64>, with: K::Use<'_>) -> K::Done {
    // SAFETY: the caller vouches that an `R` is there and won't be used again.
    let record = unsafe { payload.cast::<R>().as_ptr().read() };
    record.consume(with)
}

unsafe fn drop_as<R>(payload: NonNull<u64>) {
    // SAFETY: as above.
    unsafe { payload.cast::<R>().as_ptr().drop_in_place() };
}

struct TableOf<R, K>(PhantomData<(R, K)>);

impl<R: Record<K>, K: Kind> TableOf<R, K> {
    /// Words of the record, the header included.
    #[expect(clippy::cast_possible_truncation, reason = "at most INLINE bytes")]
    const WORDS: u32 = 1 + size_of::<R>().div_ceil(WORD) as u32;
    const TABLE: &'static Vtable<K> = &Vtable {
        consume: consume_as::<R, K>,
        drop: drop_as::<R>,
    };
}

/// A record in a box counts as one pointer.
struct Boxed<R>(Box<R>);

impl<R: Record<K>, K: Kind> Record<K> for Boxed<R> {
    fn consume(self, with: K::Use<'_>) -> K::Done {
        (*self.0).consume(with)
    }
}

/// One pointer, so that taking all that has come is swapping two words; what changes with each message lies
/// beside the messages.
pub(crate) struct Records<K: Kind> {
    block: Option<NonNull<Block>>,
    kind: PhantomData<K>,
}

/// The beginning of a buffer. Positions are words from here.
#[repr(C, align(8))]
struct Block {
    /// Words of the buffer.
    capacity: u32,
    /// Where the next record will begin.
    tail: u32,
    count: u32,
    /// How many don't count against a bound.
    uncounted: u32,
    /// Where the first one begins.
    head: u32,
}

/// Where the first record of a buffer begins.
const START: u32 = (size_of::<Block>() / WORD) as u32;

impl Block {
    const fn new(capacity: u32) -> Self {
        Block {
            capacity,
            tail: START,
            count: 0,
            uncounted: 0,
            head: START,
        }
    }

    fn is_full_with(&self, words: u32) -> bool {
        self.tail + words > self.capacity
    }
}

/// A record's first word: the table of its type; in the bits that are free because of its alignment, the
/// words of the record, and in the lowest that it does not count against the bound.
struct Header<K: Kind>(*const Vtable<K>);

const UNCOUNTED: usize = 1;
const WORDS_FROM: u32 = 1;
const WORDS: usize = 0b111_1110;
const _: () = assert!(INLINE / WORD < WORDS >> WORDS_FROM);

impl<K: Kind> Header<K> {
    #[inline]
    fn of<R: Record<K>>(counted: bool) -> Self {
        let low = (TableOf::<R, K>::WORDS as usize) << WORDS_FROM;
        let low = low | if counted { 0 } else { UNCOUNTED };
        Header(std::ptr::from_ref(TableOf::<R, K>::TABLE).map_addr(|address| address | low))
    }

    #[inline]
    fn is_counted(&self) -> bool {
        self.0.addr() & UNCOUNTED == 0
    }

    #[inline]
    fn words(&self) -> u32 {
        #[expect(clippy::cast_possible_truncation, reason = "six bits")]
        let words = ((self.0.addr() & WORDS) >> WORDS_FROM) as u32;
        words
    }

    #[inline]
    fn table(&self) -> &'static Vtable<K> {
        // SAFETY: without the low bits it is the reference that `of` took.
        unsafe { &*self.0.map_addr(|address| address & !(WORDS | UNCOUNTED)) }
    }
}

impl<K: Kind> Clone for Header<K> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<K: Kind> Copy for Header<K> {}

// SAFETY: a record is `Send`, and `Records` owns what it holds.
unsafe impl<K: Kind> Send for Records<K> {}

impl<K: Kind> Records<K> {
    pub(crate) const fn new() -> Self {
        Records {
            block: None,
            kind: PhantomData,
        }
    }

    #[inline]
    fn block(&self) -> Option<&Block> {
        // SAFETY: the block is ours alone, and lives until `release`.
        self.block.map(|block| unsafe { block.as_ref() })
    }

    /// How many records are in it.
    #[inline]
    pub(crate) fn len(&self) -> u32 {
        self.block().map_or(0, |block| block.count)
    }

    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many records count against a bound.
    #[inline]
    pub(crate) fn counted(&self) -> u32 {
        self.block()
            .map_or(0, |block| block.count - block.uncounted)
    }

    /// Puts a record behind the others.
    #[inline]
    pub(crate) fn push<R: Record<K>>(&mut self, record: R, counted: bool) {
        if align_of::<R>() > WORD || size_of::<R>() > INLINE {
            self.put(Boxed(Box::new(record)), counted);
        } else {
            self.put(record, counted);
        }
    }

    #[inline]
    fn put<R: Record<K>>(&mut self, record: R, counted: bool) {
        let header = Header::<K>::of::<R>(counted);
        let words = TableOf::<R, K>::WORDS;
        // SAFETY: `claim` made room for that many words there. The header takes one, and an `R` needs no
        // more alignment than a word has.
        unsafe {
            let place = self.claim(words, counted);
            place.cast::<Header<K>>().as_ptr().write(header);
            place.add(1).cast::<R>().as_ptr().write(record);
        }
    }

    /// Claims room for a record behind the others.
    #[inline]
    fn claim(&mut self, words: u32, counted: bool) -> NonNull<u64> {
        let mut block = match self.block {
            Some(block) => block,
            None => self.first_block(),
        };
        // SAFETY: the block is ours alone.
        if unsafe { block.as_ref() }.is_full_with(words) {
            block = self.make_room(words);
        }
        // SAFETY: as above; `tail` lies in the buffer.
        unsafe {
            let head = block.as_mut();
            let place = block.cast::<u64>().add(head.tail as usize);
            head.tail += words;
            head.count += 1;
            if !counted {
                head.uncounted += 1;
            }
            place
        }
    }

    #[inline]
    fn first_block(&mut self) -> NonNull<Block> {
        let block = take_block().cast::<Block>();
        // SAFETY: a block of the pool is large enough, aligned, and ours alone.
        unsafe { block.write(Block::new(FIRST)) };
        self.block = Some(block);
        block
    }

    /// Moves everything to the front, into a larger buffer if it must be.
    #[cold]
    fn make_room(&mut self, needed: u32) -> NonNull<Block> {
        let (used, before, count, uncounted) = self.block().map_or((0, 0, 0, 0), |block| {
            let used = block.tail - block.head;
            (used, block.capacity, block.count, block.uncounted)
        });
        // Words that were consumed are used again only when they are at least half of the buffer, so that
        // moving stays cheap against pushing.
        let wanted = START + used + needed;
        let capacity = if wanted > before / 2 {
            let doubled = before.checked_mul(2).and_then(|words| {
                wanted
                    .checked_next_power_of_two()
                    .map(|wanted| words.max(wanted))
            });
            // That are 32 GiB in one mailbox.
            doubled.unwrap_or_else(|| panic!("a mailbox of more than {before} words is too large"))
        } else {
            before
        };
        let capacity = capacity.max(FIRST);
        let new = allocate(capacity).cast::<Block>();
        // SAFETY: the new buffer is large enough for its beginning and `used` words more. The records lie in
        // `head..tail` of the old one; moving their bytes moves them, and the old ones are not used again.
        unsafe {
            new.write(Block {
                tail: START + used,
                count,
                uncounted,
                ..Block::new(capacity)
            });
            if let Some(old) = self.block {
                let from = old.cast::<u64>().add(old.as_ref().head as usize);
                let to = new.cast::<u64>().add(START as usize);
                to.copy_from_nonoverlapping(from, used as usize);
                self.release();
            }
        }
        self.block = Some(new);
        new
    }

    /// Takes the first record out and has it consumed. `None` if there is none.
    pub(crate) fn consume_first(&mut self, with: K::Use<'_>) -> Option<K::Done> {
        self.consume_first_after(with, |_| ())
    }

    /// The same, and lets `before` look at the others first.
    #[inline]
    pub(crate) fn consume_first_after(
        &mut self,
        with: K::Use<'_>,
        before: impl FnOnce(&Self),
    ) -> Option<K::Done> {
        let (header, payload) = self.advance()?;
        before(self);
        // SAFETY: the record was put there with this table, and `advance` has marked it gone.
        Some(unsafe { (header.table().consume)(payload, with) })
    }

    /// Takes the oldest record out that counts against the bound; those that don't keep their places.
    pub(crate) fn evict(&mut self) -> Records<K> {
        let (mut evicted, mut kept) = (Records::new(), Records::new());
        while self.counted() > 0 && evicted.is_empty() {
            let Some((header, payload)) = self.advance() else {
                break;
            };
            let other = if header.is_counted() {
                &mut evicted
            } else {
                &mut kept
            };
            // SAFETY: the record was just marked gone here, and its bytes are still in place.
            unsafe { other.adopt(header, payload) };
        }
        if !kept.is_empty() {
            while let Some((header, payload)) = self.advance() {
                // SAFETY: as above.
                unsafe { kept.adopt(header, payload) };
            }
            std::mem::swap(self, &mut kept);
        }
        evicted
    }

    /// Moves the first record to the end of another run. `false` if there is none.
    pub(crate) fn move_first_to(&mut self, other: &mut Records<K>) -> bool {
        let Some((header, payload)) = self.advance() else {
            return false;
        };
        // SAFETY: the record was just marked gone here, and its bytes are still in place.
        unsafe { other.adopt(header, payload) };
        true
    }

    /// Takes over a record's bytes.
    ///
    /// # Safety
    /// A record with that header is at `payload`, in no run any more, and not in this one's memory.
    unsafe fn adopt(&mut self, header: Header<K>, payload: NonNull<u64>) {
        let words = header.words();
        let place = self.claim(words, header.is_counted());
        // SAFETY: `claim` made room for that many words there; moving the bytes moves the record.
        unsafe {
            place.cast::<Header<K>>().as_ptr().write(header);
            place
                .add(1)
                .copy_from_nonoverlapping(payload, words as usize - 1);
        }
    }

    #[inline]
    fn advance(&mut self) -> Option<(Header<K>, NonNull<u64>)> {
        let memory = self.block?;
        // SAFETY: the block is ours alone.
        let block = unsafe { &mut *memory.as_ptr() };
        if block.count == 0 {
            return None;
        }
        // SAFETY: there is a record at `head`: its header, then its payload.
        let (header, payload) = unsafe {
            let place = memory.cast::<u64>().add(block.head as usize);
            (*place.cast::<Header<K>>().as_ref(), place.add(1))
        };
        block.head += header.words();
        block.count -= 1;
        if !header.is_counted() {
            block.uncounted -= 1;
        }
        if block.count == 0 {
            block.head = START;
            block.tail = START;
        }
        Some((header, payload))
    }

    /// Gives the memory of a burst back.
    #[inline]
    pub(crate) fn shrink(&mut self) {
        if self
            .block()
            .is_some_and(|block| block.capacity > KEPT && block.count == 0)
        {
            self.release();
        }
    }

    /// Gives the first buffer back to this thread's pool, if that is all there is, and it is empty.
    #[inline]
    pub(crate) fn give_block(&mut self) {
        if self
            .block()
            .is_some_and(|block| block.capacity == FIRST && block.count == 0)
            && let Some(block) = self.block.take()
        {
            // SAFETY: a buffer of that size is a block of the pool, and no record is in it.
            unsafe { give_block(block.cast()) };
        }
    }

    fn release(&mut self) {
        let Some(block) = self.block.take() else {
            return;
        };
        // SAFETY: it was allocated with that capacity; no record is in it any more. A buffer of the first
        // size is a block of the pool.
        unsafe {
            let capacity = block.as_ref().capacity;
            if capacity == FIRST {
                give_block(block.cast());
            } else {
                dealloc(block.as_ptr().cast(), words(capacity));
            }
        }
    }
}

fn allocate(capacity: u32) -> NonNull<u8> {
    if capacity == FIRST {
        return take_block();
    }
    let layout = words(capacity);
    // SAFETY: the layout isn't empty.
    let memory = unsafe { alloc(layout) };
    NonNull::new(memory).unwrap_or_else(|| handle_alloc_error(layout))
}

fn words(count: u32) -> Layout {
    Layout::array::<u64>(count as usize)
        .unwrap_or_else(|_| panic!("bug: a buffer of {count} words"))
}

impl<K: Kind> Default for Records<K> {
    fn default() -> Self {
        Records::new()
    }
}

impl<K: Kind> Drop for Records<K> {
    fn drop(&mut self) {
        while let Some((header, payload)) = self.advance() {
            // SAFETY: as in `consume_first`.
            unsafe { (header.table().drop)(payload) };
        }
        self.release();
    }
}

impl<K: Kind> fmt::Debug for Records<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Records")
            .field("len", &self.len())
            .finish_non_exhaustive()
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use std::cell::RefCell;
    use std::collections::VecDeque;
    use std::sync::Arc;

    use proptest::prelude::*;

    use super::*;

    struct Logged;

    impl Kind for Logged {
        type Use<'a> = &'a RefCell<Vec<u64>>;
        type Done = ();
    }

    /// A record of `N` bytes that knows its number and counts its life.
    struct Sized<const N: usize>(
        u64,
        [u8; N],
        #[expect(dead_code, reason = "counted by its drop")] Arc<()>,
    );

    impl<const N: usize> Record<Logged> for Sized<N> {
        fn consume(self, log: &RefCell<Vec<u64>>) {
            assert!(self.1.iter().all(|byte| u64::from(*byte) == self.0 % 251));
            log.borrow_mut().push(self.0);
        }
    }

    #[repr(align(64))]
    struct Wide(
        u64,
        #[expect(dead_code, reason = "counted by its drop")] Arc<()>,
    );

    impl Record<Logged> for Wide {
        fn consume(self, log: &RefCell<Vec<u64>>) {
            assert_eq!(std::ptr::from_ref(&self).addr() % 64, 0);
            log.borrow_mut().push(self.0);
        }
    }

    fn push(records: &mut Records<Logged>, shape: u8, number: u64, alive: &Arc<()>) {
        let byte = u8::try_from(number % 251).unwrap_or(0);
        let alive = Arc::clone(alive);
        match shape % 6 {
            0 => records.push(Sized(number, [byte; 0], alive), true),
            1 => records.push(Sized(number, [byte; 1], alive), true),
            2 => records.push(Sized(number, [byte; 40], alive), true),
            3 => records.push(Sized(number, [byte; 490], alive), true),
            4 => records.push(Sized(number, [byte; 5_000], alive), true),
            _ => records.push(Wide(number, alive), true),
        }
    }

    proptest! {
        /// First in, first out, each consumed or dropped exactly once, whatever their sizes.
        #[test]
        fn records_behave_like_a_list(steps in proptest::collection::vec(any::<Option<u8>>(), 0..400)) {
            let alive = Arc::new(());
            let mut records = Records::<Logged>::new();
            let mut model = VecDeque::new();
            let log = RefCell::new(Vec::new());
            let mut expected = Vec::new();
            for (number, step) in steps.into_iter().enumerate() {
                match step {
                    Some(shape) => {
                        push(&mut records, shape, number as u64, &alive);
                        model.push_back(number as u64);
                    }
                    None => {
                        prop_assert_eq!(records.consume_first(&log).is_some(), !model.is_empty());
                        expected.extend(model.pop_front());
                    }
                }
                prop_assert_eq!(records.len() as usize, model.len());
                prop_assert_eq!(Arc::strong_count(&alive), 1 + model.len());
            }
            prop_assert_eq!(&*log.borrow(), &expected);
            drop(records);
            prop_assert_eq!(Arc::strong_count(&alive), 1);
        }
    }

    #[test]
    fn the_memory_of_a_burst_is_given_back() {
        let alive = Arc::new(());
        let log = RefCell::new(Vec::new());
        let mut records = Records::<Logged>::new();
        for number in 0..100_000 {
            push(&mut records, 0, number, &alive);
        }
        while records.consume_first(&log).is_some() {}
        records.shrink();
        assert!(records.block.is_none());
        push(&mut records, 0, 1, &alive);
        assert!(records.consume_first(&log).is_some());
        records.give_block();
        assert!(records.block.is_none());
    }
}
