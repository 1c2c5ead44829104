//! `mailchimp`: guests are invited, and what is known about them stays where it is.

use serde_json::json;
use switchboard_tests::{Answer, Receiver, Site, task_of};

const KEY: &str = "0123456789abcdef-us21";

#[test]
fn a_guest_with_an_address_is_invited_and_nobody_else() {
    let site = Site::with(&["webhook_mailchimp"]);
    let receiver = Receiver::start(|_| Answer::Body(200, r#"{"email_address":"zoe@example.com","vip":true}"#.into()));
    let set = [format!("mailchimp_apikey={KEY}"), "mailchimp_listid=a1b2c3".into()];
    site.add_webhook(62, &receiver.url(""), "mailchimp", &["--set", &set[0], "--set", &set[1]]);
    let _serving = site.serve();
    let skipped = site.emit_and_wait(62, "tariffs_updated", r#"{"property_uid":7}"#).ok().json();
    let data = r#"{"guest_uid":5,"email":"zoe@example.com","firstname":"Zoë"}"#;
    let invited = site.emit_and_wait(62, "guest_saved", data).ok().json();
    let requests = receiver.requests();
    let [request] = requests.as_slice() else { panic!("{requests:?}") };
    assert_eq!(request.method, "PUT");
    assert_eq!(request.path, "/3.0/lists/a1b2c3/members/76cec4168e20ad317a8afb3a81ae3fce?skip_merge_validation=true");
    assert_eq!(
        request.json(),
        json!({ "email_address": "zoe@example.com", "status_if_new": "pending", "merge_fields": { "FNAME": "Zoë" } })
    );
    let skipped = site.task(task_of(&skipped));
    assert!(skipped.to_string().contains("nothing to do"), "{skipped}");
    let attempts = site.task(task_of(&invited))["attempt_list"].to_string();
    for shown in [attempts, site.log("Webhooks")] {
        assert!(!shown.contains("zoe@") && !shown.contains("vip") && !shown.contains("0123456789abcdef"), "{shown}");
    }
}

#[test]
fn a_url_of_another_data_centre_is_not_stored() {
    let site = Site::with(&["webhook_mailchimp"]);
    let url = "https://us5.api.mailchimp.com/";
    let set = format!("mailchimp_apikey={KEY}");
    let add = ["webhook", "add", "--owner", "62", "--url", url, "--method", "mailchimp", "--lang", "es-ES"];
    let refused = site.run(&[&add[..], &["--set", &set, "--set", "mailchimp_listid=a1b2c3"]].concat());
    refused.refused(2, &["Esta clave pertenece a https://us21.api.mailchimp.com."]);
}
