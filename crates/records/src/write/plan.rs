//! What one database transaction will hold: versions, what they bring into patients' records, outbox rows.

use crate::{
    Caller, Denied, Error, Inner, Stored,
    found::MEMBER_SYSTEM,
    outbox::{LANE_RECORDS, StrandName, Work},
};
use fhir::{
    json::Value,
    reference::{Target, references},
};
use std::collections::{BTreeMap, BTreeSet};
use store::{Commit, CommitError, IndexEntry, NewOutbox, Put, ResourceKey};

/// A version about to be stored.
#[derive(Debug)]
pub(crate) struct Made {
    pub(crate) key: ResourceKey,
    pub(crate) version: u32,
    pub(crate) updated_ms: i64,
    /// `None` for a deletion.
    pub(crate) resource: Option<Value>,
}

impl Made {
    /// A version with the server's `id` and `meta` filled in.
    pub(crate) fn new(resource_type: &str, id: &str, version: u32, updated_ms: i64, mut resource: Value) -> Self {
        let mut meta = resource.get("meta").cloned().unwrap_or_else(|| Value::Object(Vec::new()));
        meta.set("versionId", version.to_string().into());
        meta.set("lastUpdated", fhir::instant(updated_ms).into());
        resource.remove("id");
        resource.remove("meta");
        resource.insert_after("resourceType", "id", id.into());
        resource.insert_after("id", "meta", meta);
        let key = ResourceKey { resource_type: resource_type.into(), id: id.into() };
        Self { key, version, updated_ms, resource: Some(resource) }
    }

    pub(crate) fn deleted(resource_type: &str, id: &str, version: u32, updated_ms: i64) -> Self {
        let key = ResourceKey { resource_type: resource_type.into(), id: id.into() };
        Self { key, version, updated_ms, resource: None }
    }

    /// The outbox's name for this version.
    pub(crate) fn work(&self) -> Work {
        let ResourceKey { resource_type, id } = self.key.clone();
        Work::Resource { resource_type, id, version: self.version }
    }

    fn patients(&self) -> Vec<String> {
        self.resource.as_ref().map(fhir::compartment::patients).unwrap_or_default()
    }

    fn targets(&self) -> Vec<ResourceKey> {
        self.resource.as_ref().map(targets).unwrap_or_default()
    }
}

/// Literal references to resources of this member.
fn targets(resource: &Value) -> Vec<ResourceKey> {
    let mut keys: Vec<ResourceKey> = references(resource)
        .into_iter()
        .filter_map(|reference| match reference.target {
            Target::Relative { resource_type, id, .. } => Some(ResourceKey { resource_type, id }),
            _ => None,
        })
        .collect();
    keys.sort();
    keys.dedup();
    keys
}

/// The version as the store takes it.
pub(crate) fn version_put(made: &Made, expected: Option<u32>, patients: Vec<String>) -> Put {
    let (index, content) = match &made.resource {
        Some(resource) => {
            (fhir::search::index(resource).into_iter().map(index_entry).collect(), Some(resource.write()))
        }
        None => (Vec::new(), None),
    };
    Put {
        key: made.key.clone(),
        version: made.version,
        expected,
        updated_ms: made.updated_ms,
        content,
        index,
        links: made.targets(),
        patients,
    }
}

fn index_entry(value: fhir::search::IndexValue) -> IndexEntry {
    crate::local::index_entry(value)
}

impl Inner {
    /// The Organizations of members are the network's: nobody changes them, and no other may pass for one. A grant
    /// names its grantee by them.
    fn keep_members(&self, made: &Made) -> Result<(), Error> {
        if made.key.resource_type != "Organization" {
            return Ok(());
        }
        let members = &self.config.genesis.members;
        if members.iter().any(|member| member.name == made.key.id) {
            let reason = "this Organization stands for a member of the network and is not changed here";
            return Err(Denied::Role(reason.into()).into());
        }
        let Some(resource) = &made.resource else { return Ok(()) };
        let identifiers = resource.get("identifier").and_then(Value::as_array).unwrap_or_default();
        if identifiers.iter().any(|i| i.text("system") == Some(MEMBER_SYSTEM)) {
            return Err(Error::rule("Organization.identifier", "this system is kept for members of the network"));
        }
        if members.iter().any(|member| resource.text("name") == Some(&member.title)) {
            let reason = "this is a member's title, and a member has exactly one Organization: refer to that one";
            return Err(Error::rule("Organization.name", reason));
        }
        Ok(())
    }
}

