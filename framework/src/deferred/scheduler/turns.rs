//! Whose turn it is: keys in line, by how urgent their tasks are.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::store::{Priority, TaskHead};

/// One turn in so many is that of a class which would otherwise wait for the higher ones to have nothing left.
const LOWER_TURN: u32 = 8;

/// How urgent a task is: by priority, and first tries before retries. The lowest number goes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Class(usize);

impl Class {
    pub(super) const COUNT: usize = 6;

    pub(super) fn of(head: &TaskHead) -> Self {
        let priority = match head.priority {
            Priority::High => 0,
            Priority::Normal => 1,
            Priority::Low => 2,
        };
        Self(2 * priority + usize::from(head.attempts > 0))
    }

    pub(super) fn is_retry(self) -> bool {
        self.0 % 2 == 1
    }

    /// A bit of its own for each class and kind of handler.
    pub(super) fn bit(self, sync: bool) -> u16 {
        1 << (self.0 + if sync { Self::COUNT } else { 0 })
    }
}

/// Those who wait for a turn, one line for each class.
pub(super) struct Turns<T> {
    lines: [VecDeque<T>; Class::COUNT],
    /// Turns since the last one that was a lower class's.
    since_lower: u32,
    /// The class that had it.
    lower: usize,
}

impl<T> Default for Turns<T> {
    fn default() -> Self {
        Self { lines: Default::default(), since_lower: 0, lower: 0 }
    }
}

impl<T> Turns<T> {
    pub(super) fn push(&mut self, class: Class, waiting: T) {
        self.lines[class.0].push_back(waiting);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.lines.iter().all(VecDeque::is_empty)
    }

    fn waits(&self, class: usize, retries: bool) -> bool {
        !self.lines[class].is_empty() && (retries || !Class(class).is_retry())
    }

    /// Returns the highest class in which somebody waits; retries are passed over unless they may have a turn.
    pub(super) fn highest(&self, retries: bool) -> Option<Class> {
        (0..Class::COUNT).find(|class| self.waits(*class, retries)).map(Class)
    }

    /// Takes who is next.
    pub(super) fn pop(&mut self, retries: bool) -> Option<(Class, T)> {
        let Class(highest) = self.highest(retries)?;
        let mut class = highest;
        if self.since_lower + 1 >= LOWER_TURN {
            // Each lower class in its turn, so that none of them waits for ever.
            let lower =
                (self.lower + 1..Class::COUNT).chain(highest + 1..Class::COUNT).filter(|class| *class > highest);
            if let Some(found) = lower.into_iter().find(|class| self.waits(*class, retries)) {
                class = found;
                self.lower = found;
            }
        }
        self.lines[class].pop_front().map(|waiting| (Class(class), waiting))
    }

    /// Notes that somebody of a class has had a turn.
    pub(super) fn served(&mut self, class: Class) {
        let is_lower = class.0 == self.lower && self.since_lower + 1 >= LOWER_TURN;
        self.since_lower = if is_lower { 0 } else { (self.since_lower + 1).min(LOWER_TURN) };
    }
}

/// A key, as the scheduler's parts share it.
pub(super) type Key = Arc<str>;

#[cfg(test)]
mod tests {
    use super::*;

    fn line(turns: &mut Turns<usize>, count: usize) -> Vec<usize> {
        let mut order = Vec::new();
        while order.len() < count
            && let Some((class, waiting)) = turns.pop(true)
        {
            turns.served(class);
            turns.push(class, waiting);
            order.push(waiting);
        }
        order
    }

    #[test]
    fn one_turn_in_eight_is_a_lower_ones_each_in_its_turn() {
        let mut turns = Turns::default();
        for class in [0, 2, 5] {
            turns.push(Class(class), class);
        }
        let order = line(&mut turns, 64);
        let of = |class| order.iter().filter(|waiting| **waiting == class).count();
        assert_eq!((of(0), of(2), of(5)), (56, 4, 4));
        assert!(order.chunks(8).all(|eight| eight.iter().filter(|waiting| **waiting == 0).count() == 7), "{order:?}");
    }

    #[test]
    fn alone_a_low_class_has_every_turn() {
        let mut turns = Turns::default();
        turns.push(Class(4), 4);
        assert_eq!(line(&mut turns, 20), [4; 20]);
        turns.push(Class(1), 1);
        assert_eq!(turns.pop(false).map(|(_, waiting)| waiting), Some(4), "retries are passed over");
    }
}
