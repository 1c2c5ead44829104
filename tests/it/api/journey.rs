//! From an empty server to a delivered webhook, with nothing but the API.

use serde_json::json;
use switchboard_tests::{Client, Receiver, Site};

use super::wait_until_done;

#[test]
fn a_client_gets_from_an_empty_server_to_a_delivered_webhook() {
    let receiver = Receiver::friendly();
    let site = Site::with(&["webhook_basic"]);
    let serving = site.serve();
    // The token of a host application: it announces and looks after one owner's webhooks.
    let client = Client::with_token(&site, &serving.address, "operator", Some(62));
    let document = Client::at(&serving.address).get("/openapi.json").is(200).json();
    assert_eq!(document["openapi"], "3.1.0");
    assert_eq!(client.get("/webhooks").is(200).json()["items"], json!([]));

    // The form of the auth method says which settings the webhook needs.
    let methods = client.get("/auth-methods?language=de-DE").is(200).json();
    let method = &methods[0];
    let settings: serde_json::Map<String, serde_json::Value> = method["fields"]
        .as_array()
        .unwrap()
        .iter()
        .map(|field| (field["key"].as_str().unwrap().to_owned(), json!("ada")))
        .collect();
    let webhook = json!({ "url": receiver.url("/hook"), "method": method["id"], "settings": settings });
    let webhook = client.post("/webhooks", &webhook).is(201).json();
    assert_eq!((&webhook["owner"], &webhook["settings"]["basic_password"]), (&json!(62), &json!("********")));

    let event = json!({ "event": "booking_added", "data": { "contract_uid": 41 }, "task": "save_booking" });
    let event = client.post("/events", &event).is(201).json();
    let task = &event["tasks"][0]["task"];
    wait_until_done(&client, task);
    let request = receiver.wait_for(1).remove(0);
    assert_eq!(request.header("webhook-id"), event["id"].as_str().unwrap());
    assert_eq!(request.json(), json!({ "data": { "contract_uid": 41, "manager_id": 62, "task": "booking_added" } }));
    assert!(request.header("authorization").starts_with("Basic "));

    let shown = client.get(&format!("/tasks/{task}")).is(200).json();
    assert_eq!((&shown["attempts"][0]["outcome"], &shown["attempts"][0]["status"]), (&json!("ok"), &json!(200)));
    let deliveries = client.get(&format!("/deliveries?webhook={}", webhook["id"])).is(200).json();
    let delivery = client.get(&format!("/deliveries/{}", deliveries["items"][0]["id"])).is(200).json();
    assert_eq!((&delivery["delivery"]["outcome"], &delivery["exchanges"][0]["status"]), (&json!("ok"), &json!(200)));
    assert!(!delivery.to_string().contains("YWRhOmFkYQ=="), "the password is shown: {delivery}");
    // In production the body goes with the last success, and the answer says so.
    let again =
        client.post(&format!("/deliveries/{}/replay", deliveries["items"][0]["id"]), &json!({ "rebuild": true }));
    again.is_problem(422, "refused");
    assert!(again.json()["detail"].as_str().unwrap().contains("development"), "{again:?}");

    let tasks = client.get(&format!("/tasks?webhook={}&state=done", webhook["id"])).is(200).json();
    assert_eq!(tasks["items"].as_array().unwrap().last().unwrap()["id"], *task);
}
