//! What the channel is told, and what it is not told.

use serde_json::{Value, json};
use switchboard_test_host::{HttpAnswer, TestHost, check_contract, delivery};

use super::*;

const SETTINGS: [(&str, &str); 5] = [
    (CHANNEL, "12"),
    (TOKEN, "t0ken"),
    (PROPERTIES, "7 = HTL-7\n8 = HTL-8"),
    (ROOMS, "3 = DBL\n4 = TWN"),
    (TASKS, "import_channel sync"),
];

#[test]
fn it_keeps_the_contract_of_plugins() {
    check_contract::<ChannelManager>();
}

fn host() -> TestHost<ChannelManager> {
    let host = TestHost::<ChannelManager>::start().http(|_| HttpAnswer::status(202));
    SETTINGS.iter().fold(host, |host, (key, value)| host.setting(*key, *value))
}

fn event(name: &str, data: &Value) -> Delivery {
    let mut delivery = delivery(name, json!({ "data": data }).to_string());
    delivery.queued_at_ms = Some(1_767_225_600_000);
    delivery
}

#[track_caller]
fn check_told(name: &str, data: Value, expected: Value) {
    let host = host();
    let done = host.call::<DeferredDelivery>("channel_manager", &event(name, &data)).unwrap();
    assert_eq!(done.status, Some(202), "{done:?}");
    let requests = host.requests();
    let [request] = requests.as_slice() else { panic!("{requests:?}") };
    assert_eq!((&*request.method, request.header("authorization")), ("POST", Some("Bearer t0ken")));
    assert_eq!(request.header("content-type"), Some("application/json"));
    assert_eq!(request.header("webhook-id"), Some("event-1"));
    let mut sent: Value = serde_json::from_slice(&request.body).unwrap();
    let sent = sent.as_object_mut().unwrap();
    assert_eq!((sent.remove("id"), sent.remove("at_ms")), (Some(json!("event-1")), Some(json!(1_767_225_600_000_i64))));
    assert_eq!(Value::Object(sent.clone()), expected);
}

#[test]
fn a_booking_is_told_with_its_state_and_all_that_the_event_says() {
    for (name, state) in [
        ("booking_added", "new"),
        ("booking_modified", "modified"),
        ("booking_cancelled", "cancelled"),
        ("booking_marked_noshow", "no_show"),
        ("blackbooking_added", "blocked"),
        ("blackbooking_created", "blocked"),
        ("blackbooking_deleted", "released"),
    ] {
        let data = json!({ "property_uid": 7, "contract_uid": 41, "manager_id": 62, "task": name });
        check_told(name, data, json!({ "type": "booking", "hotel": "HTL-7", "booking": "41", "state": state }));
    }
    check_told(
        "booking_added",
        json!({ "property_uid": "8", "contract_uid": "41", "room_ids": [3, 99], "arrival": "2026-07-01", "guests": 2 }),
        json!({
            "type": "booking", "hotel": "HTL-8", "booking": "41", "state": "new", "rooms": ["DBL"],
            "details": { "arrival": "2026-07-01", "guests": 2 },
        }),
    );
}

#[test]
fn rooms_and_rates_are_told_by_the_ids_of_the_channel() {
    let availability =
        |state: &str, rooms: Value| json!({ "type": "availability", "hotel": "HTL-7", "state": state, "rooms": rooms });
    check_told("room_added", json!({ "property_uid": 7, "room_uid": 3 }), availability("added", json!(["DBL"])));
    check_told("room_updated", json!({ "property_uid": 7, "room_uid": "4" }), availability("updated", json!(["TWN"])));
    check_told("room_deleted", json!({ "property_uid": 7, "room_uid": 3 }), availability("deleted", json!(["DBL"])));
    // Some hosts write the list as a text.
    for rooms in [json!([4, 3]), json!("[4,3]")] {
        let data = json!({ "property_uid": 7, "room_ids": rooms });
        check_told("rooms_multiple_added", data.clone(), availability("added", json!(["TWN", "DBL"])));
        check_told("rooms_multiple_deleted", data, availability("deleted", json!(["TWN", "DBL"])));
    }
    check_told("tariffs_updated", json!({ "property_uid": 7 }), json!({ "type": "rates", "hotel": "HTL-7" }));
    check_told(
        "tariffs_updated",
        json!({ "property_uid": 7, "room_uid": 3, "from": "2026-07-01", "price": "129.00" }),
        json!({
            "type": "rates", "hotel": "HTL-7", "rooms": ["DBL"], "details": { "from": "2026-07-01", "price": "129.00" },
        }),
    );
}

#[test]
fn without_a_mapping_of_rooms_their_own_ids_are_told() {
    let host = host().setting(ROOMS, "");
    let data = json!({ "property_uid": 7, "room_uid": 99 });
    host.call::<ImmediateDelivery>("channel_manager", &event("room_added", &data)).unwrap();
    assert_eq!(serde_json::from_slice::<Value>(&host.requests()[0].body).unwrap()["rooms"], json!(["99"]));
}

#[track_caller]
fn check_not_told(delivery: &Delivery, why: &str) {
    let host = host();
    let done = host.call::<DeferredDelivery>("channel_manager", delivery).unwrap();
    assert!(done.note.as_deref().is_some_and(|note| note.contains(why)), "{done:?}");
    assert_eq!(host.requests(), []);
}

