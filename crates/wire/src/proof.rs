//! Proof documents: what a reader, or a patient, shows to anybody who has the genesis.
//!
//! A document says: at height `h` of this network, each of these strands has exactly these pages. Checking starts no
//! runtime and does no I/O. It has one canonical form, and its last 32 octets are the hash of all before them, so
//! changing any bit makes it invalid.

use crate::{
    codec::{DecodeError, Format, TlsDeserialize, TlsSerialize, TlsSize},
    engine::{self, ProofError, StateProof, Verified},
    genesis::Genesis,
    hash::{Hash, hash},
    message::{AccessItem, Outcome, ShownEntry, released_hash},
    sign::PublicKey,
    state::{Entry, GrantEntry, Key, grant_key, request_commitment, request_key},
    strand::{OpenedPage, Opening, PageKind, Pinned, StrandKey, StrandKind, entry_key},
};
use std::collections::{BTreeMap, BTreeSet};

/// The format written today.
pub const FORMAT: u8 = 1;

/// What a document is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, TlsSize, TlsSerialize, TlsDeserialize)]
#[repr(u8)]
pub enum Subject {
    /// A patient's complete record, as a member read it.
    Record = 1,
    /// The complete list of who read a patient's record.
    Accesses = 2,
}

/// A strand shown whole: its key and its pages from the first to the last.
#[derive(Debug, Clone, PartialEq, Eq, TlsSize, TlsSerialize, TlsDeserialize)]
pub struct ShownStrand {
    /// The member that writes it.
    pub member: u32,
    /// Its key.
    pub key: StrandKey,
    /// Its pages.
    pub pages: Vec<OpenedPage>,
}

impl ShownStrand {
    /// Where the ledger keeps its entry `index`.
    #[must_use]
    pub fn place(&self, index: u64) -> Key {
        entry_key(self.member, &self.key.tag(index))
    }

    /// The places that must be shown: one for each page, and one more that must be empty.
    pub fn places(&self) -> impl Iterator<Item = Key> {
        (0..=self.pages.len() as u64).map(|index| self.place(index))
    }

    /// Commitments of its pages.
    #[must_use]
    pub fn commitments(&self) -> Vec<Hash> {
        self.pages.iter().zip(self.places()).map(|(page, place)| page.commitment(&place)).collect()
    }

    /// Its beginning, as a wallet pins it.
    #[must_use]
    pub fn pinned(&self) -> Option<Pinned> {
        let entry = self.place(0);
        Some(Pinned { member: self.member, entry, commitment: self.pages.first()?.commitment(&entry) })
    }
}

/// A finalized request.
#[derive(Debug, Clone, PartialEq, Eq, TlsSize, TlsSerialize, TlsDeserialize)]
pub struct ShownRequest {
    /// Its transaction.
    pub id: Hash,
    /// The group asked.
    pub group: u32,
    /// Root over the slots.
    pub slots_root: Hash,
    /// `H("reader", key)`.
    pub reader_key: Hash,
    /// The grant it names.
    pub grant_key: PublicKey,
}

/// A proof document.
#[derive(Debug, Clone, PartialEq, Eq, TlsSize, TlsSerialize, TlsDeserialize)]
pub struct Document {
    /// [`FORMAT`].
    pub format: u8,
    /// What it is about.
    pub subject: Subject,
    /// Who made it: the member that read, or the patient's home.
    pub viewer: u32,
    /// The strand of holders, kept by the patient's home.
    pub holders: ShownStrand,
    /// The holders' strands of records, or of accesses, by member.
    pub parts: Vec<ShownStrand>,
    /// The request that was read under; for [`Subject::Record`].
    pub request: Option<ShownRequest>,
    /// The entries by which holders announced what they released to it, by member; for [`Subject::Record`].
    pub releases: Vec<ShownEntry>,
    /// The state's proof of every place above.
    pub state: StateProof,
    /// Hash of all before.
    pub checksum: Hash,
}
crate::format!(Document, 256 << 20, check);

