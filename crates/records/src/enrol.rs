//! Enrolment: a holder takes a patient's key only from the patient, here by a one-time code that its desk hands over,
//! and shows the patient's strands, whose openings the wallet pins. The home keeps the wallet in custody.

use crate::{
    CallRefused, Caller, Error, Inner, Records,
    answer::opened_pages,
    documents::{CodeDoc, HolderDoc, PatientKeyDoc, StrandDoc, WalletDoc, put, put_new, remove, space},
    now_ms,
    outbox::{LANE_RECORDS, StrandName, Work},
};
use identity::{Action, Code};
use store::{Commit, CommitError, DocumentPut, Expect, ResourceKey};
use wire::{
    Format as _, Hash,
    keys::Secret,
    message::peer::{EnrolAnswer, EnrolAsk, Method, Shown},
    proof::{HolderItem, ShownStrand},
    sign::Signer,
    strand::{Opening, PageKind, Pinned, StrandKind},
};

/// A code serves for this long.
const CODE_MS: u64 = 60 * 60 * 1_000;
/// A wallet has at most this many holders: a grant's slot must tell of all of them.
pub(crate) const HOLDERS_MAX: usize = 7;

impl Records {
    /// Gives a one-time code, good for an hour, with which the patient's home can enrol this Patient.
    ///
    /// # Errors
    /// [`Error::Denied`] unless an operator asks; [`Error::NotFound`].
    pub async fn enrolment_code(&self, who: &Caller, patient: &str) -> Result<String, Error> {
        let inner = &self.0;
        inner.allow(who, &Action::Enrol)?;
        inner.living("Patient", patient).await?;
        let code = Code::generate();
        let document = CodeDoc { owner: patient.into(), expires_ms: now_ms() + CODE_MS };
        let documents = vec![put_new(space::CODE, &code.hash(), &document)];
        inner
            .store
            .commit(Commit { documents, ..Commit::default() })
            .await
            .map_err(Error::internal("keeping a code"))?;
        Ok(code.to_string())
    }

    /// At the home: makes the patient's wallet, which takes in this member as a holder, or adds the holder whose
    /// desk gave `code`.
    ///
    /// # Errors
    /// [`Error::Denied`] unless an operator asks; [`Error::BadRequest`] when the holder refuses the code.
    pub async fn enrol(&self, who: &Caller, patient: &str, holder: Option<(&str, &str)>) -> Result<(), Error> {
        let inner = &self.0;
        inner.allow(who, &Action::Enrol)?;
        inner.living("Patient", patient).await?;
        let wallet: Option<WalletDoc> = inner.documents.load(space::WALLET, patient.as_bytes()).await?;
        match (wallet, holder) {
            (None, Some(_)) => {
                return Err(Error::Conflict("enrol the patient at home first: $enrol without parameters".into()));
            }
            (Some(_), None) => {
                return Err(Error::Conflict("the patient has a wallet at this member already".into()));
            }
            (None, None) => {
                let root = Secret::generate();
                let wallet =
                    WalletDoc { root: inner.kek.wrap(&wallet_context(patient), &root), grants: 0, holders: vec![] };
                let key = holder_signer(&root, inner.config.me).public();
                let answer = enrolled_here(inner, patient, key, inner.config.me).await?;
                inner.pin(patient, Some(wallet), inner.config.me, key, answer).await?;
            }
            (Some(wallet), Some((member, code))) => {
                let number = inner.config.genesis.named(member).map(|m| m.number);
                let number = number.ok_or_else(|| {
                    let names: Vec<&str> = inner.config.genesis.members.iter().map(|m| m.name.as_str()).collect();
                    Error::rule("member", format!("is the short name of a member: one of {}", names.join(", ")))
                })?;
                if wallet.holders.iter().any(|h| h.member == number) {
                    return Err(Error::Conflict("the wallet has this holder already".into()));
                }
                if wallet.holders.len() >= HOLDERS_MAX {
                    return Err(Error::Conflict("a wallet has at most 7 holders so far".into()));
                }
                let code = Code::parse(code).map_err(|e| Error::rule("code", e.to_string()))?;
                let root = inner.wallet_root(patient, &wallet)?;
                let key = holder_signer(&root, number).public();
                let ask = EnrolAsk { code: code.hash(), patient_key: key };
                let answer = inner.call_sealed(number, Method::Enrol, &ask).await;
                let answer: EnrolAnswer =
                    answer.map_err(|e| Error::BadRequest(format!("the holder did not enrol the patient: {e}")))?;
                inner.pin(patient, None, number, key, answer).await?;
            }
        }
        // The list of holders is final when the answer comes, so that a grant can follow. When the network stands still,
        // the enrolment holds all the same, and a grant says what it waits for.
        if let Err(error) = inner.flush().await {
            tracing::warn!(%error, "an enrolment is not final yet");
        }
        Ok(())
    }
}

