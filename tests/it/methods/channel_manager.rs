//! `channel_manager`: a channel is told what changes in its own words, and never what it has told itself.

use serde_json::{Value, json};
use switchboard::{Notification, Switchboard};
use switchboard_tests::{PATIENCE, Receiver, Site, task_of};

fn add(site: &Site, receiver: &Receiver, channel: &str) -> i64 {
    let id = format!("channel_id={channel}");
    let settings = [
        &id,
        "channel_token=t0ken",
        "channel_properties=7 = HTL-7",
        "channel_rooms=3 = DBL",
        "channel_tasks=import_acme",
    ];
    let more: Vec<&str> = settings.into_iter().flat_map(|setting| ["--set", setting]).collect();
    site.add_webhook(62, &receiver.url(channel), "channel_manager", &more)
}

/// Returns what a channel was told, without ids and times.
fn told(receiver: &Receiver, channel: &str) -> Vec<Value> {
    let requests = receiver.requests().into_iter().filter(|request| request.path == format!("/{channel}"));
    let messages = requests.map(|request| {
        assert_eq!(request.header("authorization"), "Bearer t0ken");
        let mut message = request.json();
        let fields = message.as_object_mut().unwrap();
        assert_eq!(fields.remove("id").unwrap(), request.header("webhook-id"));
        assert!(fields.remove("at_ms").unwrap().as_i64().unwrap() > 1_767_225_600_000);
        message
    });
    messages.collect()
}

#[test]
fn a_channel_is_told_in_its_own_words() {
    let site = Site::with(&["channel_manager"]);
    let receiver = Receiver::friendly();
    add(&site, &receiver, "acme");
    let _serving = site.serve();
    let emit = |event: &str, data: &str| drop(site.emit_and_wait(62, event, data).ok());
    emit("booking_added", r#"{"property_uid":7,"contract_uid":41,"room_uid":3,"arrival":"2026-07-01"}"#);
    emit("tariffs_updated", r#"{"property_uid":7}"#);
    emit("rooms_multiple_added", r#"{"property_uid":7,"room_ids":"[3]"}"#);
    emit("tariffs_updated", r#"{"property_uid":8}"#);
    emit("guest_saved", r#"{"property_uid":7}"#);
    assert_eq!(
        told(&receiver, "acme"),
        [
            json!({
                "type": "booking", "hotel": "HTL-7", "booking": "41", "state": "new", "rooms": ["DBL"],
                "details": { "arrival": "2026-07-01" },
            }),
            json!({ "type": "rates", "hotel": "HTL-7" }),
            json!({ "type": "availability", "hotel": "HTL-7", "state": "added", "rooms": ["DBL"] }),
        ]
    );
}

#[test]
fn a_channel_never_gets_its_own_change_back_and_the_others_do() {
    let site = Site::with(&["channel_manager"]);
    let receiver = Receiver::friendly();
    add(&site, &receiver, "acme");
    add(&site, &receiver, "zenith");
    let data = r#"{"property_uid":7,"contract_uid":41,"channel_id":"acme"}"#;
    drop(site.emit_and_wait(62, "booking_added", data).ok());
    assert_eq!(told(&receiver, "acme"), Vec::<Value>::new());
    assert_eq!(
        told(&receiver, "zenith"),
        [json!({ "type": "booking", "hotel": "HTL-7", "booking": "41", "state": "new" })]
    );
}

#[test]
fn what_an_import_of_the_host_changes_is_not_sent_back() {
    let site = Site::with(&["channel_manager"]);
    let receiver = Receiver::friendly();
    add(&site, &receiver, "acme");
    let host = Switchboard::builder(site.path()).watch(false).open().unwrap();
    for task in ["import_acme", "save_tariff"] {
        let mut run = host.run().owner(62).task(task).start();
        run.announce(Notification::from_json("tariffs_updated", r#"{"property_uid":7}"#)).unwrap();
        let finished = run.finish().unwrap();
        let tasks: Vec<_> = finished.events.iter().flat_map(|event| event.tasks.iter().map(|task| task.id)).collect();
        host.tasks().wait(&tasks, PATIENCE).unwrap();
    }
    assert_eq!(told(&receiver, "acme"), [json!({ "type": "rates", "hotel": "HTL-7" })]);
}

#[test]
fn the_task_says_why_a_channel_was_told_nothing() {
    let site = Site::with(&["channel_manager"]);
    let receiver = Receiver::friendly();
    add(&site, &receiver, "acme");
    let emitted = site.emit_and_wait(62, "tariffs_updated", r#"{"property_uid":8}"#).ok().json();
    let task = site.task(task_of(&emitted));
    assert!(task.to_string().contains("the channel does not sell property 8"), "{task}");
}
