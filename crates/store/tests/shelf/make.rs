//! Short ways to fill a store in tests, and to ask it.

use store::{Backend as _, Commit, Filter, IndexEntry, IndexValue, Put, ResourceKey, Search, Sqlite, Test, Visible};

/// A store in a folder that goes when the test does.
pub struct Shelf {
    /// The store.
    pub store: Sqlite,
    /// Where it lies. Dropped last.
    _folder: tempfile::TempDir,
}

impl Shelf {
    /// An empty one.
    pub fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = Sqlite::open(&folder.path().join("suture.db")).unwrap();
        Self { store, _folder: folder }
    }

    /// Stores the first version of a resource with these index values.
    pub async fn put(&self, resource_type: &str, id: &str, index: Vec<IndexEntry>) {
        let put = Put { index, ..first(resource_type, id) };
        self.store.commit(Commit { puts: vec![put], ..Commit::default() }).await.unwrap();
    }

    /// Ids of type `T` for which all of these hold, for one who may see everything; the count must agree.
    pub async fn find(&self, filters: Vec<Filter>) -> Vec<String> {
        self.ids(&Search { filters, ..all("T") }).await
    }

    /// Ids that a search finds on its first page; the count must agree when that is all.
    pub async fn ids(&self, search: &Search) -> Vec<String> {
        let page = self.store.search(search).await.unwrap();
        let ids: Vec<String> = page.versions.into_iter().map(|v| v.key.id).collect();
        if page.next.is_none() && search.after.is_none() {
            assert_eq!(self.store.count(search).await.unwrap(), ids.len() as u64, "{search:?}");
        }
        ids
    }
}

pub fn key(resource_type: &str, id: &str) -> ResourceKey {
    ResourceKey { resource_type: resource_type.into(), id: id.into() }
}

/// The first version of a resource.
pub fn first(resource_type: &str, id: &str) -> Put {
    Put {
        key: key(resource_type, id),
        version: 1,
        expected: None,
        updated_ms: 1_000,
        content: Some(format!("{resource_type}/{id}").into_bytes()),
        index: Vec::new(),
        links: Vec::new(),
        patients: Vec::new(),
    }
}

/// The version after `before`.
pub fn next(before: &Put) -> Put {
    Put { version: before.version + 1, expected: Some(before.version), ..before.clone() }
}

/// A commit of these alone.
pub fn puts(puts: impl IntoIterator<Item = Put>) -> Commit {
    Commit { puts: puts.into_iter().collect(), ..Commit::default() }
}

/// A search of everything of a type.
pub fn all(resource_type: &str) -> Search {
    Search {
        resource_type: resource_type.into(),
        filters: Vec::new(),
        visible: Visible::All,
        after: None,
        limit: 1_000,
    }
}

pub fn entry(param: &str, value: IndexValue) -> IndexEntry {
    IndexEntry { param: param.into(), value }
}

/// One of these must hold.
pub fn any(param: &str, alternatives: impl IntoIterator<Item = Test>) -> Filter {
    Filter { param: param.into(), alternatives: alternatives.into_iter().collect() }
}
