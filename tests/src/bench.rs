//! What the benches share: a table of ratios from one run, and a look at the disk before and after.
#![expect(clippy::print_stdout, reason = "the table is the result of a bench")]

use std::fs::{self, File};
use std::io::{Seek, SeekFrom, Write};
use std::path::Path;
use std::process::ExitCode;
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

/// Returns the middle of the values.
#[must_use]
pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
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
