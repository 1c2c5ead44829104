//! A host program is killed again and again, at random moments: while it starts, accepts, runs, ends, recovers and stops.
//! A witness outside of it keeps what it acknowledged and what its handlers did, and holds the store to both.
//!
//! `SWITCHBOARD_CRASH_ROUNDS` sets the number of rounds (500; each named moment gets a hundredth of them),
//! `SWITCHBOARD_CRASH_SEED` repeats a run.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::Value;
use switchboard::error::Chain;
use switchboard::store::{Attempt, Care, SqliteStore, Task, TaskFilter, TaskId, TaskState, TaskStore};
use switchboard_tests::{CrashHost, FaultyDisk, Line, PATIENCE, crash_host, has_faulty_disk};
use tempfile::TempDir;

/// Rounds, where `SWITCHBOARD_CRASH_ROUNDS` does not say otherwise.
const ROUNDS: u64 = 500;
/// Sites that are worked on side by side, because much of a round is waiting.
const SITES: u64 = 4;
/// Numbers of tasks that a round may use.
const NUMBERS: u64 = 100;

pub(crate) const SETTINGS: &str = "[deferred]\ngrace = \"50ms\"\n\n[log]\nlevel = \"error\"\nmode = \"development\"\n";

/// Returns the seed of this run, and prints it once.
pub(crate) fn seed() -> u64 {
    static SEED: std::sync::OnceLock<u64> = std::sync::OnceLock::new();
    *SEED.get_or_init(|| {
        let given = std::env::var("SWITCHBOARD_CRASH_SEED").ok().map(|seed| seed.parse().unwrap());
        let seed = given.unwrap_or_else(|| fastrand::u64(..));
        // Past the runner, which hides what a test that passes prints.
        let _ =
            std::io::Write::write_all(&mut std::io::stderr(), format!("SWITCHBOARD_CRASH_SEED={seed}\n").as_bytes());
        seed
    })
}

/// What is known outside of the host program.
#[derive(Default)]
struct Witness {
    /// Ids of the acknowledged tasks by their numbers.
    acknowledged: BTreeMap<u64, i64>,
    /// Numbers of the tasks, as the store had them, by id.
    numbers: HashMap<i64, u64>,
    /// How often each task's handler was called.
    effects: HashMap<u64, u32>,
    /// The order in which handlers were called.
    order: Vec<u64>,
    /// Ids of the tasks that were said to be done, with how many effects had been seen then.
    done: HashMap<i64, usize>,
    /// Attempts and leases of the tasks that had not ended at the last look.
    last: HashMap<i64, (u32, i64)>,
    /// All tasks up to this id have ended.
    ended_up_to: i64,
}

impl Witness {
    fn hear(&mut self, line: Line) {
        match line {
            Line::Accepted(number, id, false) => {
                self.acknowledged.insert(number, id);
            }
            Line::Effect(number) => {
                *self.effects.entry(number).or_default() += 1;
                self.order.push(number);
            }
            Line::Ended(id, state) if state == "done" => {
                self.done.insert(id, self.order.len());
            }
            _ => {}
        }
    }

    /// Holds the store to what is known, after the host program was killed.
    fn look(&mut self, store: &SqliteStore) {
        let after = Some(TaskId(self.ended_up_to));
        let tasks = store.tasks(&TaskFilter { after, limit: 100_000, ..TaskFilter::default() }).unwrap();
        let found: HashMap<i64, &Task> = tasks.iter().map(|task| (task.id.0, task)).collect();
        let mut unique = BTreeSet::new();
        for task in &tasks {
            let input: Value = serde_json::from_slice(task.payload.as_deref().unwrap()).unwrap();
            let number = input["n"].as_u64().unwrap();
            assert_eq!(*self.numbers.entry(task.id.0).or_insert(number), number, "task {} is another one", task.id);
            let (attempts, lease) = self.last.get(&task.id.0).copied().unwrap_or_default();
            assert!(task.lease.0 >= lease, "the lease of task {} went from {lease} to {}", task.id, task.lease);
            // A run that was given back is no attempt; every other one is.
            assert!(task.attempts + 1 >= attempts, "task {} had {attempts} attempts, now {}", task.id, task.attempts);
            if !matches!(task.state, TaskState::Done | TaskState::Dead) {
                self.last.insert(task.id.0, (task.attempts, task.lease.0));
                let free = task.unique_key.as_ref().is_none_or(|key| unique.insert(key.clone()));
                assert!(free, "the unique key of task {} is taken twice", task.id);
            }
        }
        for id in self.acknowledged.values().filter(|id| **id > self.ended_up_to) {
            assert!(found.contains_key(id), "task {id} was acknowledged and is lost");
        }
        for id in self.done.keys().filter(|id| **id > self.ended_up_to) {
            assert_eq!(found[id].state, TaskState::Done, "task {id} was said to be done");
        }
        let counts = store.task_counts().unwrap();
        let sum = counts.ready + counts.running + counts.waiting + counts.done + counts.dead;
        assert_eq!(sum, store.count_tasks(&TaskFilter::default()).unwrap(), "{counts:?}");
        let ended = |task: &&Task| matches!(task.state, TaskState::Done | TaskState::Dead);
        self.ended_up_to = tasks.iter().take_while(ended).last().map_or(self.ended_up_to, |task| task.id.0);
    }

