//! A read across members, at the reader: grant → finalized request → releases, each checked against this member's
//! own ledger → bytes by hash → one answer with its proof. What cannot be proved complete is named, never left out.

mod result;

pub(crate) use result::Results;
pub use result::{Entry, ResultPage, ResultSet};

use crate::{
    CallRefused, Caller, Denied, Error, Inner, Records,
    answer::released_pages,
    documents::{GrantReceivedDoc, space},
    gate::{Claim, decide_grant},
    outbox::{Plain, StrandName},
    proofs::Shown,
    status::audit_line,
};
use fhir::json::Limits;
use futures::{StreamExt as _, stream::FuturesUnordered};
use identity::{Action, Purpose};
use ledger::{Action as Entered, access::Request};
use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
    time::{Duration, Instant},
};
use store::Commit;
use tokio::sync::watch;
use wire::{
    Format as _, Hash,
    hash::{merkle_path, merkle_root},
    message::{
        AccessItem, Ask, GranteeSlot, Outcome, RELEASE_INFO, REQUEST_SLOT_PLAIN, Release, ReleasedPage, ReleasedRecord,
        RequestSlot, ShownEntry, SlotContext,
        peer::{Await, GetPack, GetSlot, Method, SlotAnswer},
        reader_key_hash, released_hash, seal_slot, slot_leaf,
    },
    proof::{ShownRequest, ShownStrand, Subject, check_strand, pinned_in},
    seal::{Opener, open_once},
    state::GrantEntry,
    strand::{StrandKind, entry_key, plain_hash, sealed_hash},
};

/// How long holders are waited for; those that cannot be called, only so long.
const WAIT: Duration = Duration::from_secs(20);
const WAIT_DOWN: Duration = Duration::from_secs(3);
/// How long this member may be behind a holder's entry.
const AWAITED: Duration = Duration::from_secs(10);
/// How long a request's slots and an answer's pages are kept.
const KEEP: Duration = Duration::from_secs(15 * 60);
/// How often the own part is read again when something new came in between.
const OWN_ATTEMPTS: usize = 5;
/// Requests under way at most.
const READS_MAX: usize = 256;

/// A request under way.
pub(crate) struct Pending {
    pub(crate) slots: Vec<(u32, Vec<u8>)>,
    pub(crate) public: Vec<u8>,
    pub(crate) opener: Opener,
    pub(crate) releases: watch::Sender<BTreeMap<u32, Release>>,
    pub(crate) at: Instant,
}

/// A resource's newest version and its content; no content when that is a deletion.
type Newest = (u32, Option<Arc<Vec<u8>>>);

/// A holder's part that was proved.
struct Part {
    strand: ShownStrand,
    release: Option<ShownEntry>,
    resources: Vec<(String, Arc<Vec<u8>>)>,
    entered: u64,
}

/// Whether a part that the patient's wallet does not list is more than what the grant itself made here.
fn more_than_a_handle(part: &Part) -> bool {
    let of_grant = |name: &str| ["Patient/", "Consent/", "Organization/"].iter().any(|of| name.starts_with(of));
    part.resources.iter().any(|(name, _)| !of_grant(name))
}

impl Records {
    /// Reads a patient's complete record from all holders.
    ///
    /// # Errors
    /// [`Error::Denied`] without a grant, with what is missing; no part of the record is given then.
    pub async fn everything_network(&self, who: &Caller, patient: &str, purpose: Purpose) -> Result<ResultSet, Error> {
        let inner = &self.0;
        inner.allow(who, &Action::ReadNetwork)?;
        inner.living("Patient", patient).await?;
        let (grant_key, slot) = inner.grant_for(patient, purpose).await?;
        inner.audit_network(who, patient).await?;
        let (id, height, releases) = inner.request(who, &grant_key, &slot, purpose).await?;
        inner.collect(who, patient, &grant_key, &slot, (id, height), releases).await
    }
}

impl Inner {
    async fn audit_network(&self, who: &Caller, patient: &str) -> Result<(), Error> {
        let audit = vec![audit_line(who, "everything-network", "Patient", patient)];
        let commit = Commit { audit, ..Commit::default() };
        self.store.commit(commit).await.map_err(Error::internal("writing the audit line"))
    }

