//! Apache Flink on the same rows, at rates that it can hold: `tools/peers/flink/src/compare/Latency.java`, in a process of its own.
//!
//! It shows each result as a line of its standard output at once; the time is taken when the line is read here, some hundredths of a
//! millisecond later.

use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::process::Stdio;

use super::generator::Generator;
use super::sink::Meter;
use super::{Nanoseconds, Part};
use crate::Settings;
use crate::compare::flink_latency;

/// Rows a second: what Flink holds on two cores besides the generator's, and well below.
pub(super) const RATES: [u64; 2] = [20_000, 100_000];

/// Flink's latency.
///
/// # Errors
///
/// Flink that cannot be had or fails, results that do not count the rows that were sent.
pub(super) fn once(settings: &Settings, generator: Generator) -> Result<Nanoseconds, String> {
    let mut flink = flink_latency(settings)?;
    let listener = TcpListener::bind("127.0.0.1:0").map_err(|error| error.to_string())?;
    let port = listener.local_addr().map_err(|error| error.to_string())?.port();
    let meter = Meter::new(Part::Tumble, generator);
    let begin = meter.begin();
    let sender = std::thread::Builder::new()
        .name("generator".into())
        .spawn(move || generator.send(&listener, &begin))
        .map_err(|error| error.to_string())?;
    let state = settings.folder.join("state-latency");
    let _ = std::fs::remove_dir_all(&state);
    flink.arg(port.to_string()).arg(std::path::absolute(&state).map_err(|e| e.to_string())?);
    flink.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::inherit());
    let mut child = flink.spawn().map_err(|error| format!("java: {error}"))?;
    let output = child.stdout.take().expect("it is piped");
    for line in BufReader::new(output).lines() {
        let line = line.map_err(|error| error.to_string())?;
        let numbers: Option<Vec<u64>> = line.split(' ').map(|word| word.parse().ok()).collect();
        match numbers.as_deref() {
            Some(&[window_ms, key, count]) => meter.show(window_ms, key, count),
            _ => eprintln!("{line}"),
        }
    }
    let status = child.wait().map_err(|error| error.to_string())?;
    let _ = std::fs::remove_dir_all(&state);
    if !status.success() {
        return Err(format!("Flink failed: {status}"));
    }
    let rows = sender.join().map_err(|_| "the generator panicked")?.map_err(|e| e.to_string())?;
    meter.finish(rows)
}
