//! Runs a script through the real engine and hands back what it printed: the only place where the suites touch its API.

#[allow(dead_code)]
pub(crate) mod user;

use std::io::Write;
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use tidemill::connector::{Output, Style};
use tidemill::error::JobError;
use tidemill::job::{Launch, RuntimeKind, StateOptions, Totals, WentOnFrom, bind};
use tidemill::plan::Plan;
use tidemill::shard::Control;

/// A buffer that a job prints to.
#[derive(Clone, Default)]
struct Printed(Arc<Mutex<Vec<u8>>>);

impl Write for Printed {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// How a script is run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Setting {
    pub shards: usize,
    pub runtime: RuntimeKind,
    pub chunk_bytes: u64,
    /// A power of two; `None`: as the engine likes.
    pub ring_slots: Option<usize>,
}

/// What came of it; not every suite looks at all of it.
#[derive(Debug, Default)]
#[allow(dead_code)]
pub(crate) struct Run {
    /// The rows printed, in order.
    pub rows: Vec<serde_json::Value>,
    /// Late rows dropped.
    pub late_count: u64,
    /// Why the script was refused or the job failed.
    pub failure: Option<String>,
}

/// A job that has done nothing for so long hangs. One that a busy machine slows down still does something.
const HANG_SECONDS: u32 = 20;

/// Runs a script; after `seconds` it is told to stop.
pub(crate) fn run_script(text: &str, setting: Setting, seconds: Option<f64>) -> Run {
    run_edited(text, &|plan| plan, setting, seconds)
}

/// The same with another plan than the script's.
#[allow(dead_code)]
pub(crate) fn run_rewritten(
    text: &str,
    setting: Setting,
    seconds: Option<f64>,
    rewrite: fn(&mut Plan),
) -> Run {
    let edit = |mut plan: Plan| {
        rewrite(&mut plan);
        plan
    };
    run_edited(text, &edit, setting, seconds)
}

/// Runs what becomes of a script's plan.
pub(crate) fn run_edited(
    text: &str,
    edit: &dyn Fn(Plan) -> Plan,
    setting: Setting,
    seconds: Option<f64>,
) -> Run {
    let printed = Printed::default();
    let output = Output::new(Box::new(printed.clone()), Style::JsonLines);
    let overrides = [("tidemill.chunk-bytes".to_owned(), setting.chunk_bytes.to_string())];
    let script = match bind(text, &output, &overrides) {
        Ok(script) => script,
        Err(errors) => return Run { failure: Some(errors[0].to_string()), ..Run::default() },
    };
    let job = match Launch::new(&edit(script.plan), Some(setting.shards), Some(setting.runtime)) {
        Ok(job) => job,
        Err(error) => return Run { failure: Some(error.to_string()), ..Run::default() },
    };
    let job = match setting.ring_slots {
        Some(slots) => job.ring_slots(slots),
        None => job,
    };
    let control = job.control();
    let (ended, wait) = mpsc::channel::<()>();
    let timer = std::thread::Builder::new().name("watchdog".into()).spawn(move || {
        let stopped = match seconds {
            Some(seconds) => is_under_way(&wait, Duration::from_secs_f64(seconds)),
            None => hangs(&control, &wait),
        };
        if stopped {
            control.stop();
        }
        stopped
    });
    let caught = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| job.run()));
    drop(ended);
    let hung = timer.unwrap().join().unwrap() && seconds.is_none();
    let hung = hung.then(|| format!("it did nothing for {HANG_SECONDS} s"));
    let Ok(report) = caught else {
        return Run { failure: Some("it panicked".into()), ..Run::default() };
    };
    let bytes = printed.0.lock().unwrap().clone();
    Run {
        rows: String::from_utf8(bytes)
            .unwrap()
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect(),
        late_count: report.late.iter().map(|(_, late)| late.count).sum(),
        failure: report.failure.map(|failure| failure.to_string()).or(hung),
    }
}

/// Waits for a job; whether it is still under way then.
fn is_under_way(wait: &mpsc::Receiver<()>, limit: Duration) -> bool {
    wait.recv_timeout(limit) == Err(mpsc::RecvTimeoutError::Timeout)
}

/// Waits for a job's end; true if it does nothing for too long.
fn hangs(control: &Control, wait: &mpsc::Receiver<()>) -> bool {
    let (mut before, mut seconds) = (Totals::of(control), 0);
    while is_under_way(wait, Duration::from_secs(1)) {
        let now = Totals::of(control);
        seconds = if now == before { seconds + 1 } else { 0 };
        before = now;
        if seconds == HANG_SECONDS {
            return true;
        }
    }
    false
}

/// One life of a job with durable state (or without), as a process would live it.
#[derive(Debug)]
#[allow(dead_code)]
pub(crate) struct Life {
    /// Why it ended early; a script that is refused, or a panic, is a bug of the suite or of ours.
    pub failure: Option<JobError>,
    pub totals: Totals,
    /// Late rows dropped.
    pub late_count: u64,
    pub went_on_from: Option<WentOnFrom>,
}

/// Runs a script whose tables are files, with another plan than its own; `state` makes it durable.
#[allow(dead_code)]
pub(crate) fn live(
    text: &str,
    edit: &dyn Fn(Plan) -> Plan,
    setting: Setting,
    state: Option<StateOptions>,
) -> Life {
    let failed = |message: String| Life {
        failure: Some(JobError::Internal(message)),
        totals: Totals::default(),
        late_count: 0,
        went_on_from: None,
    };
    let output = Output::new(Box::new(std::io::sink()), Style::JsonLines);
    let overrides = [("tidemill.chunk-bytes".to_owned(), setting.chunk_bytes.to_string())];
    let script = match bind(text, &output, &overrides) {
        Ok(script) => script,
        Err(errors) => return failed(errors[0].to_string()),
    };
    let job = match Launch::new(&edit(script.plan), Some(setting.shards), Some(setting.runtime)) {
        Ok(job) => job,
        Err(error) => return failed(error.to_string()),
    };
    let job = setting.ring_slots.into_iter().fold(job, Launch::ring_slots);
    let job = state.into_iter().fold(job, Launch::state);
    let run = std::panic::AssertUnwindSafe(|| job.run());
    match std::panic::catch_unwind(run) {
        Ok(report) => Life {
            failure: report.failure,
            totals: report.totals,
            late_count: report.late.iter().map(|(_, late)| late.count).sum(),
            went_on_from: report.went_on_from,
        },
        Err(payload) => {
            let text = payload.downcast_ref::<String>().map(String::as_str);
            let text = text.or_else(|| payload.downcast_ref::<&str>().copied());
            failed(format!("it panicked: {}", text.unwrap_or("with a payload")))
        }
    }
}
