//! What a finalized Grant or Revoke means here: each member tries the slots, and keeps what is for it.

use crate::{
    Error, Inner,
    documents::{GrantHeldDoc, GrantReceivedDoc, PatientKeyDoc, put, space},
    enrol::patient_resource,
    found::MEMBER_SYSTEM,
    outbox::{LANE_RECORDS, StrandName, Work},
    people::Caller,
    write::{Made, Plan},
};
use fhir::json::{Value, object};
use identity::{Person, Role};
use ledger::consent::Grant;
use store::Commit;
use wire::message::{GrantSlot, GranteeSlot, SlotContext, Terms, open_slot};

/// A Grant was finalized.
pub(crate) async fn granted(inner: &Inner, grant: &Grant, height: u64) -> Result<(), Error> {
    let context = SlotContext::Grant { network: inner.network, grant_key: &grant.grant_key };
    for slot in &grant.slots {
        match open_slot(&inner.opener, &context, &slot.sealed) {
            Some(GrantSlot::Grantee(slot)) if slot.grantee == inner.config.me => {
                return receive(inner, &grant.grant_key, slot, height).await;
            }
            Some(GrantSlot::Holder(slot)) if slot.holder == inner.config.me => {
                let known: Option<PatientKeyDoc> = inner.documents.load(space::PATIENT_KEY, &slot.patient_key).await?;
                if known.is_none() || !slot.signed(inner.network, &grant.grant_key) {
                    tracing::warn!(height, "a grant for this holder names a key that is not enrolled or did not sign");
                    return Ok(());
                }
                let held = GrantHeldDoc { slot, height };
                let documents = vec![put(space::GRANT_HELD, &grant.grant_key, &held)];
                let outbox =
                    vec![Work::document(space::GRANT_HELD, &grant.grant_key).row(LANE_RECORDS, &StrandName::own())];
                let commit = Commit { documents, outbox, ..Commit::default() };
                return inner.store.commit(commit).await.map_err(Error::internal("keeping a grant"));
            }
            _ => {}
        }
    }
    Ok(())
}

/// This member is the grantee: the Patient is known here, or gets a handle; a copy of the Consent refers to it.
async fn receive(inner: &Inner, grant_key: &[u8; 32], slot: GranteeSlot, height: u64) -> Result<(), Error> {
    let known: Option<GrantReceivedDoc> = inner.documents.load(space::GRANT_RECEIVED, grant_key).await?;
    if known.is_some() {
        return Ok(());
    }
    let enrolled = match &slot.patient_key {
        Some(key) => inner.documents.load::<PatientKeyDoc>(space::PATIENT_KEY, key).await?,
        None => None,
    };
    let _guard = inner.writing.lock().await;
    let mut plan = Plan::new(inner);
    let now = crate::now_ms() as i64;
    let owner = match enrolled {
        Some(PatientKeyDoc { owner, .. }) => owner,
        None => {
            // The same wallet may have granted before: its list of holders tells.
            let earlier = inner.documents.all::<GrantReceivedDoc>(space::GRANT_RECEIVED, &[]).await?;
            let same = earlier.into_iter().find(|(_, doc)| doc.slot.holders == slot.holders);
            match same {
                Some((_, doc)) => doc.owner,
                None => {
                    let id = uuid::Uuid::new_v4().to_string();
                    plan.add(Made::new("Patient", &id, 1, now, handle()), None).await?;
                    id
                }
            }
        }
    };
    let consent = uuid::Uuid::new_v4().to_string();
    let copy = consent_copy(inner, &owner, &slot, "active");
    plan.add(Made::new("Consent", &consent, 1, now, copy), None).await?;
    let document = GrantReceivedDoc { slot, owner, consent, height };
    let commit = Commit {
        documents: vec![put(space::GRANT_RECEIVED, grant_key, &document)],
        outbox: vec![Work::document(space::GRANT_RECEIVED, grant_key).row(LANE_RECORDS, &StrandName::own())],
        ..Commit::default()
    };
    plan.commit_with(&member_itself(), "grant", commit).await?;
    Ok(())
}

