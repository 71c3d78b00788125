//! Crash points: named places at which a test can have the process die, and bugs that a test can have planted.
//!
//! Both are compiled in with the feature `crash-points` only; without it they are nothing. A point is armed by
//! `TIDEMILL_CRASH_AT=NAME:N`: the process kills itself (SIGKILL) when it comes to NAME for the N-th time (from 1). With
//! `TIDEMILL_CRASH_LOG=FILE`, the name of every point is appended to FILE when it is first come to, so that a suite can show that
//! all of them are reached. A bug is planted by `TIDEMILL_PLANT=NAME`.
//!
//! # Invariants
//!
//! 1. Without the feature no point costs an instruction.

/// Names a place at which a crash must do no harm.
#[macro_export]
macro_rules! crash_point {
    ($name:literal) => {
        #[cfg(feature = "crash-points")]
        $crate::sys::crash::reach($name);
    };
}

/// Whether the bug of this name is planted; `false` without the feature `crash-points`.
#[macro_export]
macro_rules! planted {
    ($name:literal) => {{
        #[cfg(feature = "crash-points")]
        let planted = $crate::sys::crash::is_planted($name);
        #[cfg(not(feature = "crash-points"))]
        let planted = false;
        planted
    }};
}

#[cfg(feature = "crash-points")]
pub use armed::{is_planted, plant, reach};

#[cfg(feature = "crash-points")]
mod armed {
    use std::collections::BTreeMap;
    use std::io::Write;
    use std::sync::{Mutex, OnceLock, PoisonError};

    static REACHED: Mutex<BTreeMap<&'static str, u64>> = Mutex::new(BTreeMap::new());
    static PLANTED: Mutex<Option<String>> = Mutex::new(None);

    struct Armed {
        at: Option<(String, u64)>,
        log: Option<String>,
    }

    fn armed() -> &'static Armed {
        static ARMED: OnceLock<Armed> = OnceLock::new();
        ARMED.get_or_init(|| {
            let at = std::env::var("TIDEMILL_CRASH_AT").ok().and_then(|text| {
                let (name, count) = text.split_once(':')?;
                Some((name.to_owned(), count.parse().ok()?))
            });
            Armed { at, log: std::env::var("TIDEMILL_CRASH_LOG").ok() }
        })
    }

    /// The process has come to the point `name`.
    pub fn reach(name: &'static str) {
        let armed = armed();
        if armed.at.is_none() && armed.log.is_none() {
            return;
        }
        let mut reached = REACHED.lock().unwrap_or_else(PoisonError::into_inner);
        let count = reached.entry(name).or_default();
        *count += 1;
        if let (1, Some(path)) = (*count, &armed.log) {
            let file = std::fs::File::options().create(true).append(true).open(path);
            // A log that cannot be written shows in the suite as a point not reached.
            let _ = file.and_then(|mut file| writeln!(file, "{name}"));
        }
        if armed.at.as_ref().is_some_and(|(at, nth)| at == name && nth == count) {
            let _ = rustix::process::kill_process(
                rustix::process::getpid(),
                rustix::process::Signal::KILL,
            );
            loop {
                std::thread::park();
            }
        }
    }

    /// Whether the bug `name` is planted.
    pub fn is_planted(name: &str) -> bool {
        static ENVIRONMENT: OnceLock<Option<String>> = OnceLock::new();
        let planted = PLANTED.lock().unwrap_or_else(PoisonError::into_inner);
        let given = ENVIRONMENT.get_or_init(|| std::env::var("TIDEMILL_PLANT").ok());
        planted.as_deref().or(given.as_deref()) == Some(name)
    }

    /// Plants a bug in this process, or (`None`) takes it out again.
    pub fn plant(name: Option<&str>) {
        *PLANTED.lock().unwrap_or_else(PoisonError::into_inner) = name.map(str::to_owned);
    }
}
