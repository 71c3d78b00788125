//! Statements to a plan: names to columns, windows to operators, settings to what they mean.
//!
//! | file | binds |
//! |---|---|
//! | `script` | the statements, one after another |
//! | `settings` | SET, RESET and the command line |
//! | `table` | CREATE TABLE |
//! | `query` | FROM, WHERE, SELECT, UNION ALL |
//! | `window` | window functions and group windows |
//! | `grouped`, `grouping`, `distinct` | GROUP BY, grouping sets, HAVING, DISTINCT |
//! | `aggregation` | their operators |
//! | `sink` | INSERT INTO and bare SELECT |
//! | `scope`, `expression`, `literal`, `aggregate` | expressions |

mod aggregate;
mod aggregation;
mod distinct;
mod expression;
mod grouped;
mod grouping;
mod literal;
mod query;
mod scope;
mod script;
mod settings;
mod sink;
mod table;
mod window;

pub(crate) use script::bind_script;

use crate::error::ScriptError;

/// What a script should hear about besides errors.
#[derive(Debug, Default)]
pub(crate) struct Notes {
    /// What has no effect here.
    pub(crate) warnings: Vec<ScriptError>,
    /// What a Flink would refuse.
    pub(crate) flink_refusals: Vec<ScriptError>,
}

impl Notes {
    /// Takes over what `other` noted.
    pub(crate) fn extend(&mut self, other: Notes) {
        other.warnings.into_iter().for_each(|warning| self.warn(warning));
        other.flink_refusals.into_iter().for_each(|refusal| self.flink_refuses(refusal));
    }

    /// Notes what a Flink would refuse, once a place.
    pub(crate) fn flink_refuses(&mut self, refusal: ScriptError) {
        if !self.flink_refusals.contains(&refusal) {
            self.flink_refusals.push(refusal);
        }
    }

    /// Notes what has no effect, once a place.
    pub(crate) fn warn(&mut self, warning: ScriptError) {
        if !self.warnings.contains(&warning) {
            self.warnings.push(warning);
        }
    }
}

/// The one of `known` that `word` was most likely meant to be.
pub(crate) fn near_match<'k>(word: &str, known: impl Iterator<Item = &'k str>) -> Option<&'k str> {
    let lower = word.to_lowercase();
    let allowed = (lower.chars().count() / 3).clamp(1, 4);
    known
        .map(|candidate| (distance(&lower, &candidate.to_lowercase()), candidate))
        .filter(|(distance, _)| *distance <= allowed)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// Levenshtein's distance; of words beyond 64 characters, nothing is near.
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    if a.len().max(b.len()) > 64 {
        return usize::MAX;
    }
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.iter().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, to) in b.iter().enumerate() {
            let changed = diagonal + usize::from(from != to);
            diagonal = row[j + 1];
            row[j + 1] = changed.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}
