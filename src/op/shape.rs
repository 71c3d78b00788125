//! The shape of a GROUP BY: which columns are keys, which travel, how accumulators lie. Shared by both
//! sides of an exchange.

use arrow_array::ArrayRef;

use crate::agg::{Accumulator, AggregateCall, Layout};
use crate::batch::{DataType, Schema};
use crate::state::Values;

/// A GROUP BY, prepared for execution.
#[derive(Clone, Debug)]
pub struct Shape {
    /// Input columns of the key.
    pub keys: Vec<usize>,
    /// Their types.
    pub key_types: Vec<DataType>,
    /// The calls; `args` and `filter` are positions in `shipped`.
    pub calls: Vec<AggregateCall>,
    /// Where their accumulators lie.
    pub layout: Layout,
    /// Input columns that calls read, in the order in which they travel.
    pub shipped: Vec<usize>,
    /// Their types, without those that travel only for the sake of late rows.
    pub shipped_types: Vec<DataType>,
    /// The distinct argument lists, each with its own sets.
    pub distinct: Vec<Distinct>,
    /// Positions in `shipped` of all columns of the input, where owners find rows late and hand them out whole; else empty.
    pub late: Vec<usize>,
}

/// Calls that are DISTINCT over the same arguments under the same filter.
#[derive(Clone, Debug)]
pub struct Distinct {
    /// Positions in `shipped`.
    pub args: Vec<usize>,
    /// Their types.
    pub arg_types: Vec<DataType>,
    /// The filter's position in `shipped`.
    pub filter: Option<usize>,
    /// Which calls.
    pub calls: Vec<usize>,
    /// Whether one of those wants the values in the order in which they came.
    pub in_order: bool,
}

impl Distinct {
    /// What the values are.
    pub fn values(&self) -> Values {
        let width = match self.arg_types.as_slice() {
            [only] => only.fixed_bytes().filter(|&bytes| bytes <= 8),
            _ => None,
        };
        match (self.in_order, width) {
            (true, _) => Values::InOrder,
            (false, Some(width)) => Values::Words(width),
            (false, None) => Values::Bytes,
        }
    }
}

impl Shape {
    /// The shape of `GROUP BY keys` with `calls`, over columns of `input`.
    pub fn new(input: &Schema, keys: &[usize], calls: &[AggregateCall]) -> Self {
        let mut shipped: Vec<usize> =
            calls.iter().flat_map(|call| call.args.iter().copied().chain(call.filter)).collect();
        shipped.sort_unstable();
        shipped.dedup();
        let place = |column: usize| shipped.binary_search(&column).expect("collected above");
        let calls: Vec<AggregateCall> = calls
            .iter()
            .map(|call| AggregateCall {
                args: call.args.iter().map(|&arg| place(arg)).collect(),
                filter: call.filter.map(place),
                distinct: call.is_distinct(),
                ..call.clone()
            })
            .collect();
        let distinct = distinct_lists(&calls, |position| input.fields[shipped[position]].data_type);
        Self {
            keys: keys.to_vec(),
            key_types: keys.iter().map(|&key| input.fields[key].data_type).collect(),
            layout: Layout::new(&calls),
            calls,
            shipped_types: shipped.iter().map(|&column| input.fields[column].data_type).collect(),
            shipped,
            distinct,
            late: Vec::new(),
        }
    }

    /// The same with all `column_count` columns of the input on the way, for the sake of late rows.
    #[must_use]
    pub fn with_whole_rows(mut self, column_count: usize) -> Self {
        for column in 0..column_count {
            let place = self.shipped.iter().position(|&shipped| shipped == column);
            self.late.push(place.unwrap_or_else(|| {
                self.shipped.push(column);
                self.shipped.len() - 1
            }));
        }
        self
    }

    /// Whether a result depends on the order of rows.
    pub fn is_order_sensitive(&self) -> bool {
        self.calls.iter().any(AggregateCall::is_order_sensitive)
    }

    /// Whether the last bit of any result may depend on the order of rows: also where that is no business of the function's, as of the zeros
    /// and the NaNs of MIN and MAX, of which the first that came stays.
    pub fn shows_order(&self) -> bool {
        let first_stays = |accumulator| matches!(accumulator, Accumulator::ExtremeFloat { .. });
        self.is_order_sensitive()
            || self.layout.accumulators.iter().any(|&(accumulator, _)| first_stays(accumulator))
    }

    /// Whether rows must go to every window in the order of their arrival, also where windows share slices.
    pub fn picks_by_arrival(&self) -> bool {
        self.calls.iter().any(AggregateCall::picks_by_arrival)
    }

    /// The same calls over accumulators that are already free of duplicates: the second stage of a split.
    #[must_use]
    pub fn merged(&self) -> Shape {
        Shape {
            distinct: Vec::new(),
            shipped: Vec::new(),
            shipped_types: Vec::new(),
            ..self.clone()
        }
    }

    /// The shape that has only the calls at `places`, in that order.
    #[must_use]
    pub fn of_calls(&self, places: &[usize]) -> Shape {
        let calls: Vec<AggregateCall> =
            places.iter().map(|&place| self.calls[place].clone()).collect();
        let kept = |list: &Distinct| {
            let places = (0..places.len()).filter(|&call| list.calls.contains(&places[call]));
            let places: Vec<usize> = places.collect();
            Distinct { in_order: any_in_order(&calls, &places), calls: places, ..list.clone() }
        };
        let mut distinct: Vec<Distinct> = self.distinct.iter().map(kept).collect();
        distinct.retain(|list| !list.calls.is_empty());
        distinct.sort_by_key(|list| list.calls[0]);
        Shape { layout: Layout::new(&calls), calls, distinct, ..self.clone() }
    }

    /// The columns of `columns` that travel.
    pub fn ship(&self, columns: &[ArrayRef]) -> Vec<ArrayRef> {
        self.shipped.iter().map(|&column| columns[column].clone()).collect()
    }
}

fn distinct_lists(calls: &[AggregateCall], type_of: impl Fn(usize) -> DataType) -> Vec<Distinct> {
    let mut lists: Vec<Distinct> = Vec::new();
    for (index, call) in calls.iter().enumerate().filter(|(_, call)| call.distinct) {
        match lists.iter_mut().find(|list| list.args == call.args && list.filter == call.filter) {
            Some(list) => list.calls.push(index),
            None => lists.push(Distinct {
                in_order: false,
                args: call.args.clone(),
                arg_types: call.args.iter().map(|&arg| type_of(arg)).collect(),
                filter: call.filter,
                calls: vec![index],
            }),
        }
    }
    for list in &mut lists {
        list.in_order = any_in_order(calls, &list.calls);
    }
    lists
}

/// Whether one of the calls at `places` wants its distinct values in the order in which they came.
fn any_in_order(calls: &[AggregateCall], places: &[usize]) -> bool {
    places.iter().any(|&place| calls[place].is_order_sensitive())
}
