//! The one connection that writes. It takes whatever has come in the meantime and commits it together.
//!
//! What comes by the thousand (accepting, starts, ends) is one statement over arrays for the whole group, and everything
//! that does not need an earlier answer is sent at once: a group costs one round trip. When the server refuses a group, it
//! is tried again by halves, so that one operation that fails does not spoil the others.

use std::cell::RefCell;
use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet, VecDeque};
use std::pin::Pin;
use std::rc::Rc;
use std::time::Duration;

use tokio::sync::mpsc::UnboundedReceiver;
use tokio::sync::oneshot;
use tokio::time::Instant;
use tokio_postgres::Row;

use super::Inside;
use super::change;
use super::idempotency::{self, KeyedAcceptance, Keys, KnownKeys};
use super::listen::News;
use super::session::{Failure, Session, Step, committing, pipeline};
use super::write::{self, Events, Finishes, Starts, Tasks};
use crate::store::{
    Acceptance, AcceptedTask, Change, Ending, IdempotencyKey, Keyed, Lease, RunEnd, Started, StoreError, TaskId,
    Timestamp,
};

/// Most operations in one commit.
const MAX_GROUP: usize = 1024;

/// How long a commit waits, from the answers to the last one, for those who were told and come back at once. Without it they
/// just miss the commit that the others begin, and the groups are half as large at the same cost for each.
const GATHER: Duration = Duration::from_micros(120);

/// A group that takes longer is given up, and its connection.
const GROUP_TIMEOUT: Duration = Duration::from_secs(15);

/// How often a group is tried while other transactions are in its way.
const TRIES: u32 = 5;

/// Waits between two tries to connect: the first, and the longest.
const RECONNECT: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(2));

/// What a commit has to survive.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Sync {
    /// The end of the process.
    Process,
    /// A power cut.
    Full,
}

/// Whatever the writer changes it finds by an index. The server has no statistics of rows that were made a moment ago, and keeps
/// the plans that it made while the tables were small: those that read a whole table have to be out of the question.
const PLANS: &str =
    "SET enable_seqscan TO off; SET enable_hashjoin TO off; SET enable_mergejoin TO off; SET jit TO off";

pub(super) type Answer<V> = oneshot::Sender<Result<V, StoreError>>;
pub(super) type Local<'a, V> = Pin<Box<dyn Future<Output = V> + 'a>>;

/// What became of the tasks of one start.
type Starting = Vec<Result<Option<Started>, StoreError>>;

/// What is queued.
pub(super) enum Operation {
    Accept(Acceptance, Answer<Vec<AcceptedTask>>),
    AcceptKeyed(Box<KeyedAcceptance>, Answer<Keyed>),
    Start(Vec<TaskId>, Timestamp, Answer<Starting>),
    Finish(Vec<RunEnd>, Answer<Vec<bool>>),
    Single(Box<dyn Single>),
}

/// An operation with statements of its own.
pub(super) trait Single: Send {
    fn sync(&self) -> Sync;
    /// What the other hosts are told.
    fn news(&self) -> Option<News>;
    /// Whether this host may hold tasks after it of which its caller was not told.
    fn holds(&self) -> bool;
    fn run<'s>(&'s self, session: &'s Session) -> Local<'s, Result<(), Failure>>;
    fn tell(self: Box<Self>, committed: Result<(), StoreError>);
}

/// An operation that is a function.
pub(super) struct Function<V, F> {
    pub(super) sync: Sync,
    pub(super) news: Option<News>,
    pub(super) holds: bool,
    pub(super) run: F,
    pub(super) result: RefCell<Option<V>>,
    pub(super) answer: Answer<V>,
}

impl<V: Send, F: AsyncFn(&Session) -> Result<V, Failure> + Send> Single for Function<V, F> {
    fn sync(&self) -> Sync {
        self.sync
    }

    fn news(&self) -> Option<News> {
        self.news
    }

    fn holds(&self) -> bool {
        self.holds
    }

    fn run<'s>(&'s self, session: &'s Session) -> Local<'s, Result<(), Failure>> {
        Box::pin(async move {
            let value = (self.run)(session).await?;
            self.result.replace(Some(value));
            Ok(())
        })
    }

    fn tell(self: Box<Self>, committed: Result<(), StoreError>) {
        // A caller that no longer waits does not need the answer.
        let _ = self.answer.send(committed.and_then(|()| self.result.take().ok_or(StoreError::Closed)));
    }
}

