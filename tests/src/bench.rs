//! What the benches share: a table of ratios from one run, and a look at the disk before and after.
#![expect(clippy::print_stdout, reason = "the table is the result of a bench")]

use std::fs::{self, File};
use std::io::{Seek, SeekFrom, Write};
use std::path::Path;
use std::process::{Command, ExitCode};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// What a line of the table is held against.
#[derive(Clone, Copy)]
pub enum Target {
    /// At most this many times the floor: for what is a cost.
    AtMost(f64),
    /// At least this many times the floor: for what is a rate.
    AtLeast(f64),
    /// At most this much, in the line's unit.
    Absolute(f64),
}

/// One line of the table: a figure of ours beside that of the plainest way to the same result.
pub struct Line {
    /// What is measured.
    pub what: String,
    /// The unit of both figures.
    pub unit: &'static str,
    /// The figure of the plainest way.
    pub floor: f64,
    /// Our figure.
    pub ours: f64,
    /// What is wanted.
    pub target: Target,
}

impl Line {
    fn ratio(&self) -> f64 {
        self.ours / self.floor
    }

    fn is_met(&self) -> bool {
        match self.target {
            Target::AtMost(most) => self.ratio() <= most,
            Target::AtLeast(least) => self.ratio() >= least,
            Target::Absolute(most) => self.ours <= most,
        }
    }

    fn print(&self) {
        let Self { what, unit, floor, ours, target } = self;
        let target = match target {
            Target::AtMost(most) => format!("<= {most:.1} x"),
            Target::AtLeast(least) => format!(">= {least:.1} x"),
            Target::Absolute(most) => format!("<= {most:.1} {unit}"),
        };
        let (floor, ours) = (format!("{floor:.2} {unit}"), format!("{ours:.2} {unit}"));
        let verdict = if self.is_met() { "ok" } else { "missed" };
        println!("{what:<34} {floor:>14} {ours:>14} {:>7.2} {target:>13}  {verdict}", self.ratio());
    }
}

/// Prints the table. With `--check` on the command line the exit code says whether every target is met.
pub fn print(lines: &[Line]) -> ExitCode {
    println!("{:<34} {:>14} {:>14} {:>7} {:>13}", "what", "floor", "ours", "ratio", "target");
    lines.iter().for_each(Line::print);
    let check = std::env::args().any(|argument| argument == "--check");
    if check && !lines.iter().all(Line::is_met) { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

/// Raises this process above everything else on the machine, so that a neighbour's work is not measured, and says whether
/// that worked: it needs the right to. For after the build and before threads are started, which inherit it.
pub fn real_time() {
    let process = std::process::id().to_string();
    let raised = Command::new("chrt").args(["--fifo", "--pid", "50", &process]).output();
    match raised.is_ok_and(|raised| raised.status.success()) {
        true => println!("real-time priority: yes"),
        false => println!("real-time priority: no (needs root and chrt); a busy machine makes the figures worthless"),
    }
}

/// Lets a program run at the usual priority although this one has a higher one.
pub fn usual_priority(command: &mut Command) {
    let mut usual = Command::new("chrt");
    usual.args(["--other", "0"]).arg(command.get_program()).args(command.get_args());
    *command = usual;
}

/// Returns the middle of the values.
#[must_use]
pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// How often each side is measured.
const ROUNDS: usize = 15;

/// Time for which producers produce in one round.
const ROUND: Duration = Duration::from_millis(200);

/// What both sides did in one round.
struct Round {
    floor: f64,
    ours: f64,
    /// Looks at the disk before, between and after them.
    looks: [f64; 3],
}

/// Measures both sides in turn, and makes a line of the round in the middle of those in which the disk was steady. Rounds
/// differ more than sides do, so it is the ratios that are compared.
pub fn compare(
    what: &str,
    target: Target,
    probe: &mut SyncProbe,
    mut floor: impl FnMut() -> f64,
    mut ours: impl FnMut() -> f64,
) -> Line {
    let mut rounds: Vec<Round> = Vec::new();
    for _ in 0..ROUNDS {
        let before = probe.look();
        let floor = floor();
        let between = probe.look();
        let ours = ours();
        rounds.push(Round { floor, ours, looks: [before, between, probe.look()] });
    }
    let mut steady: Vec<&Round> = rounds.iter().filter(|round| SyncProbe::is_steady(&round.looks)).collect();
    steady.sort_by(|a, b| (a.ours / a.floor).total_cmp(&(b.ours / b.floor)));
    // Without a steady round there is no figure, and the target is missed.
    let middle = steady.get(steady.len() / 2);
    let (floor, ours) = middle.map_or((f64::NAN, f64::NAN), |round| (round.floor, round.ours));
    let disk = middle.map_or(f64::NAN, |round| median(round.looks.to_vec()));
    println!("{what}: {} of {ROUNDS} rounds count, raw fdatasync {disk:.0}/s", steady.len());
    Line { what: what.to_owned(), unit: "/s", floor, ours, target }
}

/// Lets threads produce for a while and then waits for `settled`. Returns how often they did in a second, that wait included.
pub fn produced<P: FnMut() + Send>(
    name: &str,
    producers: usize,
    producer: impl Fn() -> P,
    settled: impl FnOnce(u64),
) -> f64 {
    let over = AtomicBool::new(false);
    let produce = |mut produce: P| {
        let mut count = 0_u64;
        while !over.load(Ordering::Relaxed) {
            produce();
            count += 1;
        }
        count
    };
    let start = Instant::now();
    let count = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..producers)
            .map(|_| {
                let (produce, one) = (&produce, producer());
                let thread = std::thread::Builder::new().name(name.to_owned());
                thread.spawn_scoped(scope, move || produce(one)).unwrap()
            })
            .collect();
        while let Some(left) = ROUND.checked_sub(start.elapsed()) {
            std::thread::park_timeout(left);
        }
        over.store(true, Ordering::Relaxed);
        threads.into_iter().map(|thread| thread.join().unwrap()).sum()
    });
    settled(count);
    per_second(count, start.elapsed())
}

