//! A booking and its event in one transaction of the application's own PostgreSQL database.
//!
//! `cargo run -p switchboard --features postgres --example outbox_postgres -- postgres://user:password@host/database` makes
//! the tables and two bookings: one is committed, and its event announced; the other is rolled back, and nobody hears of it.
#![expect(clippy::print_stdout, reason = "an example shows what it did")]

use std::error::Error;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use switchboard::outbox::{Outbox, POSTGRES_TABLE};
use switchboard::{BuiltIn, CallHost, Payload, PluginError, Switchboard, TriggerNumber};
use tokio_postgres::{NoTls, Transaction};

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

async fn book(transaction: &Transaction<'_>, property: i64, guest: &str) -> Result<(), Box<dyn Error>> {
    transaction.execute("INSERT INTO booking (property, guest) VALUES ($1, $2)", &[&property, &guest]).await?;
    let data = serde_json::json!({ "property_uid": property, "guest": guest }).to_string();
    let sql = "INSERT INTO switchboard_outbox (event, owner, task, data)
               VALUES ('booking_added', $1, 'save_booking', $2)";
    transaction.execute(sql, &[&62_i64, &data]).await?;
    Ok(())
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let url = std::env::args().nth(1).ok_or("the URL of a PostgreSQL database is missing")?;
    let (mut database, connection) = tokio_postgres::connect(&url, NoTls).await?;
    tokio::spawn(connection);
    database.batch_execute("CREATE TABLE IF NOT EXISTS booking (property bigint, guest text)").await?;
    database.batch_execute(POSTGRES_TABLE).await?;

    let folder = tempfile::tempdir()?;
    let announced = Arc::new(Announced::default());
    let switchboard = Switchboard::builder(folder.path().join("switchboard-data"))
        .built_in(AFTER_RUN, "example", Arc::clone(&announced) as Arc<dyn BuiltIn>)
        .outbox(Outbox::postgres(&url))
        .open()?;

    let transaction = database.transaction().await?;
    book(&transaction, 7, "Ada").await?;
    transaction.commit().await?; // the server tells the host

    let transaction = database.transaction().await?;
    book(&transaction, 8, "Grace").await?;
    transaction.rollback().await?;

    // The row goes once its event is on disk.
    let deadline = Instant::now() + Duration::from_secs(30);
    while database.query_one("SELECT count(*) FROM switchboard_outbox", &[]).await?.get::<_, i64>(0) > 0 {
        if Instant::now() > deadline {
            return Err("the event was not taken in 30 seconds".into());
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let bookings: i64 = database.query_one("SELECT count(*) FROM booking", &[]).await?.get(0);
    println!("bookings: {bookings}");
    println!("announced: {}", announced.0.lock().map_err(|_| "a watcher panicked")?.join(", "));
    switchboard.stop();
    Ok(())
}