/// What an operation gave.
enum Value {
    Accepted(Vec<AcceptedTask>),
    Known(Vec<IdempotencyKey>),
    Started(Starting),
    Finished(Vec<bool>),
    /// The caller is told nothing, or the operation itself has it.
    Nothing,
}

impl Operation {
    fn sync(&self) -> Sync {
        match self {
            // A power cut may undo it, and then the task is ready as before; the end of the process does not.
            Self::Start(..) => Sync::Process,
            Self::Single(single) => single.sync(),
            _ => Sync::Full,
        }
    }

    fn news(&self) -> Option<News> {
        let free = match self {
            Self::Accept(..) | Self::AcceptKeyed(..) => {
                self.acceptance().is_some_and(|acceptance| acceptance.tasks.iter().any(|task| !write::is_held(task)))
            }
            Self::Finish(runs, _) => {
                runs.iter().any(|run| matches!(run.ending, Ending::Retry { hold: false, .. } | Ending::Release))
            }
            Self::Single(single) => return single.news(),
            _ => false,
        };
        free.then_some(News::Work)
    }

    /// Returns what it accepts, with or without keys.
    fn acceptance(&self) -> Option<&Acceptance> {
        match self {
            Self::Accept(acceptance, _) => Some(acceptance),
            Self::AcceptKeyed(keyed, _) => Some(&keyed.acceptance),
            _ => None,
        }
    }

    fn tell(self, value: Result<Value, StoreError>) {
        // Callers that no longer wait do not need their answers.
        match (self, value) {
            (Self::Accept(_, answer), value) => {
                let _ = answer.send(value.map(|value| match value {
                    Value::Accepted(tasks) => tasks,
                    _ => Vec::new(),
                }));
            }
            (Self::AcceptKeyed(_, answer), value) => {
                let _ = answer.send(value.map(|value| match value {
                    Value::Accepted(tasks) => Keyed::Accepted(tasks),
                    Value::Known(keys) => Keyed::Known(keys),
                    _ => Keyed::Known(Vec::new()),
                }));
            }
            (Self::Start(_, _, answer), value) => {
                let _ = answer.send(value.map(|value| match value {
                    Value::Started(started) => started,
                    _ => Vec::new(),
                }));
            }
            (Self::Finish(_, answer), value) => {
                let _ = answer.send(value.map(|value| match value {
                    Value::Finished(finished) => finished,
                    _ => Vec::new(),
                }));
            }
            (Self::Single(single), value) => single.tell(value.map(drop)),
        }
    }
}

/// Operations whose commit broke: their callers were told that they failed, and it is not known whether they did.
#[derive(Default)]
struct Unsure {
    starts: HashSet<TaskId>,
    ends: HashSet<(TaskId, Lease)>,
    /// Whether this host may be marked as the holder of tasks that it does not have in memory.
    holds: bool,
}

impl Unsure {
    fn note(&mut self, group: &[Operation]) {
        for operation in group {
            match operation {
                Operation::Accept(..) | Operation::AcceptKeyed(..) => {
                    self.holds |= operation.acceptance().is_some_and(|one| one.tasks.iter().any(write::is_held));
                }
                Operation::Start(tasks, ..) => self.starts.extend(tasks),
                Operation::Finish(runs, _) => self.ends.extend(runs.iter().map(|run| (run.task, run.lease))),
                Operation::Single(single) => self.holds |= single.holds(),
            }
        }
    }
}

/// A run that goes on.
struct Run {
    lease: Lease,
    at: Timestamp,
    /// Whether its input is the body of an event.
    has_event: bool,
}

type Running = HashMap<TaskId, Run>;

pub(super) struct Writer {
    inside: Rc<Inside>,
    session: Option<Session>,
    /// Whether there has been a connection.
    begun: bool,
    unsure: Unsure,
    /// Runs that go on.
    running: Running,
    /// Why there is no connection, when the next try is made, and how long the wait after it is.
    refused: Option<(Failure, Instant, Duration)>,
}

impl Writer {
    pub(super) fn new(inside: Rc<Inside>) -> Self {
        let (unsure, running) = (Unsure::default(), Running::new());
        Self { inside, session: None, begun: false, unsure, running, refused: None }
    }

