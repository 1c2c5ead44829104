//! Style, script and icon, which are part of the program. Their names hold a hash, so that a browser keeps them for good.

use axum::http::StatusCode;
use axum::http::header::{self, HeaderValue};
use axum::response::Response;
use sha2::{Digest, Sha256};

use super::answer::{self, Problem};
use super::cx::Cx;

/// Header of requests that a page makes by itself; they do not prolong a session.
pub(super) const BY_ITSELF: &str = "x-by-itself";

const FILES: [(&str, &str, &str, &str); 3] = [
    ("style", "css", "text/css; charset=utf-8", include_str!("../../assets/style.css")),
    ("pages", "js", "text/javascript; charset=utf-8", include_str!("../../assets/pages.js")),
    ("icon", "svg", "image/svg+xml", include_str!("../../assets/icon.svg")),
];

pub(crate) struct Assets {
    pub(crate) style: String,
    pub(crate) script: String,
    pub(crate) icon: String,
}

impl Assets {
    pub(super) fn new() -> Self {
        let [style, script, icon] = FILES.map(|(name, extension, _, content)| {
            let hash: String = Sha256::digest(content).iter().take(8).map(|byte| format!("{byte:02x}")).collect();
            format!("/assets/{name}.{hash}.{extension}")
        });
        Self { style, script, icon }
    }
}

/// Gives one of the files.
pub(super) fn show(cx: &Cx) -> Result<Response, Problem> {
    let assets = &cx.app.assets;
    let paths = [&assets.style, &assets.script, &assets.icon];
    let found = paths.into_iter().zip(FILES).find(|(path, _)| **path == cx.path);
    let Some((_, (_, _, content_type, content))) = found else {
        return Ok(answer::plain(StatusCode::NOT_FOUND, "There is no such file.\n"));
    };
    let mut answer = answer::response(StatusCode::OK, content_type, content);
    let kept = HeaderValue::from_static("public, max-age=31536000, immutable");
    answer.headers_mut().insert(header::CACHE_CONTROL, kept);
    Ok(answer)
}
