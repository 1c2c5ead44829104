//! What is in the store and not in memory: when it is brought in, and what goes back.

use std::sync::Arc;

use super::Message;
use super::keeper::{GivingUp, Keeper};
use crate::deferred::CHANNEL;
use crate::error::Chain;
use crate::store::{Claimed, Lane, StoreError, TaskHead, Timestamp};

/// Most tasks that one claim takes of a lane.
const PER_LANE: usize = 128;

/// Tasks that one step makes ready when their time has come.
const PROMOTIONS: u32 = 1_000;

/// Lanes that are read in one step at the start.
const LANES: u32 = 1_000;

/// Wait before a step that the store refused is tried again, in milliseconds.
pub(super) const STORE_RETRY_MS: i64 = 1_000;

impl Keeper {
    /// Notes every lane of the store, and when the next of its tasks is due.
    fn look_into_store(&mut self) {
        let store = Arc::clone(&self.shared.store);
        let mut after: Option<Lane> = None;
        loop {
            match store.lanes(after.as_ref(), LANES) {
                Ok(lanes) if lanes.is_empty() => break,
                Ok(lanes) => {
                    after = lanes.last().cloned();
                    lanes.into_iter().for_each(|lane| self.spill(lane));
                }
                Err(error) => return self.unreadable(&error),
            }
        }
        self.look = false;
        self.read_store_due();
    }

    fn read_store_due(&mut self) {
        match self.shared.store.next_due() {
            Ok(due) => self.store_due = due.map(|due| due.0),
            Err(error) => {
                self.look = true;
                self.unreadable(&error);
            }
        }
    }

    /// Leaves the store alone for a moment.
    fn unreadable(&mut self, error: &StoreError) {
        log::error!(logger: self.shared.log, target: CHANNEL, error = Chain(error).to_string();
            "the tasks in the store cannot be brought into memory; it is tried again");
        self.pause = Some(self.now().saturating_add(STORE_RETRY_MS));
    }

    /// Notes that the store has ready tasks of a lane which nobody holds.
    pub(super) fn spill(&mut self, lane: Lane) {
        self.shared.intake.set_spilled(&lane.key, true);
        let fed = !self.scheduler.is_low(&lane.key);
        self.paging.spill(lane, fed);
    }

    /// Notes that the store has a waiting task which nobody holds.
    pub(super) fn due_in_store(&mut self, at: Timestamp) {
        self.store_due = Some(self.store_due.map_or(at.0, |due| due.min(at.0)));
    }

    /// Takes in what was accepted and left in the store.
    pub(super) fn overflow(&mut self) {
        let (lanes, due) = self.shared.intake.take_overflow();
        lanes.into_iter().for_each(|lane| self.spill(lane));
        if let Some(due) = due {
            self.due_in_store(Timestamp(due));
        }
    }

    /// Tasks whose handler no plugin has go back to the store, where they cost no memory.
    pub(super) fn give_up_homeless(&mut self) {
        let heads = self.scheduler.take_homeless();
        if !heads.is_empty() {
            self.unhold(heads);
        }
    }

    /// Gives tasks up that are counted and not in the scheduler.
    pub(super) fn unhold(&self, heads: Vec<TaskHead>) {
        let receipt = self.shared.store.unhold(heads.iter().map(|head| head.id).collect());
        self.later(async move { Message::Unheld { heads, result: receipt.await } });
    }

    /// Brings more of the keys that have little left, and makes ready what is due in the store.
    pub(super) fn page(&mut self, now: i64) {
        for key in self.scheduler.take_drained() {
            if self.paging.has(&key) {
                self.paging.drained(&key);
            } else {
                self.shared.intake.set_spilled(&key, false);
            }
        }
        self.pause = self.pause.filter(|until| *until > now);
        if self.pause.is_none() && self.giving_up == GivingUp::Due {
            self.giving_up = GivingUp::Asked;
            let receipt = self.shared.store.unhold_all();
            self.later(async move { Message::GaveUp(receipt.await) });
        }
        if !self.whole_store || self.pause.is_some() || self.giving_up != GivingUp::No {
            return;
        }
        if self.look {
            self.look_into_store();
        }
        if self.store_due.is_some_and(|due| due <= now) && !self.promoting {
            self.promoting = true;
            let receipt = self.shared.store.promote(Timestamp(now), PROMOTIONS);
            self.later(async move { Message::Promoted(receipt.await) });
        }
        let room = self.shared.intake.room();
        if room == 0 {
            self.make_room();
        } else {
            self.claim(room);
        }
    }