    /// Commits what is queued until nobody can queue anything more, and takes leave.
    pub(super) async fn work(mut self, mut inbox: UnboundedReceiver<Operation>) {
        let mut group = Vec::new();
        let (mut expected, mut told) = (0, Instant::now());
        while inbox.recv_many(&mut group, MAX_GROUP).await > 0 {
            while group.len() < expected && told.elapsed() < GATHER {
                // Both the other threads and what else this one does may go on.
                std::thread::yield_now();
                tokio::task::yield_now().await;
                let more = MAX_GROUP - group.len();
                group.extend(std::iter::from_fn(|| inbox.try_recv().ok()).take(more));
            }
            let size = group.len();
            self.commit(std::mem::take(&mut group)).await;
            (told, expected) = (Instant::now(), (size + inbox.len()).min(MAX_GROUP));
        }
    }

    async fn commit(&mut self, group: Vec<Operation>) {
        let mut groups = VecDeque::from([group]);
        let mut tries = 0;
        while let Some(mut group) = groups.pop_front() {
            tries += 1;
            let failure = match self.attempt(&group).await {
                Ok(values) => {
                    tries = 0;
                    group.into_iter().zip(values).for_each(|(operation, value)| operation.tell(Ok(value)));
                    continue;
                }
                Err(failure) => failure,
            };
            match &failure {
                Failure::Conflict(_) if tries < TRIES => groups.push_front(group),
                Failure::Conflict(_) | Failure::Refused(_) | Failure::Store(_) if group.len() > 1 => {
                    let second = group.split_off(group.len() / 2);
                    groups.push_front(second);
                    groups.push_front(group);
                    tries = 0;
                }
                _ => {
                    let error = failure.of_write(&self.inside.database);
                    group.into_iter().for_each(|operation| operation.tell(Err(error.clone())));
                    tries = 0;
                }
            }
        }
    }

    async fn attempt(&mut self, group: &[Operation]) -> Result<Vec<Value>, Failure> {
        let session = self.connected().await?;
        let inside = &self.inside;
        let transaction = tokio::time::timeout(GROUP_TIMEOUT, transact(inside, &session, group, &self.running)).await;
        let late = |_| Err(Failure::broken("the server did not answer in time").after_commit());
        let mut values = match transaction.unwrap_or_else(late) {
            Ok(values) => values,
            // The connection ended before the commit, and the server rolls back.
            Err(failure @ Failure::Broken(_)) => return Err(failure),
            Err(failure @ Failure::Unsure(_)) => {
                self.unsure.note(group);
                return Err(failure);
            }
            Err(failure) => {
                // Rolled back already where the commit was sent as well; a second time does no harm.
                session.batch("ROLLBACK").await?;
                return Err(failure);
            }
        };
        if !self.unsure.ends.is_empty()
            && let Err(failure) = self.recognise_ends(&session, group, &mut values).await
        {
            // The commit was made: nothing of it may be done a second time.
            self.unsure.note(group);
            return Err(failure.after_commit());
        }
        self.note_runs(group, &values);
        let damaged = damaged_starts(group, &values);
        let taken_back = damaged.is_empty() || {
            let tasks: Vec<i64> = damaged.iter().map(|task| task.0).collect();
            change::take_back_starts(&session, self.inside.host, &tasks).await.is_ok()
        };
        if taken_back {
            self.session = Some(session);
        } else {
            // The next connection begins with undoing them.
            self.unsure.starts.extend(damaged);
        }
        Ok(values)
    }

    /// Notes which runs have begun and ended.
    fn note_runs(&mut self, group: &[Operation], values: &[Value]) {
        for (operation, value) in group.iter().zip(values) {
            match (operation, value) {
                (Operation::Start(_, at, _), Value::Started(answers)) => {
                    for started in answers.iter().flatten().flatten() {
                        let run = Run { lease: started.lease, at: *at, has_event: started.task.event.is_some() };
                        self.running.insert(started.task.id, run);
                    }
                }
                (Operation::Finish(runs, _), _) => {
                    for end in runs {
                        if let Entry::Occupied(run) = self.running.entry(end.task)
                            && run.get().lease == end.lease
                        {
                            run.remove();
                        }
                    }
                }
                _ => {}
            }
        }
    }

    /// An end that is written again because its commit broke may have been written the first time.
    async fn recognise_ends(
        &mut self,
        session: &Session,
        group: &[Operation],
        values: &mut [Value],
    ) -> Result<(), Failure> {
        for (operation, value) in group.iter().zip(values) {
            let (Operation::Finish(runs, _), Value::Finished(finished)) = (operation, value) else { continue };
            for (run, finished) in runs.iter().zip(finished) {
                if self.unsure.ends.remove(&(run.task, run.lease)) && !*finished {
                    let sql = "SELECT 1 FROM attempt WHERE task = $1 AND lease = $2 AND ended_at = $3 AND outcome = $4";
                    let outcome = write::text(&run.attempt.outcome);
                    let (task, lease, ended_at) = (run.task.0, run.lease.0, run.attempt.ended_at.0);
                    let found = session.row(sql, &[&task, &lease, &ended_at, &outcome]).await?;
                    *finished = found.is_some();
                }
            }
        }
        Ok(())
    }

