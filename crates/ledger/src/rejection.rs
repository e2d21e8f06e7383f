//! Why a transaction has no effect: stable codes, in the order of the checks.

/// A protocol answer, not an accident. The codes never change their meaning.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
#[repr(u16)]
pub enum Rejection {
    /// The signer is not a member.
    #[error("the signer is not a member of this network")]
    UnknownMember = 1,
    /// The signature does not verify under the member's identity key for this network and era.
    #[error("the signature does not verify for this member and network")]
    BadSignature = 2,
    /// Its last height has passed.
    #[error("the transaction's last height has passed")]
    Expired = 3,
    /// Its last height is too far ahead.
    #[error("the transaction's last height is more than 10,000 blocks ahead")]
    LastHeightTooFar = 4,
    /// Its sequence number was used.
    #[error("the sequence number was used already")]
    SequenceUsed = 5,
    /// Its sequence number is older than the window, or leaps ahead of it.
    #[error("the sequence number lies outside the window of 448 numbers")]
    SequenceOutside = 6,
    /// An Enter with a number of entries that is no power of two from the lane's bucket to 512.
    #[error("the number of entries is not a power of two from the lane's bucket to 512")]
    EntryCount = 20,
    /// Entries are not sorted by tag, or one occurs twice.
    #[error("entries are not strictly sorted by tag")]
    EntriesUnsorted = 21,
    /// An entry lies there already: entries are never replaced.
    #[error("an entry with this tag exists already")]
    EntryExists = 22,
    /// A group that the network does not have.
    #[error("there is no such group of members")]
    UnknownGroup = 40,
    /// A Grant whose slots are not 8, 16 or 32 of the one length.
    #[error("slots are not 8, 16 or 32 of the prescribed length")]
    Slots = 41,
    /// A Grant or Revoke that its grant key did not sign.
    #[error("the grant key did not sign this")]
    BadGrantSignature = 42,
    /// A Grant that expires in the past or more than 100 years ahead.
    #[error("the grant's month lies in the past or more than 100 years ahead")]
    GrantMonth = 43,
    /// A grant key serves once.
    #[error("this grant key was used already")]
    GrantExists = 44,
    /// A grant that was revoked, perhaps before it came, never enters again.
    #[error("this grant was revoked already")]
    GrantRevoked = 45,
    /// The same request was made before.
    #[error("this request exists already")]
    RequestExists = 60,
}

impl Rejection {
    /// The stable code.
    #[must_use]
    pub fn code(self) -> u16 {
        self as u16
    }
}