/// Waits until something is so, with as little work as possible.
pub fn wait(until: impl Fn() -> bool) {
    while !until() {
        std::thread::park_timeout(Duration::from_micros(50));
    }
}

/// Returns how many that are in a second.
#[expect(clippy::cast_precision_loss, reason = "counts of a fraction of a second")]
#[must_use]
pub fn per_second(count: u64, time: Duration) -> f64 {
    count as f64 / time.as_secs_f64()
}

/// The numbers of producers that a bench measures: those on its command line, or all.
#[must_use]
pub fn producers() -> Vec<usize> {
    let only: Vec<usize> = std::env::args().filter_map(|argument| argument.parse().ok()).collect();
    if only.is_empty() { vec![1, 8, 64] } else { only }
}

/// How fast a disk makes single writes durable, in a file that is there already.
///
/// A neighbour that keeps a processor busy can slow it down twentyfold from one moment to the next, so a bench that syncs
/// looks at it around every round, and counts only the rounds in which all looks saw about the same.
#[derive(Debug)]
pub struct SyncProbe {
    file: File,
    /// Syncs in a second, at each look.
    rates: Vec<f64>,
}

impl SyncProbe {
    /// Bytes of one write: a page.
    const PAGE: usize = 4 << 10;
    /// Pages of the file, which is written round and round.
    const PAGES: u64 = 256;
    /// How long one look takes.
    const LOOK: Duration = Duration::from_millis(100);
    /// The slowest look at a steady disk, as a part of the fastest.
    const STEADY: f64 = 0.5;

    /// Makes the file in `folder`, on the file system that is measured.
    #[must_use]
    pub fn new(folder: &Path) -> Self {
        let path = folder.join("sync-probe");
        fs::write(&path, vec![0; Self::PAGE * usize::try_from(Self::PAGES).unwrap()]).unwrap();
        let file = File::options().write(true).open(path).unwrap();
        file.sync_all().unwrap();
        Self { file, rates: Vec::new() }
    }

    /// Measures once, and returns how many writes are durable in a second.
    pub fn look(&mut self) -> f64 {
        let page = [1; Self::PAGE];
        let (start, mut syncs) = (Instant::now(), 0_u32);
        while start.elapsed() < Self::LOOK {
            let at = u64::from(syncs) % Self::PAGES * Self::PAGE as u64;
            self.file.seek(SeekFrom::Start(at)).unwrap();
            self.file.write_all(&page).unwrap();
            self.file.sync_data().unwrap();
            syncs += 1;
        }
        let rate = f64::from(syncs) / start.elapsed().as_secs_f64();
        self.rates.push(rate);
        rate
    }

    /// Returns whether the disk was the same at each of these looks.
    #[must_use]
    pub fn is_steady(looks: &[f64]) -> bool {
        let (slowest, fastest) = range(looks);
        slowest >= Self::STEADY * fastest
    }

    /// Says what was seen.
    pub fn print(&self) {
        let (slowest, fastest) = range(&self.rates);
        println!("raw fdatasync: {slowest:.0} to {fastest:.0} a second, mostly {:.0}", median(self.rates.clone()));
    }
}

fn range(values: &[f64]) -> (f64, f64) {
    values.iter().fold((f64::INFINITY, 0.0), |(least, most), value| (value.min(least), value.max(most)))
}
