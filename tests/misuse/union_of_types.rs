//! Streams of different types make no union.

use tidemill::*;

fn main() {
    let job = Job::new("union");
    let long = job.source("long", Records::new(0..9_i64)).processing_time();
    let short = job.source("short", Records::new(0..9_u32)).processing_time();
    long.union(short);
}
