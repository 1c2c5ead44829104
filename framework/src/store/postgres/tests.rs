use switchboard_test_postgres::Proxy;
use tokio_postgres::NoTls;

use super::*;
use crate::store::conformance::{ended, started, webhooks::webhook};
use crate::store::{
    Attempt, AttemptResult, Care, Ending, KeyPolicy, NewTask, NewWebhook, PolicyStore, TaskFilter, TaskState,
    WebhookOptions, WebhookStore, conformance,
};

/// A schema of its own on the server for tests; it is removed when this is dropped.
struct Schema {
    url: String,
    name: String,
    server: String,
}

impl Schema {
    /// Returns `None` where there is no server.
    fn fresh() -> Option<Self> {
        let server = switchboard_test_postgres::url()?.to_owned();
        let name = format!("test_{}", ulid::Ulid::generate().to_string().to_lowercase());
        let options = if server.contains('?') { '&' } else { '?' };
        Some(Self { url: format!("{server}{options}schema={name}"), name, server })
    }

    fn open(&self) -> PostgresStore {
        self.open_with("")
    }

    /// Opens the store as a host of its own, with more options.
    fn open_with(&self, options: &str) -> PostgresStore {
        PostgresStore::open(&format!("{}{options}", self.url), ulid::Ulid::generate().to_string(), None).unwrap()
    }

    /// Runs SQL in the schema.
    fn sql(&self, sql: &str) {
        let sql = format!("SET search_path TO {}; {sql}", self.name);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let (client, connection) = tokio_postgres::connect(&self.server, NoTls).await.unwrap();
            tokio::spawn(connection);
            client.batch_execute(&sql).await.unwrap();
        });
    }
}

/// A connection of somebody else.
struct Other {
    runtime: tokio::runtime::Runtime,
    client: tokio_postgres::Client,
}

impl Other {
    fn batch(&self, sql: &str) {
        self.runtime.block_on(self.client.batch_execute(sql)).unwrap();
    }
}

impl Schema {
    /// Runs SQL on a connection that stays open.
    fn other(&self, sql: &str) -> Other {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let client = runtime.block_on(async {
            let (client, connection) = tokio_postgres::connect(&self.server, NoTls).await.unwrap();
            tokio::spawn(connection);
            client
        });
        let other = Other { runtime, client };
        other.batch(&format!("SET search_path TO {}; {sql}", self.name));
        other
    }

    /// Waits until the connection that writes waits for a lock.
    #[track_caller]
    fn wait_for_blocked_writer(&self) {
        let watching = self.other("");
        let name = format!("switchboard {} % writer", self.name);
        let sql = "SELECT 1 FROM pg_stat_activity WHERE application_name LIKE $1 AND wait_event_type = 'Lock'";
        let deadline = std::time::Instant::now() + Duration::from_secs(60);
        while watching.runtime.block_on(watching.client.query(sql, &[&name])).unwrap().is_empty() {
            assert!(std::time::Instant::now() < deadline, "nothing is blocked");
        }
    }

    fn end_writer(&self) {
        self.sql(&format!(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
             WHERE application_name LIKE 'switchboard {} % writer'",
            self.name
        ));
    }
}

impl Drop for Schema {
    fn drop(&mut self) {
        self.sql(&format!("DROP SCHEMA IF EXISTS {} CASCADE", self.name));
    }
}

fn fresh() -> (Box<dyn Store>, Box<conformance::Sql>) {
    let schema = Schema::fresh().unwrap();
    (Box::new(schema.open()), Box::new(move |sql: &str| schema.sql(sql)))
}

#[test]
fn it_behaves_as_a_store() {
    if Schema::fresh().is_none() {
        return;
    }
    conformance::run(&fresh);
}

#[test]
fn it_does_what_a_simple_model_does() {
    if Schema::fresh().is_none() {
        return;
    }
    crate::store::model::run(&fresh);
}