fn check(document: &Document) -> Result<(), DecodeError> {
    let broken = |reason: &str| Err(DecodeError::malformed("Document", reason));
    if document.format != FORMAT {
        return broken("format is not 1");
    }
    let strands = || document.parts.iter().chain([&document.holders]);
    for page in strands().flat_map(|s| &s.pages).chain(document.releases.iter().map(|r| &r.page)) {
        page.check()?;
    }
    if !document.parts.windows(2).all(|pair| pair[0].member < pair[1].member)
        || !document.releases.windows(2).all(|pair| pair[0].member < pair[1].member)
    {
        return broken("parts or releases are not in order of their members");
    }
    if document.request.is_some() != (document.subject == Subject::Record) {
        return broken("a request belongs to a record, and to nothing else");
    }
    if document.subject == Subject::Accesses
        && (!document.releases.is_empty() || document.viewer != document.holders.member)
    {
        return broken("a list of accesses is made by the patient's home, and has no releases");
    }
    if document.checksum != document.digest() {
        return broken("the octets do not fit the checksum at their end: some were changed or are missing");
    }
    Ok(())
}

/// Why a document proves nothing.
#[derive(Debug, thiserror::Error)]
pub enum Invalid {
    /// It is not a document.
    #[error(transparent)]
    Malformed(#[from] DecodeError),
    /// The engine's part does not verify.
    #[error("the ledger's state is not proved: {0}")]
    State(#[from] ProofError),
    /// It speaks of a member that the genesis does not have.
    #[error("there is no member {0} in this network")]
    UnknownMember(u32),
    /// A strand's key, pages and entries do not fit together.
    #[error("{member}: {reason}")]
    Strand {
        /// Title of the member.
        member: String,
        /// What does not fit.
        reason: String,
    },
    /// The request, the grant or the list of holders does not fit.
    #[error("{0}")]
    Context(String),
}

/// A strand that was proved complete.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Complete {
    /// The member.
    pub member: u32,
    /// Number of pages: `0..pages-1` are present, `pages` is absent at `height`.
    pub pages: u64,
    /// The height at which it is complete: that of the state, or of the request when more was entered since.
    pub height: u64,
    /// Record versions, or items, in them.
    pub leaves: u64,
    /// Height of its newest entry.
    pub newest: u64,
}

/// What a document proves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Findings {
    /// What it is about.
    pub subject: Subject,
    /// Who made it.
    pub viewer: u32,
    /// The height of the proved state.
    pub height: u64,
    /// Its block's time, milliseconds since 1970 UTC.
    pub time_ms: u64,
    /// The holders' list.
    pub holders: Complete,
    /// The holders' strands.
    pub parts: Vec<Complete>,
    /// Holders that are listed but not shown.
    pub missing: Vec<u32>,
    /// Height of the request.
    pub requested: Option<u64>,
    /// Releases proved: member and height of its entry.
    pub releases: Vec<(u32, u64)>,
    /// Accesses proved, in the order of parts: member, height, item.
    pub accesses: Vec<(u32, u64, AccessItem)>,
}

impl Document {
    /// Fills in the checksum.
    #[must_use]
    pub fn sealed(mut self) -> Self {
        self.checksum = self.digest();
        self
    }

    fn digest(&self) -> Hash {
        let octets = self.to_octets();
        hash("proof", &[&octets[..octets.len() - 32]])
    }

    /// The places in `strands` and in `registry` that the state must show.
    #[must_use]
    pub fn places(&self) -> (BTreeSet<Key>, BTreeSet<Key>) {
        let mut strands: BTreeSet<Key> =
            self.parts.iter().chain([&self.holders]).flat_map(ShownStrand::places).collect();
        strands.extend(self.releases.iter().map(|r| entry_key(r.member, &r.tag)));
        strands.extend(self.request.iter().map(|r| request_key(&r.id)));
        let registry = self.request.iter().map(|r| grant_key(&r.grant_key)).collect();
        (strands, registry)
    }

