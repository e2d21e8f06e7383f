//! Reads at the own member: by id, by version, by search, and everything of a patient. Each leaves an audit line.

use crate::{Caller, Error, Inner, Records, status::audit_line};
use identity::{Action, Role};
use store::{Cursor, Filter, IndexEntry, ResourceKey, Test, Version, Visible};

/// A version of a resource, as it is served.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored {
    /// Its type.
    pub resource_type: String,
    /// Its logical id.
    pub id: String,
    /// Its version, from 1.
    pub version: u32,
    /// When it was stored, milliseconds since 1970 UTC.
    pub updated_ms: i64,
    /// JSON, exactly as it is to be served; `None` when this version is a deletion.
    pub content: Option<Vec<u8>>,
}

impl From<Version> for Stored {
    fn from(version: Version) -> Self {
        let Version { key: ResourceKey { resource_type, id }, version, updated_ms, content } = version;
        Self { resource_type, id, version, updated_ms, content }
    }
}

/// A search of one type.
#[derive(Debug, Clone)]
pub struct Search {
    /// The type.
    pub resource_type: String,
    /// Search parameters as they came, without those that only shape the answer (`_count` and the like).
    pub params: Vec<(String, String)>,
    /// Where the page before ended.
    pub after: Option<String>,
    /// At most this many, 1 to 1,000; 0 only counts.
    pub limit: usize,
}

/// A page of what was found.
#[derive(Debug, Clone)]
pub struct Found {
    /// In a stable order.
    pub resources: Vec<Stored>,
    /// Where the next page begins, if there is one.
    pub next: Option<String>,
    /// How many there are in all, when that was counted.
    pub total: Option<u64>,
}

impl Records {
    /// The current version of a resource.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Gone`], [`Error::Denied`].
    pub async fn read(&self, who: &Caller, resource_type: &str, id: &str) -> Result<Stored, Error> {
        let inner = &self.0;
        inner.known_type(resource_type)?;
        inner.may_read(who, resource_type, id).await?;
        let current = inner.current(resource_type, id).await?;
        inner.audit(who, "read", resource_type, id).await?;
        if current.content.is_none() {
            return Err(Error::Gone);
        }
        Ok(current.into())
    }

    /// One version of a resource.
    ///
    /// # Errors
    /// As [`Records::read`].
    pub async fn vread(&self, who: &Caller, resource_type: &str, id: &str, version: u32) -> Result<Stored, Error> {
        let inner = &self.0;
        inner.known_type(resource_type)?;
        inner.may_read(who, resource_type, id).await?;
        let key = ResourceKey { resource_type: resource_type.into(), id: id.into() };
        let found = inner.store.version(&key, version).await.map_err(Error::internal("reading a version"))?;
        let found =
            found.ok_or_else(|| Error::NotFound(format!("there is no such version of this {resource_type}")))?;
        if !visible(who, &found)? {
            return Err(Error::NotFound(format!("there is no such version of this {resource_type}")));
        }
        inner.audit(who, "vread", resource_type, id).await?;
        if found.content.is_none() {
            return Err(Error::Gone);
        }
        Ok(found.into())
    }

    /// Versions of a resource below `before`, newest first, deletions included; and below which version to go on.
    ///
    /// # Errors
    /// As [`Records::read`].
    pub async fn history(
        &self,
        who: &Caller,
        resource_type: &str,
        id: &str,
        before: Option<u32>,
        limit: usize,
    ) -> Result<(Vec<Stored>, Option<u32>), Error> {
        let inner = &self.0;
        inner.known_type(resource_type)?;
        inner.may_read(who, resource_type, id).await?;
        inner.current(resource_type, id).await?;
        let key = ResourceKey { resource_type: resource_type.into(), id: id.into() };
        let found = inner.store.history(&key, before, limit).await.map_err(Error::internal("reading a history"))?;
        inner.audit(who, "history", resource_type, id).await?;
        let next = found.last().map(|v| v.version).filter(|v| found.len() == limit && *v > 1);
        let mut versions = Vec::new();
        for version in found {
            if visible(who, &version)? {
                versions.push(version.into());
            }
        }
        Ok((versions, next))
    }

