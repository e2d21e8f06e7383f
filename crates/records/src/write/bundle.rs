//! Transactions and batches: `urn:uuid:` and conditional references resolved, everything stored at once.

use super::{Made, Plan, Written};
use crate::{Caller, Error, Inner, Records, Stored, local::parse_condition};
use fhir::json::Value;
use identity::Action;
use std::collections::HashMap;
use store::ResourceKey;

/// A bundle has at most this many entries.
pub const ENTRIES_MAX: usize = 10_000;

/// What became of one entry.
#[derive(Debug)]
pub struct EntryOutcome {
    /// What was done.
    pub result: Result<Written, Error>,
}

struct Entry {
    resource_type: String,
    id: String,
    method: Method,
}

enum Method {
    Create(Value),
    Update(Value, Option<u32>),
    /// A conditional create that found what it looked for.
    Found(Stored),
    Delete,
}

impl Records {
    /// Runs a `transaction` (all or nothing) or a `batch` (each entry alone); entries in their order.
    ///
    /// # Errors
    /// For a transaction, the first thing that is wrong, its place named; nothing is stored then.
    pub async fn bundle(&self, who: &Caller, bundle: Value) -> Result<Vec<EntryOutcome>, Error> {
        let kind = bundle.get("type").and_then(Value::as_str).unwrap_or_default().to_owned();
        let entries = take_entries(bundle)?;
        match kind.as_str() {
            "transaction" => transaction(&self.0, who, entries).await,
            "batch" => {
                let mut outcomes = Vec::with_capacity(entries.len());
                for entry in entries {
                    let result = match transaction(&self.0, who, vec![entry]).await {
                        Ok(mut one) => one.remove(0).result,
                        Err(error) => Err(error),
                    };
                    outcomes.push(EntryOutcome { result });
                }
                Ok(outcomes)
            }
            _ => Err(Error::rule("Bundle.type", "a Bundle sent here is a `transaction` or a `batch`")),
        }
    }
}

fn take_entries(mut bundle: Value) -> Result<Vec<Value>, Error> {
    match bundle.remove("entry") {
        Some(Value::Array(entries)) if entries.len() <= ENTRIES_MAX => Ok(entries),
        Some(Value::Array(_)) => Err(Error::rule("Bundle.entry", "at most 10,000 entries are taken")),
        Some(_) => Err(Error::rule("Bundle.entry", "must be an array")),
        None => Ok(Vec::new()),
    }
}

async fn transaction(inner: &Inner, who: &Caller, entries: Vec<Value>) -> Result<Vec<EntryOutcome>, Error> {
    let _guard = inner.writing.lock().await;
    let mut names: HashMap<String, String> = HashMap::new();
    let mut steps = Vec::with_capacity(entries.len());
    for (at, entry) in entries.into_iter().enumerate() {
        let step = step(inner, who, at, entry, &mut names).await?;
        steps.push(step);
    }
    let mut conditions: HashMap<String, String> = HashMap::new();
    for step in &steps {
        if let Method::Create(resource) | Method::Update(resource, _) = &step.method {
            for reference in fhir::reference::references(resource) {
                if let fhir::reference::Target::Conditional { resource_type, query } = reference.target
                    && !conditions.contains_key(&reference.text)
                {
                    let found = inner.find(&resource_type, &parse_condition(&query)?, 2).await?;
                    let [only] = found.as_slice() else {
                        let reason =
                            format!("the condition must name exactly one {resource_type}, it names {}", found.len());
                        return Err(Error::rule(reference.path, reason));
                    };
                    conditions.insert(reference.text, format!("{resource_type}/{}", only.id));
                }
            }
        }
    }
    let mut plan = Plan::new(inner);
    let mut answers: Vec<Option<Stored>> = Vec::new();
    let mut created = Vec::new();
    let now = crate::now_ms() as i64;
    for step in steps {
        let Entry { resource_type, id, method } = step;
        let (resource, if_match) = match method {
            Method::Found(stored) => {
                answers.push(Some(stored));
                created.push(false);
                continue;
            }
            Method::Create(resource) => (Some(resource), None),
            Method::Update(resource, if_match) => (Some(resource), if_match),
            Method::Delete => (None, None),
        };
        let key = ResourceKey { resource_type: resource_type.clone(), id: id.clone() };
        let current = inner.store.current(&key).await.map_err(Error::internal("reading a resource"))?;
        let before = current.as_ref().map(|v| v.version);
        match (if_match, before) {
            (Some(_), None) => {
                return Err(Error::Precondition("ifMatch names a version, but there is none yet".into()));
            }
            (wanted, Some(version)) => super::check_version(wanted, version)?,
            (None, None) => {}
        }
        let version = before.unwrap_or(0) + 1;
        let made = match resource {
            Some(mut resource) => {
                fhir::reference::rewrite(&mut resource, |text| {
                    names.get(text).or_else(|| conditions.get(text)).cloned().or_else(|| inner.relative(text))
                });
                Made::new(&resource_type, &id, version, now, resource)
            }
            None if before.is_none() => return Err(Error::NotFound(format!("there is no {resource_type} to delete"))),
            None => Made::deleted(&resource_type, &id, version, now),
        };
        plan.add(made, before).await?;
        answers.push(None);
        created.push(current.is_none_or(|v| v.content.is_none()));
    }
    let mut stored = plan.commit(who, "transaction").await?.into_iter();
    let outcomes = answers.into_iter().zip(created).map(|(answer, created)| {
        let stored = answer.or_else(|| stored.next()).expect("a version for each entry that writes");
        EntryOutcome { result: Ok(Written { stored, created, notice: None }) }
    });
    Ok(outcomes.collect())
}

