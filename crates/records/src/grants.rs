//! Grants and revocations: a patient's Consent becomes a Grant on the ledger, signed by a key made for it alone; the
//! grantee and the holders find their slots in it. Revoking is a PUT with status `inactive`.

mod consent;
mod received;

pub(crate) use received::{granted, revoked};

use crate::{
    Caller, Error, Inner, Stored,
    documents::{GrantMadeDoc, NameDoc, NumberDoc, WalletDoc, put, put_new, remove, space},
    enrol::{grant_signer, holder_signer, patient_resource},
    now_ms,
    outbox::{LANE_RECORDS, StrandName, Work},
    write::{Made, Written, check_version},
};
use consent::Wish;
use fhir::json::Value;
use identity::Action;
use ledger::{
    Action as Entered, Rejection,
    consent::{GROUP_ALL, Grant, MONTHS_AHEAD_MAX, Revoke, SLOT_COUNTS, Slot},
};
use std::{sync::Arc, time::Duration};
use store::Commit;
use tokio::sync::watch;
use wire::Format as _;
use wire::{
    message::{
        GRANT_SLOT_OCTETS, GRANT_SLOT_PLAIN, GrantSlot, GranteeSlot, HolderKey, HolderSlot, SlotContext,
        peer::{Await, Method},
        seal_slot,
    },
    seal::Opener,
    state::month_of,
};

/// A grant without an end expires on the ledger after this many months of 30 days (ten years), and must be renewed.
const MONTHS_DEFAULT: u32 = 122;
/// How long an answer waits for members to have taken up a grant or its end.
const TAKEN_UP: Duration = Duration::from_secs(4);

/// How often it is looked for what is not final yet, and how long whoever wrote it waits for it first.
const RESUME_EVERY: Duration = Duration::from_secs(5);
const RESUME_AFTER_MS: u64 = 30_000;

/// A patient posts a Consent at home.
pub(crate) async fn create(inner: &Inner, who: &Caller, resource: Value) -> Result<Written, Error> {
    let patient = resource.get("patient").and_then(|p| p.text("reference")).unwrap_or_default();
    let patient = patient.strip_prefix("Patient/").unwrap_or_default();
    inner.allow(who, &Action::WriteConsent { patient })?;
    let wish = consent::read(inner, &resource).await?;
    let wallet: Option<WalletDoc> = inner.documents.load(space::WALLET, wish.patient.as_bytes()).await?;
    let wallet = wallet.ok_or_else(|| {
        Error::rule(
            "Consent.patient",
            "this member keeps no wallet of this patient: the Consent goes to the patient's home",
        )
    })?;
    if !wish.active {
        return Err(Error::rule("Consent.status", "a new grant is `active`"));
    }
    let _guard = inner.writing.lock().await;
    let wallet: WalletDoc = inner.documents.load(space::WALLET, wish.patient.as_bytes()).await?.unwrap_or(wallet);
    let grant = inner.build(&wish, &wallet).await?;
    let id = uuid::Uuid::new_v4().to_string();
    let made = GrantMadeDoc {
        owner: wish.patient.clone(),
        counter: wallet.grants,
        grant_key: grant.grant_key,
        grantee: wish.grantee,
        terms: wish.terms.clone(),
        transaction: grant.to_octets(),
        height: 0,
    };
    let owner = wish.patient.as_bytes();
    let commit = Commit {
        documents: vec![
            put_new(space::GRANT_MADE, id.as_bytes(), &made),
            put_new(space::GRANT_MADE, &made.grant_key, &NameDoc(id.as_bytes().to_vec())),
            put_new(space::GRANT_OPEN, id.as_bytes(), &NumberDoc(now_ms())),
            put(space::WALLET, owner, &WalletDoc { grants: wallet.grants + 1, ..wallet }),
        ],
        outbox: vec![
            Work::document(space::WALLET, owner).row(LANE_RECORDS, &StrandName::own()),
            Work::document(space::GRANT_MADE, id.as_bytes()).row(LANE_RECORDS, &StrandName::own()),
        ],
        ..Commit::default()
    };
    let stored = inner.store_consent(who, &id, 1, None, resource, commit).await?;
    drop(_guard);
    let notice = inner.enter_grant(&id, made).await?;
    Ok(Written { stored, created: true, notice })
}

