//! The family `anchor`: a member enters commitments to pages into its strands.

use crate::{Effects, Key, Moment, Rejection, Snapshot};
use wire::{
    Hash,
    codec::{TlsDeserialize, TlsSerialize, TlsSize},
    genesis::Genesis,
    state::Entry,
    strand::entry_key,
};

/// An Enter has at most this many entries.
pub const ENTRIES_MAX: usize = 512;
/// The bucket of the access lane: a reader waits, so it is small.
pub const ACCESS_BUCKET: usize = 2;

/// Why a batch is entered, which decides how it is padded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, TlsSize, TlsSerialize, TlsDeserialize)]
#[repr(u8)]
pub enum Lane {
    /// Record pages, in intervals, in buckets of the ledger's parameter.
    Records = 1,
    /// Answers to a finalized request, at once, in buckets of [`ACCESS_BUCKET`].
    Access = 2,
}

/// One entry. To others, both halves are random numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, TlsSize, TlsSerialize, TlsDeserialize)]
pub struct Tagged {
    /// `PRF(L, "tag", i)`, or random in a dummy.
    pub tag: Hash,
    /// The page's commitment, or random in a dummy.
    pub commitment: Hash,
}

/// Enters pages: real ones and dummies, sorted by tag, a power of two of them.
#[derive(Debug, Clone, PartialEq, Eq, TlsSize, TlsSerialize, TlsDeserialize)]
pub struct Enter {
    /// Why.
    pub lane: Lane,
    /// The entries.
    pub entries: Vec<Tagged>,
}

impl Enter {
    /// Sorts `entries` and fills them with random dummies to the power of two that the lane asks for.
    ///
    /// # Panics
    /// If there are more than [`ENTRIES_MAX`] entries or `bucket` is not a power of two up to that.
    #[must_use]
    pub fn padded(lane: Lane, mut entries: Vec<Tagged>, bucket: usize) -> Self {
        assert!(entries.len() <= ENTRIES_MAX && bucket.is_power_of_two() && bucket <= ENTRIES_MAX);
        let count = entries.len().next_power_of_two().max(bucket);
        entries.resize_with(count, || Tagged { tag: wire::random(), commitment: wire::random() });
        entries.sort_unstable();
        Self { lane, entries }
    }

    /// Where the entries of `member` lie.
    pub(crate) fn keys(&self, member: u32) -> impl Iterator<Item = Key> {
        self.entries.iter().map(move |e| entry_key(member, &e.tag))
    }
}

pub(crate) fn enter(
    genesis: &Genesis,
    moment: Moment,
    member: u32,
    enter: &Enter,
    snapshot: &Snapshot,
    effects: &mut Effects,
) -> Result<(), Rejection> {
    let Enter { lane, entries } = enter;
    let bucket = match lane {
        Lane::Records => genesis.parameters.bucket as usize,
        Lane::Access => ACCESS_BUCKET,
    };
    if !entries.len().is_power_of_two() || entries.len() < bucket || entries.len() > ENTRIES_MAX {
        return Err(Rejection::EntryCount);
    }
    if !entries.windows(2).all(|pair| pair[0].tag < pair[1].tag) {
        return Err(Rejection::EntriesUnsorted);
    }
    if enter.keys(member).any(|key| snapshot.strand(&key).is_some()) {
        return Err(Rejection::EntryExists);
    }
    let values = entries.iter().map(|e| Entry { commitment: e.commitment, height: moment.height }.to_value());
    effects.strands.extend(enter.keys(member).zip(values));
    Ok(())
}
