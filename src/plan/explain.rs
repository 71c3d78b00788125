//! The plan as text.
use super::Plan;

/// A readable tree of operators.
pub fn explain(plan: &Plan) -> String {
    plan.nodes.iter().enumerate().map(|(i, n)| format!("{i}: {:?}\n", n.op)).collect()
}
