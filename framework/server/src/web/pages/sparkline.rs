//! A line that shows how something went in the last hour, drawn on the server: it needs no script.

use askama::Template;
use askama::filters::HtmlSafe;
use switchboard::MinuteOfAttempts;

use super::show::{counted, number};

/// Size of the picture in its own units: four for each minute.
const WIDTH: usize = 240;
const HEIGHT: f64 = 40.0;

/// The attempts of an hour. What it shows is said in words as well.
#[derive(Template)]
#[template(
    source = r#"<figure class="spark"><svg viewBox="0 0 {{ width }} 42" preserveAspectRatio="none" aria-hidden="true" focusable="false"><polyline class="all" points="{{ all }}"/><polyline class="failed" points="{{ failed }}"/></svg><figcaption>{{ words }}</figcaption></figure>"#,
    ext = "html"
)]
pub(super) struct Sparkline {
    width: usize,
    all: String,
    failed: String,
    words: String,
}

// It writes markup of its own, in which its texts are escaped.
impl HtmlSafe for Sparkline {}

impl Sparkline {
    pub(super) fn of(minutes: &[MinuteOfAttempts]) -> Self {
        let all = |minute: &MinuteOfAttempts| minute.succeeded + minute.failed;
        let most = minutes.iter().map(all).max().unwrap_or(0);
        let (total, failed) = (minutes.iter().map(all).sum(), minutes.iter().map(|minute| minute.failed).sum::<u64>());
        let points = |count: &dyn Fn(&MinuteOfAttempts) -> u64| {
            let step = WIDTH as f64 / minutes.len().saturating_sub(1).max(1) as f64;
            let point = |(place, minute): (usize, &MinuteOfAttempts)| {
                let height = HEIGHT * count(minute) as f64 / most.max(1) as f64;
                format!("{:.1},{:.1}", place as f64 * step, 1.0 + HEIGHT - height)
            };
            minutes.iter().enumerate().map(point).collect::<Vec<_>>().join(" ")
        };
        let words = if total == 0 {
            "No attempts in the last hour.".to_owned()
        } else {
            format!(
                "{} in the last hour, {} of them failed; at most {} a minute.",
                counted(total, "attempt"),
                number(failed),
                number(most)
            )
        };
        Self { width: WIDTH, all: points(&all), failed: points(&|minute| minute.failed), words }
    }
}
