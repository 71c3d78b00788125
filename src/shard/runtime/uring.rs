//! One glommio executor a shard, pinned to its core, where the kernel allows io_uring: the next chunks of files are read
//! through the ring while the shard works on the last ones. What the page cache holds the shard reads for itself when it comes to it:
//! through the ring that would cost a buffer of its own and a copy more, and there is nothing to wait for.
//!
//! glommio panics where io_uring is denied (as in default containers), so [`is_uring_allowed`] asks the
//! kernel first.
//!
//! # Invariants
//!
//! 1. A read that fails or falls short is dropped; the shard then reads for itself and meets the error where it belongs.
//! 2. The executor's thread sleeps in `poll(2)` only while no read is under way.
//! 3. A shard gives way to its reads by waiting for a timer, never by yielding. glommio looks at its rings when nothing is left to run, or
//!    when its preemption timer fires, after a tenth of a second: so long a shard that yields spins. And if that timer fires before
//!    anything has run, it parks for good, whatever there is to run. A timer of the shard's own wakes it; the other is put off.

use std::cell::RefCell;
use std::collections::HashMap;
use std::fs::File;
use std::io::IoSliceMut;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use glommio::io::BufferedFile;
use glommio::timer::Timer;
use glommio::{LocalExecutorBuilder, Placement};
use rustix::io::{ReadWriteFlags, preadv2};

use super::poll::{FailOnPanic, SPINS, SnapshotThread, join, pin, sleep};
use super::{Coordinator, ReadRequest, Runtime, Shard, Step};
use crate::error::JobError;
use crate::metrics::LateRows;
use crate::shard::control::Control;
use crate::sys::clock::Clock;

/// Whether the kernel lets this process make an io_uring.
pub fn is_uring_allowed() -> bool {
    crate::sys::uring::is_allowed()
}

/// glommio executors.
#[derive(Clone, Copy, Debug, Default)]
pub struct Uring {
    clock: Clock,
}

impl Runtime for Uring {
    fn start_ms(&self) -> i64 {
        self.clock.now_ms()
    }

    #[allow(private_interfaces)]
    fn run(
        &self,
        shards: Vec<Shard>,
        control: &Arc<Control>,
        coordinator: Option<Coordinator>,
    ) -> Vec<Vec<(String, LateRows)>> {
        let snapshots = SnapshotThread::start(coordinator, control, self.clock);
        let mut handles = Vec::new();
        for shard in shards {
            let (control, clock) = (Arc::clone(control), self.clock);
            // Its shard pins it: to bind an executor glommio reads three files of each core, three times an executor.
            let builder = LocalExecutorBuilder::new(Placement::Unbound)
                .name(&format!("shard-{}", shard.index))
                .io_memory(IO_MEMORY_BYTES)
                .preempt_timer(PREEMPTION)
                .ring_depth(RING_DEPTH);
            handles.push(builder.spawn(move || async move {
                pin(&shard);
                drive(shard, &control, clock).await
            }));
        }
        let late = handles
            .into_iter()
            .map(|handle| match handle {
                Ok(handle) => match handle.join() {
                    Ok(late) => join(Ok(late), control),
                    Err(error) => fail(control, error.to_string()),
                },
                Err(error) => fail(control, error.to_string()),
            })
            .collect();
        snapshots.finish(control);
        late
    }
}

fn fail(control: &Control, message: String) -> Vec<(String, LateRows)> {
    control.fail(JobError::Environment(format!(
        "an io_uring executor: {message}; `--runtime poll` does without"
    )));
    Vec::new()
}

/// Memory that an executor locks for direct I/O, of which there is none here: as little as may be, for starting to be quick.
const IO_MEMORY_BYTES: usize = 64 << 10;
/// Reads in flight are few.
const RING_DEPTH: usize = 32;
/// glommio's preemption timer: never, as far as jobs go (invariant 3).
const PREEMPTION: Duration = Duration::from_secs(1 << 32);
/// How long a shard with work to do gives way: long enough to be waited for.
const GLANCE: Duration = Duration::from_micros(1);
/// How long one without waits for reads before it looks for messages.
const WAIT: Duration = Duration::from_micros(20);
/// Files that an executor keeps open for the next read.
const OPEN_FILES_MAX: usize = 16;
/// Steps between two looks at the ring while reads are under way.
const STEPS_BETWEEN_LOOKS: u32 = 16;

/// Files that are open.
#[derive(Clone, Default)]
struct Files {
    files: Rc<RefCell<HashMap<PathBuf, Rc<BufferedFile>>>>,
}

