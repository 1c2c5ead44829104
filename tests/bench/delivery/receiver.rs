//! A receiver that costs little: one thread, every connection kept, answers by path.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";
/// How long `/held` takes at least.
const SLOW: Duration = Duration::from_secs(5);

#[derive(Default)]
struct Shared {
    count: AtomicU64,
    waiting: AtomicU64,
    /// When the event with this number in its body came.
    arrivals: Mutex<HashMap<u64, Instant>>,
    /// Whether those who wait at `/held` are answered.
    released: watch::Sender<bool>,
}

/// A running receiver; it ends with the process.
pub(crate) struct Receiver {
    shared: Arc<Shared>,
    address: SocketAddr,
}

impl Receiver {
    pub(crate) fn start() -> Self {
        let shared = Arc::<Shared>::default();
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        let serving = Arc::clone(&shared);
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let listener = TcpListener::from_std(listener).unwrap();
                while let Ok((stream, _)) = listener.accept().await {
                    // A client that breaks off ends its task.
                    let shared = Arc::clone(&serving);
                    tokio::spawn(async move { drop(serve(stream, &shared).await) });
                }
            });
        });
        Self { shared, address }
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}/{path}", self.address)
    }

    /// Returns how many requests have come.
    pub(crate) fn count(&self) -> u64 {
        self.shared.count.load(Ordering::Relaxed)
    }

    /// Returns how many wait at `/held` for their answer.
    pub(crate) fn waiting(&self) -> u64 {
        self.shared.waiting.load(Ordering::Relaxed)
    }

    /// Answers those who wait at `/held`.
    pub(crate) fn release(&self) {
        self.shared.released.send_replace(true);
    }

    /// Returns when the event of this number came.
    pub(crate) fn arrival(&self, number: u64) -> Option<Instant> {
        self.shared.arrivals.lock().unwrap().get(&number).copied()
    }
}

async fn serve(mut stream: TcpStream, shared: &Shared) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let mut buffer = Vec::with_capacity(4 << 10);
    loop {
        let head = loop {
            if let Some(end) = find(&buffer, b"\r\n\r\n") {
                break end + 4;
            }
            if stream.read_buf(&mut buffer).await? == 0 {
                return Ok(());
            }
        };
        let arrived = Instant::now();
        let text = String::from_utf8_lossy(&buffer[..head]).to_ascii_lowercase();
        let length = text.split("content-length: ").nth(1).and_then(|rest| rest.split("\r\n").next()?.parse().ok());
        let length: usize = length.unwrap_or(0);
        while buffer.len() < head + length {
            if stream.read_buf(&mut buffer).await? == 0 {
                return Ok(());
            }
        }
        note(shared, &buffer[head..head + length], arrived);
        let (held, hang) = (text.starts_with("post /held "), text.starts_with("post /hang "));
        buffer.drain(..head + length);
        if hang {
            std::future::pending::<()>().await;
        }
        if held {
            shared.waiting.fetch_add(1, Ordering::Relaxed);
            tokio::time::sleep(SLOW).await;
            // The sender lives as long as this does.
            drop(shared.released.subscribe().wait_for(|released| *released).await);
            shared.waiting.fetch_sub(1, Ordering::Relaxed);
        }
        stream.write_all(ANSWER).await?;
    }
}

fn note(shared: &Shared, body: &[u8], arrived: Instant) {
    shared.count.fetch_add(1, Ordering::Relaxed);
    let digits = find(body, b"\"n\":").map(|at| &body[at + 4..]).unwrap_or_default();
    let number = digits.iter().take_while(|byte| byte.is_ascii_digit());
    let number = number.fold(0, |number: u64, digit| number * 10 + u64::from(digit - b'0'));
    shared.arrivals.lock().unwrap().entry(number).or_insert(arrived);
}

fn find(text: &[u8], wanted: &[u8]) -> Option<usize> {
    text.windows(wanted.len()).position(|window| window == wanted)
}