    /// A page of a search. What the asker may not see is left out inside the query.
    ///
    /// # Errors
    /// [`Error::BadRequest`] for a parameter that is not known, [`Error::Denied`].
    pub async fn search(&self, who: &Caller, search: Search) -> Result<Found, Error> {
        let inner = &self.0;
        inner.known_type(&search.resource_type)?;
        let visible = match &who.person.role {
            Role::Patient { patient } => {
                Visible::Patient { id: patient.clone(), also_types: vec!["Organization".into()] }
            }
            Role::Operator | Role::Clinician => {
                inner.allow(who, &Action::Read { resource_type: &search.resource_type, patients: &[] })?;
                Visible::All
            }
        };
        let query = store::Search {
            resource_type: search.resource_type.clone(),
            filters: filters(&search.resource_type, &search.params)?,
            visible,
            after: search.after.as_deref().map(Cursor::parse).transpose().map_err(|_| {
                Error::BadRequest("the page's cursor is not one that this member gave: begin the search anew".into())
            })?,
            limit: search.limit,
        };
        let total = inner.store.count(&query).await.map_err(Error::internal("counting"))?;
        inner.audit(who, "search", &search.resource_type, "").await?;
        if search.limit == 0 {
            return Ok(Found { resources: Vec::new(), next: None, total: Some(total) });
        }
        let page = inner.store.search(&query).await.map_err(Error::internal("searching"))?;
        Ok(Found {
            resources: page.versions.into_iter().map(Stored::from).collect(),
            next: page.next.map(|cursor| cursor.to_string()),
            total: Some(total),
        })
    }

    /// A page of everything that belongs to a patient's record at this member.
    ///
    /// # Errors
    /// As [`Records::read`].
    pub async fn everything(
        &self,
        who: &Caller,
        patient: &str,
        after: Option<String>,
        limit: usize,
    ) -> Result<Found, Error> {
        let inner = &self.0;
        let owner = [patient.to_owned()];
        inner.allow(who, &Action::Read { resource_type: "Patient", patients: &owner })?;
        if inner.current("Patient", patient).await?.content.is_none() {
            return Err(Error::Gone);
        }
        let after = match after.as_deref().map(|a| a.split_once('/')) {
            Some(Some((resource_type, id))) => Some(ResourceKey { resource_type: resource_type.into(), id: id.into() }),
            Some(None) => return Err(Error::BadRequest("the page's cursor is not one that this member gave".into())),
            None => None,
        };
        let limit = limit.clamp(1, 1_000);
        let found = inner.store.members(patient, after, limit).await.map_err(Error::internal("reading a record"))?;
        inner.audit(who, "everything", "Patient", patient).await?;
        let next =
            (found.len() == limit).then(|| found.last().map(|v| format!("{}/{}", v.key.resource_type, v.key.id)));
        Ok(Found { resources: found.into_iter().map(Stored::from).collect(), next: next.flatten(), total: None })
    }
}

/// Whether a patient may see this version of what is in their record: not one that was another patient's.
fn visible(who: &Caller, version: &Version) -> Result<bool, Error> {
    let (Role::Patient { patient }, Some(content)) = (&who.person.role, &version.content) else { return Ok(true) };
    let patients = crate::write::in_compartments(content)?;
    Ok(patients.is_empty() || patients.contains(patient))
}

impl Inner {
    fn known_type(&self, resource_type: &str) -> Result<(), Error> {
        if fhir::schema::is_resource_type(resource_type) {
            Ok(())
        } else {
            Err(Error::NotFound("FHIR R4 has no resource type of this name".into()))
        }
    }

    /// What a patient may not see does not exist for them.
    async fn may_read(&self, who: &Caller, resource_type: &str, id: &str) -> Result<(), Error> {
        let key = ResourceKey { resource_type: resource_type.into(), id: id.into() };
        let patients = match who.person.role {
            Role::Patient { .. } => {
                self.store.patients_of(&key).await.map_err(Error::internal("reading memberships"))?
            }
            Role::Operator | Role::Clinician => Vec::new(),
        };
        Ok(self.allow(who, &Action::Read { resource_type, patients: &patients })?)
    }

    async fn audit(&self, who: &Caller, interaction: &str, resource_type: &str, id: &str) -> Result<(), Error> {
        let audit = vec![audit_line(who, interaction, resource_type, id)];
        let commit = store::Commit { audit, ..store::Commit::default() };
        self.store.commit(commit).await.map_err(Error::internal("writing the audit line"))
    }

