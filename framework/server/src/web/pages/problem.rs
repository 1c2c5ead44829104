//! What is shown when something cannot be shown.

use askama::Template;
use axum::http::StatusCode;
use axum::response::Response;

use super::answer::{self, Problem};
use super::{Cx, Page};

#[derive(Template)]
#[template(path = "problem.html")]
struct Shown<'a> {
    page: Page,
    message: String,
    remedy: &'a str,
}

/// Makes a sentence of a message, which mostly is a fragment.
fn sentence(message: &str) -> String {
    let mut letters = message.chars();
    let mut sentence: String = letters.next().into_iter().flat_map(char::to_uppercase).chain(letters).collect();
    if !sentence.ends_with(['.', '!', '?', '\n']) {
        sentence.push('.');
    }
    sentence
}

/// Shows a problem.
pub(crate) fn page(cx: Option<&Cx>, problem: &Problem) -> Response {
    let title = match problem.status {
        StatusCode::NOT_FOUND => "Not found",
        StatusCode::FORBIDDEN => "Not allowed",
        StatusCode::UNAUTHORIZED => "Signed out",
        StatusCode::TOO_MANY_REQUESTS => "Too many tries",
        status if status.is_server_error() => "Something does not work",
        _ => "This cannot be done",
    };
    let text = || answer::plain(problem.status, format!("{title}: {} {}\n", problem.message, problem.remedy));
    let Some(cx) = cx else { return text() };
    let page = Page::without_message(cx, title);
    let shown = Shown { page, message: sentence(&problem.message), remedy: problem.remedy };
    answer::html_with(problem.status, &shown).unwrap_or_else(|_| text())
}

/// Answers an address that there is not.
pub(crate) fn nothing(_cx: &Cx) -> Result<Response, Problem> {
    Err(Problem::new(StatusCode::NOT_FOUND, "There is no such page.", "Begin at the overview."))
}
