//! Which deferred task runs when: keys, order, priorities, rates, breakers, memory, replays.

use std::num::NonZeroU32;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use switchboard::config::Config;
use switchboard::store::{
    Acceptance, KeyPolicy, NewTask, Priority, Rate, SqliteStore, Store, Task, TaskFilter, TaskId, TaskState, TaskStore,
    Timestamp,
};
use switchboard::{
    BreakerState, BuiltIn, CallHost, DeferOptions, KeyState, Payload, PluginError, Switchboard, TaskError,
    TriggerNumber,
};
use switchboard_tests::{PATIENCE, wait_until};
use tempfile::TempDir;

/// The tests' own trigger.
const NUMBER: TriggerNumber = TriggerNumber::new(21_900);

/// A minicomponent of the host application: does what a test wants with each input.
struct Handler<F>(F);

impl<F: Fn(&str) -> Result<(), PluginError> + Send + Sync> BuiltIn for Handler<F> {
    fn call(&self, _host: &dyn CallHost, input: &[u8]) -> Result<Payload, PluginError> {
        (self.0)(std::str::from_utf8(input).unwrap())?;
        Ok(Payload::from(b"null".to_vec()))
    }
}

/// A host whose tasks are run by `handler`.
fn host(
    folder: &TempDir,
    settings: &str,
    handler: impl Fn(&str) -> Result<(), PluginError> + Send + Sync + 'static,
) -> Switchboard {
    let config = Config::parse(settings, &folder.path().join("switchboard.toml")).unwrap();
    let handler = Arc::new(Handler(handler));
    Switchboard::builder(folder.path()).watch(false).config(config).built_in(NUMBER, "work", handler).open().unwrap()
}

fn folder() -> TempDir {
    TempDir::new().unwrap()
}

fn on(key: &str) -> DeferOptions {
    DeferOptions::default().key(key)
}

#[track_caller]
fn defer(host: &Switchboard, input: &str, options: DeferOptions) -> TaskId {
    host.defer(NUMBER, "work", input, options).unwrap().id
}

fn task(host: &Switchboard, id: TaskId) -> Task {
    host.tasks().get(id).unwrap()
}

#[track_caller]
fn wait_for(host: &Switchboard, id: TaskId, state: TaskState) -> Task {
    wait_until(&format!("task {id} is {state}"), || task(host, id).state == state);
    task(host, id)
}

fn key(host: &Switchboard, key: &str) -> KeyState {
    host.tasks().keys().unwrap().into_iter().find(|state| state.key == key).unwrap_or_default()
}

fn failed() -> PluginError {
    PluginError::retryable("not today")
}

/// A door at which handlers wait until it is opened.
#[derive(Clone, Default)]
struct Door(Arc<(Mutex<bool>, Condvar)>);

impl Door {
    fn pass(&self) {
        let (open, opened) = &*self.0;
        let waited = opened.wait_timeout_while(open.lock().unwrap(), PATIENCE, |open| !*open).unwrap();
        assert!(!waited.1.timed_out(), "nobody opened the door");
    }

    fn open(&self) {
        *self.0.0.lock().unwrap() = true;
        self.0.1.notify_all();
    }
}

/// What handlers did, in order.
#[derive(Clone, Default)]
struct Journal(Arc<Mutex<Vec<String>>>);

impl Journal {
    fn note(&self, what: &str) -> usize {
        let mut lines = self.0.lock().unwrap();
        lines.push(what.to_owned());
        lines.iter().filter(|line| *line == what).count()
    }

    fn lines(&self) -> Vec<String> {
        self.0.lock().unwrap().clone()
    }
}