impl Inner {
    /// The current version of something that must exist.
    pub(crate) async fn living(&self, resource_type: &str, id: &str) -> Result<store::Version, Error> {
        let current = self.current(resource_type, id).await?;
        if current.content.is_none() { Err(Error::Gone) } else { Ok(current) }
    }

    pub(crate) fn wallet_root(&self, patient: &str, wallet: &WalletDoc) -> Result<Secret, Error> {
        let root = self.kek.unwrap(&wallet_context(patient), &wallet.root);
        root.map_err(Error::internal("opening a wallet"))
    }

    /// Checks what a holder showed against the ledger, and takes it into the wallet and the list of holders.
    async fn pin(
        &self,
        patient: &str,
        new: Option<WalletDoc>,
        member: u32,
        patient_key: [u8; 32],
        answer: EnrolAnswer,
    ) -> Result<(), Error> {
        let [records, accesses] = answer.strands.as_slice() else {
            return Err(Error::BadRequest("the holder did not show two strands".into()));
        };
        let records_pinned = self.check_shown(member, StrandKind::Records, records).await?;
        let accesses_pinned = self.check_shown(member, StrandKind::Accesses, accesses).await?;
        // INVARIANT: a wallet is changed under this lock only, from what it is then: a holder took seconds to answer.
        let _guard = self.writing.lock().await;
        let kept: Option<WalletDoc> = self.documents.load(space::WALLET, patient.as_bytes()).await?;
        let mut wallet = match (kept, new) {
            (Some(_), Some(_)) => {
                return Err(Error::Conflict("the patient has a wallet at this member already".into()));
            }
            (Some(wallet), None) | (None, Some(wallet)) => wallet,
            (None, None) => return Err("a wallet is missing").map_err(Error::internal("keeping a wallet")),
        };
        if wallet.holders.iter().any(|holder| holder.member == member) {
            return Err(Error::Conflict("the wallet has this holder already".into()));
        }
        wallet.holders.push(HolderDoc {
            member,
            patient_key,
            records: records.key.clone(),
            records_pinned,
            accesses: accesses.key.clone(),
            accesses_pinned,
            accesses_opening: accesses.opening.clone(),
        });
        let name = StrandName::holders(patient);
        let outbox =
            [(StrandKind::Records, records_pinned), (StrandKind::Accesses, accesses_pinned)].map(|(kind, pinned)| {
                Work::Item { payload: HolderItem { kind, pinned }.to_octets() }.row(LANE_RECORDS, &name)
            });
        let mut outbox = outbox.to_vec();
        outbox.push(Work::document(space::WALLET, patient.as_bytes()).row(LANE_RECORDS, &StrandName::own()));
        let documents = vec![put(space::WALLET, patient.as_bytes(), &wallet)];
        let commit = Commit { documents, outbox, ..Commit::default() };
        self.store.commit(commit).await.map_err(Error::internal("keeping a wallet"))
    }

    /// Entry 0 of a shown strand is on the ledger and says what it should.
    async fn check_shown(&self, member: u32, kind: StrandKind, shown: &Shown) -> Result<Pinned, Error> {
        let wrong =
            |reason: &str| Error::BadRequest(format!("the holder showed a strand that does not hold: {reason}"));
        shown.opening.check().map_err(|e| wrong(&e.to_string()))?;
        let strand = ShownStrand { member, key: shown.key.clone(), pages: vec![shown.opening.clone()] };
        let pinned = strand.pinned().ok_or_else(|| wrong("no opening"))?;
        let opening = shown.opening.payloads().next().and_then(|p| Opening::from_octets(p).ok());
        let fits = opening.is_some_and(|o| o.member == member && o.kind == kind);
        if shown.kind != kind || shown.opening.kind != PageKind::Opening || !fits {
            return Err(wrong("its opening is of another kind or member"));
        }
        // The holder waited for its own entry; this member may be a block behind.
        match self.awaited(&pinned.entry).await {
            Some(entry) if entry.commitment == pinned.commitment => Ok(pinned),
            Some(_) => Err(wrong("the ledger has another opening")),
            None => Err(wrong("the ledger has no such entry")),
        }
    }
}

