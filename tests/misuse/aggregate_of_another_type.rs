//! An aggregate function over items of one type takes no others.

use tidemill::*;

struct Longest;

impl AggregateFunction<String> for Longest {
    type Accumulator = u64;
    type Output = u64;

    fn uid(&self) -> &str {
        "longest"
    }

    fn create(&self) -> u64 {
        0
    }

    fn add(&self, longest: &mut u64, text: &rkyv::string::ArchivedString) {
        *longest = (text.len() as u64).max(*longest);
    }

    fn merge(&self, longest: &mut u64, later: u64) {
        *longest = later.max(*longest);
    }

    fn result(&self, longest: &u64) -> u64 {
        *longest
    }
}

fn main() {
    let numbers = Job::new("longest").source("n", Records::new(0..9_i64)).processing_time();
    numbers.key_by(|n| *n).window(Window::count(3)).aggregate(|on| on.custom(Longest));
}
