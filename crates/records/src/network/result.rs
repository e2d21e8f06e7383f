//! The answer of a read across members: its entries, kept for paging.

use super::{KEEP, Part};
use crate::{Caller, Error, Inner, Records};
use fhir::json::{Value, object};
use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
    time::Instant,
};

/// Answers kept for paging.
const RESULTS_MAX: usize = 64;

/// One entry of an answer.
#[derive(Debug, Clone)]
pub struct Entry {
    /// The holder's address of the resource, or a `urn:uuid:`.
    pub full_url: String,
    /// JSON as the holder wrote it.
    pub content: Arc<Vec<u8>>,
    /// `match`, `include` or `outcome`.
    pub mode: &'static str,
}

/// An answer that is ready to be paged.
#[derive(Debug, Clone)]
pub struct ResultSet {
    /// Its id.
    pub id: String,
}

/// A page of an answer.
#[derive(Debug, Clone)]
pub struct ResultPage {
    /// The answer's id.
    pub id: String,
    /// Entries of this page.
    pub entries: Vec<Entry>,
    /// Where the next page begins.
    pub next_offset: Option<usize>,
    /// Resources that match, in all pages.
    pub total: usize,
    /// Id of the proof document.
    pub proof: String,
}

struct Kept {
    person: String,
    entries: Vec<Entry>,
    total: usize,
    proof: String,
    at: Instant,
}

/// Answers that may be paged.
#[derive(Default)]
pub(crate) struct Results {
    kept: HashMap<String, Kept>,
    order: VecDeque<String>,
}

impl Records {
    /// A page of an answer that the same person got.
    ///
    /// # Errors
    /// [`Error::Gone`] when it is older than 15 minutes or the member was restarted.
    pub fn result_page(&self, who: &Caller, id: &str, offset: usize, limit: usize) -> Result<ResultPage, Error> {
        let results = self.0.results.lock().expect("no panic while held");
        let kept = results.kept.get(id).filter(|kept| kept.person == who.person.id && kept.at.elapsed() < KEEP);
        let kept = kept.ok_or_else(|| Error::NotFound("this answer is not kept any more: ask again".into()))?;
        let end = offset.saturating_add(limit.clamp(1, 1_000)).min(kept.entries.len());
        let entries = kept.entries.get(offset..end).unwrap_or_default().to_vec();
        let next_offset = (end < kept.entries.len()).then_some(end);
        Ok(ResultPage { id: id.into(), entries, next_offset, total: kept.total, proof: kept.proof.clone() })
    }
}

impl Inner {
    /// Keeps an answer for paging.
    pub(crate) fn keep(&self, who: &Caller, entries: Vec<Entry>, total: usize, proof: String) -> ResultSet {
        let id = uuid::Uuid::new_v4().to_string();
        let mut results = self.results.lock().expect("no panic while held");
        let kept = Kept { person: who.person.id.clone(), entries, total, proof, at: Instant::now() };
        results.kept.insert(id.clone(), kept);
        results.order.push_back(id.clone());
        while results.order.len() > RESULTS_MAX {
            if let Some(oldest) = results.order.pop_front() {
                results.kept.remove(&oldest);
            }
        }
        ResultSet { id }
    }

    pub(super) fn entries(
        &self,
        patient: &str,
        parts: &[Part],
        unlisted: Option<&Part>,
        problems: &[(u32, String)],
    ) -> (Vec<Entry>, usize) {
        let mut entries = Vec::new();
        let urn = || format!("urn:uuid:{}", uuid::Uuid::new_v4());
        for part in parts.iter().chain(unlisted) {
            let base = self.base(part.strand.member);
            for (name, content) in &part.resources {
                entries.push(Entry { full_url: format!("{base}/{name}"), content: content.clone(), mode: "match" });
            }
        }
        let total = entries.len();
        for part in parts.iter().chain(unlisted) {
            let content = Arc::new(self.provenance(patient, part).write());
            entries.push(Entry { full_url: urn(), content, mode: "include" });
        }
        for (member, reason) in problems {
            let text = format!("{} is not part of this answer: {reason}", self.title(*member));
            let issue = fhir::validate::Issue::error("incomplete", "", text);
            let content = Arc::new(fhir::outcome::outcome(&[issue]).write());
            entries.push(Entry { full_url: urn(), content, mode: "outcome" });
        }
        if let Some(part) = unlisted {
            let text = format!(
                "{}'s own part is shown but not proved: the patient's wallet does not list it as a holder. Enrol the \
                 patient there to change that",
                self.title(part.strand.member)
            );
            let issue = fhir::validate::Issue {
                severity: "warning",
                ..fhir::validate::Issue::error("informational", "", text)
            };
            let content = Arc::new(fhir::outcome::outcome(&[issue]).write());
            entries.push(Entry { full_url: urn(), content, mode: "outcome" });
        }
        (entries, total)
    }

    pub(crate) fn base(&self, member: u32) -> &str {
        self.config.fhir_bases.get(&member).map_or("", String::as_str)
    }

    /// Where a part comes from.
    fn provenance(&self, patient: &str, part: &Part) -> Value {
        let member = part.strand.member;
        let base = self.base(member);
        let targets = part.resources.iter().map(|(name, _)| object([("reference", format!("{base}/{name}").into())]));
        let mut targets: Vec<Value> = targets.collect();
        if targets.is_empty() {
            targets.push(object([("reference", format!("{}/Patient/{patient}", self.config.fhir_base).into())]));
        }
        let name = self.member(member).map_or("", |m| m.name.as_str());
        let who =
            object([("reference", format!("Organization/{name}").into()), ("display", self.title(member).into())]);
        object([
            ("resourceType", "Provenance".into()),
            ("id", uuid::Uuid::new_v4().to_string().into()),
            ("target", Value::Array(targets)),
            ("recorded", fhir::instant(crate::now_ms() as i64).into()),
            (
                "activity",
                object([(
                    "coding",
                    Value::Array(vec![object([
                        ("system", "http://terminology.hl7.org/CodeSystem/iso-21089-lifecycle".into()),
                        ("code", "disclose".into()),
                    ])]),
                )]),
            ),
            ("agent", Value::Array(vec![object([("who", who)])])),
        ])
    }
}
