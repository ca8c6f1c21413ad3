//! Clients that wait for a lock or at a barrier, by attempt and ticket: what became of it is pushed to them as soon as it is
//! stored. Knows nothing of who is next.

use std::collections::BTreeMap;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};

use crate::engine::ids::{Attempt, TaskId};
use crate::engine::message::WaitNews;

type Key = (TaskId, Attempt, Arc<str>);

/// See the module. Cheap to clone.
#[derive(Clone, Default)]
pub struct Waiters {
    all: Arc<Mutex<BTreeMap<Key, Vec<Sender<WaitNews>>>>>,
}

impl Waiters {
    /// From now on news of this come here; it is disconnected when the attempt is over.
    pub fn wait(&self, task: TaskId, attempt: Attempt, ticket: &str) -> Receiver<WaitNews> {
        let (to, news) = channel();
        let mut all = self.all.lock().expect("no holder panics");
        all.entry((task, attempt, ticket.into())).or_default().push(to);
        news
    }

    /// Tells those that wait for it, who wait no more then. Who has gone meanwhile does not hear it.
    pub fn tell(&self, news: &WaitNews) {
        let key = (news.task, news.attempt, news.ticket.clone());
        let waiting = self.all.lock().expect("no holder panics").remove(&key);
        waiting.into_iter().flatten().for_each(|to| _ = to.send(news.clone()));
    }

    /// The attempt is over.
    pub fn forget(&self, task: TaskId, attempt: Attempt) {
        let mut all = self.all.lock().expect("no holder panics");
        let first = (task, attempt, Arc::from(""));
        let after = (task, Attempt(attempt.0.saturating_add(1)), Arc::from(""));
        let keys: Vec<Key> = all.range(first..after).map(|(key, _)| key.clone()).collect();
        keys.iter().for_each(|key| _ = all.remove(key));
    }

    /// A client waits no longer: what nobody listens to is forgotten.
    pub fn leave(&self, task: TaskId, attempt: Attempt, ticket: &str, news: Receiver<WaitNews>) {
        drop(news);
        let mut all = self.all.lock().expect("no holder panics");
        let key = (task, attempt, Arc::from(ticket));
        if all.get(&key).is_some_and(|waiting| waiting.len() <= 1) {
            all.remove(&key);
        }
    }
}
