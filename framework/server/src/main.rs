//! `switchboard`: the webhook server and its command line.
//!
//! Every command that works on a data folder is a [`command::Command`]. It is done by the `serve` that runs on the folder
//! when there is one, and otherwise by this process, in the same code.

mod accounts;
mod check;
mod cli;
mod command;
mod control;
mod delivery_options;
mod demo;
mod dev;
mod doctor;
mod exit;
mod output;
mod people;
mod receive;
mod scaffold;
mod serve;
mod service;
mod store;
mod web;

use std::process::ExitCode;

fn main() -> ExitCode {
    match cli::run(cli::parse()) {
        Ok(code) => code,
        Err(error) => {
            output::error(&error);
            exit::code_of(&error)
        }
    }
}
