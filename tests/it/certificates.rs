//! Certificates of a webhook's own: whom it trusts, and who it says it is.

use rcgen::{CertificateParams, KeyPair};
use serde_json::json;
use switchboard_tests::Site;

use crate::hostile::receivers::{Receiver, authority, say};

const DATA: &str = r#"{"property_uid":7}"#;

#[test]
fn a_delivery_trusts_the_webhooks_authority_and_shows_the_webhooks_certificate() {
    let clients = authority("clients");
    let receiver = Receiver::mutual(&clients, |stream, _| say(stream, "HTTP/1.1 204 No Content\r\n\r\n"));
    let site = Site::with(&["webhook_none"]);
    let file = |name: &str, text: &str| {
        let path = site.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.display().to_string()
    };
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(vec!["switchboard".to_owned()]).unwrap();
    let identity = params.signed_by(&key, &clients).unwrap().pem() + &key.serialize_pem();
    let (ca, identity) = (file("ca.pem", receiver.ca_pem.as_deref().unwrap()), file("identity.pem", &identity));
    let whole = ["--ca", &ca, "--identity", &identity, "--schedule", "0s"];
    let whole = site.add_webhook(62, &receiver.url, "none", &whole);
    let nameless = site.add_webhook(62, &receiver.url, "none", &["--ca", &ca, "--schedule", "0s"]);
    let distrustful = ["--identity", &identity, "--schedule", "0s"];
    let distrustful = site.add_webhook(62, &receiver.url, "none", &distrustful);
    let shown = site.json(&["webhook", "show", &whole.to_string()]);
    assert_eq!(shown["has_identity"], true);
    let stored = std::fs::read(site.path().join("switchboard.db")).unwrap();
    let private = key.serialize_pem().lines().nth(1).unwrap().to_owned();
    assert!(!stored.windows(private.len()).any(|part| part == private.as_bytes()), "the private key is in the clear");

    let _serving = site.serve();
    let emitted = site.emit(62, "booking_added", DATA);
    let tasks = emitted["tasks"].as_array().unwrap();
    let attempt_to = |webhook: i64, state: &str| {
        let task = tasks.iter().find(|task| task["webhook"] == webhook).unwrap();
        let task = site.wait_for_task(task["id"].as_i64().unwrap(), state);
        let id = task["attempt_list"][0]["id"].to_string();
        site.json(&["delivery", "show", &id])
    };
    let delivered = attempt_to(whole, "done");
    assert_eq!((&delivered["outcome"], &delivered["status"]), (&json!("ok"), &json!(204)));
    let exchange = &delivered["exchanges"][0];
    assert_eq!(exchange["tls_version"], "TLSv1.3", "{exchange}");
    assert!(exchange["certificate_expires_at"].is_string() && exchange["tls_ms"].is_f64(), "{exchange}");
    let unnamed = attempt_to(nameless, "dead");
    assert!(["tls", "closed"].contains(&unnamed["outcome"].as_str().unwrap()), "{unnamed}");
    let distrusted = attempt_to(distrustful, "dead");
    assert_eq!(distrusted["outcome"], "tls", "{distrusted}");
    assert!(distrusted["detail"].as_str().unwrap().contains("nobody who is trusted"), "{distrusted}");
}