    /// Holds the store to everything, after all tasks have ended.
    fn conclude(&self, store: &SqliteStore) -> u64 {
        assert_eq!(store.check().unwrap(), Vec::<String>::new());
        let tasks = store.tasks(&TaskFilter { limit: u32::MAX, ..TaskFilter::default() }).unwrap();
        let mut numbers = BTreeSet::new();
        let mut again = 0;
        for task in &tasks {
            let number = self.numbers[&task.id.0];
            assert!(numbers.insert(number), "task {number} was accepted twice");
            let attempts = store.attempts(task.id).unwrap();
            again += check_end(task, &attempts, self.effects.get(&number).copied().unwrap_or(0));
        }
        for (number, id) in &self.acknowledged {
            assert_eq!(self.numbers.get(id), Some(number), "what was acknowledged as {id}");
        }
        self.check_order(&tasks);
        for (id, seen) in &self.done {
            let number = self.numbers[id];
            assert!(!self.order[*seen..].contains(&number), "task {id} ran again after it was said to be done");
        }
        again
    }

    /// Tasks of an ordered key are called in the order in which they were accepted, each until it has ended.
    fn check_order(&self, tasks: &[Task]) {
        let ordered: HashMap<u64, (&str, i64)> = tasks
            .iter()
            .filter(|task| task.ordered)
            .map(|task| (self.numbers[&task.id.0], (task.key.as_str(), task.id.0)))
            .collect();
        let mut last: HashMap<&str, i64> = HashMap::new();
        for (key, id) in self.order.iter().filter_map(|number| ordered.get(number)) {
            let last = last.entry(key).or_default();
            assert!(*id >= *last, "task {id} of {key} ran after {last}");
            *last = *id;
        }
    }
}

/// Holds a task that has ended to its attempts and effects. Returns how many times it was run again.
pub(crate) fn check_end(task: &Task, attempts: &[Attempt], effects: u32) -> u64 {
    let outcome = |attempt: &Attempt| attempt.outcome.clone().unwrap_or_default();
    let outcomes: Vec<String> = attempts.iter().map(outcome).collect();
    let well = outcomes.iter().filter(|outcome| *outcome == "ok").count();
    let about = format!("task {}: {:?}, {effects} effects, attempts {outcomes:?}", task.id, task.state);
    assert!(effects as usize <= attempts.len(), "an effect without an attempt: {about}");
    match task.state {
        TaskState::Done => {
            assert!(well == 1 && outcomes.last().is_some_and(|last| last == "ok") && effects >= 1, "{about}");
        }
        TaskState::Dead => {
            let crashed = outcomes.iter().filter(|outcome| *outcome == "unknown").count() >= 3;
            let planned = outcomes.last().is_some_and(|last| last != "ok" && last != "unknown");
            assert!(well == 0 && (crashed || planned), "{about}");
        }
        _ => panic!("it has not ended: {about}"),
    }
    let crashes = outcomes.iter().filter(|outcome| *outcome == "unknown").count();
    assert_eq!(task.crashes as usize, crashes, "{about}");
    attempts.len() as u64 - 1
}

/// When a round ends, and how.
#[derive(Debug)]
enum End {
    /// After some time, however far it has come.
    Soon(Duration),
    /// After so many lines.
    Lines(usize),
    /// It is asked to stop after so many lines, and killed after some time.
    Stop(usize, Duration),
}