    /// Returns the connection, or makes one, but not more often than is good for a server that is starting.
    async fn connected(&mut self) -> Result<Session, Failure> {
        if let Some(session) = self.session.take() {
            // Lets it hear that the server has ended it: what was never sent is certainly not committed.
            tokio::task::yield_now().await;
            if !session.is_closed() {
                return Ok(session);
            }
        }
        if let Some((failure, until, _)) = &self.refused
            && Instant::now() < *until
        {
            return Err(failure.clone());
        }
        match self.connect().await {
            Ok(session) => {
                self.refused = None;
                Ok(session)
            }
            Err(failure) => {
                let wait = self.refused.take().map_or(RECONNECT.0, |(_, _, wait)| (wait * 2).min(RECONNECT.1));
                self.refused = Some((failure.clone(), Instant::now() + wait, wait));
                Err(failure)
            }
        }
    }

    async fn connect(&mut self) -> Result<Session, Failure> {
        let session = self.inside.connector.connect(&self.inside.purpose("writer"), None).await?;
        session.batch(PLANS).await?;
        // A broken connection may live on at the server, which has not noticed: until it is gone, what it had sent is
        // neither committed nor not.
        let sql = "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE pid <> pg_backend_pid()
                   AND application_name = current_setting('application_name') AND datname = current_database()
                   AND usename = current_user";
        session.query(sql, &[]).await?;
        if std::mem::replace(&mut self.begun, true) {
            self.settle(&session).await?;
            // A server that failed may have forgotten the last marks as well.
            self.unsure.holds = true;
        }
        if std::mem::take(&mut self.unsure.holds) {
            self.inside.changes.tell(Change::Unsure);
        }
        Ok(session)
    }
}

impl Writer {
    /// Makes the server and this host agree on what runs, after a connection broke.
    async fn settle(&mut self, session: &Session) -> Result<(), Failure> {
        let undone: Vec<i64> = self.unsure.starts.iter().map(|task| task.0).collect();
        let mut runs = change::Runs::default();
        for (task, Run { lease, at, .. }) in &self.running {
            runs.id.push(task.0);
            runs.lease.push(lease.0);
            runs.at.push(at.0);
        }
        session.batch("BEGIN").await?;
        change::undo_starts(session, self.inside.host, &undone).await?;
        change::redo_starts(session, self.inside.host, &runs).await?;
        session.batch("COMMIT").await?;
        self.unsure.starts.clear();
        Ok(())
    }
}

/// Returns the tasks that were started and cannot be read, which shows only in the answer: reading them first would cost
/// every group with starts a round trip.
fn damaged_starts(group: &[Operation], values: &[Value]) -> Vec<TaskId> {
    let starts = group.iter().zip(values).filter_map(|(operation, value)| match (operation, value) {
        (Operation::Start(tasks, ..), Value::Started(answers)) => Some(tasks.iter().zip(answers)),
        _ => None,
    });
    starts.flatten().filter(|(_, answer)| answer.is_err()).map(|(task, _)| *task).collect()
}

/// Where the rows of a step belong.
enum Part {
    Plain,
    Tasks,
    /// One task of an operation.
    Unique(usize, usize),
    Starts,
    Finishes,
}

/// What a group is made of, as columns.
#[derive(Default)]
struct Columns<'g> {
    keys: Keys<'g>,
    events: Events<'g>,
    tasks: Tasks<'g>,
    /// Tasks of acceptances in which something is unique, with the places of operation and task.
    unique: Vec<(usize, usize, Tasks<'g>)>,
    starts: Starts,
    finishes: Finishes<'g>,
    news: Vec<String>,
}

