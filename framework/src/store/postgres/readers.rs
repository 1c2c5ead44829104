//! A few connections that read, for callers on any thread.

use std::cell::RefCell;
use std::rc::Rc;

use tokio::sync::Semaphore;

use super::Inside;
use super::session::{Failure, Session};

/// Most connections for reading.
const MOST: usize = 4;

pub(super) struct Readers {
    inside: Rc<Inside>,
    idle: RefCell<Vec<Session>>,
    room: Semaphore,
}

impl Readers {
    pub(super) fn new(inside: Rc<Inside>) -> Self {
        Self { inside, idle: RefCell::default(), room: Semaphore::new(MOST) }
    }

    /// Runs a query on a connection of its own.
    pub(super) async fn read<V>(&self, query: impl AsyncFn(&Session) -> Result<V, Failure>) -> Result<V, Failure> {
        let _room = self.room.acquire().await.map_err(Failure::broken)?;
        while let Some(session) = self.take_idle() {
            match query(&session).await {
                // It was broken before: the server has been away since it was used last.
                Err(Failure::Broken(_)) => {}
                result => return self.give_back(session, result),
            }
        }
        let session = self.connect("reader").await?;
        let result = query(&session).await;
        self.give_back(session, result)
    }

    /// Returns a new connection for something longer.
    pub(super) async fn connect(&self, purpose: &str) -> Result<Session, Failure> {
        self.inside.connector.connect(&self.inside.purpose(purpose), None).await
    }

    fn take_idle(&self) -> Option<Session> {
        self.idle.borrow_mut().pop()
    }

    fn give_back<V>(&self, session: Session, result: Result<V, Failure>) -> Result<V, Failure> {
        if !session.is_closed() {
            self.idle.borrow_mut().push(session);
        }
        result
    }
}
