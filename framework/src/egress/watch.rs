//! The deadlines of a request: one for the whole, and one for the phase it is in.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::Poll;
use std::time::{Duration, Instant};

use super::trace::{Phase, Progress};

/// Stands for never where adding to a time would overflow.
const FAR: Duration = Duration::from_secs(60 * 60 * 24 * 365 * 30);

/// Which deadline passed.
pub(super) enum Overdue {
    /// That of a phase, which was so long.
    Phase(Phase, Duration),
    /// That of the whole request, in this phase.
    Whole(Phase),
}

/// Runs `exchange` until it ends or a deadline passes. The phases change while `exchange` is polled, so the deadline is
/// looked up after each poll.
pub(super) async fn within<F: Future>(
    progress: &Progress,
    started: Instant,
    timeout: Duration,
    exchange: F,
) -> Result<F::Output, Overdue> {
    let end = started.checked_add(timeout).unwrap_or(started + FAR);
    let mut exchange = pin!(exchange);
    let mut timer = pin!(tokio::time::sleep_until(end.into()));
    poll_fn(|cx| {
        if let Poll::Ready(output) = exchange.as_mut().poll(cx) {
            return Poll::Ready(Ok(output));
        }
        let phase = progress.phase();
        let of_phase = progress.deadline().filter(|(until, _)| *until < end);
        let until = of_phase.map_or(end, |(until, _)| until);
        if timer.deadline() != until.into() {
            timer.as_mut().reset(until.into());
        }
        if timer.as_mut().poll(cx).is_pending() && Instant::now() < until {
            return Poll::Pending;
        }
        Poll::Ready(Err(match of_phase {
            Some((_, limit)) => Overdue::Phase(phase, limit),
            None => Overdue::Whole(phase),
        }))
    })
    .await
}
