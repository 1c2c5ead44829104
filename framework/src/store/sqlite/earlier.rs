//! Files that earlier versions left, each opened, brought forward, and found to have kept everything.
//!
//! `earlier/version-N.db` is what schema version N leaves in the middle of its work. The files up to version 3 were made
//! from the migrations and the rows below; each later one by the version itself: whoever adds a migration sets
//! `SWITCHBOARD_WRITE_STORE_FILE=1` and runs `the_file_of_this_version_is_stored` once, commits the new file, and lets
//! `fill` and `check_kept` know what the migration has brought.

use std::fs;
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::{SqliteStore, schema};
use crate::store::conformance::{ended, started};
use crate::store::{
    Acceptance, AttemptResult, BulkAction, BulkState, BulkStore, Care, Ending, Event, EventId, HttpExchange,
    IdempotencyKey, IdempotencyStore, KeyPolicy, NewBulk, NewTask, NewWebhook, OwnerId, PluginValueStore, PolicyStore,
    Priority, Schedule, ScheduleStore, Sealed, SealingStore, Store, Task, TaskCounts, TaskFilter, TaskId, TaskState,
    TaskStore, TaskTemplate, Timestamp, Unique, WebhookId, WebhookOptions, WebhookStore,
};

/// A time that does not come in the life of a test.
const FAR: Timestamp = Timestamp(4_000_000_000_000);

fn file_of(version: i64) -> PathBuf {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/store/sqlite/earlier");
    folder.join(format!("version-{version}.db"))
}

fn event() -> Event {
    Event {
        id: EventId("msg_01HV0000000000000000000000".into()),
        name: "booking_added".into(),
        owner: OwnerId(62),
        task: Some("save_booking".into()),
        cause: None,
        channel: Some("acme".into()),
        depth: 0,
        body: br#"{"data":{"property_uid":7,"task":"booking_added"}}"#.to_vec(),
        at: Timestamp(1_000),
    }
}

fn webhook(owner: i64, url: &str) -> NewWebhook {
    NewWebhook {
        owner: OwnerId(owner),
        name: "All bookings".into(),
        url: url.into(),
        method: "basic".into(),
        events: vec!["booking_added".into()],
        options: WebhookOptions { timeout: Some(Duration::from_secs(9)), ..WebhookOptions::default() },
        secrets: Sealed("sealed1:0011223344556677:AAAA".into()),
    }
}

fn delivery() -> NewTask {
    NewTask {
        event: Some(event().id),
        webhook: Some(WebhookId(1)),
        number: 7_320,
        name: "basic".into(),
        key: "webhook:1".into(),
        host: Some("example.com:443".into()),
        at: Timestamp(1_000),
        run_at: Timestamp(1_000),
        hold: true,
        ..NewTask::default()
    }
}

