//! `switchboard receive`: a receiver for trying out webhooks, which shows each request and answers with one status.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::process::ExitCode;

use anyhow::{Context, Result};
use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, Method, StatusCode, Uri};
use clap::Args;
use serde_json::{Value, json};

use crate::{output, serve};

/// What the command line says.
#[derive(Args)]
pub(crate) struct Receive {
    /// Address to listen on
    #[arg(long, default_value = "127.0.0.1:8000", value_name = "ADDR")]
    listen: SocketAddr,
    /// Status of every answer, 200 to 599
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u16).range(200..=599))]
    status: u16,
}

/// Shows requests until it is told to stop.
pub(crate) fn run(receive: &Receive, json: bool) -> Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    runtime.block_on(serve(receive, json))?;
    Ok(ExitCode::SUCCESS)
}

async fn serve(receive: &Receive, json: bool) -> Result<()> {
    let listen = receive.listen;
    let busy = || format!("cannot listen on {listen}: name a free address with --listen, such as 127.0.0.1:0");
    let listener = tokio::net::TcpListener::bind(listen).await.with_context(busy)?;
    let address = listener.local_addr().with_context(busy)?;
    output::note(&format!("receiving on http://{address}, answering {}", receive.status));
    let status = StatusCode::from_u16(receive.status).unwrap_or(StatusCode::OK);
    let routes = Router::new().fallback(show).with_state((status, json));
    axum::serve(listener, routes).with_graceful_shutdown(serve::stop_signal()).await.context("the receiver failed")
}

async fn show(
    State((status, json)): State<(StatusCode, bool)>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> StatusCode {
    let headers = headers.iter().map(|(name, value)| (name.as_str(), String::from_utf8_lossy(value.as_bytes())));
    let body = String::from_utf8_lossy(&body);
    let text = if json {
        let headers: Value = headers.map(|(name, value)| json!([name, value])).collect();
        let request = json!({ "method": method.as_str(), "path": uri.to_string(), "headers": headers, "body": body });
        output::safe_json(&request.to_string())
    } else {
        let mut text = format!("{method} {uri}\n");
        for (name, value) in headers {
            // Writing to a String cannot fail.
            let _ = writeln!(text, "{name}: {}", shown(&value));
        }
        text + "\n" + &shown(&body) + "\n"
    };
    output::line(&text);
    status
}

/// Text of a stranger, without what a terminal would obey.
fn shown(text: &str) -> String {
    let keep = |letter: char| !letter.is_control() || letter == '\n' || letter == '\t';
    text.chars().map(|letter| if keep(letter) { letter } else { char::REPLACEMENT_CHARACTER }).collect()
}
