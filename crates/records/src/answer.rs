//! A read across members, at a holder: **no key without a receipt**. The request is finalized, then the access entry
//! is, and only then does a key leave, sealed to the reader's key.

use crate::{
    Denied, Error, Inner,
    batch::page_key,
    documents::{GrantHeldDoc, NumberDoc, PageDoc, PatientKeyDoc, RequestDoc, StrandDoc, put_new, remove, space},
    gate::{Claim, TIP_AGE_MAX, decide_grant},
    now_ms,
    outbox::{LANE_ACCESS, StrandName, Work},
    peers::CallRefused,
};
use std::{ops::Range, sync::Arc, time::Duration};
use store::{Commit, CommitError};
use tokio::sync::watch;
use wire::{
    Format as _, Hash,
    hash::merkle_leads,
    message::{
        AccessItem, Ask, Outcome, RELEASE_INFO, Release, ReleasedPage, ReleasedStrand, RequestSlot, ShownEntry,
        SlotContext, open_slot,
        peer::{AccessesAnswer, AccessesAsk, GetSlot, Method, PutRelease, SlotAnswer},
        reader_key_hash, released_hash, slot_leaf,
    },
    seal::seal_to,
    state::GrantEntry,
    strand::{OpenedPage, entry_key},
};

/// Requests that are answered at the same time.
pub(crate) const AT_ONCE: usize = 16;
/// A request serves for this long after its block.
const SERVES: u64 = 15 * 60 * 1_000;

/// Answers a request in a task of its own, trying again with growing pauses while it serves.
pub(crate) fn begin(inner: Arc<Inner>, id: Hash, request: RequestDoc, mut stop: watch::Receiver<bool>) {
    if !inner.answering.lock().expect("no panic while held").insert(id) {
        return;
    }
    tokio::spawn(async move {
        let mut pause = Duration::from_millis(100);
        loop {
            let permit = inner.answers.clone().acquire_owned().await;
            let done = tokio::select! {
                _ = stop.wait_for(|stopped| *stopped) => return,
                done = answer(&inner, &id, &request) => done,
            };
            drop(permit);
            match done {
                Ok(()) => break,
                Err(error) => tracing::debug!(%error, "an answer waits"),
            }
            if now_ms() > request.time_ms + SERVES {
                break;
            }
            tokio::select! {
                _ = stop.wait_for(|stopped| *stopped) => return,
                () = tokio::time::sleep(pause) => {}
            }
            pause = (pause * 2).min(Duration::from_secs(30));
        }
        let mut documents = vec![remove(space::REQUEST, &id)];
        let outcomes = [Outcome::Released, Outcome::Refused, Outcome::Withheld];
        documents.extend(outcomes.map(|outcome| remove(space::ACCESS_BEGUN, &begun_key(&id, outcome))));
        if let Err(error) = inner.store.commit(Commit { documents, ..Commit::default() }).await {
            tracing::warn!(%error, "a request that was answered is still noted as open");
        }
        inner.answering.lock().expect("no panic while held").remove(&id);
    });
}

async fn answer(inner: &Inner, id: &Hash, request: &RequestDoc) -> Result<(), Error> {
    let unavailable = |reason: String| Error::unavailable(reason);
    let octets = inner.call(request.reader, Method::GetSlot, GetSlot { request: *id }.to_octets()).await;
    let octets = octets.map_err(|e| unavailable(format!("the reader does not give the slot: {e}")))?;
    let slot = SlotAnswer::from_octets(&octets).map_err(|e| unavailable(e.to_string()))?;
    let Some(ask) = open(inner, request, &slot)? else { return Ok(()) };
    let patient: Option<PatientKeyDoc> = inner.documents.load(space::PATIENT_KEY, &ask.patient_key).await?;
    // A member that is asked about somebody whom it does not know has nothing to enter and nothing to say.
    let Some(PatientKeyDoc { owner, .. }) = patient else { return Ok(()) };
    let refusal = match judge(inner, request, &ask).await {
        Ok(()) => None,
        Err(Error::Denied(denied)) => Some(denied),
        Err(other) => return Err(other),
    };
    let item = AccessItem {
        request: *id,
        reader: request.reader,
        reader_key: request.reader_key,
        grant_key: ask.grant_key,
        outcome: Outcome::Refused,
        reason: String::new(),
        purpose: ask.purpose.clone(),
        role: ask.role.clone(),
        released: [0; 32],
        pages: 0,
        records: 0,
    };
    let (item, strand) = match refusal {
        Some(denied) => (AccessItem { reason: denied.to_string(), ..item }, None),
        None => {
            let (item, strand) = gather(inner, &owner, item).await?;
            (item, Some(strand))
        }
    };
    let (entry, item) = enter(inner, &owner, item).await?;
    let record = match (item.outcome, strand) {
        (Outcome::Released, Some(strand)) => match judge(inner, request, &ask).await {
            // The second look: revoked meanwhile, nothing leaves, and the next entry says so.
            Err(Error::Denied(denied)) => {
                let withheld = AccessItem { outcome: Outcome::Withheld, reason: denied.to_string(), ..item.clone() };
                enter(inner, &owner, withheld).await?;
                return Ok(());
            }
            Err(other) => return Err(other),
            Ok(()) => Some(strand.released(item.pages as usize)),
        },
        _ => None,
    };
    let me = inner.config.me;
    let release =
        Release { request: *id, holder: me, reader: request.reader, access: entry, record, signature: [0; 64] };
    let release = release.sign(&inner.signer, inner.network);
    let associated = Release::associated(inner.network, id, me);
    let sealed = seal_to(&slot.reader_key, RELEASE_INFO, &associated, &release.to_octets())
        .map_err(|e| unavailable(e.to_string()))?;
    let body = PutRelease { request: *id, sealed }.to_octets();
    let sent = inner.call(request.reader, Method::PutRelease, body).await;
    sent.map_err(|e| unavailable(format!("the reader does not take the answer: {e}")))?;
    Ok(())
}

