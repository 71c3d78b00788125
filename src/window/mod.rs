//! Windows as pure arithmetic: slices, spans, triggers. No I/O, no store, no clock.

mod spec;

pub use spec::{Emit, EmitClock, EmitMode, TimeDomain, WindowKind, WindowSpec};
