//! A host that works on tasks whose handler does nothing, and who counts their ends.
#![allow(dead_code, clippy::allow_attributes, reason = "each bench uses a part of it")]

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use switchboard::config::StoreConfig;
use switchboard::store::TaskState;
use switchboard::{DeferOptions, Switchboard, SwitchboardBuilder, TriggerNumber, WorkOn};
use switchboard_tests::Site;
use switchboard_tests::bench::{self, produced};

/// Bytes of a task's input.
pub(crate) const PAYLOAD_BYTES: usize = 1 << 10;

/// Keys among which the tasks take turns.
const KEYS: u64 = 64;

/// The settings that differ from the defaults.
const SETTINGS: &str = "[deferred]\nthreads = 64\n";

pub(crate) struct Worked {
    pub(crate) host: Switchboard,
    accepted: AtomicU64,
    done: Arc<AtomicU64>,
}

impl Worked {
    pub(crate) fn open(site: &Site, store: Option<StoreConfig>) -> Self {
        site.settings(SETTINGS);
        let host = builder(site, store).open().unwrap();
        let (outcomes, done) = (host.tasks().subscribe(), Arc::<AtomicU64>::default());
        let counted = Arc::clone(&done);
        std::thread::spawn(move || {
            for outcome in outcomes {
                assert_eq!(outcome.state, TaskState::Done, "{outcome:?}");
                counted.fetch_add(1, Ordering::Relaxed);
            }
        });
        Self { host, accepted: AtomicU64::new(0), done }
    }

    /// Returns how many tasks go from their acceptance to their end in a second.
    pub(crate) fn produced(&self, producers: usize) -> f64 {
        let all_are_done =
            |_| bench::wait(|| self.done.load(Ordering::Relaxed) == self.accepted.load(Ordering::Relaxed));
        produced("ours", producers, || || self.accept(), all_are_done)
    }

    /// Returns how many tasks for tomorrow are accepted in a second.
    pub(crate) fn accepted(&self, producers: usize) -> f64 {
        let tomorrow = DeferOptions::default().after(Duration::from_secs(24 * 60 * 60));
        produced("ours", producers, || || defer(&self.host, 0, tomorrow.clone()), |_| ())
    }

    fn accept(&self) {
        defer(&self.host, self.accepted.fetch_add(1, Ordering::Relaxed), DeferOptions::default());
    }
}

/// Makes a store with one task in it.
pub(crate) fn sample(site: &Site, store: Option<StoreConfig>) {
    let host = builder(site, store).work_on(WorkOn::Nothing).open().unwrap();
    defer(&host, 0, DeferOptions::default());
    host.stop();
}

fn builder(site: &Site, store: Option<StoreConfig>) -> SwitchboardBuilder {
    let builder = Switchboard::builder(site.path()).watch(false);
    match store {
        Some(store) => builder.store(store),
        None => builder,
    }
}

fn defer(host: &Switchboard, number: u64, options: DeferOptions) {
    let options = options.key(format!("key:{}", number % KEYS));
    host.defer(TriggerNumber::new(22_001), "echo", vec![b'r'; PAYLOAD_BYTES], options).unwrap();
}
