//! What a manifest keeps of a sink whose parts say themselves what is pending.

use serde::{Deserialize, Serialize};

/// The record of an epoch of such a sink.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Prepared {
    /// Which sink.
    pub sink: String,
    /// Which epoch.
    pub epoch: u64,
    /// What [`SealedPart::Pending`](super::SealedPart::Pending) said, in the order of the parts.
    pub pending: Vec<String>,
}

impl Prepared {
    /// What a record says, for people; `None` if it is none of these.
    pub(super) fn describe(text: &str) -> Option<String> {
        let Self { sink, pending, .. } = serde_json::from_str(text).ok()?;
        Some(match pending.len() {
            0 => format!("nothing new for {sink}"),
            _ => format!("for {sink}: {}", pending.join(", ")),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::connector::describe_record;

    #[test]
    fn records_are_described() {
        let described = |pending: &[&str]| {
            let pending = pending.iter().map(|&text| text.to_owned()).collect();
            let record = Prepared { sink: "sums".into(), epoch: 3, pending };
            describe_record(&serde_json::to_string(&record).unwrap())
        };
        assert_eq!(described(&[]), "nothing new for sums");
        assert_eq!(described(&["0-3", "1-3"]), "for sums: 0-3, 1-3");
    }
}
