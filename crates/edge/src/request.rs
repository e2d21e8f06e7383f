//! What requests have in common: who asks, in which form the content comes, what is preferred in the answer.

use crate::{App, fault::Fault};
use axum::{
    extract::FromRequestParts,
    http::{HeaderMap, StatusCode, Uri, header, request::Parts},
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

/// What the address asks for beside its path: the query, decoded, without `_format` and `_pretty`. An answer in another
/// form than JSON is refused here, and a query that is not UTF-8.
pub(crate) struct Asked(pub(crate) Vec<(String, String)>);

impl<S: Sync> FromRequestParts<S> for Asked {
    type Rejection = Fault;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Fault> {
        asked(&parts.uri, &parts.headers).map(Self)
    }
}

/// `_format` overrides `Accept` (http.html#parameters).
fn asked(uri: &Uri, headers: &HeaderMap) -> Result<Vec<(String, String)>, Fault> {
    let mut query = decoded(uri.query().unwrap_or_default())?;
    if !in_format(&mut query)? {
        accepts(headers)?;
    }
    Ok(query)
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
fn accepts(headers: &HeaderMap) -> Result<(), Fault> {
    let all: Vec<&str> = headers.get_all(header::ACCEPT).iter().filter_map(|v| v.to_str().ok()).collect();
    let refused = |parameter: &str| {
        let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
        name.trim().eq_ignore_ascii_case("q") && value.trim().parse() == Ok(0.0)
    };
    let takes = all.iter().flat_map(|accept| accept.split(',')).any(|one| {
        let mut parts = one.split(';').map(str::trim);
        let essence = parts.next().unwrap_or_default().to_ascii_lowercase();
        let known = JSON.contains(&essence.as_str()) || matches!(&*essence, "*/*" | "application/*" | "text/html" | "");
        known && !parts.any(refused)
    });
    if takes || all.is_empty() {
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
    let wishes: Vec<String> = all.flat_map(|v| v.split([',', ';'])).map(|w| w.replace(['"', ' '], "")).collect();
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
    let number = number.and_then(version);
    number.map(Some).ok_or_else(|| Fault::bad_request("If-Match must be W/\"<version>\""))
}

/// A version's number in an address or a tag: digits without a sign, from 1, without zeros in front.
pub(crate) fn version(text: &str) -> Option<u32> {
    let digits = text.bytes().all(|b| b.is_ascii_digit()) && !text.starts_with('0');
    if digits { text.parse().ok() } else { None }
}

/// Parameters of the form of a search.
pub(crate) fn form(headers: &HeaderMap, body: &[u8]) -> Result<Vec<(String, String)>, Fault> {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or_default();
    let essence = kind.split(';').next().unwrap_or_default().trim();
    if !body.is_empty() && !essence.eq_ignore_ascii_case("application/x-www-form-urlencoded") {
        let text = "send the parameters as application/x-www-form-urlencoded";
        return Err(Fault::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "not-supported", text));
    }
    let body = std::str::from_utf8(body).map_err(|_| Fault::bad_request("the form is not UTF-8"))?;
    let mut form = decoded(body)?;
    in_format(&mut form)?;
    Ok(form)
}

fn decoded(raw: &str) -> Result<Vec<(String, String)>, Fault> {
    // Form decoding would put replacement characters where the octets are not UTF-8.
    if percent_encoding::percent_decode_str(raw).decode_utf8().is_err() {
        return Err(Fault::bad_request("the parameters are not UTF-8 in percent-encoding"));
    }
    Ok(form_urlencoded::parse(raw.as_bytes()).into_owned().collect())
}

/// Takes `_format` and `_pretty` out; whether `_format` asks for JSON.
fn in_format(query: &mut Vec<(String, String)>) -> Result<bool, Fault> {
    take(query, "_pretty");
    match take(query, "_format").as_deref() {
        None | Some("") => Ok(false),
        // `+` comes as a space when it is not percent-encoded.
        Some(format) if format.eq_ignore_ascii_case("json") || is_json(&format.replace(' ', "+")) => Ok(true),
        Some(_) => Err(Fault::new(StatusCode::NOT_ACCEPTABLE, "not-supported", "_format must be json")),
    }
}

/// Refuses parameters that nobody took: what is ignored in silence is taken for granted. `later` are FHIR's own that
/// are not supported yet.
pub(crate) fn nothing_else(query: &[(String, String)], supported: &[&str], later: &[&str]) -> Result<(), Fault> {
    const TOLD_MAX: usize = 8;
    let mut names: Vec<&str> = query.iter().map(|(name, _)| name.as_str()).collect();
    names.sort_unstable();
    names.dedup();
    if names.is_empty() {
        return Ok(());
    }
    let told = names.iter().take(TOLD_MAX).map(|name| {
        let plain: String = name.chars().filter(|c| !c.is_control()).take(64).collect();
        format!("{plain}{}", if later.contains(name) { " (not supported yet)" } else { "" })
    });
    let told = told.collect::<Vec<_>>().join(", ");
    let supported = [supported, &["_format", "_pretty"]].concat().join(", ");
    Err(Fault::bad_request(format!("parameters that are not taken here: {told}; supported are {supported}")))
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

/// `_count` of what has no total to be asked for alone: 1 to 1,000, 50 when absent.
pub(crate) fn page_size(query: &mut Vec<(String, String)>) -> Result<usize, Fault> {
    match count(query)? {
        0 => Err(Fault::bad_request("_count is at least 1 here: only a search of this member can be counted alone")),
        size => Ok(size),
    }
}

/// `_count`, 0 to 1,000, 50 when absent.
pub(crate) fn count(query: &mut Vec<(String, String)>) -> Result<usize, Fault> {
    match take(query, "_count") {
        None => Ok(50),
        Some(text) => {
            let digits = Some(text).filter(|text| text.bytes().all(|b| b.is_ascii_digit()));
            let count: Option<usize> = digits.and_then(|text| text.parse().ok());
            Ok(count.ok_or_else(|| Fault::bad_request("_count must be a number from 0 to 1000"))?.min(1_000))
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
        assert!(!accept("application/json; Q=0.000") && accept("application/json;q=0, */*;q=0.1"));
        let mut headers = HeaderMap::new();
        assert!(accepts(&headers).is_ok());
        headers.append(header::ACCEPT, "text/xml".parse().unwrap());
        assert!(accepts(&headers).is_err());
        headers.append(header::ACCEPT, "*/*".parse().unwrap());
        assert!(accepts(&headers).is_ok());
    }

    fn pairs(raw: &str) -> Vec<(String, String)> {
        decoded(raw).ok().unwrap()
    }

    fn told(fault: Fault) -> (u16, String) {
        (fault.status.as_u16(), fault.issues[0].diagnostics.clone())
    }

    #[test]
    fn parameters_are_taken_or_refused_never_ignored() {
        let later = ["_type", "_since", "start", "end"];
        assert!(nothing_else(&[], &["_count"], &later).is_ok());
        let query = pairs("_type=Observation&colour=blue&_since=2020&colour=red&a%0ab=1");
        let (status, text) = told(nothing_else(&query, &["_count", "_after"], &later).err().unwrap());
        assert_eq!(status, 400);
        assert_eq!(
            text,
            "parameters that are not taken here: _since (not supported yet), _type (not supported yet), ab, colour; \
             supported are _count, _after, _format, _pretty"
        );
    }

    #[test]
    fn format_is_json_in_any_of_its_spellings_and_overrides_accept() {
        let asked = |query: &str, accept: &'static str| {
            let headers = [(header::ACCEPT, accept.parse().unwrap())].into_iter().collect();
            asked(&format!("/fhir/Patient?{query}").parse().unwrap(), &headers).map_err(told)
        };
        for good in ["json", "JSON", "application/json", "application/fhir%2Bjson", "application/fhir+json"] {
            assert!(asked(&format!("_format={good}"), "application/fhir+xml").is_ok(), "{good}");
        }
        for bad in ["xml", "application/fhir%2Bxml", "ttl", "html", "json,xml"] {
            assert_eq!(asked(&format!("_format={bad}"), "*/*").unwrap_err().0, 406, "{bad}");
        }
        assert_eq!(asked("", "application/fhir+xml").unwrap_err().0, 406);
        assert_eq!(asked("_format=", "application/fhir+xml").unwrap_err().0, 406);
        assert_eq!(asked("name=%ff", "*/*").unwrap_err().0, 400);
        assert_eq!(asked("_pretty=true&name=%C3%A4", "*/*").unwrap(), [("name".to_owned(), "\u{e4}".to_owned())]);
    }

    #[test]
    fn a_form_is_a_form() {
        let sent = |kind: &'static str, body: &[u8]| {
            let headers = [(header::CONTENT_TYPE, kind.parse().unwrap())].into_iter().collect();
            form(&headers, body).map_err(told)
        };
        let kind = "Application/X-WWW-Form-URLencoded; charset=UTF-8";
        assert_eq!(sent(kind, b"name=%C3%A4&_format=json").unwrap(), [("name".to_owned(), "\u{e4}".to_owned())]);
        assert_eq!(sent(kind, b"name=%ff").unwrap_err().0, 400);
        assert_eq!(sent(kind, b"name=\xff").unwrap_err().0, 400);
        assert_eq!(sent(kind, b"_format=xml").unwrap_err().0, 406);
        assert_eq!(sent("application/json", b"{}").unwrap_err().0, 415);
        assert!(sent("application/json", b"").is_ok());
    }

    #[test]
    fn a_page_has_at_least_one_entry() {
        assert_eq!(count(&mut pairs("_count=0")).ok(), Some(0));
        assert_eq!(page_size(&mut pairs("")).ok(), Some(50));
        assert_eq!(page_size(&mut pairs("_count=5000")).ok(), Some(1_000));
        for bad in ["0", "-1", "ten", "", "%2B5"] {
            let fault = page_size(&mut pairs(&format!("_count={bad}"))).err();
            assert_eq!(fault.map(|f| f.status.as_u16()), Some(400), "{bad}");
        }
    }

    #[test]
    fn versions_are_plain_digits() {
        assert_eq!((version("1"), version("4294967295")), (Some(1), Some(u32::MAX)));
        for bad in ["", "0", "01", "+1", "-1", " 1", "1 ", "1.0", "4294967296", "\u{661}"] {
            assert_eq!(version(bad), None, "{bad}");
        }
    }

    #[test]
    fn preferences_may_be_quoted() {
        let prefer =
            |text: &'static str| prefer(&[("prefer".parse().unwrap(), text.parse().unwrap())].into_iter().collect());
        let minimal = Prefer { minimal: true, outcome: false, finalized: false };
        for text in ["return=minimal", "return=\"minimal\"", "Return = minimal", "handling=strict, return=minimal; x=y"]
        {
            assert_eq!(prefer(text), minimal, "{text}");
        }
        let both = Prefer { minimal: false, outcome: true, finalized: true };
        assert_eq!(prefer("return=OperationOutcome, respond-finalized"), both);
        assert_eq!(prefer("return=representation"), Prefer { minimal: false, outcome: false, finalized: false });
    }
}