#[test]
fn everything_moves_between_the_engines() {
    let Some(schema) = Schema::fresh() else { return };
    let other = Schema::fresh().unwrap();
    let folders = [(); 2].map(|()| tempfile::tempdir().unwrap());
    let [from, to] = folders
        .each_ref()
        .map(|folder| crate::store::SqliteStore::open(&folder.path().join("switchboard.db")).unwrap());
    conformance::move_everything(&from, &schema.open());
    conformance::move_everything(&other.open(), &to);
}

#[test]
fn several_hosts_share_the_work_of_one_database() {
    if Schema::fresh().is_none() {
        return;
    }
    conformance::hosts::run(|| Schema::fresh().unwrap(), |schema| Box::new(schema.open()));
}

/// Waits until a host is told something.
#[track_caller]
fn check_told(hearing: &Receiver<Change>, expected: Change) {
    let deadline = std::time::Instant::now() + Duration::from_secs(60);
    while hearing.recv_deadline(deadline).expect("the host is told") != expected {}
}

/// An attempt that went well.
fn well() -> AttemptResult {
    AttemptResult { ended_at: Timestamp(30), outcome: "ok".into(), ..AttemptResult::default() }
}

#[test]
fn what_hosts_have_counted_that_are_gone_is_gathered_in_one_row() {
    let Some(schema) = Schema::fresh() else { return };
    for _ in 0..3 {
        let store = schema.open();
        store.record_attempt(Attempt::of(well())).wait().unwrap();
        store.close();
    }
    assert_eq!(schema.open().prune(conformance::care::ALL, 10).wait().unwrap(), 0);
    // The other row is that of the host itself.
    schema.sql("DO $$ BEGIN ASSERT (SELECT count(*) <= 2 AND sum(bytes) = 1200 FROM attempt_bytes); END $$");
}

fn store_state(store: &PostgresStore, id: TaskId) -> TaskState {
    store.task(id).unwrap().unwrap().state
}

#[test]
fn a_host_that_is_taken_for_dead_hears_it_and_the_others_have_its_tasks() {
    let Some(schema) = Schema::fresh() else { return };
    let (one, two) = (schema.open_with("&lease_ms=3000"), schema.open_with("&lease_ms=3000"));
    let (hearing, others) = (one.changes(), two.changes());
    let heads = conformance::accept(&one, 2);
    let started = started(&one, heads[0].id, Timestamp(20)).unwrap();
    check_told(&others, Change::Work);
    // Again and again, because it renews its row itself.
    while store_state(&two, heads[0].id) == TaskState::Running {
        schema.sql(&format!("UPDATE host SET renewed = renewed - interval '1 hour' WHERE id = {}", one.host));
    }
    check_told(&hearing, Change::Lost);
    let task = two.task(heads[0].id).unwrap().unwrap();
    assert_eq!((task.state, task.crashes, task.held), (TaskState::Ready, 1, false));
    assert_eq!(two.attempts(task.id).unwrap()[0].outcome.as_deref(), Some("unknown"));
    assert!(!two.task(heads[1].id).unwrap().unwrap().held);
    assert!(!ended(&one, task.id, started.lease, Ending::Done { keep_input: true }, well()));
    // It goes on as a host that has just come.
    assert_eq!(conformance::accept(&one, 1).len(), 1);
}

#[test]
fn a_host_that_starts_on_the_same_folder_takes_over_at_once() {
    let Some(schema) = Schema::fresh() else { return };
    let open = || PostgresStore::open(&schema.url, "folder".into(), None).unwrap();
    let killed = open();
    let heads = conformance::accept(&killed, 2);
    drop(started(&killed, heads[0].id, Timestamp(20)).unwrap());
    let next = open();
    assert_eq!(next.recover(Timestamp(30), 3).unwrap(), Recovered { ready: 1, dead: 0 });
    assert!(!next.task(heads[1].id).unwrap().unwrap().held);
}

