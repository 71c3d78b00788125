//! Scripts run in this process, their sink exchanged for one of ours.

use std::sync::Arc;

use tidemill::connector::{Output, Sink, Style};
use tidemill::job::bind;
use tidemill::plan::{Op, Plan};

/// The plan of a script whose rows all go to `sink`.
///
/// # Errors
///
/// What is wrong with the script.
pub(crate) fn plan(script: &str, sink: &Arc<dyn Sink>) -> Result<Plan, String> {
    let output = Output::new(Box::new(std::io::sink()), Style::Csv);
    let bound = bind(script, &output, &[]).map_err(|errors| format!("{errors:?}\n{script}"))?;
    let mut plan = bound.plan;
    for node in &mut plan.nodes {
        if let Op::Sink { sink: own, .. } = &mut node.op {
            *own = Arc::clone(sink);
        }
    }
    Ok(plan)
}