/// Reads one entry: its method, its resource and the id that it will have.
async fn step(
    inner: &Inner,
    who: &Caller,
    at: usize,
    mut entry: Value,
    names: &mut HashMap<String, String>,
) -> Result<Entry, Error> {
    let place = |element: &str| format!("Bundle.entry[{at}].{element}");
    let request = entry.remove("request");
    let text = |name: &str| request.as_ref().and_then(|r| r.get(name)).and_then(Value::as_str).map(str::to_owned);
    let (Some(method), Some(url)) = (text("method"), text("url")) else {
        return Err(Error::rule(place("request"), "method and url are needed"));
    };
    let (resource_type, id) = match url.split_once('/') {
        Some((resource_type, id)) => (resource_type.to_owned(), Some(id.to_owned())),
        None => (url.clone(), None),
    };
    if !fhir::schema::is_resource_type(&resource_type) {
        return Err(Error::rule(place("request.url"), "must be `Type` or `Type/id` of FHIR R4"));
    }
    if resource_type == "Consent" {
        return Err(Error::rule(place("request.url"), "a Consent is a grant: the patient posts it by itself"));
    }
    let full_url = entry.get("fullUrl").and_then(Value::as_str).map(str::to_owned);
    let resource = entry.remove("resource");
    let resource = match (method.as_str(), resource) {
        ("POST" | "PUT", Some(resource)) => {
            fhir::validate::validate(&resource, Some(&resource_type)).map_err(|issues| {
                let inside = |expression: &str| format!("{}.{expression}", place("resource"));
                Error::Invalid(issues.into_iter().map(|issue| issue.inside(inside)).collect())
            })?;
            inner.allow(who, &Action::Write { resource_type: &resource_type })?;
            Some(resource)
        }
        ("POST" | "PUT", None) => return Err(Error::rule(place("resource"), "is needed with this method")),
        ("DELETE", _) => {
            inner.allow(who, &Action::Delete { resource_type: &resource_type })?;
            None
        }
        _ => return Err(Error::rule(place("request.method"), "POST, PUT and DELETE are taken in a bundle")),
    };
    let (id, method) = match (method.as_str(), id, resource) {
        ("POST", None, Some(resource)) => {
            let found = match text("ifNoneExist") {
                Some(condition) => inner.matching(&resource_type, &condition).await?,
                None => None,
            };
            match found {
                Some(stored) => (stored.id.clone(), Method::Found(stored)),
                None => (uuid::Uuid::new_v4().to_string(), Method::Create(resource)),
            }
        }
        ("PUT", Some(id), Some(resource)) => {
            if resource.get("id").and_then(Value::as_str) != Some(&id) {
                return Err(Error::rule(place("resource.id"), "must be the id in request.url"));
            }
            let if_match = match text("ifMatch") {
                Some(tag) => Some(
                    parse_tag(&tag).ok_or_else(|| Error::rule(place("request.ifMatch"), "must be W/\"version\""))?,
                ),
                None => None,
            };
            (id, Method::Update(resource, if_match))
        }
        ("DELETE", Some(id), None) => (id, Method::Delete),
        _ => return Err(Error::rule(place("request.url"), "POST goes to `Type`, PUT and DELETE to `Type/id`")),
    };
    if let Some(full_url) = full_url {
        let name = format!("{resource_type}/{id}");
        if names.insert(full_url, name).is_some() {
            return Err(Error::rule(place("fullUrl"), "two entries have the same fullUrl"));
        }
    }
    Ok(Entry { resource_type, id, method })
}

fn parse_tag(tag: &str) -> Option<u32> {
    tag.strip_prefix("W/").unwrap_or(tag).trim_matches('"').parse().ok()
}