#[test]
fn connections_that_break_cost_nothing_that_was_acknowledged() {
    let Some(schema) = Schema::fresh() else { return };
    let store = schema.open();
    let accept = || {
        let one = NewTask { number: 21_500, name: "n".into(), key: "a".into(), hold: true, ..NewTask::default() };
        store.accept(Acceptance { events: Vec::new(), tasks: vec![one] })
    };
    let (mut accepted, mut unsure) = (Vec::new(), 0);
    for _ in 0..10 {
        let receipts: Vec<_> = (0..20).map(|_| accept()).collect();
        schema.sql(&format!(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name LIKE 'switchboard {} %'",
            schema.name
        ));
        for receipt in receipts {
            match receipt.wait() {
                Ok(tasks) => accepted.extend(tasks.into_iter().map(|task| task.head.id)),
                Err(StoreError::Unsure { .. }) => unsure += 1,
                Err(error) => assert!(matches!(error, StoreError::Unreachable { .. }), "{error}"),
            }
        }
        // It goes on by itself.
        let next = loop {
            match accept().wait() {
                Ok(tasks) => break tasks,
                Err(error) => unsure += usize::from(matches!(error, StoreError::Unsure { .. })),
            }
        };
        accepted.extend(next.into_iter().map(|task| task.head.id));
    }
    assert!(!accepted.is_empty());
    let stored = usize::try_from(store.count_tasks(&TaskFilter::default()).unwrap()).unwrap();
    assert!((accepted.len()..=accepted.len() + unsure).contains(&stored), "{stored} are stored, {unsure} are not sure");
    for id in accepted {
        assert!(store.task(id).unwrap().is_some());
    }
}

#[test]
fn a_change_that_the_server_ended_before_the_commit_is_a_plain_failure_and_was_not_made() {
    let Some(schema) = Schema::fresh() else { return };
    let store = schema.open();
    let id = conformance::accept(&store, 1)[0].id;
    // What is sent together with its commit, and what has answers before it.
    for together in [true, false] {
        let blocking = schema.other("BEGIN; LOCK TABLE task");
        let accepted = together.then(|| {
            let one = NewTask { number: 21_500, name: "n".into(), key: "a".into(), ..NewTask::default() };
            store.accept(Acceptance { events: Vec::new(), tasks: vec![one] })
        });
        let cancelled = (!together).then(|| store.cancel_task(id, Timestamp(20)));
        schema.wait_for_blocked_writer();
        schema.end_writer();
        let failed = accepted.map(|receipt| receipt.wait().map(drop));
        let failed = failed.or_else(|| cancelled.map(|receipt| receipt.wait().map(drop))).unwrap().unwrap_err();
        assert!(matches!(failed, StoreError::Unreachable { .. }), "together: {together}, {failed:?}");
        drop(blocking);
    }
    assert_eq!(conformance::ids_in(&store, TaskState::Ready), [id]);
}

#[test]
fn a_commit_whose_answer_is_lost_is_not_sure_and_is_made() {
    let Some(schema) = Schema::fresh() else { return };
    let proxy = Proxy::start(&schema.server);
    let url = format!("{}&schema={}", proxy.url(), schema.name);
    let store = PostgresStore::open(&url, "folder".into(), None).unwrap();
    conformance::accept(&store, 1);
    proxy.lose_answer_of_commit();
    let one = NewTask { number: 21_500, name: "n".into(), key: "a".into(), ..NewTask::default() };
    let lost = store.accept(Acceptance { events: Vec::new(), tasks: vec![one] }).wait().unwrap_err();
    assert!(matches!(lost, StoreError::Unsure { .. }), "{lost:?}");
    assert!(proxy.has_lost_it());
    assert_eq!(store.count_tasks(&TaskFilter::default()).unwrap(), 2);
    assert_eq!(conformance::accept(&store, 1).len(), 1, "it goes on by itself");
}

#[test]
fn what_comes_by_the_thousand_is_one_round_trip() {
    let Some(schema) = Schema::fresh() else { return };
    let proxy = Proxy::start(&schema.server);
    let url = format!("{}&schema={}", proxy.url(), schema.name);
    let store = PostgresStore::open(&url, "folder".into(), None).unwrap();
    // The statements are prepared once for a connection.
    conformance::accept(&store, 1);
    let (heads, together) = proxy.commits_without_answers(|| conformance::accept(&store, 20));
    assert!(together, "accepting");
    let (started, together) = proxy.commits_without_answers(|| started(&store, heads[0].id, Timestamp(20)).unwrap());
    assert!(together, "starting");
    let end = || ended(&store, heads[0].id, started.lease, Ending::Done { keep_input: false }, well());
    assert_eq!(proxy.commits_without_answers(end), (true, true), "ending");
}

