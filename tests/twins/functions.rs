//! Functions of the program's own, for what SQL has and the builder's aggregates have not.

use std::collections::BTreeSet;

use tidemill::{AggregateFunction, Archived, Items, Output, ProcessContext, ProcessWindow};

use super::input::{ArchivedRow, Row};

/// Texts in the order of their arrival, joined; `None` of no text.
pub(super) struct Joined {
    pub(super) uid: &'static str,
    pub(super) separator: &'static str,
    pub(super) distinct: bool,
    pub(super) text: fn(&ArchivedRow) -> Option<String>,
}

impl AggregateFunction<Row> for Joined {
    type Accumulator = Vec<String>;
    type Output = Option<String>;

    fn uid(&self) -> &str {
        self.uid
    }

    fn is_order_sensitive(&self) -> bool {
        true
    }

    fn create(&self) -> Vec<String> {
        Vec::new()
    }

    fn add(&self, texts: &mut Vec<String>, row: &ArchivedRow) {
        self.merge(texts, (self.text)(row).into_iter().collect());
    }

    fn merge(&self, texts: &mut Vec<String>, later: Vec<String>) {
        for text in later {
            if !self.distinct || !texts.contains(&text) {
                texts.push(text);
            }
        }
    }

    fn result(&self, texts: &Vec<String>) -> Option<String> {
        (!texts.is_empty()).then(|| texts.join(self.separator))
    }
}

/// How many numbers there are, their sum, and the sum of the different ones.
pub(super) struct Numbers;

impl AggregateFunction<Row> for Numbers {
    type Accumulator = Vec<i64>;
    type Output = Archived<(i64, i64, i64)>;

    fn uid(&self) -> &str {
        "numbers"
    }

    fn create(&self) -> Vec<i64> {
        Vec::new()
    }

    fn add(&self, numbers: &mut Vec<i64>, row: &ArchivedRow) {
        numbers.extend(row.v());
    }

    fn merge(&self, numbers: &mut Vec<i64>, later: Vec<i64>) {
        numbers.extend(later);
    }

    fn result(&self, numbers: &Vec<i64>) -> Self::Output {
        let different: BTreeSet<i64> = numbers.iter().copied().collect();
        Archived((numbers.len() as i64, numbers.iter().sum(), different.iter().sum()))
    }
}

/// Every row with its window: start, end, time, key, number.
pub(super) struct Each;

/// What [`Each`] yields.
pub(super) type Placed = (i64, i64, i64, Option<String>, Option<i64>);

impl ProcessWindow<Row, Option<String>> for Each {
    type Output = Placed;

    fn uid(&self) -> &str {
        "each"
    }

    fn process(
        &self,
        rows: Items<'_, Row>,
        window: &mut ProcessContext<'_, '_, Option<String>>,
        out: &mut Output<'_, Placed>,
    ) -> Result<(), String> {
        let (start, end) = (window.start_ms(), window.end_ms());
        rows.iter()
            .try_for_each(|row| out.push(&(start, end, row.at_ms.to_native(), row.k(), row.v())))
    }
}