    /// The newest grant in force under which this member may read this Patient's record.
    async fn grant_for(&self, patient: &str, purpose: Purpose) -> Result<([u8; 32], GranteeSlot), Error> {
        let received = self.documents.all::<GrantReceivedDoc>(space::GRANT_RECEIVED, &[]).await?;
        let mut received: Vec<_> = received.into_iter().filter(|(_, doc)| doc.owner == patient).collect();
        received.sort_by_key(|(_, doc)| std::cmp::Reverse(doc.height));
        let mut reason = None;
        for (key, doc) in received {
            let Ok(grant_key) = <[u8; 32]>::try_from(key) else { continue };
            let (_, values) = self.chain.registry(vec![wire::state::grant_key(&grant_key)]).await?;
            let grant = values.first().and_then(Option::as_ref).and_then(GrantEntry::from_value);
            let claim = Claim {
                grant,
                terms: &doc.slot.terms,
                grantee: doc.slot.grantee,
                reader: self.config.me,
                purpose: purpose.code(),
            };
            match decide_grant(&claim, &self.chain.tip()) {
                Ok(()) => return Ok((grant_key, doc.slot)),
                Err(denied) => reason = reason.or(Some(denied.to_string())),
            }
        }
        let reason = reason.unwrap_or_else(|| "the patient has granted this member nothing".into());
        let how = format!(
            "{reason}. To read across members, ask the patient for a grant: a Consent at the patient's home with the \
             Organization \"{}\" as actor, covering the purpose {}",
            self.me.title,
            purpose.code()
        );
        Err(Denied::Grant(how).into())
    }

    /// Has a request finalized. From then on those concerned fetch their slots and answer.
    pub(crate) async fn request(
        &self,
        who: &Caller,
        grant_key: &[u8; 32],
        grant: &GranteeSlot,
        purpose: Purpose,
    ) -> Result<(ShownRequest, u64, watch::Receiver<BTreeMap<u32, Release>>), Error> {
        let opener = Opener::generate();
        let public = opener.public();
        let reader_key = reader_key_hash(&public);
        let mut slots = Vec::new();
        for member in &self.config.genesis.members {
            let at_holder = grant.patient_keys.iter().find(|h| h.member == member.number).map(|h| h.key);
            let asked = member.number != self.config.me && (at_holder.is_some() || member.number == grant.home);
            let slot = if asked {
                RequestSlot::Ask(Ask {
                    grant_key: *grant_key,
                    patient_key: at_holder.unwrap_or([0; 32]),
                    purpose: purpose.code().into(),
                    role: who.person.role.name().into(),
                })
            } else {
                RequestSlot::Empty
            };
            let context = SlotContext::Request {
                network: self.network,
                reader: self.config.me,
                member: member.number,
                reader_key: &reader_key,
            };
            let sealed = seal_slot(&member.hpke, &context, &slot, REQUEST_SLOT_PLAIN);
            slots.push((member.number, sealed.map_err(Error::internal("sealing a request"))?));
        }
        let leaves: Vec<Hash> = slots.iter().map(|(member, sealed)| slot_leaf(*member, sealed)).collect();
        let slots_root = merkle_root(&leaves);
        let request = Request { group: ledger::consent::GROUP_ALL, slots_root, reader_key };
        // The slots must be there before anybody can learn that they are asked for.
        let (sender, releases) = watch::channel(BTreeMap::new());
        let pending = Pending { slots, public, opener, releases: sender, at: Instant::now() };
        {
            let mut reads = self.reads.lock().expect("no panic while held");
            reads.retain(|_, read| read.at.elapsed() < KEEP);
            if reads.len() >= READS_MAX {
                return Err(Error::unavailable("too many reads across members are under way at this member"));
            }
            // Named by its root until the transaction has an id: both are asked for by the ledger's word only.
            reads.insert(slots_root, pending);
        }
        let submitted = self.submit(Entered::Request(request)).await;
        let mut reads = self.reads.lock().expect("no panic while held");
        let pending = reads.remove(&slots_root);
        let (id, height) = submitted?;
        reads.extend(pending.map(|pending| (id, pending)));
        let shown =
            ShownRequest { id, group: ledger::consent::GROUP_ALL, slots_root, reader_key, grant_key: *grant_key };
        Ok((shown, height, releases))
    }

    /// A member fetches its slot of a request of ours.
    pub(crate) fn slot_for(&self, from: u32, body: &[u8]) -> Result<Vec<u8>, CallRefused> {
        let GetSlot { request } = GetSlot::from_octets(body).map_err(|e| CallRefused::new(400, e.to_string()))?;
        let reads = self.reads.lock().expect("no panic while held");
        let pending = reads.get(&request).ok_or_else(|| CallRefused::new(404, "no such request is under way"))?;
        let index = pending.slots.iter().position(|(member, _)| *member == from);
        let index = index.ok_or_else(|| CallRefused::new(404, "the request has no slot for the caller"))?;
        let leaves: Vec<Hash> = pending.slots.iter().map(|(member, sealed)| slot_leaf(*member, sealed)).collect();
        let answer = SlotAnswer {
            index: index as u32,
            count: pending.slots.len() as u32,
            sealed: pending.slots[index].1.clone(),
            path: merkle_path(&leaves, index),
            reader_key: pending.public.clone(),
        };
        Ok(answer.to_octets())
    }

