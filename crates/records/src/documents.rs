//! The member's own papers: strands, pages, wallets, grants, codes, people, each a typed document in the store.

use crate::Error;
use std::sync::Arc;
use store::{Backend, DocumentPut, Expect};
use wire::{
    Format, Hash,
    codec::{TlsDeserialize, TlsSerialize, TlsSize},
    keys::Secret,
    keys::Wrapped,
    message::{GranteeSlot, HolderSlot, ReleasedPage, Terms},
    sign::PublicKey,
    strand::{OpenedPage, Pinned, StrandKey, StrandKind},
};

/// The kinds of documents; the name is the store's space.
pub(crate) mod space {
    pub(crate) const STRAND: &str = "strand";
    pub(crate) const STRAND_OF: &str = "strand-of";
    pub(crate) const PAGE: &str = "page";
    pub(crate) const BATCH: &str = "batch";
    pub(crate) const TOTALS: &str = "totals";
    pub(crate) const RECEIPT: &str = "receipt";
    pub(crate) const PERSON: &str = "person";
    pub(crate) const TOKEN: &str = "token";
    pub(crate) const SECRET: &str = "secret";
    pub(crate) const CODE: &str = "code";
    pub(crate) const PATIENT_KEY: &str = "patient-key";
    pub(crate) const WALLET: &str = "wallet";
    pub(crate) const GRANT_MADE: &str = "grant-made";
    pub(crate) const GRANT_OPEN: &str = "grant-open";
    pub(crate) const REVOKE_OPEN: &str = "revoke-open";
    pub(crate) const GRANT_RECEIVED: &str = "grant-received";
    pub(crate) const GRANT_HELD: &str = "grant-held";
    pub(crate) const REQUEST: &str = "request";
    pub(crate) const FOLLOWED: &str = "followed";
    pub(crate) const ACCESS_BEGUN: &str = "access-begun";
    pub(crate) const ACCESS_PAGE: &str = "access-page";
    pub(crate) const PROOF: &str = "proof";
    /// Until when each is kept, by time.
    pub(crate) const PROOF_UNTIL: &str = "proof-until";
}

/// A strand that this member writes.
#[derive(Debug, Clone, PartialEq, Eq, TlsSize, TlsSerialize, TlsDeserialize)]
pub(crate) struct StrandDoc {
    pub(crate) kind: StrandKind,
    pub(crate) key: StrandKey,
    /// Logical id of the Patient; empty for the member's own strands.
    #[tls_codec(with = "wire::codec::text")]
    pub(crate) owner: String,
    /// Place of entry 0.
    pub(crate) entry: Hash,
    /// Index of the next entry.
    pub(crate) next: u64,
}
wire::format!(StrandDoc, 512);

/// A page that this member entered, with all that releases it.
#[derive(Debug, Clone, PartialEq, Eq, TlsSize, TlsSerialize, TlsDeserialize)]
pub(crate) struct PageDoc {
    pub(crate) page: ReleasedPage,
}
wire::format!(PageDoc, 8 << 20);

/// A batch whose entries are fixed and not finalized yet.
#[derive(Debug, Clone, PartialEq, Eq, TlsSize, TlsSerialize, TlsDeserialize)]
pub(crate) struct BatchDoc {
    #[tls_codec(with = "wire::codec::octets")]
    pub(crate) transaction: Vec<u8>,
    pub(crate) packs: Vec<Hash>,
    pub(crate) manifests: Vec<Hash>,
    /// Place of one real entry: it tells whether the batch is on the ledger.
    pub(crate) witness: Hash,
    pub(crate) pages: u32,
    pub(crate) records: u32,
    pub(crate) began_ms: u64,
}
wire::format!(BatchDoc, 256 * 1024);

/// What this member has had finalized.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, TlsSize, TlsSerialize, TlsDeserialize)]
pub(crate) struct TotalsDoc {
    pub(crate) batches: u64,
    pub(crate) pages: u64,
    pub(crate) records: u64,
}
wire::format!(TotalsDoc, 24);

/// A one-time code for enrolment.
#[derive(Debug, Clone, PartialEq, Eq, TlsSize, TlsSerialize, TlsDeserialize)]
pub(crate) struct CodeDoc {
    #[tls_codec(with = "wire::codec::text")]
    pub(crate) owner: String,
    pub(crate) expires_ms: u64,
}
wire::format!(CodeDoc, 256);

/// A patient's key at this holder leads to the Patient here.
#[derive(Debug, Clone, PartialEq, Eq, TlsSize, TlsSerialize, TlsDeserialize)]
pub(crate) struct PatientKeyDoc {
    #[tls_codec(with = "wire::codec::text")]
    pub(crate) owner: String,
    /// The member that keeps the wallet.
    pub(crate) home: u32,
}
wire::format!(PatientKeyDoc, 256);

/// What a wallet knows of one holder.
#[derive(Debug, Clone, PartialEq, Eq, TlsSize, TlsSerialize, TlsDeserialize)]
pub(crate) struct HolderDoc {
    pub(crate) member: u32,
    pub(crate) patient_key: PublicKey,
    pub(crate) records: StrandKey,
    pub(crate) records_pinned: Pinned,
    pub(crate) accesses: StrandKey,
    pub(crate) accesses_pinned: Pinned,
    pub(crate) accesses_opening: OpenedPage,
}

