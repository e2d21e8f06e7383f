//! The family `access`: that some member asks. Whom, for what and for whom it asks is in slots that only those
//! concerned can open; what they answer are entries in their access strands.

use crate::{Effects, Moment, Rejection, Snapshot, consent::GROUP_ALL};
use wire::{
    Hash,
    codec::{TlsDeserialize, TlsSerialize, TlsSize},
    state::{Entry, request_commitment, request_key},
};

/// Announces a read across members.
#[derive(Debug, Clone, PartialEq, Eq, TlsSize, TlsSerialize, TlsDeserialize)]
pub struct Request {
    /// Which members have a slot.
    pub group: u32,
    /// Merkle root over the slots, by member.
    pub slots_root: Hash,
    /// `H("reader", reader key)`: answers are sealed to that key, which serves this request alone.
    pub reader_key: Hash,
}

pub(crate) fn request(
    moment: Moment,
    member: u32,
    id: &Hash,
    request: &Request,
    snapshot: &Snapshot,
    effects: &mut Effects,
) -> Result<(), Rejection> {
    let Request { group, slots_root, reader_key } = request;
    if *group != GROUP_ALL {
        return Err(Rejection::UnknownGroup);
    }
    let key = request_key(id);
    if snapshot.strand(&key).is_some() {
        return Err(Rejection::RequestExists);
    }
    let commitment = request_commitment(member, *group, slots_root, reader_key);
    effects.strands.push((key, Entry { commitment, height: moment.height }.to_value()));
    Ok(())
}