    /// A holder answers a request of ours.
    pub(crate) fn take_release(&self, from: u32, request: &Hash, sealed: Vec<u8>) -> Result<(), CallRefused> {
        let reads = self.reads.lock().expect("no panic while held");
        let pending = reads.get(request).ok_or_else(|| CallRefused::new(404, "no such request is under way"))?;
        let associated = Release::associated(self.network, request, from);
        let bad = |reason: String| CallRefused::new(400, reason);
        let plain = pending.opener.open(RELEASE_INFO, &associated, &sealed).map_err(|e| bad(e.to_string()))?;
        let release = Release::from_octets(&plain).map_err(|e| bad(e.to_string()))?;
        let holder = self.member(from).ok_or_else(|| bad("the caller is not a member".into()))?;
        let fits = release.request == *request && release.holder == from && release.reader == self.config.me;
        if !fits || !release.signed_by(&holder.identity, self.network) {
            return Err(bad("the release is not the caller's for this request and reader".into()));
        }
        pending.releases.send_modify(|releases| drop(releases.insert(from, release)));
        Ok(())
    }

    /// Waits for the holders, checks what they sent, and puts the answer together.
    async fn collect(
        &self,
        who: &Caller,
        patient: &str,
        grant_key: &[u8; 32],
        grant: &GranteeSlot,
        (request, requested): (ShownRequest, u64),
        mut releases: watch::Receiver<BTreeMap<u32, Release>>,
    ) -> Result<ResultSet, Error> {
        let pinned = pinned_in(&grant.pages).map_err(Error::internal("reading the list of holders"))?;
        let me = self.config.me;
        let holders: Vec<u32> =
            pinned.keys().filter(|(_, kind)| *kind == StrandKind::Records).map(|(member, _)| *member).collect();
        let others: Vec<u32> = holders.iter().copied().filter(|m| *m != me).collect();
        let own = async {
            let part = tokio::time::timeout(WAIT, self.own_part(patient, requested)).await;
            part.unwrap_or_else(|_| Err(Error::unavailable("what is written here is not final yet")))
        };
        let (arrived, own) = futures::join!(self.arrivals(&others, requested, &mut releases), own);
        let mut own = Some(own);
        let (mut parts, mut problems): (Vec<Part>, Vec<(u32, String)>) = (Vec::new(), Vec::new());
        for holder in &holders {
            let part = if *holder == me {
                own.take().map_or_else(|| Err("it is listed twice".into()), |own| own.map_err(|e| e.to_string()))
            } else {
                match arrived.get(holder) {
                    Some(release) => self.part(release, &request, requested, grant_key).await,
                    None => Err("it did not answer in time".into()),
                }
            };
            match part {
                Ok(part) if part.strand.pinned().as_ref() == pinned.get(&(*holder, StrandKind::Records)) => {
                    parts.push(part)
                }
                Ok(_) => {
                    problems.push((*holder, "the strand shown is not the one that the patient's wallet pinned".into()))
                }
                Err(reason) => problems.push((*holder, reason)),
            }
        }
        let list = ShownStrand { member: grant.home, key: grant.holders.clone(), pages: grant.pages.clone() };
        if let Err(reason) = self.check(&list, StrandKind::Holders, requested).await? {
            problems.push((
                grant.home,
                format!("the list of holders is not complete: {reason}. Ask the patient to renew the grant"),
            ));
        }
        self.reads.lock().expect("no panic while held").remove(&request.id);
        let unlisted = match own {
            Some(Ok(part)) => Some(part).filter(more_than_a_handle),
            Some(Err(error)) if self.strand(&StrandName::records(patient)).await?.is_some() => {
                problems.push((me, error.to_string()));
                None
            }
            _ => None,
        };
        parts.sort_by_key(|part| part.strand.member);
        let (entries, total) = self.entries(patient, &parts, unlisted.as_ref(), &problems);
        let shown = Shown {
            subject: Subject::Record,
            holders: list,
            parts: parts.iter().map(|p| p.strand.clone()).collect(),
            releases: parts.iter().filter_map(|p| p.release.clone()).collect(),
            request: Some(request),
            min_height: parts.iter().map(|p| p.entered).max().unwrap_or(requested).max(requested),
        };
        let proof = self.prove(who, shown).await?;
        Ok(self.keep(who, entries, total, proof))
    }

