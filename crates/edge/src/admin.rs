//! For operators and machines: people, status, health, metrics, proofs.

use crate::{
    App,
    fault::Fault,
    request::{Who, content},
};
use axum::{
    body::Bytes,
    extract::{Path, State},
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse as _, Response},
};
use fhir::json::object;
use identity::Role;
use records::NewPerson;

const JSON: [(header::HeaderName, &str); 1] = [(header::CONTENT_TYPE, "application/json")];

pub(crate) async fn people(
    State(app): State<App>,
    Who(who): Who,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, Fault> {
    let wish = content(&headers, &body)?;
    let name = wish.text("name").unwrap_or_default().to_owned();
    let role = match (wish.text("role"), wish.text("patient")) {
        (Some("operator"), None) => Role::Operator,
        (Some("clinician"), None) => Role::Clinician,
        (Some("patient"), Some(patient)) => Role::Patient { patient: patient.to_owned() },
        _ => return Err(Fault::bad_request("role is operator, clinician, or patient with the id of a Patient here")),
    };
    let (id, token) = app.records.add_person(&who, NewPerson { name, role }).await?;
    let answer = object([("id", id.into()), ("token", token.into())]);
    Ok((StatusCode::CREATED, JSON, answer.write()).into_response())
}

pub(crate) async fn status(State(app): State<App>, Who(who): Who) -> Result<Response, Fault> {
    Ok((JSON, app.records.status_for(&who).await?.to_json().write()).into_response())
}

pub(crate) async fn proof(State(app): State<App>, Who(who): Who, Path(id): Path<String>) -> Result<Response, Fault> {
    let octets = app.records.proof(&who, &id).await?;
    Ok(([(header::CONTENT_TYPE, "application/octet-stream")], octets).into_response())
}

pub(crate) async fn healthz() -> &'static str {
    "ok\n"
}

pub(crate) async fn readyz(State(app): State<App>) -> Response {
    match app.records.ready() {
        Ok(()) => "ready\n".into_response(),
        Err(reason) => (StatusCode::SERVICE_UNAVAILABLE, format!("{reason}\n")).into_response(),
    }
}

/// OpenMetrics text (openmetrics.io); no labels, so nothing about anybody can get into one.
pub(crate) async fn metrics(State(app): State<App>) -> Result<Response, (StatusCode, String)> {
    let status = app.records.status().await.map_err(|error| Fault::from(error).plain())?;
    let gauges = [
        ("suture_height", "Height of the newest block applied here.", status.height),
        ("suture_tip_age_milliseconds", "Age of that block here.", status.tip_age_ms),
        ("suture_outbox_rows", "Record versions and items that are not finalized yet.", status.outbox),
        ("suture_pages_finalized", "Pages finalized.", status.pages),
        ("suture_record_versions_finalized", "Record versions finalized.", status.record_versions),
        ("suture_finality_p50_milliseconds", "Submit to final, median.", status.finality_ms[0]),
        ("suture_finality_p99_milliseconds", "Submit to final, 99 percent.", status.finality_ms[1]),
        ("suture_validators", "Validators.", status.validators),
        ("suture_signing", "1 when this member votes.", u64::from(status.signing)),
        ("suture_evidence", "Pieces of verified evidence against validators.", status.evidence),
        ("suture_damaged", "Stored blocks and certificates that did not hold.", status.damaged),
        ("suture_audit_lines", "Lines of the audit log.", status.audit_lines),
    ];
    let mut text = String::new();
    for (name, help, value) in gauges {
        text.push_str(&format!("# TYPE {name} gauge\n# HELP {name} {help}\n{name} {value}\n"));
    }
    text.push_str("# EOF\n");
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    Ok(([(header::CONTENT_TYPE, kind)], text).into_response())
}
