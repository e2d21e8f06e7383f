//! Who read a patient's record: the access strands of all holders, each to its proven end, asked for by the home.

use crate::{
    Caller, Error, Inner, Records, ResultSet,
    answer::opened_pages,
    documents::{HolderDoc, PageDoc, WalletDoc, put, space},
    network::Entry,
    outbox::StrandName,
    proofs::Shown,
};
use fhir::json::{Value, object};
use identity::{Action, Purpose};
use std::sync::Arc;
use store::Commit;
use wire::{
    Format as _, Hash,
    hash::hash,
    message::{
        AccessItem, Outcome, ReleasedPage,
        peer::{AccessesAnswer, AccessesAsk, Method},
    },
    proof::{ShownStrand, Subject},
    strand::{OpenedPage, StrandKind},
};

/// Pages asked for at once.
const AT_ONCE: u64 = 64;

impl Records {
    /// The complete list of who read this patient's record, as AuditEvents. A holder that does not open its strand to
    /// the end is named.
    ///
    /// # Errors
    /// [`Error::Denied`] for anybody but the patient; [`Error::NotFound`] when this member keeps no wallet.
    pub async fn accesses(&self, who: &Caller, patient: &str) -> Result<ResultSet, Error> {
        let inner = &self.0;
        inner.allow(who, &Action::ListAccesses { patient })?;
        let wallet: Option<WalletDoc> = inner.documents.load(space::WALLET, patient.as_bytes()).await?;
        let wallet = wallet.ok_or_else(|| {
            Error::NotFound("this member keeps no wallet of this patient: ask at the patient's home".into())
        })?;
        let strand = inner.strand(&StrandName::holders(patient)).await?;
        let strand = strand.ok_or_else(|| Error::unavailable("the list of holders is not anchored yet"))?;
        let pages = opened_pages(inner, &strand, 0..strand.next).await?;
        let holders = ShownStrand { member: inner.config.me, key: strand.key, pages };
        let (mut parts, mut entries, mut problems) = (Vec::new(), Vec::new(), Vec::new());
        let mut min_height = 1;
        for holder in &wallet.holders {
            match inner.access_strand(patient, holder).await {
                Ok((part, height)) => {
                    min_height = min_height.max(height);
                    entries.extend(inner.events(patient, &part).await?);
                    parts.push(part);
                }
                Err(reason) => problems.push((holder.member, reason)),
            }
        }
        parts.sort_by_key(|part| part.member);
        entries.sort_by(|(a, _), (b, _)| b.cmp(a));
        let mut entries: Vec<Entry> = entries.into_iter().map(|(_, entry)| entry).collect();
        let total = entries.len();
        for (member, reason) in problems {
            let text = format!("{} is not part of this list: {reason}", inner.title(member));
            let issue = fhir::validate::Issue::error("incomplete", "", text);
            entries.push(Entry {
                full_url: format!("urn:uuid:{}", uuid::Uuid::new_v4()),
                content: Arc::new(fhir::outcome::outcome(&[issue]).write()),
                mode: "outcome",
            });
        }
        let shown =
            Shown { subject: Subject::Accesses, holders, parts, releases: Vec::new(), request: None, min_height };
        let proof = inner.prove(who, shown).await?;
        Ok(inner.keep(who, entries, total, proof))
    }
}

impl Inner {
    /// A holder's access strand, from what was opened before and what the holder opens now, checked to its end.
    async fn access_strand(&self, patient: &str, holder: &HolderDoc) -> Result<(ShownStrand, u64), String> {
        let since = self.chain.tip().height;
        let mut strand = ShownStrand {
            member: holder.member,
            key: holder.accesses.clone(),
            pages: vec![holder.accesses_opening.clone()],
        };
        let place =
            |index: u64| hash("access-page", &[patient.as_bytes(), &holder.member.to_be_bytes(), &index.to_be_bytes()]);
        loop {
            let next = strand.pages.len() as u64;
            let entry = self.entry(&strand.place(next)).await.map_err(|e| e.to_string())?;
            let Some(entry) = entry else { break };
            let kept: Option<PageDoc> =
                self.documents.load(space::ACCESS_PAGE, &place(next)).await.map_err(|e| e.to_string())?;
            if let Some(PageDoc { page: ReleasedPage::Items(page) }) = kept {
                strand.pages.push(page);
                continue;
            }
            let opened = self.opened_by(patient, holder, next).await?;
            for page in opened {
                let at = strand.pages.len() as u64;
                let there = if at == next {
                    Some(entry)
                } else {
                    self.entry(&strand.place(at)).await.map_err(|e| e.to_string())?
                };
                if there.is_none_or(|entry| entry.commitment != page.commitment(&strand.place(at))) {
                    return Err("it opened a page that is not the one it entered".into());
                }
                self.keep_page(&place(at), &page).await?;
                strand.pages.push(page);
            }
        }
        let newest = self.check(&strand, StrandKind::Accesses, since).await.map_err(|e| e.to_string())??;
        Ok((strand, newest))
    }

