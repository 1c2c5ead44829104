//! The end of a run: the watchers are told what it announced, and then that is committed.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use switchboard_plugin_api::{AfterRun, EndOfRun, PluginError, Trigger, TriggerNumber};

use super::{FinishError, Finished, RunState, outbox};
use crate::dispatcher;
use crate::store::NewEvent;

/// Most rounds of 99994 in one run.
const MAX_ROUNDS: usize = 3;

/// Ends a run; see [`Run::finish`](super::Run::finish).
pub(crate) fn finish(state: &Arc<RunState>) -> Result<Finished, FinishError> {
    // What a watcher announces is told to the watchers as well, in a round of its own.
    let mut told = 0;
    for round in 0..MAX_ROUNDS {
        let announced = state.with_outbox(|outbox| outbox.events().count());
        if round > 0 && announced == told {
            break;
        }
        tell(state, AfterRun::NUMBER, told)?;
        told = announced;
    }
    tell(state, EndOfRun::NUMBER, 0)?;
    outbox::commit(state)
}

/// Tells the handlers of a number what was announced, without the first `known`.
fn tell(state: &Arc<RunState>, number: TriggerNumber, known: usize) -> Result<(), FinishError> {
    if !state.registry.exists(number) {
        return Ok(());
    }
    let task = state.subject.task.as_deref();
    let input = state.with_outbox(|outbox| write(number, task, outbox.events().skip(known)));
    let input = input.map_err(|source| FinishError::Input { source })?;
    // Failures are logged where they happen; a watcher that fails does not undo what was announced.
    drop(state.broadcast(number, &input, 0));
    Ok(())
}

/// Writes a [`RunEnd`](switchboard_plugin_api::RunEnd). Properties are copied from the bodies, where they are JSON already.
fn write<'e>(
    number: TriggerNumber,
    task: Option<&str>,
    events: impl Iterator<Item = &'e NewEvent>,
) -> Result<Vec<u8>, PluginError> {
    dispatcher::write_json(number, &End { task, announced: events.map(Announced::of).collect() })
}

#[derive(Serialize)]
struct End<'a> {
    task: Option<&'a str>,
    announced: Vec<Announced<'a>>,
}

#[derive(Serialize)]
struct Announced<'a> {
    event_id: &'a str,
    event: &'a str,
    owner: i64,
    data: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Body<'a> {
    #[serde(borrow)]
    data: &'a RawValue,
}

impl<'a> Announced<'a> {
    fn of(event: &'a NewEvent) -> Self {
        let body = serde_json::from_slice::<Body<'a>>(&event.body);
        Self {
            event_id: &event.id.0,
            event: &event.name,
            owner: event.owner.0,
            // Every body is built by this host and has it.
            data: body.ok().map(|body| body.data),
        }
    }
}

#[cfg(test)]
mod tests {
    use switchboard_plugin_api::RunEnd;

    use super::*;
    use crate::store::{EventId, OwnerId, Timestamp};

    #[test]
    fn what_is_written_is_read_as_the_triggers_input_with_the_very_properties() {
        let event = NewEvent {
            id: EventId("msg_1".into()),
            name: "booking_added".into(),
            owner: OwnerId(62),
            task: None,
            cause: None,
            channel: None,
            depth: 0,
            body: br#"{"data":{"price":10.10,"task":"booking_added"}}"#.to_vec(),
            at: Timestamp(0),
        };
        let written = write(AfterRun::NUMBER, Some("save_booking"), [&event].into_iter()).unwrap();
        assert!(String::from_utf8_lossy(&written).contains(r#""data":{"price":10.10,"task":"booking_added"}"#));
        let end: RunEnd = serde_json::from_slice(&written).unwrap();
        assert_eq!(end.task.as_deref(), Some("save_booking"));
        let [announced] = &end.announced[..] else { panic!("one event, not {:?}", end.announced) };
        assert_eq!((announced.event_id.as_str(), announced.owner), ("msg_1", 62));
        assert_eq!((announced.event.as_str(), &announced.data["price"]), ("booking_added", &10.1.into()));
    }
}
