//! FHIR REST: instances, types, searches, transactions, `$everything`, enrolment.

use crate::{
    App, bundle,
    fault::{FHIR_JSON, Fault},
    request::{Asked, Who, content, count, form, if_match, nothing_else, page_size, prefer, take, version},
};
use axum::{
    body::Bytes,
    extract::{OriginalUri, Path, State},
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse as _, Response},
};
use fhir::{
    json::{Value, object},
    outcome::outcome,
    validate::Issue,
};
use identity::Purpose;
use records::{Caller, ResultSet, Search, Stored, Written};

type Answer = Result<Response, Fault>;

fn json(status: StatusCode, octets: Vec<u8>) -> Response {
    (status, [(header::CONTENT_TYPE, FHIR_JSON)], octets).into_response()
}

/// HTTP's form of a moment (RFC 9110 §5.6.7).
fn http_date(ms: i64) -> HeaderValue {
    use time::format_description::well_known::Rfc2822;
    let at = time::OffsetDateTime::from_unix_timestamp(ms.div_euclid(1_000)).ok();
    let text = at.and_then(|at| at.format(&Rfc2822).ok()).map(|text| text.replace("+0000", "GMT"));
    text.and_then(|text| HeaderValue::from_str(&text).ok())
        .unwrap_or_else(|| HeaderValue::from_static("Thu, 01 Jan 1970 00:00:00 GMT"))
}

fn resource(status: StatusCode, stored: Stored) -> Response {
    let mut response = json(status, stored.content.unwrap_or_default());
    let headers = response.headers_mut();
    if let Ok(tag) = HeaderValue::from_str(&format!("W/\"{}\"", stored.version)) {
        headers.insert(header::ETAG, tag);
    }
    headers.insert(header::LAST_MODIFIED, http_date(stored.updated_ms));
    response
}

/// The answer to a write: what `Prefer` wants, with `Location` and, when asked for, the height that made it final.
async fn written(app: &App, headers: &HeaderMap, written: Written) -> Answer {
    let prefer = prefer(headers);
    let height = if prefer.finalized { Some(app.records.flush().await?) } else { None };
    let Written { stored, created, notice } = written;
    let status = match (&notice, created, &stored.content) {
        (Some(_), _, _) => StatusCode::ACCEPTED,
        (None, true, _) => StatusCode::CREATED,
        (None, false, Some(_)) => StatusCode::OK,
        (None, false, None) => StatusCode::NO_CONTENT,
    };
    let base = app.records.fhir_base();
    let location = format!("{base}/{}/{}/_history/{}", stored.resource_type, stored.id, stored.version);
    let mut response = match notice {
        Some(notice) => {
            let issue = Issue { severity: "warning", ..Issue::error("incomplete", "", notice) };
            json(status, outcome(&[issue]).write())
        }
        None if prefer.outcome => {
            let issue = Issue { severity: "information", ..Issue::error("informational", "", "stored") };
            json(status, outcome(&[issue]).write())
        }
        None if prefer.minimal || stored.content.is_none() => {
            let mut response = resource(status, Stored { content: None, ..stored });
            response.headers_mut().remove(header::CONTENT_TYPE);
            response
        }
        None => resource(status, stored),
    };
    let headers = response.headers_mut();
    if let Ok(location) = HeaderValue::from_str(&location) {
        headers.insert(header::LOCATION, location);
    }
    if let Some(height) = height {
        headers.insert("suture-finalized", HeaderValue::from(height));
        headers.insert("preference-applied", HeaderValue::from_static("respond-finalized"));
    }
    Ok(response)
}

pub(crate) async fn read(
    State(app): State<App>,
    Who(who): Who,
    Asked(query): Asked,
    Path((of, id)): Path<(String, String)>,
) -> Answer {
    nothing_else(&query, &[], &["_summary", "_elements"])?;
    Ok(resource(StatusCode::OK, app.records.read(&who, &of, &id).await?))
}

