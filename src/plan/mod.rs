//! The plan: a graph of operators over tables, the one description that both front ends lower to.
//!
//! Nodes refer to earlier nodes by index, so the graph is acyclic by construction. Columns are
//! referred to by index into the input's schema. The optimiser prunes columns; the shard loop
//! compiles the graph into exchange stages.
//!
//! # Invariants
//!
//! 1. A node's inputs have smaller indices than the node.
//! 2. Every [`Node::schema`] agrees with what its [`Op`] computes from its inputs.
//! 3. Every node but a [`Op::Sink`] is read by at least one other.

#[cfg(all(test, feature = "sql"))]
mod check;
mod explain;
pub mod function;
mod lineage;
mod optimise;

use std::sync::Arc;

use chrono_tz::Tz;

use crate::agg::AggregateCall;
use crate::batch::{DataType, Field, Schema, TimeAttribute};
use crate::connector::{Sink, Source};
use crate::expr::Expr;
use crate::window::{Emit, TimeDomain, WindowKind, WindowSpec};

#[cfg(all(test, feature = "sql"))]
pub(crate) use check::assert_valid;
pub use explain::{describe, explain};
pub use function::{Apply, Process, ProcessWindow};
pub use lineage::{Identity, Lineage, identity, lineages};
pub use optimise::optimise;

/// A node's index in [`Plan::nodes`].
pub type NodeIndex = usize;

/// How event time advances at a source.
#[derive(Clone, Debug)]
pub struct Watermark {
    /// The rowtime column, an index into the scan's output schema.
    pub column: usize,
    /// The watermark after a row (TIMESTAMP(3) or TIMESTAMP_LTZ(3)), over the scan's output schema; NULL leaves it as it is.
    pub expr: Expr,
}

/// What a node does.
#[derive(Clone, Debug)]
pub enum Op {
    /// Reads a table. Output: `columns`, each an expression over the table's *physical* columns.
    Scan {
        /// The table's name in the script.
        table: String,
        /// The connector.
        source: Arc<dyn Source>,
        /// The physical columns: what the format decodes or the generator makes.
        physical: Schema,
        /// The declared columns, computed ones included.
        columns: Vec<Expr>,
        /// The declared watermark.
        watermark: Option<Watermark>,
    },
    /// Filters, then projects. Neither changes event time.
    Calc {
        /// The input.
        input: NodeIndex,
        /// Keeps the rows where it is true.
        filter: Option<Expr>,
        /// The output columns.
        columns: Vec<Expr>,
    },
    /// The rows of all inputs; the lowest watermark counts.
    Union {
        /// The inputs, of equal types.
        inputs: Vec<NodeIndex>,
    },
    /// A window table function without GROUP BY: the input's columns, then `window_start`, `window_end`, `window_time`.
    WindowTable {
        /// The input.
        input: NodeIndex,
        /// The window.
        window: WindowSpec,
        /// For SESSION: the columns of PARTITION BY.
        partition_by: Vec<usize>,
    },
    /// Every row once for each grouping set: the input's columns, those not in the set NULL, then `$e` BIGINT, the set's grouping id.
    Expand {
        /// The input.
        input: NodeIndex,
        /// For each set: which input columns are nulled, and the grouping id.
        sets: Vec<GroupingSet>,
    },
    /// A windowed GROUP BY. Output: the keys, the aggregates, then `window_start`, `window_end` TIMESTAMP(3) NOT NULL and `window_time`
    /// (rowtime; TIMESTAMP_LTZ(3) if the time column is; processing-time attribute for processing-time windows).
    WindowAggregate {
        /// The input.
        input: NodeIndex,
        /// The window.
        window: WindowSpec,
        /// The key columns.
        keys: Vec<usize>,
        /// The calls.
        aggregates: Vec<AggregateCall>,
        /// When it shows results.
        emit: Emit,
    },
    /// The rows of the input of `of` that were late for it, whole: what `of` itself leaves out. A row that goes to several windows
    /// is late if it is late for all of them; one that no window contains is not.
    Late {
        /// A [`Op::WindowAggregate`], or a [`Op::WindowTable`] of sessions.
        of: NodeIndex,
    },
    /// Calls a function for each row where the row's key lives; it keeps values by key. Output: what the function yields.
    Process {
        /// The input.
        input: NodeIndex,
        /// The key columns.
        keys: Vec<usize>,
        /// Which window a row is in, for values of windows.
        window: Option<ProcessWindow>,
        /// The function.
        function: Arc<dyn Process>,
    },
    /// Calls a function that keeps nothing, batch by batch. Output: what the function yields. It does not change event time.
    Apply {
        /// The input.
        input: NodeIndex,
        /// The function.
        function: Arc<dyn Apply>,
    },
    /// Writes a table.
    Sink {
        /// The input, columns in the sink's order and types.
        input: NodeIndex,
        /// The table's name in the script; empty for a bare SELECT.
        table: String,
        /// The connector.
        sink: Arc<dyn Sink>,
        /// Stop the job after this many rows (a bare SELECT with LIMIT).
        limit: Option<u64>,
    },
}

