//! A receiver or a handler that hangs holds up nobody else.

use switchboard::{Notification, Switchboard, WebhookDraft};
use switchboard_tests::{Answer, PATIENCE, Receiver, Site, wait_until, webhooks_of};

/// Attempts in flight at once to one webhook, unless it is configured.
const PER_WEBHOOK: usize = 4;
const EVENTS: usize = 20;

/// Makes a data folder on which no attempt to a hanging receiver ends in a test's time.
fn patient_site(plugins: &[&str]) -> Site {
    let site = Site::with(plugins);
    site.settings("[egress]\nallow = [\"127.0.0.0/8\"]\n\n[deferred]\ntimeout = \"60s\"\n");
    site
}

fn hanging() -> Receiver {
    Receiver::start(|_| Answer::Late(10 * PATIENCE, 200))
}

#[test]
fn a_hanging_receiver_does_not_delay_the_announcer() {
    let site = patient_site(&["webhook_none"]);
    let hanging = hanging();
    site.add_webhook(62, &hanging.url("hook"), "none", &[]);
    let _serving = site.serve();
    for _ in 0..EVENTS {
        assert_eq!(webhooks_of(&site.emit(62, "booking_added", "{}")).len(), 1);
    }
    assert_eq!(hanging.wait_for(PER_WEBHOOK).len(), PER_WEBHOOK);
    // Whoever announced was told before any attempt had ended, so that nobody has waited for one.
    let attempts = site.json(&["delivery", "list"]);
    let attempts = attempts.as_array().unwrap();
    assert!(attempts.iter().all(|attempt| attempt["outcome"].is_null()), "{attempts:?}");
    assert_eq!((attempts.len(), hanging.requests().len()), (PER_WEBHOOK, PER_WEBHOOK));
}

#[test]
fn a_hanging_receiver_does_not_delay_other_webhooks() {
    let site = patient_site(&["webhook_none"]);
    let (hanging, healthy) = (hanging(), Receiver::friendly());
    let _serving = site.serve();
    site.add_webhook(62, &hanging.url("hook"), "none", &[]);
    site.add_webhook(62, &healthy.url("hook"), "none", &[]);
    for _ in 0..EVENTS {
        assert_eq!(webhooks_of(&site.emit(62, "booking_added", "{}")).len(), 2);
    }
    drop(healthy.wait_for(EVENTS));
    assert_eq!(hanging.wait_for(PER_WEBHOOK).len(), PER_WEBHOOK);
    // What was not sent is still to be sent.
    let ready = site.json(&["task", "list", "--state", "ready"]);
    assert_eq!(ready.as_array().unwrap().len(), EVENTS - PER_WEBHOOK);
    assert_eq!(hanging.requests().len(), PER_WEBHOOK);
}

/// Without a clock: the others get everything while the one that hangs holds no more than its share. How long they wait is
/// measured by the bench `delivery`.
#[test]
fn one_receiver_that_hangs_takes_nothing_from_fifty_others() {
    const HEALTHY: usize = 50;
    let site = patient_site(&["webhook_none"]);
    let (hanging, healthy) = (hanging(), Receiver::friendly());
    let host = Switchboard::builder(site.path()).watch(false).open().unwrap();
    let add = |url: String| {
        let draft = WebhookDraft { owner: 62, url, method: "none".into(), ..WebhookDraft::default() };
        host.webhooks().add(draft).unwrap();
    };
    // The first of each event's deliveries is the one that hangs.
    add(hanging.url("hook"));
    (0..HEALTHY).for_each(|number| add(healthy.url(&number.to_string())));
    for number in 0..EVENTS {
        let mut run = host.run().owner(62).start();
        run.announce(Notification::from_json("booking_added", format!("{{\"n\":{number}}}"))).unwrap();
        run.finish().unwrap();
    }
    let mut received: Vec<(String, Vec<u8>)> =
        healthy.wait_for(HEALTHY * EVENTS).into_iter().map(|request| (request.path, request.body)).collect();
    received.sort();
    received.dedup();
    assert_eq!(received.len(), HEALTHY * EVENTS, "each event has come to each receiver");
    assert_eq!(hanging.wait_for(PER_WEBHOOK).len(), PER_WEBHOOK);
    let counts = || host.tasks().counts().unwrap();
    wait_until("the end of each delivery is stored", || counts().done == (HEALTHY * EVENTS) as u64);
    assert_eq!((counts().running, counts().ready), (PER_WEBHOOK as u64, (EVENTS - PER_WEBHOOK) as u64));
    assert_eq!(hanging.requests().len(), PER_WEBHOOK);
    drop(hanging);
    host.stop();
}

#[test]
fn synchronous_handlers_that_hang_do_not_delay_asynchronous_ones() {
    let site = patient_site(&["webhook_none", "fixture_probe"]);
    let (hanging, healthy) = (hanging(), Receiver::friendly());
    let _serving = site.serve();
    let sync = site.add_webhook(62, &hanging.url("hook"), "probe_sync", &[]);
    let other = site.add_webhook(62, &healthy.url("hook"), "none", &[]);
    for _ in 0..EVENTS {
        assert_eq!(webhooks_of(&site.emit(62, "booking_added", "{}")), [sync, other]);
    }
    // All worker threads are held.
    assert_eq!(hanging.wait_for(PER_WEBHOOK).len(), PER_WEBHOOK);
    drop(healthy.wait_for(EVENTS));
    drop(site.emit(62, "booking_added", "{}"));
    drop(healthy.wait_for(EVENTS + 1));
    assert_eq!(hanging.requests().len(), PER_WEBHOOK);
}
