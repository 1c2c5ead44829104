//! End-to-end tests over the real binary and real plugin libraries. One program, so that it is linked once.
#![expect(clippy::unwrap_used, reason = "helpers of tests panic to fail them")]

mod asynchronous;
mod authoring;
mod bad_input;
mod bulk;
mod command_line;
mod compilers;
mod conformance;
mod crash;
mod delivery;
mod dispatch;
mod durability;
mod evil;
mod evolution;
mod failing_disk;
mod from_inside;
mod guide;
mod hostile;
mod hosts;
mod house;
mod isolation;
mod library;
mod many;
mod methods;
mod outbox;
mod plugin_check;
mod plugin_dev;
mod plugin_folder;
mod power_cut;
mod released;
mod scheduling;
mod store_care;
mod suspension;
mod tasks;
mod trigger_table;
mod validation;