    /// Resources that a condition names, for the member's own work.
    pub(crate) async fn find(
        &self,
        resource_type: &str,
        params: &[(String, String)],
        limit: usize,
    ) -> Result<Vec<Stored>, Error> {
        let filters = filters(resource_type, params)?;
        if filters.is_empty() {
            return Err(Error::Precondition("a condition needs at least one search parameter".into()));
        }
        let query =
            store::Search { resource_type: resource_type.into(), filters, visible: Visible::All, after: None, limit };
        let page = self.store.search(&query).await.map_err(Error::internal("searching"))?;
        Ok(page.versions.into_iter().map(Stored::from).collect())
    }
}

fn filters(resource_type: &str, params: &[(String, String)]) -> Result<Vec<Filter>, Error> {
    let parsed = fhir::search::parse_query(resource_type, params).map_err(|e| Error::BadRequest(e.to_string()))?;
    Ok(parsed.into_iter().map(filter).collect())
}

/// `name=value&…` of a condition, percent-decoded.
pub(crate) fn parse_condition(condition: &str) -> Result<Vec<(String, String)>, Error> {
    let condition = condition.split_once('?').map_or(condition, |(_, query)| query);
    condition
        .split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let decoded = |text: &str| {
                percent_decode(text).ok_or_else(|| Error::BadRequest("a condition is not percent-encoded UTF-8".into()))
            };
            Ok((decoded(name)?, decoded(value)?))
        })
        .collect()
}

fn percent_decode(text: &str) -> Option<String> {
    percent_encoding::percent_decode_str(&text.replace('+', " ")).decode_utf8().ok().map(Into::into)
}

/// A search value as the store keeps it.
pub(crate) fn index_entry(value: fhir::search::IndexValue) -> IndexEntry {
    use fhir::search::Indexed;
    use store::IndexValue;
    let indexed = match value.value {
        Indexed::Token { system, code } => IndexValue::Token { system, code },
        Indexed::String { text, normal } => IndexValue::String { text, normal },
        Indexed::Date { low_ms, high_ms } => IndexValue::Date { low_ms, high_ms },
        Indexed::Reference { target_type, target } => IndexValue::Reference { target_type, target },
        Indexed::Uri(uri) => IndexValue::Uri(uri),
        Indexed::Number { low, high, system, code } => IndexValue::Number { low, high, system, code },
    };
    IndexEntry { param: value.param.to_owned(), value: indexed }
}

fn filter(filter: fhir::search::Filter) -> Filter {
    use fhir::search::Wanted;
    use store::System;
    let test = |wanted| match wanted {
        Wanted::Token { system, code } => {
            let system = match system {
                None => System::Any,
                Some(None) => System::None,
                Some(Some(system)) => System::Is(system),
            };
            Test::Token { system, code }
        }
        Wanted::StringStarts(text) => Test::StringStarts(text),
        Wanted::StringExact(text) => Test::StringExact(text),
        Wanted::StringContains(text) => Test::StringContains(text),
        Wanted::Date { prefix: p, low_ms, high_ms } => Test::Date { prefix: prefix(p), low_ms, high_ms },
        Wanted::Reference { target_type, target } => Test::Reference { target_type, target },
        Wanted::Uri(uri) => Test::Uri(uri),
        Wanted::Number { prefix: p, low, high, system, code } => {
            Test::Number { prefix: prefix(p), low, high, system, code }
        }
        Wanted::Missing(missing) => Test::Missing(missing),
    };
    Filter { param: filter.param, alternatives: filter.alternatives.into_iter().map(test).collect() }
}

fn prefix(prefix: fhir::search::Prefix) -> store::Prefix {
    use fhir::search::Prefix as Asked;
    match prefix {
        Asked::Eq => store::Prefix::Eq,
        Asked::Ne => store::Prefix::Ne,
        Asked::Gt => store::Prefix::Gt,
        Asked::Lt => store::Prefix::Lt,
        Asked::Ge => store::Prefix::Ge,
        Asked::Le => store::Prefix::Le,
        Asked::Sa => store::Prefix::Sa,
        Asked::Eb => store::Prefix::Eb,
    }
}