impl Op {
    /// The input of an operator that leaves late rows out; `None` for others.
    pub fn late_input(&self) -> Option<NodeIndex> {
        match self {
            Op::WindowAggregate { input, .. } => Some(*input),
            Op::WindowTable { input, window, .. }
                if matches!(window.kind, WindowKind::Session { .. }) =>
            {
                Some(*input)
            }
            _ => None,
        }
    }
}

impl Plan {
    /// Whether anybody reads the rows that are late for `node`.
    pub fn is_late_read(&self, node: NodeIndex) -> bool {
        is_late_read(&self.nodes, node)
    }
}

fn is_late_read(nodes: &[Node], node: NodeIndex) -> bool {
    nodes.iter().any(|reader| matches!(reader.op, Op::Late { of } if of == node))
}

/// One grouping set of an [`Op::Expand`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupingSet {
    /// Input columns that are NULL in this set's rows.
    pub nulled: Vec<usize>,
    /// The value of `$e`: GROUPING_ID of all grouping columns; higher, and unique, for a set that comes again.
    pub grouping_id: i64,
}

/// An operator and the columns it yields.
#[derive(Clone, Debug)]
pub struct Node {
    /// What it does.
    pub op: Op,
    /// What it yields.
    pub schema: Schema,
}

/// A whole script's dataflow.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The operators, inputs first.
    pub nodes: Vec<Node>,
    /// The script's settings.
    pub settings: Settings,
}

/// The three columns of a window whose `window_time`, in event time, has this type.
pub fn window_fields(time_type: DataType, domain: TimeDomain) -> [Field; 3] {
    let start = Field::new("window_start", DataType::Timestamp(3)).not_null();
    let end = Field::new("window_end", DataType::Timestamp(3)).not_null();
    let (data_type, attribute) = match domain {
        TimeDomain::Processing => (DataType::TimestampLtz(3), TimeAttribute::Proctime),
        TimeDomain::Event => (time_type, TimeAttribute::Rowtime),
    };
    [start, end, Field::new("window_time", data_type).not_null().time_attribute(attribute)]
}

/// What `SET` and the command line say.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The number of shards (`parallelism.default`); `None`: the cores.
    pub shards: Option<usize>,
    /// `table.local-time-zone`.
    pub time_zone: Tz,
    /// `table.exec.source.idle-timeout`; 0: never.
    pub idle_timeout_ms: u64,
    /// `tidemill.dead-letter.path`: where dropped records go.
    pub dead_letter_path: Option<std::path::PathBuf>,
    /// `execution.checkpointing.interval`: time between two snapshots of a job with state.
    pub snapshot_interval_ms: Option<u64>,
    /// `execution.checkpointing.num-retained`: how many snapshots are kept.
    pub snapshots_retained: Option<usize>,
    /// `tidemill.state.memory-bytes`: bytes of durable state held in memory.
    pub state_memory_bytes: Option<u64>,
    /// Bytes a chunk (`tidemill.chunk-bytes`); for tests, which set it low so that tiny inputs interleave.
    pub chunk_bytes: u64,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            shards: None,
            time_zone: Tz::UTC,
            idle_timeout_ms: 0,
            dead_letter_path: None,
            snapshot_interval_ms: None,
            snapshots_retained: None,
            state_memory_bytes: None,
            chunk_bytes: crate::connector::CHUNK_BYTES,
        }
    }
}
