//! What the machine itself does to a thread.

use std::time::Duration;

use tidemill::sys::clock::Clock;

use super::{Nanoseconds, histogram};

/// How often a core is asked.
const EVERY_NS: u64 = 1000;

/// By core: how late a thread that does nothing but read the clock comes to what is due every microsecond. All cores at once.
///
/// # Errors
///
/// A thread that cannot be had.
pub(super) fn measure(span: Duration) -> Result<Vec<Nanoseconds>, String> {
    let cores = core_affinity::get_core_ids().unwrap_or_default();
    let spin = |core| {
        let spin = move || {
            core_affinity::set_for_current(core);
            spin(span)
        };
        std::thread::Builder::new().name("jitter".into()).spawn(spin)
    };
    let threads: Result<Vec<_>, _> = cores.into_iter().map(spin).collect();
    let threads = threads.map_err(|error| error.to_string())?;
    threads
        .into_iter()
        .map(|thread| thread.join().map_err(|_| "a thread panicked".into()))
        .collect()
}

fn spin(span: Duration) -> Nanoseconds {
    let mut latency_ns = histogram();
    let watch = Clock.start();
    let (end_ns, mut due_ns) = (span.as_nanos() as u64, 0);
    while due_ns < end_ns {
        let now_ns = watch.elapsed().as_nanos() as u64;
        while due_ns <= now_ns && due_ns < end_ns {
            latency_ns.record(now_ns - due_ns).expect("the histogram resizes itself");
            due_ns += EVERY_NS;
        }
    }
    latency_ns
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_core_is_asked_every_microsecond() {
        let cores = measure(Duration::from_millis(20)).unwrap();
        assert!(!cores.is_empty());
        assert!(cores.iter().all(|latency_ns| latency_ns.len() == 20_000));
    }
}
