//! A receiver of webhooks on this machine: notes every request and answers as the test says.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::PATIENCE;

/// A request as it came.
#[derive(Clone, Debug)]
pub struct Request {
    /// Method, such as `POST`.
    pub method: String,
    /// Path with query.
    pub path: String,
    /// Headers, names in lower case.
    pub headers: BTreeMap<String, String>,
    /// Body.
    pub body: Vec<u8>,
    /// When it was complete.
    pub at: Instant,
}

impl Request {
    /// Reads the body as JSON.
    #[must_use]
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    /// Returns a header; empty when it is missing.
    #[must_use]
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", String::as_str)
    }
}

/// How a request is answered.
#[derive(Clone, Debug)]
pub enum Answer {
    /// With this status and nothing else.
    Status(u16),
    /// With this status and this header.
    With(u16, &'static str, String),
    /// With this status and this body.
    Body(u16, String),
    /// With this status after this time; sooner when the receiver is dropped.
    Late(Duration, u16),
    /// By closing the connection.
    Close,
}

type Script = dyn Fn(&Request) -> Answer + Send + Sync;

struct Shared {
    requests: Mutex<Vec<Request>>,
    arrived: Condvar,
    stopped: Mutex<bool>,
    stop: Condvar,
    script: Box<Script>,
}

/// A running receiver.
pub struct Receiver {
    shared: Arc<Shared>,
    address: SocketAddr,
}

/// Returns the URL of a path on this machine at which nobody listens.
#[must_use]
pub fn nobody(path: &str) -> String {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    format!("http://{}/{path}", listener.local_addr().unwrap())
}

impl Receiver {
    /// Starts a receiver that answers 200 to everything.
    #[must_use]
    pub fn friendly() -> Self {
        Self::start(|_| Answer::Status(200))
    }

    /// Starts a receiver that answers as `script` says.
    #[must_use]
    pub fn start(script: impl Fn(&Request) -> Answer + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared {
            requests: Mutex::default(),
            arrived: Condvar::new(),
            stopped: Mutex::default(),
            stop: Condvar::new(),
            script: Box::new(script),
        });
        let accepting = Arc::clone(&shared);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if *accepting.stopped.lock().unwrap() {
                    return;
                }
                let shared = Arc::clone(&accepting);
                // A client that breaks off ends its thread.
                std::thread::spawn(move || drop(serve(&shared, &stream)));
            }
        });
        Self { shared, address }
    }

    /// Returns the URL of a path on this receiver.
    #[must_use]
    pub fn url(&self, path: &str) -> String {
        format!("http://{}/{path}", self.address)
    }

    /// Returns all requests so far, in the order of their arrival.
    #[must_use]
    pub fn requests(&self) -> Vec<Request> {
        self.shared.requests.lock().unwrap().clone()
    }

    /// Waits until there are at least `count` requests, and returns them.
    #[track_caller]
    #[must_use]
    pub fn wait_for(&self, count: usize) -> Vec<Request> {
        let requests = self.shared.requests.lock().unwrap();
        let (requests, timeout) =
            self.shared.arrived.wait_timeout_while(requests, PATIENCE, |requests| requests.len() < count).unwrap();
        assert!(!timeout.timed_out(), "{} requests came, {count} were expected", requests.len());
        requests.clone()
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        *self.shared.stopped.lock().unwrap() = true;
        self.shared.stop.notify_all();
        // Wakes the accepting thread.
        let _ = TcpStream::connect(self.address);
    }
}

fn serve(shared: &Shared, stream: &TcpStream) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream);
    while let Some(request) = read(&mut reader)? {
        let answer = (shared.script)(&request);
        shared.requests.lock().unwrap().push(request);
        shared.arrived.notify_all();
        let (status, header, body) = match answer {
            Answer::Status(status) => (status, String::new(), String::new()),
            Answer::With(status, name, value) => (status, format!("{name}: {value}\r\n"), String::new()),
            Answer::Body(status, body) => (status, String::new(), body),
            Answer::Late(wait, status) => {
                let stopped = shared.stopped.lock().unwrap();
                drop(shared.stop.wait_timeout_while(stopped, wait, |stopped| !*stopped).unwrap());
                (status, String::new(), String::new())
            }
            Answer::Close => return Ok(()),
        };
        let head = format!("HTTP/1.1 {status} Answer\r\n{header}content-length: {}\r\n\r\n", body.len());
        (&mut &*stream).write_all((head + &body).as_bytes())?;
    }
    Ok(())
}

/// Reads one request; `None` when the client has closed.
fn read(reader: &mut BufReader<&TcpStream>) -> std::io::Result<Option<Request>> {
    let mut line = String::new();
    if reader.read_line(&mut line)? == 0 {
        return Ok(None);
    }
    let mut words = line.split_whitespace().map(ToOwned::to_owned);
    let (method, path) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let mut headers = BTreeMap::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        match line.trim_end().split_once(':') {
            Some((name, value)) => drop(headers.insert(name.to_ascii_lowercase(), value.trim().to_owned())),
            None => break,
        }
    }
    let length = headers.get("content-length").map_or(0, |length| length.parse().unwrap());
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    Ok(Some(Request { method, path, headers, body, at: Instant::now() }))
}
