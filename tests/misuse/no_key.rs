//! Windows are of keys.

use tidemill::*;

fn main() {
    let numbers = Job::new("no key").source("n", Records::new(0..9_i64)).processing_time();
    numbers.aggregate(|on| on.count());
}
