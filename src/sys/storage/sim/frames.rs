//! The map of a simulated file of frames: anonymous memory that shows the file's content at an address that stays.
//!
//! # Invariants
//!
//! 1. The memory is anonymous, private, `RESERVED_BYTES` long and readable and writable for as long as the `Region` lives;
//!    handles hold the region, and views borrow the handle: a view outlives neither, whatever happens to the file.
//! 2. Bytes are stored under the disk's lock only, and never where a view is held (invariant 2 of the storage: frames that
//!    are referred to are neither overwritten nor cut off).
//! 3. Only words below `length_bytes <= RESERVED_BYTES` are viewed, aligned as words are; all memory is initialised.

use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};

use memmap2::{MmapOptions, MmapRaw};

/// How long a file of frames may get. Address space only, until it is written to.
pub(super) const RESERVED_BYTES: usize = 256 << 20;

/// What is copied at once when a file is opened.
const BLOCK_BYTES: usize = 4096;

/// What views of a file of frames borrow from.
#[derive(Debug)]
pub(super) struct Region {
    map: MmapRaw,
    length_bytes: AtomicUsize,
}

impl Region {
    pub(super) fn new(content: &[u8]) -> io::Result<Self> {
        Self::check_length(content.len() as u64)?;
        let map = MmapOptions::new().len(RESERVED_BYTES).no_reserve_swap().map_anon()?;
        let region = Self { map: map.into(), length_bytes: AtomicUsize::new(0) };
        // The memory is zeros already, and most of a file of frames is.
        for (index, block) in content.chunks(BLOCK_BYTES).enumerate() {
            if block != &[0; BLOCK_BYTES][..block.len()] {
                region.store(index * BLOCK_BYTES, block);
            }
        }
        region.set_length(content.len());
        Ok(region)
    }

    /// Refuses a length beyond what is reserved.
    pub(super) fn check_length(length_bytes: u64) -> io::Result<()> {
        match length_bytes <= RESERVED_BYTES as u64 {
            true => Ok(()),
            false => {
                Err(io::Error::other("the file has outgrown the address space reserved for it"))
            }
        }
    }

    /// Stores bytes where nobody has a view.
    pub(super) fn store(&self, offset: usize, bytes: &[u8]) {
        let end = offset + bytes.len();
        assert!(end <= RESERVED_BYTES, "within what is reserved");
        // SAFETY: invariant 1: the target lies within the memory, which is not the source; invariant 2: nobody views it.
        unsafe {
            let target = self.map.as_mut_ptr().add(offset);
            std::ptr::copy_nonoverlapping(bytes.as_ptr(), target, bytes.len());
        }
        self.length_bytes.fetch_max(end, Ordering::Release);
    }

    /// Sets the length; what is cut off is zeros should the file grow again.
    pub(super) fn set_length(&self, length: usize) {
        assert!(length <= RESERVED_BYTES, "within what is reserved");
        let held = self.length_bytes.swap(length, Ordering::AcqRel);
        if length < held {
            // SAFETY: invariant 1: the bytes lie within the memory; invariant 2: nobody views what is cut off.
            unsafe { self.map.as_mut_ptr().add(length).write_bytes(0, held - length) };
        }
    }

    pub(super) fn words(&self, offset_bytes: u64, word_count: usize) -> &[u64] {
        let end = offset_bytes + word_count as u64 * 8;
        let length = self.length_bytes.load(Ordering::Acquire) as u64;
        assert!(end <= length, "a view beyond the file's end");
        assert!(offset_bytes.is_multiple_of(8), "a view across words");
        // SAFETY: invariants 1 and 3: initialised, aligned (the map begins at a page) and within the memory, which
        // `self` keeps; invariant 2: not stored to while the view is held.
        unsafe {
            let start = self.map.as_ptr().add(offset_bytes as usize);
            std::slice::from_raw_parts(start.cast::<u64>(), word_count)
        }
    }
}
