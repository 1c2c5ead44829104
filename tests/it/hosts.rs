//! Several hosts on one PostgreSQL database: they share the work, take over from those that are killed, and go on after the
//! server was away.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use switchboard::config::StoreConfig;
use switchboard::error::Chain;
use switchboard::store::{Store, TaskFilter, TaskState, open_to_read};
use switchboard::{Notification, Switchboard, WebhookDraft, WorkOn};
use switchboard_test_postgres::Server;
use switchboard_tests::{
    Answer, CrashHost, Database, Line, PATIENCE, Receiver, Serving, Site, crash_host, of_attempts, task_of, wait_until,
};
use tempfile::TempDir;

use crate::crash::{self, check_end};

/// How long a host may be silent here before the others take it for dead.
const LEASE_MS: u32 = 2_000;

/// A receiver that answers nobody until it is opened.
#[derive(Clone, Default)]
struct Gate(Arc<(Mutex<bool>, Condvar)>);

impl Gate {
    fn receiver(&self) -> Receiver {
        let gate = self.clone();
        Receiver::start(move |_| {
            let (open, opened) = &*gate.0;
            drop(opened.wait_while(open.lock().unwrap(), |open| !*open).unwrap());
            Answer::Status(200)
        })
    }

    fn open(&self) {
        let (open, opened) = &*self.0;
        *open.lock().unwrap() = true;
        opened.notify_all();
    }
}

fn site(database: &Database, plugins: &[&str], more: &str) -> Site {
    let site = Site::with(plugins);
    site.settings(&database.settings(LEASE_MS, &format!("[egress]\nallow = [\"127.0.0.0/8\"]\n\n{more}")));
    site
}

/// Gives a host the keys of another one, which every host of a store needs.
fn share_keys(from: &Site, to: &Site) {
    let file = |site: &Site| site.path().join("keys").join("secrets.keys");
    std::fs::create_dir_all(to.path().join("keys")).unwrap();
    std::fs::copy(file(from), file(to)).unwrap();
}

fn store(database: &Database) -> Arc<dyn Store> {
    open_to_read(&StoreConfig::at(database.store(LEASE_MS)), Path::new("/")).unwrap()
}

/// Waits until every task has ended.
#[track_caller]
fn wait_for_all(store: &dyn Store) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let counts = store.task_counts().unwrap();
        if counts.ready + counts.running + counts.waiting == 0 {
            return;
        }
        if Instant::now() > deadline {
            let tasks = store.tasks(&TaskFilter { limit: u32::MAX, ..TaskFilter::default() }).unwrap();
            let left = tasks.iter().filter(|task| !matches!(task.state, TaskState::Done | TaskState::Dead));
            panic!("waited in vain for {counts:?}: {:#?}", left.collect::<Vec<_>>());
        }
        std::thread::park_timeout(Duration::from_millis(10));
    }
}

/// Returns the process ids of the hosts that hold tasks; with `state`, tasks in this state.
fn holders(database: &Database, state: &str) -> HashSet<i64> {
    let sql = format!("SELECT host.pid FROM task JOIN host ON host.id = task.holder {state}");
    database.column::<i64>(&sql).into_iter().collect()
}

