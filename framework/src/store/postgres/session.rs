//! One connection to the server.

use std::cell::RefCell;
use std::collections::HashMap;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::mpsc::UnboundedSender;
use tokio_postgres::config::SslMode;
use tokio_postgres::error::SqlState;
use tokio_postgres::types::ToSql;
use tokio_postgres::{AsyncMessage, Client, Connection, NoTls, Row, Statement};

use super::target::Target;
use super::tls::Tls;
use crate::store::StoreError;

/// Values of a statement.
pub(super) type Values<'v> = &'v [&'v (dyn ToSql + Sync)];

/// A statement that is on its way once this was polled, and its rows.
pub(super) type Step<'s> = Pin<Box<dyn Future<Output = Result<Vec<Row>, tokio_postgres::Error>> + 's>>;

/// Why something could not be done.
#[derive(Clone, Debug)]
pub(super) enum Failure {
    /// The server refused this very statement.
    Refused(Arc<tokio_postgres::Error>),
    /// Another transaction was in the way; the same may work now.
    Conflict(Arc<tokio_postgres::Error>),
    /// The server can write nothing just now.
    Unable(Arc<tokio_postgres::Error>),
    /// There is no connection.
    Broken(Arc<dyn std::error::Error + Send + Sync>),
    /// The connection broke after something was sent on it, which may be committed.
    Unsure(Arc<dyn std::error::Error + Send + Sync>),
    /// A record cannot be read.
    Store(StoreError),
}

impl Failure {
    pub(super) fn broken(reason: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self::Broken(Arc::from(reason.into()))
    }

    /// Returns what is known of a change when this happened after it was sent to be committed, or committed.
    pub(super) fn after_commit(self) -> Self {
        match self {
            Self::Refused(source) | Self::Conflict(source) | Self::Unable(source) => Self::Unsure(source),
            Self::Broken(source) | Self::Unsure(source) => Self::Unsure(source),
            Self::Store(error) => Self::Unsure(Arc::new(error)),
        }
    }

    /// Returns what the caller of a change is told.
    pub(super) fn of_write(self, database: &str) -> StoreError {
        match self {
            Self::Refused(source) | Self::Conflict(source) | Self::Unable(source) => StoreError::Write { source },
            Self::Broken(source) => StoreError::Unreachable { database: database.to_owned(), source },
            Self::Unsure(source) => StoreError::Unsure { database: database.to_owned(), source },
            Self::Store(error) => error,
        }
    }

    /// Returns what the caller of a query is told.
    pub(super) fn of_read(self, database: &str) -> StoreError {
        match self {
            Self::Refused(source) | Self::Conflict(source) | Self::Unable(source) => StoreError::Read { source },
            Self::Broken(source) | Self::Unsure(source) => {
                StoreError::Unreachable { database: database.to_owned(), source }
            }
            Self::Store(error) => error,
        }
    }
}

impl From<tokio_postgres::Error> for Failure {
    fn from(error: tokio_postgres::Error) -> Self {
        let Some(code) = error.code().map(SqlState::code) else {
            // Without a code the server did not say it: the connection is gone, or a value could not be read.
            return if error.is_closed() || has_io_source(&error) {
                Self::Broken(Arc::new(error))
            } else {
                Self::Refused(Arc::new(error))
            };
        };
        // https://www.postgresql.org/docs/current/errcodes-appendix.html, by class.
        match code.get(..2).unwrap_or_default() {
            "40" => Self::Conflict(Arc::new(error)),
            "08" | "57" if code != "57014" => Self::Broken(Arc::new(error)),
            "25" | "53" | "55" | "57" | "58" | "XX" => Self::Unable(Arc::new(error)),
            _ => Self::Refused(Arc::new(error)),
        }
    }
}

fn has_io_source(error: &tokio_postgres::Error) -> bool {
    std::error::Error::source(error).is_some_and(|source| source.is::<std::io::Error>())
}

/// How to connect.
#[derive(Clone)]
pub(super) struct Connector {
    pub(super) target: Target,
    tls: Option<Tls>,
}

impl Connector {
    pub(super) fn new(target: Target) -> Result<Self, Box<dyn std::error::Error + Send + Sync>> {
        let tls = match target.config.get_ssl_mode() {
            SslMode::Disable => None,
            _ => Some(Tls::new(target.root_certificates.as_deref())?),
        };
        Ok(Self { target, tls })
    }

    /// Connects for a purpose, which the server shows beside the connection. Notifications go to `heard`.
    pub(super) async fn connect(
        &self,
        purpose: &str,
        heard: Option<UnboundedSender<String>>,
    ) -> Result<Session, Failure> {
        let mut config = self.target.config.clone();
        config.application_name(format!("switchboard {purpose}"));
        let client = match &self.tls {
            None => {
                let (client, connection) = config.connect(NoTls).await.map_err(unreachable)?;
                tokio::task::spawn_local(drive(connection, forward(heard)));
                client
            }
            Some(tls) => {
                let (client, connection) = config.connect(tls.clone()).await.map_err(unreachable)?;
                tokio::task::spawn_local(drive(connection, forward(heard)));
                client
            }
        };
        let session = Session { client, statements: RefCell::default() };
        // An accepted task is on disk: a server that is set to promise less is asked for more.
        let set_up = format!(
            "SET search_path TO {}; SELECT set_config('synchronous_commit', 'on', false)
             WHERE current_setting('synchronous_commit') = 'off'",
            self.target.schema
        );
        session.client.batch_execute(&set_up).await?;
        Ok(session)
    }
}

/// Whatever keeps a connection from being made, the server is not there for us.
fn unreachable(error: tokio_postgres::Error) -> Failure {
    Failure::Broken(Arc::new(error))
}

/// Gives notifications to whoever listens.
fn forward(heard: Option<UnboundedSender<String>>) -> impl Fn(&str) {
    move |payload| {
        if let Some(heard) = &heard {
            // Whoever listened may be gone, and then nobody needs it.
            let _ = heard.send(payload.to_owned());
        }
    }
}

/// Moves what comes and goes over a connection until it ends, and gives notifications to `heard`.
pub(super) async fn drive<S, T>(mut connection: Connection<S, T>, heard: impl Fn(&str))
where
    S: AsyncRead + AsyncWrite + Unpin,
    T: AsyncRead + AsyncWrite + Unpin,
{
    while let Some(Ok(message)) = poll_fn(|context| connection.poll_message(context)).await {
        if let AsyncMessage::Notification(notification) = message {
            heard(notification.payload());
        }
    }
}

/// A connection with its prepared statements. It lives in the thread of the store.
pub(super) struct Session {
    client: Client,
    /// By where their texts lie and how long they are: to hash the texts for every group would take longer than to send it.
    statements: RefCell<HashMap<(usize, usize), Statement>>,
}

impl Session {
    pub(super) fn is_closed(&self) -> bool {
        self.client.is_closed()
    }

    /// Returns the statement, prepared once for the connection.
    pub(super) async fn prepare(&self, sql: &'static str) -> Result<Statement, Failure> {
        let place = (sql.as_ptr().addr(), sql.len());
        if let Some(statement) = self.statements.borrow().get(&place) {
            return Ok(statement.clone());
        }
        let statement = self.client.prepare(sql).await?;
        self.statements.borrow_mut().insert(place, statement.clone());
        Ok(statement)
    }

    pub(super) async fn query(&self, sql: &'static str, values: Values<'_>) -> Result<Vec<Row>, Failure> {
        let statement = self.prepare(sql).await?;
        Ok(self.client.query(&statement, values).await?)
    }

    /// Returns the first row.
    pub(super) async fn row(&self, sql: &'static str, values: Values<'_>) -> Result<Option<Row>, Failure> {
        Ok(self.query(sql, values).await?.into_iter().next())
    }

    /// Returns how many rows were changed.
    pub(super) async fn execute(&self, sql: &'static str, values: Values<'_>) -> Result<u64, Failure> {
        let statement = self.prepare(sql).await?;
        Ok(self.client.execute(&statement, values).await?)
    }

    /// Runs a statement that was put together for this one time.
    pub(super) async fn query_once(&self, sql: &str, values: Values<'_>) -> Result<Vec<Row>, Failure> {
        Ok(self.client.query(sql, values).await?)
    }

    /// Runs statements without values.
    pub(super) async fn batch(&self, sql: &str) -> Result<(), Failure> {
        Ok(self.client.batch_execute(sql).await?)
    }

    /// Makes a step of a [`pipeline`] of statements without values.
    pub(super) fn plain<'s>(&'s self, sql: &'s str) -> Step<'s> {
        Box::pin(async move { self.client.batch_execute(sql).await.map(|()| Vec::new()) })
    }

    /// Makes a step of a [`pipeline`].
    pub(super) fn step<'s>(&'s self, statement: &'s Statement, values: Vec<&'s (dyn ToSql + Sync)>) -> Step<'s> {
        Box::pin(async move { self.client.query(statement, &values).await })
    }
}

