//! The strand: a numbered list on the ledger that only those who hold its key can see, count and check to its end.
//!
//! Entry `i` of member `M`'s strand with key `L` lies at `H("strand", M, PRF(L, "tag", i))`; its commitment
//! `H("page", place, kind, count, root)` shows neither kind nor size and cannot be moved. A page has 1 to 256 leaves.
//! A strand is complete at a height when entries `0..n-1` are present and opened and entry `n` is absent.

use crate::{
    codec::{DecodeError, TlsDeserialize, TlsSerialize, TlsSize},
    hash::{Hash, hash, merkle_root, prf},
    keys::Secret,
};

/// A page has at most this many leaves.
pub const LEAVES_MAX: usize = 256;
/// An item's payload in a page has at most this many octets.
pub const PAYLOAD_OCTETS_MAX: usize = 16 * 1024;

/// The key of a strand, `L`: who has it sees, counts and follows the strand.
#[derive(Debug, Clone, PartialEq, Eq, TlsSize, TlsSerialize, TlsDeserialize)]
pub struct StrandKey(Secret);

impl From<Secret> for StrandKey {
    fn from(secret: Secret) -> Self {
        Self(secret)
    }
}

impl StrandKey {
    /// A fresh random key.
    #[must_use]
    pub fn generate() -> Self {
        Self(Secret::generate())
    }

    /// The secret itself, to be wrapped or sealed.
    #[must_use]
    pub fn secret(&self) -> &Secret {
        &self.0
    }

    /// The tag of entry `index`.
    #[must_use]
    pub fn tag(&self, index: u64) -> Hash {
        prf(self.0.expose(), "tag", &[&index.to_be_bytes()])
    }

    /// The name under which what belongs to entry `index` is replicated (manifests).
    #[must_use]
    pub fn name(&self, index: u64) -> Hash {
        prf(self.0.expose(), "at", &[&index.to_be_bytes()])
    }
}

/// Where the ledger keeps the entry with `tag` of `member`: the signer is part of the place, so nobody else can
/// write there, even knowing the strand's key.
#[must_use]
pub fn entry_key(member: u32, tag: &Hash) -> Hash {
    hash("strand", &[&member.to_be_bytes(), tag])
}

/// What a strand is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, TlsSize, TlsSerialize, TlsDeserialize)]
#[repr(u8)]
pub enum StrandKind {
    /// Record versions of a patient at a member.
    Records = 1,
    /// Releases and refusals of a patient's records by a member.
    Accesses = 2,
    /// The members that hold records of a patient, kept by the patient's home.
    Holders = 3,
    /// A member's own accounts, wallets, grants received, settings.
    Own = 4,
    /// Where everything that a member entered lies.
    Manifest = 5,
}

/// The class of a strand of records.
#[derive(Debug, Clone, Copy, PartialEq, Eq, TlsSize, TlsSerialize, TlsDeserialize)]
#[repr(u8)]
pub enum Class {
    /// What any complete grant shows.
    General = 1,
}

/// Entry 0 of each strand: a made-up key has none, so it cannot pass for an empty history.
#[derive(Debug, Clone, PartialEq, Eq, TlsSize, TlsSerialize, TlsDeserialize)]
pub struct Opening {
    /// Whose strand: a random handle of the patient at this member, or zeros for the member's own.
    pub subject: Hash,
    /// The member that writes.
    pub member: u32,
    /// What it is for.
    pub kind: StrandKind,
    /// Which class.
    pub class: Class,
    /// The closing entry of the strand that this one continues.
    pub continues: Option<Hash>,
}
crate::format!(Opening, 71);

/// Kind of a page.
#[derive(Debug, Clone, Copy, PartialEq, Eq, TlsSize, TlsSerialize, TlsDeserialize)]
#[repr(u8)]
pub enum PageKind {
    /// Entry 0: one item, an [`Opening`].
    Opening = 1,
    /// Record versions.
    Records = 2,
    /// Items: accesses, holders, manifest lines.
    Items = 3,
}

