//! What is true after this transaction? Is it allowed?
//!
//! The state machine: pure, so that every member comes to the same root. It knows nothing of I/O, async, a wall
//! clock, floats, hash-map order or FHIR. One file per family of transactions, each with its transactions, the keys
//! it reads, its checks in order and its effect: [`member`] (the genesis set), [`anchor`] (entries of strands),
//! [`consent`] (grant, revoke), [`access`] (request). Rules are chosen by height ([`Rules::at`]).
//!
//! Start reading at [`apply`].

pub mod access;
pub mod anchor;
pub mod consent;
pub mod member;
mod rejection;
mod snapshot;
mod transaction;

pub use rejection::Rejection;
pub use snapshot::{Effects, Reads, Snapshot};
pub use transaction::{Action, Body, TRANSACTION_OCTETS_MAX, Transaction};
pub use wire::state::{Key, Value};

use wire::genesis::Genesis;

/// When a transaction is executed: in which block, at which of its times.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Moment {
    /// Height of the block.
    pub height: u64,
    /// Time of the block, milliseconds since 1970 UTC.
    pub time_ms: u64,
}

/// The rules in force; a later version begins at a height that members vote on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rules {
    /// The first.
    V1,
}

impl Rules {
    /// The rules at `height`.
    #[must_use]
    pub fn at(_height: u64) -> Self {
        Self::V1
    }
}

/// Executes `transaction`: checks it, and writes its effect into `snapshot`, so that later ones in the block see it.
/// `snapshot` must hold a value, or its absence, for each key of [`Transaction::reads`].
///
/// # Errors
/// The [`Rejection`] of the first check that fails; nothing is changed then.
///
/// # Panics
/// If a key of [`Transaction::reads`] was not loaded into `snapshot`: a bug of the caller.
pub fn apply(
    genesis: &Genesis,
    moment: Moment,
    transaction: &Transaction,
    snapshot: &mut Snapshot,
) -> Result<Effects, Rejection> {
    let effects = match Rules::at(moment.height) {
        Rules::V1 => {
            let mut effects = member::admit(genesis, moment, transaction, snapshot)?;
            let body = transaction.body();
            match &body.action {
                Action::Enter(enter) => anchor::enter(genesis, moment, body.member, enter, snapshot, &mut effects)?,
                Action::Grant(grant) => consent::grant(genesis, moment, grant, snapshot, &mut effects)?,
                Action::Revoke(revoke) => consent::revoke(genesis, moment, revoke, snapshot, &mut effects)?,
                Action::Request(request) => {
                    access::request(moment, body.member, &transaction.id(), request, snapshot, &mut effects)?;
                }
            }
            effects
        }
    };
    snapshot.absorb(&effects);
    Ok(effects)
}

/// What the state begins with: executed in block 1 before its transactions.
#[must_use]
pub fn genesis_effects(genesis: &Genesis) -> Effects {
    member::genesis_effects(genesis)
}
