//! The power fails right before and right after every sync of a workload: the store opens, is whole, and has everything that
//! had been acknowledged. `SWITCHBOARD_CRASH_SEED` repeats a run.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use switchboard::store::{Care, SqliteStore, TaskFilter, TaskState, TaskStore};
use switchboard_tests::{
    CrashHost, Disk, FaultyDisk, Happening, Line, PATIENCE, Unsynced, crash_host, has_faulty_disk, read_journal,
    weakened_crash_host,
};
use tempfile::TempDir;

/// A finished workload.
struct Workload {
    happenings: Vec<Happening>,
    lines: Vec<Line>,
    seed: u64,
}

/// Runs the host program on its store; `during` may let the disk fail meanwhile.
fn run(program: &Path, during: impl FnOnce(&CrashHost, &FaultyDisk) -> Vec<Line>) -> Workload {
    let seed = crate::crash::seed();
    let folder = TempDir::new().unwrap();
    let disk = FaultyDisk::new();
    let mut command = CrashHost::command(program, folder.path(), "store", seed, 1);
    let journal = disk.put_before_with_journal(&mut command, folder.path());
    let host = CrashHost::start(command);
    let mut lines = during(&host, &disk);
    lines.extend(host.wait());
    assert_eq!(lines.last(), Some(&Line::Stopped), "seed {seed}");
    Workload { happenings: read_journal(&journal, folder.path()), lines, seed }
}

/// What had been acknowledged up to a moment: tasks, and whether each was said to be done.
type Acknowledged = BTreeMap<i64, bool>;

/// Cuts the power at every sync and after everything that was said. Returns what was wrong after it, the first few findings
/// with their moments, and the number of cuts.
fn cut_at_every_sync(workload: &Workload) -> (Vec<String>, usize) {
    let mut cutting = Cutting::default();
    for (moment, happening) in workload.happenings.iter().enumerate() {
        if let Happening::Sync(_) | Happening::SyncFailed(_) = happening {
            cutting.cut(&format!("before happening {moment}"), Unsynced::Gone);
            cutting.cut(&format!("before happening {moment}"), Unsynced::Some(workload.seed ^ moment as u64));
            cutting.disk.happen(happening);
            cutting.cut(&format!("after happening {moment}"), Unsynced::Kept);
            continue;
        }
        cutting.disk.happen(happening);
        if let Happening::Print(text) = happening {
            text.lines().for_each(|line| cutting.hear(&Line::read(line)));
            // The moment at which most has been promised and least has been written.
            cutting.cut(&format!("after happening {moment}"), Unsynced::Gone);
        }
        if cutting.wrong.len() > 5 {
            break;
        }
    }
    (cutting.wrong, cutting.cuts)
}

#[derive(Default)]
struct Cutting {
    disk: Disk,
    acknowledged: Acknowledged,
    wrong: Vec<String>,
    cuts: usize,
}

impl Cutting {
    fn hear(&mut self, line: &Line) {
        match line {
            Line::Accepted(_, id, _) => {
                self.acknowledged.insert(*id, false);
            }
            Line::Ended(id, _) => {
                self.acknowledged.insert(*id, true);
            }
            _ => {}
        }
    }

    fn cut(&mut self, moment: &str, unsynced: Unsynced) {
        self.cuts += 1;
        let found = look_after(&self.disk, unsynced, &self.acknowledged);
        self.wrong.extend(found.map(|found| format!("{moment}, what is not synced {unsynced:?}: {found}")));
    }
}

