//! SQL from Rust against plain computations over the same records, at several numbers of shards and with small chunks.

mod blocks;

mod session {
    mod aggregates;
    mod events;
    mod functions;
    mod queries;
    mod tables;
}
