//! One key of 51 whose tasks hang: what the tasks of the others notice of it.

use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use switchboard::{BuiltIn, CallHost, DeferOptions, Payload, PluginError, Switchboard, TriggerNumber};
use switchboard_tests::Site;
use switchboard_tests::bench::{self, Line, SyncProbe, Target};

/// Keys that do not hang.
const OTHERS: u32 = 50;

/// Time between two tasks.
const PACE: Duration = Duration::from_millis(2);

/// Tasks in one round, of which one in 51 is for the key that may hang.
const TASKS: u32 = 510;

/// Rounds of each kind.
const ROUNDS: usize = 20;

const NUMBER: TriggerNumber = TriggerNumber::new(22_100);

/// Notes how long after its announcement a task runs; its input is when it was announced.
struct Prompt {
    start: Instant,
    latencies: Mutex<Vec<f64>>,
}

impl BuiltIn for Prompt {
    fn call(&self, _host: &dyn CallHost, input: &[u8]) -> Result<Payload, PluginError> {
        let announced = Duration::from_nanos(u64::from_le_bytes(input.try_into().unwrap()));
        let latency = self.start.elapsed() - announced;
        self.latencies.lock().unwrap().push(latency.as_secs_f64() * 1e3);
        Ok(Payload::from(b"null".to_vec()))
    }
}

/// Waits while it hangs.
#[derive(Default)]
struct Hanging {
    hangs: Mutex<bool>,
    changed: Condvar,
}

impl Hanging {
    fn set(&self, hangs: bool) {
        *self.hangs.lock().unwrap() = hangs;
        self.changed.notify_all();
    }
}

impl BuiltIn for Hanging {
    fn call(&self, _host: &dyn CallHost, _input: &[u8]) -> Result<Payload, PluginError> {
        drop(self.changed.wait_while(self.hangs.lock().unwrap(), |hangs| *hangs).unwrap());
        Ok(Payload::from(b"null".to_vec()))
    }
}

/// Measures rounds with and without the hanging key in turn, and compares the 99th percentile of the others' latencies.
pub(crate) fn line(probe: &mut SyncProbe) -> Line {
    let site = Site::new();
    site.settings("[deferred]\nthreads = 16\n");
    let prompt = Arc::new(Prompt { start: Instant::now(), latencies: Mutex::default() });
    let hanging = Arc::<Hanging>::default();
    let builder = Switchboard::builder(site.path()).watch(false);
    let builder = builder.built_in(NUMBER, "prompt", Arc::<Prompt>::clone(&prompt));
    let host = builder.built_in(NUMBER, "hanging", Arc::<Hanging>::clone(&hanging)).open().unwrap();
    let mut latencies: [Vec<f64>; 2] = Default::default();
    for _ in 0..ROUNDS {
        let mut looks = vec![probe.look()];
        let pair = [false, true].map(|hangs| {
            hanging.set(hangs);
            announce(&host, &prompt);
            bench::wait(|| prompt.latencies.lock().unwrap().len() == (TASKS - TASKS / (OTHERS + 1)) as usize);
            hanging.set(false);
            looks.push(probe.look());
            std::mem::take(&mut *prompt.latencies.lock().unwrap())
        });
        bench::wait(|| host.tasks().counts().unwrap().ready == 0);
        if SyncProbe::is_steady(&looks) {
            pair.into_iter().zip(&mut latencies).for_each(|(one, all)| all.extend(one));
        }
    }
    let [without, with] = latencies.map(percentile_99);
    let what = "p99 of 50 keys, another hangs".to_owned();
    Line { what, unit: "ms", floor: without, ours: with, target: Target::AtMost(1.1) }
}

/// Defers tasks in an even pace, whatever becomes of them.
fn announce(host: &Switchboard, prompt: &Prompt) {
    let start = Instant::now();
    for index in 0..TASKS {
        while let Some(left) = (PACE * index).checked_sub(start.elapsed()) {
            std::thread::park_timeout(left);
        }
        let key = index % (OTHERS + 1);
        let name = if key == OTHERS { "hanging" } else { "prompt" };
        let announced = u64::try_from(prompt.start.elapsed().as_nanos()).unwrap();
        let options = DeferOptions::default().key(format!("key:{key}"));
        host.defer(NUMBER, name, announced.to_le_bytes(), options).unwrap();
    }
}

/// Returns the value that one in a hundred is above; not a number when there are none.
fn percentile_99(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() * 99 / 100).copied().unwrap_or(f64::NAN)
}