/// A patient changes the status of a Consent: only revoking is possible.
pub(crate) async fn update(
    inner: &Inner,
    who: &Caller,
    id: &str,
    resource: Value,
    if_match: Option<u32>,
) -> Result<Written, Error> {
    let made: Option<GrantMadeDoc> = inner.documents.load(space::GRANT_MADE, id.as_bytes()).await?;
    // Whether there is such a grant is nobody's business but the patient's.
    inner.allow(who, &Action::WriteConsent { patient: made.as_ref().map_or("", |made| &made.owner) })?;
    let made = made.ok_or_else(|| Error::NotFound("this member has made no grant of this id: post it first".into()))?;
    let wish = consent::read(inner, &resource).await?;
    if wish.patient != made.owner || wish.grantee != made.grantee || wish.terms != made.terms {
        return Err(Error::rule("Consent", "a grant is not changed: revoke it (status `inactive`) and make another"));
    }
    let guard = inner.writing.lock().await;
    let current = inner.living("Consent", id).await?;
    check_version(if_match, current.version)?;
    if wish.active {
        return Err(Error::rule("Consent.status", "PUT revokes a grant: the status must be `inactive`"));
    }
    let version = current.version + 1;
    let open = vec![put(space::REVOKE_OPEN, id.as_bytes(), &NumberDoc(now_ms()))];
    let commit = Commit { documents: open, ..Commit::default() };
    let stored = inner.store_consent(who, id, version, Some(current.version), resource, commit).await?;
    drop(guard);
    let notice = inner.enter_revocation(id, &made).await?;
    Ok(Written { stored, created: false, notice })
}

/// Sends what patients granted or revoked and what is not final yet, until it is: after a restart, or when the network
/// stood still.
pub(crate) async fn run(inner: Arc<Inner>, mut stop: watch::Receiver<bool>) {
    loop {
        let resumed = tokio::select! {
            _ = stop.wait_for(|stopped| *stopped) => return,
            resumed = resume(&inner) => resumed,
        };
        if let Err(error) = resumed {
            tracing::debug!(%error, "a grant or its end waits");
        }
        tokio::select! {
            _ = stop.wait_for(|stopped| *stopped) => return,
            () = tokio::time::sleep(RESUME_EVERY) => {}
        }
    }
}

async fn resume(inner: &Inner) -> Result<(), Error> {
    let mut first = None;
    for (of, revoked) in [(space::REVOKE_OPEN, true), (space::GRANT_OPEN, false)] {
        for (id, NumberDoc(since)) in inner.documents.all::<NumberDoc>(of, &[]).await? {
            // Younger ones are still waited for by those who wrote them, unless this member was restarted.
            if since > inner.began_ms && now_ms() < since + RESUME_AFTER_MS {
                continue;
            }
            let made: Option<GrantMadeDoc> = inner.documents.load(space::GRANT_MADE, &id).await?;
            let (Some(made), Ok(id)) = (made, std::str::from_utf8(&id)) else { continue };
            let done = match revoked {
                true => inner.enter_revocation(id, &made).await,
                false if made.height == 0 => inner.enter_grant(id, made).await,
                false => Ok(None),
            };
            match done {
                Ok(_) => {}
                // The ledger will never take it: it is not tried again.
                Err(Error::Conflict(reason)) => {
                    tracing::error!(%reason, "the ledger refuses what a patient granted or revoked");
                    let commit = Commit { documents: vec![remove(of, id.as_bytes())], ..Commit::default() };
                    inner.store.commit(commit).await.map_err(Error::internal("noting a refusal"))?;
                }
                Err(other) => first = first.or(Some(other)),
            }
        }
    }
    first.map_or(Ok(()), Err)
}

