//! Bounded single-producer single-consumer ring: the only channel between two shards.
//!
//! A full ring is the back-pressure signal: [`Producer::try_push`] hands the item back, and the shard
//! drains its own inbound rings before it tries again. Nothing here blocks, allocates or wakes a thread.
//!
//! # Invariants
//!
//! 1. `head <= tail <= head + capacity` (wrapping). Both only grow; the slot is `index & mask`.
//! 2. Slot `i` is initialised exactly when `head <= i < tail`.
//! 3. Only [`Producer`] stores `tail` and only [`Consumer`] stores `head`. Neither is `Clone`, and their
//!    methods take `&mut self`, so each has one user at a time.
//!
//! # Memory ordering
//!
//! `tail` is stored with Release after the slot is written and loaded with Acquire before it is read;
//! `head` is the mirror image. Each end keeps the last value it saw of the other's index and loads it
//! anew only when the ring looks full (or empty), so that in a steady flow the ends share no cache line.

use std::mem::MaybeUninit;

use crossbeam_utils::CachePadded;

use crate::sync::{Arc, AtomicBool, AtomicUsize, Ordering, UnsafeCell};

struct Shared<T> {
    head: CachePadded<AtomicUsize>,
    tail: CachePadded<AtomicUsize>,
    closed: AtomicBool,
    slots: Box<[UnsafeCell<MaybeUninit<T>>]>,
}

// SAFETY: by invariants 2 and 3 a slot is touched by one end at a time, handed over through the
// Release/Acquire pairs above, so sharing the ring only ever moves `T`s between threads.
unsafe impl<T: Send> Sync for Shared<T> {}
// SAFETY: as above; the ring owns its `T`s.
unsafe impl<T: Send> Send for Shared<T> {}

/// The sending end.
pub struct Producer<T> {
    shared: Arc<Shared<T>>,
    tail: usize,
    head_seen: usize,
}

/// The receiving end.
pub struct Consumer<T> {
    shared: Arc<Shared<T>>,
    head: usize,
    tail_seen: usize,
}

/// A ring of `capacity` slots.
///
/// # Panics
///
/// If `capacity` is not a power of two.
pub fn ring<T: Send>(capacity: usize) -> (Producer<T>, Consumer<T>) {
    assert!(capacity.is_power_of_two(), "a ring's capacity is a power of two");
    let slots = (0..capacity).map(|_| UnsafeCell::new(MaybeUninit::uninit())).collect();
    let shared = Arc::new(Shared {
        head: CachePadded::new(AtomicUsize::new(0)),
        tail: CachePadded::new(AtomicUsize::new(0)),
        closed: AtomicBool::new(false),
        slots,
    });
    let producer = Producer { shared: Arc::clone(&shared), tail: 0, head_seen: 0 };
    (producer, Consumer { shared, head: 0, tail_seen: 0 })
}

impl<T> Producer<T> {
    /// Appends `item`, or hands it back if the ring is full.
    ///
    /// # Errors
    ///
    /// The item itself, when there is no room.
    pub fn try_push(&mut self, item: T) -> Result<(), T> {
        if !self.has_room() {
            return Err(item);
        }
        let mask = self.shared.slots.len() - 1;
        self.shared.slots[self.tail & mask].with_mut(|slot| {
            // SAFETY: `has_room` showed `tail < head + capacity`, so by invariant 2 the slot is
            // uninitialised and the consumer does not touch it until `tail` is stored below.
            unsafe { (*slot).write(item) };
        });
        self.tail = self.tail.wrapping_add(1);
        self.shared.tail.store(self.tail, Ordering::Release);
        Ok(())
    }

    /// Whether the next [`Producer::try_push`] will succeed.
    pub fn has_room(&mut self) -> bool {
        let capacity = self.shared.slots.len();
        if self.tail.wrapping_sub(self.head_seen) < capacity {
            return true;
        }
        self.head_seen = self.shared.head.load(Ordering::Acquire);
        self.tail.wrapping_sub(self.head_seen) < capacity
    }

    /// Whether the receiving end is gone.
    pub fn is_closed(&self) -> bool {
        self.shared.closed.load(Ordering::Acquire)
    }
}

impl<T> Consumer<T> {
    /// Takes the oldest item, if there is one.
    pub fn try_pop(&mut self) -> Option<T> {
        if self.is_empty() {
            return None;
        }
        let mask = self.shared.slots.len() - 1;
        let item = self.shared.slots[self.head & mask].with(|slot| {
            // SAFETY: `is_empty` showed `head < tail`, so by invariant 2 the slot is initialised; it
            // counts as uninitialised once `head` is stored below, so it is read out once.
            unsafe { (*slot).assume_init_read() }
        });
        self.head = self.head.wrapping_add(1);
        self.shared.head.store(self.head, Ordering::Release);
        Some(item)
    }

