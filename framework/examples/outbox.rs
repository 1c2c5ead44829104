//! A booking and its event in one transaction of the application's own database.
//!
//! `cargo run -p switchboard --example outbox` makes two bookings in a folder of its own: one is committed, and its event
//! announced; the other is rolled back, and nobody hears of it.
#![expect(clippy::print_stdout, reason = "an example shows what it did")]

use std::error::Error;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rusqlite::{Connection, Transaction};
use switchboard::outbox::{Outbox, SQLITE_TABLE};
use switchboard::{BuiltIn, CallHost, Payload, PluginError, Switchboard, TriggerNumber};

/// 99994: watchers look at what a run announced.
const AFTER_RUN: TriggerNumber = TriggerNumber::new(99_994);

/// A watcher that writes down what was announced, as a host application could for its own log.
#[derive(Default)]
struct Announced(Mutex<Vec<String>>);

impl BuiltIn for Announced {
    fn call(&self, _host: &dyn CallHost, input: &[u8]) -> Result<Payload, PluginError> {
        let end: serde_json::Value = serde_json::from_slice(input)?;
        let events = end["announced"].as_array().into_iter().flatten();
        let names = events.filter_map(|event| event["event"].as_str()).map(str::to_owned);
        self.0.lock().map_err(|_| PluginError::retryable("a watcher panicked"))?.extend(names);
        Ok(Payload::from(b"null".to_vec()))
    }
}

fn book(transaction: &Transaction<'_>, property: i64, guest: &str) -> Result<(), Box<dyn Error>> {
    transaction.execute("INSERT INTO booking (property, guest) VALUES (?, ?)", (property, guest))?;
    let data = serde_json::json!({ "property_uid": property, "guest": guest }).to_string();
    let sql =
        "INSERT INTO switchboard_outbox (event, owner, task, data) VALUES ('booking_added', ?, 'save_booking', ?)";
    transaction.execute(sql, (62, data))?;
    Ok(())
}

fn main() -> Result<(), Box<dyn Error>> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("application.db");
    let mut database = Connection::open(&path)?;
    database.execute_batch("CREATE TABLE booking (property INTEGER, guest TEXT);")?;
    database.execute_batch(SQLITE_TABLE)?;

    let data = folder.path().join("switchboard-data");
    let announced = Arc::new(Announced::default());
    let switchboard = Switchboard::builder(data)
        .built_in(AFTER_RUN, "example", Arc::clone(&announced) as Arc<dyn BuiltIn>)
        .outbox(Outbox::sqlite(&path))
        .open()?;

    let transaction = database.transaction()?;
    book(&transaction, 7, "Ada")?;
    transaction.commit()?;
    switchboard.wake_outbox(); // without it, the host looks once a second

    let transaction = database.transaction()?;
    book(&transaction, 8, "Grace")?;
    transaction.rollback()?;

    // The row goes once its event is on disk.
    let deadline = Instant::now() + Duration::from_secs(30);
    let rows = || -> rusqlite::Result<i64> {
        database.query_row("SELECT count(*) FROM switchboard_outbox", [], |row| row.get(0))
    };
    while rows()? > 0 {
        if Instant::now() > deadline {
            return Err("the event was not taken in 30 seconds".into());
        }
        std::thread::park_timeout(Duration::from_millis(10));
    }
    let bookings: i64 = database.query_row("SELECT count(*) FROM booking", [], |row| row.get(0))?;
    println!("bookings: {bookings}");
    println!("announced: {}", announced.0.lock().map_err(|_| "a watcher panicked")?.join(", "));
    switchboard.stop();
    Ok(())
}
