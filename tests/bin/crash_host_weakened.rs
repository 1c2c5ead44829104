//! The program `crash_host`, for the build that is weakened: under a name of its own, it takes nothing's place.

#[path = "crash_host.rs"]
mod crash_host;

fn main() {
    crash_host::main();
}
