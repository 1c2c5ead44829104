//! The plainest durable queue on PostgreSQL: one connection, and one transaction of three statements over arrays for
//! whatever has come in the meantime.

use tokio::runtime::Runtime;
use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, NoTls, Statement};

const ACCEPT: &str =
    "INSERT INTO task (number, name, key, payload, state, attempts, attempts_before, crashes, run_at, lease,
        created_at, updated_at, priority, ordered)
    SELECT 22001, 'echo', key, payload, 0, 0, 0, 0, 1, 0, 1, 1, 1, false FROM unnest($1::text[], $2::bytea[])
        AS new (key, payload) RETURNING id";

const CLAIM: &str = "WITH begun AS (UPDATE task SET state = 1, attempts = 1, lease = 1, updated_at = 1
        WHERE id = ANY($1::bigint[]) AND state + 0 = 0 RETURNING id)
    INSERT INTO attempt (task, lease, number, mode, started_at) SELECT id, 1, 1, 'deferred', 1 FROM begun";

const FINISH: &str = "WITH ended AS (UPDATE task SET state = 3, holder = NULL, payload = NULL, updated_at = 2
        WHERE id = ANY($1::bigint[]) AND lease = 1 AND state + 0 = 1 RETURNING id)
    UPDATE attempt SET ended_at = 2, outcome = 'ok' FROM ended WHERE attempt.task = ended.id AND attempt.lease = 1";

/// A connection to a database whose tables a host has made.
pub(crate) struct Queue {
    runtime: Runtime,
    client: Client,
    statements: [Statement; 3],
    payload: Vec<u8>,
    number: u64,
}

impl Queue {
    /// `url` is that of the server; the tables are in `schema`.
    pub(crate) fn open(url: &str, schema: &str, payload_bytes: usize) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let (client, statements) = runtime.block_on(async {
            let (client, connection) = tokio_postgres::connect(url, NoTls).await.unwrap();
            tokio::spawn(connection);
            client.batch_execute(&format!("SET search_path = {schema}; SET synchronous_commit = on; SET enable_seqscan TO off; SET enable_hashjoin TO off;
                SET enable_mergejoin TO off; SET jit TO off")).await.unwrap();
            let prepare = |sql| client.prepare(sql);
            let (accept, claim, finish) = tokio::try_join!(prepare(ACCEPT), prepare(CLAIM), prepare(FINISH)).unwrap();
            (client, [accept, claim, finish])
        });
        Self { runtime, client, statements, payload: vec![b'r'; payload_bytes], number: 0 }
    }

    /// Ends, claims and accepts tasks in one transaction, all of which is sent at once. Returns the ids of the new ones.
    pub(crate) fn commit(&mut self, claimed: &[i64], accepted: &[i64], new: usize) -> Vec<i64> {
        let keys: Vec<String> = (0..new as u64).map(|index| format!("key:{}", (self.number + index) % 64)).collect();
        self.number += new as u64;
        let payloads = vec![self.payload.as_slice(); new];
        let (client, [accept, claim, finish]) = (&self.client, &self.statements);
        let of_accept: [&(dyn ToSql + Sync); 2] = [&keys, &payloads];
        let (of_claim, of_finish): ([&(dyn ToSql + Sync); 1], [&(dyn ToSql + Sync); 1]) = ([&accepted], [&claimed]);
        self.runtime.block_on(async {
            let (_, _, _, rows, _) = tokio::try_join!(
                client.batch_execute("BEGIN"),
                client.execute(finish, &of_finish),
                client.execute(claim, &of_claim),
                client.query(accept, &of_accept),
                client.batch_execute("COMMIT"),
            )
            .unwrap();
            rows.iter().map(|row| row.get(0)).collect()
        })
    }
}

/// Makes the schema anew.
pub(crate) fn empty(url: &str, schema: &str) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let (client, connection) = tokio_postgres::connect(url, NoTls).await.unwrap();
        tokio::spawn(connection);
        client.batch_execute(&format!("DROP SCHEMA IF EXISTS {schema} CASCADE")).await.unwrap();
    });
}