/// A database transaction in the making. The caller holds `writing`.
pub(crate) struct Plan<'a> {
    inner: &'a Inner,
    made: BTreeMap<ResourceKey, (Made, Option<u32>)>,
    order: Vec<ResourceKey>,
    /// To whose records each resource belongs that was looked at.
    belongs: BTreeMap<ResourceKey, BTreeSet<String>>,
    /// What this transaction adds to that.
    joins: BTreeSet<(String, ResourceKey)>,
    /// And what it takes out: the new version is another patient's, or nobody's.
    leaves: BTreeSet<(String, ResourceKey)>,
    /// References and current version of stored resources that were looked at; `None` when there is no such resource.
    stored: BTreeMap<ResourceKey, Option<Neighbour>>,
}

#[derive(Clone)]
struct Neighbour {
    version: u32,
    targets: Vec<ResourceKey>,
    /// In whose compartments it is itself.
    patients: Vec<String>,
}

impl<'a> Plan<'a> {
    pub(crate) fn new(inner: &'a Inner) -> Self {
        Self {
            inner,
            made: BTreeMap::new(),
            order: Vec::new(),
            belongs: BTreeMap::new(),
            joins: BTreeSet::new(),
            leaves: BTreeSet::new(),
            stored: BTreeMap::new(),
        }
    }

    /// Adds a version that follows `expected`.
    pub(crate) async fn add(&mut self, made: Made, expected: Option<u32>) -> Result<(), Error> {
        let key = made.key.clone();
        self.inner.keep_members(&made)?;
        if self.made.contains_key(&key) {
            return Err(Error::rule("Bundle.entry", "two entries write the same resource"));
        }
        self.order.push(key.clone());
        self.made.insert(key, (made, expected));
        Ok(())
    }

    /// Works out memberships and rows, and stores everything at once. Gives the versions in the order they were added.
    pub(crate) async fn commit(self, who: &Caller, interaction: &str) -> Result<Vec<Stored>, Error> {
        self.commit_with(who, interaction, Commit::default()).await
    }

    /// The same, with more to store in the same database transaction.
    pub(crate) async fn commit_with(
        mut self,
        who: &Caller,
        interaction: &str,
        mut commit: Commit,
    ) -> Result<Vec<Stored>, Error> {
        self.join().await?;
        let mut rows: BTreeMap<(StrandName, ResourceKey), NewOutbox> = BTreeMap::new();
        let mut row = |strand: StrandName, key: &ResourceKey, version: u32| {
            let ResourceKey { resource_type, id } = key.clone();
            let work = Work::Resource { resource_type, id, version };
            rows.insert((strand.clone(), key.clone()), work.row(LANE_RECORDS, &strand));
        };
        for (key, (made, _)) in &self.made {
            let patients = self.belongs.get(key);
            for patient in patients.into_iter().flatten() {
                row(StrandName::records(patient), key, made.version);
            }
            if patients.is_none_or(BTreeSet::is_empty) {
                row(StrandName::own(), key, made.version);
            }
        }
        for (patient, key) in &self.joins {
            let stored = self.stored.get(key).and_then(Option::as_ref);
            if !self.made.contains_key(key)
                && let Some(neighbour) = stored
            {
                row(StrandName::records(patient), key, neighbour.version);
            }
        }
        commit.outbox.extend(rows.into_values());
        for (patient, key) in &self.leaves {
            let ResourceKey { resource_type, id } = key.clone();
            let work = Work::Removed { resource_type, id, version: self.made[key].0.version };
            commit.outbox.push(work.row(LANE_RECORDS, &StrandName::records(patient)));
        }
        commit.leaves.extend(self.leaves.iter().cloned());
        commit.memberships.extend(self.joins.iter().cloned());
        let mut answer = Vec::new();
        let mut lines = Vec::new();
        for key in &self.order {
            let (made, expected) = &self.made[key];
            let patients = self.belongs.get(key).into_iter().flatten().cloned().collect();
            let put = version_put(made, *expected, patients);
            answer.push(Stored {
                resource_type: key.resource_type.clone(),
                id: key.id.clone(),
                version: made.version,
                updated_ms: made.updated_ms,
                content: put.content.clone(),
            });
            lines.push(crate::status::audit_line(who, interaction, &key.resource_type, &key.id));
            commit.puts.push(put);
        }
        commit.audit.extend(lines);
        match self.inner.store.commit(commit).await {
            Ok(()) => Ok(answer),
            Err(CommitError::Conflict { .. }) => {
                Err(Error::Conflict("it was changed by somebody else at the same moment: read it and try again".into()))
            }
            Err(other) => Err(other).map_err(Error::internal("storing a write")),
        }
    }

