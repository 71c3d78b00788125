//! Windows as pure arithmetic: slices, spans, wall time. No I/O, no store, no clock.

mod slices;
mod spec;
mod wall;

pub use slices::{Cut, Slices};
pub use spec::{Emit, EmitClock, EmitMode, TimeDomain, WindowKind, WindowSpec};
pub use wall::WallTime;