impl Inner {
    async fn store_consent(
        &self,
        who: &Caller,
        id: &str,
        version: u32,
        expected: Option<u32>,
        resource: Value,
        commit: Commit,
    ) -> Result<Stored, Error> {
        let mut plan = crate::write::Plan::new(self);
        plan.add(Made::new("Consent", id, version, now_ms() as i64, resource), expected).await?;
        let interaction = if version == 1 { "create" } else { "update" };
        Ok(plan.commit_with(who, interaction, commit).await?.remove(0))
    }

    /// The grant's transaction: a slot for the grantee, one for each other holder, the rest to keys thrown away.
    async fn build(&self, wish: &Wish, wallet: &WalletDoc) -> Result<Grant, Error> {
        let root = self.wallet_root(&wish.patient, wallet)?;
        let signer = grant_signer(&root, wallet.grants);
        let grant_key = signer.public();
        let context = SlotContext::Grant { network: self.network, grant_key: &grant_key };
        // The list of holders must be on the ledger before a grant tells of it.
        let name = StrandName::holders(&wish.patient);
        let strand =
            self.strand(&name).await?.ok_or_else(|| Error::unavailable("the list of holders is not anchored yet"))?;
        let pages = crate::answer::opened_pages(self, &strand, 0..strand.next).await?;
        let listed = wire::proof::pinned_in(&pages).map_err(Error::internal("reading the list of holders"))?;
        if listed.len() != 2 * wallet.holders.len() {
            return Err(Error::unavailable("an enrolment is not anchored yet: try again in a moment"));
        }
        let me = self.config.me;
        let mut slots = Vec::new();
        let grantee = GranteeSlot {
            grantee: wish.grantee,
            home: me,
            terms: wish.terms.clone(),
            patient_key: wallet.holders.iter().find(|h| h.member == wish.grantee).map(|h| h.patient_key),
            holders: strand.key,
            pages,
            patient_keys: wallet.holders.iter().map(|h| HolderKey { member: h.member, key: h.patient_key }).collect(),
        };
        slots.push((wish.grantee, GrantSlot::Grantee(grantee)));
        for holder in wallet.holders.iter().filter(|h| h.member != wish.grantee) {
            let patient = holder_signer(&root, holder.member);
            let terms = wish.terms.clone();
            let slot = HolderSlot::sign(&patient, self.network, &grant_key, holder.member, wish.grantee, me, terms);
            slots.push((holder.member, GrantSlot::Holder(slot)));
        }
        let sealed = |public: &[u8], slot: &GrantSlot| {
            if slot.to_octets().len() + 4 > GRANT_SLOT_PLAIN {
                return Err(Error::rule("Consent", "the patient has more holders than a grant can tell of"));
            }
            let sealed =
                seal_slot(public, &context, slot, GRANT_SLOT_PLAIN).map_err(Error::internal("sealing a slot"))?;
            debug_assert_eq!(sealed.len(), GRANT_SLOT_OCTETS);
            Ok(Slot { sealed })
        };
        let mut all = Vec::new();
        for (number, slot) in &slots {
            let member =
                self.member(*number).ok_or("a holder is no member").map_err(Error::internal("sealing a slot"))?;
            all.push(sealed(&member.hpke, slot)?);
        }
        let count = SLOT_COUNTS.into_iter().find(|count| *count >= all.len());
        let count =
            count.ok_or_else(|| Error::rule("Consent", "the patient has more holders than a grant can tell of"))?;
        let (_, sample) = slots.swap_remove(0);
        while all.len() < count {
            // Real encapsulations to a key thrown away: random octets could be told from ML-KEM's.
            all.push(sealed(&Opener::generate().public(), &sample)?);
        }
        all.sort_by(|a, b| a.sealed.cmp(&b.sealed));
        let now = month_of(now_ms());
        let month = if wish.terms.end_ms == u64::MAX { now + MONTHS_DEFAULT } else { month_of(wish.terms.end_ms) };
        // The terms keep the exact end; the ledger takes none that is further away than this.
        let month = month.min(now + MONTHS_AHEAD_MAX);
        Ok(Grant::sign(&signer, self.network, GROUP_ALL, month.max(now), all))
    }

