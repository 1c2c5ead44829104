//! The thread that writes down how runs have ended, all that have done so meanwhile in one commit, and then tells whoever
//! wants to know.

use std::sync::Arc;
use std::time::Instant;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender};

use super::{Message, Shared};
use crate::deferred::executor::{Ended, Ran, STORE_RETRY};

/// Most ends in one commit.
const BATCH: usize = 256;

/// A run whose end has been written; false when that was too late.
type Written = (Ran, bool);

/// The thread.
struct Ends {
    shared: Arc<Shared>,
    messages: Sender<Message>,
    /// Ends that the store did not take, and when they are written again.
    refused: Vec<Ran>,
    again_at: Instant,
}

/// Starts the thread; it ends when nobody can send it anything more.
pub(super) fn start(shared: &Arc<Shared>, inbox: Receiver<Ran>, messages: Sender<Message>) -> std::io::Result<()> {
    let ends = Ends { shared: Arc::clone(shared), messages, refused: Vec::new(), again_at: Instant::now() };
    std::thread::Builder::new().name("switchboard-ends".into()).spawn(move || ends.work(&inbox)).map(drop)
}

impl Ends {
    fn work(mut self, inbox: &Receiver<Ran>) {
        let mut written = Vec::new();
        loop {
            // However many others end meanwhile.
            if !self.refused.is_empty() && Instant::now() >= self.again_at {
                let refused = std::mem::take(&mut self.refused);
                written.extend(self.write_each(refused));
            }
            let mut batch: Vec<Ran> = Vec::new();
            if written.is_empty() {
                match self.next(inbox) {
                    Ok(ran) => batch.push(ran),
                    Err(RecvTimeoutError::Timeout) => continue,
                    Err(RecvTimeoutError::Disconnected) => return,
                }
            }
            batch.extend(inbox.try_iter().take(BATCH - batch.len()));
            if batch.is_empty() {
                self.tell(std::mem::take(&mut written));
                continue;
            }
            let receipt = self.shared.store.finish(batch.iter().map(Ran::end).collect());
            // While the commit is under way.
            self.tell(std::mem::take(&mut written));
            written = match receipt.wait() {
                Ok(applied) => batch.into_iter().zip(applied).collect(),
                // Only one of them may be to blame.
                Err(_) => self.write_each(batch),
            };
        }
    }

    fn next(&self, inbox: &Receiver<Ran>) -> Result<Ran, RecvTimeoutError> {
        if self.refused.is_empty() {
            inbox.recv().map_err(|_| RecvTimeoutError::Disconnected)
        } else {
            inbox.recv_deadline(self.again_at)
        }
    }

    /// Writes each end by itself; those that the store does not take are written again later, unless nobody waits for that.
    fn write_each(&mut self, batch: Vec<Ran>) -> Vec<Written> {
        let mut written = Vec::new();
        let mut gone = Vec::new();
        let others_wait = !self.refused.is_empty();
        for ran in batch {
            match self.shared.store.finish(vec![ran.end()]).wait() {
                Ok(applied) => written.push((ran, applied.contains(&true))),
                Err(error) => {
                    self.shared.cannot_finish(&ran, &error);
                    match ran.is_stopped() {
                        true => gone.push(ran.given_up()),
                        false => self.refused.push(ran),
                    }
                }
            }
        }
        if !others_wait {
            self.again_at = Instant::now() + STORE_RETRY;
        }
        self.send(gone);
        written
    }

    fn tell(&self, written: Vec<Written>) {
        self.send(written.into_iter().map(|(ran, applied)| self.shared.told(ran, applied)).collect());
    }

    fn send(&self, ended: Vec<Ended>) {
        if !ended.is_empty() {
            // After a stop nobody listens any more.
            let _ = self.messages.send(Message::Ended(ended));
        }
    }
}
