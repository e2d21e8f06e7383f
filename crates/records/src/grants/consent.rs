//! Which FHIR Consents are grants: complete ones only. Whatever else would narrow one is refused, the element named.

use crate::{Error, Inner};
use fhir::json::Value;
use identity::Purpose;
use wire::message::{Terms, Text};

/// What a Consent asks for.
pub(crate) struct Wish {
    /// The Patient here.
    pub(crate) patient: String,
    /// The member that may read.
    pub(crate) grantee: u32,
    pub(crate) terms: Terms,
    /// `active`, or else `inactive`.
    pub(crate) active: bool,
}

/// Elements that say whose Consent it is, how it came about, and nothing about what is allowed.
const CONSENT: [&str; 21] = [
    "resourceType",
    "id",
    "meta",
    "language",
    "text",
    "contained",
    "extension",
    "identifier",
    "status",
    "scope",
    "category",
    "patient",
    "dateTime",
    "performer",
    "organization",
    "sourceAttachment",
    "sourceReference",
    "policy",
    "policyRule",
    "verification",
    "provision",
];
/// Elements of `Consent.provision` that a complete grant may have.
const PROVISION: [&str; 5] = ["id", "type", "period", "actor", "purpose"];

/// Reads a Consent as a grant.
pub(crate) async fn read(inner: &Inner, consent: &Value) -> Result<Wish, Error> {
    let active = match text(consent, "status") {
        Some("active") => true,
        Some("inactive") => false,
        _ => return Err(Error::rule("Consent.status", "must be `active` to grant or `inactive` to revoke")),
    };
    let scope = codings(consent.get("scope")).any(|code| code == "patient-privacy");
    if !scope {
        return Err(Error::rule("Consent.scope", "must be `patient-privacy`"));
    }
    let patient = consent.get("patient").and_then(|p| text(p, "reference")).and_then(|r| r.strip_prefix("Patient/"));
    let patient =
        patient.ok_or_else(|| Error::rule("Consent.patient", "must refer to the Patient here: `Patient/<id>`"))?;
    if !inner.has_patient(patient).await? {
        return Err(Error::rule("Consent.patient", "there is no such Patient at this member"));
    }
    let provision = consent.get("provision").ok_or_else(|| Error::rule("Consent.provision", "is needed"))?;
    only(consent, "Consent", &CONSENT)?;
    only(provision, "Consent.provision", &PROVISION)?;
    let verifications = consent.get("verification").and_then(Value::as_array).unwrap_or_default();
    if let Some(at) = verifications.iter().position(|v| v.get("verified") != Some(&Value::Bool(true))) {
        let place = format!("Consent.verification[{at}].verified");
        return Err(Error::rule(place, "must be true: a Consent that was not verified is no grant"));
    }
    if let Some(period) = provision.get("period") {
        only(period, "Consent.provision.period", &["id", "start", "end"])?;
    }
    if text(provision, "type") != Some("permit") {
        return Err(Error::rule("Consent.provision.type", "must be `permit`"));
    }
    let grantee = grantee(inner, provision)?;
    let terms = Terms { purposes: purposes(provision)?, ..period(provision)? };
    Ok(Wish { patient: patient.to_owned(), grantee, terms, active })
}

/// The member whose Organization is the actor: an id that the genesis knows, whatever is stored.
fn grantee(inner: &Inner, provision: &Value) -> Result<u32, Error> {
    let place = "Consent.provision.actor";
    let actors = provision.get("actor").and_then(Value::as_array).unwrap_or_default();
    let [actor] = actors else {
        return Err(Error::rule(place, "names exactly one member: make a Consent for each"));
    };
    only(actor, &format!("{place}[0]"), &["id", "role", "reference"])?;
    let reference = actor.get("reference").and_then(|r| text(r, "reference"));
    let named = reference.and_then(|r| r.strip_prefix("Organization/")).and_then(|id| inner.config.genesis.named(id));
    named.map(|member| member.number).ok_or_else(|| {
        let place = format!("{place}[0].reference.reference");
        Error::rule(place, "must refer to a member's Organization here: find it with Organization?name:exact=<title>")
    })
}

/// Elements that are not understood would be lost, and with them what the patient meant.
fn only(value: &Value, place: &str, known: &[&str]) -> Result<(), Error> {
    let Value::Object(elements) = value else {
        return Err(Error::rule(place, "must be an object"));
    };
    match elements.iter().find(|(name, _)| !known.contains(&name.as_str())) {
        Some((name, _)) => {
            let place = format!("{place}.{name}");
            Err(Error::rule(place, "only complete grants are taken: this element could narrow one"))
        }
        None => Ok(()),
    }
}

fn purposes(provision: &Value) -> Result<Vec<Text>, Error> {
    let purposes = provision.get("purpose").and_then(Value::as_array).unwrap_or_default();
    if purposes.len() > 8 {
        return Err(Error::rule("Consent.provision.purpose", "at most 8 purposes are taken"));
    }
    let code = |(at, coding): (usize, &Value)| {
        let place = format!("Consent.provision.purpose[{at}]");
        if text(coding, "system").is_some_and(|system| system != Purpose::system()) {
            return Err(Error::rule(format!("{place}.system"), format!("must be {}", Purpose::system())));
        }
        let code = text(coding, "code").ok_or_else(|| Error::rule(&place, "a purpose needs a code"))?;
        let purpose = Purpose::parse(code).map_err(|e| Error::rule(&place, e.to_string()))?;
        Ok(Text(purpose.code().to_owned()))
    };
    purposes.iter().enumerate().map(code).collect()
}

/// The terms' period; purposes are filled in by the caller.
fn period(provision: &Value) -> Result<Terms, Error> {
    let period = provision.get("period");
    let bound = |name: &str| -> Result<Option<(i64, i64)>, Error> {
        match period.and_then(|p| text(p, name)) {
            None => Ok(None),
            Some(moment) => {
                let place = format!("Consent.provision.period.{name}");
                fhir::parse_date(moment).map(Some).ok_or_else(|| Error::rule(place, "is not a FHIR dateTime"))
            }
        }
    };
    let begin_ms = bound("start")?.map_or(0, |(low, _)| low.max(0) as u64);
    let end_ms = bound("end")?.map_or(u64::MAX, |(_, high)| high.max(0) as u64);
    if end_ms <= begin_ms {
        return Err(Error::rule("Consent.provision.period", "ends before it begins"));
    }
    Ok(Terms { purposes: Vec::new(), begin_ms, end_ms })
}

fn text<'a>(value: &'a Value, name: &str) -> Option<&'a str> {
    value.get(name).and_then(Value::as_str)
}

fn codings(concept: Option<&Value>) -> impl Iterator<Item = &str> {
    let codings = concept.and_then(|c| c.get("coding")).and_then(Value::as_array).unwrap_or_default();
    codings.iter().filter_map(|c| text(c, "code"))
}
