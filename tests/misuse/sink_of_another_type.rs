//! Files of one type take no other.

use tidemill::*;

fn main() {
    let numbers = Job::new("files").source("n", Records::new(0..9_i64)).processing_time();
    let files: Files<u32> = Files::json("n");
    numbers.sink_to(files);
}
