//! The typed builder against plain computations over the same items, at several numbers of shards and sizes of chunks.

mod blocks;

mod typed {
    mod again;
    mod channel;
    mod custom;
    mod events;
    mod files;
    mod keys;
    mod late;
    mod plans;
    mod process;
    mod sinks;
}
