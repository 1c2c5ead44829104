//! Webhooks, and with which key their secrets are sealed.

use std::num::NonZeroU32;
use std::time::Duration;

use super::{Case, DONE, accept_tasks, event, finish, start, state, task};
use crate::store::{
    Acceptance, Envelope, Event, Failing, KeyPolicy, NewWebhook, Order, OwnerId, Rate, Resealed, Sealed, Store,
    TaskState, Timestamp, Webhook, WebhookId, WebhookOptions, webhook_key,
};

pub(super) const CASES: &[Case] = &[
    ("an event goes to its owner's webhooks and to the site's", webhooks_for),
    ("a webhook is changed as a whole, unless somebody else was first", changed),
    ("the policy of a webhook's key follows its record", followed),
    ("a webhook is disabled once, for the first reason, and its owner told in the same commit", disabled_once),
    ("the failures of a webhook count from the last success", failures),
    ("removing a webhook ends its tasks", removal),
    ("the tasks of a webhook that have not begun can be ended", ended_tasks),
    ("secrets are sealed anew unless they have changed meanwhile", resealed),
    ("the first host names the key", sealing_key),
];

pub(crate) fn webhook(owner: i64) -> NewWebhook {
    NewWebhook {
        owner: OwnerId(owner),
        name: "Ünser Hook".into(),
        url: "https://example.com".into(),
        method: "basic".into(),
        events: vec!["booking_*".into(), "tariffs_updated".into()],
        options: WebhookOptions::default(),
        secrets: Sealed("sealed1:ab:p&<>\"'é".into()),
    }
}

pub(super) fn all_options() -> WebhookOptions {
    WebhookOptions {
        immediate: true,
        then_queue: false,
        timeout: Some(Duration::from_millis(1_500)),
        immediate_timeout: Some(Duration::from_secs(2)),
        dns_timeout: Some(Duration::from_secs(3)),
        connect_timeout: Some(Duration::from_secs(4)),
        tls_timeout: Some(Duration::from_secs(5)),
        first_byte_timeout: Some(Duration::from_secs(6)),
        schedule: Some(vec![Duration::ZERO, Duration::from_secs(7)]),
        cap: NonZeroU32::new(3),
        rate: Some(Rate { starts: NonZeroU32::MIN, per: Duration::from_secs(60) }),
        order: Order::Subject,
        stop_on: vec![400, 422],
        ca_pem: Some("-----BEGIN CERTIFICATE-----\n".into()),
        handshake: true,
        envelope: Envelope::Standard,
    }
}

pub(super) fn add(store: &dyn Store, owner: i64) -> Webhook {
    store.add_webhook(webhook(owner), Timestamp(1)).wait().unwrap()
}

fn webhooks_for(store: &dyn Store) {
    let (site, mine, other, disabled) = (add(store, 0), add(store, 62), add(store, 63), add(store, 62));
    assert!(store.set_webhook_enabled(disabled.id, None, false, Some("gone".into()), Timestamp(2)).wait().unwrap());
    let ids = |owner| -> Vec<WebhookId> {
        store.webhooks_for(OwnerId(owner)).unwrap().iter().map(|webhook| webhook.id).collect()
    };
    assert_eq!(ids(62), [site.id, mine.id]);
    assert_eq!(ids(63), [site.id, other.id]);
    assert_eq!(ids(0), [site.id]);
    // Whoever has heard of a change sees it.
    let removed = add(store, 62);
    assert_eq!(ids(62), [site.id, mine.id, removed.id]);
    assert!(store.remove_webhook(removed.id, None, Timestamp(3)).wait().unwrap());
    assert_eq!(ids(62), [site.id, mine.id]);
    assert_eq!(store.webhook(mine.id).unwrap().unwrap(), mine);
    assert_eq!(mine.secrets, webhook(62).secrets);
    assert!(!format!("{mine:?}").contains("p&<>"));
    let disabled = store.webhook(disabled.id).unwrap().unwrap();
    assert_eq!((disabled.enabled, disabled.disabled_reason.as_deref()), (false, Some("gone")));
    assert_eq!(store.webhooks(None).unwrap().len(), 4);
    assert_eq!(store.webhooks(Some(OwnerId(62))).unwrap().len(), 2);
}