/// One leaf as it is shown to who may follow the strand. The fields of a record that stay closed are commitments.
#[derive(Debug, Clone, PartialEq, Eq, TlsSize, TlsSerialize, TlsDeserialize)]
#[repr(u8)]
pub enum OpenedLeaf {
    /// An item and its salt: the leaf is `H("item", salt, payload)`.
    #[tls_codec(discriminant = 1)]
    Item {
        /// Serves this leaf only.
        salt: Hash,
        /// The item's octets.
        #[tls_codec(with = "crate::codec::octets")]
        payload: Vec<u8>,
    },
    /// A record with its content opened: `H("leaf", H("content", salt, H(plain), H(sealed)), category, date)`.
    Record {
        /// Salt of the content.
        salt: Hash,
        /// `H("plain", octets)` of the record in clear.
        plain: Hash,
        /// `H("sealed", octets)` of the record as replicas keep it.
        sealed: Hash,
        /// Salted commitment to the category.
        category: Hash,
        /// Salted commitment to the month.
        date: Hash,
    },
}

impl OpenedLeaf {
    /// The leaf's hash.
    #[must_use]
    pub fn hash(&self) -> Hash {
        match self {
            Self::Item { salt, payload } => hash("item", &[salt, payload]),
            Self::Record { salt, plain, sealed, category, date } => {
                hash("leaf", &[&content_hash(salt, plain, sealed), category, date])
            }
        }
    }
}

fn content_hash(salt: &Hash, plain: &Hash, sealed: &Hash) -> Hash {
    hash("content", &[salt, plain, sealed])
}

/// The secret of a record's leaf; each field's salt follows from it, and none from another's salt.
#[derive(Debug, Clone, PartialEq, Eq, TlsSize, TlsSerialize, TlsDeserialize)]
pub struct LeafSecret(Secret);

impl LeafSecret {
    /// A fresh random secret.
    #[must_use]
    pub fn generate() -> Self {
        Self(Secret::generate())
    }

    /// The salt of one field.
    #[must_use]
    pub fn salt(&self, field: &str) -> Hash {
        *self.0.derive("salt", &[field.as_bytes()]).expose()
    }

    /// The leaf of a record: content opened, category and month as commitments.
    #[must_use]
    pub fn leaf(&self, plain: Hash, sealed: Hash, category: &str, month: &str) -> OpenedLeaf {
        OpenedLeaf::Record {
            salt: self.salt("content"),
            plain,
            sealed,
            category: hash("category", &[&self.salt("category"), category.as_bytes()]),
            date: hash("date", &[&self.salt("date"), month.as_bytes()]),
        }
    }
}

/// `H("plain", …)` of a record in clear; never shown without its salt beside it.
#[must_use]
pub fn plain_hash(octets: &[u8]) -> Hash {
    hash("plain", &[octets])
}

/// `H("sealed", …)` of a record as replicas keep it.
#[must_use]
pub fn sealed_hash(octets: &[u8]) -> Hash {
    hash("sealed", &[octets])
}

/// A page whose leaves are shown.
#[derive(Debug, Clone, PartialEq, Eq, TlsSize, TlsSerialize, TlsDeserialize)]
pub struct OpenedPage {
    /// Its kind.
    pub kind: PageKind,
    /// Its leaves, 1 to [`LEAVES_MAX`].
    pub leaves: Vec<OpenedLeaf>,
}
crate::format!(OpenedPage, 8 << 20, check_page);

fn check_page(page: &OpenedPage) -> Result<(), DecodeError> {
    if page.leaves.is_empty() || page.leaves.len() > LEAVES_MAX {
        return Err(DecodeError::malformed("OpenedPage", "a page has 1 to 256 leaves"));
    }
    let fits = page.leaves.iter().all(|leaf| match (page.kind, leaf) {
        (PageKind::Records, OpenedLeaf::Record { .. }) => true,
        (PageKind::Opening | PageKind::Items, OpenedLeaf::Item { payload, .. }) => payload.len() <= PAYLOAD_OCTETS_MAX,
        _ => false,
    });
    if !fits || (page.kind == PageKind::Opening && page.leaves.len() != 1) {
        return Err(DecodeError::malformed("OpenedPage", "leaves do not fit the page's kind"));
    }
    Ok(())
}

