//! What every request passes: is it meant for this server, does it come from this server's own pages, and the headers of
//! the answer.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use axum::extract::Request;
use axum::http::header::{self, HeaderMap, HeaderName, HeaderValue};
use axum::http::{Method, StatusCode};
use axum::response::Response;
use switchboard::config::HttpConfig;

use super::{answer, api};

/// Nothing from elsewhere, no script or style in a page, no frame around it.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
                      form-action 'self'; frame-ancestors 'none'; base-uri 'none'";

/// Headers of every answer.
const HEADERS: [(HeaderName, &str); 7] = [
    (header::CONTENT_SECURITY_POLICY, POLICY),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::REFERRER_POLICY, "no-referrer"),
    (header::X_FRAME_OPTIONS, "DENY"),
    (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    (HeaderName::from_static("permissions-policy"), "camera=(), geolocation=(), microphone=()"),
];

/// Judges requests.
pub(super) struct Gate {
    hosts: Vec<String>,
    /// Whether browsers reach the server over HTTPS.
    secure: bool,
    /// Whether a proxy says where requests come from.
    behind_proxy: bool,
}

/// Returns why a server must not listen at an address.
pub(crate) fn address_problem(config: &HttpConfig, address: SocketAddr) -> Option<String> {
    (!address.ip().is_loopback() && !is_secure(config)).then(|| {
        format!(
            "other machines can reach {address}, and passwords would travel in plain text: listen at 127.0.0.1, or in the \
             section [http] of switchboard.toml set `tls_certificate`, `tls_key` and `hosts`, or let a proxy speak HTTPS and \
             set `behind_proxy = true` and `hosts`"
        )
    })
}

/// Whether browsers reach the server over HTTPS.
fn is_secure(config: &HttpConfig) -> bool {
    config.behind_proxy || config.tls_certificate.is_some()
}

/// Returns the URL of a server: the first of its names, and without one its address as this machine reaches it.
pub(crate) fn url(config: &HttpConfig, address: SocketAddr) -> String {
    if let Some(host) = config.hosts.first() {
        return format!("{}://{host}", if is_secure(config) { "https" } else { "http" });
    }
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    // Past a proxy it is reached without HTTPS.
    let scheme = if config.tls_certificate.is_some() { "https" } else { "http" };
    format!("{scheme}://{}", SocketAddr::new(ip, address.port()))
}

impl Gate {
    pub(super) fn new(config: &HttpConfig, address: SocketAddr) -> Self {
        let port = address.port();
        let loopback = ["localhost", "127.0.0.1", "[::1]"].map(|host| format!("{host}:{port}"));
        let mut hosts: Vec<String> = config.hosts.iter().map(|host| host.to_ascii_lowercase()).collect();
        hosts.extend(loopback);
        hosts.extend((!address.ip().is_unspecified()).then(|| address.to_string()));
        Self { hosts, secure: is_secure(config), behind_proxy: config.behind_proxy }
    }

    /// Whether browsers reach the server over HTTPS, so that cookies can be bound to that.
    pub(super) fn is_secure(&self) -> bool {
        self.secure
    }

    /// Refuses a request that is not meant for this server, or that another site has made a browser send.
    pub(super) fn refuse(&self, request: &Request) -> Option<Response> {
        let host = request.headers().get(header::HOST).and_then(|host| host.to_str().ok());
        let host = host.or_else(|| request.uri().authority().map(|authority| authority.as_str()));
        if !host.is_some_and(|host| self.hosts.contains(&host.to_ascii_lowercase())) {
            return Some(answer::plain(
                StatusCode::MISDIRECTED_REQUEST,
                "This server does not answer under this name. Use its address, or add the name to `hosts` in the section \
                 [http] of switchboard.toml.\n",
            ));
        }
        // Without a cookie nothing can be done in somebody's name; the API says itself who may not call it.
        let nameless = api::is_its(request.uri().path()) && !request.headers().contains_key(header::COOKIE);
        let reads = matches!(*request.method(), Method::GET | Method::HEAD);
        if reads || nameless || bearer(request.headers()).is_some() {
            return None;
        }
        self.foreign(request.headers()).map(|why| answer::plain(StatusCode::FORBIDDEN, why))
    }

    /// Returns why a request that changes something does not come from a page of this server.
    fn foreign(&self, headers: &HeaderMap) -> Option<&'static str> {
        let text = |name: &str| headers.get(name).map(|value| value.to_str().unwrap_or("?"));
        match (text("sec-fetch-site"), text("origin")) {
            (Some("same-origin" | "none"), _) => None,
            (Some(_), _) => Some("Another site has sent this request; nothing was changed.\n"),
            (None, Some(origin)) if self.is_own(origin) => None,
            (None, Some(_)) => Some("Another site has sent this request; nothing was changed.\n"),
            (None, None) => Some(
                "This request says nothing about where it comes from; nothing was changed. Programs use a token: \
                 `Authorization: Bearer ...`; `switchboard token create` makes one.\n",
            ),
        }
    }

    fn is_own(&self, origin: &str) -> bool {
        let scheme = if self.secure { "https://" } else { "http://" };
        origin.strip_prefix(scheme).is_some_and(|host| self.hosts.iter().any(|own| own == host))
    }

    /// Returns the address that a request comes from.
    pub(super) fn address(&self, headers: &HeaderMap, peer: IpAddr) -> IpAddr {
        // The proxy adds what it sees at the end; what stands before that was claimed by the client.
        let forwarded = headers.get_all("x-forwarded-for").iter().next_back().and_then(|value| value.to_str().ok());
        let last = forwarded.and_then(|value| value.rsplit(',').next()).and_then(|ip| ip.trim().parse().ok());
        if self.behind_proxy { last.unwrap_or(peer) } else { peer }
    }
}

