//! What the compiler says to the author of a plugin that is wrong.
//!
//! `TRYBUILD=overwrite cargo test -p switchboard-plugin-api --test ui` writes the `.stderr` files anew.

#[test]
fn a_mistake_in_a_plugin_is_explained_by_the_compiler() {
    let cases = trybuild::TestCases::new();
    cases.pass("tests/ui/pass_*.rs");
    cases.compile_fail("tests/ui/fail_*.rs");
}