/// Opens this member's slot after checking that the finalized request committed to it.
pub(crate) fn open(inner: &Inner, request: &RequestDoc, slot: &SlotAnswer) -> Result<Option<Ask>, Error> {
    let false_slot = || Error::unavailable("the reader gave a slot that its request does not commit to");
    let members = &inner.config.genesis.members;
    let index = members.iter().position(|m| m.number == inner.config.me);
    let fits = slot.count as usize == members.len() && index == Some(slot.index as usize);
    let leaf = slot_leaf(inner.config.me, &slot.sealed);
    let leads = merkle_leads(&request.slots_root, members.len(), slot.index as usize, &leaf, &slot.path);
    if !fits || !leads || reader_key_hash(&slot.reader_key) != request.reader_key {
        return Err(false_slot());
    }
    let context = SlotContext::Request {
        network: inner.network,
        reader: request.reader,
        member: inner.config.me,
        reader_key: &request.reader_key,
    };
    match open_slot(&inner.opener, &context, &slot.sealed) {
        Some(RequestSlot::Ask(ask)) if ask.purpose.len() <= 32 && ask.role.len() <= 64 => Ok(Some(ask)),
        _ => Ok(None),
    }
}

/// Whether this reader may have this patient's record, as this member's own ledger says now.
async fn judge(inner: &Inner, request: &RequestDoc, ask: &Ask) -> Result<(), Error> {
    if inner.chain.tip().at.elapsed() > TIP_AGE_MAX {
        // Not a refusal: nobody can tell here whether the grant still holds. It is tried again while the request serves.
        return Err(Error::unavailable("this member has not heard from the network for 30 seconds"));
    }
    let held: Option<GrantHeldDoc> = inner.documents.load(space::GRANT_HELD, &ask.grant_key).await?;
    let (_, values) = inner.chain.registry(vec![wire::state::grant_key(&ask.grant_key)]).await?;
    let grant = values.first().and_then(Option::as_ref).and_then(GrantEntry::from_value);
    let Some(GrantHeldDoc { slot, .. }) = held.filter(|h| h.slot.patient_key == ask.patient_key) else {
        return Err(Denied::Grant("the patient has not made this grant to this holder".into()).into());
    };
    let claim =
        Claim { grant, terms: &slot.terms, grantee: slot.grantee, reader: request.reader, purpose: &ask.purpose };
    decide_grant(&claim, &inner.chain.tip())?;
    if now_ms() > request.time_ms + SERVES {
        return Err(Denied::Grant("the request is older than 15 minutes".into()).into());
    }
    Ok(())
}

pub(crate) struct Gathered {
    pub(crate) strand: StrandDoc,
    pub(crate) pages: Vec<ReleasedPage>,
}

impl Gathered {
    /// The strand with as many pages as its access entry says.
    pub(crate) fn released(self, pages: usize) -> ReleasedStrand {
        ReleasedStrand { key: self.strand.key, pages: self.pages.into_iter().take(pages).collect() }
    }
}

/// Everything of the patient that is entered; what still waits in the outbox is entered first.
pub(crate) async fn gather(inner: &Inner, owner: &str, item: AccessItem) -> Result<(AccessItem, Gathered), Error> {
    inner.settle(owner).await?;
    let strand = inner.strand(&StrandName::records(owner)).await?;
    let strand = strand.ok_or("a patient has no strand").map_err(Error::internal("releasing"))?;
    let pages = released_pages(inner, &strand, 0..strand.next).await?;
    let mut commitments = Vec::new();
    let mut records = 0;
    for (index, page) in pages.iter().enumerate() {
        let place = entry_key(inner.config.me, &strand.key.tag(index as u64));
        commitments.push(page.opened().commitment(&place));
        if let ReleasedPage::Records(leaves) = page {
            records += leaves.len() as u32;
        }
    }
    let released = released_hash(&commitments);
    let item = AccessItem { outcome: Outcome::Released, released, pages: pages.len() as u32, records, ..item };
    Ok((item, Gathered { strand, pages }))
}

