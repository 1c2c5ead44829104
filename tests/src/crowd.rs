//! A receiver that keeps thousands of requests waiting at once, on one thread.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// A receiver that answers nobody until it is told to.
pub struct Crowd {
    address: SocketAddr,
    waiting: Arc<AtomicUsize>,
    go: watch::Sender<bool>,
}

impl Crowd {
    /// Starts the receiver.
    #[must_use]
    pub fn start() -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        let address = listener.local_addr().unwrap();
        let waiting = Arc::<AtomicUsize>::default();
        let (go, told) = watch::channel(false);
        let count = Arc::clone(&waiting);
        std::thread::spawn(move || {
            runtime.block_on(async move {
                let mut ended = told.clone();
                let accepting = async {
                    loop {
                        // A connection that could not be had is tried again by whoever wants it.
                        if let Ok((stream, _)) = listener.accept().await {
                            tokio::spawn(serve(stream, Arc::clone(&count), told.clone()));
                        }
                    }
                };
                tokio::select! {
                    () = accepting => {}
                    // The receiver is dropped.
                    () = async { while ended.changed().await.is_ok() {} } => {}
                }
            });
        });
        Self { address, waiting, go }
    }

    /// Returns the URL of the receiver.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}/", self.address)
    }

    /// Returns how many requests are complete and wait for their answer.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.waiting.load(Ordering::Relaxed)
    }

    /// Answers 200 to all that wait and to all that come.
    pub fn answer(&self) {
        self.go.send_replace(true);
    }
}

/// Reads the head of a request without a body, waits, and answers.
async fn serve(mut stream: TcpStream, waiting: Arc<AtomicUsize>, mut told: watch::Receiver<bool>) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read_buf(&mut head).await {
            Ok(0) | Err(_) => return,
            Ok(_) => {}
        }
    }
    waiting.fetch_add(1, Ordering::Relaxed);
    let gone = async {
        // Nothing more comes from a client that waits; an end is its farewell.
        let _ = stream.read_u8().await;
    };
    let go = tokio::select! {
        () = gone => false,
        go = told.wait_for(|go| *go) => go.is_ok(),
    };
    waiting.fetch_sub(1, Ordering::Relaxed);
    if go {
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n").await;
    }
}

/// Raises how many files this process, and those that it starts, may have open, as far as that is allowed, and returns it.
#[cfg(unix)]
#[must_use]
pub fn open_files() -> usize {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    // More than any test needs.
    let wanted = limit.maximum.unwrap_or(u64::MAX).min(65_536);
    let raised = setrlimit(Resource::Nofile, Rlimit { current: Some(wanted), maximum: limit.maximum });
    let current = if raised.is_ok() { Some(wanted) } else { limit.current };
    usize::try_from(current.unwrap_or(wanted)).unwrap_or(usize::MAX)
}
