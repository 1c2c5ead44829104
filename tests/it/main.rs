//! End-to-end tests over the real binary and real plugin libraries. One program, so that it is linked once.

mod bad_input;
mod delivery;
mod command_line;
mod dispatch;
mod durability;
mod isolation;
mod library;
mod house;
mod plugin_folder;
mod trigger_table;
