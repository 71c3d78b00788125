//! How much memory this process may use; what becomes of memory that is free again; huge pages.
//!
//! # Invariants
//!
//! 1. `mallopt` may be called at any time, by any thread, with any value of the parameters that it knows.

use std::fs::read_to_string;

use rustix::mm::{Advice, madvise};

/// What allocators and mapped files align memory to at least, where it is large.
const PAGE_BYTES: usize = 4096;

/// Free bytes that glibc's `malloc` keeps for each of its arenas: columns of a few chunks, again and again.
#[cfg(target_env = "gnu")]
const KEPT_BYTES: i32 = 64 << 20;
/// What is larger is a mapping of its own, which the kernel can move when it grows; a chunk's bytes are not.
#[cfg(target_env = "gnu")]
const HEAP_BYTES_MAX: i32 = 5 << 18;

/// Has glibc's `malloc` keep what is given back, instead of handing it to the kernel with every chunk and fetching it again page by page,
/// which all threads wait for. It is a setting of the whole process, and stays as it is where `MALLOC_TRIM_THRESHOLD_` or `GLIBC_TUNABLES`
/// say something about it.
pub fn keep_freed() {
    #[cfg(target_env = "gnu")]
    {
        let is_set = ["MALLOC_TRIM_THRESHOLD_", "GLIBC_TUNABLES"].map(std::env::var_os);
        if is_set.iter().all(Option::is_none) {
            // SAFETY: invariant 1. A value that it does not take changes nothing.
            unsafe {
                libc::mallopt(libc::M_TRIM_THRESHOLD, KEPT_BYTES);
                libc::mallopt(libc::M_MMAP_THRESHOLD, HEAP_BYTES_MAX);
            }
        }
    }
}

/// Bytes that the machine has, or that the control group allows, whichever is less; a gibibyte if nobody can tell.
pub fn limit_bytes() -> u64 {
    let groups = ["/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"];
    let group = |path: &str| read_to_string(path).ok()?.trim().parse::<u64>().ok();
    let own = own_group().into_iter().filter_map(|path| group(&path));
    let limits = groups.into_iter().filter_map(group).chain(own).chain(machine_bytes());
    limits.filter(|&bytes| bytes > 0).min().unwrap_or(1 << 30)
}

/// Where the limits of the group that this process is in may stand.
fn own_group() -> Vec<String> {
    let text = read_to_string("/proc/self/cgroup").unwrap_or_default();
    let of_line = |line: &str| {
        let mut fields = line.splitn(3, ':').skip(1);
        match (fields.next()?, fields.next()?) {
            ("", path) => Some(format!("/sys/fs/cgroup{path}/memory.max")),
            ("memory", path) => Some(format!("/sys/fs/cgroup/memory{path}/memory.limit_in_bytes")),
            _ => None,
        }
    };
    text.lines().filter_map(of_line).collect()
}

fn machine_bytes() -> Option<u64> {
    let text = read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    Some(line.split_whitespace().next()?.parse::<u64>().ok()? * 1024)
}

/// Asks the kernel for huge pages in `byte_count` bytes from `start` on, as far as they fit in; where it gives none, nothing else changes.
///
/// # Safety
///
/// The memory is allocated.
pub unsafe fn prefer_huge_pages(start: *mut u8, byte_count: usize) {
    // SAFETY: as the caller says.
    unsafe { advise(start, byte_count, Advice::LinuxHugepage) };
}

/// Has the kernel give memory to all pages of `byte_count` bytes from `start` on at once, where it would give it to each when that is first
/// written to, which costs as much again; where it cannot (before Linux 5.14), nothing else changes.
///
/// # Safety
///
/// The memory is allocated.
pub unsafe fn populate(start: *mut u8, byte_count: usize) {
    // SAFETY: as the caller says.
    unsafe { advise(start, byte_count, Advice::LinuxPopulateWrite) };
}

/// Gives advice about all pages of some memory, which changes no byte of them.
///
/// # Safety
///
/// The memory is allocated.
unsafe fn advise(start: *mut u8, byte_count: usize, advice: Advice) {
    // The first and the last page may have something else in them too, which does not mind.
    let before = start.addr() % PAGE_BYTES;
    let page_bytes = (before + byte_count).next_multiple_of(PAGE_BYTES);
    let first = start.wrapping_sub(before).cast();
    // SAFETY: the pages are mapped, for something in each is allocated; the advice changes no byte of them.
    let _ = unsafe { madvise(first, page_bytes, advice) };
}

#[cfg(test)]
mod tests {
    /// Pages that this thread has had to fetch.
    #[cfg(target_env = "gnu")]
    fn fault_count() -> u64 {
        let stat = std::fs::read_to_string("/proc/thread-self/stat").unwrap();
        let (_, fields) = stat.rsplit_once(')').unwrap();
        fields.split_whitespace().nth(7).unwrap().parse().unwrap()
    }

    /// What is freed is there again without a fault: of some 3,200 pages hardly any has to be fetched in the second round. How many in
    /// the first depends on what other tests' threads have left.
    #[test]
    #[cfg(target_env = "gnu")]
    fn freed_memory_is_kept() {
        super::keep_freed();
        let round = || {
            let before = fault_count();
            let columns: Vec<Vec<u8>> = (0..200).map(|_| vec![1; 64 << 10]).collect();
            drop(std::hint::black_box(columns));
            fault_count() - before
        };
        let rounds = std::thread::scope(|scope| scope.spawn(|| [round(), round()]).join());
        let [first, second] = rounds.expect("it only allocates");
        assert!(second < 320, "{first} faults, then {second}");
    }

    #[test]
    fn there_is_some_memory() {
        let bytes = super::limit_bytes();
        assert!((1 << 26..1 << 50).contains(&bytes), "{bytes}");
    }
}
