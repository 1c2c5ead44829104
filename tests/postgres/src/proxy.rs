//! A way to a server on which a test decides what arrives.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
#[cfg(unix)]
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio_postgres::Config;
use tokio_postgres::config::Host;

/// In the first message of the connection over which a store writes.
const WRITER: &[u8] = b" writer\0";

/// In the message that commits, and in its answer.
const COMMIT: &[u8] = b"COMMIT\0";

/// How long answers are held back from somebody who does not commit without them.
const PATIENCE: Duration = Duration::from_secs(10);

/// Forwards connections to a server; of those over which stores write it can do more.
pub struct Proxy {
    url: String,
    orders: Arc<Orders>,
}

/// What is done on the connections over which stores write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Order {
    Pass,
    HoldAnswers,
    /// Somebody waited for an answer that was held back, and has it now.
    Starved,
    LoseAnswerOfCommit,
}

struct Orders {
    order: Mutex<Order>,
    obeyed: Condvar,
}

impl Orders {
    fn lock(&self) -> MutexGuard<'_, Order> {
        self.order.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn done(&self) {
        *self.lock() = Order::Pass;
        self.obeyed.notify_all();
    }
}

impl Proxy {
    /// Listens on a port of this machine, and forwards to the server that a URL names.
    ///
    /// # Panics
    ///
    /// When the URL names no server, or no port is free.
    #[must_use]
    pub fn start(url: &str) -> Self {
        let server: Config = url.parse().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let user = server.get_user().unwrap_or("postgres");
        let password = server.get_password().map(|password| format!(":{}", String::from_utf8_lossy(password)));
        let database = server.get_dbname().unwrap_or(user);
        let password = password.unwrap_or_default();
        let url = format!("postgres://{user}{password}@127.0.0.1:{port}/{database}?sslmode=disable");
        let orders = Arc::new(Orders { order: Mutex::new(Order::Pass), obeyed: Condvar::new() });
        let shared = Arc::clone(&orders);
        // The threads end with their connections, and the listener with the test.
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                // When the server cannot be reached, the client's connection ends at once, as it would without this.
                if let Ok(server) = Socket::of(&server) {
                    forward(Socket::Tcp(client), server, &shared);
                }
            }
        });
        Self { url, orders }
    }

    /// Returns the URL of the server by this way.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Runs `work`, and holds back from the store whatever the server answers until the store has asked for a commit. Says
    /// whether it did so without an answer: then all of it was one round trip.
    #[must_use]
    pub fn commits_without_answers<V>(&self, work: impl FnOnce() -> V) -> (V, bool) {
        *self.orders.lock() = Order::HoldAnswers;
        let value = work();
        let left = std::mem::replace(&mut *self.orders.lock(), Order::Pass);
        (value, left == Order::Pass)
    }

    /// Ends the connection when the server has done the next commit of a store, in place of the answer.
    pub fn lose_answer_of_commit(&self) {
        *self.orders.lock() = Order::LoseAnswerOfCommit;
    }

    /// Returns whether an answer was lost since it was asked for.
    #[must_use]
    pub fn has_lost_it(&self) -> bool {
        *self.orders.lock() == Order::Pass
    }
}

/// One connection.
#[derive(Default)]
struct State {
    writes: bool,
    /// The answer to a commit is to be lost.
    loses: bool,
}

fn forward(client: Socket, server: Socket, orders: &Arc<Orders>) {
    let state = Arc::<Mutex<State>>::default();
    let (Ok(to_client), Ok(to_server)) = (client.another(), server.another()) else { return };
    let (asking, orders_of_asking) = (Arc::clone(&state), Arc::clone(orders));
    std::thread::spawn(move || {
        pump(client, to_server, |bytes| {
            let mut state = asking.lock().unwrap_or_else(PoisonError::into_inner);
            state.writes |= contains(bytes, WRITER);
            if state.writes && contains(bytes, COMMIT) {
                let order = *orders_of_asking.lock();
                match order {
                    Order::Pass | Order::Starved => {}
                    Order::HoldAnswers => orders_of_asking.done(),
                    Order::LoseAnswerOfCommit => state.loses = true,
                }
            }
            true
        });
    });
    let orders = Arc::clone(orders);
    std::thread::spawn(move || {
        pump(server, to_client, |bytes| {
            let (writes, loses) = {
                let state = state.lock().unwrap_or_else(PoisonError::into_inner);
                (state.writes, state.loses)
            };
            if loses && contains(bytes, COMMIT) {
                orders.done();
                return false;
            }
            if writes {
                let holds = |order: &mut Order| *order == Order::HoldAnswers;
                let waited = orders.obeyed.wait_timeout_while(orders.lock(), PATIENCE, holds);
                let (mut order, waited) = waited.unwrap_or_else(PoisonError::into_inner);
                if waited.timed_out() {
                    *order = Order::Starved;
                }
            }
            true
        });
    });
}

/// Copies until the end, or until `seen` says so, and then ends both connections.
fn pump(mut from: Socket, mut to: Socket, mut seen: impl FnMut(&[u8]) -> bool) {
    let mut bytes = vec![0; 1 << 16];
    while let Ok(count @ 1..) = from.read(&mut bytes) {
        if !seen(&bytes[..count]) || to.write_all(&bytes[..count]).is_err() {
            break;
        }
    }
    from.end();
    to.end();
}

fn contains(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}

enum Socket {
    Tcp(TcpStream),
    #[cfg(unix)]
    Unix(UnixStream),
}

impl Socket {
    fn of(server: &Config) -> io::Result<Self> {
        let port = server.get_ports().first().copied().unwrap_or(5432);
        match server.get_hosts().first() {
            Some(Host::Tcp(host)) => TcpStream::connect((host.as_str(), port)).map(Self::Tcp),
            #[cfg(unix)]
            Some(Host::Unix(folder)) => UnixStream::connect(folder.join(format!(".s.PGSQL.{port}"))).map(Self::Unix),
            None => Err(io::ErrorKind::InvalidInput.into()),
        }
    }

    fn another(&self) -> io::Result<Self> {
        match self {
            Self::Tcp(stream) => stream.try_clone().map(Self::Tcp),
            #[cfg(unix)]
            Self::Unix(stream) => stream.try_clone().map(Self::Unix),
        }
    }

    fn end(&self) {
        // It may have ended already.
        let _ = match self {
            Self::Tcp(stream) => stream.shutdown(Shutdown::Both),
            #[cfg(unix)]
            Self::Unix(stream) => stream.shutdown(Shutdown::Both),
        };
    }
}

impl Read for Socket {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.read(bytes),
            #[cfg(unix)]
            Self::Unix(stream) => stream.read(bytes),
        }
    }
}

impl Write for Socket {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.write(bytes),
            #[cfg(unix)]
            Self::Unix(stream) => stream.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