impl End {
    fn random(random: &mut fastrand::Rng) -> Self {
        match random.u8(0..10) {
            0..=1 => Self::Soon(Duration::from_millis(random.u64(0..60))),
            2..=7 => Self::Lines(random.usize(0..70)),
            _ => Self::Stop(random.usize(0..50), Duration::from_micros(random.u64(0..20_000))),
        }
    }
}

/// Runs the host program until it is killed, and tells the witness what it said.
fn round(folder: &Path, random: &mut fastrand::Rng, number: u64, witness: &mut Witness) {
    let seed = random.u64(..);
    let end = End::random(random);
    let mut host = CrashHost::start(CrashHost::command(crash_host(), folder, "work", seed >> 8, number * NUMBERS));
    let begun = Instant::now();
    let (lines, time) = match end {
        End::Soon(time) => (usize::MAX, Some(time)),
        End::Lines(lines) | End::Stop(lines, _) => (lines, None),
    };
    let mut heard = 0;
    let mut open = false;
    while heard < lines {
        // Once it is open, it may have nothing to say for a while because all is done.
        let patience = match time {
            Some(time) => time.saturating_sub(begun.elapsed()),
            None if open => Duration::from_millis(40),
            None => PATIENCE,
        };
        let Some(line) = host.next(patience) else { break };
        open |= line == Line::Ready;
        heard += 1;
        witness.hear(line);
    }
    if let End::Stop(_, time) = end {
        host.close_input();
        let stopped = Instant::now();
        while let Some(line) = host.next(time.saturating_sub(stopped.elapsed())) {
            witness.hear(line);
        }
    }
    host.kill().into_iter().for_each(|line| witness.hear(line));
}

/// A data folder on which a host is killed again and again.
struct Killed {
    site: TempDir,
    witness: Witness,
    rounds: u64,
}

impl Killed {
    fn new() -> Self {
        let site = TempDir::new().unwrap();
        std::fs::write(site.path().join("switchboard.toml"), SETTINGS).unwrap();
        Self { site, witness: Witness::default(), rounds: 0 }
    }

    fn store(&self) -> SqliteStore {
        SqliteStore::open_to_read(&self.site.path().join("switchboard.db")).unwrap()
    }

    /// Holds the store to what is known, after a round.
    fn look(&mut self) {
        self.rounds += 1;
        if !self.site.path().join("switchboard.db").exists() {
            assert!(self.witness.acknowledged.is_empty());
            return;
        }
        let store = self.store();
        if self.witness.acknowledged.is_empty()
            && let Err(error) = store.task_counts()
        {
            // Killed before it had made its tables, which it makes all at once.
            let error = Chain(&error).to_string();
            assert!(error.contains("no such table"), "{error}");
            return;
        }
        self.witness.look(&store);
        if self.rounds % 25 == 1 {
            assert_eq!(store.check().unwrap(), Vec::<String>::new(), "round {}", self.rounds);
        }
    }

    /// Lets a host do what is left, and holds the store to everything. Returns how many tasks are done, and how often one
    /// was run again.
    fn conclude(mut self) -> (u64, u64) {
        let host =
            CrashHost::start(CrashHost::command(crash_host(), self.site.path(), "drain", 0, self.rounds * NUMBERS));
        host.wait().into_iter().for_each(|line| self.witness.hear(line));
        let store = self.store();
        self.witness.ended_up_to = 0;
        self.witness.look(&store);
        (store.task_counts().unwrap().done, self.witness.conclude(&store))
    }
}

/// Does some rounds on a site of its own. Returns how many tasks ended, and how often one was run again.
fn rounds_on_a_site(count: u64, seed: u64) -> (u64, u64) {
    let mut killed = Killed::new();
    let mut random = fastrand::Rng::with_seed(seed);
    for number in 0..count {
        round(killed.site.path(), &mut random, number, &mut killed.witness);
        killed.look();
    }
    killed.conclude()
}