fn changed(store: &dyn Store) {
    let before = add(store, 62);
    store.set_webhook_enabled(before.id, Some(before.version), false, Some("410".into()), Timestamp(2)).wait().unwrap();
    let new = NewWebhook {
        owner: OwnerId(63),
        name: String::new(),
        url: "https://example.org".into(),
        method: "none".into(),
        events: Vec::new(),
        options: all_options(),
        secrets: Sealed("sealed1:ab:other".into()),
    };
    let change = |id, seen: u64| store.change_webhook(id, seen, new.clone(), Timestamp(9)).wait().unwrap();
    assert_eq!(change(before.id, before.version), None, "somebody has disabled it meanwhile");
    let seen = store.webhook(before.id).unwrap().unwrap().version;
    let after = change(before.id, seen).unwrap();
    assert_eq!(store.webhook(before.id).unwrap().unwrap(), after);
    assert_eq!((after.owner, after.url.as_str(), &after.options), (OwnerId(63), "https://example.org", &all_options()));
    assert_eq!((after.enabled, after.disabled_reason.as_deref()), (false, Some("410")));
    assert_eq!((after.created_at, after.updated_at), (before.created_at, Timestamp(9)));
    assert_eq!(change(before.id, seen), None, "somebody has changed it meanwhile");
    assert_eq!(change(WebhookId(999), seen), None);
    let enable = |seen| store.set_webhook_enabled(before.id, Some(seen), true, None, Timestamp(10)).wait().unwrap();
    assert_eq!((enable(seen), enable(after.version)), (false, true));
    let remove = |seen| store.remove_webhook(before.id, Some(seen), Timestamp(11)).wait().unwrap();
    assert!(!remove(after.version), "it was enabled meanwhile");
    assert!(remove(store.webhook(before.id).unwrap().unwrap().version));
}

/// A webhook and how fast its deliveries start are one record to whoever looks, whatever happens between.
fn followed(store: &dyn Store) {
    let with =
        |cap, rate| NewWebhook { options: WebhookOptions { cap, rate, ..WebhookOptions::default() }, ..webhook(62) };
    let (cap, rate) = (NonZeroU32::new(3), Some(Rate { starts: NonZeroU32::MIN, per: Duration::from_secs(60) }));
    let one = store.add_webhook(with(cap, rate), Timestamp(1)).wait().unwrap();
    let key = webhook_key(one.id);
    let policies = || store.key_policies().unwrap();
    assert_eq!(policies(), [(key.clone(), KeyPolicy { cap, rate, paused: false })]);
    store.set_key_policy(key.clone(), Some(KeyPolicy { cap, rate, paused: true }), Timestamp(2)).wait().unwrap();
    let one = store.change_webhook(one.id, one.version, with(None, rate), Timestamp(3)).wait().unwrap().unwrap();
    assert_eq!(policies(), [(key.clone(), KeyPolicy { cap: None, rate, paused: true })], "the pause is not its own");
    store.set_key_policy(key, None, Timestamp(4)).wait().unwrap();
    let one = store.change_webhook(one.id, one.version, with(None, None), Timestamp(5)).wait().unwrap().unwrap();
    assert_eq!(policies(), []);
    store.change_webhook(one.id, one.version, with(cap, None), Timestamp(6)).wait().unwrap().unwrap();
    assert!(store.remove_webhook(one.id, None, Timestamp(7)).wait().unwrap());
    assert_eq!(policies(), []);
}

fn disabled_once(store: &dyn Store) {
    let one = add(store, 62);
    let (a, b) = (event("a"), event("b"));
    let told = |event: &Event| Acceptance { events: vec![event.clone()], tasks: vec![task(event, Some(one.id.0))] };
    let disable = |reason: &str, event| {
        let disabled = store.disable_webhook(one.id, reason.into(), told(event), Timestamp(5)).wait().unwrap();
        disabled.map(|tasks| tasks.len())
    };
    assert_eq!((disable("410", &a), disable("nothing arrives", &b)), (Some(1), None));
    assert_eq!((store.event(&a.id).unwrap(), store.event(&b.id).unwrap()), (Some(a), None));
    assert!(store.set_webhook_enabled(one.id, None, false, Some("moved".into()), Timestamp(6)).wait().unwrap());
    let now = store.webhook(one.id).unwrap().unwrap();
    assert_eq!((now.enabled, now.disabled_reason.as_deref()), (false, Some("410")), "the first reason stays");
    assert_eq!(store.disable_webhook(WebhookId(999), "x".into(), told(&b), Timestamp(5)).wait().unwrap(), None);
}

