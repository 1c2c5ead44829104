//! Which lanes to bring from the store into memory. Pure: no clock, no thread, no store.
//!
//! Most tasks never pass here: accepting hands them to the scheduler at once. A key that has more than fits in memory
//! *spills*: its later tasks stay in the store, and their lane is noted here. When the scheduler has nearly done what it
//! holds of a key, the key's lanes are hungry, and the next claim brings more of each. Lanes without a handler wait for a
//! plugin.
//!
//! There is one note for each lane of the store, however many tasks it has: about 350 bytes and its names twice.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use smallvec::{SmallVec, smallvec};

use crate::store::Lane;

/// Lanes in one claim.
const LANES_PER_CLAIM: usize = 64;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    /// Its key has enough in memory.
    Fed,
    /// In the queue for the next claim.
    Hungry,
    /// Being claimed. `more` when more came to the store meanwhile, `again` when the claim may have been too early.
    Claiming { more: bool, again: bool },
    /// No plugin has its handler just now.
    Homeless,
}

/// The lanes that have tasks in the store which nobody holds.
#[derive(Default)]
pub(super) struct Paging {
    spilled: HashMap<Arc<Lane>, Place>,
    /// The lanes of each key; nearly all have one.
    by_key: HashMap<String, SmallVec<[Arc<Lane>; 1]>>,
    hungry: VecDeque<Arc<Lane>>,
    claiming: usize,
}

impl Paging {
    /// Notes that the store has tasks of a lane. `fed` says whether its key has enough in memory.
    pub(super) fn spill(&mut self, lane: Lane, fed: bool) {
        match self.spilled.get_mut(&lane) {
            Some(Place::Claiming { more, again }) => {
                *more = true;
                // The claim may have looked before this task came, and nothing else would make the lane hungry.
                *again |= !fed;
            }
            Some(Place::Fed) if !fed => self.feed(&Arc::new(lane)),
            Some(_) => {}
            None => {
                let lane = Arc::new(lane);
                match self.by_key.get_mut(&lane.key) {
                    Some(lanes) => lanes.push(Arc::clone(&lane)),
                    None => drop(self.by_key.insert(lane.key.clone(), smallvec![Arc::clone(&lane)])),
                }
                self.spilled.insert(Arc::clone(&lane), Place::Fed);
                if !fed {
                    self.feed(&lane);
                }
            }
        }
    }

    fn feed(&mut self, lane: &Arc<Lane>) {
        if let Some(place) = self.spilled.get_mut(lane)
            && *place == Place::Fed
        {
            *place = Place::Hungry;
            self.hungry.push_back(Arc::clone(lane));
        }
    }

    /// Notes that memory holds little of a key, or that something of it may be claimed that could not be before.
    pub(super) fn drained(&mut self, key: &str) {
        for lane in self.by_key.get(key).cloned().unwrap_or_default() {
            if let Some(Place::Claiming { again, .. }) = self.spilled.get_mut(&lane) {
                *again = true;
            }
            self.feed(&lane);
        }
    }

    /// Returns the lanes that a claim would bring next.
    pub(super) fn hungry(&self) -> impl Iterator<Item = &Lane> {
        self.hungry.iter().take(LANES_PER_CLAIM).map(Arc::as_ref)
    }

    /// Returns whether the store has tasks of a key, so that new ones go behind them.
    pub(super) fn has(&self, key: &str) -> bool {
        self.by_key.contains_key(key)
    }

    /// Returns the lanes to claim next, at most `room`. One claim runs at a time.
    pub(super) fn next_claim(&mut self, room: usize, has_handler: impl Fn(&Lane) -> bool) -> Vec<Lane> {
        let mut lanes = Vec::new();
        if self.claiming > 0 {
            return lanes;
        }
        while lanes.len() < LANES_PER_CLAIM.min(room)
            && let Some(lane) = self.hungry.pop_front()
        {
            let Some(place) = self.spilled.get_mut(&lane) else { continue };
            if has_handler(&lane) {
                *place = Place::Claiming { more: false, again: false };
                lanes.push(Lane::clone(&lane));
            } else {
                *place = Place::Homeless;
            }
        }
        self.claiming = lanes.len();
        lanes
    }

    /// Notes what a claim of a lane left in the store, and whether its key has enough in memory. Returns the key when the
    /// store has nothing more of it.
    pub(super) fn claimed(&mut self, lane: &Lane, more: bool, fed: bool) -> Option<String> {
        self.claiming = self.claiming.saturating_sub(1);
        let (came, again) = match self.spilled.get(lane) {
            Some(Place::Claiming { more, again }) => (*more, *again),
            _ => (false, false),
        };
        if !more && !came {
            return self.forget(lane);
        }
        let lane = Arc::new(lane.clone());
        // The key of an entry that is there stays.
        self.spilled.insert(Arc::clone(&lane), Place::Fed);
        if !fed || again {
            self.feed(&lane);
        }
        None
    }

    /// Notes that a claim failed; its lanes are hungry still.
    pub(super) fn not_claimed(&mut self, lanes: &[Lane]) {
        for lane in lanes {
            self.claimed(lane, true, false);
        }
    }

    fn forget(&mut self, lane: &Lane) -> Option<String> {
        self.spilled.remove(lane);
        let lanes = self.by_key.get_mut(&lane.key)?;
        lanes.retain(|other| **other != *lane);
        if !lanes.is_empty() {
            return None;
        }
        self.by_key.remove(&lane.key);
        Some(lane.key.clone())
    }