    /// To whose records each written resource belongs, and what comes into them with it.
    async fn join(&mut self) -> Result<(), Error> {
        let keys = self.order.clone();
        for key in &keys {
            let mut patients: BTreeSet<String> = self.made[key].0.patients().into_iter().collect();
            if self.made[key].1.is_some() {
                let known = self.patients_of(key).await?;
                let left = self.left(key, &patients, &known).await?;
                patients.extend(known.difference(&left).cloned());
                self.belongs.insert(key.clone(), patients.clone());
                self.leaves.extend(left.into_iter().map(|patient| (patient, key.clone())));
            } else if patients.is_empty() {
                // Something may have referred to it before it was there.
                let referrers = self.inner.store.referrers(key, REFERRERS_MAX).await;
                for referrer in referrers.map_err(Error::internal("following references"))? {
                    patients.extend(self.patients_of(&referrer).await?);
                }
            }
            for patient in patients {
                self.enter(&patient, key).await?;
            }
        }
        Ok(())
    }

    /// Whose record a resource leaves with its new version: those in whose compartment it was and is no longer, and,
    /// when it is in somebody's compartment now, all others.
    async fn left(
        &self,
        key: &ResourceKey,
        now: &BTreeSet<String>,
        known: &BTreeSet<String>,
    ) -> Result<BTreeSet<String>, Error> {
        if self.made[key].0.resource.is_none() {
            return Ok(BTreeSet::new());
        }
        if !now.is_empty() {
            return Ok(known.difference(now).cloned().collect());
        }
        let before = self.inner.store.current(key).await.map_err(Error::internal("reading a resource"))?;
        let before = before.and_then(|version| version.content).map(|content| in_compartments(&content));
        Ok(before.transpose()?.unwrap_or_default().into_iter().filter(|patient| known.contains(patient)).collect())
    }

    /// Brings a resource, and what it refers to, into a patient's record.
    async fn enter(&mut self, patient: &str, key: &ResourceKey) -> Result<(), Error> {
        let mut open = vec![key.clone()];
        while let Some(key) = open.pop() {
            let known = self.patients_of(&key).await?.contains(patient);
            let written = self.made.contains_key(&key);
            let join = (patient.to_owned(), key.clone());
            if (known && !written) || self.joins.contains(&join) {
                continue;
            }
            let Some(neighbour) = self.neighbour(&key).await? else { continue };
            let others = !neighbour.patients.is_empty() && !neighbour.patients.iter().any(|p| p == patient);
            if others {
                continue;
            }
            self.joins.insert(join);
            self.belongs.entry(key).or_default().insert(patient.to_owned());
            open.extend(neighbour.targets);
        }
        Ok(())
    }

    async fn patients_of(&mut self, key: &ResourceKey) -> Result<BTreeSet<String>, Error> {
        if let Some(known) = self.belongs.get(key) {
            return Ok(known.clone());
        }
        let found = self.inner.store.patients_of(key).await.map_err(Error::internal("reading memberships"))?;
        let found: BTreeSet<String> = found.into_iter().collect();
        self.belongs.insert(key.clone(), found.clone());
        Ok(found)
    }

    /// What is written in this transaction, else what is stored.
    async fn neighbour(&mut self, key: &ResourceKey) -> Result<Option<Neighbour>, Error> {
        if let Some((made, _)) = self.made.get(key) {
            return Ok(Some(Neighbour { version: made.version, targets: made.targets(), patients: made.patients() }));
        }
        if let Some(known) = self.stored.get(key) {
            return Ok(known.clone());
        }
        let found = self.inner.store.current(key).await.map_err(Error::internal("reading a resource"))?;
        let neighbour = match found.and_then(|v| v.content.map(|content| (v.version, content))) {
            None => None,
            Some((version, content)) => {
                let value = fhir::json::parse(&content, fhir::json::Limits::default())
                    .map_err(Error::internal("reading a stored resource"))?;
                let patients = fhir::compartment::patients(&value);
                Some(Neighbour { version, targets: targets(&value), patients })
            }
        };
        self.stored.insert(key.clone(), neighbour.clone());
        Ok(neighbour)
    }
}

/// In whose compartments a stored resource is.
pub(crate) fn in_compartments(content: &[u8]) -> Result<Vec<String>, Error> {
    let value = fhir::json::parse(content, fhir::json::Limits::default())
        .map_err(Error::internal("reading a stored resource"))?;
    Ok(fhir::compartment::patients(&value))
}

/// How many resources that referred to one before it was there are looked at.
const REFERRERS_MAX: usize = 1_000;
