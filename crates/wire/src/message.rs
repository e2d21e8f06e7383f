//! What members send one another, and what they keep sealed: slots of grants and requests, releases, enrolment,
//! manifests. Each is sealed (HPKE, or a key of its own) before it leaves a member; [`peer`] has the calls.

pub mod manifest;
pub mod peer;

use crate::{
    codec::{DecodeError, Format, TlsDeserialize, TlsSerialize, TlsSize},
    hash::{Hash, hash},
    keys::Secret,
    seal::{BadPublicKey, Opener, SEALED_TO_OVERHEAD, seal_to},
    sign::{Network, PublicKey, Signature, Signer, verify},
    strand::{LeafSecret, OpenedPage, PageKind, StrandKey},
};

/// Octets in a grant's slot before sealing; all slots have this length.
pub const GRANT_SLOT_PLAIN: usize = 2_048;
/// Octets in a grant's slot.
pub const GRANT_SLOT_OCTETS: usize = GRANT_SLOT_PLAIN + SEALED_TO_OVERHEAD;
/// Octets in a request's slot before sealing.
pub const REQUEST_SLOT_PLAIN: usize = 512;
/// Octets in a request's slot.
pub const REQUEST_SLOT_OCTETS: usize = REQUEST_SLOT_PLAIN + SEALED_TO_OVERHEAD;