/// Opens what a power cut leaves, and returns what is wrong with it.
fn look_after(disk: &Disk, unsynced: Unsynced, acknowledged: &Acknowledged) -> Option<String> {
    let folder = TempDir::new().unwrap();
    disk.cut(folder.path(), unsynced);
    let path = folder.path().join("switchboard.db");
    if acknowledged.is_empty() && !path.exists() {
        return None;
    }
    let store = match SqliteStore::open(&path) {
        Ok(store) => store,
        Err(error) => return Some(switchboard::error::Chain(&error).to_string()),
    };
    // Runs whose start or end is not on disk are taken up; what is wrong then is wrong for good.
    store.recover(switchboard::store::Timestamp(9), 3).unwrap();
    let wrong = store.check().unwrap();
    if !wrong.is_empty() {
        return Some(wrong.join("; "));
    }
    let tasks = store.tasks(&TaskFilter { limit: 100_000, ..TaskFilter::default() }).unwrap();
    let states: BTreeMap<i64, TaskState> = tasks.iter().map(|task| (task.id.0, task.state)).collect();
    for (id, done) in acknowledged {
        match states.get(id) {
            None => return Some(format!("task {id} was acknowledged and is lost")),
            Some(state) if *done && *state != TaskState::Done => {
                return Some(format!("task {id} was done and is {state} again"));
            }
            Some(_) => {}
        }
    }
    None
}

fn until_it_ends(host: &CrashHost) -> Vec<Line> {
    std::iter::from_fn(|| host.next(PATIENCE)).collect()
}

#[test]
fn a_power_cut_at_any_sync_loses_nothing_that_was_acknowledged() {
    if !has_faulty_disk() {
        return;
    }
    let workload = run(crash_host(), |host, _| until_it_ends(host));
    let accepted = workload.lines.iter().filter(|line| matches!(line, Line::Accepted(..))).count();
    let moved = |happening: &&Happening| matches!(happening, Happening::Write(file, ..) if file == "switchboard.db");
    let moved = workload.happenings.iter().filter(moved).count();
    assert!(accepted >= 40 && moved > 300, "{accepted} tasks, {moved} writes to the database: too little to tell");
    let (wrong, cuts) = cut_at_every_sync(&workload);
    assert!(wrong.is_empty(), "seed {}: {wrong:#?}", workload.seed);
    assert!(cuts > 150, "{cuts}");
}

#[test]
fn a_store_that_does_not_sync_is_found_out() {
    if !has_faulty_disk() {
        return;
    }
    let workload = run(weakened_crash_host(), |host, _| until_it_ends(host));
    assert_eq!(workload.lines[0], Line::Begun(true));
    let (wrong, _) = cut_at_every_sync(&workload);
    assert!(wrong.iter().any(|wrong| wrong.contains("was acknowledged and is lost")), "{wrong:#?}");
}

#[test]
fn a_power_cut_after_syncs_that_failed_loses_nothing_that_was_acknowledged() {
    if !has_faulty_disk() {
        return;
    }
    let workload = run(crash_host(), |host, disk| {
        let mut lines = Vec::new();
        let mut random = fastrand::Rng::with_seed(crate::crash::seed());
        // While a sync fails, work is refused; between that, it goes on.
        for _ in 0..4 {
            let wanted = random.usize(2..6);
            let accepted = |lines: &[Line]| lines.iter().filter(|line| matches!(line, Line::Accepted(..))).count();
            let before = accepted(&lines);
            while accepted(&lines) < before + wanted
                && let Some(line) = host.next(PATIENCE)
            {
                lines.push(line);
            }
            disk.fail("sync", &random.u8(0..3).to_string());
            let refused = |line: &Line| matches!(line, Line::Refused(_) | Line::Stopped);
            while let Some(line) = host.next(Duration::from_millis(200)) {
                lines.push(line);
                if lines.last().is_some_and(refused) {
                    break;
                }
            }
            disk.mend("sync");
        }
        lines.extend(until_it_ends(host));
        lines
    });
    let failed = workload.happenings.iter().filter(|one| matches!(one, Happening::SyncFailed(_))).count();
    assert!(failed > 0, "no sync failed");
    assert!(workload.lines.iter().any(|line| matches!(line, Line::Refused(_))), "nothing was refused");
    let (wrong, _) = cut_at_every_sync(&workload);
    assert!(wrong.is_empty(), "seed {}, {failed} syncs failed: {wrong:#?}", workload.seed);
}