#[test]
fn of_three_hosts_one_is_killed_and_the_others_deliver_what_it_had() {
    let Some(database) = Database::fresh() else { return };
    // A host holds 64 tasks at most, so that none can take them all.
    let sites: Vec<Site> = [(); 3].map(|()| site(&database, &["webhook_none"], "[deferred]\nwindow = 64\n")).into();
    let gate = Gate::default();
    let receiver = gate.receiver();
    for webhook in 0..6 {
        sites[0].add_webhook(62, &receiver.url(&webhook.to_string()), "none", &[]);
    }
    sites[1..].iter().for_each(|other| share_keys(&sites[0], other));
    announce(&sites[0], 40);
    let mut hosts: Vec<Serving> = sites.iter().map(Site::serve).collect();
    wait_until("each of the hosts is at work", || holders(&database, "WHERE task.state = 1").len() == 3);
    hosts.remove(1).kill();
    gate.open();
    let store = store(&database);
    wait_for_all(&*store);
    let mut requests: HashMap<(String, String), usize> = HashMap::new();
    for request in receiver.requests() {
        *requests.entry((request.path.clone(), request.header("webhook-id").to_owned())).or_default() += 1;
    }
    let tasks = store.tasks(&TaskFilter { limit: 1_000, ..TaskFilter::default() }).unwrap();
    assert_eq!((tasks.len(), requests.len()), (240, 240));
    let mut crashes = 0;
    for task in &tasks {
        assert_eq!(task.state, TaskState::Done, "task {}", task.id);
        let attempts = store.attempts(task.id).unwrap();
        let outcomes: Vec<&str> = attempts.iter().map(|attempt| attempt.outcome.as_deref().unwrap()).collect();
        let (last, before) = outcomes.split_last().unwrap();
        // One that was slow to renew stops its tasks as well, which says so.
        let recorded = before.iter().all(|outcome| ["unknown", "interrupted"].contains(outcome));
        assert!(*last == "ok" && recorded, "task {}: {outcomes:?}", task.id);
        crashes += before.iter().filter(|outcome| **outcome == "unknown").count();
        let webhook = task.webhook.unwrap().0 - tasks[0].webhook.unwrap().0;
        let sent = requests[&(format!("/{webhook}"), task.event.clone().unwrap().0)];
        assert!(sent <= attempts.len(), "task {}: {sent} requests, attempts {outcomes:?}", task.id);
    }
    assert!(crashes > 0, "the host that was killed was at work");
}

/// Announces events through a host that works on nothing, so that nobody holds their tasks.
fn announce(site: &Site, events: u32) {
    let host = Switchboard::builder(site.path()).work_on(WorkOn::Nothing).watch(false).open().unwrap();
    let mut run = host.run().owner(62).start();
    for event in 0..events {
        run.announce(Notification::new("booking_added", &json!({ "property_uid": event })).unwrap()).unwrap();
    }
    run.finish().unwrap();
}

/// What host programs said that are killed in turn.
#[derive(Default)]
struct Witness {
    acknowledged: BTreeMap<u64, i64>,
    effects: HashMap<u64, u32>,
    done: Vec<i64>,
}

impl Witness {
    fn hear(&mut self, line: Line) {
        match line {
            Line::Accepted(number, id, false) => drop(self.acknowledged.insert(number, id)),
            Line::Effect(number) => *self.effects.entry(number).or_default() += 1,
            Line::Ended(id, state) if state == "done" => self.done.push(id),
            _ => {}
        }
    }

    /// Hears what a host says until all of its tasks are accepted.
    fn hear_acceptance(&mut self, host: &CrashHost) {
        let mut answers = 0;
        while answers < TASKS {
            let line = host.next(PATIENCE).expect("it accepts its tasks");
            answers += u32::from(matches!(line, Line::Accepted(..) | Line::Refused(_)));
            self.hear(line);
        }
    }
}

/// Tasks that a host program accepts.
const TASKS: u32 = 36;

