//! The engine's ring by itself: the same source, with its tests. Under [loom](https://docs.rs/loom) every dependency is built anew, and a
//! hundred million items want an optimised build; neither needs the rest of the engine, which takes minutes.

#[path = "../../../src/ring/mod.rs"]
pub mod ring;
#[path = "../../../src/sync.rs"]
mod sync;
