//! Hints to the processor: what will be read soon.
//!
//! # Invariants
//!
//! 1. A hint may be about any address: it reads nothing that anybody sees, and never fails. Every x86-64 processor has the instruction.

/// Has the line of the cache that holds this address fetched.
#[inline(always)]
pub fn prefetch(address: usize) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: invariant 1.
    unsafe {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        _mm_prefetch::<_MM_HINT_T0>(std::ptr::without_provenance(address));
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = address;
}

/// Bytes that will be read when what is being done is done. Who has time between two steps of it has them fetched: so memory is waited for
/// while there is something to do.
#[derive(Clone, Copy, Debug, Default)]
pub struct Upcoming {
    address: usize,
    length_bytes: usize,
}

impl Upcoming {
    /// These bytes; of none nothing is fetched.
    pub fn of(bytes: &[u8]) -> Self {
        Self { address: bytes.as_ptr().addr(), length_bytes: bytes.len() }
    }

    /// All of them in so many steps.
    pub fn in_steps(self, count: usize) -> UpcomingSteps {
        // A line that is always there, so that a step without bytes costs next to nothing.
        static HERE: u64 = 0;
        let address = if self.length_bytes == 0 { (&raw const HERE).addr() } else { self.address };
        UpcomingSteps { address, step_bytes: self.length_bytes.div_ceil(count.max(1)) }
    }
}

/// See [`Upcoming::in_steps`].
#[derive(Clone, Copy, Debug)]
pub struct UpcomingSteps {
    address: usize,
    step_bytes: usize,
}

impl UpcomingSteps {
    /// Has the first line of the next step's bytes fetched.
    #[inline(always)]
    pub fn fetch(&mut self) {
        prefetch(self.address);
        self.address = self.address.wrapping_add(self.step_bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_come_to_the_end() {
        let bytes = [7; 1000];
        for count in [0, 1, 3, 1000, 4096] {
            let mut steps = Upcoming::of(&bytes).in_steps(count);
            (0..count).for_each(|_| steps.fetch());
            assert!(count == 0 || steps.address >= bytes.as_ptr().addr() + bytes.len());
        }
        let mut steps = Upcoming::default().in_steps(5);
        let before = steps.address;
        steps.fetch();
        assert_eq!(steps.address, before);
    }
}