#[test]
fn a_key_whose_tasks_hang_costs_the_others_nothing() {
    let (folder, door, running) = (folder(), Door::default(), Arc::new(AtomicUsize::new(0)));
    let (at_door, count) = (door.clone(), Arc::clone(&running));
    let host = host(&folder, "[deferred]\nthreads = 6\nper_webhook = 2\n", move |input| {
        if input == "hang" {
            count.fetch_add(1, Ordering::SeqCst);
            at_door.pass();
        }
        Ok(())
    });
    let hung: Vec<TaskId> = (0..20).map(|_| defer(&host, "hang", on("slow"))).collect();
    let quick: Vec<TaskId> = (0..200).map(|id| defer(&host, "go", on(&format!("quick{}", id % 50)))).collect();
    let outcomes = host.tasks().wait(&quick, PATIENCE).unwrap();
    assert!(outcomes.iter().all(|outcome| outcome.state == TaskState::Done), "{outcomes:?}");
    assert_eq!(running.load(Ordering::SeqCst), 2, "the cap of its key");
    assert_eq!(key(&host, "slow").running, 2);
    door.open();
    assert!(host.tasks().wait(&hung, PATIENCE).unwrap().iter().all(|outcome| outcome.state == TaskState::Done));
}

#[test]
fn a_key_that_fails_is_held_by_its_breaker_and_what_waits_behind_it_makes_no_attempt() {
    let folder = folder();
    let host = host(&folder, "[deferred]\nschedule = [\"0s\", \"1h\"]\n", |input| match input {
        "sick" => Err(failed()),
        _ => Ok(()),
    });
    let one_at_a_time = KeyPolicy { cap: NonZeroU32::new(1), ..KeyPolicy::default() };
    host.tasks().set_key_policy("sick", Some(one_at_a_time)).unwrap();
    let sick: Vec<TaskId> = (0..8).map(|_| defer(&host, "sick", on("sick"))).collect();
    wait_until("the breaker is open", || key(&host, "sick").breaker == BreakerState::Open);
    let state = key(&host, "sick");
    assert_eq!((state.failures, state.queued, state.waiting, state.running), (5, 3, 5, 0));
    assert!(state.held_until.is_some_and(|until| until > host.now()));
    let well = defer(&host, "well", on("well"));
    drop(wait_for(&host, well, TaskState::Done));
    let attempts: Vec<u32> = sick.iter().map(|id| task(&host, *id).attempts).collect();
    assert_eq!(attempts, [1, 1, 1, 1, 1, 0, 0, 0]);
    let log = std::fs::read_to_string(host.logs().folder().join("Deferred.application.log")).unwrap();
    assert!(log.contains("key=sick failures=5"), "{log}");
}

#[test]
fn ordered_tasks_keep_their_order_over_failures_a_dead_head_and_a_cancelled_one() {
    let (folder, journal) = (folder(), Journal::default());
    let notes = journal.clone();
    let settings = "[deferred]\nschedule = [\"0s\", \"10ms\", \"10ms\", \"10ms\"]\n";
    let host = host(&folder, settings, move |input| match (input, notes.note(input)) {
        ("a", 1..=2) | ("never", _) => Err(failed()),
        ("b", _) => Err(PluginError::permanent("no")),
        _ => Ok(()),
    });
    let ordered = || on("room").ordered(true);
    let a = defer(&host, "a", ordered());
    let b = defer(&host, "b", ordered());
    let c = defer(&host, "c", ordered());
    drop(wait_for(&host, c, TaskState::Done));
    assert_eq!(journal.lines(), ["a", "a", "a", "b", "c"]);
    assert_eq!((task(&host, a).state, task(&host, b).state), (TaskState::Done, TaskState::Dead));

    let later = Duration::from_secs(60 * 60);
    let never = defer(&host, "never", ordered().schedule([Duration::ZERO, later]));
    let behind = defer(&host, "behind", ordered());
    let other_lane = host.defer(NUMBER, "missing", "x", ordered()).unwrap().id;
    let last = defer(&host, "last", ordered());
    drop(wait_for(&host, never, TaskState::Waiting));
    drop(wait_for(&host, defer(&host, "beside", on("room")), TaskState::Done));
    assert_eq!(task(&host, behind).attempts, 0, "a failing head blocks its key");
    assert!(host.tasks().cancel(never).unwrap());
    drop(wait_for(&host, behind, TaskState::Done));
    assert_eq!(task(&host, last).attempts, 0, "nobody has the handler of the one before");
    assert!(host.tasks().cancel(other_lane).unwrap());
    drop(wait_for(&host, last, TaskState::Done));
    // A dead head that is retried by hand has its place again.
    assert_eq!(host.tasks().retry(b).unwrap().state, TaskState::Ready);
    drop(wait_for(&host, b, TaskState::Dead));
}