#[test]
fn what_came_from_the_channel_is_not_sent_back_to_it() {
    for origin in [
        json!({ "channel_id": 12 }),
        json!({ "channel_id": "12" }),
        json!({ "channel_name": "12" }),
        json!({ "channel_data": { "channel_id": 12, "channel_name": "acme", "user_id": 3 } }),
    ] {
        let mut data = json!({ "property_uid": 7, "contract_uid": 41 });
        data.as_object_mut().unwrap().extend(origin.as_object().unwrap().clone());
        check_not_told(&event("booking_added", &data), "came from this channel");
    }
    let mut imported = event("tariffs_updated", &json!({ "property_uid": 7 }));
    imported.task = Some("import_channel".into());
    check_not_told(&imported, "came from this channel");
    let mut of_run = event("booking_added", &json!({ "property_uid": 7, "contract_uid": 41 }));
    of_run.channel = Some("12".into());
    check_not_told(&of_run, "came from this channel");
}

#[test]
fn what_came_from_another_channel_is_told() {
    let booking = json!({ "type": "booking", "hotel": "HTL-7", "booking": "41", "state": "new" });
    for origin in
        [json!({ "channel_id": 13 }), json!({ "channel_data": { "channel_id": 13 } }), json!({ "channel_data": [] })]
    {
        let mut data = json!({ "property_uid": 7, "contract_uid": 41 });
        data.as_object_mut().unwrap().extend(origin.as_object().unwrap().clone());
        check_told("booking_added", data, booking.clone());
    }
    let host = host();
    let mut saved = event("tariffs_updated", &json!({ "property_uid": 7 }));
    saved.task = Some("save_tariff".into());
    host.call::<DeferredDelivery>("channel_manager", &saved).unwrap();
    assert_eq!(host.requests().len(), 1);
}

#[test]
fn what_is_no_business_of_the_channel_is_not_told() {
    check_not_told(&event("guest_saved", &json!({ "property_uid": 7 })), "nothing to do");
    check_not_told(&event("booking_note_saved", &json!({ "property_uid": 7, "contract_uid": 41 })), "nothing to do");
    check_not_told(&event("tariffs_updated", &json!({ "property_uid": 9 })), "does not sell property 9");
    check_not_told(&event("tariffs_updated", &json!({})), "names no property");
    check_not_told(&event("tariffs_updated", &json!({ "property_uid": 0 })), "names no property");
    check_not_told(&event("booking_added", &json!({ "property_uid": 7 })), "names no booking");
    check_not_told(&event("room_updated", &json!({ "property_uid": 7, "room_uid": 99 })), "does not sell room 99");
}

#[test]
fn a_change_that_comes_with_another_is_told_all_the_same() {
    let host = host();
    let data = json!({ "property_uid": 7, "room_ids": [3] });
    for name in ["rooms_multiple_added", "tariffs_updated"] {
        host.call::<DeferredDelivery>("channel_manager", &event(name, &data)).unwrap();
    }
    assert_eq!(host.requests().len(), 2);
}

#[track_caller]
fn check_refused(key: &str, value: &str, text: &str) {
    let host = host().setting(key, value);
    let validation = host.call::<WebhookValidation>("channel_manager", &ValidationRequest::default()).unwrap();
    let [problem] = validation.problems.as_slice() else { panic!("{validation:?}") };
    assert_eq!(problem.key.as_deref(), Some(key));
    assert!(problem.message.contains(text), "{problem:?}");
    let event = event("tariffs_updated", &json!({ "property_uid": 7 }));
    let error = host.call::<DeferredDelivery>("channel_manager", &event).unwrap_err();
    assert_eq!((error.kind(), error.code()), (ErrorKind::Permanent, Some("bad_settings")));
    assert!(error.to_string().contains(key) && !error.to_string().contains("t0ken"), "{error}");
    assert_eq!(host.requests(), []);
}

#[test]
fn settings_that_cannot_work_are_refused_when_they_are_saved_and_when_they_are_used() {
    check_refused(PROPERTIES, "7 = HTL-7\n8", "Line 2");
    check_refused(PROPERTIES, "7 = A\n7 = B", "Line 2");
    check_refused(ROOMS, "3 DBL", "Line 1");
    check_refused(TOKEN, "t0ken t0ken", "spaces");
    let good = host().call::<WebhookValidation>("channel_manager", &ValidationRequest::default()).unwrap();
    assert_eq!(good, Validation::new());
}

#[test]
fn only_a_channel_that_is_gone_is_never_tried_again() {
    let event = event("tariffs_updated", &json!({ "property_uid": 7 }));
    for (status, kind, code) in [
        (401, ErrorKind::Retryable, "http_4xx"),
        (503, ErrorKind::Retryable, "http_5xx"),
        (410, ErrorKind::Permanent, "gone"),
    ] {
        let host = host().http(move |_| HttpAnswer::status(status));
        let error = host.call::<DeferredDelivery>("channel_manager", &event).unwrap_err();
        assert_eq!((error.kind(), error.code()), (kind, Some(code)));
    }
}