    /// Submits a grant until it is final; then waits until those concerned have taken it up.
    async fn enter_grant(&self, id: &str, made: GrantMadeDoc) -> Result<Option<String>, Error> {
        let grant = Grant::from_octets(&made.transaction).map_err(Error::internal("reading a grant"))?;
        let height = match self.submit(Entered::Grant(grant)).await {
            Ok((_, height)) => height,
            // It was final before, and nobody noted it.
            Err(Error::Conflict(reason)) if reason == Rejection::GrantExists.to_string() => self.chain.tip().height,
            Err(Error::Unavailable { reason, .. }) => {
                return Ok(Some(format!(
                    "stored, but not final: {reason}. It takes effect when the network finalizes it"
                )));
            }
            Err(other) => return Err(other),
        };
        let done = GrantMadeDoc { height, transaction: Vec::new(), ..made };
        let grantee = done.grantee;
        let documents = vec![put(space::GRANT_MADE, id.as_bytes(), &done), remove(space::GRANT_OPEN, id.as_bytes())];
        let commit = Commit { documents, ..Commit::default() };
        self.store.commit(commit).await.map_err(Error::internal("noting a grant"))?;
        self.taken_up(height, vec![grantee]).await;
        Ok(None)
    }

    async fn enter_revocation(&self, id: &str, made: &GrantMadeDoc) -> Result<Option<String>, Error> {
        let wallet: Option<WalletDoc> = self.documents.load(space::WALLET, made.owner.as_bytes()).await?;
        let wallet = wallet.ok_or("a wallet is missing").map_err(Error::internal("revoking"))?;
        let root = self.wallet_root(&made.owner, &wallet)?;
        let signer = grant_signer(&root, made.counter);
        let revoke = Revoke::sign(&signer, self.network, GROUP_ALL);
        let height = match self.submit(Entered::Revoke(revoke)).await {
            Ok((_, height)) => height,
            Err(Error::Conflict(reason)) if reason == Rejection::GrantRevoked.to_string() => 0,
            Err(Error::Unavailable { reason, .. }) => {
                return Ok(Some(format!(
                    "stored, but not final: {reason}. It takes effect when the network finalizes it"
                )));
            }
            Err(other) => return Err(other),
        };
        let documents = vec![remove(space::REVOKE_OPEN, id.as_bytes()), remove(space::GRANT_OPEN, id.as_bytes())];
        let commit = Commit { documents, ..Commit::default() };
        self.store.commit(commit).await.map_err(Error::internal("noting a revocation"))?;
        let mut members: Vec<u32> = wallet.holders.iter().map(|h| h.member).collect();
        members.push(made.grantee);
        self.taken_up(height, members).await;
        Ok(None)
    }

    /// Waits, within bounds, until members have processed a height, so that what the patient did holds there when the
    /// answer arrives. Who does not answer learns of it from the ledger all the same.
    async fn taken_up(&self, height: u64, mut members: Vec<u32>) {
        members.sort_unstable();
        members.dedup();
        let me = self.config.me;
        let others = members.into_iter().filter(|m| *m != me).map(|member| async move {
            drop(self.call(member, Method::Await, Await { height }.to_octets()).await);
        });
        let mut processed = self.processed.subscribe();
        let own = async {
            drop(processed.wait_for(|at| *at >= height).await);
        };
        let all = futures::future::join(own, futures::future::join_all(others));
        drop(tokio::time::timeout(TAKEN_UP, all).await);
    }

    /// Title of a member, for people.
    pub(crate) fn title(&self, number: u32) -> &str {
        self.member(number).map_or("a former member", |m| &m.title)
    }

    /// Whether the Patient exists here.
    pub(crate) async fn has_patient(&self, id: &str) -> Result<bool, Error> {
        let found = self.store.current(&patient_resource(id)).await.map_err(Error::internal("reading a Patient"))?;
        Ok(found.is_some_and(|v| v.content.is_some()))
    }
}
