//! Aggregates are of windows.

use tidemill::*;

fn main() {
    let numbers = Job::new("no window").source("n", Records::new(0..9_i64)).processing_time();
    numbers.key_by(|n| *n).aggregate(|on| on.count());
}
