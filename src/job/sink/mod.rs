//! Where a stream's items go: closures ([`Stream::sink`](super::Stream::sink)), and files.

mod closure;
mod files;

pub(super) use closure::ForEach;
pub use files::Files;
