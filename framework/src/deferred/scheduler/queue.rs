//! The tasks of one key that are due.

use std::collections::BTreeMap;

use super::turns::Class;
use crate::store::{TaskHead, TaskId};

/// Tasks of a key that need the same: a slot of the same kind, at the same remote host, for the same handler.
pub(super) struct Strand {
    pub(super) class: Class,
    number: u32,
    name: String,
    pub(super) host: Option<String>,
    pub(super) sync: bool,
    /// Whether it waits for a slot of its remote host.
    pub(super) parked: bool,
    /// By due time.
    tasks: BTreeMap<(i64, TaskId), TaskHead>,
}

impl Strand {
    pub(super) fn first(&self) -> Option<&TaskHead> {
        self.tasks.first_key_value().map(|(_, head)| head)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.tasks.is_empty()
    }
}

#[derive(Default)]
pub(super) struct Queue {
    pub(super) strands: Vec<Strand>,
    len: usize,
    pub(super) running: usize,
    /// The turns for which the key is in line.
    pub(super) listed: u16,
    /// Nothing of the key may start just now; it is in no line until that changes.
    pub(super) shut: bool,
}

impl Queue {
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Returns whether it can be forgotten.
    pub(super) fn is_idle(&self) -> bool {
        self.len == 0 && self.running == 0 && self.listed == 0 && self.strands.iter().all(|strand| !strand.parked)
    }

    /// Adds a task; returns its class and whether its strand waits for its remote host.
    pub(super) fn add(&mut self, head: TaskHead, sync: bool) -> (Class, bool) {
        let class = Class::of(&head);
        let same = |strand: &&mut Strand| {
            (strand.class, strand.sync, strand.number) == (class, sync, head.number)
                && strand.name == head.name
                && strand.host == head.host
        };
        self.len += 1;
        let at = (head.run_at.0, head.id);
        if let Some(strand) = self.strands.iter_mut().find(same) {
            strand.tasks.insert(at, head);
            return (class, strand.parked);
        }
        let (number, name, host) = (head.number, head.name.clone(), head.host.clone());
        let tasks = BTreeMap::from([(at, head)]);
        self.strands.push(Strand { class, number, name, host, sync, parked: false, tasks });
        (class, false)
    }

    /// Returns the strand that is next in a class: that of the task that was due first, among those that wait for nobody.
    pub(super) fn next(&self, class: Class, sync: bool) -> Option<usize> {
        let mine = |strand: &Strand| strand.class == class && strand.sync == sync && !strand.parked;
        let due = |strand: &Strand| strand.first().map(|head| (head.run_at.0, head.id));
        let strands = self.strands.iter().enumerate().filter(|(_, strand)| mine(strand));
        strands.filter_map(|(index, strand)| due(strand).map(|due| (due, index))).min().map(|(_, index)| index)
    }

    /// Takes the first task of a strand.
    pub(super) fn take(&mut self, index: usize) -> Option<TaskHead> {
        let (_, head) = self.strands.get_mut(index)?.tasks.pop_first()?;
        self.len -= 1;
        self.tidy(index);
        Some(head)
    }

    /// Takes all tasks of a strand.
    pub(super) fn take_strand(&mut self, index: usize) -> Vec<TaskHead> {
        let Some(strand) = self.strands.get_mut(index) else { return Vec::new() };
        let heads: Vec<TaskHead> = std::mem::take(&mut strand.tasks).into_values().collect();
        self.len -= heads.len();
        self.tidy(index);
        heads
    }

    /// Takes up to `count` tasks from the end: the last class first, and in it what was due last.
    pub(super) fn take_last(&mut self, count: usize) -> Vec<TaskHead> {
        let mut heads = Vec::new();
        while heads.len() < count {
            let last = |strand: &Strand| strand.tasks.last_key_value().map(|(at, _)| (strand.class, *at));
            let strands = self.strands.iter().enumerate();
            let Some((_, index)) = strands.filter_map(|(index, strand)| Some((last(strand)?, index))).max() else {
                break;
            };
            heads.extend(self.strands[index].tasks.pop_last().map(|(_, head)| head));
            self.len -= 1;
            self.tidy(index);
        }
        heads
    }

    /// Takes one task out, wherever it stands.
    pub(super) fn remove(&mut self, id: TaskId) -> Option<TaskHead> {
        for index in 0..self.strands.len() {
            let strand = &mut self.strands[index];
            if let Some(at) = strand.tasks.keys().find(|(_, other)| *other == id).copied() {
                let head = strand.tasks.remove(&at);
                self.len -= 1;
                self.tidy(index);
                return head;
            }
        }
        None
    }

    fn tidy(&mut self, index: usize) {
        // A parked one is in the line of its host, and goes when that has come to it.
        if self.strands[index].is_empty() && !self.strands[index].parked {
            self.strands.swap_remove(index);
        }
    }

    /// Lets the strands of a class and a host be looked at again; false when there are none.
    pub(super) fn unpark(&mut self, class: Class, sync: bool, host: &str) -> bool {
        let mut found = false;
        self.strands.retain_mut(|strand| {
            let mine =
                strand.parked && (strand.class, strand.sync) == (class, sync) && strand.host.as_deref() == Some(host);
            strand.parked &= !mine;
            found |= mine && !strand.is_empty();
            !mine || !strand.is_empty()
        });
        found
    }
}
