//! What must not compile, and what the compiler says of it: each file of `tests/misuse/` is a program with one mistake.
//!
//! `TRYBUILD=overwrite cargo test --test misuse` rewrites what is expected; review the diff. The programs are built in one project, whose
//! dependencies are checked once; nothing is fetched but what the package itself needs.

#[test]
fn mistakes_are_found_by_the_compiler() {
    let cases = trybuild::TestCases::new();
    cases.compile_fail("tests/misuse/*.rs");
}