    /// Waits for the holders' answers. Who cannot even be called is not waited for as long.
    async fn arrivals(
        &self,
        others: &[u32],
        requested: u64,
        releases: &mut watch::Receiver<BTreeMap<u32, Release>>,
    ) -> BTreeMap<u32, Release> {
        let mut probes: FuturesUnordered<_> = others
            .iter()
            .map(|member| async move {
                let body = Await { height: requested }.to_octets();
                self.call(*member, Method::Await, body).await.is_err().then_some(*member)
            })
            .collect();
        let (began, mut down) = (tokio::time::Instant::now(), BTreeSet::new());
        loop {
            let arrived = releases.borrow_and_update().clone();
            let missing: Vec<u32> = others.iter().copied().filter(|member| !arrived.contains_key(member)).collect();
            let patience = if missing.iter().all(|member| down.contains(member)) { WAIT_DOWN } else { WAIT };
            if missing.is_empty() || began.elapsed() >= patience {
                return arrived;
            }
            tokio::select! {
                probed = probes.next(), if !probes.is_empty() => down.extend(probed.flatten()),
                changed = releases.changed() => if changed.is_err() { return arrived },
                () = tokio::time::sleep_until(began + patience) => {}
            }
        }
    }

    /// Checks a strand against this member's own ledger.
    pub(crate) async fn check(
        &self,
        strand: &ShownStrand,
        kind: StrandKind,
        since: u64,
    ) -> Result<Result<u64, String>, Error> {
        let places: Vec<_> = strand.places().collect();
        let (tip, values) = self.chain.strands(places.clone()).await?;
        let entry = |value: &Option<[u8; 64]>| value.as_ref().and_then(wire::state::Entry::from_value);
        let found: HashMap<_, _> = places.into_iter().zip(values.iter().map(entry)).collect();
        let complete = check_strand(strand, kind, (tip, since), |place| found.get(place).copied().flatten());
        Ok(complete.map(|complete| complete.newest))
    }

    /// This member's own part: nothing is released to oneself, all is checked alike.
    async fn own_part(&self, patient: &str, since: u64) -> Result<Part, Error> {
        let mut last = self.own_part_once(patient, since).await;
        // What is written meanwhile may be fixed and not final yet: it is waited for.
        for _ in 0..OWN_ATTEMPTS {
            if !matches!(last, Err(Error::Unavailable { .. })) {
                break;
            }
            last = self.own_part_once(patient, since).await;
        }
        last
    }

    async fn own_part_once(&self, patient: &str, since: u64) -> Result<Part, Error> {
        self.settle(patient).await?;
        let strand = self.strand(&StrandName::records(patient)).await?;
        let strand = strand.ok_or_else(|| Error::unavailable("nothing of this patient is entered here yet"))?;
        let released = released_pages(self, &strand, 0..strand.next).await?;
        let pages = released.iter().map(ReleasedPage::opened).collect();
        let shown = ShownStrand { member: self.config.me, key: strand.key, pages };
        let entered = self.check(&shown, StrandKind::Records, since).await?.map_err(Error::unavailable)?;
        let resources = self.open(self.config.me, released.iter().flat_map(ReleasedPage::records)).await;
        let resources = resources.map_err(Error::unavailable)?;
        Ok(Part { strand: shown, release: None, resources, entered })
    }

    /// A holder's part: entry, completeness, bytes.
    async fn part(
        &self,
        release: &Release,
        request: &ShownRequest,
        requested: u64,
        grant_key: &[u8; 32],
    ) -> Result<Part, String> {
        let holder = release.holder;
        if release.access.member != holder {
            return Err("its access entry is another member's".into());
        }
        let place = entry_key(holder, &release.access.tag);
        let entry = self.awaited(&place).await.ok_or("its access entry is not on the ledger")?;
        if entry.commitment != release.access.page.commitment(&place) {
            return Err("its access entry is not what was entered".into());
        }
        if entry.height < requested {
            return Err("its access entry is older than the request".into());
        }
        let item = release.access.page.payloads().filter_map(|p| AccessItem::from_octets(p).ok());
        let item = item
            .into_iter()
            .find(|i| i.request == request.id && i.reader_key == request.reader_key && i.grant_key == *grant_key);
        let item = item.ok_or("its access entry does not name this request")?;
        let record = match (&release.record, item.outcome) {
            (Some(record), Outcome::Released) => record,
            _ => return Err(format!("refused: {}", item.reason)),
        };
        let pages = record.pages.iter().map(ReleasedPage::opened).collect();
        let strand = ShownStrand { member: holder, key: record.key.clone(), pages };
        if released_hash(&strand.commitments()) != item.released {
            return Err("it released other pages than its access entry says".into());
        }
        // INVARIANT: the reader's own state, not before the request's height, whatever the holder sends.
        self.check(&strand, StrandKind::Records, requested).await.map_err(|e| e.to_string())??;
        let resources = self.open(holder, record.pages.iter().flat_map(ReleasedPage::records)).await?;
        Ok(Part { strand, release: Some(release.access.clone()), resources, entered: entry.height })
    }