    /// What this host held is nobody's now; what the store has is looked up.
    pub(super) fn gave_up(&mut self, result: Result<(), StoreError>) {
        if let Err(error) = result {
            self.giving_up = GivingUp::Due;
            self.unreadable(&error);
        } else if self.giving_up == GivingUp::Asked {
            self.giving_up = GivingUp::No;
            self.look = self.whole_store;
        }
    }

    fn claim(&mut self, room: usize) {
        let work = Arc::clone(&self.shared.work);
        let lanes = self.paging.next_claim(room, |lane| work.kind(lane.number, &lane.name).is_some());
        if lanes.is_empty() {
            return;
        }
        let per_lane = (room / lanes.len()).clamp(1, PER_LANE);
        // Counted beforehand, so that what is accepted meanwhile does not take the same room.
        let reserved = per_lane * lanes.len();
        self.shared.intake.took(reserved);
        let receipt = self.shared.store.claim(lanes.clone(), u32::try_from(per_lane).unwrap_or(u32::MAX));
        self.later(async move { Message::Claimed { lanes, reserved, claimed: receipt.await } });
    }

    /// Memory is full: a key that has nothing in it gets room from one that cannot use its own.
    fn make_room(&mut self) {
        if self.evicting || !self.paging.hungry().any(|lane| self.scheduler.has_none_of(&lane.key)) {
            return;
        }
        let heads = self.scheduler.evict();
        if !heads.is_empty() {
            self.evicting = true;
            self.unhold(heads);
        }
    }

    pub(super) fn claimed(&mut self, lanes: &[Lane], reserved: usize, claimed: Result<Vec<Claimed>, StoreError>) {
        self.shared.intake.released(reserved);
        let claimed = match claimed {
            Ok(claimed) => claimed,
            Err(error) => {
                self.unreadable(&error);
                return self.paging.not_claimed(lanes);
            }
        };
        let now = Timestamp(self.now());
        for Claimed { lane, heads, more } in claimed {
            // A lane that gave nothing waits for an earlier task of its ordered key.
            let blocked = heads.is_empty();
            self.shared.intake.took(heads.len());
            for head in heads {
                // What is ready is due, whatever the clock said when it was written down.
                self.hold(TaskHead { run_at: head.run_at.min(now), ..head });
            }
            let fed = blocked || !self.scheduler.is_low(&lane.key);
            if let Some(key) = self.paging.claimed(&lane, more, fed) {
                self.shared.intake.set_spilled(&key, false);
            }
        }
    }

    pub(super) fn promoted(&mut self, lanes: Result<Vec<Lane>, StoreError>) {
        self.promoting = false;
        match lanes {
            Ok(lanes) => {
                lanes.into_iter().for_each(|lane| self.spill(lane));
                self.read_store_due();
            }
            Err(error) => self.unreadable(&error),
        }
    }

    pub(super) fn unheld(&mut self, heads: Vec<TaskHead>, result: Result<(), StoreError>) {
        self.evicting = false;
        if let Err(error) = result {
            self.unreadable(&error);
            let run_at = Timestamp(self.now().saturating_add(STORE_RETRY_MS));
            return heads.into_iter().for_each(|head| self.hold(TaskHead { run_at, ..head }));
        }
        self.shared.intake.released(heads.len());
        for head in heads {
            // Ready or waiting: both are looked at.
            self.due_in_store(head.run_at);
            self.spill(head.lane());
        }
    }
}
