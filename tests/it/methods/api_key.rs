//! `api_key`: a key in a header or in the query, and nowhere else.

use switchboard_tests::{Answer, Receiver, Site, task_of};

const KEY: &str = "k3y&of~a-hotel";

#[test]
fn the_key_is_in_the_header_that_was_chosen() {
    let site = Site::with(&["webhook_api_key"]);
    let receiver = Receiver::friendly();
    let set = format!("api_key_value={KEY}");
    let more = ["--set", &set, "--set", "api_key_name=X-Hotel-Key"];
    site.add_webhook(62, &receiver.url("hook"), "api_key", &more);
    let _serving = site.serve();
    drop(site.emit_and_wait(62, "booking_added", r#"{"property_uid":7}"#).ok());
    let request = receiver.wait_for(1).remove(0);
    assert_eq!((&*request.path, request.header("x-hotel-key")), ("/hook", KEY));
    assert_eq!(
        String::from_utf8(request.body).unwrap(),
        r#"{"data":{"property_uid":7,"manager_id":62,"task":"booking_added"}}"#
    );
}

#[test]
fn a_key_in_the_query_reaches_the_receiver_and_nobody_who_looks_at_the_task() {
    let site = Site::with(&["webhook_api_key"]);
    // A receiver that repeats the address in its answer, as many do that move.
    let receiver =
        Receiver::start(|request| Answer::With(302, "location", format!("https://new.example{}", request.path)));
    let set = format!("api_key_value={KEY}");
    let more = ["--set", &set, "--set", "api_key_place=query", "--set", "api_key_name=key"];
    site.add_webhook(62, &receiver.url("hook?lang=en"), "api_key", &more);
    let emitted = site.emit_and_wait(62, "booking_added", "{}");
    assert_eq!(emitted.code, 3, "{emitted:?}");
    assert_eq!(receiver.wait_for(1)[0].path, "/hook?lang=en&key=k3y%26of%7Ea-hotel");
    let task = site.task(task_of(&emitted.json()));
    let url = task["attempt_list"][0]["url"].as_str().unwrap();
    assert!(url.ends_with("/hook?lang=***&key=***"), "{url}");
    for shown in [task.to_string(), site.log("Webhooks")] {
        assert!(!shown.contains("k3y"), "{shown}");
    }
    assert!(task.to_string().contains("https://new.example/hook"), "{task}");
}