/// Sends all steps before it waits for the first answer: together they cost one round trip. Returns the rows of each, or
/// the first failure.
pub(super) async fn pipeline(steps: Vec<Step<'_>>) -> Result<Vec<Vec<Row>>, Failure> {
    send(steps).await.map_err(|(_, error)| error.into())
}

/// As [`pipeline`], where the last step commits what was done before it. When the connection breaks it may have done so,
/// except where the server itself said in place of an earlier answer that it ends the connection.
pub(super) async fn committing(steps: Vec<Step<'_>>) -> Result<Vec<Vec<Row>>, Failure> {
    let commit = steps.len().saturating_sub(1);
    send(steps).await.map_err(|(step, error)| {
        let is_before = step < commit && error.code().is_some();
        match Failure::from(error) {
            failure @ Failure::Broken(_) if !is_before => failure.after_commit(),
            failure => failure,
        }
    })
}

/// Returns the rows of each step, or which of them failed first.
async fn send(mut steps: Vec<Step<'_>>) -> Result<Vec<Vec<Row>>, (usize, tokio_postgres::Error)> {
    let mut early: Vec<Option<Result<Vec<Row>, tokio_postgres::Error>>> = Vec::with_capacity(steps.len());
    poll_fn(|context| {
        for step in &mut steps {
            early.push(match step.as_mut().poll(context) {
                Poll::Ready(result) => Some(result),
                Poll::Pending => None,
            });
        }
        Poll::Ready(())
    })
    .await;
    let mut answers = Vec::with_capacity(steps.len());
    for (index, (step, early)) in steps.into_iter().zip(early).enumerate() {
        let answer = match early {
            Some(answer) => answer,
            None => step.await,
        };
        answers.push(answer.map_err(|error| (index, error))?);
    }
    Ok(answers)
}