#[test]
fn an_ordered_task_that_is_retried_by_hand_waits_for_the_one_whose_turn_it_is() {
    let (folder, door, journal) = (folder(), Door::default(), Journal::default());
    let (at_door, notes) = (door.clone(), journal.clone());
    let host = host(&folder, "", move |input| {
        if input == "second" {
            at_door.pass();
        }
        let tries = notes.note(input);
        if (input, tries) == ("first", 1) { Err(PluginError::permanent("no")) } else { Ok(()) }
    });
    let first = defer(&host, "first", on("room").ordered(true));
    let second = defer(&host, "second", on("room").ordered(true));
    let third = defer(&host, "third", on("room").ordered(true));
    drop(wait_for(&host, second, TaskState::Running));
    assert_eq!(host.tasks().retry(first).unwrap().state, TaskState::Ready);
    // What is claimed after it has run by then.
    drop(wait_for(&host, defer(&host, "beside", on("room")), TaskState::Done));
    assert_eq!(journal.lines(), ["first", "beside"]);
    door.open();
    drop(wait_for(&host, third, TaskState::Done));
    assert_eq!(journal.lines(), ["first", "beside", "second", "first", "third"]);
}

#[test]
fn a_task_that_waits_for_its_time_holds_an_ordered_key_and_comes_due_in_the_store() {
    let (folder, journal) = (folder(), Journal::default());
    let notes = journal.clone();
    let host = host(&folder, "", move |input| {
        notes.note(input);
        Ok(())
    });
    for round in 0..20 {
        // Due while it is being committed, or just after.
        let first = format!("first{round}");
        let second = format!("second{round}");
        defer(&host, &first, on("room").ordered(true).after(Duration::from_millis(round % 4)));
        let id = defer(&host, &second, on("room").ordered(true));
        drop(wait_for(&host, id, TaskState::Done));
        assert_eq!(journal.lines()[journal.lines().len() - 2..], [first, second]);
    }
}

#[test]
fn a_rate_is_kept() {
    let (folder, starts) = (folder(), Arc::new(Mutex::new(Vec::new())));
    let noted = Arc::clone(&starts);
    let host = host(&folder, "", move |_| {
        noted.lock().unwrap().push(Instant::now());
        Ok(())
    });
    let rate = Rate { starts: NonZeroU32::new(4).unwrap(), per: Duration::from_millis(400) };
    host.tasks().set_key_policy("slow", Some(KeyPolicy { rate: Some(rate), ..KeyPolicy::default() })).unwrap();
    let ids: Vec<TaskId> = (0..12).map(|_| defer(&host, "x", on("slow"))).collect();
    assert!(host.tasks().wait(&ids, PATIENCE).unwrap().iter().all(|outcome| outcome.state == TaskState::Done));
    let starts = starts.lock().unwrap();
    // Four at once and then one each 100 ms; a start may be noted a little after it was made.
    let whole = starts.last().unwrap().duration_since(starts[0]);
    assert!(whole >= Duration::from_millis(700), "{whole:?}");
}

