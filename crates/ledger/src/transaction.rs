//! A transaction: an action that a member signs, good for one network, one sequence number, up to a height.

use crate::{Reads, access::Request, anchor::Enter, consent::Grant, consent::Revoke, member};
use wire::{
    Format as _, Hash,
    codec::{DecodeError, TlsDeserialize, TlsSerialize, TlsSize},
    hash::hash,
    sign::{Network, PublicKey, Signature, Signer, verify},
};

/// A transaction has at most this many octets.
pub const TRANSACTION_OCTETS_MAX: usize = 128 * 1024;
/// The format written today.
pub const FORMAT: u8 = 1;

/// What a transaction does.
#[derive(Debug, Clone, PartialEq, Eq, TlsSize, TlsSerialize, TlsDeserialize)]
#[repr(u8)]
pub enum Action {
    /// Enters pages into the signer's strands.
    #[tls_codec(discriminant = 1)]
    Enter(Enter),
    /// Enters a patient's grant.
    Grant(Grant),
    /// Revokes a grant.
    Revoke(Revoke),
    /// Announces a read across members.
    Request(Request),
}

/// What is signed.
#[derive(Debug, Clone, PartialEq, Eq, TlsSize, TlsSerialize, TlsDeserialize)]
pub struct Body {
    /// Always 1.
    pub format: u8,
    /// Who signs.
    pub member: u32,
    /// Serves once in a window of 448.
    pub sequence: u64,
    /// The last block in which it may stand.
    pub last_height: u64,
    /// What it does.
    pub action: Action,
}

/// A signed transaction.
#[derive(Debug, Clone, PartialEq, Eq, TlsSize, TlsSerialize, TlsDeserialize)]
pub struct Transaction {
    body: Body,
    signature: Signature,
}
wire::format!(Transaction, TRANSACTION_OCTETS_MAX, check);
wire::format!(Body, TRANSACTION_OCTETS_MAX);

fn check(transaction: &Transaction) -> Result<(), DecodeError> {
    if transaction.body.format != FORMAT {
        return Err(DecodeError::malformed("Transaction", "format is not 1"));
    }
    Ok(())
}

impl Transaction {
    /// Signs an action.
    #[must_use]
    pub fn sign(
        signer: &Signer,
        network: Network,
        member: u32,
        sequence: u64,
        last_height: u64,
        action: Action,
    ) -> Self {
        let body = Body { format: FORMAT, member, sequence, last_height, action };
        let signature = signer.sign(network, "transaction", &[&body.to_octets()]);
        Self { body, signature }
    }

    /// Reads a transaction.
    ///
    /// # Errors
    /// [`DecodeError`] when the octets are not exactly one transaction.
    pub fn decode(octets: &[u8]) -> Result<Self, DecodeError> {
        Self::from_octets(octets)
    }

    /// The transaction in octets.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        self.to_octets()
    }

    /// Its name: `H("transaction", octets)`.
    #[must_use]
    pub fn id(&self) -> Hash {
        hash("transaction", &[&self.to_octets()])
    }

    /// What was signed.
    #[must_use]
    pub fn body(&self) -> &Body {
        &self.body
    }

    /// Who signed.
    #[must_use]
    pub fn member(&self) -> u32 {
        self.body.member
    }

    /// The last block in which it may stand.
    #[must_use]
    pub fn last_height(&self) -> u64 {
        self.body.last_height
    }

    /// Its place among a block's transactions, lower first: a revocation counts ahead of the requests of its block.
    #[must_use]
    pub fn rank(&self) -> u8 {
        match self.body.action {
            Action::Revoke(_) => 0,
            Action::Grant(_) => 1,
            Action::Enter(_) => 2,
            Action::Request(_) => 3,
        }
    }

    /// Bodies that lie in the side store once it has taken effect.
    #[must_use]
    pub fn bodies(&self) -> Vec<Vec<u8>> {
        match &self.body.action {
            Action::Grant(grant) => vec![grant.to_octets()],
            Action::Enter(_) | Action::Revoke(_) | Action::Request(_) => Vec::new(),
        }
    }

    /// All keys that it may read.
    #[must_use]
    pub fn reads(&self) -> Reads {
        let mut reads = member::reads(self.body.member);
        match &self.body.action {
            Action::Enter(enter) => reads.strands.extend(enter.keys(self.body.member)),
            Action::Grant(grant) => reads.registry.push(wire::state::grant_key(&grant.grant_key)),
            Action::Revoke(revoke) => reads.registry.push(wire::state::grant_key(&revoke.grant_key)),
            Action::Request(_) => reads.strands.push(wire::state::request_key(&self.id())),
        }
        reads
    }

    pub(crate) fn signed_by(&self, key: &PublicKey, network: Network) -> bool {
        verify(key, network, "transaction", &[&self.body.to_octets()], &self.signature)
    }
}