    /// Whether there is nothing to take now.
    pub fn is_empty(&mut self) -> bool {
        if self.head != self.tail_seen {
            return false;
        }
        self.tail_seen = self.shared.tail.load(Ordering::Acquire);
        self.head == self.tail_seen
    }
}

impl<T> Drop for Consumer<T> {
    fn drop(&mut self) {
        self.shared.closed.store(true, Ordering::Release);
    }
}

impl<T> Drop for Shared<T> {
    fn drop(&mut self) {
        let tail = self.tail.load(Ordering::Relaxed);
        let mut head = self.head.load(Ordering::Relaxed);
        let mask = self.slots.len() - 1;
        while head != tail {
            self.slots[head & mask].with_mut(|slot| {
                // SAFETY: both ends are gone (this is the last owner), and by invariant 2 the slots in
                // `head .. tail` are initialised; each is dropped once.
                unsafe { (*slot).assume_init_drop() };
            });
            head = head.wrapping_add(1);
        }
    }
}

#[cfg(all(test, loom))]
mod loom_tests {
    use super::*;

    #[test]
    fn every_interleaving_keeps_order_and_drops_once() {
        loom::model(|| {
            let (mut producer, mut consumer) = ring::<Box<usize>>(2);
            let sender = loom::thread::spawn(move || {
                for item in 0..3 {
                    let mut pending = Box::new(item);
                    while let Err(back) = producer.try_push(pending) {
                        pending = back;
                        loom::thread::yield_now();
                    }
                }
            });
            for expected in 0..2 {
                loop {
                    if let Some(item) = consumer.try_pop() {
                        assert_eq!(*item, expected);
                        break;
                    }
                    loom::thread::yield_now();
                }
            }
            drop(consumer.try_pop());
            sender.join().unwrap();
        });
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn a_full_ring_hands_the_item_back() {
        let (mut producer, mut consumer) = ring(2);
        assert_eq!(producer.try_push(1), Ok(()));
        assert_eq!(producer.try_push(2), Ok(()));
        assert_eq!(producer.try_push(3), Err(3));
        assert_eq!(consumer.try_pop(), Some(1));
        assert_eq!(producer.try_push(3), Ok(()));
        assert_eq!(
            [consumer.try_pop(), consumer.try_pop(), consumer.try_pop()],
            [Some(2), Some(3), None]
        );
    }

    #[test]
    fn items_left_inside_are_dropped_once() {
        let item = std::sync::Arc::new(());
        let (mut producer, consumer) = ring(4);
        for _ in 0..3 {
            producer.try_push(std::sync::Arc::clone(&item)).unwrap();
        }
        assert_eq!(std::sync::Arc::strong_count(&item), 4);
        drop((producer, consumer));
        assert_eq!(std::sync::Arc::strong_count(&item), 1);
    }

    #[test]
    fn the_indices_may_wrap() {
        let (mut producer, mut consumer) = ring::<u64>(2);
        let start = usize::MAX - 1;
        producer.shared.tail.store(start, Ordering::Relaxed);
        producer.shared.head.store(start, Ordering::Relaxed);
        (producer.tail, producer.head_seen) = (start, start);
        (consumer.head, consumer.tail_seen) = (start, start);
        for item in 0..10 {
            producer.try_push(item).unwrap();
            assert_eq!(consumer.try_pop(), Some(item));
        }
    }

    /// Two threads, `count` boxed items: order and integrity under load.
    fn stress(count: u64, capacity: usize) {
        let (mut producer, mut consumer) = ring::<u64>(capacity);
        std::thread::scope(|scope| {
            scope.spawn(move || {
                for item in 0..count {
                    while producer.try_push(item).is_err() {
                        std::hint::spin_loop();
                    }
                }
            });
            for expected in 0..count {
                let item = loop {
                    match consumer.try_pop() {
                        Some(item) => break item,
                        None => std::thread::yield_now(),
                    }
                };
                assert_eq!(item, expected);
            }
        });
    }

    #[test]
    fn stress_small() {
        stress(200_000, 2);
        stress(1_000_000, 64);
    }

    /// The 100 million; `cargo test --release -p tidemill-ring -- --ignored`.
    #[test]
    #[ignore = "long where it is not optimised; .ci/run calls it"]
    fn stress_100_million() {
        stress(100_000_000, 256);
    }
}