    /// Checks all that the document says, for the network of `genesis`.
    ///
    /// # Errors
    /// [`Invalid`] with the first thing that does not hold.
    pub fn verify(&self, genesis: &Genesis) -> Result<Findings, Invalid> {
        check(self)?;
        let state = engine::verify(genesis, &self.state)?;
        let (strands, registry) = self.places();
        if !state.strands.keys().eq(&strands) || !state.registry.keys().eq(&registry) {
            return Err(Invalid::Context("the state shows other places than the document speaks of".into()));
        }
        let requested = self.request.as_ref().and_then(|r| state.strands[&request_key(&r.id)]);
        let since = requested.as_ref().and_then(Entry::from_value).map_or(state.height, |entry| entry.height);
        let checker = Checker { genesis, state: &state, since };
        let holders = checker.complete(&self.holders, StrandKind::Holders)?;
        let pinned = checker.pinned(&self.holders)?;
        let kind = match self.subject {
            Subject::Record => StrandKind::Records,
            Subject::Accesses => StrandKind::Accesses,
        };
        let mut parts = Vec::new();
        for part in &self.parts {
            parts.push(checker.complete(part, kind)?);
            let expected = pinned.get(&(part.member, kind));
            if part.pinned().as_ref() != expected {
                return Err(checker.strand(part.member, "the strand is not the one that the patient's wallet pinned"));
            }
        }
        let shown = |(member, of): &&(u32, StrandKind)| *of == kind && !parts.iter().any(|p| p.member == *member);
        let missing = pinned.keys().filter(shown).map(|(member, _)| *member).collect();
        let (requested, releases) = match &self.request {
            Some(request) => checker.releases(self, request)?,
            None => (None, Vec::new()),
        };
        let accesses = match self.subject {
            Subject::Record => Vec::new(),
            Subject::Accesses => checker.accesses(&self.parts)?,
        };
        let Verified { height, time_ms, .. } = state;
        Ok(Findings {
            subject: self.subject,
            viewer: self.viewer,
            height,
            time_ms,
            holders,
            parts,
            missing,
            requested,
            releases,
            accesses,
        })
    }
}

/// Checks one strand against a proved state: for readers that have the state itself.
///
/// `lookup` gives what the state, of height `tip`, has at a place. Pages must be all entries `0..n-1`, heights never
/// falling, and entry `n` absent, or entered after `since`: entries never change, so what is absent or newer in the
/// state was absent at `since`.
///
/// # Errors
/// What does not fit, as a sentence.
pub fn check_strand(
    strand: &ShownStrand,
    kind: StrandKind,
    (tip, since): (u64, u64),
    lookup: impl Fn(&Key) -> Option<Entry>,
) -> Result<Complete, String> {
    let first = strand.pages.first().ok_or("no page is shown, not even the opening")?;
    let opening = match (first.kind, first.payloads().next()) {
        (PageKind::Opening, Some(payload)) => Opening::from_octets(payload).map_err(|e| e.to_string())?,
        _ => return Err("page 0 is not an opening".into()),
    };
    if opening.member != strand.member || opening.kind != kind {
        return Err("the opening is another member's or of another kind".into());
    }
    let (mut newest, mut leaves) = (0, 0);
    for (index, page) in strand.pages.iter().enumerate() {
        let place = strand.place(index as u64);
        let entry = lookup(&place).ok_or_else(|| format!("page {index} is not on the ledger"))?;
        if entry.commitment != page.commitment(&place) {
            return Err(format!("page {index} is not what was entered"));
        }
        if entry.height < newest {
            return Err(format!("page {index} was entered before the page in front of it"));
        }
        if index > 0 {
            let fits = match kind {
                StrandKind::Records => page.kind == PageKind::Records,
                _ => page.kind == PageKind::Items,
            };
            if !fits {
                return Err(format!("page {index} is of a kind that this strand does not have"));
            }
            leaves += page.leaves.len() as u64;
        }
        newest = entry.height;
    }
    let pages = strand.pages.len() as u64;
    let height = match lookup(&strand.place(pages)) {
        None => tip,
        Some(next) if next.height > since => next.height - 1,
        Some(_) => return Err(format!("page {pages} is on the ledger but was not shown: the end is missing")),
    };
    Ok(Complete { member: strand.member, pages, height, leaves, newest })
}

/// An item of the strand of holders: where a holder's strands begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq, TlsSize, TlsSerialize, TlsDeserialize)]
pub struct HolderItem {
    /// Which of the holder's strands.
    pub kind: StrandKind,
    /// Its beginning.
    pub pinned: Pinned,
}
crate::format!(HolderItem, 69);

