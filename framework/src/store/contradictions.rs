//! Records that contradict each other, in whichever engine.

/// Most findings of one kind that are named.
pub(super) const NAMED: u32 = 20;

/// Queries for what must not be, each with the sentence about the id that it finds. A query gives the id first.
pub(super) const CONTRADICTIONS: &[(&str, &str)] = &[
    ("task {} is in no state that there is", "SELECT id FROM task WHERE state NOT IN (0, 1, 2, 3, 4)"),
    (
        "task {} runs without an attempt that has begun and not ended",
        "SELECT id FROM task WHERE state = 1
         AND NOT EXISTS (SELECT 1 FROM attempt WHERE attempt.task = task.id AND ended_at IS NULL)",
    ),
    (
        "task {} does not run and has an attempt that has not ended",
        "SELECT id FROM task WHERE state <> 1
         AND EXISTS (SELECT 1 FROM attempt WHERE attempt.task = task.id AND ended_at IS NULL)",
    ),
    (
        "task {} runs more than once at a time",
        "SELECT task FROM attempt WHERE task IS NOT NULL AND ended_at IS NULL GROUP BY task HAVING count(*) > 1",
    ),
    ("task {} has ended and is held by a host", "SELECT id FROM task WHERE state IN (3, 4) AND holder IS NOT NULL"),
    (
        "task {} has ended well more than once since it was last retried by hand",
        "SELECT task FROM attempt JOIN task ON task.id = attempt.task
         WHERE outcome = 'ok' AND attempt.number > task.attempts_before GROUP BY task HAVING count(*) > 1",
    ),
    (
        "task {} has made more attempts before its last retry by hand than in all",
        "SELECT id FROM task WHERE attempts_before > attempts OR attempts < 0",
    ),
    (
        "task {} has not ended and its event is gone",
        "SELECT id FROM task WHERE state IN (0, 1, 2) AND event IS NOT NULL
         AND NOT EXISTS (SELECT 1 FROM event WHERE event.id = task.event)",
    ),
];
