//! Whether the process lives, whether the host works, and its numbers.

use serde_json::json;
use switchboard_tests::{Client, Receiver};

use super::{add_webhook, served, wait_until_done};

#[test]
fn a_supervisor_learns_whether_the_host_works_and_only_who_may_learns_why() {
    let (site, serving, client) = served(&[]);
    let nobody = Client::at(&serving.address);
    let get = |client: &Client, path: &str| client.send("GET", path, &[], b"");
    assert_eq!(get(&nobody, "/livez").is(200).body, "ok\n");
    assert_eq!(get(&nobody, "/readyz").is(200).body, "ok\n");
    let details = get(&client, "/readyz").is(200).json();
    let states: Vec<_> =
        ["store", "disk", "workers"].iter().map(|part| details["checks"][part]["ok"].clone()).collect();
    assert_eq!((details["ready"].clone(), states), (json!(true), vec![json!(true); 3]), "{details}");
    let of_owner = Client::with_token(&site, &serving.address, "read-only", Some(62));
    assert_eq!(get(&of_owner, "/readyz").is(200).body, "ok\n");
}

#[test]
fn prometheus_reads_what_the_host_does() {
    let receiver = Receiver::friendly();
    let (site, serving, client) = served(&["webhook_none"]);
    add_webhook(&client, 62, &receiver.url("/hook"));
    let event = client.post("/events", &json!({ "event": "booking_added", "owner": 62 })).is(201).json();
    wait_until_done(&client, &event["tasks"][0]["task"]);
    Client::at(&serving.address).send("GET", "/metrics", &[], b"").is(401);
    let reader = Client::with_token(&site, &serving.address, "read-only", None);
    let answer = reader.send("GET", "/metrics", &[], b"").is(200);
    assert_eq!(answer.header("content-type"), "text/plain; version=0.0.4; charset=utf-8");
    for line in [
        "switchboard_attempts_total{plugin=\"webhook_none\",mode=\"deferred\",outcome=\"ok\"} 1",
        "switchboard_events_total{result=\"accepted\"} 1",
        "switchboard_tasks{state=\"done\"} 1",
        "switchboard_attempt_seconds_count 1",
        "switchboard_first_byte_seconds_count 1",
        "switchboard_attempts_in_flight 0",
        "switchboard_open_breakers 0",
    ] {
        assert!(answer.body.lines().any(|one| one == line), "`{line}` is not in\n{}", answer.body);
    }
    // Every sample belongs to a family that was announced before it, and has a number.
    let mut families: Vec<&str> = Vec::new();
    for line in answer.body.lines() {
        if let Some(family) = line.strip_prefix("# TYPE ") {
            families.push(family.split(' ').next().unwrap());
        } else if !line.starts_with('#') {
            assert!(line.starts_with(families.last().unwrap()), "{line}");
            assert!(line.rsplit(' ').next().unwrap().parse::<f64>().is_ok(), "{line}");
        }
    }
}