    /// A place that may be a block ahead of this member.
    pub(crate) async fn awaited(&self, place: &Hash) -> Option<wire::state::Entry> {
        let deadline = tokio::time::Instant::now() + AWAITED;
        let mut tips = self.chain.tips();
        loop {
            tips.borrow_and_update();
            if let Some(entry) = self.entry(place).await.ok()? {
                return Some(entry);
            }
            tokio::time::timeout_at(deadline, tips.changed()).await.ok()?.ok()?;
        }
    }

    /// Fetches, checks and opens records; gives the current version of each resource that is not deleted.
    async fn open<'a>(
        &self,
        holder: u32,
        records: impl Iterator<Item = &'a ReleasedRecord>,
    ) -> Result<Vec<(String, Arc<Vec<u8>>)>, String> {
        let mut packs: HashMap<Hash, Vec<u8>> = HashMap::new();
        let mut current: BTreeMap<String, Newest> = BTreeMap::new();
        for record in records {
            if let std::collections::hash_map::Entry::Vacant(e) = packs.entry(record.pack) {
                e.insert(self.pack(holder, record.pack).await?);
            }
            let pack = &packs[&record.pack];
            let (from, to) = (record.offset as usize, record.offset as usize + record.length as usize);
            let sealed = pack.get(from..to).ok_or("a record lies outside its pack")?;
            if sealed_hash(sealed) != record.sealed {
                return Err("the bytes of a record are not those that were entered".into());
            }
            let plain = open_once(&record.key, crate::batch::RECORD_CONTEXT, sealed).map_err(|e| e.to_string())?;
            if plain_hash(&plain) != record.plain {
                return Err("a record is not what was entered".into());
            }
            let (name, version, content) = match Plain::from_octets(&plain) {
                Some(Plain::Resource(json)) => {
                    let value = fhir::json::parse(json, Limits::default()).map_err(|_| "a record is not JSON")?;
                    let version = value.get("meta").and_then(|m| m.text("versionId")).and_then(|v| v.parse().ok());
                    let (of, id) = (value.text("resourceType"), value.text("id"));
                    let (Some(of), Some(id), Some(version)) = (of, id, version) else {
                        return Err("a record has no type, id or version".into());
                    };
                    (format!("{of}/{id}"), version, Some(Arc::new(json.to_vec())))
                }
                Some(Plain::Deletion(name)) => {
                    let name = std::str::from_utf8(name).map_err(|_| "a deletion is malformed")?;
                    let (name, version) = name.split_once("/_history/").ok_or("a deletion is malformed")?;
                    (name.to_owned(), version.parse().map_err(|_| "a deletion is malformed")?, None)
                }
                _ => return Err("a record is of a kind that does not belong here".into()),
            };
            let newest = current.entry(name).or_insert((0, None));
            if version >= newest.0 {
                *newest = (version, content);
            }
        }
        Ok(current.into_iter().filter_map(|(name, (_, content))| content.map(|c| (name, c))).collect())
    }

    /// A pack from its holder, or from whoever has a copy.
    async fn pack(&self, owner: u32, pack: Hash) -> Result<Vec<u8>, String> {
        if let Ok(Some(kept)) = self.vault.read(owner, vault::PackId(pack)).await {
            return Ok(kept);
        }
        let body = GetPack { owner, pack }.to_octets();
        let me = self.config.me;
        let rest = self.config.genesis.members.iter().map(|m| m.number).filter(|m| *m != owner && *m != me);
        for member in [owner].into_iter().chain(rest) {
            // Bytes are trusted by their hash, whoever gives them; each record is checked against its commitment.
            match self.call(member, Method::GetPack, body.clone()).await {
                Ok(octets) if vault::PackId(pack).names(&octets) => return Ok(octets),
                Ok(_) => tracing::warn!(member, "a member gave other bytes than those of the pack asked for"),
                Err(_) => {}
            }
        }
        Err("its bytes are to be had neither from it nor from a replica".into())
    }
}