/// The beginnings that a strand of holders pins, by holder and kind.
///
/// # Errors
/// When an item is malformed or a holder's strand is pinned twice.
pub fn pinned_in(pages: &[OpenedPage]) -> Result<BTreeMap<(u32, StrandKind), Pinned>, String> {
    let mut pinned = BTreeMap::new();
    for payload in pages.iter().skip(1).flat_map(OpenedPage::payloads) {
        let item = HolderItem::from_octets(payload).map_err(|e| e.to_string())?;
        if pinned.insert((item.pinned.member, item.kind), item.pinned).is_some() {
            return Err("a holder is listed twice".into());
        }
    }
    Ok(pinned)
}

/// Member and height of its entry.
type Heights = Vec<(u32, u64)>;

struct Checker<'a> {
    genesis: &'a Genesis,
    state: &'a Verified,
    /// Strands must be complete at this height at least.
    since: u64,
}

impl Checker<'_> {
    fn strand(&self, member: u32, reason: impl Into<String>) -> Invalid {
        match self.genesis.member(member) {
            Some(m) => Invalid::Strand { member: m.title.clone(), reason: reason.into() },
            None => Invalid::UnknownMember(member),
        }
    }

    fn entry(&self, place: &Key) -> Option<Entry> {
        self.state.strands.get(place).and_then(Option::as_ref).and_then(Entry::from_value)
    }

    fn complete(&self, strand: &ShownStrand, kind: StrandKind) -> Result<Complete, Invalid> {
        self.genesis.member(strand.member).ok_or(Invalid::UnknownMember(strand.member))?;
        check_strand(strand, kind, (self.state.height, self.since), |place| self.entry(place))
            .map_err(|reason| self.strand(strand.member, reason))
    }

    fn pinned(&self, holders: &ShownStrand) -> Result<BTreeMap<(u32, StrandKind), Pinned>, Invalid> {
        pinned_in(&holders.pages).map_err(|reason| self.strand(holders.member, reason))
    }

    /// The request is finalized, its grant in force, and each holder but the reader announced what it released.
    fn releases(&self, document: &Document, request: &ShownRequest) -> Result<(Option<u64>, Heights), Invalid> {
        let commitment = request_commitment(document.viewer, request.group, &request.slots_root, &request.reader_key);
        let requested = self
            .entry(&request_key(&request.id))
            .filter(|entry| entry.commitment == commitment)
            .ok_or_else(|| Invalid::Context("the request is not on the ledger".into()))?;
        let grant = self.state.registry.get(&grant_key(&request.grant_key)).and_then(Option::as_ref);
        if !grant.and_then(GrantEntry::from_value).is_some_and(|g| g.covers(requested.height)) {
            return Err(Invalid::Context(
                "the grant is not on the ledger, or was not in force when the request was finalized".into(),
            ));
        }
        let others = document.parts.iter().filter(|part| part.member != document.viewer);
        if !others.clone().map(|part| part.member).eq(document.releases.iter().map(|r| r.member)) {
            return Err(Invalid::Context("releases and parts are not of the same members".into()));
        }
        let mut releases = Vec::new();
        for (part, release) in others.zip(&document.releases) {
            let place = entry_key(release.member, &release.tag);
            let entry = self
                .entry(&place)
                .filter(|entry| entry.commitment == release.page.commitment(&place))
                .filter(|entry| entry.height >= requested.height)
                .ok_or_else(|| self.strand(release.member, "its release was not entered after the request"))?;
            let told = release.page.payloads().filter_map(|p| AccessItem::from_octets(p).ok()).any(|item| {
                item.request == request.id
                    && item.reader == document.viewer
                    && item.reader_key == request.reader_key
                    && item.grant_key == request.grant_key
                    && item.outcome == Outcome::Released
                    && item.pages as usize == part.pages.len()
                    && item.released == released_hash(&part.commitments())
            });
            if !told {
                return Err(self.strand(release.member, "its entry does not name this request and these pages"));
            }
            releases.push((release.member, entry.height));
        }
        Ok((Some(requested.height), releases))
    }

    fn accesses(&self, parts: &[ShownStrand]) -> Result<Vec<(u32, u64, AccessItem)>, Invalid> {
        let mut accesses = Vec::new();
        for part in parts {
            for (index, page) in part.pages.iter().enumerate().skip(1) {
                let height = self.entry(&part.place(index as u64)).map_or(0, |entry| entry.height);
                for payload in page.payloads() {
                    let item = AccessItem::from_octets(payload)?;
                    accesses.push((part.member, height, item));
                }
            }
        }
        Ok(accesses)
    }
}
