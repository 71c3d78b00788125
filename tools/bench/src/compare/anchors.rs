//! The figures that peers reached when they were measured with care (`ANCHORS.md`, 2026-11-22): a peer that stays far below them here is
//! not slow, it is badly written or badly run.

use super::contestants::WORKLOADS;

/// Million rows a second from memory, W1 to W5; 0: none.
type Figures = [f64; 5];

const LOOP: Figures = [102.0, 12.0, 190.0, 8.8, 9.3];

/// Engine, shards, figures.
const PEERS: [(&str, usize, Figures); 5] = [
    ("timely", 1, [70.0, 6.0, 44.0, 4.4, 9.7]),
    ("timely", 2, [85.0, 16.0, 57.0, 8.4, 16.0]),
    ("renoir", 1, [39.0, 2.1, 19.0, 1.7, 0.5]),
    ("renoir", 2, [46.0, 4.4, 23.0, 1.9, 1.2]),
    ("duckdb", 2, [34.0, 5.4, 23.0, 0.0, 6.6]),
];

/// The least share of its ratio to the plain loop that a peer must reach.
pub(super) const SHARE_MIN: f64 = 0.9;

/// A peer's rate from memory as a multiple of the plain loop's, as it was then.
pub(super) fn ratio_to_loop(engine: &str, shards: usize, workload: &str) -> Option<f64> {
    let index = WORKLOADS.iter().position(|name| *name == workload)?.checked_sub(1)?;
    let peer = PEERS.iter().find(|(name, count, _)| *name == engine && *count == shards)?;
    (peer.2[index] > 0.0).then(|| peer.2[index] / LOOP[index])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ratios_are_found_by_name() {
        assert_eq!(ratio_to_loop("timely", 2, "w2"), Some(16.0 / 12.0));
        assert_eq!(ratio_to_loop("duckdb", 2, "w4"), None);
        assert_eq!(ratio_to_loop("timely", 2, "w0"), None);
        assert_eq!(ratio_to_loop("ours", 2, "w1"), None);
    }
}
