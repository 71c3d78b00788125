//! The `tidemill` binary: everything is in [`tidemill::cli`].

use std::process::ExitCode;

fn main() -> ExitCode {
    tidemill::cli::main()
}
