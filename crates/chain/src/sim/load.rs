//! What members submit: all kinds of transactions, each as often as it takes until it is known to be final, as a
//! member's outbox does.

use super::world::{World, identity, number};
use crate::{Receipt, SubmitError};
use commonware_runtime::{Clock as _, Spawner as _, Supervisor as _};
use ledger::{
    Action, Rejection, Transaction,
    access::Request,
    anchor::{ACCESS_BUCKET, Enter, Lane, Tagged},
    consent::{GROUP_ALL, Grant, SLOT_COUNTS, Slot},
};
use std::{
    sync::{Arc, Mutex, atomic::Ordering},
    time::Duration,
};
use wire::{Hash, genesis::Genesis, hash::hash, message::GRANT_SLOT_OCTETS, sign::Signer, state::month_of};

/// A height that no simulation reaches.
pub(super) const GOOD_UP_TO: u64 = 5_000;

/// The answer to a submit, when it has come.
pub(super) type Answer = Arc<Mutex<Option<Result<Receipt, SubmitError>>>>;

/// A member's transactions.
#[derive(Default)]
pub(super) struct Outbox {
    /// How many were made.
    pub(super) made: u64,
    /// The one that is not known to be final yet, and whether it was submitted before.
    pending: Option<(Transaction, bool)>,
    /// What a submit was answered with.
    pub(super) receipts: Vec<(Hash, Receipt)>,
    /// Those whose answer a crash swallowed: they are final, as their sequence number was used.
    pub(super) landed: Vec<Hash>,
    /// Answers that must not be.
    pub(super) wrong: Vec<String>,
}

impl Outbox {
    pub(super) fn empty(&self) -> bool {
        self.pending.is_none()
    }

    pub(super) fn done(&self) -> usize {
        self.receipts.len() + self.landed.len()
    }
}

fn octets(index: usize, sequence: u64, nth: usize) -> Hash {
    hash("simulated", &[&index.to_be_bytes(), &sequence.to_be_bytes(), &nth.to_be_bytes()])
}

/// The transaction of a member with this sequence number, good up to a height.
pub(super) fn transaction(genesis: &Genesis, index: usize, sequence: u64, last_height: u64) -> Transaction {
    let network = genesis.network();
    let some = |nth| octets(index, sequence, nth);
    let entries = |count: usize| {
        let mut entries: Vec<_> =
            (0..count).map(|nth| Tagged { tag: some(2 * nth), commitment: some(2 * nth + 1) }).collect();
        entries.sort_unstable();
        entries
    };
    let action = match sequence % 4 {
        0 => Action::Enter(Enter { lane: Lane::Access, entries: entries(ACCESS_BUCKET) }),
        1 => {
            let slots = (0..SLOT_COUNTS[0]).map(|nth| Slot { sealed: some(nth).repeat(GRANT_SLOT_OCTETS / 32 + 1) });
            let slots = slots.map(|slot| Slot { sealed: slot.sealed[..GRANT_SLOT_OCTETS].to_vec() }).collect();
            let signer = Signer::from_seed(&some(0));
            Action::Grant(Grant::sign(&signer, network, GROUP_ALL, month_of(genesis.time_ms) + 12, slots))
        }
        2 => Action::Enter(Enter { lane: Lane::Records, entries: entries(genesis.parameters.bucket as usize) }),
        _ => Action::Request(Request { group: GROUP_ALL, slots_root: some(0), reader_key: some(1) }),
    };
    Transaction::sign(&identity(index), network, number(index), sequence, last_height, action)
}

impl World {
    /// Each of these members submits one transaction after another, `rest` apart, until [`World::drain`].
    pub(super) fn load(&self, members: &[usize], rest: Duration) {
        self.loading.store(true, Ordering::Relaxed);
        for &index in members {
            let (chains, loading) = (self.chains.clone(), self.loading.clone());
            let (genesis, outbox) = (self.story.genesis.clone(), self.story.outboxes[index].clone());
            self.context.child("load").with_attribute("index", index).spawn(move |context| async move {
                loop {
                    let next = {
                        let mut outbox = outbox.lock().expect("no panic while held");
                        if outbox.pending.is_none() && loading.load(Ordering::Relaxed) {
                            outbox.made += 1;
                            outbox.pending = Some((transaction(&genesis, index, outbox.made, GOOD_UP_TO), false));
                        }
                        outbox.pending.clone()
                    };
                    let chain = chains.lock().expect("no panic while held")[index].clone();
                    if let (Some((transaction, again)), Some(chain)) = (next, chain) {
                        outbox.lock().expect("no panic while held").pending = Some((transaction.clone(), true));
                        let answer = chain.submit(transaction.encode()).await;
                        let mut outbox = outbox.lock().expect("no panic while held");
                        match answer {
                            Ok(receipt) => outbox.receipts.push((transaction.id(), receipt)),
                            Err(SubmitError::Rejected(Rejection::SequenceUsed)) if again => {
                                outbox.landed.push(transaction.id());
                            }
                            Err(SubmitError::Stopped) => {
                                drop(outbox);
                                context.sleep(rest).await;
                                continue;
                            }
                            Err(error) => outbox.wrong.push(format!("member {index}: {error:?}")),
                        }
                        outbox.pending = None;
                    }
                    context.sleep(rest).await;
                }
            });
        }
    }

    /// Submits a transaction at a member, and does not wait for the answer.
    pub(super) fn submit_later(&self, index: usize, transaction: Transaction) -> Answer {
        let answer = Answer::default();
        let (chain, slot) = (self.chain(index).expect("the member runs"), answer.clone());
        self.context.child("submit").spawn(move |_| async move {
            let answer = chain.submit(transaction.encode()).await;
            *slot.lock().expect("no panic while held") = Some(answer);
        });
        answer
    }

    /// Ends the load and waits until everything submitted is final.
    pub(super) async fn drain(&self, within: Duration) {
        self.loading.store(false, Ordering::Relaxed);
        self.until("all outboxes are empty", within, |world| {
            world.story.outboxes.iter().all(|outbox| outbox.lock().expect("no panic while held").empty())
        })
        .await;
    }

    /// How many transactions are known to be final by those who made them.
    pub(super) fn done(&self) -> usize {
        self.story.outboxes.iter().map(|outbox| outbox.lock().expect("no panic while held").done()).sum()
    }
}
