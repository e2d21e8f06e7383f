//! Bundles: stored octets are spliced in as they are.

use records::{EntryOutcome, Error, Found, ResultPage, Stored};

use crate::fault::Fault;
use fhir::{
    json::{Value, object},
    outcome::outcome,
    validate::{Issue, validate},
};

/// A Bundle in the making.
pub(crate) struct Bundle {
    head: Value,
    entries: Vec<Vec<u8>>,
}

impl Bundle {
    pub(crate) fn new(kind: &str, total: Option<u64>) -> Self {
        let mut head = object([
            ("resourceType", "Bundle".into()),
            ("type", kind.into()),
            ("timestamp", fhir::instant(now_ms()).into()),
        ]);
        if let Some(total) = total {
            head.set("total", total.into());
        }
        Self { head, entries: Vec::new() }
    }

    pub(crate) fn link(&mut self, relation: &str, url: &str) {
        let link = object([("relation", relation.into()), ("url", url.into())]);
        match self.head.get_mut("link") {
            Some(Value::Array(links)) => links.push(link),
            _ => self.head.set("link", Value::Array(vec![link])),
        }
    }

    /// An entry whose other members stand in `rest`.
    pub(crate) fn entry(&mut self, full_url: Option<&str>, resource: Option<&[u8]>, rest: Value) {
        let mut head = object([]);
        if let Some(url) = full_url {
            head.set("fullUrl", url.into());
        }
        let mut entry = head.write();
        entry.pop();
        let mut add = |octets: &[u8]| {
            if entry.len() > 1 {
                entry.push(b',');
            }
            entry.extend_from_slice(octets);
        };
        if let Some(resource) = resource {
            let mut spliced = b"\"resource\":".to_vec();
            spliced.extend_from_slice(resource);
            add(&spliced);
        }
        let rest = rest.write();
        if rest.len() > 2 {
            add(&rest[1..rest.len() - 1]);
        }
        entry.push(b'}');
        self.entries.push(entry);
    }

    pub(crate) fn write(self) -> Vec<u8> {
        let mut octets = self.head.write();
        if !self.entries.is_empty() {
            octets.pop();
            octets.extend_from_slice(b",\"entry\":[");
            octets.extend_from_slice(&self.entries.join(&b','));
            octets.extend_from_slice(b"]}");
        }
        octets
    }
}

/// Checks the frame of a batch: the Bundle itself, and that each entry asks for something. What an entry holds is
/// judged when it is its turn, so that one that is wrong takes no other with it.
pub(crate) fn frame(batch: &Value) -> Result<(), Vec<Issue>> {
    const ISSUES_MAX: usize = 50;
    let head = match batch {
        Value::Object(members) => members.iter().filter(|(name, _)| name != "entry").cloned().collect(),
        _ => Vec::new(),
    };
    validate(&Value::Object(head), Some("Bundle"))?;
    let Some(entries) = batch.get("entry") else { return Ok(()) };
    let wrong = |place: String, what: &str| Issue::error("structure", place, what);
    let Some(entries) = entries.as_array().filter(|entries| !entries.is_empty()) else {
        return Err(vec![wrong("Bundle.entry".into(), "must be an array that is not empty")]);
    };
    let asks = |entry: &Value| matches!(entry.get("request"), Some(Value::Object(_)));
    let mute = entries.iter().enumerate().filter(|(_, entry)| !asks(entry));
    let issues: Vec<Issue> = mute
        .take(ISSUES_MAX)
        .map(|(at, _)| wrong(format!("Bundle.entry[{at}].request"), "is needed: method and url"))
        .collect();
    if issues.is_empty() { Ok(()) } else { Err(issues) }
}

/// The clock: milliseconds since 1970 UTC.
pub(crate) fn now_ms() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.map_or(0, |d| i64::try_from(d.as_millis()).unwrap_or(i64::MAX))
}

fn mode(mode: &str) -> Value {
    object([("search", object([("mode", mode.into())]))])
}

/// A page of resources of this member.
pub(crate) fn found(base: &str, found: Found, self_url: &str, next: Option<String>) -> Vec<u8> {
    let mut bundle = Bundle::new("searchset", found.total);
    bundle.link("self", self_url);
    if let Some(next) = next {
        bundle.link("next", &next);
    }
    for stored in &found.resources {
        let url = format!("{base}/{}/{}", stored.resource_type, stored.id);
        bundle.entry(Some(&url), stored.content.as_deref(), mode("match"));
    }
    bundle.write()
}

/// A page of an answer from all members.
pub(crate) fn page(page: &ResultPage, self_url: &str, next: Option<String>, proof: &str) -> Vec<u8> {
    let mut bundle = Bundle::new("searchset", Some(page.total as u64));
    bundle.link("self", self_url);
    if let Some(next) = next {
        bundle.link("next", &next);
    }
    bundle.link("proof", proof);
    for entry in &page.entries {
        bundle.entry(Some(&entry.full_url), Some(&entry.content), mode(entry.mode));
    }
    bundle.write()
}

