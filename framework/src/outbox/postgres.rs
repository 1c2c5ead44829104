//! An outbox in a PostgreSQL database.

use std::sync::Arc;
use std::time::Duration;

use tokio_postgres::{Client, Error};

use super::{Row, Source, SourceError, Taken};
use crate::runtime::AsyncRuntime;
use crate::store::postgres::client;

/// Makes the table of an outbox in the application's PostgreSQL database (14 or newer), and a trigger that tells the hosts
/// of new rows; does nothing where both are.
///
/// `event` is the event's name, `owner` the owner of the subject that it is about (0 is the whole site), `task` the
/// application's task, and `data` the event's properties as a JSON object. The other columns are the host's. Without the
/// trigger, a host finds the rows when it looks, once a second.
pub const POSTGRES_TABLE: &str = "
CREATE TABLE IF NOT EXISTS switchboard_outbox (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    event text NOT NULL,
    owner bigint NOT NULL DEFAULT 0,
    task text,
    data text NOT NULL DEFAULT '{}',
    event_id text NOT NULL DEFAULT 'msg_' || replace(gen_random_uuid()::text, '-', ''),
    refused text
);
CREATE OR REPLACE FUNCTION switchboard_outbox_tell() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN NOTIFY switchboard_outbox; RETURN NULL; END
$$;
CREATE OR REPLACE TRIGGER switchboard_outbox_tell AFTER INSERT OR UPDATE ON switchboard_outbox
    FOR EACH STATEMENT EXECUTE FUNCTION switchboard_outbox_tell();";

/// Longest wait for an answer of the server.
const TIMEOUT: Duration = Duration::from_secs(15);

/// Rows are locked from [`Source::next`] to [`Source::settle`], so that of several hosts each row is one's.
pub(super) struct PostgresOutbox {
    client: Arc<Client>,
    runtime: AsyncRuntime,
}

impl PostgresOutbox {
    /// Connects; `wake` is called when a transaction wrote into the outbox.
    pub(super) fn open(
        url: &str,
        runtime: &AsyncRuntime,
        wake: impl Fn() + Send + 'static,
    ) -> Result<Self, SourceError> {
        let url = url.to_owned();
        let client = wait(runtime, async move {
            let client = client::connect(&url, "outbox", move |_| wake()).await?;
            client.batch_execute("LISTEN switchboard_outbox").await?;
            Ok::<_, SourceError>(client)
        })?;
        Ok(Self { client: Arc::new(client), runtime: runtime.clone() })
    }
}

/// Waits for the server, but not for ever.
fn wait<V, E>(
    runtime: &AsyncRuntime,
    work: impl Future<Output = Result<V, E>> + Send + 'static,
) -> Result<V, SourceError>
where
    V: Send + 'static,
    E: Into<SourceError> + Send + 'static,
{
    match runtime.wait(async move { tokio::time::timeout(TIMEOUT, work).await }) {
        Some(Ok(result)) => result.map_err(Into::into),
        Some(Err(_)) => Err("the server did not answer in time".into()),
        None => Err("the host is stopping".into()),
    }
}

impl Source for PostgresOutbox {
    fn next(&mut self, limit: u32) -> Result<Vec<Row>, SourceError> {
        let client = Arc::clone(&self.client);
        let limit = i64::from(limit);
        wait(&self.runtime, async move {
            client.batch_execute("BEGIN").await?;
            let sql = "SELECT id, event_id, event, owner, task, data FROM switchboard_outbox WHERE refused IS NULL
                       ORDER BY id LIMIT $1 FOR UPDATE SKIP LOCKED";
            let rows = client.query(sql, &[&limit]).await?;
            if rows.is_empty() {
                client.batch_execute("COMMIT").await?;
            }
            let read = |row: &tokio_postgres::Row| {
                Ok(Row {
                    id: row.try_get(0)?,
                    event_id: row.try_get(1)?,
                    event: row.try_get(2)?,
                    owner: row.try_get(3)?,
                    task: row.try_get(4)?,
                    data: row.try_get(5)?,
                })
            };
            rows.iter().map(read).collect::<Result<Vec<Row>, Error>>()
        })
    }

    fn settle(&mut self, taken: &[Taken]) -> Result<(), SourceError> {
        let client = Arc::clone(&self.client);
        let (mut announced, mut refused, mut reasons) = (Vec::new(), Vec::new(), Vec::new());
        for one in taken {
            match one {
                Taken::Announced(id) => announced.push(*id),
                Taken::Refused(id, reason) => {
                    refused.push(*id);
                    // What the server cannot keep in a text.
                    reasons.push(reason.replace('\0', "\u{fffd}"));
                }
            }
        }
        wait(&self.runtime, async move {
            client.execute("DELETE FROM switchboard_outbox WHERE id = ANY($1)", &[&announced]).await?;
            let sql = "UPDATE switchboard_outbox SET refused = one.reason
                       FROM unnest($1::bigint[], $2::text[]) AS one (id, reason)
                       WHERE switchboard_outbox.id = one.id";
            if !refused.is_empty() {
                client.execute(sql, &[&refused, &reasons]).await?;
            }
            client.batch_execute("COMMIT").await
        })
    }
}