pub(crate) async fn vread(
    State(app): State<App>,
    Who(who): Who,
    Asked(query): Asked,
    Path((of, id, number)): Path<(String, String, String)>,
) -> Answer {
    nothing_else(&query, &[], &["_summary", "_elements"])?;
    let version = version(&number)
        .ok_or_else(|| Fault::new(StatusCode::NOT_FOUND, "not-found", "versions are numbers from 1"))?;
    Ok(resource(StatusCode::OK, app.records.vread(&who, &of, &id, version).await?))
}

pub(crate) async fn history(
    State(app): State<App>,
    Who(who): Who,
    Asked(mut query): Asked,
    Path((of, id)): Path<(String, String)>,
    OriginalUri(uri): OriginalUri,
) -> Answer {
    let count = page_size(&mut query)?;
    let before = match take(&mut query, "_before") {
        Some(text) => Some(version(&text).ok_or_else(|| Fault::bad_request("_before must be a version's number"))?),
        None => None,
    };
    nothing_else(&query, &["_count", "_before"], &["_since", "_at", "_list"])?;
    let (found, next) = app.records.history(&who, &of, &id, before, count).await?;
    let base = app.records.fhir_base();
    let next = next.map(|v| format!("{base}/{of}/{id}/_history?_count={count}&_before={v}"));
    Ok(json(StatusCode::OK, bundle::history(base, &found, &self_url(&app, &uri), next)))
}