#[test]
fn hosts_that_are_killed_in_turn_lose_nothing_and_repeat_nothing_without_a_record() {
    let Some(database) = Database::fresh() else { return };
    let seed = crash::seed();
    let mut random = fastrand::Rng::with_seed(seed);
    let folders = [(); 3].map(|()| TempDir::new().unwrap());
    for folder in &folders {
        let settings = database.settings(LEASE_MS, crash::SETTINGS);
        std::fs::write(folder.path().join("switchboard.toml"), settings).unwrap();
    }
    let mut first = 0;
    let mut start = |host: usize| {
        first += 100;
        let mut command = CrashHost::command(crash_host(), folders[host].path(), "work", seed >> 8, first);
        command.env("SWITCHBOARD_SECRET_KEYS", "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=");
        CrashHost::start(command)
    };
    let mut hosts: Vec<CrashHost> = (0..3).map(&mut start).collect();
    let mut witness = Witness::default();
    for _ in 0..4 {
        let victim = random.usize(0..3);
        let host = hosts.remove(victim);
        for _ in 0..random.usize(0..80) {
            // Once all is done, it has nothing to say.
            let Some(line) = host.next(Duration::from_millis(200)) else { break };
            witness.hear(line);
        }
        host.kill().into_iter().for_each(|line| witness.hear(line));
        hosts.insert(victim, start(victim));
    }
    for host in &hosts {
        witness.hear_acceptance(host);
    }
    // This one does not come back: the others find out by themselves.
    hosts.pop().unwrap().kill().into_iter().for_each(|line| witness.hear(line));
    let store = store(&database);
    wait_for_all(&*store);
    for mut host in hosts {
        host.close_input();
        host.wait().into_iter().for_each(|line| witness.hear(line));
    }
    let tasks = store.tasks(&TaskFilter { limit: 10_000, ..TaskFilter::default() }).unwrap();
    let mut numbers = HashMap::new();
    for task in &tasks {
        let input: Value = serde_json::from_slice(task.payload.as_deref().unwrap()).unwrap();
        let number = input["n"].as_u64().unwrap();
        assert!(numbers.insert(number, task.id.0).is_none(), "task {number} was accepted twice");
        let attempts = store.attempts(task.id).unwrap();
        check_end(task, &attempts, witness.effects.get(&number).copied().unwrap_or(0));
    }
    for (number, id) in &witness.acknowledged {
        assert_eq!(numbers.get(number), Some(id), "what was acknowledged is there");
    }
    let dead: HashSet<i64> = tasks.iter().filter(|task| task.state == TaskState::Dead).map(|task| task.id.0).collect();
    assert!(witness.done.iter().all(|id| !dead.contains(id)), "what was said to be done is done");
    assert!(!witness.done.is_empty() && !witness.acknowledged.is_empty());
    assert_eq!(store.check().unwrap(), Vec::<String>::new());
}

#[test]
fn a_host_takes_only_tasks_whose_handler_it_has() {
    let Some(database) = Database::fresh() else { return };
    let (inside, probe) = (site(&database, &["fixture_inside"], ""), site(&database, &["fixture_probe"], ""));
    let _serving = inside.serve();
    share_keys(&inside, &probe);
    let other = probe.serve();
    let file = inside.path().join("file");
    // Each is accepted by the host that cannot run it.
    let defer = |site: &Site, number: &str, name: &str, payload: &str| {
        site.json(&["task", "defer", number, name, "--payload", payload])["id"].as_i64().unwrap()
    };
    let written = defer(&probe, "21010", "write_file", &json!(file).to_string());
    let probed = defer(&inside, "21007", "sync", "{}");
    drop((inside.wait_for_task(written, "done"), inside.wait_for_task(probed, "done")));
    assert!(file.exists());
    assert!(other.terminate().success());
    let kept = defer(&inside, "21007", "sync", "{}");
    let next = defer(&inside, "21010", "write_file", &json!(file).to_string());
    drop(inside.wait_for_task(next, "done"));
    let task = inside.task(kept);
    assert_eq!((&task["state"], &task["attempts"]), (&json!("ready"), &json!(0)));
    assert_eq!(task["waits_for"], "no plugin has the handler 21007 `sync`");
    let _other = probe.serve();
    drop(inside.wait_for_task(kept, "done"));
}

#[test]
fn a_server_that_goes_away_and_comes_back_costs_no_task_and_no_attempt() {
    let Some(server) = Server::start() else { return };
    let database = Database::on(&server);
    let site = Site::with(&["webhook_none"]);
    site.settings(&database.settings(30_000, "[egress]\nallow = [\"127.0.0.0/8\"]\n"));
    let gate = Gate::default();
    let receiver = gate.receiver();
    site.add_webhook(62, &receiver.url("hook"), "none", &[]);
    let _serving = site.serve();
    let first = task_of(&site.emit(62, "booking_added", "{}"));
    wait_until("its delivery is on the way", || site.task(first)["state"] == "running");
    server.stop();
    let emit = || site.run(&["--json", "emit", "booking_added", "--owner", "62", "--data", "{}"]);
    emit().refused(1, &["does not answer"]);
    // The answer comes while its end cannot be written.
    gate.open();
    server.start_again();
    let mut second = emit();
    wait_until("new work is accepted", || {
        if second.code != 0 {
            second = emit();
        }
        second.code == 0
    });
    let done = site.wait_for_task(first, "done");
    assert_eq!(of_attempts(&done, "outcome"), ["ok"]);
    drop(site.wait_for_task(task_of(&second.json()), "done"));
    assert_eq!(receiver.requests().len(), 2);

    // A connection that only breaks is the same thing for a moment.
    for _ in 0..3 {
        let ended: Vec<bool> = database.column(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name LIKE 'switchboard %'",
        );
        assert!(ended.len() > 1);
        let mut task = emit();
        wait_until("new work is accepted", || {
            if task.code != 0 {
                task = emit();
            }
            task.code == 0
        });
        drop(site.wait_for_task(task_of(&task.json()), "done"));
    }
}

