//! Lists, a page at a time.

use axum::http::StatusCode;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use schemars::JsonSchema;
use serde::Serialize;

use super::answer::Failure;

/// Items on a page when nothing is said.
const USUAL: u32 = 50;
/// Most items on a page.
pub(super) const MOST: u32 = 500;

/// A page of a list.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "{T}Page")]
pub(super) struct Page<T> {
    /// The items.
    pub(super) items: Vec<T>,
    /// What `cursor` has to be for the next page; none on the last.
    pub(super) next: Option<String>,
}

impl<T> Page<T> {
    /// Makes a page of up to one item more than it has room for.
    pub(super) fn new(mut items: Vec<T>, limit: u32, id: impl Fn(&T) -> i64) -> Self {
        let limit = limit as usize;
        let more = items.len() > limit;
        items.truncate(limit);
        let next = items.last().filter(|_| more).map(|last| cursor(id(last)));
        Self { items, next }
    }
}

/// Returns how many items a page has.
pub(super) fn limit(given: Option<u32>) -> Result<u32, Failure> {
    match given.unwrap_or(USUAL) {
        limit @ 1..=MOST => Ok(limit),
        other => Err(invalid(format!("`limit` is {other}, it must be 1 to {MOST}."))),
    }
}

/// Nobody should build one: what is in it may change.
fn cursor(id: i64) -> String {
    URL_SAFE_NO_PAD.encode(id.to_be_bytes())
}

/// Reads where a page begins.
pub(super) fn after(cursor: Option<&str>) -> Result<Option<i64>, Failure> {
    let Some(cursor) = cursor else { return Ok(None) };
    let bytes = URL_SAFE_NO_PAD.decode(cursor).ok().and_then(|bytes| bytes.try_into().ok());
    bytes
        .map(|bytes| Some(i64::from_be_bytes(bytes)))
        .ok_or_else(|| invalid("The `cursor` is none: use `next` of the page before, and the same query."))
}

fn invalid(detail: impl Into<String>) -> Failure {
    Failure::new(StatusCode::BAD_REQUEST, "invalid_query", detail)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_leads_to_the_next_page_and_nothing_else_is_taken_for_one() {
        let page = Page::new(vec![5, 6, 7], 2, |id| *id);
        assert_eq!(page.items, [5, 6]);
        assert_eq!(after(page.next.as_deref()).unwrap(), Some(6));
        assert!(Page::new(vec![5, 6], 2, |id| *id).next.is_none());
        for wrong in ["", "7", "../etc", "AAAA", "\u{0}", "AAAAAAAAAAY="] {
            assert!(after(Some(wrong)).is_err(), "{wrong:?}");
        }
    }
}
