//! n × n rings: one from every shard to every shard, itself included.

use super::spsc::{Consumer, Producer, ring};

/// One shard's ends of a mesh.
pub struct Ends<T> {
    /// To shard *i*.
    pub to: Vec<Producer<T>>,
    /// From shard *i*.
    pub from: Vec<Consumer<T>>,
}

/// The ends of all shards, each ring with `capacity` slots (a power of two).
pub fn mesh<T: Send>(shard_count: usize, capacity: usize) -> Vec<Ends<T>> {
    let mut all: Vec<Ends<T>> =
        (0..shard_count).map(|_| Ends { to: Vec::new(), from: Vec::new() }).collect();
    for sender in 0..shard_count {
        for receiver in 0..shard_count {
            let (producer, consumer) = ring(capacity);
            all[sender].to.push(producer);
            all[receiver].from.push(consumer);
        }
    }
    all
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    /// Every shard floods every other over rings of one slot: only draining one's inbound rings while
    /// waiting for room keeps such a cycle moving.
    #[test]
    fn a_cyclic_shuffle_over_rings_of_one_slot_progresses() {
        const SHARDS: usize = 3;
        const ITEMS: u64 = 20_000;
        let ends = mesh::<u64>(SHARDS, 1);
        let totals: Vec<u64> = std::thread::scope(|scope| {
            let threads: Vec<_> =
                ends.into_iter().map(|ends| scope.spawn(move || shuffle(ends, ITEMS))).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        assert_eq!(totals, vec![SHARDS as u64 * (0..ITEMS).sum::<u64>(); SHARDS]);
    }

    fn shuffle(mut ends: Ends<u64>, items: u64) -> u64 {
        let (mut total, mut received) = (0, 0);
        let expected = items * ends.from.len() as u64;
        let mut next = vec![0; ends.to.len()];
        while received < expected || next.iter().any(|&item| item < items) {
            for (producer, item) in ends.to.iter_mut().zip(&mut next) {
                if *item < items && producer.try_push(*item).is_ok() {
                    *item += 1;
                }
            }
            for consumer in &mut ends.from {
                while let Some(item) = consumer.try_pop() {
                    total += item;
                    received += 1;
                }
            }
            std::thread::yield_now();
        }
        total
    }
}