/// Versions of a resource.
pub(crate) fn history(base: &str, versions: &[Stored], self_url: &str, next: Option<String>) -> Vec<u8> {
    let mut bundle = Bundle::new("history", None);
    bundle.link("self", self_url);
    if let Some(next) = next {
        bundle.link("next", &next);
    }
    for stored in versions {
        let name = format!("{}/{}", stored.resource_type, stored.id);
        let (method, status) = match (&stored.content, stored.version) {
            (None, _) => ("DELETE", "204"),
            (Some(_), 1) => ("POST", "201"),
            (Some(_), _) => ("PUT", "200"),
        };
        let url = if method == "POST" { stored.resource_type.clone() } else { name.clone() };
        let rest = object([
            ("request", object([("method", method.into()), ("url", url.into())])),
            (
                "response",
                object([
                    ("status", status.into()),
                    ("etag", format!("W/\"{}\"", stored.version).into()),
                    ("lastModified", fhir::instant(stored.updated_ms).into()),
                ]),
            ),
        ]);
        bundle.entry(Some(&format!("{base}/{name}")), stored.content.as_deref(), rest);
    }
    bundle.write()
}

/// What became of a transaction's or batch's entries.
pub(crate) fn outcomes(base: &str, batch: bool, outcomes: Vec<EntryOutcome>) -> Vec<u8> {
    let mut bundle = Bundle::new(if batch { "batch-response" } else { "transaction-response" }, None);
    for EntryOutcome { result } in outcomes {
        match result {
            Ok(written) => {
                let stored = written.stored;
                let name = format!("{}/{}", stored.resource_type, stored.id);
                let status = match (&stored.content, written.created) {
                    (None, _) => "204 No Content",
                    (Some(_), true) => "201 Created",
                    (Some(_), false) => "200 OK",
                };
                let response = object([
                    ("status", status.into()),
                    ("location", format!("{base}/{name}/_history/{}", stored.version).into()),
                    ("etag", format!("W/\"{}\"", stored.version).into()),
                    ("lastModified", fhir::instant(stored.updated_ms).into()),
                ]);
                let url = format!("{base}/{name}");
                bundle.entry(Some(&url), stored.content.as_deref(), object([("response", response)]));
            }
            Err(error) => bundle.entry(None, None, object([("response", failed(error))])),
        }
    }
    bundle.write()
}

fn failed(error: Error) -> Value {
    let fault = Fault::from(error);
    object([("status", fault.status.to_string().into()), ("outcome", outcome(&fault.issues))])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_frame_of_a_batch_is_checked_and_its_entries_are_not() {
        let places = |text: &str| {
            let value = fhir::json::parse(text.as_bytes(), fhir::json::Limits::default()).unwrap();
            let issues = frame(&value).err().unwrap_or_default();
            issues.into_iter().map(|issue| issue.expression).collect::<Vec<_>>()
        };
        let good = r#"{"request":{"method":"POST","url":"Patient"},"resource":{"resourceType":"Patient"}}"#;
        let odd = r#"{"request":{"method":"FETCH"},"resource":{"resourceType":"Patient","birthDate":"soon","x":[]}}"#;
        let batch = |entries: &str| format!(r#"{{"resourceType":"Bundle","type":"batch","entry":{entries}}}"#);
        let none: [&str; 0] = [];
        assert_eq!(places(r#"{"resourceType":"Bundle","type":"batch"}"#), none);
        assert_eq!(places(&batch(&format!("[{good},{odd}]"))), none);
        let mute = r#"[{"resource":{"resourceType":"Patient"}},3,{"request":"POST"}]"#;
        let at = |n: usize| format!("Bundle.entry[{n}].request");
        assert_eq!(places(&batch(mute)), [at(0), at(1), at(2)]);
        assert_eq!(places(&batch("[]")), ["Bundle.entry"]);
        assert_eq!(places(&batch("{}")), ["Bundle.entry"]);
        assert_eq!(places(r#"{"resourceType":"Patient","type":"batch"}"#), ["resourceType"]);
        assert_eq!(places(r#"{"type":"batch"}"#), ["resourceType"]);
        assert_eq!(places(r#"{"resourceType":"Bundle","type":"batch","entries":[]}"#), ["Bundle.entries"]);
        assert!(!places("[]").is_empty());
    }

    #[test]
    fn stored_octets_are_spliced_unchanged() {
        let mut bundle = Bundle::new("searchset", Some(1));
        bundle.entry(Some("http://x/Observation/1"), Some(br#"{"v":7.20}"#), mode("match"));
        bundle.entry(None, None, object([("response", object([("status", "204".into())]))]));
        let text = String::from_utf8(bundle.write()).unwrap();
        assert!(
            text.contains(r#"{"fullUrl":"http://x/Observation/1","resource":{"v":7.20},"search":{"mode":"match"}}"#),
            "{text}"
        );
        assert!(text.contains(r#"{"response":{"status":"204"}}"#), "{text}");
        fhir::json::parse(text.as_bytes(), fhir::json::Limits::default()).unwrap();
    }
}