    /// Pages of a holder's access strand from `from` on, opened by the holder.
    async fn opened_by(&self, patient: &str, holder: &HolderDoc, from: u64) -> Result<Vec<OpenedPage>, String> {
        let pages = if holder.member == self.config.me {
            let strand = self.strand(&StrandName::accesses(patient)).await.map_err(|e| e.to_string())?;
            let strand = strand.ok_or("the strand is missing")?;
            opened_pages(self, &strand, from..strand.next.min(from + AT_ONCE)).await.map_err(|e| e.to_string())?
        } else {
            let ask = AccessesAsk { patient_key: holder.patient_key, from, to: from + AT_ONCE };
            let answer: AccessesAnswer =
                self.call_sealed(holder.member, Method::Accesses, &ask).await.map_err(|e| e.to_string())?;
            answer.pages
        };
        if pages.is_empty() {
            return Err("it does not open an entry that it made".into());
        }
        for page in &pages {
            page.check().map_err(|e| e.to_string())?;
        }
        Ok(pages)
    }

    async fn keep_page(&self, place: &Hash, page: &OpenedPage) -> Result<(), String> {
        let documents = vec![put(space::ACCESS_PAGE, place, &PageDoc { page: ReleasedPage::Items(page.clone()) })];
        self.store.commit(Commit { documents, ..Commit::default() }).await.map_err(|e| e.to_string())
    }

    /// An AuditEvent for each item.
    async fn events(&self, patient: &str, part: &ShownStrand) -> Result<Vec<((u64, u32), Entry)>, Error> {
        let mut events = Vec::new();
        for (index, page) in part.pages.iter().enumerate().skip(1) {
            let place = part.place(index as u64);
            let Some(entry) = self.entry(&place).await? else { continue };
            let time_ms = self.chain.block(entry.height).await?.map_or(0, |block| block.time_ms);
            for payload in page.payloads() {
                let Ok(item) = AccessItem::from_octets(payload) else { continue };
                let name = hash("audit-event", &[&place, &item.request, &[item.outcome as u8]]);
                let id = data_encoding::HEXLOWER.encode(&name);
                let content = Arc::new(self.event(patient, part.member, &id, time_ms, &item).write());
                let full_url = format!("{}/AuditEvent/{id}", self.config.fhir_base);
                events.push(((entry.height, part.member), Entry { full_url, content, mode: "match" }));
            }
        }
        Ok(events)
    }

    fn event(&self, patient: &str, holder: u32, id: &str, time_ms: u64, item: &AccessItem) -> Value {
        let coding = |system: &str, code: &str, display: &str| {
            object([("system", system.into()), ("code", code.into()), ("display", display.into())])
        };
        let organization = |member: u32| {
            let name = self.member(member).map_or("", |m| m.name.as_str());
            object([("reference", format!("Organization/{name}").into()), ("display", self.title(member).into())])
        };
        let purpose = Purpose::parse(&item.purpose).map_or("", Purpose::display);
        let (outcome, told) = match item.outcome {
            Outcome::Released => ("0", format!("released: {} pages, {} record versions", item.pages, item.records)),
            Outcome::Refused => ("8", format!("refused: {}", item.reason)),
            Outcome::Withheld => ("8", format!("entered, but nothing left: {}", item.reason)),
        };
        object([
            ("resourceType", "AuditEvent".into()),
            ("id", id.into()),
            (
                "type",
                coding(
                    "http://terminology.hl7.org/CodeSystem/iso-21089-lifecycle",
                    "disclose",
                    "Disclose Record Lifecycle Event",
                ),
            ),
            ("action", "R".into()),
            ("recorded", fhir::instant(time_ms as i64).into()),
            ("outcome", outcome.into()),
            ("outcomeDesc", told.as_str().into()),
            (
                "purposeOfEvent",
                Value::Array(vec![object([(
                    "coding",
                    Value::Array(vec![coding(Purpose::system(), &item.purpose, purpose)]),
                )])]),
            ),
            (
                "agent",
                Value::Array(vec![object([
                    ("role", Value::Array(vec![object([("text", item.role.as_str().into())])])),
                    ("who", organization(item.reader)),
                    ("requestor", true.into()),
                ])]),
            ),
            ("source", object([("observer", organization(holder))])),
            (
                "entity",
                Value::Array(vec![object([
                    (
                        "what",
                        object([
                            ("reference", format!("Patient/{patient}").into()),
                            ("display", format!("the record at {}", self.title(holder)).into()),
                        ]),
                    ),
                    ("description", told.into()),
                ])]),
            ),
        ])
    }
}
