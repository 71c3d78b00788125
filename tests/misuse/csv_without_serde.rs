//! Lines of CSV are for results, and for records that serde knows.

use tidemill::*;

#[derive(rkyv::Archive, rkyv::Serialize, rkyv::Deserialize)]
struct Unknown(i64);

fn main() {
    let records = Job::new("csv").source("n", Records::new([Unknown(1)])).processing_time();
    records.sink_to(Files::csv("n.csv"));
}
