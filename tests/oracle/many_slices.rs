//! Cases of windows of hundreds of slices: overlapping ones share sums, which rows for slices that have been added up are added to.

use proptest::prelude::*;

use crate::draw::{Case, cases};
use crate::model::{Function, Window};

/// Cases of windows of hundreds of slices, most of them of calls whose sums overlapping windows share.
pub(crate) fn cases_of_many_slices() -> impl Strategy<Value = Case> {
    (cases(false, 1..3, 0..120), 100..400i64, prop::bool::weighted(0.8), any::<bool>()).prop_map(
        |(mut case, count, shares, is_on_time)| {
            case.query.window = of_many_slices(case.query.window, count);
            if is_on_time {
                case.query.delay = 0;
            }
            for call in case.query.calls.iter_mut().filter(|_| shares) {
                call.distinct = false;
                let shares_none = matches!(
                    call.function,
                    Function::First | Function::Last | Function::ListAgg | Function::CountPairs
                );
                if shares_none {
                    call.function = Function::CountRows;
                }
            }
            case
        },
    )
}

/// The same window, only that it has so many slices; one that has no slides slides by its own size.
fn of_many_slices(window: Window, count: i64) -> Window {
    let (slide, cumulates) = match window {
        Window::Tumble { size, .. } => (size, false),
        Window::Hop { slide, .. } => (slide, false),
        Window::Cumulate { step, .. } => (step, true),
        Window::Session { gap } => (gap, false),
    };
    match cumulates {
        true => Window::Cumulate { step: slide, size: slide * count, offset: 0 },
        false => Window::Hop { slide, size: slide * count, offset: 0 },
    }
}