/// Moments at which a host is killed, as `tests/fixtures/faulty` names them, and what it is doing then.
const MOMENTS: [&str; 10] = [
    // Nothing of a commit is written, or a part of it; also while tables are made and a start takes up what was left.
    "before-log-write",
    "after-log-write",
    // All of it is written, and then also safe; nobody has been told.
    "before-log-sync",
    "after-log-sync",
    // The log is moved into the database, at its size or at a stop.
    "before-database-write",
    "after-database-write",
    "before-database-sync",
    "after-database-sync",
    // An acceptance, a handler's effect or an end is about to be known outside, or has just become so.
    "before-output-write",
    "after-output-write",
];

/// Kills a host at one of the moments so often, each time at another of its occurrences.
fn kill_at(moment: &str, kills: u64, seed: u64) {
    let mut killed = Killed::new();
    let mut random = fastrand::Rng::with_seed(seed);
    // Some moments are rare: one that did not come so often is waited for less long the next time. The database is synced
    // when the log is moved into it, which is seldom more than at the start and at the stop.
    let (mut done, mut most) = (0, if moment.ends_with("database-sync") { 4 } else { 128_u64 });
    while done < kills {
        assert!(killed.rounds < kills * 20, "{moment}: {done} kills in {} rounds", killed.rounds);
        let mut command =
            CrashHost::command(crash_host(), killed.site.path(), "work", random.u64(..) >> 8, killed.rounds * NUMBERS);
        FaultyDisk::new().put_before(&mut command, killed.site.path());
        let latest = random.u64(1..=most);
        FaultyDisk::kill_at(&mut command, moment, random.u64(1..=latest));
        if until_it_ends(command, random.usize(0..200), &mut killed.witness) {
            done += 1;
        } else {
            most = (most / 2).max(1);
        }
        killed.look();
    }
    killed.conclude();
}

/// Runs the host program and asks it to stop after so many lines, or when it has nothing more to do. Returns whether it was
/// killed before it had stopped.
fn until_it_ends(command: std::process::Command, lines: usize, witness: &mut Witness) -> bool {
    let mut host = CrashHost::start(command);
    let mut heard = Vec::new();
    let mut is_open = false;
    loop {
        if heard.len() >= lines {
            host.close_input();
        }
        match host.next(if is_open { Duration::from_millis(40) } else { PATIENCE }) {
            Some(line) => {
                is_open |= line == Line::Ready;
                heard.push(line);
            }
            None if host.has_ended() => break,
            None => host.close_input(),
        }
    }
    heard.extend(host.kill());
    let killed = heard.last() != Some(&Line::Stopped);
    heard.into_iter().for_each(|line| witness.hear(line));
    killed
}

/// Does something for each number below `count`, on as many threads as there are sites.
fn side_by_side<V: Send>(count: u64, work: impl Fn(u64) -> V + Sync) -> Vec<V> {
    let (next, work) = (std::sync::atomic::AtomicU64::new(0), &work);
    let numbers = || {
        let one = next.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        (one < count).then_some(one)
    };
    std::thread::scope(|threads| {
        let workers: Vec<_> =
            (0..SITES).map(|_| threads.spawn(|| std::iter::from_fn(numbers).map(work).collect::<Vec<V>>())).collect();
        workers.into_iter().flat_map(|worker| worker.join().unwrap()).collect()
    })
}

fn rounds() -> u64 {
    std::env::var("SWITCHBOARD_CRASH_ROUNDS").map_or(ROUNDS, |rounds| rounds.parse().unwrap())
}

#[test]
fn a_host_that_is_killed_at_any_moment_keeps_every_promise() {
    let (rounds, seed) = (rounds(), seed());
    let _ = crash_host();
    let sites = side_by_side(SITES, |site| rounds_on_a_site(rounds.div_ceil(SITES), seed.wrapping_add(site)));
    let (done, again) = sites.iter().fold((0, 0), |(done, again), site| (done + site.0, again + site.1));
    // Else the rounds have not met what they are for.
    assert!(done > rounds && again > 0, "{done} tasks done, {again} runs again");
}

#[test]
fn a_host_that_is_killed_at_each_named_moment_keeps_every_promise() {
    if !has_faulty_disk() {
        return;
    }
    let (kills, seed) = (rounds().div_ceil(100), seed());
    let _ = crash_host();
    let each = |at: u64| kill_at(MOMENTS[usize::try_from(at).unwrap()], kills, seed.wrapping_add(at));
    side_by_side(MOMENTS.len() as u64, each);
}
