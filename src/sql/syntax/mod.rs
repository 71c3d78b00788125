//! The grammar of Flink SQL: text to statements, each error at its place.
//!
//! A hand-written recursive descent, one function a rule. Every construct that Flink has and we do not
//! is refused here by its name, with what to write instead.

pub(crate) mod ast;
mod cursor;
mod expression;
mod interval;
mod literal;
mod query;
mod reserved;
mod statement;
mod table;
mod token;
mod types;

pub(crate) use reserved::is_reserved;
pub(crate) use statement::parse;
