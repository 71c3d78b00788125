//! What a snapshot remembers of its script, and whether another script differs from it by new aggregates alone.
//!
//! # Invariants
//!
//! 1. A script is let through only if every old call is a new one of the same spelling over the same rows: its accumulators
//!    go on as they are.

use serde::{Deserialize, Serialize};

use crate::plan::Identity;
use crate::shard::topology::{Aggregate, Exchange, Feeds, Owner, Topology};

/// What a script is, for comparing it with another.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Blueprint {
    /// The local time zone.
    time_zone: String,
    /// The tables that are read, in the order of the sources.
    tables: Vec<TableRecord>,
    /// The operators with windows, in the order of their exchanges.
    aggregates: Vec<AggregateRecord>,
    /// The tables that are written, in the order of the sinks, and which rows.
    outputs: Vec<(String, String)>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct TableRecord {
    name: String,
    framing: String,
    /// The stored columns with their types.
    columns: Vec<String>,
}

/// See [`Identity`].
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct AggregateRecord {
    parts: Vec<(String, String)>,
    calls: Vec<(String, String)>,
}

/// How an operator with windows has changed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Change {
    /// By old call, its place among the new ones.
    pub(super) places: Vec<usize>,
    /// The new calls, for people.
    pub(super) added: Vec<String>,
}

impl Change {
    /// By new call, the old one that it was.
    pub(super) fn former(&self, call_count: usize) -> Vec<Option<usize>> {
        let former = |call| self.places.iter().position(|&place| place == call);
        (0..call_count).map(former).collect()
    }
}

impl Blueprint {
    /// That of a job.
    pub(super) fn of(topology: &Topology) -> Self {
        let tables = topology.scans.iter().map(|scan| TableRecord {
            name: scan.table.clone(),
            framing: format!("{:?}", scan.source.format().map(|format| format.framing())),
            columns: scan
                .physical
                .fields
                .iter()
                .map(|field| format!("{} {}", field.name, field.data_type))
                .collect(),
        });
        let record = |Identity { parts, calls }: &Identity| AggregateRecord {
            parts: parts.clone(),
            calls: calls.clone(),
        };
        Self {
            time_zone: topology.time_zone.to_string(),
            tables: tables.collect(),
            aggregates: topology.aggregates.iter().map(|own| record(&own.identity)).collect(),
            outputs: topology
                .sinks
                .iter()
                .map(|sink| (sink.table.clone(), format!("{} limit {:?}", sink.rows, sink.limit)))
                .collect(),
        }
    }

    /// How the operators with windows have changed since this script, by theirs.
    ///
    /// # Errors
    ///
    /// What has changed besides, for people.
    pub(super) fn changes(&self, topology: &Topology) -> Result<Vec<Change>, String> {
        let new = Self::of(topology);
        same("the local time zone", &self.time_zone, &new.time_zone)?;
        let names = |tables: &[TableRecord]| {
            tables.iter().map(|table| table.name.as_str()).collect::<Vec<_>>().join(", ")
        };
        same("what is read", &names(&self.tables), &names(&new.tables))?;
        let written = |outputs: &[(String, String)]| {
            outputs.iter().map(|(table, _)| table.as_str()).collect::<Vec<_>>().join(", ")
        };
        same("what is written", &written(&self.outputs), &written(&new.outputs))?;
        for (old, new) in self.tables.iter().zip(&new.tables) {
            let table = format!("table '{}'", old.name);
            same(&table, &old.framing, &new.framing)?;
            if !new.columns.starts_with(&old.columns) {
                same(&table, &old.columns.join(", "), &new.columns.join(", "))?;
            }
        }
        for (aggregate, new) in self.aggregates.iter().zip(&new.aggregates) {
            aggregate.check_parts(new)?;
        }
        for ((table, old), (_, new)) in self.outputs.iter().zip(&new.outputs) {
            same(&format!("which rows '{table}' gets"), old, new)?;
        }
        let count = |blueprint: &Self| format!("{} with windows", blueprint.aggregates.len());
        same("the number of operators", &count(self), &count(&new))?;
        let pairs = self.aggregates.iter().zip(&new.aggregates).zip(&topology.aggregates);
        pairs.map(|((old, new), aggregate)| old.change(new, aggregate, topology)).collect()
    }
}

impl AggregateRecord {
    fn check_parts(&self, new: &AggregateRecord) -> Result<(), String> {
        for ((name, old), (_, new)) in self.parts.iter().zip(&new.parts) {
            same(&format!("{name} of an aggregation"), old, new)?;
        }
        let count = |record: &Self| format!("{} parts", record.parts.len());
        same("what an aggregation is", &count(self), &count(new))
    }

    fn change(
        &self,
        new: &AggregateRecord,
        aggregate: &Aggregate,
        topology: &Topology,
    ) -> Result<Change, String> {
        let window = self.parts.first().map_or("", |(_, window)| window.as_str());
        let mut change = Change::default();
        for call in &self.calls {
            let mut places = (0..new.calls.len()).filter(|&place| new.calls[place] == *call);
            let place = places.find(|place| !change.places.contains(place));
            let gone = || format!("the script has no {} any more, over {window}", call.0);
            change.places.push(place.ok_or_else(gone)?);
        }
        let added = (0..new.calls.len()).filter(|place| !change.places.contains(place));
        change.added = added.map(|place| new.calls[place].0.clone()).collect();
        let now = &topology.exchanges[aggregate.exchanges.start];
        if !change.added.is_empty() && matches!(now.feeds, Feeds::Exchanges(_)) {
            return Err(format!(
                "{} is new over the results of another window, which come late: that cannot be added",
                change.added.join(", ")
            ));
        }
        if goes_over_to_windows(&topology.formerly(aggregate, &change.places)[0], now) {
            return Err(format!(
                "with {} the state is kept by window, no longer by slice: that cannot be added",
                change.added.join(", ")
            ));
        }
        Ok(change)
    }
}

/// Whether groups were kept by slice and are to be kept by window. With triggers they always are.
fn goes_over_to_windows(old: &Exchange, new: &Exchange) -> bool {
    let slices = |exchange: &Exchange| matches!(exchange.owner, Owner::Aggregate(_));
    slices(old) && slices(new) && old.send.per_window != new.send.per_window
}

fn same(what: &str, old: &str, new: &str) -> Result<(), String> {
    match old == new {
        true => Ok(()),
        false => Err(format!("{what} differs:\n  state:  {old}\n  script: {new}")),
    }
}