impl<'g> Columns<'g> {
    /// Returns the columns of a group without the operations whose keys are `known`.
    fn of(inside: &Inside, group: &'g [Operation], known: &KnownKeys, running: &Running) -> Self {
        let mut columns = Self::default();
        let mut news: Vec<News> = group.iter().filter_map(Operation::news).collect();
        news.sort_unstable();
        news.dedup();
        columns.news = news.into_iter().map(|news| news.payload(inside.host)).collect();
        for (index, operation) in group.iter().enumerate() {
            match operation {
                Operation::Accept(acceptance, _) => columns.accept(index, acceptance),
                Operation::AcceptKeyed(..) if known.contains_key(&index) => {}
                Operation::AcceptKeyed(keyed, _) => {
                    keyed.keys.iter().for_each(|key| columns.keys.push(key));
                    columns.accept(index, &keyed.acceptance);
                }
                Operation::Start(tasks, now, _) => tasks.iter().for_each(|task| columns.starts.push(*task, *now)),
                Operation::Finish(runs, _) => {
                    for end in runs {
                        let has_event = running.get(&end.task).is_none_or(|run| run.has_event);
                        columns.finishes.push(end, has_event);
                    }
                }
                Operation::Single(_) => {}
            }
        }
        columns
    }

    fn accept(&mut self, index: usize, acceptance: &'g Acceptance) {
        acceptance.events.iter().for_each(|event| self.events.push(event));
        if is_plain(acceptance) {
            return acceptance.tasks.iter().for_each(|task| self.tasks.push(task));
        }
        for (place, task) in acceptance.tasks.iter().enumerate() {
            self.unique.push((index, place, Tasks::of(task)));
        }
    }
}

/// Returns the names under which an operation locks the keys of what it accepts.
fn locks_of(operation: &Operation) -> impl Iterator<Item = String> + '_ {
    let keys = operation.keyed().map_or(&[][..], |keyed| &keyed.keys);
    let tasks = operation.acceptance().map_or(&[][..], |acceptance| &acceptance.tasks);
    keys.iter().map(idempotency::lock_of).chain(tasks.iter().flat_map(write::locks_of))
}

/// Returns whether nothing in it is unique, so that all of it is made whatever the table holds.
fn is_plain(acceptance: &Acceptance) -> bool {
    acceptance.tasks.iter().all(|task| task.unique.is_none())
}

