//! Where a node's rows come from: which scans or exchanges feed it, in how many ways, and which of its columns are theirs.

use std::collections::BTreeSet;

use super::{Builder, Feeds, Outlet};
use crate::error::JobError;
use crate::plan::{NodeIndex, Op};
use crate::window::WindowKind;

/// Why no window stands over rows that are late for sessions. Owners find those, behind the exchange: in no order, and the
/// watermark at each one's arrival is over by then.
const LATE_FOR_SESSIONS: &str = "a window over the rows that were late for a SESSION window cannot run: they come out \
    where the sessions are kept, in no order; write them to a table and read that in a job of its own";

impl Builder<'_> {
    pub(super) fn feeds(&self, node: NodeIndex) -> Result<Feeds, JobError> {
        let (mut scans, mut exchanges) = (Vec::new(), Vec::new());
        self.collect_feeds(node, &mut scans, &mut exchanges)?;
        exchanges.sort_unstable();
        match (scans.is_empty(), exchanges.is_empty()) {
            (false, true) => Ok(Feeds::Scans(scans)),
            (true, false) => Ok(Feeds::Exchanges(exchanges)),
            _ => Err(JobError::Environment(
                "a window over the UNION ALL of a table and of another window's results cannot run yet; \
                 give the table a window of its own first"
                    .into(),
            )),
        }
    }

    fn collect_feeds(
        &self,
        node: NodeIndex,
        scans: &mut Vec<usize>,
        exchanges: &mut Vec<usize>,
    ) -> Result<(), JobError> {
        if let Some(&exchange) = self.behind.get(&node) {
            if !exchanges.contains(&exchange) {
                exchanges.push(exchange);
            }
            return Ok(());
        }
        match (&self.plan.nodes[node].op, self.outputs[node]) {
            (_, Outlet::Scan(scan)) if !scans.contains(&scan) => scans.push(scan),
            (_, Outlet::Exchange(exchange)) if !exchanges.contains(&exchange) => {
                exchanges.push(exchange)
            }
            (
                Op::Calc { input, .. }
                | Op::Expand { input, .. }
                | Op::WindowTable { input, .. }
                | Op::Apply { input, .. },
                _,
            ) => self.collect_feeds(*input, scans, exchanges)?,
            (Op::Union { inputs }, _) => {
                for &input in inputs {
                    self.collect_feeds(input, scans, exchanges)?;
                }
            }
            (Op::Late { of }, Outlet::Late(exchange)) => {
                if self.topology.exchanges[exchange].owner_finds_late() {
                    return Err(JobError::Refused(LATE_FOR_SESSIONS.into()));
                }
                // A sender only sorts them out of what it is fed.
                let input = self.plan.nodes[*of].op.late_input().expect("it has exchanges");
                self.collect_feeds(input, scans, exchanges)?;
            }
            _ => {}
        }
        Ok(())
    }

    /// Whether each row comes to `node` in one way.
    pub(super) fn has_one_way(&self, node: NodeIndex, met: &mut BTreeSet<(bool, usize)>) -> bool {
        if let Some(&exchange) = self.behind.get(&node) {
            return met.insert((true, exchange));
        }
        match (&self.plan.nodes[node].op, self.outputs[node]) {
            (_, Outlet::Scan(scan)) => met.insert((false, scan)),
            (_, Outlet::Exchange(exchange)) => met.insert((true, exchange)),
            (Op::Expand { input, sets }, _) => sets.len() <= 1 && self.has_one_way(*input, met),
            (
                Op::Calc { input, .. } | Op::WindowTable { input, .. } | Op::Apply { input, .. },
                _,
            ) => self.has_one_way(*input, met),
            (Op::Union { inputs }, _) => inputs.iter().all(|&input| self.has_one_way(input, met)),
            (Op::Late { of }, _) => {
                let input = self.plan.nodes[*of].op.late_input();
                input.is_none_or(|input| self.has_one_way(input, met))
            }
            _ => unreachable!("an exchange is behind all others"),
        }
    }

    /// Whether rows of one key here are results of one key there.
    pub(super) fn covers(&self, input: NodeIndex, keys: &[usize]) -> bool {
        let origins = keys.iter().filter_map(|&key| self.origin(input, key));
        let origins: BTreeSet<(NodeIndex, usize)> = origins.collect();
        let mut node = input;
        let needed: Vec<usize> = loop {
            match &self.plan.nodes[node].op {
                Op::WindowAggregate { keys, .. } => break (0..keys.len()).collect(),
                Op::WindowTable { partition_by, window, .. }
                    if matches!(window.kind, WindowKind::Session { .. }) =>
                {
                    break partition_by.clone();
                }
                op => match self.input_of(op) {
                    Some(input) => node = input,
                    None => return false,
                },
            }
        };
        needed.iter().all(|&column| origins.contains(&(node, column)))
    }

    /// The column of an operator with windows that `column` of `node` is.
    fn origin(&self, mut node: NodeIndex, mut column: usize) -> Option<(NodeIndex, usize)> {
        loop {
            let op = &self.plan.nodes[node].op;
            match op {
                Op::WindowAggregate { .. } => return Some((node, column)),
                Op::WindowTable { window, .. }
                    if matches!(window.kind, WindowKind::Session { .. }) =>
                {
                    return Some((node, column));
                }
                Op::Calc { columns, .. } => column = columns[column].as_column()?,
                Op::WindowTable { input, .. }
                    if column < self.plan.nodes[*input].schema.column_count() => {}
                Op::Union { inputs } if inputs.len() == 1 => {}
                Op::Late { .. } => {}
                _ => return None,
            }
            node = self.input_of(op)?;
        }
    }

    /// The input of an operator that passes its columns on, or makes others of them.
    fn input_of(&self, op: &Op) -> Option<NodeIndex> {
        match op {
            Op::Calc { input, .. }
            | Op::WindowTable { input, .. }
            | Op::Expand { input, .. }
            | Op::Apply { input, .. } => Some(*input),
            Op::Union { inputs } if inputs.len() == 1 => Some(inputs[0]),
            Op::Late { of } => self.plan.nodes[*of].op.late_input(),
            _ => None,
        }
    }
}
