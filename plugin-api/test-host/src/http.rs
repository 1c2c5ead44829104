//! Requests that a plugin made, and the answers that a test gives.

use switchboard_plugin_api::PluginError;

/// A request as the plugin made it, with the `webhook-timestamp` of a delivery, which the host adds from its clock. What
/// else a real host adds (`user-agent`, `host`, `content-length`) is not in it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct HttpRequest {
    /// Method, upper case.
    pub method: String,
    /// Absolute URL.
    pub url: String,
    /// Headers in sending order.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
    /// Whether the plugin has said that the answer is a secret.
    pub confidential: bool,
}

impl HttpRequest {
    pub(crate) fn new(method: String, url: String, headers: Vec<(String, String)>, body: Vec<u8>) -> Self {
        Self { method, url, headers, body, confidential: false }
    }

    /// Returns the first header of that name, in any case.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(header, _)| header.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.as_str())
    }

    /// Returns the body as text; bytes that are not UTF-8 are replaced.
    #[must_use]
    pub fn text(&self) -> std::borrow::Cow<'_, str> {
        String::from_utf8_lossy(&self.body)
    }
}

/// What a scripted receiver answers.
///
/// ```
/// use switchboard_plugin_api::PluginError;
/// use switchboard_test_host::HttpAnswer;
///
/// let busy = HttpAnswer::status(503).header("retry-after", "30").body("busy");
/// let unreachable = HttpAnswer::failed(PluginError::retryable("connection refused").with_code("connect"));
/// ```
#[derive(Clone, Debug)]
pub struct HttpAnswer(pub(crate) Result<Answer, PluginError>);

#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl HttpAnswer {
    /// Returns an answer with that status and nothing else.
    #[must_use]
    pub fn status(status: u16) -> Self {
        Self(Ok(Answer { status, headers: Vec::new(), body: Vec::new() }))
    }

    /// Returns no answer: the host's client failed with `error`.
    #[must_use]
    pub fn failed(error: PluginError) -> Self {
        Self(Err(error))
    }

    /// Adds a header; its name reaches the plugin in lower case, as with a real host. A failure has none.
    #[must_use]
    pub fn header(mut self, name: &str, value: impl Into<String>) -> Self {
        if let Ok(answer) = &mut self.0 {
            answer.headers.push((name.to_ascii_lowercase(), value.into()));
        }
        self
    }

    /// Sets the body. A failure has none.
    #[must_use]
    pub fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        if let Ok(answer) = &mut self.0 {
            answer.body = body.into();
        }
        self
    }
}
