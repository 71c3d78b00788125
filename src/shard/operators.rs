//! A job's operators by name: what a script must say to go on from a snapshot, and what differs if it does not.
//!
//! ```text
//! WindowAggregate TUMBLE(size 10 s) on ts; aggregates: COUNT(*); exchange: by page; … #9f86d081884c7d65
//! ```
//!
//! The text is the plan's, for people; the number is a hash of all there is to be known of what the node became: expressions with
//! their types, what is shipped, where rows go on to.
//!
//! # Invariants
//!
//! 1. Where data comes from and goes to (paths, ports, print formats) is no part of it: that may change.

use std::fmt::Write;
use std::ops::Range;

use super::topology::{Exchange, Scan, SinkSpec, Topology};
use crate::sys::checksum::xxh64;

/// What separates the text from the hash.
const HASH_MARK: &str = " #";
/// Differences that are shown of either script.
const SHOWN_MAX: usize = 5;

/// What became of a node of the plan: its parts of the topology.
#[derive(Debug)]
pub(super) struct NodeParts {
    text: String,
    scans: Range<usize>,
    steps: Range<usize>,
    exchanges: Range<usize>,
    sinks: Range<usize>,
}

/// How many parts a topology has.
#[derive(Clone, Copy)]
pub(super) struct Extent([usize; 4]);

impl Extent {
    pub(super) fn of(topology: &Topology) -> Self {
        let Topology { scans, steps, exchanges, sinks, .. } = topology;
        Self([scans.len(), steps.len(), exchanges.len(), sinks.len()])
    }

    /// The parts that came since, for a node that `text` describes.
    pub(super) fn to_now(self, topology: &Topology, text: String) -> NodeParts {
        let now = Self::of(topology);
        let [scans, steps, exchanges, sinks] = [0, 1, 2, 3].map(|part| self.0[part]..now.0[part]);
        NodeParts { text, scans, steps, exchanges, sinks }
    }
}

impl Topology {
    /// The job's operators, one description each: two jobs with the same ones can go on from each other's state.
    pub(crate) fn operators(&self) -> Vec<String> {
        let zone = format!("local time zone {}", self.time_zone);
        let nodes = self.nodes.iter().map(|node| {
            let details = self.details(node);
            format!("{}{HASH_MARK}{:016x}", node.text, xxh64(details.as_bytes()))
        });
        std::iter::once(zone).chain(nodes).collect()
    }

    /// All that matters of a node.
    fn details(&self, node: &NodeParts) -> String {
        let mut text = String::new();
        for scan in &self.scans[node.scans.clone()] {
            scan_details(&mut text, scan);
        }
        for step in &self.steps[node.steps.clone()] {
            let _ = writeln!(text, "step {:?} to {:?}", step.kind, step.targets);
        }
        for exchange in &self.exchanges[node.exchanges.clone()] {
            exchange_details(&mut text, exchange);
        }
        for SinkSpec { table, schema, limit, .. } in &self.sinks[node.sinks.clone()] {
            let _ = writeln!(text, "sink {table}: {schema:?} limit {limit:?}");
        }
        text
    }
}

fn scan_details(text: &mut String, scan: &Scan) {
    let format = scan.source.format().map(|format| format.framing());
    let _ = writeln!(
        text,
        "table {}: {:?}, {:?} columns {:?} watermark {:?} to {:?}",
        scan.table, format, scan.physical, scan.columns, scan.watermark, scan.targets
    );
}

fn exchange_details(text: &mut String, exchange: &Exchange) {
    let calls: Vec<String> = exchange.shape.calls.iter().map(ToString::to_string).collect();
    let _ = writeln!(
        text,
        "window {} by {:?} of {:?}: {} ({:?}, {:?}, emit {:?}, from {:?} to {:?}, {:?})",
        exchange.send.window,
        exchange.shape.keys,
        exchange.shape.key_types,
        calls.join(", "),
        exchange.owner,
        exchange.send.ship,
        exchange.send.emit,
        exchange.feeds,
        exchange.targets,
        exchange.second_stage,
    );
    if !exchange.late_targets.is_empty() {
        let _ = writeln!(text, "late rows to {:?}", exchange.late_targets);
    }
}

/// An operator's description, as manifests name it, without its hash.
pub fn readable(operator: &str) -> &str {
    match operator.rsplit_once(HASH_MARK) {
        Some((text, hash)) if hash.len() == 16 => text,
        _ => operator,
    }
}

/// What the operators of a state have that those of a script have not, and the other way round; some lines.
pub(super) fn differences(state: &[String], script: &[String]) -> String {
    let texts = |list: &[String]| list.iter().map(|text| readable(text).to_owned()).collect();
    let (state_texts, script_texts): (Vec<String>, Vec<String>) = (texts(state), texts(script));
    let text = lines("state: ", &missing(&state_texts, &script_texts))
        + &lines("script:", &missing(&script_texts, &state_texts));
    if !text.is_empty() {
        return text;
    }
    // They read the same: types differ, or the order.
    lines("state: ", &missing(state, script)) + &lines("script:", &missing(script, state))
}

/// Those of `list` that `other` has fewer of.
fn missing<'a>(list: &'a [String], other: &[String]) -> Vec<&'a String> {
    let mut rest: Vec<&String> = other.iter().collect();
    let mut missing = Vec::new();
    for text in list {
        match rest.iter().position(|other| *other == text) {
            Some(index) => drop(rest.swap_remove(index)),
            None => missing.push(text),
        }
    }
    missing
}

fn lines(whose: &str, texts: &[&String]) -> String {
    let mut lines: String =
        texts.iter().take(SHOWN_MAX).map(|text| format!("  {whose} {text}\n")).collect();
    if texts.len() > SHOWN_MAX {
        lines += &format!("  {whose} and {} more\n", texts.len() - SHOWN_MAX);
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_reads_differently_is_shown() {
        let list = |texts: &[&str]| texts.iter().map(|text| text.to_string()).collect::<Vec<_>>();
        let old = list(&[
            "Scan t #0123456789abcdef",
            "Calc #0000000000000001",
            "Sink a #0000000000000002",
        ]);
        let new = list(&[
            "Scan t #0123456789abcdef",
            "Calc #0000000000000003",
            "Sink b #0000000000000002",
        ]);
        assert_eq!(differences(&old, &new), "  state:  Sink a\n  script: Sink b\n");
        let calc = "  state:  Calc #0000000000000001\n  script: Calc #0000000000000003\n";
        assert_eq!(differences(&old[..2], &new[..2]), calc);
        assert_eq!(differences(&old, &old[..2]), "  state:  Sink a\n");
        assert_eq!(readable("by #page"), "by #page");
    }
}
