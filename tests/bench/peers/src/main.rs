//! `apalis` with its SQLite backend, as the bench `deferred` measures itself against it.
//!
//! The argument is a folder. For each line with a number of producers on standard input, that many push tasks of 1 KiB for a
//! fifth of a second, each waiting for its own; when all of them have run, the line on standard output says how many that
//! were in a second, waiting included. The settings are the durable ones: `setup` of the backend turns syncing off on the
//! connection that it runs on, so it is given a pool of its own, and every connection of the pool that works has
//! `synchronous=FULL`.

use std::io::{BufRead, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use apalis::prelude::*;
use apalis_sqlite::{Config, SqliteConnectOptions, SqlitePool, SqlitePoolOptions, SqliteStorage};

/// Time for which producers produce.
const ROUND: Duration = Duration::from_millis(200);

/// Bytes of a task's input.
const PAYLOAD_BYTES: usize = 1 << 10;

/// How often the worker looks for tasks, and how many it takes at once: of those tried, the best for it.
const POLL: Duration = Duration::from_millis(5);
const BATCH: usize = 100;

static DONE: AtomicU64 = AtomicU64::new(0);

async fn nothing(_input: String) -> Result<(), BoxDynError> {
    DONE.fetch_add(1, Ordering::Relaxed);
    Ok(())
}

async fn pool(folder: &str) -> SqlitePool {
    let url = format!("sqlite://{folder}/apalis.db");
    let options: SqliteConnectOptions = url.parse().expect("the folder is part of a URL");
    let options = options
        .create_if_missing(true)
        .pragma("journal_mode", "WAL")
        .pragma("synchronous", "FULL")
        .pragma("busy_timeout", "10000");
    SqlitePoolOptions::new().max_connections(8).connect_with(options).await.expect("the database can be opened")
}

#[tokio::main]
async fn main() {
    let folder = std::env::args().nth(1).expect("the argument is a folder");
    let unsynced = pool(&folder).await;
    SqliteStorage::setup(&unsynced).await.expect("the tables can be made");
    unsynced.close().await;
    let pool = pool(&folder).await;
    let storage: SqliteStorage<String> =
        SqliteStorage::new(&pool).with_config(Config::default().queue("bench").batch_size(BATCH));
    let worker = WorkerBuilder::new("bench").backend(storage.clone().poll_with_interval(POLL)).build(nothing);
    tokio::spawn(worker.run());
    let mut pushed = 0;
    for line in std::io::stdin().lock().lines() {
        let producers: usize = line.expect("standard input is text").trim().parse().expect("a line is a number");
        let start = Instant::now();
        let tasks: Vec<_> = (0..producers).map(|_| tokio::spawn(push(storage.clone(), start + ROUND))).collect();
        let mut count = 0;
        for task in tasks {
            count += task.await.expect("a producer does not panic");
        }
        pushed += count;
        while DONE.load(Ordering::Relaxed) < pushed {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        println!("{}", count as f64 / start.elapsed().as_secs_f64());
        std::io::stdout().flush().expect("somebody reads");
    }
}

async fn push(mut storage: SqliteStorage<String>, until: Instant) -> u64 {
    let mut count = 0;
    while Instant::now() < until {
        storage.push("r".repeat(PAYLOAD_BYTES)).await.expect("a task is taken");
        count += 1;
    }
    count
}
