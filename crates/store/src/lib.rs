//! What does this member hold, and how is it found?
//!
//! Resources with all versions, the search index, which resources belong to which patient's record, the outbox, the
//! audit lines and the member's own documents. It knows nothing of the chain, HTTP, keys, or what a resource means:
//! index values are handed in. [`Backend`] is the seam: domain-level, without SQLite's habits, so that PostgreSQL can
//! follow; [`Sqlite`] is the implementation for one site.

mod schema;
mod search;
mod sqlite;

pub use search::{
    BadCursor, Cursor, Filter, IndexEntry, IndexValue, Prefix, Search, SearchPage, System, Test, Visible,
};
pub use sqlite::Sqlite;

use std::{future::Future, pin::Pin};

/// What a [`Backend`] answers with.
pub type Answer<'a, T, E = StoreError> = Pin<Box<dyn Future<Output = Result<T, E>> + Send + 'a>>;

/// The type and logical id of a resource.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ResourceKey {
    /// Its type.
    pub resource_type: String,
    /// Its logical id.
    pub id: String,
}

/// A version of a resource.
#[derive(Clone, PartialEq, Eq)]
pub struct Version {
    /// Which resource.
    pub key: ResourceKey,
    /// From 1.
    pub version: u32,
    /// When it was stored, milliseconds since 1970 UTC.
    pub updated_ms: i64,
    /// Its octets; `None` for a deletion.
    pub content: Option<Vec<u8>>,
}

impl std::fmt::Debug for Version {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Version({} v{})", self.key.resource_type, self.version)
    }
}

/// A version to be stored.
#[derive(Clone)]
pub struct Put {
    /// Which resource.
    pub key: ResourceKey,
    /// The version that this is.
    pub version: u32,
    /// The version that must be current before; `None`: there must never have been one.
    pub expected: Option<u32>,
    /// When, milliseconds since 1970 UTC.
    pub updated_ms: i64,
    /// Its octets; `None` deletes.
    pub content: Option<Vec<u8>>,
    /// By what it is found.
    pub index: Vec<IndexEntry>,
    /// Resources of this member that it refers to.
    pub links: Vec<ResourceKey>,
    /// Patients to whose records it belongs.
    pub patients: Vec<String>,
}

impl std::fmt::Debug for Put {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Put({} v{})", self.key.resource_type, self.version)
    }
}

/// A row for the worker that comes after.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewOutbox {
    /// Which lane.
    pub lane: u8,
    /// For which strand; opaque here.
    pub strand: Vec<u8>,
    /// What; opaque here.
    pub payload: Vec<u8>,
}

/// A row of the outbox.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutboxRow {
    /// Rises with each row.
    pub seq: i64,
    /// For which strand.
    pub strand: Vec<u8>,
    /// What.
    pub payload: Vec<u8>,
}

/// What a document must be before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Expect {
    /// Anything or nothing.
    Any,
    /// Nothing.
    Absent,
    /// This.
    Value(Vec<u8>),
}

/// A document to be stored or removed.
#[derive(Clone)]
pub struct DocumentPut {
    /// Its kind.
    pub space: String,
    /// Its key.
    pub key: Vec<u8>,
    /// Its octets; `None` removes it.
    pub value: Option<Vec<u8>>,
    /// What must be there before.
    pub expected: Expect,
}

impl std::fmt::Debug for DocumentPut {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "DocumentPut({})", self.space)
    }
}

/// Everything that one database transaction does.
#[derive(Debug, Clone, Default)]
pub struct Commit {
    /// Versions.
    pub puts: Vec<Put>,
    /// Patient and resource: the resource belongs to the patient's record from now on.
    pub memberships: Vec<(String, ResourceKey)>,
    /// Patient and resource: the resource does not belong to the patient's record any more.
    pub leaves: Vec<(String, ResourceKey)>,
    /// Rows for the outbox.
    pub outbox: Vec<NewOutbox>,
    /// Rows that are done.
    pub outbox_done: Vec<i64>,
    /// Documents.
    pub documents: Vec<DocumentPut>,
    /// Audit lines.
    pub audit: Vec<Vec<u8>>,
}

/// Why nothing was committed.
#[derive(Debug, thiserror::Error)]
pub enum CommitError {
    /// Something was not as expected; nothing was changed.
    #[error("{which} was not as expected")]
    Conflict {
        /// What: a resource type or a document's space, never an id.
        which: String,
    },
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Why the store did not answer.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The database failed.
    #[error("the database failed: {0}")]
    Database(#[from] rusqlite::Error),
    /// The database was written by a newer program.
    #[error("the database has schema {found}, this program knows {known}: use the newer program")]
    Newer {
        /// Found.
        found: i64,
        /// Known.
        known: i64,
    },
    /// The store is closed.
    #[error("the store is closed")]
    Closed,
}

/// A key and octets of each document found.
pub type KeyedDocuments = Vec<(Vec<u8>, Vec<u8>)>;

/// What every store can do.
pub trait Backend: Send + Sync {
    /// Commits all or nothing; durable when it answers.
    fn commit(&self, commit: Commit) -> Answer<'_, (), CommitError>;
    /// The current version, deleted or not.
    fn current(&self, key: &ResourceKey) -> Answer<'_, Option<Version>>;
    /// One version.
    fn version(&self, key: &ResourceKey, version: u32) -> Answer<'_, Option<Version>>;
    /// Versions below `before`, newest first.
    fn history(&self, key: &ResourceKey, before: Option<u32>, limit: usize) -> Answer<'_, Vec<Version>>;
    /// Current, not deleted, in a patient's record, by type and id.
    fn members(&self, patient: &str, after: Option<ResourceKey>, limit: usize) -> Answer<'_, Vec<Version>>;
    /// To whose records a resource belongs.
    fn patients_of(&self, key: &ResourceKey) -> Answer<'_, Vec<String>>;
    /// Which resources refer to this one.
    fn referrers(&self, key: &ResourceKey, limit: usize) -> Answer<'_, Vec<ResourceKey>>;
    /// A page of a search, by id.
    fn search(&self, search: &Search) -> Answer<'_, SearchPage>;
    /// How many a search finds in all.
    fn count(&self, search: &Search) -> Answer<'_, u64>;
    /// The oldest rows of a lane.
    fn outbox(&self, lane: u8, limit: usize) -> Answer<'_, Vec<OutboxRow>>;
    /// The highest number of a row that is or ever was in the outbox, zero before the first.
    fn outbox_newest(&self) -> Answer<'_, i64>;
    /// How many rows a lane has.
    fn outbox_len(&self, lane: u8) -> Answer<'_, u64>;
    /// A document.
    fn document(&self, space: &str, key: &[u8]) -> Answer<'_, Option<Vec<u8>>>;
    /// Documents whose keys begin with `prefix`, by key.
    fn documents(&self, space: &str, prefix: &[u8], after: Option<Vec<u8>>, limit: usize)
    -> Answer<'_, KeyedDocuments>;
    /// How many audit lines there are.
    fn audit_len(&self) -> Answer<'_, u64>;
}
