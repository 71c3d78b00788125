//! A program that is the command line.

fn main() -> std::process::ExitCode {
    tidemill::cli::main()
}
