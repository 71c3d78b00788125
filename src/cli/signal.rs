//! Ctrl-C and SIGTERM: the first stops gently, the second at once.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::thread;

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag;
use signal_hook::iterator::Signals;

/// What a shell reports of a program that a signal ended.
const SIGNALLED: i32 = 128;

/// From now on SIGINT and SIGTERM raise the flag that is returned; the second of them ends the program.
pub(super) fn raise_flag() -> std::io::Result<Arc<AtomicBool>> {
    let raised = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        // In this order: the first signal finds the flag down, and raises it for the second.
        flag::register_conditional_shutdown(signal, SIGNALLED + signal, Arc::clone(&raised))?;
        flag::register(signal, Arc::clone(&raised))?;
    }
    Ok(raised)
}

/// From now on the first SIGINT or SIGTERM calls `stop` and raises the flag; the second ends the program.
pub(super) fn on_first(stop: impl Fn() + Send + 'static) -> std::io::Result<Arc<AtomicBool>> {
    let raised = raise_flag()?;
    let mut signals = Signals::new([SIGINT, SIGTERM])?;
    thread::Builder::new().name("signals".into()).spawn(move || {
        for _ in signals.forever() {
            stop();
        }
    })?;
    Ok(raised)
}