/// A Revoke was finalized: the copy of the Consent here says so. Whether a grant holds is always asked of the ledger.
pub(crate) async fn revoked(inner: &Inner, grant_key: &[u8; 32]) -> Result<(), Error> {
    let Some(doc) = inner.documents.load::<GrantReceivedDoc>(space::GRANT_RECEIVED, grant_key).await? else {
        return Ok(());
    };
    let _guard = inner.writing.lock().await;
    let current = inner.living("Consent", &doc.consent).await?;
    let known = fhir::json::parse(current.content.as_deref().unwrap_or_default(), fhir::json::Limits::default());
    if known.is_ok_and(|consent| consent.text("status") == Some("inactive")) {
        return Ok(());
    }
    let copy = consent_copy(inner, &doc.owner, &doc.slot, "inactive");
    let mut plan = Plan::new(inner);
    let made = Made::new("Consent", &doc.consent, current.version + 1, crate::now_ms() as i64, copy);
    plan.add(made, Some(current.version)).await?;
    plan.commit(&member_itself(), "revoke").await?;
    Ok(())
}

/// Who acts when the member follows the ledger: nobody's person.
fn member_itself() -> Caller {
    Caller { person: Person::new("this member, following the ledger".into(), Role::Operator, [0; 32]) }
}

/// A Patient without demographics: it only gives the grant something to refer to.
fn handle() -> Value {
    object([
        ("resourceType", "Patient".into()),
        (
            "identifier",
            Value::Array(vec![object([
                ("system", "urn:suture:handle".into()),
                ("value", uuid::Uuid::new_v4().to_string().into()),
            ])]),
        ),
        ("active", true.into()),
    ])
}

fn consent_copy(inner: &Inner, owner: &str, slot: &GranteeSlot, status: &str) -> Value {
    let reference = |r: String, display: &str| object([("reference", r.into()), ("display", display.into())]);
    let coding = |system: &str, code: &str| object([("system", system.into()), ("code", code.into())]);
    let concept = |system: &str, code: &str| object([("coding", Value::Array(vec![coding(system, code)]))]);
    let name = |number: u32| inner.member(number).map_or("", |m| m.name.as_str()).to_owned();
    let grantee = reference(format!("Organization/{}", name(slot.grantee)), inner.title(slot.grantee));
    let home = reference(format!("Organization/{}", name(slot.home)), inner.title(slot.home));
    let Terms { purposes, begin_ms, end_ms } = &slot.terms;
    let mut provision = object([("type", "permit".into())]);
    let mut period = Value::Object(Vec::new());
    if *begin_ms > 0 {
        period.set("start", fhir::instant(*begin_ms as i64).into());
    }
    if *end_ms < u64::MAX {
        period.set("end", fhir::instant(*end_ms as i64).into());
    }
    if matches!(&period, Value::Object(elements) if !elements.is_empty()) {
        provision.set("period", period);
    }
    let role = concept("http://terminology.hl7.org/CodeSystem/v3-ParticipationType", "IRCP");
    provision.set("actor", Value::Array(vec![object([("role", role), ("reference", grantee)])]));
    if !purposes.is_empty() {
        let system = "http://terminology.hl7.org/CodeSystem/v3-ActReason";
        provision.set("purpose", Value::Array(purposes.iter().map(|p| coding(system, &p.0)).collect()));
    }
    object([
        ("resourceType", "Consent".into()),
        (
            "identifier",
            Value::Array(vec![object([
                ("system", MEMBER_SYSTEM.into()),
                ("value", format!("grant-of-{}", name(slot.home)).into()),
            ])]),
        ),
        ("status", status.into()),
        ("scope", concept("http://terminology.hl7.org/CodeSystem/consentscope", "patient-privacy")),
        ("category", Value::Array(vec![concept("http://terminology.hl7.org/CodeSystem/v3-ActCode", "IDSCL")])),
        ("patient", object([("reference", patient_reference(owner).into())])),
        ("organization", Value::Array(vec![home])),
        ("policyRule", concept("http://terminology.hl7.org/CodeSystem/v3-ActCode", "OPTIN")),
        ("provision", provision),
    ])
}

fn patient_reference(owner: &str) -> String {
    let key = patient_resource(owner);
    format!("{}/{}", key.resource_type, key.id)
}