pub(crate) async fn create(
    State(app): State<App>,
    Who(who): Who,
    Asked(query): Asked,
    Path(of): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Answer {
    nothing_else(&query, &[], &[])?;
    let value = content(&headers, &body)?;
    let condition = headers.get("if-none-exist").map(|v| v.to_str()).transpose();
    let condition = condition.map_err(|_| Fault::bad_request("If-None-Exist must be a query"))?;
    let done = app.records.create(&who, &of, value, condition).await?;
    written(&app, &headers, done).await
}

pub(crate) async fn update(
    State(app): State<App>,
    Who(who): Who,
    Asked(query): Asked,
    Path((of, id)): Path<(String, String)>,
    headers: HeaderMap,
    body: Bytes,
) -> Answer {
    nothing_else(&query, &[], &[])?;
    let value = content(&headers, &body)?;
    let done = app.records.update(&who, &of, &id, value, if_match(&headers)?).await?;
    written(&app, &headers, done).await
}

pub(crate) async fn delete(
    State(app): State<App>,
    Who(who): Who,
    Asked(query): Asked,
    Path((of, id)): Path<(String, String)>,
    headers: HeaderMap,
) -> Answer {
    nothing_else(&query, &[], &[])?;
    let done = app.records.delete(&who, &of, &id, if_match(&headers)?).await?;
    written(&app, &headers, done).await
}

pub(crate) async fn transact(
    State(app): State<App>,
    Who(who): Who,
    Asked(query): Asked,
    headers: HeaderMap,
    body: Bytes,
) -> Answer {
    nothing_else(&query, &[], &[])?;
    let value = content(&headers, &body)?;
    let batch = value.text("type") == Some("batch");
    let valid = if batch { bundle::frame(&value) } else { fhir::validate::validate(&value, Some("Bundle")) };
    valid.map_err(records::Error::Invalid)?;
    let outcomes = app.records.bundle(&who, value).await?;
    let finalized = if prefer(&headers).finalized { Some(app.records.flush().await?) } else { None };
    let mut response = json(StatusCode::OK, bundle::outcomes(app.records.fhir_base(), batch, outcomes));
    if let Some(height) = finalized {
        response.headers_mut().insert("suture-finalized", HeaderValue::from(height));
    }
    Ok(response)
}

fn self_url(app: &App, uri: &axum::http::Uri) -> String {
    let path = uri.path_and_query().map_or("", |p| p.as_str());
    format!("{}{path}", app.web)
}

/// The address of the next page: the same query, from there on.
fn next_url(base: &str, path: &str, query: &[(String, String)], extra: &[(&str, String)]) -> String {
    let mut form = form_urlencoded::Serializer::new(String::new());
    form.extend_pairs(query);
    form.extend_pairs(extra.iter().map(|(n, v)| (*n, v.as_str())));
    format!("{base}/{path}?{}", form.finish())
}

pub(crate) async fn search(
    State(app): State<App>,
    Who(who): Who,
    Asked(query): Asked,
    Path(of): Path<String>,
    OriginalUri(uri): OriginalUri,
) -> Answer {
    search_by(&app, &who, &of, query, &self_url(&app, &uri)).await
}

pub(crate) async fn search_form(
    State(app): State<App>,
    Who(who): Who,
    Asked(mut query): Asked,
    Path(of): Path<String>,
    OriginalUri(uri): OriginalUri,
    headers: HeaderMap,
    body: Bytes,
) -> Answer {
    query.extend(form(&headers, &body)?);
    search_by(&app, &who, &of, query, &self_url(&app, &uri)).await
}

async fn search_by(app: &App, who: &Caller, of: &str, mut query: Vec<(String, String)>, self_url: &str) -> Answer {
    match take(&mut query, "scope").as_deref() {
        Some("network") if of == "AuditEvent" => return list(app, who, query, self_url).await,
        Some(_) => {
            return Err(Fault::bad_request(
                "scope=network is possible for AuditEvent and for Patient/<id>/$everything",
            ));
        }
        None => {}
    }
    let limit = count(&mut query)?;
    let after = take(&mut query, "_after");
    let search = Search { resource_type: of.into(), params: query.clone(), after, limit };
    let found = app.records.search(who, search).await?;
    let base = app.records.fhir_base();
    let next =
        found.next.clone().map(|after| next_url(base, of, &query, &[("_count", limit.to_string()), ("_after", after)]));
    Ok(json(StatusCode::OK, bundle::found(base, found, self_url, next)))
}

/// Who read a patient's record, at all members.
async fn list(app: &App, who: &Caller, mut query: Vec<(String, String)>, self_url: &str) -> Answer {
    let limit = page_size(&mut query)?;
    let (kept, offset) = kept(&mut query)?;
    let patient = take(&mut query, "patient")
        .ok_or_else(|| Fault::bad_request("patient is needed: AuditEvent?patient=<id>&scope=network"))?;
    nothing_else(&query, &["scope", "patient", "_count", "_result", "_offset"], &[])?;
    let patient = patient.strip_prefix("Patient/").unwrap_or(&patient).to_owned();
    let set = match kept {
        Some(id) => ResultSet { id },
        None => app.records.accesses(who, &patient).await?,
    };
    let answer = Paged { set, path: "AuditEvent", query: vec![("patient".into(), patient)], offset, limit, self_url };
    result(app, who, answer)
}

/// Which answer is paged, and from where: `_result` and `_offset`, as a `next` link has them.
fn kept(query: &mut Vec<(String, String)>) -> Result<(Option<String>, usize), Fault> {
    let (kept, offset) = (take(query, "_result"), take(query, "_offset"));
    if kept.is_none() && offset.is_some() {
        return Err(Fault::bad_request("_offset is a place in an answer that _result names: follow the `next` link"));
    }
    let offset = offset.map_or(Ok(0), |o| o.parse()).map_err(|_| Fault::bad_request("_offset must be a number"))?;
    Ok((kept, offset))
}

/// A page of an answer from all members: which answer, and what its address is made of.
struct Paged<'a> {
    set: ResultSet,
    path: &'a str,
    query: Vec<(String, String)>,
    offset: usize,
    limit: usize,
    self_url: &'a str,
}

/// A page of an answer from all members, with the way to its proof.
fn result(app: &App, who: &Caller, answer: Paged<'_>) -> Answer {
    let Paged { set, path, query, offset, limit, self_url } = answer;
    let page = app.records.result_page(who, &set.id, offset, limit)?;
    let extra = |offset: usize| {
        [
            ("scope", "network".to_owned()),
            ("_count", limit.to_string()),
            ("_result", set.id.clone()),
            ("_offset", offset.to_string()),
        ]
    };
    let next = page.next_offset.map(|offset| next_url(app.records.fhir_base(), path, &query, &extra(offset)));
    let proof = format!("{}/proofs/{}", app.web, page.proof);
    let mut response = json(StatusCode::OK, bundle::page(&page, self_url, next, &proof));
    if let Ok(link) = HeaderValue::from_str(&format!("<{proof}>; rel=\"proof\"")) {
        response.headers_mut().insert(header::LINK, link);
    }
    Ok(response)
}