impl Files {
    async fn read(&self, request: &ReadRequest) -> Option<Vec<u8>> {
        let open = self.files.borrow().get(&request.path).cloned();
        let file = match open {
            Some(file) => file,
            None => {
                let file = Rc::new(BufferedFile::open(&request.path).await.ok()?);
                let mut files = self.files.borrow_mut();
                if files.len() >= OPEN_FILES_MAX {
                    // Dropping a file closes it; those that are being read stay.
                    files.retain(|_, file| Rc::strong_count(file) > 1);
                }
                files.insert(request.path.clone(), Rc::clone(&file));
                file
            }
        };
        let read = file.read_at(request.from, (request.to - request.from) as usize).await.ok()?;
        Some(read.to_vec())
    }

    /// Closes what can be closed in peace; the rest is closed with the executor.
    async fn close(self) {
        let files: Vec<_> = self.files.borrow_mut().drain().map(|(_, file)| file).collect();
        for file in files {
            if let Ok(file) = Rc::try_unwrap(file) {
                // Nothing was written, so nothing can be lost.
                let _ = file.close().await;
            }
        }
    }
}

/// A read that ended, with what it read.
type Done = (ReadRequest, Option<Vec<u8>>);

/// Reads that are under way, and those that are done.
#[derive(Default)]
struct Reads {
    files: Files,
    under_way: usize,
    done: Rc<RefCell<Vec<Done>>>,
    /// Files that are open to be asked whether they are cached.
    probed: HashMap<PathBuf, File>,
}

impl Reads {
    /// Hands the shard what is done, and starts what it wants.
    async fn serve(&mut self, shard: &mut Shard) {
        for (request, bytes) in self.done.take() {
            self.under_way -= 1;
            shard.supply(&request, bytes);
        }
        let under_way = self.under_way;
        while let Some(request) = shard.wanted_read() {
            if self.is_cached(&request) {
                shard.supply(&request, None);
                break;
            }
            let (files, done) = (self.files.clone(), Rc::clone(&self.done));
            self.under_way += 1;
            glommio::spawn_local(async move {
                let bytes = files.read(&request).await;
                done.borrow_mut().push((request, bytes));
            })
            .detach();
        }
        if self.under_way > under_way {
            self.look(GLANCE).await;
        }
    }

    /// Whether the page cache holds both ends of what is to be read: then it holds what lies between, as a rule.
    fn is_cached(&mut self, request: &ReadRequest) -> bool {
        let probed = &mut self.probed;
        if !probed.contains_key(&request.path) {
            let Ok(file) = File::open(&request.path) else { return false };
            if probed.len() >= OPEN_FILES_MAX {
                probed.clear();
            }
            probed.insert(request.path.clone(), file);
        }
        let file = &probed[&request.path];
        let has = |at: u64| {
            let mut byte = [0];
            let mut bytes = [IoSliceMut::new(&mut byte)];
            matches!(preadv2(file, &mut bytes, at, ReadWriteFlags::NOWAIT), Ok(1))
        };
        request.from < request.to && has(request.from) && has(request.to - 1)
    }

    /// Lets reads make progress.
    async fn look(&self, wait: Duration) {
        Timer::new(wait).await;
    }

    fn has_done(&self) -> bool {
        !self.done.borrow().is_empty()
    }
}

/// Runs one shard on this executor.
async fn drive(mut shard: Shard, control: &Control, clock: Clock) -> Vec<(String, LateRows)> {
    let _guard = FailOnPanic(control);
    let mut reads = Reads::default();
    let (mut spins, mut steps) = (0, 0);
    loop {
        if reads.has_done() || reads.under_way == 0 {
            reads.serve(&mut shard).await;
        }
        match shard.step(clock.now_ms()) {
            Step::Done => break,
            Step::Busy => {
                (spins, steps) = (0, steps + 1);
                if steps % STEPS_BETWEEN_LOOKS == 0 && reads.under_way > 0 {
                    reads.look(GLANCE).await;
                }
            }
            Step::Idle { .. } if reads.under_way > 0 => reads.look(WAIT).await,
            Step::Idle { .. } if spins < SPINS => {
                spins += 1;
                std::thread::yield_now();
            }
            Step::Idle { .. } => sleep(&mut shard, control, clock),
        }
    }
    while reads.under_way > reads.done.borrow().len() {
        reads.look(WAIT).await;
    }
    reads.files.close().await;
    shard.late_rows()
}
