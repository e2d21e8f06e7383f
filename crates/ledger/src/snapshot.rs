//! The part of the state that a block's transactions read, and what they change.

use crate::{Key, Value};
use std::collections::BTreeMap;

/// Keys that a transaction may read: known from the transaction alone, so that they can be loaded before it runs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Reads {
    /// In `registry`.
    pub registry: Vec<Key>,
    /// In `strands`.
    pub strands: Vec<Key>,
}

/// What a transaction changes. `strands` only ever gains entries.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Effects {
    /// Puts in `registry`.
    pub registry: Vec<(Key, Value)>,
    /// Inserts in `strands`.
    pub strands: Vec<(Key, Value)>,
    /// Bodies for the side store, each named by [`wire::state::body_name`].
    pub bodies: Vec<Vec<u8>>,
}

/// Values, or their absence, of the keys that were loaded, with the effects of what ran since.
#[derive(Debug, Clone, Default)]
pub struct Snapshot {
    registry: BTreeMap<Key, Option<Value>>,
    strands: BTreeMap<Key, Option<Value>>,
}

impl Snapshot {
    /// Nothing loaded yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Loads a key of `registry`; what an earlier transaction wrote stays.
    pub fn insert_registry(&mut self, key: Key, value: Option<Value>) {
        self.registry.entry(key).or_insert(value);
    }

    /// Loads a key of `strands`; what an earlier transaction wrote stays.
    pub fn insert_strand(&mut self, key: Key, value: Option<Value>) {
        self.strands.entry(key).or_insert(value);
    }

    /// Whether the key of `registry` is loaded.
    #[must_use]
    pub fn contains_registry(&self, key: &Key) -> bool {
        self.registry.contains_key(key)
    }

    /// Whether the key of `strands` is loaded.
    #[must_use]
    pub fn contains_strand(&self, key: &Key) -> bool {
        self.strands.contains_key(key)
    }

    /// # Panics
    /// If the key was not loaded.
    pub(crate) fn registry(&self, key: &Key) -> Option<&Value> {
        self.registry.get(key).expect("every key of `reads` is loaded").as_ref()
    }

    /// # Panics
    /// If the key was not loaded.
    pub(crate) fn strand(&self, key: &Key) -> Option<&Value> {
        self.strands.get(key).expect("every key of `reads` is loaded").as_ref()
    }

    /// Writes effects, so that what runs next sees them.
    pub fn absorb(&mut self, effects: &Effects) {
        let Effects { registry, strands, bodies: _ } = effects;
        self.registry.extend(registry.iter().map(|(k, v)| (*k, Some(*v))));
        self.strands.extend(strands.iter().map(|(k, v)| (*k, Some(*v))));
    }
}