#[test]
fn the_higher_priority_goes_first_and_a_paused_key_waits() {
    let (folder, journal, door) = (folder(), Journal::default(), Door::default());
    let (notes, at_door) = (journal.clone(), door.clone());
    let host = host(&folder, "[deferred]\nthreads = 1\n", move |input| {
        if input == "door" {
            at_door.pass();
        }
        notes.note(input);
        Ok(())
    });
    let first = defer(&host, "door", DeferOptions::default());
    drop(wait_for(&host, first, TaskState::Running));
    host.tasks().set_key_policy("paused", Some(KeyPolicy { paused: true, ..KeyPolicy::default() })).unwrap();
    let paused = defer(&host, "paused", on("paused").priority(Priority::High));
    for (name, priority) in [("low", Priority::Low), ("normal", Priority::Normal), ("high", Priority::High)] {
        for number in 0..2 {
            defer(&host, name, on(&format!("{name}{number}")).priority(priority));
        }
    }
    let last = defer(&host, "last", on("last").priority(Priority::Low));
    door.open();
    drop(wait_for(&host, last, TaskState::Done));
    assert_eq!(journal.lines(), ["door", "high", "high", "normal", "normal", "low", "low", "last"]);
    assert_eq!(task(&host, paused).state, TaskState::Ready);
    host.tasks().set_key_policy("paused", None).unwrap();
    drop(wait_for(&host, paused, TaskState::Done));
}

/// Puts tasks into a store that no host has open.
fn fill(folder: &TempDir, tasks: Vec<NewTask>) {
    let store = SqliteStore::open(&folder.path().join("switchboard.db")).unwrap();
    drop(store.accept(Acceptance { events: Vec::new(), tasks }).wait().unwrap());
    store.close();
}

fn stored(key: &str) -> NewTask {
    NewTask {
        number: NUMBER.get(),
        name: "work".into(),
        key: key.into(),
        payload: Some(b"stored".to_vec()),
        at: Timestamp(1),
        run_at: Timestamp(1),
        ..NewTask::default()
    }
}

#[test]
fn a_hundred_thousand_tasks_of_one_key_do_not_hide_one_of_another_and_stay_out_of_memory() {
    let (folder, done) = (folder(), Arc::new(AtomicUsize::new(0)));
    let count = Arc::clone(&done);
    let mut tasks = vec![stored("huge"); 100_000];
    tasks.push(stored("small"));
    fill(&folder, tasks);
    let host = host(&folder, "[deferred]\nwindow = 64\n", move |_| {
        count.fetch_add(1, Ordering::SeqCst);
        Ok(())
    });
    let filter = TaskFilter { key: Some("small".into()), ..TaskFilter::default() };
    let small = host.tasks().list(&filter).unwrap()[0].id;
    drop(wait_for(&host, small, TaskState::Done));
    let fresh = defer(&host, "fresh", on("other"));
    drop(wait_for(&host, fresh, TaskState::Done));
    assert!(done.load(Ordering::SeqCst) < 50_000, "it had to wait for the others");
    let in_memory: u64 = host.tasks().keys().unwrap().iter().map(|key| key.in_memory).sum();
    assert!(in_memory <= 64, "{in_memory}");
    // The backlog goes on, and is not stuck behind its window.
    let before = done.load(Ordering::SeqCst);
    wait_until("more of it is done", || done.load(Ordering::SeqCst) > before + 200);
}

#[test]
fn memory_that_is_full_of_tasks_that_may_not_start_makes_room_for_one_that_may() {
    let folder = folder();
    let names: Vec<String> = (0..8).map(|number| format!("paused{number}")).collect();
    fill(&folder, names.iter().flat_map(|name| vec![stored(name); 32]).collect());
    let host = host(&folder, "[deferred]\nwindow = 64\nper_webhook = 1\n", |_| Err(failed()));
    // They fail, so that their breakers open while memory is full of them.
    let tries = || host.tasks().counts().unwrap().waiting;
    wait_until("every key has failed often enough", || tries() >= 40);
    let well = defer(&host, "well", on("well"));
    let attempts = || host.tasks().attempts(well).unwrap().len();
    wait_until("the task of the other key has had its turn", || attempts() == 1);
}