fn other() -> NewTask {
    NewTask {
        event: None,
        webhook: None,
        number: 21_500,
        name: "n".into(),
        key: "plugin:hello".into(),
        host: None,
        payload: Some(br#"{"n":1}"#.to_vec()),
        ..delivery()
    }
}

/// Makes the rows of the stored files: a host in the middle of its work.
fn fill(store: &dyn Store) {
    store.add_webhook(webhook(62, "https://example.com/hook"), Timestamp(900)).wait().unwrap();
    store.add_webhook(webhook(0, "https://example.com/all"), Timestamp(901)).wait().unwrap();
    store.set_webhook_enabled(WebhookId(2), None, false, Some("gone".into()), Timestamp(902)).wait().unwrap();
    store.webhook_failed(WebhookId(1), Timestamp(903)).wait().unwrap();
    store.set_sealing_key(None, "0011223344556677".into()).wait().unwrap();
    let tasks = vec![
        delivery(),
        delivery(),
        NewTask { run_at: FAR, hold: false, ..delivery() },
        delivery(),
        other(),
        delivery(),
        NewTask {
            run_at: FAR,
            priority: Priority::High,
            ordered: true,
            unique: Some(Unique { key: "report".into(), window: Duration::ZERO }),
            schedule: Some(vec![Duration::ZERO, Duration::from_millis(1_500)]),
            timeout: Some(Duration::from_secs(9)),
            replay_of: Some(TaskId(5)),
            ..other()
        },
    ];
    store.accept(Acceptance { events: vec![event()], tasks }).wait().unwrap();
    let end = |id, ending, outcome: &str, status| {
        let started = started(store, TaskId(id), Timestamp(1_100)).unwrap();
        let attempt = AttemptResult {
            ended_at: Timestamp(1_200),
            outcome: outcome.into(),
            status,
            url: Some("https://example.com/hook".into()),
            response: Some("so it is".into()),
            plugin: Some("webhook_basic".into()),
            exchanges: vec![HttpExchange { method: "POST".into(), ..HttpExchange::default() }],
            ..AttemptResult::default()
        };
        assert!(ended(store, started.task.id, started.lease, ending, attempt));
    };
    started(store, TaskId(2), Timestamp(1_100)).unwrap();
    end(4, Ending::Retry { at: FAR, reason: "http_5xx".into(), hold: true }, "http_5xx", Some(503));
    end(5, Ending::Done { keep_input: false }, "ok", None);
    end(6, Ending::Dead { reason: "http_4xx".into() }, "http_4xx", Some(410));
    store
        .set_plugin_value("hello".into(), "token".into(), Some(b"{}".to_vec()), None, Timestamp(1_000))
        .wait()
        .unwrap();
    store.put_schedule(schedule()).wait().unwrap();
    let key = idempotency_key();
    let acceptance = Acceptance { events: vec![Event { id: key.event.clone(), ..event() }], tasks: vec![] };
    store.accept_keyed(acceptance, vec![key], Timestamp(1_000)).wait().unwrap();
    store.set_key_policy("webhook:2".into(), Some(policy()), Timestamp(1_000)).wait().unwrap();
    let filter = TaskFilter { state: Some(TaskState::Dead), since: Some(Timestamp(0)), ..TaskFilter::default() };
    let bulk = NewBulk { action: BulkAction::Retry, filter, per_second: 5, expected: None, by: Some("ada".into()) };
    let bulk = store.add_bulk(bulk, Timestamp(1_300)).wait().unwrap().unwrap();
    store.set_bulk_state(bulk.id, BulkState::Paused, Timestamp(1_301)).wait().unwrap();
}

fn idempotency_key() -> IdempotencyKey {
    IdempotencyKey {
        owner: OwnerId(62),
        key: "booking-41".into(),
        event: EventId("msg_01HV0000000000000000000001".into()),
        fingerprint: vec![7; 32],
        expires_at: FAR,
    }
}

fn policy() -> KeyPolicy {
    KeyPolicy { cap: NonZeroU32::new(3), rate: None, paused: true }
}

fn schedule() -> Schedule {
    Schedule {
        name: "nightly".into(),
        spec: "0 3 * * *".into(),
        zone: "Europe/Berlin".into(),
        template: TaskTemplate {
            number: 21_500,
            name: "n".into(),
            key: "plugin:hello".into(),
            schedule: Some(vec![Duration::from_secs(1)]),
            payload: Some(b"{}".to_vec()),
            ..TaskTemplate::default()
        },
        next_at: FAR,
        paused: false,
        last_at: None,
        last_task: None,
        created_at: Timestamp(1_300),
        updated_at: Timestamp(1_300),
    }
}

#[track_caller]
fn check_kept(store: &SqliteStore, version: i64) {
    let webhooks = store.webhooks(None).unwrap();
    if version >= 8 {
        let NewWebhook { name, options, secrets, .. } = webhook(62, "");
        assert_eq!((&webhooks[0].name, &webhooks[0].options, &webhooks[0].secrets), (&name, &options, &secrets));
        assert_eq!(webhooks[0].failing.map(|failing| failing.attempts), Some(1));
        assert_eq!(store.sealing_key().unwrap().as_deref(), Some("0011223344556677"));
    } else {
        // The host seals them at its start.
        assert_eq!(webhooks[0].secrets.0, r#"{"password":"secret","user":"ada"}"#);
        assert_eq!((&webhooks[0].options, store.sealing_key().unwrap()), (&WebhookOptions::default(), None));
    }
    assert_eq!((webhooks[0].enabled, webhooks[0].events.len(), webhooks[0].owner), (true, 1, OwnerId(62)));
    assert_eq!((webhooks[1].enabled, webhooks[1].disabled_reason.as_deref()), (false, Some("gone")));
    let kept = store.event(&event().id).unwrap().unwrap();
    assert_eq!(kept, Event { channel: event().channel.filter(|_| version >= 8), ..event() });
    let recovered = store.recover(Timestamp(2_000), 3).unwrap();
    assert_eq!((recovered.ready, recovered.dead), (1, 0), "what was running is taken up");
    let task = |id| -> Task { store.task(TaskId(id)).unwrap().unwrap() };
    let outcomes = |id| -> Vec<String> {
        store.attempts(TaskId(id)).unwrap().into_iter().map(|attempt| attempt.outcome.unwrap()).collect()
    };
    let seen: Vec<_> = (1..=6).map(|id| (task(id).state, task(id).attempts, task(id).crashes, outcomes(id))).collect();
    let expected = [
        (TaskState::Ready, 0, 0, vec![]),
        (TaskState::Ready, 1, 1, vec!["unknown".to_owned()]),
        (TaskState::Waiting, 0, 0, vec![]),
        (TaskState::Waiting, 1, 0, vec!["http_5xx".to_owned()]),
        (TaskState::Done, 1, 0, vec!["ok".to_owned()]),
        (TaskState::Dead, 1, 0, vec!["http_4xx".to_owned()]),
    ];
    assert_eq!(seen, expected);
    assert_eq!((task(1).event, task(1).webhook, task(1).host), (Some(event().id), Some(WebhookId(1)), delivery().host));
    assert_eq!((task(3).run_at, task(4).run_at, task(4).reason.as_deref()), (FAR, FAR, Some("http_5xx")));
    assert_eq!((task(5).payload, task(5).name.as_str()), (None, "n"));
    assert_eq!(store.next_due().unwrap(), Some(FAR));
    let free: Vec<_> = store.claim(store.lanes(None, 10).unwrap(), 10).wait().unwrap();
    let free: Vec<_> = free.iter().flat_map(|claimed| &claimed.heads).map(|head| head.id).collect();
    assert_eq!(free, [TaskId(1), TaskId(2)]);
    let kept = store.plugin_value("hello", "token", Timestamp(1)).unwrap();
    assert_eq!(kept.is_some(), version >= 2);
    if version >= 3 {
        let task = task(7);
        assert_eq!((task.priority, task.ordered, task.replay_of), (Priority::High, true, Some(TaskId(5))));
        assert_eq!((task.unique_key.as_deref(), task.timeout), (Some("report"), Some(Duration::from_secs(9))));
        assert_eq!(task.schedule, Some(vec![Duration::ZERO, Duration::from_millis(1_500)]));
    }
    if version >= 4 {
        assert_eq!(store.schedules().unwrap(), [schedule()]);
        let bulk = &store.bulks().unwrap()[0];
        assert_eq!((bulk.state, bulk.total, bulk.filter.since), (BulkState::Paused, 1, Some(Timestamp(0))));
    }
    if version >= 5 {
        assert_eq!(store.key_policies().unwrap(), [("webhook:2".to_owned(), policy())]);
    }
    if version >= 7 {
        let kept = store.idempotency_key(OwnerId(62), "booking-41", Timestamp(1)).unwrap();
        assert_eq!(kept, Some(idempotency_key()));
    }
    let attempts = store.attempts(TaskId(4)).unwrap();
    let seen: Vec<_> =
        attempts.iter().map(|one| (one.event_name.as_deref(), one.owner, one.queued_at, one.status)).collect();
    assert_eq!(seen, [(Some("booking_added"), Some(OwnerId(62)), Some(Timestamp(1_000)), Some(503))]);
    assert_eq!(webhooks.iter().map(|webhook| webhook.version).collect::<Vec<_>>(), [0, u64::from(version >= 10)]);
    if version >= 9 {
        assert_eq!(attempts[0].exchanges[0].response.as_deref(), Some("so it is"));
    }
    let id = store.accept(Acceptance { events: vec![], tasks: vec![other()] }).wait().unwrap()[0].head.id;
    assert_eq!(id, TaskId(if version >= 3 { 8 } else { 7 }), "ids go on");
    assert_eq!(store.check().unwrap(), Vec::<String>::new());
}

#[test]
fn a_store_of_every_earlier_version_is_brought_forward_and_keeps_everything() {
    for version in 1..=schema::known_version() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("switchboard.db");
        fs::copy(file_of(version), &path).unwrap_or_else(|error| panic!("{error}: see the head of this file"));
        // Read as it is, where there are no counts yet, and brought forward.
        let all = |counts: TaskCounts| {
            let TaskCounts { ready, running, waiting, done, dead } = counts;
            [ready + waiting, running, done, dead]
        };
        let before = all(SqliteStore::open_to_read(&path).unwrap().task_counts().unwrap());
        let store = SqliteStore::open(&path).unwrap_or_else(|error| panic!("version {version}: {error}"));
        assert_eq!(all(store.task_counts().unwrap()), before, "version {version}");
        assert!(before.iter().sum::<u64>() >= 6, "version {version}: {before:?}");
        check_kept(&store, version);
        drop(store);
        drop(SqliteStore::open(&path).unwrap());
    }
}

#[test]
fn the_file_of_this_version_is_stored() {
    let newest = file_of(schema::known_version());
    if std::env::var_os("SWITCHBOARD_WRITE_STORE_FILE").is_some() && !newest.exists() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("switchboard.db");
        let store = SqliteStore::open(&path).unwrap();
        fill(&store);
        drop(store);
        assert!(!path.with_extension("db-wal").exists(), "the log has been moved into the file");
        fs::copy(path, &newest).unwrap();
    }
    assert!(newest.exists(), "`{}` is missing: the head of this file says how it is made", newest.display());
    assert!(!file_of(schema::known_version() + 1).exists(), "a file of a version that there is not");
}
