//! What the ledger's state keeps under its keys, in 64 octets each: proofs show these values.

use crate::hash::{Hash, hash};

/// Where something lies in the state.
pub type Key = Hash;
/// What lies there. Fixed size, because the state's store syncs fixed sizes only.
pub type Value = [u8; 64];

/// An entry of a strand, or a request: `commitment ‖ height ‖ 24 zero octets`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry {
    /// What the entry commits to.
    pub commitment: Hash,
    /// The block that finalized it; set by the ledger, not by the writer.
    pub height: u64,
}

impl Entry {
    /// The value of this entry.
    #[must_use]
    pub fn to_value(self) -> Value {
        let mut value = [0; 64];
        value[..32].copy_from_slice(&self.commitment);
        value[32..40].copy_from_slice(&self.height.to_be_bytes());
        value
    }

    /// The entry in this value, if it is one.
    #[must_use]
    pub fn from_value(value: &Value) -> Option<Self> {
        let entry = Self { commitment: array(value, 0), height: u64::from_be_bytes(array(value, 32)) };
        (entry.to_value() == *value).then_some(entry)
    }
}

/// A grant in the registry: `body ‖ granted ‖ revoked ‖ month ‖ 12 zero octets`; a height of zero means 'not yet'.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GrantEntry {
    /// Name of the grant's body in the side store; zeros when revoked before it was granted.
    pub body: Hash,
    /// Height of the grant.
    pub granted: u64,
    /// Height of the revocation.
    pub revoked: u64,
    /// Months of 30 days since 1970 at whose end it expires at the latest.
    pub month: u32,
}

impl GrantEntry {
    /// The value of this grant.
    #[must_use]
    pub fn to_value(self) -> Value {
        let mut value = [0; 64];
        value[..32].copy_from_slice(&self.body);
        value[32..40].copy_from_slice(&self.granted.to_be_bytes());
        value[40..48].copy_from_slice(&self.revoked.to_be_bytes());
        value[48..52].copy_from_slice(&self.month.to_be_bytes());
        value
    }

    /// The grant in this value, if it is one.
    #[must_use]
    pub fn from_value(value: &Value) -> Option<Self> {
        let grant = Self {
            body: array(value, 0),
            granted: u64::from_be_bytes(array(value, 32)),
            revoked: u64::from_be_bytes(array(value, 40)),
            month: u32::from_be_bytes(array(value, 48)),
        };
        (grant.to_value() == *value).then_some(grant)
    }

    /// Whether it was granted and not revoked at this height.
    #[must_use]
    pub fn covers(&self, height: u64) -> bool {
        (1..=height).contains(&self.granted) && (self.revoked == 0 || self.revoked > height)
    }

    /// Whether it is in force at the state that holds it and at `time_ms`, as far as the ledger can tell.
    #[must_use]
    pub fn in_force(&self, time_ms: u64) -> bool {
        self.granted > 0 && self.revoked == 0 && month_of(time_ms) <= self.month
    }
}

/// Months of 30 days since 1970 that have begun at `time_ms`.
#[must_use]
pub fn month_of(time_ms: u64) -> u32 {
    u32::try_from(time_ms / (30 * 86_400_000)).unwrap_or(u32::MAX)
}

/// Where the registry keeps a grant.
#[must_use]
pub fn grant_key(grant: &[u8; 32]) -> Key {
    hash("grant-at", &[grant])
}

/// Where the registry keeps a member.
#[must_use]
pub fn member_key(member: u32) -> Key {
    hash("member-at", &[&member.to_be_bytes()])
}

/// Where the registry keeps which sequence numbers of a member are used.
#[must_use]
pub fn window_key(member: u32) -> Key {
    hash("window-at", &[&member.to_be_bytes()])
}

/// Where `strands` keeps a request, named by its transaction.
#[must_use]
pub fn request_key(transaction: &Hash) -> Key {
    hash("request-at", &[transaction])
}

/// What a request's entry commits to.
#[must_use]
pub fn request_commitment(member: u32, group: u32, slots_root: &Hash, reader_key: &Hash) -> Hash {
    hash("request", &[&member.to_be_bytes(), &group.to_be_bytes(), slots_root, reader_key])
}

/// Name of a body in the side store.
#[must_use]
pub fn body_name(octets: &[u8]) -> Hash {
    hash("body", &[octets])
}

fn array<const N: usize>(value: &Value, from: usize) -> [u8; N] {
    value[from..from + N].try_into().expect("inside 64 octets")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_read_in_one_form_only() {
        let entry = Entry { commitment: [5; 32], height: 9 };
        assert_eq!(Entry::from_value(&entry.to_value()), Some(entry));
        let mut odd = entry.to_value();
        odd[63] = 1;
        assert_eq!(Entry::from_value(&odd), None);
        let grant = GrantEntry { body: [5; 32], granted: 3, revoked: 0, month: 7 };
        assert_eq!(GrantEntry::from_value(&grant.to_value()), Some(grant));
    }

    #[test]
    fn a_grant_is_in_force_until_revoked_or_its_month_ends() {
        let month = 30 * 86_400_000;
        let grant = GrantEntry { body: [5; 32], granted: 3, revoked: 0, month: 7 };
        assert!(grant.in_force(7 * month) && grant.in_force(8 * month - 1) && !grant.in_force(8 * month));
        assert!(!GrantEntry { revoked: 4, ..grant }.in_force(0));
        assert!(!GrantEntry { granted: 0, ..grant }.in_force(0));
    }
}