/// Enters an item into the patient's access strand and waits until it is final. After a crash, or when the network was
/// slow, what was begun for the same request and outcome stands, so no second entry is made.
pub(crate) async fn enter(inner: &Inner, owner: &str, item: AccessItem) -> Result<(ShownEntry, AccessItem), Error> {
    let name = StrandName::accesses(owner);
    let key = begun_key(&item.request, item.outcome);
    let begun: Option<NumberDoc> = inner.documents.load(space::ACCESS_BEGUN, &key).await?;
    if begun.is_some()
        && let Some(found) = entered(inner, &name, &item).await?
    {
        return Ok(found);
    }
    let commit = Commit {
        documents: vec![put_new(space::ACCESS_BEGUN, &key, &NumberDoc(now_ms()))],
        outbox: vec![Work::Item { payload: item.to_octets() }.row(LANE_ACCESS, &name)],
        ..Commit::default()
    };
    match inner.store.commit(commit).await {
        // Another try has begun it: its row waits in the outbox, or in the batch under way.
        Ok(()) | Err(CommitError::Conflict { .. }) => {}
        Err(other) => return Err(Error::internal("entering an access")(other)),
    }
    inner.flush_access().await?;
    let found = entered(inner, &name, &item).await?;
    found.ok_or_else(|| Error::unavailable("the access is not entered yet"))
}

/// One mark for each request and outcome.
fn begun_key(request: &Hash, outcome: Outcome) -> Vec<u8> {
    [request.as_slice(), &[outcome as u8]].concat()
}

async fn entered(
    inner: &Inner,
    name: &StrandName,
    item: &AccessItem,
) -> Result<Option<(ShownEntry, AccessItem)>, Error> {
    let Some(strand) = inner.strand(name).await? else { return Ok(None) };
    for index in (1..strand.next).rev() {
        let pages = opened_pages(inner, &strand, index..index + 1).await?;
        for page in pages {
            let found = page.payloads().filter_map(|p| AccessItem::from_octets(p).ok());
            let mut found = found.filter(|i| i.request == item.request && i.outcome == item.outcome);
            if let Some(found) = found.next() {
                let (member, tag) = (inner.config.me, strand.key.tag(index));
                // INVARIANT: no key without a receipt: the entry is on the ledger before it is shown.
                if inner.entry(&entry_key(member, &tag)).await?.is_none() {
                    return Ok(None);
                }
                return Ok(Some((ShownEntry { member, tag, page: page.clone() }, found)));
            }
        }
    }
    Ok(None)
}

/// Pages of a strand of this member, with their keys.
pub(crate) async fn released_pages(
    inner: &Inner,
    strand: &StrandDoc,
    range: Range<u64>,
) -> Result<Vec<ReleasedPage>, Error> {
    let mut pages = Vec::new();
    for index in range {
        let page: Option<PageDoc> = inner.documents.load(space::PAGE, &page_key(&strand.entry, index)).await?;
        let page = page.ok_or("a page's document is missing").map_err(Error::internal("reading a strand"))?;
        pages.push(page.page);
    }
    Ok(pages)
}

/// Pages of a strand of this member, as the ledger's commitments see them.
pub(crate) async fn opened_pages(
    inner: &Inner,
    strand: &StrandDoc,
    range: Range<u64>,
) -> Result<Vec<OpenedPage>, Error> {
    Ok(released_pages(inner, strand, range).await?.iter().map(ReleasedPage::opened).collect())
}

/// Opens a patient's access strand for the home that keeps the wallet.
pub(crate) async fn accesses(inner: &Inner, home: u32, ask: &AccessesAsk) -> Result<AccessesAnswer, CallRefused> {
    const PAGES_MAX: u64 = 256;
    let known: Option<PatientKeyDoc> = inner.documents.load(space::PATIENT_KEY, &ask.patient_key).await?;
    let known = known.filter(|k| k.home == home);
    let known = known.ok_or_else(|| CallRefused::new(404, "no patient of the caller has this key here"))?;
    let strand = inner.strand(&StrandName::accesses(&known.owner)).await?;
    let strand = strand.ok_or_else(|| CallRefused::new(404, "the strand has not begun"))?;
    let to = ask.to.min(strand.next).min(ask.from.saturating_add(PAGES_MAX));
    let pages = opened_pages(inner, &strand, ask.from.min(to)..to).await?;
    Ok(AccessesAnswer { pages })
}