/// A short text in a list.
#[derive(Debug, Clone, PartialEq, Eq, TlsSize, TlsSerialize, TlsDeserialize)]
pub struct Text(#[tls_codec(with = "crate::codec::text")] pub String);

/// What a patient allows. Only *complete* grants so far: the whole general strand of each holder.
#[derive(Debug, Clone, PartialEq, Eq, TlsSize, TlsSerialize, TlsDeserialize)]
pub struct Terms {
    /// Purposes of use (HL7 v3 codes); none means any, as in a FHIR Consent without `provision.purpose`.
    pub purposes: Vec<Text>,
    /// From when, milliseconds since 1970 UTC.
    pub begin_ms: u64,
    /// Until when, exclusive; `u64::MAX` when the patient named no end.
    pub end_ms: u64,
}
crate::format!(Terms, 1_024);

impl Terms {
    /// Whether they allow `purpose` at `time_ms`.
    #[must_use]
    pub fn allow(&self, purpose: &str, time_ms: u64) -> bool {
        self.allow_at(time_ms) && (self.purposes.is_empty() || self.purposes.iter().any(|p| p.0 == purpose))
    }

    /// Whether `time_ms` lies in their period.
    #[must_use]
    pub fn allow_at(&self, time_ms: u64) -> bool {
        (self.begin_ms..self.end_ms).contains(&time_ms)
    }
}

/// What the grantee learns from a grant.
#[derive(Debug, Clone, PartialEq, Eq, TlsSize, TlsSerialize, TlsDeserialize)]
pub struct GranteeSlot {
    /// The grantee's own number.
    pub grantee: u32,
    /// The patient's home, which keeps the list of holders.
    pub home: u32,
    /// What is allowed.
    pub terms: Terms,
    /// The patient's key at the grantee, when the grantee holds records of the patient.
    pub patient_key: Option<PublicKey>,
    /// Key of the strand of holders.
    pub holders: StrandKey,
    /// That strand, opened so far: it pins where each holder's strand begins.
    pub pages: Vec<OpenedPage>,
    /// For each holder the patient's key there, which a request must name.
    pub patient_keys: Vec<HolderKey>,
}

/// The patient's key at a holder.
#[derive(Debug, Clone, Copy, PartialEq, Eq, TlsSize, TlsSerialize, TlsDeserialize)]
pub struct HolderKey {
    /// The holder.
    pub member: u32,
    /// The patient's key there.
    pub key: PublicKey,
}

/// What a holder learns from a grant.
#[derive(Debug, Clone, PartialEq, Eq, TlsSize, TlsSerialize, TlsDeserialize)]
pub struct HolderSlot {
    /// The holder's own number.
    pub holder: u32,
    /// Who may read.
    pub grantee: u32,
    /// The patient's home, which acts as custodian of the wallet.
    pub home: u32,
    /// What is allowed.
    pub terms: Terms,
    /// Which patient: the key that the holder took at enrolment.
    pub patient_key: PublicKey,
    /// That key's signature over all this and the grant's key.
    pub signature: Signature,
}

impl HolderSlot {
    /// Signs a holder's slot with the patient's key for that holder.
    #[must_use]
    pub fn sign(
        patient: &Signer,
        network: Network,
        grant_key: &PublicKey,
        holder: u32,
        grantee: u32,
        home: u32,
        terms: Terms,
    ) -> Self {
        let mut slot = Self { holder, grantee, home, terms, patient_key: patient.public(), signature: [0; 64] };
        slot.signature = patient.sign(network, "grant-terms", &[grant_key, &slot.unsigned()]);
        slot
    }

    /// Whether the patient's key signed this slot for the grant.
    #[must_use]
    pub fn signed(&self, network: Network, grant_key: &PublicKey) -> bool {
        verify(&self.patient_key, network, "grant-terms", &[grant_key, &self.unsigned()], &self.signature)
    }

    fn unsigned(&self) -> Vec<u8> {
        let mut octets = GrantSlot::Holder(self.clone()).to_octets();
        octets.truncate(octets.len() - self.signature.len());
        octets
    }
}

/// A grant's slot.
#[derive(Debug, Clone, PartialEq, Eq, TlsSize, TlsSerialize, TlsDeserialize)]
#[repr(u8)]
pub enum GrantSlot {
    /// For the grantee.
    #[tls_codec(discriminant = 1)]
    Grantee(GranteeSlot),
    /// For a holder.
    Holder(HolderSlot),
}
crate::format!(GrantSlot, GRANT_SLOT_PLAIN - 4);

/// What a member is asked with a request.
#[derive(Debug, Clone, PartialEq, Eq, TlsSize, TlsSerialize, TlsDeserialize)]
pub struct Ask {
    /// Under which grant.
    pub grant_key: PublicKey,
    /// Which patient: the key at that holder; zeros for a home that holds nothing.
    pub patient_key: PublicKey,
    /// For what (HL7 v3 code), at most 32 octets.
    #[tls_codec(with = "crate::codec::text")]
    pub purpose: String,
    /// In which role the reader's member vouches for the person, at most 64 octets.
    #[tls_codec(with = "crate::codec::text")]
    pub role: String,
}

/// A request's slot; members that are not concerned find an empty one of the same length.
#[derive(Debug, Clone, PartialEq, Eq, TlsSize, TlsSerialize, TlsDeserialize)]
#[repr(u8)]
pub enum RequestSlot {
    /// Nothing is asked of this member.
    #[tls_codec(discriminant = 1)]
    Empty,
    /// This is.
    Ask(Ask),
}
crate::format!(RequestSlot, REQUEST_SLOT_PLAIN - 4);

/// `H("reader", key)`: what a request says of the key that answers are sealed to.
#[must_use]
pub fn reader_key_hash(key: &[u8]) -> Hash {
    hash("reader", &[key])
}

/// The leaf of a member's slot under a request's root.
#[must_use]
pub fn slot_leaf(member: u32, sealed: &[u8]) -> Hash {
    hash("slot", &[&member.to_be_bytes(), sealed])
}

/// Seals a message of one length for a slot: its octets after their number, filled with zeros to `length`.
///
/// # Errors
/// [`BadPublicKey`] when `public` is no key.
///
/// # Panics
/// If the message is longer than `length` less four octets: its format's bound is that.
pub fn seal_slot<T: Format>(
    public: &[u8],
    context: &SlotContext<'_>,
    message: &T,
    length: usize,
) -> Result<Vec<u8>, BadPublicKey> {
    let octets = message.to_octets();
    assert!(octets.len() + 4 <= length, "a slot's message fits its slot");
    let mut plain = u32::try_from(octets.len()).expect("a slot is short").to_be_bytes().to_vec();
    plain.extend_from_slice(&octets);
    plain.resize(length, 0);
    seal_to(public, context.info(), &context.associated(), &plain)
}

/// Opens a slot. `None` when it is not for this key, or not well formed: nobody else learns which.
#[must_use]
pub fn open_slot<T: Format>(opener: &Opener, context: &SlotContext<'_>, sealed: &[u8]) -> Option<T> {
    let plain = opener.open(context.info(), &context.associated(), sealed).ok()?;
    let length = u32::from_be_bytes(plain.get(..4)?.try_into().ok()?) as usize;
    let (octets, fill) = plain.get(4..)?.split_at_checked(length)?;
    if fill.iter().any(|octet| *octet != 0) {
        return None;
    }
    T::from_octets(octets).ok()
}

/// What a slot is bound to: a copied slot does not open elsewhere.
#[derive(Debug, Clone, Copy)]
pub enum SlotContext<'a> {
    /// In a grant.
    Grant {
        /// The network.
        network: Network,
        /// The grant.
        grant_key: &'a PublicKey,
    },
    /// In a request.
    Request {
        /// The network.
        network: Network,
        /// The member that asks.
        reader: u32,
        /// For whom the slot is.
        member: u32,
        /// `H("reader", key)`.
        reader_key: &'a Hash,
    },
}