    /// Gives lanes without a handler another chance: the plugins have changed.
    pub(super) fn rehome(&mut self) {
        for (lane, place) in &mut self.spilled {
            if *place == Place::Homeless {
                *place = Place::Hungry;
                self.hungry.push_back(Arc::clone(lane));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lane(key: &str) -> Lane {
        Lane { number: 7_320, name: "none".into(), key: key.into() }
    }

    #[test]
    fn a_hungry_lane_is_claimed_once_and_forgotten_when_nothing_is_left() {
        let mut paging = Paging::default();
        paging.spill(lane("a"), true);
        assert!(paging.next_claim(9, |_| true).is_empty(), "its key has enough in memory");
        paging.drained("a");
        paging.drained("a");
        assert_eq!(paging.next_claim(9, |_| true), [lane("a")]);
        assert!(paging.next_claim(9, |_| true).is_empty());
        assert_eq!(paging.claimed(&lane("a"), true, true), None);
        assert!(paging.has("a"));
        paging.drained("a");
        assert_eq!(paging.next_claim(9, |_| true), [lane("a")]);
        assert_eq!(paging.claimed(&lane("a"), false, true), Some("a".into()));
        assert!(!paging.has("a"));
    }

    /// Bytes that are kept for the lanes, as the containers ask for them.
    fn bytes(paging: &Paging) -> usize {
        // One more byte for each place of a table, and the two counters of an `Arc`.
        let table = |capacity: usize, entry: usize| (capacity * 8 / 7).next_power_of_two() * (entry + 1);
        let lanes =
            paging.spilled.keys().map(|lane| 16 + size_of::<Lane>() + lane.name.capacity() + lane.key.capacity());
        let keys = paging.by_key.iter().map(|(key, lanes)| {
            key.capacity() + if lanes.spilled() { lanes.capacity() * size_of::<Arc<Lane>>() } else { 0 }
        });
        table(paging.spilled.capacity(), size_of::<(Arc<Lane>, Place)>())
            + table(paging.by_key.capacity(), size_of::<(String, SmallVec<[Arc<Lane>; 1]>)>())
            + paging.hungry.capacity() * size_of::<Arc<Lane>>()
            + lanes.chain(keys).sum::<usize>()
    }

    #[test]
    fn a_lane_is_remembered_in_few_bytes_and_forgotten_with_its_tasks() {
        const LANES: usize = 50_000;
        let mut paging = Paging::default();
        let named = |number: usize| lane(&format!("guest_house:{number:08}"));
        for number in 0..LANES {
            paging.spill(named(number), false);
            // However often it is told.
            paging.spill(named(number), false);
        }
        let names = 2 * named(0).key.len() + named(0).name.len();
        assert!(bytes(&paging) < LANES * (350 + names), "{} bytes for each", bytes(&paging) / LANES);
        while let lanes = paging.next_claim(LANES, |_| true)
            && !lanes.is_empty()
        {
            lanes.iter().for_each(|lane| drop(paging.claimed(lane, false, true)));
        }
        assert_eq!((paging.spilled.len(), paging.by_key.len(), paging.hungry.len()), (0, 0, 0));
    }

    #[test]
    fn tasks_that_are_accepted_during_a_claim_are_not_forgotten() {
        let mut paging = Paging::default();
        paging.spill(lane("a"), false);
        assert_eq!(paging.next_claim(9, |_| true).len(), 1);
        paging.spill(lane("a"), false);
        assert_eq!(paging.claimed(&lane("a"), false, false), None);
        assert_eq!(paging.next_claim(9, |_| true), [lane("a")]);
    }

    #[test]
    fn a_key_whose_turn_came_during_a_claim_is_claimed_again() {
        // The claim looked at an ordered key before its head had ended, and found nothing that may be taken.
        let mut paging = Paging::default();
        paging.spill(lane("a"), false);
        assert_eq!(paging.next_claim(9, |_| true).len(), 1);
        paging.drained("a");
        assert_eq!(paging.claimed(&lane("a"), true, true), None);
        assert_eq!(paging.next_claim(9, |_| true), [lane("a")]);
    }

    #[test]
    fn a_task_that_comes_due_during_a_claim_that_finds_nothing_is_claimed_again() {
        let mut paging = Paging::default();
        paging.spill(lane("a"), false);
        assert_eq!(paging.next_claim(9, |_| true).len(), 1);
        paging.spill(lane("a"), false);
        // Others of the key wait behind it, and their key counts as fed while its head is on its way.
        assert_eq!(paging.claimed(&lane("a"), true, true), None);
        assert_eq!(paging.next_claim(9, |_| true), [lane("a")]);
    }

    #[test]
    fn a_claim_brings_no_more_lanes_than_there_is_room_for() {
        let mut paging = Paging::default();
        for key in ["a", "b", "c"] {
            paging.spill(lane(key), false);
        }
        let lanes = paging.next_claim(2, |_| true);
        assert_eq!((lanes.len(), paging.hungry().count()), (2, 1));
    }

    #[test]
    fn a_claim_that_failed_is_made_again() {
        let mut paging = Paging::default();
        paging.spill(lane("a"), false);
        let lanes = paging.next_claim(9, |_| true);
        paging.not_claimed(&lanes);
        assert_eq!(paging.next_claim(9, |_| true), lanes);
    }

    #[test]
    fn a_lane_without_a_handler_waits_for_the_plugins_to_change() {
        let mut paging = Paging::default();
        paging.spill(lane("a"), false);
        assert!(paging.next_claim(9, |_| false).is_empty());
        paging.drained("a");
        assert!(paging.next_claim(9, |_| true).is_empty());
        paging.rehome();
        assert_eq!(paging.next_claim(9, |_| true), [lane("a")]);
    }
}