fn failures(store: &dyn Store) {
    let one = add(store, 62);
    let fail = |at| store.webhook_failed(one.id, Timestamp(at)).wait().unwrap();
    let failing = |since, last, attempts, warned| {
        Some(Failing { since: Timestamp(since), last: Timestamp(last), attempts, warned })
    };
    let stored = || store.webhook(one.id).unwrap().unwrap().failing;
    assert_eq!((stored(), fail(10), fail(20)), (None, failing(10, 10, 1, false), failing(10, 20, 2, false)));
    assert!(store.webhook_warned(one.id).wait().unwrap());
    assert!(!store.webhook_warned(one.id).wait().unwrap(), "once");
    assert_eq!((fail(30), stored()), (failing(10, 30, 3, true), failing(10, 30, 3, true)));
    store.webhook_delivered(one.id).wait().unwrap();
    assert_eq!((stored(), fail(40)), (None, failing(40, 40, 1, false)));
    store.set_webhook_enabled(one.id, None, true, None, Timestamp(50)).wait().unwrap();
    assert_eq!(stored(), None, "enabling it begins anew");
    assert_eq!(store.webhook_failed(WebhookId(999), Timestamp(1)).wait().unwrap(), None);
}

fn removal(store: &dyn Store) {
    let webhook = add(store, 62);
    let one = event("a");
    let tasks = vec![task(&one, Some(webhook.id.0)); 2];
    let heads: Vec<_> = accept_tasks(store, vec![one], tasks).into_iter().map(|task| task.head).collect();
    let lease = start(store, heads[0].id);
    assert!(store.remove_webhook(webhook.id, None, Timestamp(5)).wait().unwrap());
    assert!(!store.remove_webhook(webhook.id, None, Timestamp(5)).wait().unwrap());
    assert_eq!(state(store, heads[1].id), TaskState::Dead);
    // The one that runs ends as it likes.
    assert!(finish(store, heads[0].id, lease, DONE));
    assert!(add(store, 62).id > webhook.id, "an id is never used twice");
}

fn ended_tasks(store: &dyn Store) {
    let one = event("a");
    let tasks = vec![task(&one, Some(1)), task(&one, Some(1)), task(&one, Some(2))];
    let heads: Vec<_> = accept_tasks(store, vec![one], tasks).into_iter().map(|task| task.head).collect();
    start(store, heads[0].id);
    assert_eq!(store.end_tasks_of_webhook(WebhookId(1), "gone".into(), Timestamp(5)).wait().unwrap(), 1);
    let states: Vec<_> = heads.iter().map(|head| state(store, head.id)).collect();
    assert_eq!(states, [TaskState::Running, TaskState::Dead, TaskState::Ready]);
    assert_eq!(store.task(heads[1].id).unwrap().unwrap().reason.as_deref(), Some("gone"));
}

fn resealed(store: &dyn Store) {
    let one = add(store, 62);
    let other = Sealed("sealed1:cd:x".into());
    let reseal = |webhooks, plugin_values| store.reseal(Resealed { webhooks, plugin_values }).wait().unwrap();
    assert_eq!(reseal(vec![(one.id, one.secrets.clone(), other.clone())], Vec::new()), 1);
    assert_eq!(reseal(vec![(one.id, one.secrets.clone(), one.secrets)], Vec::new()), 0);
    let now = store.webhook(one.id).unwrap().unwrap();
    assert_eq!((now.secrets, now.updated_at), (other, one.updated_at), "nothing that its owner sees has changed");
    let keep = |key: &str, value: &[u8], expires_at| {
        let kept = store.set_plugin_value("p".into(), key.into(), Some(value.to_vec()), expires_at, Timestamp(1));
        kept.wait().unwrap();
    };
    keep("a", b"1", None);
    keep("b", b"2", Some(Timestamp(9_000)));
    let mut values = store.plugin_values().unwrap();
    assert_eq!(values.len(), 2);
    let (b, a) = (values.pop().unwrap(), values.pop().unwrap());
    keep("a", b"3", None);
    assert_eq!(reseal(Vec::new(), vec![(a, b"x".to_vec()), (b, b"y".to_vec())]), 1, "the other was replaced meanwhile");
    let values = store.plugin_values().unwrap();
    let kept: Vec<_> = values.iter().map(|one| (one.value.as_slice(), one.expires_at)).collect();
    assert_eq!(kept, [(&b"3"[..], None), (&b"y"[..], Some(Timestamp(9_000)))]);
}

fn sealing_key(store: &dyn Store) {
    let set = |seen: Option<&str>, key: &str| store.set_sealing_key(seen.map(Into::into), key.into()).wait().unwrap();
    assert_eq!(store.sealing_key().unwrap(), None);
    assert_eq!(set(None, "a"), "a");
    assert_eq!(set(None, "b"), "a", "another host was first");
    assert_eq!(set(Some("a"), "c"), "c");
    assert_eq!(set(Some("a"), "d"), "c");
    assert_eq!(store.sealing_key().unwrap().as_deref(), Some("c"));
}
