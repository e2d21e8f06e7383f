//! What an operator sees, and the audit line of a local act.

use crate::{
    Caller, Error, Records,
    documents::{BatchDoc, TotalsDoc, space},
    outbox::{LANE_ACCESS, LANE_RECORDS},
};
use fhir::json::{Value, object};
use identity::Action;

/// A member's state, without anything about patients.
#[derive(Debug, Clone)]
pub struct Status {
    /// Its name.
    pub member: String,
    /// Height of the newest block applied here.
    pub height: u64,
    /// That block's time, milliseconds since 1970 UTC.
    pub time_ms: u64,
    /// How long ago it was applied, milliseconds.
    pub tip_age_ms: u64,
    /// Rows that are not finalized yet.
    pub outbox: u64,
    /// Pages finalized.
    pub pages: u64,
    /// Record versions finalized.
    pub record_versions: u64,
    /// Batches finalized.
    pub batches: u64,
    /// Submit to final, milliseconds: median, 99 %, highest of the last 1,024 batches.
    pub finality_ms: [u64; 3],
    /// Validators.
    pub validators: u64,
    /// Whether this member votes.
    pub signing: bool,
    /// Pieces of evidence against validators.
    pub evidence: u64,
    /// Stored blocks and certificates that did not hold.
    pub damaged: u64,
    /// Audit lines.
    pub audit_lines: u64,
    /// Why the outbox waits, if it does.
    pub trouble: Option<String>,
}

impl Status {
    /// As JSON.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let [p50, p99, max] = self.finality_ms;
        object([
            ("member", self.member.as_str().into()),
            ("height", self.height.into()),
            ("time_ms", self.time_ms.into()),
            ("tip_age_ms", self.tip_age_ms.into()),
            ("outbox", self.outbox.into()),
            ("pages", self.pages.into()),
            ("record_versions", self.record_versions.into()),
            ("batches", self.batches.into()),
            ("finality_ms", object([("p50", p50.into()), ("p99", p99.into()), ("max", max.into())])),
            ("validators", self.validators.into()),
            ("signing", self.signing.into()),
            ("evidence", self.evidence.into()),
            ("damaged", self.damaged.into()),
            ("audit_lines", self.audit_lines.into()),
            ("trouble", self.trouble.as_deref().map_or(Value::Null, Value::from)),
        ])
    }
}

impl Records {
    /// The member's state, for its operator.
    ///
    /// # Errors
    /// [`Error::Denied`] for anybody else.
    pub async fn status_for(&self, who: &Caller) -> Result<Status, Error> {
        self.0.allow(who, &Action::Administer)?;
        self.status().await
    }

    /// The member's state.
    ///
    /// # Errors
    /// When the store does not answer.
    pub async fn status(&self) -> Result<Status, Error> {
        let inner = &self.0;
        let tip = inner.chain.tip();
        let chain = inner.chain.status();
        let totals: TotalsDoc = inner.documents.load(space::TOTALS, b"").await?.unwrap_or_default();
        let batch: Option<BatchDoc> = inner.documents.load(space::BATCH, b"current").await?;
        let count = |lane| inner.store.outbox_len(lane);
        let records = count(LANE_RECORDS).await.map_err(Error::internal("counting the outbox"))?;
        let accesses = count(LANE_ACCESS).await.map_err(Error::internal("counting the outbox"))?;
        let mut latencies: Vec<u64> = inner.latencies.lock().expect("no panic while held").iter().copied().collect();
        latencies.sort_unstable();
        let at =
            |share: f64| latencies.get(((latencies.len().max(1) - 1) as f64 * share) as usize).copied().unwrap_or(0);
        Ok(Status {
            member: inner.me.name.clone(),
            height: tip.height,
            time_ms: tip.time_ms,
            tip_age_ms: tip.at.elapsed().as_millis() as u64,
            outbox: records + accesses + batch.map_or(0, |b| u64::from(b.records.max(1))),
            pages: totals.pages,
            record_versions: totals.records,
            batches: totals.batches,
            finality_ms: [at(0.5), at(0.99), at(1.0)],
            validators: chain.validators as u64,
            signing: chain.signing,
            evidence: chain.evidence as u64,
            damaged: chain.damaged as u64,
            audit_lines: inner.store.audit_len().await.map_err(Error::internal("counting audit lines"))?,
            trouble: inner.trouble.lock().expect("no panic while held").clone(),
        })
    }

    /// Whether this member can serve: it has heard of the network lately.
    ///
    /// # Errors
    /// Why not, as a sentence.
    pub fn ready(&self) -> Result<(), String> {
        let tip = self.0.chain.tip();
        if tip.height == 0 {
            return Err("no block is finalized yet".into());
        }
        if tip.at.elapsed() > crate::gate::TIP_AGE_MAX {
            return Err("nothing was finalized for 30 seconds: this member is cut off, or too many others are".into());
        }
        Ok(())
    }
}

/// A line of the audit log: who did what to which kind of thing. The store is the member's own; lines never leave it.
pub(crate) fn audit_line(who: &Caller, interaction: &str, resource_type: &str, id: &str) -> Vec<u8> {
    object([
        ("at", fhir::instant(crate::now_ms() as i64).into()),
        ("person", who.person.id.as_str().into()),
        ("role", who.person.role.name().into()),
        ("interaction", interaction.into()),
        ("type", resource_type.into()),
        ("id", id.into()),
    ])
    .write()
}