/// At a holder: takes the patient's key against a code and shows the strands.
pub(crate) async fn enrolled(inner: &Inner, home: u32, ask: EnrolAsk) -> Result<EnrolAnswer, CallRefused> {
    let code: Option<CodeDoc> = inner.documents.load(space::CODE, &ask.code).await?;
    let code = code.filter(|c| c.expires_ms > now_ms());
    let code = code.ok_or_else(|| CallRefused::new(404, "the code is unknown, used, or older than an hour"))?;
    // A code serves once, whatever comes of it, and to one of two that come at the same moment.
    let used = DocumentPut { expected: Expect::Value(code.to_octets()), ..remove(space::CODE, &ask.code) };
    let commit = Commit { documents: vec![used], ..Commit::default() };
    inner.store.commit(commit).await.map_err(|e| match e {
        CommitError::Conflict { .. } => Error::Conflict("the code was used at this moment".into()),
        other => Error::internal("using a code")(other),
    })?;
    Ok(enrolled_here(inner, &code.owner, ask.patient_key, home).await?)
}

async fn enrolled_here(inner: &Inner, owner: &str, patient_key: [u8; 32], home: u32) -> Result<EnrolAnswer, Error> {
    let (records, accesses) = (StrandName::records(owner), StrandName::accesses(owner));
    let document = PatientKeyDoc { owner: owner.into(), home };
    let mut outbox = vec![Work::document(space::PATIENT_KEY, &patient_key).row(LANE_RECORDS, &StrandName::own())];
    let begun = inner.strand(&records).await?.is_some();
    if !begun {
        outbox.push(Work::Open.row(LANE_RECORDS, &records));
    }
    let documents = vec![put_new(space::PATIENT_KEY, &patient_key, &document)];
    let commit = Commit { documents, outbox, ..Commit::default() };
    match inner.store.commit(commit).await {
        Ok(()) => {}
        Err(CommitError::Conflict { .. }) => {
            // The same enrolment again, because its answer was lost, is answered again.
            let known: Option<PatientKeyDoc> = inner.documents.load(space::PATIENT_KEY, &patient_key).await?;
            if known != Some(document) {
                return Err(Error::Conflict("this key is enrolled for another patient or home".into()));
            }
        }
        Err(other) => return Err(Error::internal("enrolling a patient")(other)),
    }
    let mut strands = Vec::new();
    for name in [records, accesses] {
        let strand = match inner.strand(&name).await? {
            Some(strand) if inner.entry(&strand.entry).await?.is_some() => strand,
            _ => {
                inner.flush().await?;
                let found: Option<StrandDoc> = inner.strand(&name).await?;
                found.ok_or("a strand did not begin").map_err(Error::internal("enrolling a patient"))?
            }
        };
        let pages = opened_pages(inner, &strand, 0..1).await?;
        let opening = pages.into_iter().next().ok_or("no opening").map_err(Error::internal("enrolling a patient"))?;
        strands.push(Shown { kind: strand.kind, key: strand.key, opening });
    }
    Ok(EnrolAnswer { strands })
}

/// The patient's key for a holder.
pub(crate) fn holder_signer(root: &Secret, member: u32) -> Signer {
    Signer::from_seed(root.derive("holder", &[&member.to_be_bytes()]).expose())
}

/// The key of a patient's grant number `counter`.
pub(crate) fn grant_signer(root: &Secret, counter: u32) -> Signer {
    Signer::from_seed(root.derive("grant", &[&counter.to_be_bytes()]).expose())
}

fn wallet_context(patient: &str) -> Hash {
    wire::hash::hash("wallet", &[patient.as_bytes()])
}

/// The Patient's key as documents and searches name it.
pub(crate) fn patient_resource(id: &str) -> ResourceKey {
    ResourceKey { resource_type: "Patient".into(), id: id.into() }
}
