//! What hosts tell each other: one notification for a commit, not for a row.

use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, bounded};
use tokio::time::Instant;

use crate::store::Change;

/// Shortest time between two looks into the store that other hosts ask this one for.
const PAUSE: Duration = Duration::from_millis(100);

/// Most changes that wait for somebody who hears them.
const UNHEARD: usize = 1_024;

/// What a commit holds that is of interest to other hosts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum News {
    /// Tasks that nobody holds.
    Work,
    /// Schedules or bulk operations.
    Plans,
    /// Policies of keys.
    Policies,
}

impl News {
    /// Returns the text of a notification from a host.
    pub(super) fn payload(self, host: i64) -> String {
        let letter = match self {
            Self::Work => 'w',
            Self::Plans => 'p',
            Self::Policies => 'k',
        };
        format!("{letter} {host}")
    }

    /// Reads a notification; `None` when it is `host`'s own, or from a version that knows more.
    pub(super) fn read(payload: &str, host: i64) -> Option<Self> {
        let (letter, from) = payload.split_once(' ')?;
        match letter {
            _ if from.parse() == Ok(host) => None,
            "w" => Some(Self::Work),
            "p" => Some(Self::Plans),
            "k" => Some(Self::Policies),
            _ => None,
        }
    }

    pub(super) fn change(self) -> Change {
        match self {
            Self::Work => Change::Work,
            Self::Plans => Change::Plans,
            Self::Policies => Change::Policies,
        }
    }
}

/// What there is to hear, from the moment the store was opened.
#[derive(Clone)]
pub(super) struct Changes {
    sender: Sender<Change>,
    receiver: Receiver<Change>,
}

impl Changes {
    pub(super) fn new() -> Self {
        let (sender, receiver) = bounded(UNHEARD);
        Self { sender, receiver }
    }

    pub(super) fn listen(&self) -> Receiver<Change> {
        self.receiver.clone()
    }

    pub(super) fn tell(&self, change: Change) {
        // A host that works hears everything at once; one that does not needs nothing.
        let _ = self.sender.try_send(change);
    }
}

/// Makes one look of many that are asked for in a moment.
pub(super) struct Calm {
    last: Option<Instant>,
    asked: bool,
}

impl Calm {
    pub(super) fn new() -> Self {
        Self { last: None, asked: false }
    }

    pub(super) fn ask(&mut self) {
        self.asked = true;
    }

    /// Returns when the next look may be made; `None` when none is asked for.
    pub(super) fn next(&self) -> Option<Instant> {
        let now = Instant::now();
        self.asked.then(|| self.last.map_or(now, |last| last + PAUSE))
    }

    pub(super) fn looked(&mut self) {
        self.asked = false;
        self.last = Some(Instant::now());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_does_not_hear_itself() {
        assert_eq!(News::read(&News::Work.payload(7), 8), Some(News::Work));
        assert_eq!(News::read(&News::Work.payload(7), 7), None);
        assert_eq!(News::read("z 7", 8), None);
        assert_eq!(News::read("", 8), None);
    }
}