impl SlotContext<'_> {
    fn info(&self) -> &'static [u8] {
        match self {
            Self::Grant { .. } => b"suture/1 grant slot",
            Self::Request { .. } => b"suture/1 request slot",
        }
    }

    fn associated(&self) -> Vec<u8> {
        match self {
            Self::Grant { network, grant_key } => {
                hash("slot-context", &[&network.genesis, &network.era.to_be_bytes(), *grant_key]).to_vec()
            }
            Self::Request { network, reader, member, reader_key } => hash(
                "slot-context",
                &[
                    &network.genesis,
                    &network.era.to_be_bytes(),
                    &reader.to_be_bytes(),
                    &member.to_be_bytes(),
                    *reader_key,
                ],
            )
            .to_vec(),
        }
    }
}

/// How a holder answered a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, TlsSize, TlsSerialize, TlsDeserialize)]
#[repr(u8)]
pub enum Outcome {
    /// Everything that the terms allow was released.
    Released = 1,
    /// Nothing was.
    Refused = 2,
    /// An earlier release was entered, but nothing left, because the grant ended meanwhile.
    Withheld = 3,
}

/// An item of an access strand: what a holder did with a request.
#[derive(Debug, Clone, PartialEq, Eq, TlsSize, TlsSerialize, TlsDeserialize)]
pub struct AccessItem {
    /// The request's transaction.
    pub request: Hash,
    /// Who asked.
    pub reader: u32,
    /// `H("reader", key)`.
    pub reader_key: Hash,
    /// Under which grant.
    pub grant_key: PublicKey,
    /// What was done.
    pub outcome: Outcome,
    /// Why it was refused, empty otherwise; at most 256 octets.
    #[tls_codec(with = "crate::codec::text")]
    pub reason: String,
    /// For what.
    #[tls_codec(with = "crate::codec::text")]
    pub purpose: String,
    /// The role that the reader's member vouches for.
    #[tls_codec(with = "crate::codec::text")]
    pub role: String,
    /// [`released_hash`] of the pages, zeros when nothing was released.
    pub released: Hash,
    /// Pages released.
    pub pages: u32,
    /// Record versions released.
    pub records: u32,
}
crate::format!(AccessItem, 1_024);

/// What an access entry says of the pages released: their commitments, in order, from the strand's first.
#[must_use]
pub fn released_hash(commitments: &[Hash]) -> Hash {
    let fields: Vec<&[u8]> = commitments.iter().map(<[u8; 32]>::as_slice).collect();
    hash("released", &fields)
}

/// A record as it is released: what opens its leaf, its bytes and where they lie.
#[derive(Debug, Clone, PartialEq, Eq, TlsSize, TlsSerialize, TlsDeserialize)]
pub struct ReleasedRecord {
    /// Opens all fields of the leaf.
    pub secret: LeafSecret,
    /// Opens the sealed record.
    pub key: Secret,
    /// `H("plain", …)`.
    pub plain: Hash,
    /// `H("sealed", …)`.
    pub sealed: Hash,
    /// BLAKE3 name of the pack.
    pub pack: Hash,
    /// Where in the pack.
    pub offset: u32,
    /// Octets in the pack.
    pub length: u32,
    /// The leaf's category.
    #[tls_codec(with = "crate::codec::text")]
    pub category: String,
    /// The leaf's month, `YYYY-MM`.
    #[tls_codec(with = "crate::codec::text")]
    pub month: String,
}

/// A page as it is released.
#[derive(Debug, Clone, PartialEq, Eq, TlsSize, TlsSerialize, TlsDeserialize)]
#[repr(u8)]
pub enum ReleasedPage {
    /// The opening, or another page of items.
    #[tls_codec(discriminant = 1)]
    Items(OpenedPage),
    /// Records with their keys.
    Records(Vec<ReleasedRecord>),
}

impl ReleasedPage {
    /// Its records; none in a page of items.
    #[must_use]
    pub fn records(&self) -> &[ReleasedRecord] {
        match self {
            Self::Records(records) => records,
            Self::Items(_) => &[],
        }
    }

    /// The page as the ledger's commitment sees it.
    #[must_use]
    pub fn opened(&self) -> OpenedPage {
        match self {
            Self::Items(page) => page.clone(),
            Self::Records(records) => OpenedPage {
                kind: PageKind::Records,
                leaves: records.iter().map(|r| r.secret.leaf(r.plain, r.sealed, &r.category, &r.month)).collect(),
            },
        }
    }
}

/// One entry shown by its tag alone: the strand's key stays closed.
#[derive(Debug, Clone, PartialEq, Eq, TlsSize, TlsSerialize, TlsDeserialize)]
pub struct ShownEntry {
    /// The member that wrote it.
    pub member: u32,
    /// Its tag.
    pub tag: Hash,
    /// Its page.
    pub page: OpenedPage,
}