/// Returns the token of a request that has one.
pub(super) fn bearer(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then_some(token.trim())
}

/// Adds the headers that every answer has.
pub(super) fn add_headers(mut response: Response) -> Response {
    let headers = response.headers_mut();
    for (name, value) in HEADERS {
        headers.insert(name, HeaderValue::from_static(value));
    }
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    response
}

#[cfg(test)]
mod tests {
    use axum::body::Body;

    use super::*;

    fn gate() -> Gate {
        let address = "127.0.0.1:7320".parse().unwrap();
        Gate::new(&HttpConfig::default(), address)
    }

    fn status(method: &str, headers: &[(&str, &str)]) -> Option<u16> {
        let mut request = Request::builder().method(method).uri("/webhooks");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        gate().refuse(&request.body(Body::empty()).unwrap()).map(|response| response.status().as_u16())
    }

    #[test]
    fn only_requests_for_this_server_pass() {
        for host in ["127.0.0.1:7320", "localhost:7320", "LOCALHOST:7320", "[::1]:7320"] {
            assert_eq!(status("GET", &[("host", host)]), None, "{host}");
        }
        for host in ["evil.example", "127.0.0.1", "127.0.0.1:7321", "localhost:7320.evil.example", ""] {
            assert_eq!(status("GET", &[("host", host)]), Some(421), "{host}");
        }
        assert_eq!(status("GET", &[]), Some(421));
    }

    #[test]
    fn only_this_servers_pages_and_programs_with_a_token_change_anything() {
        const HOST: (&str, &str) = ("host", "127.0.0.1:7320");
        for (passes, header) in [
            (true, ("sec-fetch-site", "same-origin")),
            (true, ("sec-fetch-site", "none")),
            (false, ("sec-fetch-site", "same-site")),
            (false, ("sec-fetch-site", "cross-site")),
            (true, ("origin", "http://127.0.0.1:7320")),
            (false, ("origin", "https://127.0.0.1:7320")),
            (false, ("origin", "http://127.0.0.1:7320.evil.example")),
            (false, ("origin", "null")),
            (true, ("authorization", "Bearer swb_x")),
            (false, ("authorization", "Basic eDp5")),
            (false, ("accept", "*/*")),
        ] {
            assert_eq!(status("POST", &[HOST, header]).is_none(), passes, "{header:?}");
            assert_eq!(status("GET", &[HOST, header]), None, "{header:?}");
        }
    }

    #[test]
    fn a_browsers_word_about_the_site_counts_more_than_the_origin() {
        let headers =
            [("host", "127.0.0.1:7320"), ("origin", "http://127.0.0.1:7320"), ("sec-fetch-site", "cross-site")];
        assert_eq!(status("POST", &headers), Some(403));
    }

    #[test]
    fn an_address_that_others_reach_needs_https() {
        let outside = "0.0.0.0:7320".parse().unwrap();
        let mut config = HttpConfig::default();
        assert!(address_problem(&config, "[::1]:1".parse().unwrap()).is_none());
        assert!(address_problem(&config, outside).is_some());
        config.behind_proxy = true;
        assert!(address_problem(&config, outside).is_none());
        config.behind_proxy = false;
        config.tls_certificate = Some("server.pem".into());
        assert!(address_problem(&config, outside).is_none());
    }

    #[test]
    fn the_url_of_a_server_is_one_that_can_be_opened_and_passes() {
        let mut config = HttpConfig::default();
        for (address, shown) in [
            ("127.0.0.1:7320", "http://127.0.0.1:7320"),
            ("0.0.0.0:7320", "http://127.0.0.1:7320"),
            ("[::]:7320", "http://[::1]:7320"),
            ("192.0.2.7:80", "http://192.0.2.7:80"),
        ] {
            let address = address.parse().unwrap();
            assert_eq!(url(&config, address), shown);
            let host = shown.trim_start_matches("http://").to_owned();
            assert!(Gate::new(&config, address).hosts.contains(&host), "{host}");
        }
        config.tls_certificate = Some("server.pem".into());
        let outside = "0.0.0.0:7320".parse().unwrap();
        assert_eq!(url(&config, outside), "https://127.0.0.1:7320");
        config.hosts = vec!["switchboard.example:7320".into()];
        assert_eq!(url(&config, outside), "https://switchboard.example:7320");
        // Whoever is not behind a proxy is not believed what only a proxy may say.
        let mut headers = HeaderMap::new();
        headers.insert("x-forwarded-for", HeaderValue::from_static("203.0.113.7"));
        let peer = IpAddr::from([198, 51, 100, 9]);
        assert_eq!(Gate::new(&config, outside).address(&headers, peer), peer);
    }

    #[test]
    fn only_the_proxys_own_word_about_the_client_counts() {
        let mut headers = HeaderMap::new();
        headers.insert("x-forwarded-for", HeaderValue::from_static("198.51.100.1, 203.0.113.7"));
        let peer = IpAddr::from([127, 0, 0, 1]);
        assert_eq!(gate().address(&headers, peer), peer);
        let mut config = HttpConfig::default();
        config.behind_proxy = true;
        let behind = Gate::new(&config, "127.0.0.1:7320".parse().unwrap());
        assert_eq!(behind.address(&headers, peer), IpAddr::from([203, 0, 113, 7]));
    }
}
