//! Proof documents: made beside an answer, kept for a day, given to the person who asked.

use crate::{
    Caller, Error, Inner, Records,
    documents::{NumberDoc, put, remove, space},
};
use store::{Commit, DocumentPut};
use wire::{
    Format as _,
    codec::{TlsDeserialize, TlsSerialize, TlsSize},
    message::ShownEntry,
    proof::{Document, ShownRequest, ShownStrand, Subject},
};

/// A document is kept for this long.
const KEEP_MS: u64 = 24 * 60 * 60 * 1_000;

/// What a document is to show.
pub(crate) struct Shown {
    pub(crate) subject: Subject,
    pub(crate) holders: ShownStrand,
    pub(crate) parts: Vec<ShownStrand>,
    pub(crate) releases: Vec<ShownEntry>,
    pub(crate) request: Option<ShownRequest>,
    pub(crate) min_height: u64,
}

/// A kept document.
#[derive(Debug, Clone, PartialEq, Eq, TlsSize, TlsSerialize, TlsDeserialize)]
struct ProofDoc {
    #[tls_codec(with = "wire::codec::text")]
    person: String,
    until_ms: u64,
    #[tls_codec(with = "wire::codec::octets")]
    document: Vec<u8>,
}
wire::format!(ProofDoc, 256 << 20);

impl Records {
    /// A proof document that was made for this person.
    ///
    /// # Errors
    /// [`Error::NotFound`] when it is another's, older than a day, or none.
    pub async fn proof(&self, who: &Caller, id: &str) -> Result<Vec<u8>, Error> {
        let found: Option<ProofDoc> = self.0.documents.load(space::PROOF, id.as_bytes()).await?;
        let found = found.filter(|doc| doc.person == who.person.id && doc.until_ms > crate::now_ms());
        Ok(found.ok_or_else(|| Error::NotFound("this proof is not kept any more: ask again".into()))?.document)
    }
}

impl Inner {
    /// Removes some of the documents that are kept no longer, oldest first.
    async fn outdated(&self) -> Result<Vec<DocumentPut>, Error> {
        const AT_ONCE: usize = 16;
        let oldest = self.store.documents(space::PROOF_UNTIL, &[], None, AT_ONCE).await;
        let oldest = oldest.map_err(Error::internal("reading documents"))?;
        let now = crate::now_ms().to_be_bytes();
        let old = oldest.into_iter().map(|(key, _)| key).take_while(|key| key[..] < now[..]);
        Ok(old.flat_map(|key| [remove(space::PROOF, &key[8..]), remove(space::PROOF_UNTIL, &key)]).collect())
    }

    /// Proves everything shown at one state of this member's ledger; gives the document's id.
    pub(crate) async fn prove(&self, who: &Caller, shown: Shown) -> Result<String, Error> {
        let Shown { subject, holders, parts, releases, request, min_height } = shown;
        let empty = wire::engine::StateProof {
            header: wire::engine::HeaderOctets { octets: Vec::new() },
            links: Vec::new(),
            sets: Vec::new(),
            certificate: Vec::new(),
            registry_root: [0; 32],
            strands_root: [0; 32],
            registry: Vec::new(),
            strands: Vec::new(),
        };
        let viewer = self.config.me;
        let mut document =
            Document { format: 1, subject, viewer, holders, parts, request, releases, state: empty, checksum: [0; 32] };
        let (strands, registry) = document.places();
        let proved = self.chain.prove(registry.into_iter().collect(), strands.into_iter().collect(), min_height).await;
        document.state = proved.map_err(|e| Error::unavailable(e.to_string()))?;
        let document = document.sealed().to_octets();
        let id = uuid::Uuid::new_v4().to_string();
        let kept = ProofDoc { person: who.person.id.clone(), until_ms: crate::now_ms() + KEEP_MS, document };
        let until = [kept.until_ms.to_be_bytes().as_slice(), id.as_bytes()].concat();
        let mut documents = vec![put(space::PROOF, id.as_bytes(), &kept)];
        documents.push(put(space::PROOF_UNTIL, &until, &NumberDoc(kept.until_ms)));
        documents.extend(self.outdated().await?);
        let commit = Commit { documents, ..Commit::default() };
        self.store.commit(commit).await.map_err(Error::internal("keeping a proof"))?;
        Ok(id)
    }
}
