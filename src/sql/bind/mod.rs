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
//! | `given` | calls of the program's functions |

mod aggregate;
mod aggregation;
mod distinct;
mod expression;
mod given;
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

pub(crate) use aggregate::is_own_name;
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