pub(crate) async fn everything(
    State(app): State<App>,
    Who(who): Who,
    Asked(mut query): Asked,
    Path(id): Path<String>,
    OriginalUri(uri): OriginalUri,
    headers: HeaderMap,
) -> Answer {
    const LATER: [&str; 4] = ["_type", "_since", "start", "end"];
    let limit = page_size(&mut query)?;
    let path = format!("Patient/{id}/$everything");
    let self_url = self_url(&app, &uri);
    match take(&mut query, "scope").as_deref() {
        Some("network") => {
            let purpose = headers.get("purpose-of-use").map_or(Ok("TREAT"), |v| v.to_str()).unwrap_or_default();
            let purpose = Purpose::parse(purpose).map_err(|e| Fault::bad_request(format!("Purpose-Of-Use: {e}")))?;
            let (kept, offset) = kept(&mut query)?;
            nothing_else(&query, &["scope", "_count", "_result", "_offset"], &LATER)?;
            let set = match kept {
                Some(id) => ResultSet { id },
                None => app.records.everything_network(&who, &id, purpose).await?,
            };
            let answer = Paged { set, path: &path, query: Vec::new(), offset, limit, self_url: &self_url };
            result(&app, &who, answer)
        }
        Some(_) => Err(Fault::bad_request("scope is `network`, or left out for this member alone")),
        None => {
            let after = take(&mut query, "_after");
            nothing_else(&query, &["scope", "_count", "_after"], &LATER)?;
            let found = app.records.everything(&who, &id, after, limit).await?;
            let base = app.records.fhir_base();
            let next = found
                .next
                .clone()
                .map(|after| next_url(base, &path, &[], &[("_count", limit.to_string()), ("_after", after)]));
            Ok(json(StatusCode::OK, bundle::found(base, found, &self_url, next)))
        }
    }
}

pub(crate) async fn enrolment_code(
    State(app): State<App>,
    Who(who): Who,
    Asked(query): Asked,
    Path(id): Path<String>,
) -> Answer {
    nothing_else(&query, &[], &[])?;
    let code = app.records.enrolment_code(&who, &id).await?;
    let parameter = object([("name", "code".into()), ("valueString", code.into())]);
    let parameters = object([("resourceType", "Parameters".into()), ("parameter", Value::Array(vec![parameter]))]);
    Ok(json(StatusCode::OK, parameters.write()))
}

pub(crate) async fn enrol(
    State(app): State<App>,
    Who(who): Who,
    Asked(query): Asked,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Answer {
    nothing_else(&query, &[], &[])?;
    let parameters = if body.is_empty() { Value::Null } else { content(&headers, &body)? };
    let named = |name: &str| {
        let all = parameters.get("parameter").and_then(Value::as_array).unwrap_or_default();
        all.iter().find(|p| p.text("name") == Some(name)).and_then(|p| p.text("valueString"))
    };
    let holder = match (named("member"), named("code")) {
        (Some(member), Some(code)) => Some((member, code)),
        (None, None) => None,
        _ => return Err(Fault::bad_request("send both parameters, `member` and `code`, or none to enrol at home")),
    };
    app.records.enrol(&who, &id, holder).await?;
    let issue = Issue { severity: "information", ..Issue::error("informational", "", "enrolled") };
    Ok(json(StatusCode::OK, outcome(&[issue]).write()))
}

pub(crate) async fn unknown() -> Fault {
    Fault::of_status(StatusCode::NOT_FOUND)
}

pub(crate) async fn not_allowed() -> Fault {
    Fault::of_status(StatusCode::METHOD_NOT_ALLOWED)
}
