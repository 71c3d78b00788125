//! Closures run on other threads.

use std::cell::Cell;

use tidemill::*;

fn main() {
    let numbers = Job::new("count").source("n", Records::new(0..9_i64)).processing_time();
    let count = Cell::new(0);
    numbers.sink(move |_| count.set(count.get() + 1));
}