/// Does a group in one transaction.
async fn transact(
    inside: &Inside,
    session: &Session,
    group: &[Operation],
    running: &Running,
) -> Result<Vec<Value>, Failure> {
    let sync = group.iter().map(Operation::sync).max().unwrap_or(Sync::Full);
    let begin = if sync == Sync::Full { "BEGIN" } else { "BEGIN; SET LOCAL synchronous_commit TO off" };
    let locks: Vec<String> = group.iter().flat_map(locks_of).collect();
    let keyed: Vec<(usize, &KeyedAcceptance)> =
        group.iter().enumerate().filter_map(|(index, operation)| Some((index, operation.keyed()?))).collect();
    let known = match keyed.is_empty() {
        true => None,
        false => Some(idempotency::begin(session, begin, &locks, &keyed).await?),
    };
    let has_begun = known.is_some();
    let known = known.unwrap_or_default();
    let columns = Columns::of(inside, group, &known, running);
    let Columns { keys, events, tasks, unique, starts, finishes, news } = &columns;
    // A statement has to be known to the server before it can be sent together with others.
    let lock_keys = session.prepare(write::LOCK_KEYS).await?;
    let insert_keys = session.prepare(idempotency::INSERT).await?;
    let accept_events = session.prepare(write::ACCEPT_EVENTS).await?;
    let accept_tasks = session.prepare(write::ACCEPT_TASKS).await?;
    let accept_unique = session.prepare(write::ACCEPT_UNIQUE).await?;
    let start = session.prepare(write::START).await?;
    let lock_events = session.prepare(write::LOCK_EVENTS).await?;
    let finish = session.prepare(write::FINISH).await?;
    let forget_events = session.prepare(write::FORGET_EVENTS).await?;
    let notify = session.prepare("SELECT pg_notify($1, $2)").await?;
    let work = News::Work.payload(inside.host);

    let mut plan: Vec<(Part, Step<'_>)> = Vec::new();
    if !has_begun {
        plan.push((Part::Plain, session.plain(begin)));
        if !locks.is_empty() {
            plan.push((Part::Plain, session.step(&lock_keys, vec![&locks])));
        }
    }
    if !keys.is_empty() {
        plan.push((Part::Plain, session.step(&insert_keys, keys.columns())));
    }
    if !events.is_empty() {
        plan.push((Part::Plain, session.step(&accept_events, events.columns())));
    }
    if !tasks.is_empty() {
        plan.push((Part::Tasks, session.step(&accept_tasks, tasks.columns(&inside.host))));
    }
    for (operation, place, task) in unique {
        let step = session.step(&accept_unique, task.unique_columns(&inside.host));
        plan.push((Part::Unique(*operation, *place), step));
    }
    if !starts.is_empty() {
        plan.push((Part::Starts, session.step(&start, starts.columns(&inside.host))));
    }
    if !finishes.is_empty() {
        let forgotten = !finishes.forgotten.is_empty();
        if forgotten {
            plan.push((Part::Plain, session.step(&lock_events, vec![&finishes.forgotten])));
        }
        let values = finishes.columns(&inside.host, &inside.channel, &work);
        plan.push((Part::Finishes, session.step(&finish, values)));
        if forgotten {
            plan.push((Part::Plain, session.step(&forget_events, vec![&finishes.forgotten])));
        }
    }
    let mut end: Vec<Step<'_>> = Vec::new();
    for payload in news {
        end.push(session.step(&notify, vec![&inside.channel, payload]));
    }
    end.push(session.plain("COMMIT"));
    let (parts, mut steps): (Vec<Part>, Vec<Step<'_>>) = plan.into_iter().unzip();
    let singles: Vec<&dyn Single> = group.iter().filter_map(Operation::single).collect();
    let rows = if singles.is_empty() {
        steps.append(&mut end);
        committing(steps).await?
    } else {
        let rows = pipeline(steps).await?;
        for single in singles {
            single.run(session).await?;
        }
        committing(end).await?;
        rows
    };
    Ok(values_of(group, known, &parts, rows))
}

impl Operation {
    fn keyed(&self) -> Option<&KeyedAcceptance> {
        match self {
            Self::AcceptKeyed(keyed, _) => Some(keyed),
            _ => None,
        }
    }

    fn single(&self) -> Option<&dyn Single> {
        match self {
            Self::Single(single) => Some(&**single),
            _ => None,
        }
    }
}

/// Gives the rows to the operations that they belong to.
fn values_of(group: &[Operation], mut known: KnownKeys, parts: &[Part], rows: Vec<Vec<Row>>) -> Vec<Value> {
    let mut ids = Vec::new();
    let mut unique: Vec<(usize, AcceptedTask)> = Vec::new();
    let mut started = Vec::new();
    let mut finished = HashSet::new();
    for (part, rows) in parts.iter().zip(rows) {
        match part {
            Part::Plain => {}
            Part::Tasks => ids.extend(rows.iter().map(|row| row.get::<_, i64>(0))),
            Part::Unique(operation, place) => {
                if let (Some(acceptance), Some(row)) = (group[*operation].acceptance(), rows.first())
                    && let Some(task) = acceptance.tasks.get(*place)
                {
                    unique.push((*operation, write::accepted_unique(task, row)));
                }
            }
            Part::Starts => started.extend(rows.iter().map(write::started)),
            Part::Finishes => finished.extend(rows.iter().map(|row| write::position(row.get(0)))),
        }
    }
    // Given in the order of the tasks, in whatever order they come back.
    ids.sort_unstable();
    let (mut ids, mut unique) = (ids.into_iter(), unique.into_iter().peekable());
    let mut started: std::collections::HashMap<_, _> = started.into_iter().collect();
    let (mut starts, mut finishes) = (0.., 0..);
    let mut accepted = |index, acceptance: &Acceptance| match is_plain(acceptance) {
        true => acceptance.tasks.iter().zip(&mut ids).map(|(task, id)| write::accepted(task, id)).collect(),
        false => {
            let tasks = std::iter::from_fn(|| unique.next_if(|(operation, _)| *operation == index));
            tasks.map(|(_, task)| task).collect()
        }
    };
    let mut value = |(index, operation): (usize, &Operation)| match operation {
        Operation::Accept(acceptance, _) => Value::Accepted(accepted(index, acceptance)),
        Operation::AcceptKeyed(keyed, _) => match known.remove(&index) {
            Some(keys) => Value::Known(keys),
            None => Value::Accepted(accepted(index, &keyed.acceptance)),
        },
        Operation::Start(tasks, ..) => {
            let places = starts.by_ref().take(tasks.len());
            Value::Started(places.map(|place: usize| started.remove(&place).transpose()).collect())
        }
        Operation::Finish(runs, _) => {
            let places = finishes.by_ref().take(runs.len());
            Value::Finished(places.map(|place: usize| finished.contains(&place)).collect())
        }
        Operation::Single(_) => Value::Nothing,
    };
    group.iter().enumerate().map(&mut value).collect()
}
