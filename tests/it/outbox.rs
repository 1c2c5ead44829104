//! Events that an application announces inside transactions of its own database.

use std::path::Path;
use std::sync::{Arc, Mutex};

use rusqlite::Connection;
use serde_json::Value;
use switchboard::outbox::{Outbox, SQLITE_TABLE};
use switchboard::{BuiltIn, CallHost, Payload, PluginError, Switchboard, TriggerNumber};
use switchboard_tests::{Site, wait_until};

/// A watcher that notes what was announced.
#[derive(Default)]
pub(crate) struct Announced(Mutex<Vec<(String, i64)>>);

impl BuiltIn for Announced {
    fn call(&self, _host: &dyn CallHost, input: &[u8]) -> Result<Payload, PluginError> {
        let end: Value = serde_json::from_slice(input)?;
        let events = end["announced"].as_array().unwrap().iter();
        let seen = events.map(|event| (event["event"].as_str().unwrap().to_owned(), event["owner"].as_i64().unwrap()));
        self.0.lock().unwrap().extend(seen);
        Ok(Payload::from(b"null".to_vec()))
    }
}

impl Announced {
    pub(crate) fn names(&self) -> Vec<String> {
        self.0.lock().unwrap().iter().map(|(name, _)| name.clone()).collect()
    }
}

fn database(path: &Path) -> Connection {
    let database = Connection::open(path).unwrap();
    database.execute_batch(SQLITE_TABLE).unwrap();
    database
}

fn insert(database: &Connection, event: &str, data: &str) {
    let sql = "INSERT INTO switchboard_outbox (event, owner, data) VALUES (?, 62, ?)";
    database.execute(sql, (event, data)).unwrap();
}

fn rows(database: &Connection) -> i64 {
    database.query_row("SELECT count(*) FROM switchboard_outbox", [], |row| row.get(0)).unwrap()
}

/// A host with a watcher that empties an outbox.
pub(crate) fn host(site: &Site, outbox: Outbox) -> (Switchboard, Arc<Announced>) {
    let announced = Arc::new(Announced::default());
    let watcher = Arc::clone(&announced) as Arc<dyn BuiltIn>;
    let host = Switchboard::builder(site.path()).watch(false).built_in(TriggerNumber::new(99_994), "test", watcher);
    (host.outbox(outbox).open().unwrap(), announced)
}

#[test]
fn what_a_transaction_wrote_is_announced_when_it_commits_and_never_when_it_does_not() {
    let site = Site::new();
    let path = site.path().join("application.db");
    let mut database = database(&path);
    let (host, announced) = host(&site, Outbox::sqlite(&path));
    let transaction = database.transaction().unwrap();
    insert(&transaction, "booking_cancelled", "{}");
    transaction.rollback().unwrap();
    let transaction = database.transaction().unwrap();
    insert(&transaction, "booking_added", r#"{"property_uid":7}"#);
    insert(&transaction, "booking_added", r#"{"property_uid":7}"#);
    transaction.commit().unwrap();
    host.wake_outbox();
    wait_until("the rows to be taken", || rows(&database) == 0);
    let both = ("booking_added".to_owned(), 62);
    assert_eq!(*announced.0.lock().unwrap(), [both.clone(), both], "two rows are two events");
}

#[test]
fn a_row_that_cannot_be_announced_stays_with_the_reason_and_goes_when_it_is_mended() {
    let site = Site::new();
    let path = site.path().join("application.db");
    let database = database(&path);
    insert(&database, "booking_added", "no JSON");
    insert(&database, "a name with spaces", "{}");
    insert(&database, "room_added", "{}");
    let (host, announced) = host(&site, Outbox::sqlite(&path));
    wait_until("the good row to be taken", || rows(&database) == 2);
    assert_eq!(announced.names(), ["room_added"]);
    let reason = |event: &str| -> String {
        let sql = "SELECT refused FROM switchboard_outbox WHERE event = ?";
        database.query_row(sql, [event], |row| row.get(0)).unwrap()
    };
    assert!(reason("booking_added").contains("no JSON") || reason("booking_added").contains("not JSON"));
    assert!(reason("a name with spaces").contains("no event name"));
    database
        .execute("UPDATE switchboard_outbox SET data = '{}', refused = NULL WHERE event = 'booking_added'", [])
        .unwrap();
    host.wake_outbox();
    wait_until("the mended row to be taken", || rows(&database) == 1);
    assert_eq!(announced.names(), ["room_added", "booking_added"]);
}

#[test]
fn a_row_whose_event_is_on_disk_already_is_not_announced_again() {
    let site = Site::new();
    let path = site.path().join("application.db");
    let database = database(&path);
    let (host, announced) = host(&site, Outbox::sqlite(&path));
    let sql = "INSERT INTO switchboard_outbox (event, event_id) VALUES ('booking_added', 'msg_ONE')";
    // The second row is what a host leaves behind that ends after the commit and before it has removed the first.
    for _ in 0..2 {
        database.execute(sql, []).unwrap();
        host.wake_outbox();
        wait_until("the row to be taken", || rows(&database) == 0);
    }
    assert_eq!(announced.names(), ["booking_added"]);
}

#[test]
fn an_outbox_that_is_not_there_yet_is_taken_up_when_it_is() {
    let site = Site::new();
    let path = site.path().join("application.db");
    let (host, announced) = host(&site, Outbox::sqlite(&path));
    site.wait_for_log("Webhooks", "an outbox cannot be emptied");
    let database = database(&path);
    insert(&database, "booking_added", "{}");
    wait_until("the row to be taken", || {
        host.wake_outbox();
        rows(&database) == 0
    });
    assert_eq!(announced.names(), ["booking_added"]);
}
