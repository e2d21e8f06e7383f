//! A write: validate → decide → one database transaction with resource, version, index, memberships, audit line and
//! outbox rows → answer. Sealing and anchoring come later, from the outbox.
//!
//! A resource belongs to a patient's record when it is in the patient's compartment, or when what belongs refers to
//! it, transitively; never when it is in another patient's compartment only. Each version of what belongs is entered
//! in that patient's strand; what belongs to nobody, in the member's own.

mod bundle;
mod plan;

pub use bundle::EntryOutcome;
pub(crate) use plan::{Made, Plan, in_compartments, version_put};

use crate::{Caller, Error, Inner, Records, Stored, grants, local::parse_condition};
use fhir::json::Value;
use identity::Action;
use store::{ResourceKey, Version};

/// What a write did.
#[derive(Debug)]
pub struct Written {
    /// The version that is current now.
    pub stored: Stored,
    /// Whether the resource is new.
    pub created: bool,
    /// What the writer should know, for instance that a grant is stored but not final yet.
    pub notice: Option<String>,
}

impl Records {
    /// Creates a resource; with `if_none_exist`, only when the search finds none.
    ///
    /// # Errors
    /// [`Error`] with what is wrong; nothing is stored then.
    pub async fn create(
        &self,
        who: &Caller,
        resource_type: &str,
        mut resource: Value,
        if_none_exist: Option<&str>,
    ) -> Result<Written, Error> {
        let inner = &self.0;
        inner.make_relative(&mut resource);
        inner.checked(resource_type, &resource)?;
        if resource_type == "Consent" {
            return grants::create(inner, who, resource).await;
        }
        inner.allow(who, &Action::Write { resource_type })?;
        let _guard = inner.writing.lock().await;
        if let Some(condition) = if_none_exist
            && let Some(found) = inner.matching(resource_type, condition).await?
        {
            return Ok(Written { stored: found, created: false, notice: None });
        }
        inner.put_new(who, resource_type, &uuid::Uuid::new_v4().to_string(), resource).await
    }

    /// Updates a resource, or creates it under this id. `if_match` is the version that must be current.
    ///
    /// # Errors
    /// [`Error`] with what is wrong; nothing is stored then.
    pub async fn update(
        &self,
        who: &Caller,
        resource_type: &str,
        id: &str,
        mut resource: Value,
        if_match: Option<u32>,
    ) -> Result<Written, Error> {
        let inner = &self.0;
        inner.make_relative(&mut resource);
        inner.checked(resource_type, &resource)?;
        match resource.get("id").and_then(Value::as_str) {
            Some(own) if own == id => {}
            _ => return Err(Error::BadRequest(format!("{resource_type}.id must be the id in the address"))),
        }
        if resource_type == "Consent" {
            return grants::update(inner, who, id, resource, if_match).await;
        }
        inner.allow(who, &Action::Write { resource_type })?;
        let _guard = inner.writing.lock().await;
        inner.put(who, resource_type, id, resource, if_match).await
    }

    /// Deletes a resource; its versions stay in its history.
    ///
    /// # Errors
    /// [`Error`] with what is wrong; nothing is changed then.
    pub async fn delete(
        &self,
        who: &Caller,
        resource_type: &str,
        id: &str,
        if_match: Option<u32>,
    ) -> Result<Written, Error> {
        let inner = &self.0;
        inner.allow(who, &Action::Delete { resource_type })?;
        if resource_type == "Consent" {
            return Err(Error::BadRequest("a Consent is not deleted: revoke it by PUT with status `inactive`".into()));
        }
        let _guard = inner.writing.lock().await;
        let current = inner.current(resource_type, id).await?;
        if current.content.is_none() {
            return Err(Error::Gone);
        }
        check_version(if_match, current.version)?;
        let mut plan = Plan::new(inner);
        let made = Made::deleted(resource_type, id, current.version + 1, crate::now_ms() as i64);
        plan.add(made, Some(current.version)).await?;
        let mut written = plan.commit(who, "delete").await?;
        Ok(Written { stored: written.remove(0), created: false, notice: None })
    }
}

impl Inner {
    /// References to this server in their absolute form become relative ones (references.html#literal), so that a
    /// resource belongs to whom it refers.
    pub(crate) fn make_relative(&self, resource: &mut Value) {
        fhir::reference::rewrite(resource, |text| self.relative(text));
    }

    pub(crate) fn relative(&self, text: &str) -> Option<String> {
        text.strip_prefix(&self.config.fhir_base)?.strip_prefix('/').map(str::to_owned)
    }

    /// Type, structure, size: what needs no decision.
    pub(crate) fn checked(&self, resource_type: &str, resource: &Value) -> Result<(), Error> {
        fhir::validate::validate(resource, Some(resource_type)).map_err(Error::Invalid)
    }

    /// The one resource that a condition names, if there is one.
    pub(crate) async fn matching(&self, resource_type: &str, condition: &str) -> Result<Option<Stored>, Error> {
        let found = self.find(resource_type, &parse_condition(condition)?, 2).await?;
        match found.len() {
            0 => Ok(None),
            1 => Ok(found.into_iter().next()),
            _ => Err(Error::Precondition("the condition names several resources, it must name one at most".into())),
        }
    }

    /// The current version, deleted or not.
    pub(crate) async fn current(&self, resource_type: &str, id: &str) -> Result<Version, Error> {
        let key = ResourceKey { resource_type: resource_type.into(), id: id.into() };
        let found = self.store.current(&key).await.map_err(Error::internal("reading a resource"))?;
        found.ok_or_else(|| Error::NotFound(format!("there is no {resource_type} with this id at this member")))
    }

    /// Stores a first version. The caller holds `writing`.
    pub(crate) async fn put_new(
        &self,
        who: &Caller,
        resource_type: &str,
        id: &str,
        resource: Value,
    ) -> Result<Written, Error> {
        let mut plan = Plan::new(self);
        plan.add(Made::new(resource_type, id, 1, crate::now_ms() as i64, resource), None).await?;
        let mut written = plan.commit(who, "create").await?;
        Ok(Written { stored: written.remove(0), created: true, notice: None })
    }

    /// Stores the next version, or the first. The caller holds `writing`.
    pub(crate) async fn put(
        &self,
        who: &Caller,
        resource_type: &str,
        id: &str,
        resource: Value,
        if_match: Option<u32>,
    ) -> Result<Written, Error> {
        let key = ResourceKey { resource_type: resource_type.into(), id: id.into() };
        let current = self.store.current(&key).await.map_err(Error::internal("reading a resource"))?;
        let before = current.as_ref().map(|v| v.version);
        match (if_match, before) {
            (Some(_), None) => {
                return Err(Error::Precondition("If-Match names a version, but there is none yet".into()));
            }
            (wanted, Some(version)) => check_version(wanted, version)?,
            (None, None) => {}
        }
        let mut plan = Plan::new(self);
        let version = before.unwrap_or(0) + 1;
        plan.add(Made::new(resource_type, id, version, crate::now_ms() as i64, resource), before).await?;
        let mut written = plan.commit(who, "update").await?;
        let created = current.is_none_or(|v| v.content.is_none());
        Ok(Written { stored: written.remove(0), created, notice: None })
    }
}

pub(crate) fn check_version(wanted: Option<u32>, current: u32) -> Result<(), Error> {
    match wanted {
        Some(wanted) if wanted != current => Err(Error::Precondition(format!(
            "If-Match names version {wanted}, but version {current} is current: read it, merge, and try again"
        ))),
        _ => Ok(()),
    }
}
