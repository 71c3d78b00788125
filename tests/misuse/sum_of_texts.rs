//! A text has no sum.

use tidemill::*;

fn main() {
    let texts = Job::new("texts").source("n", Records::new(0..9_i64)).processing_time();
    texts.key_by(|n| *n).window(Window::count(3)).aggregate(|on| on.sum(|_| "text"));
}
