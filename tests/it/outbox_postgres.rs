//! Events that an application announces inside transactions of its own PostgreSQL database.

use std::collections::HashSet;
use std::process::Command;
use std::time::{Duration, Instant};

use switchboard::outbox::{Outbox, POSTGRES_TABLE};
use switchboard_tests::{Database, Site, example, wait_until};

use crate::outbox::host;

/// Time from one look of a host into an outbox to the next, when nobody tells it that there is something.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// A database with an outbox.
fn application() -> Option<Database> {
    let database = Database::fresh()?;
    // Twice does no harm.
    database.batch(POSTGRES_TABLE);
    database.batch(POSTGRES_TABLE);
    Some(database)
}

fn outbox(database: &Database) -> Outbox {
    Outbox::postgres(database.in_schema())
}

fn insert(database: &Database, event: &str, data: &str) {
    database.batch(&format!("INSERT INTO switchboard_outbox (event, owner, data) VALUES ('{event}', 62, '{data}')"));
}

fn rows(database: &Database) -> i64 {
    database.column("SELECT count(*) FROM switchboard_outbox")[0]
}

#[test]
fn what_a_transaction_wrote_is_announced_when_it_commits_and_the_server_says_so() {
    let Some(database) = application() else { return };
    let site = Site::new();
    let (_host, announced) = host(&site, outbox(&database));
    database.batch("BEGIN; INSERT INTO switchboard_outbox (event) VALUES ('booking_cancelled'); ROLLBACK");
    let mut expected = Vec::new();
    let mut before = Instant::now();
    wait_until("two looks that are closer together than looks of which nobody told", || {
        let began = Instant::now();
        insert(&database, &format!("booking_{}", expected.len()), r#"{"property_uid":7}"#);
        expected.push(format!("booking_{}", expected.len()));
        wait_until("the row to be taken", || rows(&database) == 0);
        // The look that took the row before came after that was begun, and this one has been.
        let closer = before.elapsed() < LOOK_EVERY && expected.len() > 1;
        before = began;
        closer
    });
    assert_eq!(announced.names(), expected);
}

#[test]
fn of_several_hosts_each_row_is_announced_by_one() {
    let Some(database) = application() else { return };
    let sites = [Site::new(), Site::new()];
    let hosts = sites.each_ref().map(|site| host(site, outbox(&database)));
    for batch in 0..6 {
        let values: Vec<String> = (0..40).map(|row| format!("('booking_{batch}_{row}')")).collect();
        database.batch(&format!("INSERT INTO switchboard_outbox (event) VALUES {}", values.join(", ")));
    }
    wait_until("the rows to be taken", || rows(&database) == 0);
    let names: Vec<String> = hosts.iter().flat_map(|(_, announced)| announced.names()).collect();
    assert_eq!((names.len(), names.iter().collect::<HashSet<_>>().len()), (240, 240));
}

#[test]
fn a_row_that_cannot_be_announced_stays_with_the_reason_and_a_broken_connection_is_made_again() {
    let Some(database) = application() else { return };
    let site = Site::new();
    insert(&database, "booking_added", "no JSON");
    insert(&database, "room_added", "{}");
    let (_host, announced) = host(&site, outbox(&database));
    wait_until("the good row to be taken", || rows(&database) == 1);
    let reason: Vec<String> = database.column("SELECT refused FROM switchboard_outbox");
    assert!(reason[0].contains("JSON"), "{reason:?}");
    // Other tests have outboxes on the same server.
    let end = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
               WHERE application_name = 'switchboard outbox ' || current_schema()";
    assert_eq!(database.column::<bool>(end), [true]);
    database.batch("UPDATE switchboard_outbox SET data = '{}', refused = NULL");
    wait_until("the mended row to be taken", || rows(&database) == 0);
    assert_eq!(announced.names(), ["room_added", "booking_added"]);
}

/// `framework/examples/outbox_postgres.rs`: a booking and its event in one transaction.
#[test]
fn the_example_announces_what_was_committed_and_nothing_else() {
    let Some(database) = application() else { return };
    let shown = Command::new(example("outbox_postgres")).arg(database.on_search_path()).output().unwrap();
    let printed = String::from_utf8(shown.stdout).unwrap();
    assert!(shown.status.success(), "{printed}{}", String::from_utf8_lossy(&shown.stderr));
    assert_eq!(printed, "bookings: 1\nannounced: booking_added\n");
}