#[test]
fn a_pause_that_another_host_sets_while_a_webhook_is_changed_stays() {
    let Some(schema) = Schema::fresh() else { return };
    let store = schema.open();
    let with = |cap| {
        let options = WebhookOptions { cap: std::num::NonZeroU32::new(cap), ..WebhookOptions::default() };
        NewWebhook { options, ..webhook(62) }
    };
    let one = store.add_webhook(with(3), Timestamp(1)).wait().unwrap();
    let other = schema.other("BEGIN; UPDATE key_policy SET paused = true");
    let changed = store.change_webhook(one.id, one.version, with(5), Timestamp(2));
    schema.wait_for_blocked_writer();
    other.batch("COMMIT");
    assert!(changed.wait().unwrap().is_some());
    let policy = KeyPolicy { cap: std::num::NonZeroU32::new(5), rate: None, paused: true };
    assert_eq!(store.key_policies().unwrap(), [(crate::store::record::webhook_key(one.id), policy)]);
}

#[test]
fn a_run_whose_start_the_server_forgot_when_it_failed_is_one_attempt_all_the_same() {
    let Some(schema) = Schema::fresh() else { return };
    let store = schema.open();
    let heads = conformance::accept(&store, 2);
    let started = started(&store, heads[0].id, Timestamp(20)).unwrap();
    // What a power cut of the server takes back: a start is not synced.
    schema.sql(
        "UPDATE task SET state = 0, lease = lease - 1, attempts = attempts - 1 WHERE state = 1; DELETE FROM attempt",
    );
    let name = &schema.name;
    schema.sql(&format!(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name LIKE 'switchboard {name} % writer'"
    ));
    let changes = store.changes();
    // Nothing is known of the marks either.
    while store.unhold(Vec::new()).wait().is_err() {}
    check_told(&changes, Change::Unsure);
    store.unhold_all().wait().unwrap();
    let running = store.task(heads[0].id).unwrap().unwrap();
    assert_eq!((running.state, running.attempts, running.lease), (TaskState::Running, 1, started.lease));
    assert!(ended(&store, running.id, started.lease, Ending::Done { keep_input: true }, well()));
    let attempts = store.attempts(running.id).unwrap();
    assert_eq!(attempts.len(), 1);
    assert_eq!((attempts[0].started_at, attempts[0].outcome.as_deref()), (Timestamp(20), Some("ok")));
    assert!(!store.task(heads[1].id).unwrap().unwrap().held);
}

#[test]
fn a_schema_that_is_not_ours_or_is_newer_is_refused_and_not_changed() {
    let Some(schema) = Schema::fresh() else { return };
    schema.sql(&format!("CREATE SCHEMA {}; CREATE TABLE diary (line text)", schema.name));
    let open = || PostgresStore::open(&schema.url, "folder".into(), None).err().unwrap();
    assert!(matches!(open(), StoreOpenError::ForeignSchema { .. }));
    schema.sql("DROP TABLE diary");
    drop(schema.open());
    schema.sql("INSERT INTO switchboard_version (version) VALUES (99)");
    let error = open().to_string();
    assert!(error.contains("schema version 99") && error.contains("it was not changed"), "{error}");
}

#[test]
fn hosts_that_start_at_once_make_the_schema_once() {
    let Some(schema) = Schema::fresh() else { return };
    std::thread::scope(|scope| {
        let hosts: Vec<_> = (0..4).map(|_| scope.spawn(|| schema.open())).collect();
        hosts.into_iter().for_each(|host| drop(host.join().unwrap()));
    });
}

#[test]
fn a_server_that_is_not_there_is_named_without_the_password() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let error = PostgresStore::open(&format!("postgres://ada:secret@{address}/shop"), "folder".into(), None);
    let error = crate::error::Chain(&error.err().unwrap()).to_string();
    assert!(error.contains(&address.to_string()) && !error.contains("secret"), "{error}");
}
