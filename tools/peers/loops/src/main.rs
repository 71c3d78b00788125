//! The workloads as loops written by hand over records in memory, one thread: what an engine is measured against.
//!
//! - `hash`: row by row, as one would write it first, over open-addressing tables of our own. The plain loop of `ANCHORS.md`, to which
//!   the ratios of all peers are taken; it is also the judge of everybody's answers.
//! - `dense`: W0, W1, W3. Pages are indices into an array; rows are selected without a branch, block by block.
//! - `radix`: W2, W4, W5. Rows are laid aside by the hash of their device, and taken up a partition at a time, whose table fits the cache.
//!
//! All follow the watermark: the late rule is tested, windows are shown when it passes their end, and their memory is used again. Sessions that
//! are over are shown when their device comes again, and each minute of event time. Timed from the records in memory to the last result.

use peer_clicks::{Answer, Click, Task, VIEW};
use peer_loops::groups::{Dense, Hashed};
use peer_loops::slices::{self, HOP, MINUTE, TUMBLE};
use peer_loops::{sessions, visitors};

fn main() {
    let task = Task::from_args(std::env::args().skip(1));
    let clicks = task.clicks(1 << 15, 0, 1);
    let run: fn(&[Click]) -> Answer = match (task.variant.as_str(), task.workload.as_str()) {
        ("hash", "w0") => parse_plainly,
        ("hash", "w1") => slices::tumble_plainly,
        ("hash", "w2") => visitors::plainly,
        ("hash", "w3") => {
            |clicks| slices::plainly::<Hashed>(clicks, HOP, |click| u64::from(click.page))
        }
        ("hash", "w4") => sessions::plainly,
        ("hash", "w5") => |clicks| slices::plainly::<Hashed>(clicks, MINUTE, |click| click.device),
        ("dense", "w0") => parse_in_blocks,
        ("dense", "w1") => {
            |clicks| slices::in_blocks::<Dense>(clicks, TUMBLE, |click| click.action == VIEW)
        }
        ("dense", "w3") => |clicks| slices::in_blocks::<Dense>(clicks, HOP, |_| true),
        ("radix", "w2") => peer_loops::visitors_by_partition,
        ("radix", "w4") => peer_loops::sessions_by_partition,
        ("radix", "w5") => peer_loops::minutes,
        _ => task.unknown(),
    };
    task.measure(clicks.len(), || run(&clicks));
}

/// W0, row by row.
fn parse_plainly(clicks: &[Click]) -> Answer {
    let mut answer = Answer::default();
    for click in clicks {
        if click.action == VIEW {
            answer.add_click(click.page, click.amount);
        }
    }
    answer
}

/// W0 by blocks, selected without a branch.
fn parse_in_blocks(clicks: &[Click]) -> Answer {
    let mut answer = Answer::default();
    let mut selected = slices::Selection::default();
    for block in clicks.chunks(slices::BLOCK) {
        for &index in selected.of(block, |click| click.action == VIEW) {
            let click = &block[usize::from(index)];
            answer.add_click(click.page, click.amount);
        }
    }
    answer
}
