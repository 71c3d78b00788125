//! A stream has no windows before its time is said.

use tidemill::*;

fn main() {
    let numbers = Job::new("no time").source("n", Records::new(0..9_i64));
    numbers.key_by(|n| *n);
}