/// A holder's answer to a request, sealed to the reader's key.
#[derive(Debug, Clone, PartialEq, Eq, TlsSize, TlsSerialize, TlsDeserialize)]
pub struct Release {
    /// The request's transaction.
    pub request: Hash,
    /// Who answers.
    pub holder: u32,
    /// To whom.
    pub reader: u32,
    /// The finalized entry in the patient's access strand.
    pub access: ShownEntry,
    /// What is released; absent when refused.
    pub record: Option<ReleasedStrand>,
    /// The holder's signature over the rest.
    pub signature: Signature,
}
crate::format!(Release, 64 << 20, check_release);

/// A strand of records with everything that opens it.
#[derive(Debug, Clone, PartialEq, Eq, TlsSize, TlsSerialize, TlsDeserialize)]
pub struct ReleasedStrand {
    /// Its key.
    pub key: StrandKey,
    /// Its pages from the first.
    pub pages: Vec<ReleasedPage>,
}

fn check_release(release: &Release) -> Result<(), DecodeError> {
    release.access.page.check()?;
    for page in release.record.iter().flat_map(|r| &r.pages) {
        page.opened().check()?;
    }
    Ok(())
}

impl Release {
    /// Signs the release as its holder.
    #[must_use]
    pub fn sign(mut self, signer: &Signer, network: Network) -> Self {
        self.signature = signer.sign(network, "release", &[&self.unsigned()]);
        self
    }

    /// Whether `holder` signed it.
    #[must_use]
    pub fn signed_by(&self, holder: &PublicKey, network: Network) -> bool {
        verify(holder, network, "release", &[&self.unsigned()], &self.signature)
    }

    fn unsigned(&self) -> Vec<u8> {
        let mut octets = self.to_octets();
        octets.truncate(octets.len() - self.signature.len());
        octets
    }

    /// What sealing a release is bound to.
    #[must_use]
    pub fn associated(network: Network, request: &Hash, holder: u32) -> Vec<u8> {
        let fields: [&[u8]; 4] = [&network.genesis, &network.era.to_be_bytes(), request, &holder.to_be_bytes()];
        hash("release-context", &fields).to_vec()
    }
}

/// HPKE's `info` for a release.
pub const RELEASE_INFO: &[u8] = b"suture/1 release";

#[cfg(test)]
mod tests {
    use super::*;

    fn network() -> Network {
        Network { genesis: [9; 32], era: 0 }
    }

    #[test]
    fn a_slot_opens_for_its_member_in_its_request_only() {
        let (opener, reader_key) = (Opener::generate(), [4; 32]);
        let context = SlotContext::Request { network: network(), reader: 1, member: 2, reader_key: &reader_key };
        let ask = Ask { grant_key: [1; 32], patient_key: [2; 32], purpose: "TREAT".into(), role: "clinician".into() };
        let full = seal_slot(&opener.public(), &context, &RequestSlot::Ask(ask.clone()), REQUEST_SLOT_PLAIN).unwrap();
        let empty = seal_slot(&opener.public(), &context, &RequestSlot::Empty, REQUEST_SLOT_PLAIN).unwrap();
        assert_eq!(full.len(), empty.len(), "who is asked does not show in the length");
        assert_eq!(full.len(), REQUEST_SLOT_OCTETS);
        assert_eq!(open_slot(&opener, &context, &full), Some(RequestSlot::Ask(ask)));
        let other = SlotContext::Request { network: network(), reader: 3, member: 2, reader_key: &reader_key };
        assert_eq!(open_slot::<RequestSlot>(&opener, &other, &full), None);
        assert_eq!(open_slot::<RequestSlot>(&Opener::generate(), &context, &full), None);
    }

    #[test]
    fn a_holders_slot_is_bound_to_its_grant_and_terms() {
        let patient = Signer::from_seed(&[1; 32]);
        let terms = Terms { purposes: vec![Text("TREAT".into())], begin_ms: 5, end_ms: 10 };
        let slot = HolderSlot::sign(&patient, network(), &[7; 32], 1, 2, 3, terms.clone());
        assert!(slot.signed(network(), &[7; 32]));
        assert!(!slot.signed(network(), &[8; 32]));
        assert!(!HolderSlot { grantee: 4, ..slot.clone() }.signed(network(), &[7; 32]));
        assert!(!HolderSlot { terms: Terms { end_ms: 11, ..terms.clone() }, ..slot }.signed(network(), &[7; 32]));
        assert!(terms.allow("TREAT", 5) && !terms.allow("TREAT", 10) && !terms.allow("HRESCH", 5));
    }
}
