//! Standard output and error, either of which may be a terminal, a file, or a pipe whose reader has gone.
//!
//! # Invariants
//!
//! 1. Nothing here panics because a stream is closed, as `println!` would.
//! 2. Rows are written straight to the descriptor: whole pieces, buffered once, by the sinks.

use std::fs::File;
use std::io::{self, ErrorKind, IsTerminal, Write};
use std::os::fd::AsFd;

use indicatif::ProgressBar;

use super::Exit;

/// Writes to stderr; if that is closed, nobody wants to know.
pub(super) fn complain(text: &str) {
    let _ = io::stderr().write_all(text.as_bytes());
}

/// Writes to stdout.
pub(super) fn say(text: &str) -> Result<(), Exit> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Err(Exit::said(0)),
        Err(error) => Err(Exit::failed(anyhow::Error::new(error).context("standard output"))),
        Ok(()) => Ok(()),
    }
}

/// Standard output without the line buffer of [`io::stdout`].
pub(super) fn raw_stdout() -> io::Result<File> {
    Ok(File::from(io::stdout().as_fd().try_clone_to_owned()?))
}

/// Standard output for rows; on a terminal, the progress line makes way for them.
pub(super) fn rows_out(bar: &ProgressBar) -> io::Result<Box<dyn Write + Send>> {
    let out = raw_stdout()?;
    if !out.is_terminal() || bar.is_hidden() {
        return Ok(Box::new(out));
    }
    Ok(Box::new(BesideProgress { out, bar: bar.clone() }))
}

/// Writes rows where the progress line is drawn.
struct BesideProgress {
    out: File,
    bar: ProgressBar,
}

impl Write for BesideProgress {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.bar.suspend(|| self.out.write(bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
