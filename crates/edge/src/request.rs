//! What requests have in common: who asks, in which form the content comes, what is preferred in the answer.

use crate::{App, fault::Fault};
use axum::http::{HeaderMap, StatusCode, header};
use fhir::json::{Limits, Value, parse};
use records::{Caller, Denied, Error};

/// The person behind the bearer token.
pub(crate) async fn caller(app: &App, headers: &HeaderMap) -> Result<Caller, Fault> {
    let token = headers.get(header::AUTHORIZATION).and_then(|v| v.to_str().ok());
    let token = token.and_then(|v| v.split_once(' ')).filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"));
    let (_, token) = token.ok_or(Error::Denied(Denied::Unauthenticated))?;
    Ok(app.records.authenticate(token.trim()).await?)
}

/// The JSON of a request's body.
pub(crate) fn content(headers: &HeaderMap, body: &[u8]) -> Result<Value, Fault> {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or_default();
    let essence = kind.split(';').next().unwrap_or_default().trim();
    if !matches!(essence, "application/fhir+json" | "application/json" | "application/json+fhir") {
        let text = "send the content as application/fhir+json";
        return Err(Fault::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "not-supported", text));
    }
    parse(body, Limits::default()).map_err(|e| Fault::new(StatusCode::BAD_REQUEST, "structure", e.to_string()))
}

/// Refuses a request that does not take JSON.
pub(crate) fn accepts(headers: &HeaderMap) -> Result<(), Fault> {
    let Some(accept) = headers.get(header::ACCEPT).and_then(|v| v.to_str().ok()) else { return Ok(()) };
    let takes = accept.split(',').any(|one| {
        let one = one.split(';').next().unwrap_or_default().trim();
        matches!(
            one,
            "*/*"
                | "application/*"
                | "application/fhir+json"
                | "application/json"
                | "application/json+fhir"
                | "text/html"
                | ""
        )
    });
    if takes {
        return Ok(());
    }
    Err(Fault::new(StatusCode::NOT_ACCEPTABLE, "not-supported", "answers are given as application/fhir+json"))
}

/// What `Prefer` asks for (RFC 7240).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Prefer {
    pub(crate) minimal: bool,
    pub(crate) outcome: bool,
    pub(crate) finalized: bool,
}

pub(crate) fn prefer(headers: &HeaderMap) -> Prefer {
    let all = headers.get_all("prefer").iter().filter_map(|v| v.to_str().ok());
    let wishes: Vec<&str> = all.flat_map(|v| v.split([',', ';'])).map(str::trim).collect();
    Prefer {
        minimal: wishes.contains(&"return=minimal"),
        outcome: wishes.contains(&"return=OperationOutcome"),
        finalized: wishes.contains(&"respond-finalized"),
    }
}

/// The version in `If-Match: W/"3"`.
pub(crate) fn if_match(headers: &HeaderMap) -> Result<Option<u32>, Fault> {
    let Some(value) = headers.get(header::IF_MATCH) else { return Ok(None) };
    let text = value.to_str().unwrap_or_default().trim();
    let number = text.strip_prefix("W/").unwrap_or(text).strip_prefix('"').and_then(|t| t.strip_suffix('"'));
    let number = number.and_then(|n| n.parse().ok());
    number.map(Some).ok_or_else(|| Fault::bad_request("If-Match must be W/\"<version>\""))
}

/// Query parameters, decoded.
pub(crate) fn query(raw: Option<&str>) -> Vec<(String, String)> {
    form_urlencoded::parse(raw.unwrap_or_default().as_bytes()).into_owned().collect()
}

/// Takes the last value of a parameter out of the query.
pub(crate) fn take(query: &mut Vec<(String, String)>, name: &str) -> Option<String> {
    let mut found = None;
    query.retain(|(n, v)| {
        if n == name {
            found = Some(v.clone());
        }
        n != name
    });
    found
}

/// `_count`, 0 to 1,000, 50 when absent.
pub(crate) fn count(query: &mut Vec<(String, String)>) -> Result<usize, Fault> {
    match take(query, "_count") {
        None => Ok(50),
        Some(text) => {
            let count: usize =
                text.parse().map_err(|_| Fault::bad_request("_count must be a number from 0 to 1000"))?;
            Ok(count.min(1_000))
        }
    }
}