impl OpenedPage {
    /// A page of items, each under a fresh salt.
    #[must_use]
    pub fn items(kind: PageKind, payloads: impl IntoIterator<Item = Vec<u8>>) -> Self {
        let leaves = payloads.into_iter().map(|payload| OpenedLeaf::Item { salt: crate::random(), payload }).collect();
        Self { kind, leaves }
    }

    /// Rules of a page, for pages that came inside another format.
    ///
    /// # Errors
    /// [`DecodeError`] with the broken rule.
    pub fn check(&self) -> Result<(), DecodeError> {
        check_page(self)
    }

    /// What the ledger keeps for this page at the place `entry`.
    #[must_use]
    pub fn commitment(&self, entry: &Hash) -> Hash {
        let leaves: Vec<Hash> = self.leaves.iter().map(OpenedLeaf::hash).collect();
        commitment(entry, self.kind, &leaves)
    }

    /// The payloads of a page of items.
    pub fn payloads(&self) -> impl Iterator<Item = &[u8]> {
        self.leaves.iter().filter_map(|leaf| match leaf {
            OpenedLeaf::Item { payload, .. } => Some(payload.as_slice()),
            OpenedLeaf::Record { .. } => None,
        })
    }
}

/// `H("page", place, kind, count, root)`.
#[must_use]
pub fn commitment(entry: &Hash, kind: PageKind, leaves: &[Hash]) -> Hash {
    let count = u32::try_from(leaves.len()).expect("at most 256 leaves");
    hash("page", &[entry, &[kind as u8], &count.to_be_bytes(), &merkle_root(leaves)])
}

/// A strand's beginning as a wallet pinned it: where entry 0 lies and what it commits to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, TlsSize, TlsSerialize, TlsDeserialize)]
pub struct Pinned {
    /// The holder.
    pub member: u32,
    /// Place of entry 0.
    pub entry: Hash,
    /// Commitment of entry 0.
    pub commitment: Hash,
}
crate::format!(Pinned, 68);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::Format as _;

    #[test]
    fn a_commitment_belongs_to_its_place_kind_and_number_of_leaves() {
        let page = OpenedPage::items(PageKind::Items, [vec![1], vec![2]]);
        let here = page.commitment(&[1; 32]);
        assert_ne!(here, page.commitment(&[2; 32]));
        assert_ne!(here, OpenedPage { kind: PageKind::Records, ..page.clone() }.commitment(&[1; 32]));
        let shorter = OpenedPage { leaves: page.leaves[..1].to_vec(), ..page };
        assert_ne!(here, shorter.commitment(&[1; 32]));
    }

    #[test]
    fn fields_of_a_leaf_have_salts_of_their_own() {
        let secret = LeafSecret::generate();
        assert_ne!(secret.salt("content"), secret.salt("category"));
        let one = secret.leaf([1; 32], [2; 32], "Observation", "2026-01");
        let two = secret.leaf([1; 32], [2; 32], "Observation", "2026-02");
        assert_ne!(one.hash(), two.hash());
    }

    #[test]
    fn pages_that_break_their_rules_are_refused() {
        let empty = OpenedPage { kind: PageKind::Items, leaves: vec![] };
        assert!(OpenedPage::from_octets(&empty.to_octets()).is_err());
        let two = OpenedPage::items(PageKind::Opening, [vec![1], vec![2]]);
        assert!(OpenedPage::from_octets(&two.to_octets()).is_err());
        let mixed = OpenedPage { kind: PageKind::Records, leaves: two.leaves.clone() };
        assert!(OpenedPage::from_octets(&mixed.to_octets()).is_err());
        let good = OpenedPage::items(PageKind::Items, [vec![1], vec![2]]);
        assert_eq!(OpenedPage::from_octets(&good.to_octets()).unwrap(), good);
        let mut trailing = good.to_octets();
        trailing.push(0);
        assert!(OpenedPage::from_octets(&trailing).is_err());
    }
}
