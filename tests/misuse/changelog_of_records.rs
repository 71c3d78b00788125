//! Files of records have no place for what a record does to those before.

use tidemill::*;

fn main() {
    let records = Job::new("kinds").source("n", Records::new([1_i64])).processing_time();
    records.sink_to(Files::records("n").changelog());
}
