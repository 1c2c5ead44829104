//! A client of the HTTP API that knows nothing but HTTP.

use std::io::{Read, Write};
use std::net::TcpStream;

use serde_json::Value;

use crate::{PATIENCE, Site};

/// A client with a token, or without one.
#[derive(Clone, Debug)]
pub struct Client {
    address: String,
    token: Option<String>,
}

/// What a call got.
#[derive(Clone, Debug)]
pub struct Answered {
    /// The status.
    pub status: u16,
    /// The headers, their names in lower case.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: String,
}

impl Answered {
    /// Returns a header; empty when there is none.
    #[must_use]
    pub fn header(&self, name: &str) -> &str {
        self.headers.iter().find(|(key, _)| key == name).map_or("", |(_, value)| value)
    }

    /// Reads the body as JSON.
    #[must_use]
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error} in {self:?}"))
    }

    /// Checks the status.
    #[track_caller]
    #[expect(clippy::must_use_candidate, reason = "often nothing but the status matters")]
    pub fn is(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{self:?}");
        self
    }

    /// Checks that it is a problem of RFC 9457 with this status and code.
    #[track_caller]
    pub fn is_problem(&self, status: u16, code: &str) {
        assert_eq!((self.status, self.header("content-type")), (status, "application/problem+json"), "{self:?}");
        let problem = self.json();
        assert_eq!((&problem["status"], &problem["code"]), (&status.into(), &code.into()), "{self:?}");
        assert!(problem["detail"].as_str().is_some_and(|detail| !detail.is_empty()), "{self:?}");
    }
}

impl Client {
    /// Returns a client of the server at an address, without a token.
    #[must_use]
    pub fn at(address: &str) -> Self {
        Self { address: address.to_owned(), token: None }
    }

    /// Returns a client with a token that is made on the command line.
    #[must_use]
    #[track_caller]
    pub fn with_token(site: &Site, address: &str, role: &str, owner: Option<i64>) -> Self {
        let owner = owner.map(|owner| owner.to_string());
        let name = format!("{role}-{}", owner.as_deref().unwrap_or("all"));
        let mut arguments = vec!["token", "create", &name, "--role", role];
        arguments.extend(owner.as_deref().iter().flat_map(|owner| ["--owner", *owner]));
        let token = site.json(&arguments)["token"].as_str().unwrap().to_owned();
        Self { token: Some(token), ..Self::at(address) }
    }

    /// Returns the token.
    #[must_use]
    pub fn token(&self) -> &str {
        self.token.as_deref().unwrap_or_default()
    }

    /// Makes a call with a body of JSON, or without one. The path is what comes after `/api/v1`.
    #[track_caller]
    pub fn call(&self, method: &str, path: &str, body: Option<&Value>) -> Answered {
        let headers: &[(&str, &str)] = if body.is_some() { &[("content-type", "application/json")] } else { &[] };
        let body = body.map(Value::to_string).unwrap_or_default();
        self.send(method, &format!("/api/v1{path}"), headers, body.as_bytes())
    }

    /// Gets something.
    #[track_caller]
    pub fn get(&self, path: &str) -> Answered {
        self.call("GET", path, None)
    }

    /// Posts something.
    #[track_caller]
    pub fn post(&self, path: &str, body: &Value) -> Answered {
        self.call("POST", path, Some(body))
    }

    /// Sends a request as it is given, and reads the whole answer.
    #[track_caller]
    pub fn send(&self, method: &str, target: &str, headers: &[(&str, &str)], body: &[u8]) -> Answered {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut head = format!(
            "{method} {target} HTTP/1.1\r\nhost: {}\r\nconnection: close\r\ncontent-length: {}\r\n",
            self.address,
            body.len()
        );
        if let Some(token) = &self.token {
            head.push_str(&format!("authorization: Bearer {token}\r\n"));
        }
        headers.iter().for_each(|(name, value)| head.push_str(&format!("{name}: {value}\r\n")));
        head.push_str("\r\n");
        // A server that refuses the head may not read the body.
        let _ = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(body));
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
        Self::read(&String::from_utf8_lossy(&answer))
    }

    #[track_caller]
    fn read(answer: &str) -> Answered {
        let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no answer: {answer:?}"));
        let mut lines = head.lines();
        let status = lines.next().and_then(|line| line.split(' ').nth(1)).and_then(|status| status.parse().ok());
        let headers = lines.filter_map(|line| line.split_once(':'));
        Answered {
            status: status.unwrap_or_else(|| panic!("no status: {answer:?}")),
            headers: headers.map(|(name, value)| (name.to_lowercase(), value.trim().to_owned())).collect(),
            body: body.to_owned(),
        }
    }
}
