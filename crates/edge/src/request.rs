//! What requests have in common: who asks, in which form the content comes, what is preferred in the answer.

use crate::{App, fault::Fault};
use axum::{
    extract::FromRequestParts,
    http::{HeaderMap, StatusCode, header, request::Parts},
};
use fhir::json::{Limits, Value, parse};
use records::{Caller, Denied, Error};

/// The person behind the bearer token, found before anything of the body is read.
pub(crate) struct Who(pub(crate) Caller);

impl FromRequestParts<App> for Who {
    type Rejection = Fault;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Fault> {
        caller(app, &parts.headers).await.map(Self)
    }
}

/// The person behind the bearer token.
async fn caller(app: &App, headers: &HeaderMap) -> Result<Caller, Fault> {
    let token = headers.get(header::AUTHORIZATION).and_then(|v| v.to_str().ok());
    let token = token.and_then(|v| v.split_once(' ')).filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"));
    let (_, token) = token.ok_or(Error::Denied(Denied::Unauthenticated))?;
    Ok(app.records.authenticate(token.trim()).await?)
}

/// The JSON of a request's body.
pub(crate) fn content(headers: &HeaderMap, body: &[u8]) -> Result<Value, Fault> {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or_default();
    if !is_json(kind) {
        let text = "send the content as application/fhir+json, in UTF-8";
        return Err(Fault::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "not-supported", text));
    }
    parse(body, Limits::default()).map_err(|e| Fault::new(StatusCode::BAD_REQUEST, "structure", e.to_string()))
}

/// The names of FHIR's JSON that are understood, the right one first.
const JSON: [&str; 3] = ["application/fhir+json", "application/json", "application/json+fhir"];

fn is_json(content_type: &str) -> bool {
    let mut parts = content_type.split(';').map(|part| part.trim().to_ascii_lowercase());
    let essence = parts.next().unwrap_or_default();
    let utf8 = |part: String| match part.split_once('=') {
        Some(("charset", charset)) => matches!(charset.trim_matches('"'), "utf-8" | "utf8"),
        _ => true,
    };
    JSON.contains(&essence.as_str()) && parts.all(utf8)
}

/// Refuses a request that does not take JSON.
pub(crate) fn accepts(headers: &HeaderMap) -> Result<(), Fault> {
    let Some(accept) = headers.get(header::ACCEPT).and_then(|v| v.to_str().ok()) else { return Ok(()) };
    let refused = |parameter: &str| {
        let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
        name.trim().eq_ignore_ascii_case("q") && value.trim().parse() == Ok(0.0)
    };
    let takes = accept.split(',').any(|one| {
        let mut parts = one.split(';').map(str::trim);
        let essence = parts.next().unwrap_or_default().to_ascii_lowercase();
        let known = JSON.contains(&essence.as_str()) || matches!(&*essence, "*/*" | "application/*" | "text/html" | "");
        known && !parts.any(refused)
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
    let wishes: Vec<String> = all.flat_map(|v| v.split([',', ';'])).map(|w| w.trim().replace('"', "")).collect();
    let wishes = |wish: &str| wishes.iter().any(|w| w.eq_ignore_ascii_case(wish));
    Prefer {
        minimal: wishes("return=minimal"),
        outcome: wishes("return=OperationOutcome"),
        finalized: wishes("respond-finalized"),
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

/// Query parameters, decoded; `_format` and `_pretty` are taken out.
pub(crate) fn query(raw: Option<&str>) -> Result<Vec<(String, String)>, Fault> {
    let raw = raw.unwrap_or_default();
    // Form decoding would put replacement characters where the octets are not UTF-8.
    if percent_encoding::percent_decode_str(raw).decode_utf8().is_err() {
        return Err(Fault::bad_request("the query is not UTF-8 in percent-encoding"));
    }
    let mut query = form_urlencoded::parse(raw.as_bytes()).into_owned().collect();
    take(&mut query, "_pretty");
    match take(&mut query, "_format") {
        Some(format) if format != "json" && !is_json(&format.replace(' ', "+")) => {
            Err(Fault::new(StatusCode::NOT_ACCEPTABLE, "not-supported", "_format must be json"))
        }
        _ => Ok(query),
    }
}

/// Refuses parameters that nobody took: what is ignored in silence is taken for granted.
pub(crate) fn nothing_else(query: &[(String, String)], known: &str) -> Result<(), Fault> {
    match query.first() {
        Some((name, _)) => {
            let name: String = name.chars().filter(|c| !c.is_control()).take(64).collect();
            Err(Fault::bad_request(format!("the parameter {name} is not supported here: {known} are")))
        }
        None => Ok(()),
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn media_types_are_compared_as_http_does() {
        for good in
            ["application/fhir+json", "APPLICATION/FHIR+JSON; charset=UTF-8", "application/json;charset=\"utf-8\""]
        {
            assert!(is_json(good), "{good}");
        }
        for bad in ["", "text/plain", "application/fhir+xml", "application/json; charset=latin1"] {
            assert!(!is_json(bad), "{bad}");
        }
        let accept = |text: &'static str| {
            let headers = [(header::ACCEPT, text.parse().unwrap())].into_iter().collect();
            accepts(&headers).is_ok()
        };
        assert!(accept("text/xml, application/FHIR+json;q=0.5") && accept("*/*"));
        assert!(!accept("application/json;q=0") && !accept("application/fhir+xml"));
    }

    #[test]
    fn parameters_are_taken_or_refused_never_ignored() {
        let query = query(Some("_format=application/fhir%2Bjson&_pretty=true&_type=Observation")).ok().unwrap();
        assert_eq!(query, [("_type".to_owned(), "Observation".to_owned())]);
        assert!(nothing_else(&query, "_count").is_err() && nothing_else(&[], "_count").is_ok());
        assert!(super::query(Some("_format=xml")).is_err() && super::query(Some("name=%ff")).is_err());
    }
}
