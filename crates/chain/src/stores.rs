//! What the engine's archives hand out is hashed again: a damaged block or certificate is *absent*, never a panic and
//! never served.

use crate::block::{Block, Scheme};
use commonware_consensus::{
    marshal::store::{Blocks, Certificates},
    simplex::types::Finalization,
    types::Height,
};
use commonware_cryptography::Digestible as _;
use commonware_runtime::Handle;
use commonware_storage::archive::Identifier;
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};
use wire::engine::Digest;

/// What could not be read, or did not hold: height (or `u64::MAX` when asked for by hash) and reason.
#[derive(Clone, Default)]
pub(crate) struct Damage(Arc<Mutex<BTreeMap<u64, String>>>);

impl Damage {
    fn note(&self, height: Option<u64>, reason: String) {
        tracing::error!(?height, %reason, "a stored block or certificate does not hold and is read as absent");
        self.0.lock().expect("no panic while held").insert(height.unwrap_or(u64::MAX), reason);
    }

    pub(crate) fn len(&self) -> usize {
        self.0.lock().expect("no panic while held").len()
    }
}

/// An archive whose answers are checked.
pub(crate) struct Checked<S> {
    inner: S,
    damage: Damage,
}

impl<S> Checked<S> {
    pub(crate) fn new(inner: S, damage: Damage) -> Self {
        Self { inner, damage }
    }
}

fn place(id: &Identifier<'_, Digest>) -> (Option<u64>, Option<Digest>) {
    match id {
        Identifier::Index(index) => (Some(*index), None),
        Identifier::Key(key) => (None, Some(**key)),
    }
}

impl<S: Blocks<Block = Arc<Block>>> Blocks for Checked<S> {
    type Block = Arc<Block>;
    type Error = S::Error;

    async fn put(self, digest: Digest, block: &Arc<Block>) -> Result<Self, S::Error> {
        let Self { inner, damage } = self;
        Ok(Self { inner: inner.put(digest, block).await?, damage })
    }
    async fn sync(self) -> Result<Self, S::Error> {
        let Self { inner, damage } = self;
        Ok(Self { inner: inner.sync().await?, damage })
    }
    async fn start_sync(self) -> Result<(Self, Handle<()>), S::Error> {
        let Self { inner, damage } = self;
        let (inner, handle) = inner.start_sync().await?;
        Ok((Self { inner, damage }, handle))
    }
    async fn get(&self, id: Identifier<'_, Digest>) -> Result<Option<Arc<Block>>, S::Error> {
        let (height, key) = place(&id);
        let reason = match self.inner.get(id).await {
            Ok(Some(block)) => match (key, height) {
                (Some(key), _) if block.digest() != key => "the block hashes to another digest".to_owned(),
                (_, Some(height)) if block.header.height.get() != height => "the block is of another height".to_owned(),
                _ => return Ok(Some(block)),
            },
            Ok(None) => return Ok(None),
            Err(error) => error.to_string(),
        };
        self.damage.note(height, reason);
        Ok(None)
    }
    async fn prune(self, min: Height) -> Result<Self, S::Error> {
        let Self { inner, damage } = self;
        Ok(Self { inner: inner.prune(min).await?, damage })
    }
    fn missing_items(&self, start: Height, max: usize) -> Vec<Height> {
        self.inner.missing_items(start, max)
    }
    fn next_gap(&self, value: Height) -> (Option<Height>, Option<Height>) {
        self.inner.next_gap(value)
    }
    fn last_index(&self) -> Option<Height> {
        self.inner.last_index()
    }
}

impl<S> Certificates for Checked<S>
where
    S: Certificates<BlockDigest = Digest, Commitment = Digest, Scheme = Scheme>,
{
    type BlockDigest = Digest;
    type Commitment = Digest;
    type Scheme = Scheme;
    type Error = S::Error;

    async fn put(
        self,
        height: Height,
        digest: Digest,
        finalization: &Finalization<Scheme, Digest>,
    ) -> Result<Self, S::Error> {
        let Self { inner, damage } = self;
        Ok(Self { inner: inner.put(height, digest, finalization).await?, damage })
    }
    async fn sync(self) -> Result<Self, S::Error> {
        let Self { inner, damage } = self;
        Ok(Self { inner: inner.sync().await?, damage })
    }
    async fn start_sync(self) -> Result<(Self, Handle<()>), S::Error> {
        let Self { inner, damage } = self;
        let (inner, handle) = inner.start_sync().await?;
        Ok((Self { inner, damage }, handle))
    }
    async fn get(&self, id: Identifier<'_, Digest>) -> Result<Option<Finalization<Scheme, Digest>>, S::Error> {
        let (height, key) = place(&id);
        let reason = match self.inner.get(id).await {
            Ok(Some(found)) if key.is_some_and(|key| found.proposal.payload != key) => {
                "the certificate finalizes another block".to_owned()
            }
            Ok(found) => return Ok(found),
            Err(error) => error.to_string(),
        };
        self.damage.note(height, reason);
        Ok(None)
    }
    async fn has(&self, height: Height) -> Result<bool, S::Error> {
        self.inner.has(height).await
    }
    async fn prune(self, min: Height) -> Result<Self, S::Error> {
        let Self { inner, damage } = self;
        Ok(Self { inner: inner.prune(min).await?, damage })
    }
    fn last_index(&self) -> Option<Height> {
        self.inner.last_index()
    }
    fn ranges_from(&self, from: Height) -> impl Iterator<Item = (Height, Height)> {
        self.inner.ranges_from(from)
    }
}
