//! The family `consent`: a patient's grants and revocations, carried by any member, signed by the grant's own key.

use crate::{Effects, Moment, Rejection, Snapshot};
use wire::{
    Format as _,
    codec::{TlsDeserialize, TlsSerialize, TlsSize},
    genesis::Genesis,
    message::GRANT_SLOT_OCTETS,
    sign::{Network, PublicKey, Signature, Signer, verify},
    state::{GrantEntry, body_name, grant_key, month_of},
};

/// The one group of a network of up to 32 members.
pub const GROUP_ALL: u32 = 0;
/// Numbers of slots that a grant may have; the smallest that fits is used.
pub const SLOT_COUNTS: [usize; 3] = [8, 16, 32];
/// A grant expires at most this many months of 30 days ahead (100 years).
pub const MONTHS_AHEAD_MAX: u32 = 1_218;

/// One sealed slot.
#[derive(Debug, Clone, PartialEq, Eq, TlsSize, TlsSerialize, TlsDeserialize)]
pub struct Slot {
    /// Encapsulation and ciphertext, [`GRANT_SLOT_OCTETS`].
    #[tls_codec(with = "wire::codec::octets")]
    pub sealed: Vec<u8>,
}

/// A grant: to others, a random key and sealed slots without addressee.
#[derive(Debug, Clone, PartialEq, Eq, TlsSize, TlsSerialize, TlsDeserialize)]
pub struct Grant {
    /// A key made for this grant alone.
    pub grant_key: PublicKey,
    /// Which members try the slots.
    pub group: u32,
    /// Months of 30 days since 1970 at whose end it expires, rounded up.
    pub month: u32,
    /// 8, 16 or 32 slots.
    pub slots: Vec<Slot>,
    /// The grant key's signature over the rest.
    pub signature: Signature,
}
wire::format!(Grant, 112 * 1024);

/// The end of a grant; valid even before its Grant, which then never enters.
#[derive(Debug, Clone, PartialEq, Eq, TlsSize, TlsSerialize, TlsDeserialize)]
pub struct Revoke {
    /// The grant's key.
    pub grant_key: PublicKey,
    /// The grant's group.
    pub group: u32,
    /// The grant key's signature over the rest.
    pub signature: Signature,
}

impl Grant {
    /// Signs a grant.
    #[must_use]
    pub fn sign(signer: &Signer, network: Network, group: u32, month: u32, slots: Vec<Slot>) -> Self {
        let mut grant = Self { grant_key: signer.public(), group, month, slots, signature: [0; 64] };
        grant.signature = signer.sign(network, "grant", &[&grant.unsigned()]);
        grant
    }

    /// The octets that are signed: all but the signature, which stands last.
    fn unsigned(&self) -> Vec<u8> {
        let mut octets = self.to_octets();
        octets.truncate(octets.len() - self.signature.len());
        octets
    }
}

impl Revoke {
    /// Signs a revocation.
    #[must_use]
    pub fn sign(signer: &Signer, network: Network, group: u32) -> Self {
        let signature = signer.sign(network, "revoke", &[&group.to_be_bytes()]);
        Self { grant_key: signer.public(), group, signature }
    }
}

pub(crate) fn grant(
    genesis: &Genesis,
    moment: Moment,
    grant: &Grant,
    snapshot: &Snapshot,
    effects: &mut Effects,
) -> Result<(), Rejection> {
    if grant.group != GROUP_ALL {
        return Err(Rejection::UnknownGroup);
    }
    let fits = grant.slots.iter().all(|slot| slot.sealed.len() == GRANT_SLOT_OCTETS);
    if !SLOT_COUNTS.contains(&grant.slots.len()) || !fits {
        return Err(Rejection::Slots);
    }
    if !verify(&grant.grant_key, genesis.network(), "grant", &[&grant.unsigned()], &grant.signature) {
        return Err(Rejection::BadGrantSignature);
    }
    let now = month_of(moment.time_ms);
    if grant.month < now || grant.month > now.saturating_add(MONTHS_AHEAD_MAX) {
        return Err(Rejection::GrantMonth);
    }
    let key = grant_key(&grant.grant_key);
    match snapshot.registry(&key).and_then(GrantEntry::from_value) {
        Some(entry) if entry.revoked > 0 => return Err(Rejection::GrantRevoked),
        Some(_) => return Err(Rejection::GrantExists),
        None => {}
    }
    let body = grant.to_octets();
    let entry = GrantEntry { body: body_name(&body), granted: moment.height, revoked: 0, month: grant.month };
    effects.registry.push((key, entry.to_value()));
    effects.bodies.push(body);
    Ok(())
}

pub(crate) fn revoke(
    genesis: &Genesis,
    moment: Moment,
    revoke: &Revoke,
    snapshot: &Snapshot,
    effects: &mut Effects,
) -> Result<(), Rejection> {
    if revoke.group != GROUP_ALL {
        return Err(Rejection::UnknownGroup);
    }
    let fields = revoke.group.to_be_bytes();
    if !verify(&revoke.grant_key, genesis.network(), "revoke", &[&fields], &revoke.signature) {
        return Err(Rejection::BadGrantSignature);
    }
    let key = grant_key(&revoke.grant_key);
    let before = snapshot.registry(&key).and_then(GrantEntry::from_value);
    if before.is_some_and(|entry| entry.revoked > 0) {
        return Err(Rejection::GrantRevoked);
    }
    let before = before.unwrap_or(GrantEntry { body: [0; 32], granted: 0, revoked: 0, month: 0 });
    effects.registry.push((key, GrantEntry { revoked: moment.height, ..before }.to_value()));
    Ok(())
}
