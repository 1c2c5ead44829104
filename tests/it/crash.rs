//! A host program is killed again and again, at random moments: while it starts, accepts, runs, ends, recovers and stops.
//! A witness outside of it keeps what it acknowledged and what its handlers did, and holds the store to both.
//!
//! `SWITCHBOARD_CRASH_ROUNDS` sets the number of rounds (500), `SWITCHBOARD_CRASH_SEED` repeats a run.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::Value;
use switchboard::store::{Attempt, Care, SqliteStore, Task, TaskFilter, TaskId, TaskState, TaskStore};
use switchboard_tests::{CrashHost, Line, PATIENCE, crash_host};
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

/// Does some rounds on a site of its own. Returns how many tasks ended, and how often one was run again.
fn rounds_on_a_site(count: u64, seed: u64) -> (u64, u64) {
    let site = TempDir::new().unwrap();
    std::fs::write(site.path().join("switchboard.toml"), SETTINGS).unwrap();
    let path = site.path().join("switchboard.db");
    let mut random = fastrand::Rng::with_seed(seed);
    let mut witness = Witness::default();
    for number in 0..count {
        round(site.path(), &mut random, number, &mut witness);
        if !path.exists() {
            assert!(witness.acknowledged.is_empty());
            continue;
        }
        let store = SqliteStore::open_to_read(&path).unwrap();
        if witness.acknowledged.is_empty() && store.task_counts().is_err() {
            // Killed before it had made its tables.
            continue;
        }
        witness.look(&store);
        if number % 25 == 0 {
            assert_eq!(store.check().unwrap(), Vec::<String>::new(), "round {number}");
        }
    }
    let host = CrashHost::start(CrashHost::command(crash_host(), site.path(), "drain", 0, count * NUMBERS));
    host.wait().into_iter().for_each(|line| witness.hear(line));
    let store = SqliteStore::open_to_read(&path).unwrap();
    witness.ended_up_to = 0;
    witness.look(&store);
    let again = witness.conclude(&store);
    (store.task_counts().unwrap().done, again)
}

#[test]
fn a_host_that_is_killed_at_any_moment_keeps_every_promise() {
    let rounds = std::env::var("SWITCHBOARD_CRASH_ROUNDS").map_or(ROUNDS, |rounds| rounds.parse().unwrap());
    let seed = seed();
    let _ = crash_host();
    let sites: Vec<(u64, u64)> = std::thread::scope(|threads| {
        let sites: Vec<_> = (0..SITES)
            .map(|site| threads.spawn(move || rounds_on_a_site(rounds.div_ceil(SITES), seed.wrapping_add(site))))
            .collect();
        sites.into_iter().map(|site| site.join().unwrap()).collect()
    });
    let (done, again) = sites.iter().fold((0, 0), |(done, again), site| (done + site.0, again + site.1));
    // Else the rounds have not met what they are for.
    assert!(done > rounds && again > 0, "{done} tasks done, {again} runs again");
}