#[test]
fn a_replay_has_the_same_input_one_attempt_and_waits_for_the_replay_before_it() {
    let (folder, journal) = (folder(), Journal::default());
    let (notes, inside, fails) = (journal.clone(), Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
    let failing = Arc::clone(&fails);
    let settings = "[log]\nmode = \"development\"\n[deferred]\nthreads = 4\n";
    let host = host(&folder, settings, move |input| {
        assert_eq!(inside.fetch_add(1, Ordering::SeqCst), 0, "two at once");
        notes.note(input);
        std::thread::park_timeout(Duration::from_millis(20));
        inside.fetch_sub(1, Ordering::SeqCst);
        if failing.load(Ordering::SeqCst) { Err(failed()) } else { Ok(()) }
    });
    let first = defer(&host, r#"{"exactly":  1.0}"#, on("reports"));
    drop(wait_for(&host, first, TaskState::Done));
    let replays: Vec<Task> = (0..3).map(|_| host.tasks().replay(first, "ada").unwrap()).collect();
    for replay in &replays {
        let done = wait_for(&host, replay.id, TaskState::Done);
        assert_eq!((done.replay_of, done.attempts), (Some(first), 1));
        assert_eq!(host.tasks().attempts(done.id).unwrap()[0].mode, switchboard::store::AttemptMode::Replay);
    }
    assert_eq!(journal.lines(), [r#"{"exactly":  1.0}"#; 4]);
    fails.store(true, Ordering::SeqCst);
    let again = host.tasks().replay(replays[0].id, "ada").unwrap();
    let dead = wait_for(&host, again.id, TaskState::Dead);
    assert_eq!((dead.attempts, dead.replay_of), (1, Some(first)), "no retries");
    assert_eq!(key(&host, "reports").failures, 0);
    let log = std::fs::read_to_string(host.logs().folder().join("Deferred.application.log")).unwrap();
    assert!(log.contains(&format!("a task is replayed task={first}")) && log.contains("by=ada"), "{log}");
}

#[test]
fn what_cannot_be_replayed_or_retried_is_refused_with_the_reason() {
    let folder = folder();
    let host = host(&folder, "", |input| if input == "bad" { Err(PluginError::permanent("no")) } else { Ok(()) });
    let done = defer(&host, "x", DeferOptions::default());
    drop(wait_for(&host, done, TaskState::Done));
    for refused in [host.tasks().replay(done, "ada").unwrap_err(), host.tasks().retry(done).unwrap_err()] {
        assert!(matches!(refused, TaskError::InputGone { id } if id == done), "{refused}");
        assert!(refused.to_string().contains("removed when a task is done"), "{refused}");
    }
    let later = defer(&host, "x", DeferOptions::default().after(Duration::from_secs(3_600)));
    let refused = host.tasks().replay(later, "ada").unwrap_err().to_string();
    assert_eq!(refused, format!("task {later} is waiting: only a task that is done or dead can be replayed"));
    let dead = defer(&host, "bad", DeferOptions::default());
    drop(wait_for(&host, dead, TaskState::Dead));
    let replay = host.tasks().replay(dead, "ada").unwrap();
    drop(wait_for(&host, replay.id, TaskState::Dead));
    assert!(matches!(host.tasks().replay(TaskId(999), "ada").unwrap_err(), TaskError::Missing { .. }));
}

#[test]
fn a_task_retried_by_hand_runs_soon_wherever_its_run_stands() {
    const WAIT: Duration = Duration::from_secs(50);
    let (folder, calls) = (folder(), AtomicUsize::new(0));
    let settings = "[log]\nmode = \"development\"\n[deferred]\nschedule = [\"0s\", \"50s\", \"50s\"]\n";
    // Every third try succeeds, so that no breaker opens; the others would wait long in memory.
    let host = host(&folder, settings, move |_| match calls.fetch_add(1, Ordering::SeqCst) % 3 {
        2 => Ok(()),
        _ => Err(failed()),
    });
    let id = defer(&host, "x", DeferOptions::default());
    let mut retried = 0;
    while retried < 40 {
        let before = task(&host, id).attempts;
        if host.tasks().retry(id).is_ok() {
            retried += 1;
            let since = Instant::now();
            wait_until("it has run once more", || task(&host, id).attempts > before);
            assert!(since.elapsed() < WAIT, "a retry waited for the time that it was to replace");
        }
    }
}
