//! End-to-end tests over the real binary and real plugin libraries. One program, so that it is linked once.

mod delivery;
mod bad_input;
mod dispatch;
mod plugin_folder;
