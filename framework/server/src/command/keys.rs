//! Commands about the keys that seal the secrets in the store.

use anyhow::Result;
use clap::Subcommand;
use serde::{Deserialize, Serialize};
use serde_json::json;
use switchboard::{SealingError, Switchboard};

use super::{Reply, failed};
use crate::exit::FAILED;
use crate::output::table;

#[derive(Debug, Subcommand, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum KeyCommand {
    /// List the keys, and how much is sealed with each
    List,
    /// Make a new key and seal everything with it
    Rotate,
    /// Seal with the current key what is sealed with another one
    ReEncrypt {
        /// Take the keys out of the file that nothing is sealed with any more; copies of the store may still need them
        #[arg(long)]
        forget_unused: bool,
    },
}

pub(super) fn execute(host: &Switchboard, command: &KeyCommand) -> Result<Reply> {
    let keys = host.keys();
    match command {
        KeyCommand::List => {
            let list = keys.list().map_err(key_error)?;
            let rows = list.iter().map(|key| {
                let state = match (key.current, key.here) {
                    (true, _) => "seals",
                    (false, true) => "opens",
                    (false, false) => "missing",
                };
                vec![key.id.clone(), state.into(), key.webhooks.to_string(), key.plugin_values.to_string()]
            });
            let text = table(&["KEY", "STATE", "WEBHOOKS", "PLUGIN VALUES"], rows, "no keys");
            Reply::new(&list, text)
        }
        KeyCommand::Rotate => {
            let sealed = keys.rotate().map_err(key_error)?;
            let text = format!(
                "there is a new key, and {sealed} secrets were sealed with it: keep a copy of the file of keys"
            );
            Reply::new(json!({ "sealed": sealed }), text)
        }
        KeyCommand::ReEncrypt { forget_unused } => {
            let sealed = keys.reseal().map_err(key_error)?;
            let forgotten = if *forget_unused { keys.forget_unused().map_err(key_error)? } else { Vec::new() };
            let text = format!("{sealed} secrets were sealed anew; {} keys were forgotten", forgotten.len());
            Reply::new(json!({ "sealed": sealed, "forgotten": forgotten }), text)
        }
    }
}

fn key_error(error: SealingError) -> anyhow::Error {
    failed(FAILED, &error)
}
