//! The receiver of the demonstration: looks at every request, and answers as real ones do.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use axum::Router;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, Method, StatusCode};
use axum::routing::any;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;
use tokio::runtime::Runtime;

/// What a webhook's requests have to look like.
#[derive(Clone)]
pub(super) struct Target {
    /// Owner whose events it gets; 0 gets everybody's.
    pub(super) owner: i64,
    /// User name and password, with a colon between them.
    pub(super) credentials: Option<String>,
}

/// One request.
#[derive(Clone)]
pub(super) struct Receipt {
    pub(super) target: String,
    pub(super) event_id: String,
    pub(super) event: String,
    pub(super) status: u16,
    pub(super) at: Instant,
    /// What was wrong with it.
    pub(super) fault: Option<String>,
}

#[derive(Default)]
struct Shared {
    targets: Mutex<HashMap<String, Target>>,
    receipts: Mutex<Vec<Receipt>>,
}

/// The running receiver; it stops when dropped.
pub(super) struct Receiver {
    shared: Arc<Shared>,
    address: std::net::SocketAddr,
    _runtime: Runtime,
}

impl Receiver {
    pub(super) fn start() -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        let shared = Arc::<Shared>::default();
        let listener = runtime
            .block_on(tokio::net::TcpListener::bind("127.0.0.1:0"))
            .context("cannot listen on a loopback port for the receiver")?;
        let address = listener.local_addr()?;
        let routes = Router::new().route("/{target}", any(receive)).with_state(Arc::clone(&shared));
        runtime.spawn(async move {
            // It ends with the runtime.
            let _ = axum::serve(listener, routes).await;
        });
        Ok(Self { shared, address, _runtime: runtime })
    }

    /// Returns the URL under which a target is reached.
    pub(super) fn url(&self, target: &str) -> String {
        format!("http://{}/{target}", self.address)
    }

    /// Says what the requests for a target look like.
    pub(super) fn expect(&self, name: &str, target: Target) {
        self.shared.targets.lock().unwrap_or_else(PoisonError::into_inner).insert(name.to_owned(), target);
    }

    /// Returns all requests so far.
    pub(super) fn receipts(&self) -> Vec<Receipt> {
        self.shared.receipts.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

async fn receive(
    State(shared): State<Arc<Shared>>,
    Path(name): Path<String>,
    method: Method,
    headers: HeaderMap,
    body: Bytes,
) -> StatusCode {
    let target = shared.targets.lock().unwrap_or_else(PoisonError::into_inner).get(&name).cloned();
    let fault = match &target {
        None => Some("nobody expects requests here".to_owned()),
        Some(target) => check(target, &method, &headers, &body).err(),
    };
    // As a real receiver: mostly quick, sometimes slow, sometimes busy.
    let status = match fastrand::u8(..100) {
        _ if fault.is_some() => StatusCode::BAD_REQUEST,
        0..7 => StatusCode::SERVICE_UNAVAILABLE,
        7..40 => StatusCode::NO_CONTENT,
        _ => StatusCode::OK,
    };
    if fastrand::u8(..100) < 15 {
        tokio::time::sleep(Duration::from_millis(fastrand::u64(5..60))).await;
    }
    let receipt = Receipt {
        target: name,
        event_id: text(&headers, "webhook-id").unwrap_or_default().to_owned(),
        event: text(&headers, "webhook-event").unwrap_or_default().to_owned(),
        status: status.as_u16(),
        at: Instant::now(),
        fault,
    };
    shared.receipts.lock().unwrap_or_else(PoisonError::into_inner).push(receipt);
    status
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

/// Checks a request as an untrusting receiver would.
fn check(target: &Target, method: &Method, headers: &HeaderMap, body: &[u8]) -> Result<(), String> {
    if method != Method::POST {
        return Err(format!("method {method} in place of POST"));
    }
    if text(headers, "content-type") != Some("application/json") {
        return Err("the content type is not application/json".into());
    }
    for name in ["webhook-id", "webhook-timestamp", "webhook-event", "webhook-attempt", "user-agent"] {
        if text(headers, name).is_none_or(str::is_empty) {
            return Err(format!("the header {name} is missing"));
        }
    }
    let expected = target.credentials.as_ref().map(|credentials| format!("Basic {}", STANDARD.encode(credentials)));
    if text(headers, "authorization") != expected.as_deref() {
        return Err("the authorization is not the one that was set".into());
    }
    let body: Value = serde_json::from_slice(body).map_err(|error| format!("the body is not JSON: {error}"))?;
    let data = &body["data"];
    if data["task"].as_str() != text(headers, "webhook-event") {
        return Err("the body names another event than the header".into());
    }
    if target.owner != 0 && data["manager_id"] != target.owner {
        return Err(format!("an event of owner {} reached owner {}", data["manager_id"], target.owner));
    }
    if body.to_string().contains("must not leave the house") {
        return Err("the body carries a password".into());
    }
    Ok(())
}
