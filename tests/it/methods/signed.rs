//! `signed`: signatures that another implementation of the same algorithms accepts.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use ring::{hmac, signature};
use switchboard_tests::{Answer, Receiver, Request, Site, task_of};

const SHARED: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
const OLD: &str = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD";
const PRIVATE: &str = "whsk_6Xb/dCcHpPea21PS1N9VY/NZW723CEc77N4rJCubMbfVKIDij2HKpMKkioLlX0dRqSKJp4AJ6p9lMicMFs6Kvg==";
const PUBLIC: &str = "whpk_1SiA4o9hyqTCpIqC5V9HUakiiaeACeqfZTInDBbOir4=";

/// Does what a receiver does: takes the signatures apart and says whether one of them is by `secret`.
fn is_signed(request: &Request, secret: &str) -> bool {
    let (id, timestamp) = (request.header("webhook-id"), request.header("webhook-timestamp"));
    let message = [id.as_bytes(), b".", timestamp.as_bytes(), b".", &request.body].concat();
    let (prefix, key) = secret.split_once('_').unwrap();
    let key = STANDARD.decode(key).unwrap();
    request.header("webhook-signature").split(' ').any(|entry| {
        let (version, signature) = entry.split_once(',').unwrap();
        assert!(!signature.contains(','), "{entry}");
        let signature = STANDARD.decode(signature).unwrap();
        match (prefix, version) {
            ("whsec", "v1") => hmac::verify(&hmac::Key::new(hmac::HMAC_SHA256, &key), &message, &signature).is_ok(),
            ("whpk", "v1a") => {
                signature::UnparsedPublicKey::new(&signature::ED25519, &key).verify(&message, &signature).is_ok()
            }
            _ => false,
        }
    })
}

#[test]
fn a_receiver_can_check_both_kinds_of_signature() {
    let site = Site::with(&["webhook_signed"]);
    let receiver = Receiver::friendly();
    for (path, secret) in [("shared", SHARED), ("private", PRIVATE)] {
        site.add_webhook(62, &receiver.url(path), "signed", &["--set", &format!("signed_secret={secret}")]);
    }
    let _serving = site.serve();
    drop(site.emit_and_wait(62, "booking_added", r#"{"guest":"Zoë","price":12.50}"#).ok());
    let requests = receiver.wait_for(2);
    let of = |path: &str| requests.iter().find(|request| request.path == path).unwrap();
    assert!(is_signed(of("/shared"), SHARED) && !is_signed(of("/shared"), OLD));
    assert!(is_signed(of("/private"), PUBLIC) && !is_signed(of("/shared"), PUBLIC));
    for request in &requests {
        let (sent, now) = (request.header("webhook-timestamp").parse::<i64>().unwrap(), Timestamp::now().as_second());
        // The tolerance of the libraries.
        assert!(sent.abs_diff(now) < 300, "{sent} is not close to {now}");
    }
    let mut forged = of("/shared").clone();
    forged.body[0] ^= 1;
    assert!(!is_signed(&forged, SHARED));
}

#[test]
fn a_second_attempt_is_signed_anew() {
    let site = Site::with(&["webhook_signed"]);
    let receiver =
        Receiver::start(|request| Answer::Status(if request.header("webhook-attempt") == "1" { 503 } else { 200 }));
    site.add_webhook(62, &receiver.url("hook"), "signed", &["--set", &format!("signed_secret={SHARED}")]);
    let _serving = site.serve();
    let _ = site.wait_for_task(task_of(&site.emit(62, "booking_added", "{}")), "done");
    let requests = receiver.requests();
    assert_eq!(requests.len(), 2);
    assert!(requests.iter().all(|request| is_signed(request, SHARED)));
}

#[test]
fn while_secrets_are_rotated_receivers_may_have_the_one_or_the_other() {
    let site = Site::with(&["webhook_signed"]);
    let receiver = Receiver::friendly();
    let add = |path: &str, until: Timestamp| {
        let set = [
            format!("signed_secret={PRIVATE}"),
            format!("signed_old_secrets={OLD}"),
            format!("signed_old_until={until}"),
        ];
        site.add_webhook(62, &receiver.url(path), "signed", &["--set", &set[0], "--set", &set[1], "--set", &set[2]]);
    };
    let (hour, now) = (std::time::Duration::from_secs(3600), Timestamp::now());
    add("during", now + hour);
    add("after", now - hour);
    drop(site.emit_and_wait(62, "booking_added", "{}").ok());
    let requests = receiver.wait_for(2);
    let of = |path: &str| requests.iter().find(|request| request.path == path).unwrap();
    assert!(is_signed(of("/during"), PUBLIC) && is_signed(of("/during"), OLD));
    assert!(is_signed(of("/after"), PUBLIC) && !is_signed(of("/after"), OLD));
}

#[test]
fn a_secret_that_cannot_sign_is_not_stored() {
    let site = Site::with(&["webhook_signed"]);
    let add = ["webhook", "add", "--owner", "62", "--url", "https://receiver.example/", "--method", "signed"];
    let refused = site.run(&[&add[..], &["--set", &format!("signed_secret={PUBLIC}"), "--lang", "nl-NL"]].concat());
    refused.refused(2, &["`signed_secret`: Dit is de openbare helft van een sleutel"]);
}
