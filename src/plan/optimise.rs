//! Plan to plan.
use super::Plan;

/// The same rows for less work.
pub fn optimise(plan: Plan) -> Plan {
    plan
}
