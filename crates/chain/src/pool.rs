//! Transactions that wait for a block, bounded as a whole and for each member.

use crate::{Receipt, SubmitError, block::Tx};
use ledger::Transaction;
use std::{
    collections::{BTreeMap, HashMap},
    sync::Mutex,
};
use tokio::sync::oneshot;
use wire::Hash;

/// Octets that wait at most.
const OCTETS_MAX: usize = 32 << 20;
/// Transactions of one member that wait at most.
const PER_MEMBER_MAX: usize = 256;

pub(crate) type Waiter = oneshot::Sender<Result<Receipt, SubmitError>>;

/// A transaction, decoded once.
#[derive(Clone)]
pub(crate) struct Waiting {
    pub(crate) id: Hash,
    pub(crate) transaction: std::sync::Arc<Transaction>,
    pub(crate) octets: Tx,
}

#[derive(Default)]
struct Inner {
    /// By rank, then arrival.
    queue: BTreeMap<(u8, u64), Waiting>,
    places: HashMap<Hash, (u8, u64)>,
    members: HashMap<u32, usize>,
    /// In an order of their own, so that a simulation replays.
    waiters: BTreeMap<Hash, Vec<Waiter>>,
    arrivals: u64,
    octets: usize,
}

#[derive(Default)]
pub(crate) struct Pool(Mutex<Inner>);

impl Pool {
    /// Adds a transaction; one that is there already stays. `false` when there is no room.
    pub(crate) fn add(&self, waiting: Waiting, waiter: Option<Waiter>) -> Result<(), Option<Waiter>> {
        let mut inner = self.0.lock().expect("no panic while held");
        let inner = &mut *inner;
        if !inner.places.contains_key(&waiting.id) {
            let size = waiting.octets.0.len();
            let count = inner.members.entry(waiting.transaction.member()).or_default();
            if *count >= PER_MEMBER_MAX || inner.octets + size > OCTETS_MAX {
                return Err(waiter);
            }
            *count += 1;
            inner.octets += size;
            inner.arrivals += 1;
            let place = (waiting.transaction.rank(), inner.arrivals);
            inner.places.insert(waiting.id, place);
            if let Some(waiter) = waiter {
                inner.waiters.entry(waiting.id).or_default().push(waiter);
            }
            inner.queue.insert(place, waiting);
        } else if let Some(waiter) = waiter {
            inner.waiters.entry(waiting.id).or_default().push(waiter);
        }
        Ok(())
    }

    pub(crate) fn len(&self) -> usize {
        self.0.lock().expect("no panic while held").queue.len()
    }

    /// Candidates for a block, by rank and arrival.
    pub(crate) fn candidates(&self, max: usize) -> Vec<Waiting> {
        self.0.lock().expect("no panic while held").queue.values().take(max).cloned().collect()
    }

    /// Those that somebody here waits for.
    pub(crate) fn own(&self) -> Vec<Waiting> {
        let inner = self.0.lock().expect("no panic while held");
        inner.waiters.keys().filter_map(|id| inner.queue.get(inner.places.get(id)?).cloned()).collect()
    }

    /// Takes a transaction out and tells who waits for it.
    pub(crate) fn settle(&self, id: &Hash, outcome: &Result<Receipt, SubmitError>) {
        let mut inner = self.0.lock().expect("no panic while held");
        let inner = &mut *inner;
        if let Some(waiting) = inner.places.remove(id).and_then(|place| inner.queue.remove(&place)) {
            inner.octets -= waiting.octets.0.len();
            if let Some(count) = inner.members.get_mut(&waiting.transaction.member()) {
                *count -= 1;
            }
        }
        for waiter in inner.waiters.remove(id).into_iter().flatten() {
            // Who waited may be gone.
            drop(waiter.send(outcome.clone()));
        }
    }
}
