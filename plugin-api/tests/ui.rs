//! What the compiler says to the author of a plugin that is wrong.
//!
//! The `.stderr` files hold the compiler's own words around ours, and those differ from version to version, so they are
//! compared by the version that wrote them. `TRYBUILD=overwrite cargo test -p switchboard-plugin-api --test ui` writes
//! them anew.

/// The compiler whose words the `.stderr` files hold.
const WRITTEN_BY: &str = "rustc 1.95.";

#[test]
#[expect(clippy::print_stderr, reason = "a skipped test says so")]
fn a_mistake_in_a_plugin_is_explained_by_the_compiler() {
    let compiler = env!("SWITCHBOARD_RUSTC");
    if !compiler.starts_with(WRITTEN_BY) {
        eprintln!("skipped: the expected messages are those of {WRITTEN_BY}x, this is {compiler}");
        return;
    }
    let cases = trybuild::TestCases::new();
    cases.pass("tests/ui/pass_*.rs");
    cases.compile_fail("tests/ui/fail_*.rs");
}
