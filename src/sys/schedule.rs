//! How the kernel schedules a thread.

/// Puts the calling thread behind others: what it is woken for may wait until the kernel next looks round, instead of taking
/// the core from whoever runs there, who may be the one that woke it. Where the kernel refuses, nothing changes.
pub fn yield_to_others(niceness: i32) {
    let parameters = libc::sched_param { sched_priority: 0 };
    // SAFETY: the call reads `parameters`, which lives until it returns, and nothing else; 0 is the calling thread.
    unsafe { libc::sched_setscheduler(0, libc::SCHED_BATCH, &raw const parameters) };
    let _ = rustix::process::nice(niceness);
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_kernel_knows_the_thread_as_one_that_waits() {
        super::yield_to_others(0);
        // SAFETY: the call takes and returns a number.
        let policy = unsafe { libc::sched_getscheduler(0) };
        assert_eq!(policy, libc::SCHED_BATCH);
    }
}