/// A patient's wallet, kept by the home.
#[derive(Debug, Clone, PartialEq, Eq, TlsSize, TlsSerialize, TlsDeserialize)]
pub(crate) struct WalletDoc {
    /// The root secret, wrapped.
    pub(crate) root: Wrapped,
    /// Grants made so far: the counter from which each grant's key comes.
    pub(crate) grants: u32,
    pub(crate) holders: Vec<HolderDoc>,
}
wire::format!(WalletDoc, 64 * 1024);

/// A grant that a wallet kept here made; the key is the Consent's id.
#[derive(Debug, Clone, PartialEq, Eq, TlsSize, TlsSerialize, TlsDeserialize)]
pub(crate) struct GrantMadeDoc {
    #[tls_codec(with = "wire::codec::text")]
    pub(crate) owner: String,
    pub(crate) counter: u32,
    pub(crate) grant_key: PublicKey,
    pub(crate) grantee: u32,
    pub(crate) terms: Terms,
    /// The signed Grant, until it is finalized, so that a crash sends the same one again.
    #[tls_codec(with = "wire::codec::octets")]
    pub(crate) transaction: Vec<u8>,
    /// Height at which it was finalized, zero before.
    pub(crate) height: u64,
}
wire::format!(GrantMadeDoc, 160 * 1024);

/// A grant that was made to this member.
#[derive(Debug, Clone, PartialEq, Eq, TlsSize, TlsSerialize, TlsDeserialize)]
pub(crate) struct GrantReceivedDoc {
    pub(crate) slot: GranteeSlot,
    /// The Patient here.
    #[tls_codec(with = "wire::codec::text")]
    pub(crate) owner: String,
    /// The copy of the Consent here.
    #[tls_codec(with = "wire::codec::text")]
    pub(crate) consent: String,
    pub(crate) height: u64,
}
wire::format!(GrantReceivedDoc, 8 * 1024);

/// A grant under which this member may release.
#[derive(Debug, Clone, PartialEq, Eq, TlsSize, TlsSerialize, TlsDeserialize)]
pub(crate) struct GrantHeldDoc {
    pub(crate) slot: HolderSlot,
    pub(crate) height: u64,
}
wire::format!(GrantHeldDoc, 4 * 1024);

/// A finalized request of another member that is still to be answered.
#[derive(Debug, Clone, PartialEq, Eq, TlsSize, TlsSerialize, TlsDeserialize)]
pub(crate) struct RequestDoc {
    pub(crate) reader: u32,
    pub(crate) slots_root: Hash,
    pub(crate) reader_key: Hash,
    pub(crate) height: u64,
    pub(crate) time_ms: u64,
}
wire::format!(RequestDoc, 128);

/// A number, as a document.
#[derive(Debug, Clone, Copy, PartialEq, Eq, TlsSize, TlsSerialize, TlsDeserialize)]
pub(crate) struct NumberDoc(pub(crate) u64);
wire::format!(NumberDoc, 8);

/// A name that leads to another document.
#[derive(Debug, Clone, PartialEq, Eq, TlsSize, TlsSerialize, TlsDeserialize)]
pub(crate) struct NameDoc(#[tls_codec(with = "wire::codec::octets")] pub(crate) Vec<u8>);
wire::format!(NameDoc, 1024);

/// A secret wrapped by the key file.
#[derive(Debug, Clone, PartialEq, Eq, TlsSize, TlsSerialize, TlsDeserialize)]
pub(crate) struct SecretDoc(pub(crate) Wrapped);
wire::format!(SecretDoc, 128);

impl SecretDoc {
    pub(crate) fn open(&self, kek: &wire::keys::WrappingKey, context: &[u8]) -> Result<Secret, Error> {
        kek.unwrap(context, &self.0).map_err(Error::internal("opening a wrapped secret"))
    }
}

/// Reads documents of one type.
#[derive(Clone)]
pub(crate) struct Documents(pub(crate) Arc<dyn Backend>);

impl Documents {
    pub(crate) async fn load<T: Format>(&self, space: &'static str, key: &[u8]) -> Result<Option<T>, Error> {
        let octets = self.0.document(space, key).await.map_err(Error::internal("reading a document"))?;
        octets.map(|o| T::from_octets(&o)).transpose().map_err(Error::internal("decoding a document"))
    }

    /// All documents of a space whose keys begin with `prefix`, in order of keys.
    pub(crate) async fn all<T: Format>(&self, space: &'static str, prefix: &[u8]) -> Result<Vec<(Vec<u8>, T)>, Error> {
        const AT_ONCE: usize = 256;
        let (mut found, mut after) = (Vec::new(), None);
        loop {
            let page = self.0.documents(space, prefix, after, AT_ONCE).await;
            let page = page.map_err(Error::internal("reading documents"))?;
            let last = page.len() < AT_ONCE;
            after = page.last().map(|(key, _)| key.clone());
            for (key, octets) in page {
                let value = T::from_octets(&octets).map_err(Error::internal("decoding a document"))?;
                found.push((key, value));
            }
            if last {
                return Ok(found);
            }
        }
    }
}

/// Puts a document, whatever was there.
pub(crate) fn put<T: Format>(space: &'static str, key: &[u8], value: &T) -> DocumentPut {
    DocumentPut { space: space.into(), key: key.to_vec(), value: Some(value.to_octets()), expected: Expect::Any }
}

/// Puts a document where none may be.
pub(crate) fn put_new<T: Format>(space: &'static str, key: &[u8], value: &T) -> DocumentPut {
    DocumentPut { expected: Expect::Absent, ..put(space, key, value) }
}

/// Removes a document.
pub(crate) fn remove(space: &'static str, key: &[u8]) -> DocumentPut {
    DocumentPut { space: space.into(), key: key.to_vec(), value: None, expected: Expect::Any }
}
