//! Inside a program: a small HTTP server hands each request to a job, which counts them by path and second.
//!
//! ```text
//! cargo run --release --example server            serves a few requests of its own, and ends
//! cargo run --release --example server -- 8080    serves http://127.0.0.1:8080/ until it gets GET /stop
//! ```

#![expect(clippy::print_stdout, reason = "an example shows its results")]
#![expect(clippy::disallowed_methods, reason = "a program of its own, outside the engine's layers")]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::{SystemTime, UNIX_EPOCH};

use rkyv::{Archive, Serialize};
use tidemill::{Job, Options, Sender, Span, Window, channel};

#[derive(Archive, Serialize)]
struct Request {
    at_ms: i64,
    path: String,
    byte_count: u32,
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let port = std::env::args().nth(1).map_or(Ok(0), |port| port.parse::<u16>())?;
    let listener = TcpListener::bind(("127.0.0.1", port))?;
    let address = listener.local_addr()?;

    // At most a thousand requests wait for the job; then whoever sends waits.
    let (sender, requests) = channel::<Request>(1000);
    let totals = Arc::new(Mutex::new(Vec::new()));
    let shown = Arc::clone(&totals);
    let job = Job::new("requests")
        .source("requests", requests)
        .watermark(|request| request.at_ms, Span::millis(500))
        .key_by_text(|request| request.path.as_str())
        .window(Window::tumbling(Span::seconds(1)))
        .aggregate(|on| (on.count(), on.sum(|request| request.byte_count)))
        .sink(move |result| {
            shown.lock().expect("nobody panics").push((result.key.clone(), result.value))
        });
    let running = job.start(Options::default().shards(1))?;

    if port == 0 {
        std::thread::spawn(move || {
            for path in ["/", "/about", "/", "/", "/stop"] {
                let mut stream = TcpStream::connect(address).expect("the server listens");
                write!(stream, "GET {path} HTTP/1.1\r\n\r\n").expect("the server reads");
                stream.read_to_end(&mut Vec::new()).expect("the server answers");
            }
        });
    } else {
        println!("http://{address}/");
    }
    serve(&listener, sender)?;

    // The sender is gone, so the stream has ended: what is open fires, and the job with it.
    let report = running.wait()?;
    let mut totals = std::mem::take(&mut *totals.lock().expect("nobody panics"));
    totals.sort();
    let mut by_path = std::collections::BTreeMap::new();
    for (path, (count, byte_count)) in totals {
        let total: &mut (i64, i64) = by_path.entry(path).or_default();
        *total = (total.0 + count, total.1 + byte_count);
    }
    for (path, (count, byte_count)) in by_path {
        println!("{path}: {count} requests, {byte_count} bytes");
    }
    println!("{} requests in all", report.totals.rows);
    Ok(())
}

/// Answers requests until one asks to stop.
fn serve(
    listener: &TcpListener,
    requests: Sender<Request>,
) -> Result<(), Box<dyn std::error::Error>> {
    for stream in listener.incoming() {
        let mut stream = stream?;
        let mut line = String::new();
        BufReader::new(&stream).read_line(&mut line)?;
        let path = line.split(' ').nth(1).unwrap_or("/").to_owned();
        write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: 6\r\nConnection: close\r\n\r\nthanks")?;
        if path == "/stop" {
            break;
        }
        let at_ms = SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis() as i64;
        let request = Request { at_ms, path, byte_count: line.len() as u32 };
        requests.send(request).map_err(|error| error.to_string())?;
    }
    Ok(())
}