#[test]
fn a_store_moves_to_a_server_and_back_with_all_that_is_in_it() {
    let Some(database) = Database::fresh() else { return };
    let receiver = Receiver::friendly();
    let from = Site::with(&["webhook_none"]);
    from.add_webhook(62, &receiver.url("hook"), "none", &[]);
    let waiting = from.json(&["task", "defer", "21007", "sync", "--after", "1h", "--unique", "letter"])["id"].clone();
    drop(from.json(&["task", "key", "set", "webhook:1", "--cap", "3"]));
    let work = |site: &Site| {
        let serving = site.serve();
        let task = task_of(&site.emit(62, "booking_added", "{\"property_uid\":7}"));
        let done = site.wait_for_task(task, "done");
        assert!(serving.terminate().success());
        done
    };
    let first = work(&from);
    let exports = TempDir::new().unwrap();
    let move_on = |from: &Site, to: &Site, name: &str| {
        share_keys(from, to);
        let file = exports.path().join(name).to_str().unwrap().to_owned();
        drop(from.run(&["store", "export", &file]).ok());
        drop(to.run(&["store", "import", &file]).ok());
    };
    let on_server = site(&database, &["webhook_none"], "");
    move_on(&from, &on_server, "one");
    let second = work(&on_server);
    let back = Site::with(&["webhook_none"]);
    move_on(&on_server, &back, "two");
    let third = work(&back);
    let ids = [&first, &second, &third].map(|task| task["id"].as_i64().unwrap());
    assert_eq!(ids, [ids[0], ids[0] + 1, ids[0] + 2], "ids go on");
    assert_eq!((back.task(ids[0]), back.task(ids[1])), (first, second));
    let again = back.json(&["task", "defer", "21007", "sync", "--unique", "letter"]);
    assert_eq!((&again["id"], &again["known"]), (&waiting, &json!(true)));
    let keys = back.json(&["task", "key", "list"]);
    let key = keys.as_array().unwrap().iter().find(|key| key["key"] == "webhook:1").unwrap();
    assert_eq!(key["policy"]["cap"], 3);
    assert_eq!(back.json(&["store", "check"])["well"], true);
    assert_eq!(receiver.requests().len(), 3);
}

#[test]
fn a_key_that_one_host_rotates_in_is_taken_by_the_others_when_they_start_again() {
    let Some(database) = Database::fresh() else { return };
    let sites = [(); 2].map(|()| site(&database, &["webhook_none"], ""));
    let open = |site: &Site| Switchboard::builder(site.path()).watch(false).work_on(WorkOn::Nothing).open();
    let first = open(&sites[0]).unwrap();
    share_keys(&sites[0], &sites[1]);
    let second = open(&sites[1]).unwrap();
    let old = first.keys().list().unwrap()[0].id.clone();
    first.keys().rotate().unwrap();
    // It seals with the key that was the first when it started, and the rotation has left that one.
    let draft = WebhookDraft { url: "https://example.com/".into(), method: "none".into(), ..WebhookDraft::default() };
    second.webhooks().add(draft).unwrap();
    let sealed = |host: &Switchboard| -> Vec<(bool, u64)> {
        host.keys().list().unwrap().iter().map(|key| (key.current, key.webhooks)).collect()
    };
    assert_eq!(sealed(&first), [(true, 0), (false, 1)]);
    assert_eq!(first.keys().forget_unused().unwrap(), Vec::<String>::new());
    drop(second);
    let refused = Chain(&open(&sites[1]).err().unwrap()).to_string();
    assert!(refused.contains("are sealed with the key"), "{refused}");
    share_keys(&sites[0], &sites[1]);
    let second = open(&sites[1]).unwrap();
    assert_eq!((sealed(&first), sealed(&second)), (vec![(true, 1), (false, 0)], vec![(true, 1), (false, 0)]));
    assert_eq!(first.keys().forget_unused().unwrap(), [old]);
}
