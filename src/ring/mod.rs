//! The channels between shards: [`spsc`] rings, and the [`mesh`] of n × n of them.

pub mod mesh;
pub mod spsc;
