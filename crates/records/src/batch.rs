//! The worker behind the outbox: it seals what was written, replicates it and enters it on the ledger.
//!
//! One batch at a time: rows → pages, sealed records in packs, manifest lines, one transaction → **one database
//! transaction fixes all of it** → packs and manifests to other members against receipts → the ledger → done. A crash
//! before the fix leaves a pack that nobody refers to; after it, the same batch goes on with the same entries, so
//! nothing is entered twice.
// INVARIANT: only this worker allots indexes in strands and sequence numbers of batches.

use crate::{
    Error, Inner,
    documents::{BatchDoc, NameDoc, PageDoc, StrandDoc, TotalsDoc, put, put_new, remove, space},
    outbox::{LANE_ACCESS, LANE_RECORDS, StrandName, Work},
    replicate,
};
use chain::SubmitError;
use ledger::{
    Action, Rejection, Transaction,
    anchor::{ACCESS_BUCKET, ENTRIES_MAX, Enter, Lane, Tagged},
};
use std::{
    collections::BTreeMap,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};
use store::{Commit, DocumentPut, OutboxRow};
use wire::{
    Format as _, Hash,
    keys::Secret,
    message::{
        ReleasedPage, ReleasedRecord,
        manifest::{Line, SealedPage},
    },
    seal::seal_once,
    strand::{
        Class, LEAVES_MAX, LeafSecret, OpenedPage, Opening, PageKind, StrandKey, StrandKind, entry_key, plain_hash,
        sealed_hash,
    },
};

/// A batch takes at most this many rows.
const ROWS_MAX: usize = 2_048;
/// And at most this many octets of records in clear.
const OCTETS_MAX: usize = 24 << 20;
/// Leave room for the manifest's own entries.
const PAGES_MAX: usize = ENTRIES_MAX - 24;
/// A page of items has at most this many, so that its manifest line stays short.
const ITEMS_MAX: usize = 8;
/// A pack is closed when it has reached this size.
const PACK_OCTETS: usize = 4 << 20;
/// Latencies kept for the figures.
const LATENCIES: usize = 1_024;

/// Runs until `stop` says so.
pub(crate) async fn run(inner: Arc<Inner>, mut stop: tokio::sync::watch::Receiver<bool>) {
    let interval = Duration::from_secs(u64::from(inner.config.genesis.parameters.interval_s));
    let mut tick = tokio::time::interval(interval);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut backoff = Duration::from_millis(100);
    loop {
        let ticked = tokio::select! {
            _ = stop.wait_for(|stopped| *stopped) => return,
            _ = tick.tick() => true,
            () = inner.work.notified() => false,
        };
        let done = tokio::select! {
            _ = stop.wait_for(|stopped| *stopped) => return,
            done = drain(&inner, ticked) => done,
        };
        match done {
            Ok(()) => backoff = Duration::from_millis(100),
            Err(error) => {
                tracing::warn!(%error, source = ?std::error::Error::source(&error).map(ToString::to_string), "a batch waits");
                inner.note_trouble(Some(error.to_string()));
                tokio::select! {
                    _ = stop.wait_for(|stopped| *stopped) => return,
                    () = tokio::time::sleep(backoff) => {}
                }
                backoff = (backoff * 2).min(Duration::from_secs(10));
                inner.work.notify_one();
            }
        }
    }
}

/// Finishes the fixed batch, if there is one, then takes all rows of accesses, and rows of records up to the wanted
/// one: what is written later waits for the next interval, so that batches do not tell how busy a member is.
async fn drain(inner: &Inner, ticked: bool) -> Result<(), Error> {
    if ticked {
        inner.want(inner.outbox_newest().await?);
    }
    if let Some(batch) = inner.documents.load::<BatchDoc>(space::BATCH, b"current").await? {
        finish(inner, batch).await?;
    }
    loop {
        let mut rows = inner.outbox(LANE_ACCESS, ROWS_MAX).await?;
        let wanted = inner.wanted.load(Ordering::SeqCst);
        let mut records = inner.outbox(LANE_RECORDS, ROWS_MAX - rows.len().min(ROWS_MAX - 1)).await?;
        records.retain(|row| row.seq <= wanted);
        let lane = if records.is_empty() { Lane::Access } else { Lane::Records };
        rows.extend(records);
        if rows.is_empty() {
            inner.note_trouble(None);
            return Ok(());
        }
        let batch = fix(inner, rows, lane).await?;
        finish(inner, batch).await?;
    }
}

/// What a row comes to.
enum Prepared {
    Record { plain: Vec<u8>, category: String, month: String },
    Item(Vec<u8>),
}

/// Builds a batch from the oldest rows that fit and fixes it.
async fn fix(inner: &Inner, rows: Vec<OutboxRow>, lane: Lane) -> Result<BatchDoc, Error> {
    let mut by_strand: BTreeMap<StrandName, Vec<Prepared>> = BTreeMap::new();
    let (mut taken, mut octets) = (Vec::new(), 0);
    for row in rows {
        let name = StrandName::from_octets(&row.strand)
            .ok_or("an outbox row names no strand")
            .map_err(Error::internal("reading the outbox"))?;
        let work = Work::from_octets(&row.payload).map_err(Error::internal("reading the outbox"))?;
        // At most: a page for each 8 rows, the rest of one, and two openings.
        let reserved: usize = by_strand.values().map(|works| works.len() / ITEMS_MAX + 4).sum();
        if reserved + 4 > PAGES_MAX || octets > OCTETS_MAX {
            break;
        }
        let strand = by_strand.entry(name).or_default();
        match work {
            Work::Item { payload } => strand.push(Prepared::Item(payload)),
            Work::Open => {}
            Work::Resource { .. } | Work::Removed { .. } | Work::Document { .. } => {
                if let Some((plain, category, month)) = inner.plain(&work).await? {
                    octets += plain.len();
                    strand.push(Prepared::Record { plain, category, month });
                }
            }
        }
        taken.push(row.seq);
    }
    let mut build = Build::new(inner);
    for (name, works) in by_strand {
        build.strand(name, works).await?;
    }
    build.fix(lane, taken).await
}

struct Build<'a> {
    inner: &'a Inner,
    documents: Vec<DocumentPut>,
    strands: BTreeMap<StrandName, StrandDoc>,
    entries: Vec<Tagged>,
    witness: Option<Hash>,
    /// Lines for strands that began in this batch.
    openings: Vec<Line>,
    /// Strand, index and content of each page.
    made: Vec<(Hash, u64, ReleasedPage)>,
    pack: Vec<u8>,
    packs: Vec<Hash>,
    records: u32,
}

impl<'a> Build<'a> {
    fn new(inner: &'a Inner) -> Self {
        Self {
            inner,
            documents: Vec::new(),
            strands: BTreeMap::new(),
            entries: Vec::new(),
            witness: None,
            openings: Vec::new(),
            made: Vec::new(),
            pack: Vec::new(),
            packs: Vec::new(),
            records: 0,
        }
    }

    /// The pages of one strand.
    async fn strand(&mut self, name: StrandName, works: Vec<Prepared>) -> Result<(), Error> {
        self.open(&name).await?;
        if name.kind == StrandKind::Records {
            // The two begin together, so that an enrolment finds both.
            self.open(&StrandName::accesses(&name.owner)).await?;
        }
        let (mut records, mut items) = (Vec::new(), Vec::new());
        for work in works {
            match work {
                Prepared::Item(payload) => items.push(payload),
                Prepared::Record { plain, category, month } => {
                    records.push(self.seal(&plain, category, month).await?);
                }
            }
        }
        for page in records.chunks(LEAVES_MAX) {
            self.records += page.len() as u32;
            self.page(&name, ReleasedPage::Records(page.to_vec()));
        }
        for page in items.chunks(ITEMS_MAX) {
            let page = OpenedPage::items(PageKind::Items, page.iter().cloned());
            self.page(&name, ReleasedPage::Items(page));
        }
        Ok(())
    }

    /// Loads the strand, or begins it with its opening.
    async fn open(&mut self, name: &StrandName) -> Result<(), Error> {
        if self.strands.contains_key(name) {
            return Ok(());
        }
        if let Some(strand) = self.inner.strand(name).await? {
            self.strands.insert(name.clone(), strand);
            return Ok(());
        }
        let key = match name.kind {
            StrandKind::Manifest => self.inner.config.seed.manifest(),
            _ => StrandKey::generate(),
        };
        let me = self.inner.config.me;
        let entry = entry_key(me, &key.tag(0));
        let subject = if name.owner.is_empty() { [0; 32] } else { wire::random() };
        let opening = Opening { subject, member: me, kind: name.kind, class: Class::General, continues: None };
        self.openings.push(Line::Strand { entry, kind: name.kind, key: key.clone(), owner: name.owner.clone() });
        self.documents.push(put_new(space::STRAND_OF, &name.to_octets(), &NameDoc(entry.to_vec())));
        let strand = StrandDoc { kind: name.kind, key, owner: name.owner.clone(), entry, next: 0 };
        self.strands.insert(name.clone(), strand);
        self.page(name, ReleasedPage::Items(OpenedPage::items(PageKind::Opening, [opening.to_octets()])));
        Ok(())
    }

    /// Seals one record into the open pack. Until its pack has a name, the record carries the pack's number.
    async fn seal(&mut self, plain: &[u8], category: String, month: String) -> Result<ReleasedRecord, Error> {
        let (secret, key) = (LeafSecret::generate(), Secret::generate());
        let sealed = seal_once(&key, RECORD_CONTEXT, plain);
        if !self.pack.is_empty() && self.pack.len() + sealed.len() > PACK_OCTETS {
            self.close_pack().await?;
        }
        let mut pack = [0; 32];
        pack[..8].copy_from_slice(&(self.packs.len() as u64).to_be_bytes());
        let record = ReleasedRecord {
            secret,
            key,
            plain: plain_hash(plain),
            sealed: sealed_hash(&sealed),
            pack,
            offset: self.pack.len() as u32,
            length: sealed.len() as u32,
            category,
            month,
        };
        self.pack.extend_from_slice(&sealed);
        Ok(record)
    }

    /// Pads the open pack and puts it into the vault.
    async fn close_pack(&mut self) -> Result<(), Error> {
        if self.pack.is_empty() {
            return Ok(());
        }
        let mut pack = std::mem::take(&mut self.pack);
        pack.resize(padded(pack.len()), 0);
        let id = self.inner.vault.put(self.inner.config.me, pack).await.map_err(Error::internal("storing a pack"))?;
        self.packs.push(id.0);
        Ok(())
    }

    /// The next page of a strand.
    fn page(&mut self, name: &StrandName, page: ReleasedPage) {
        let strand = self.strands.get_mut(name).expect("the strand was opened");
        let tag = strand.key.tag(strand.next);
        let place = entry_key(self.inner.config.me, &tag);
        self.entries.push(Tagged { tag, commitment: page.opened().commitment(&place) });
        self.witness.get_or_insert(place);
        self.made.push((strand.entry, strand.next, page));
        strand.next += 1;
    }

    /// The manifest's pages over all that was made; sealed and in the vault before they are referred to.
    async fn manifest(&mut self) -> Result<Vec<Hash>, Error> {
        let name = StrandName { kind: StrandKind::Manifest, owner: String::new() };
        let made = std::mem::take(&mut self.made);
        let mut lines = Vec::new();
        for (strand, page, content) in &made {
            match content {
                ReleasedPage::Items(opened) => {
                    lines.push(Line::Items { strand: *strand, page: *page, opened: opened.clone() });
                }
                ReleasedPage::Records(records) => lines.extend(records.iter().enumerate().map(|(leaf, record)| {
                    Line::Record { strand: *strand, page: *page, leaf: leaf as u16, record: record.clone() }
                })),
            }
        }
        self.open(&name).await?;
        lines.splice(0..0, std::mem::take(&mut self.openings));
        let (mut names, me) = (Vec::new(), self.inner.config.me);
        for lines in lines.chunks(LEAVES_MAX) {
            let strand = &self.strands[&name];
            let at = strand.key.name(strand.next);
            let page = OpenedPage::items(PageKind::Items, lines.iter().map(wire::Format::to_octets));
            let sealed = SealedPage::seal(&self.inner.kek, &at, &page).to_octets();
            self.inner.vault.put_named(me, at, sealed).await.map_err(Error::internal("storing a manifest page"))?;
            names.push(at);
            self.page(&name, ReleasedPage::Items(page));
        }
        // The manifest's own pages are found by their names; they need no document and no line.
        self.made = made;
        Ok(names)
    }

    /// Gives each record the name of its pack.
    fn name_packs(&mut self) {
        for (_, _, page) in &mut self.made {
            if let ReleasedPage::Records(records) = page {
                for record in records {
                    let number = u64::from_be_bytes(record.pack[..8].try_into().expect("8 octets"));
                    record.pack = self.packs[number as usize];
                }
            }
        }
    }

    /// One database transaction: indexes, pages, keys, the signed transaction; the rows leave the outbox.
    async fn fix(mut self, lane: Lane, taken: Vec<i64>) -> Result<BatchDoc, Error> {
        self.close_pack().await?;
        self.name_packs();
        let manifests = self.manifest().await?;
        let inner = self.inner;
        let pages = self.entries.len() as u32;
        let bucket = match lane {
            Lane::Records => inner.config.genesis.parameters.bucket as usize,
            Lane::Access => ACCESS_BUCKET,
        };
        let enter = Action::Enter(Enter::padded(lane, self.entries, bucket));
        let transaction = inner.sign(enter);
        let batch = BatchDoc {
            transaction: transaction.encode(),
            packs: self.packs,
            manifests,
            witness: self.witness.expect("a batch has a manifest page at least"),
            pages,
            records: self.records,
            began_ms: crate::now_ms(),
        };
        let mut documents = self.documents;
        documents.extend(self.strands.values().map(|strand| put(space::STRAND, &strand.entry, strand)));
        for (strand, index, page) in self.made {
            documents.push(put_new(space::PAGE, &page_key(&strand, index), &PageDoc { page }));
        }
        documents.push(put_new(space::BATCH, b"current", &batch));
        let commit = Commit { documents, outbox_done: taken, ..Commit::default() };
        inner.store.commit(commit).await.map_err(Error::internal("fixing a batch"))?;
        Ok(batch)
    }
}

/// What a sealed record is bound to.
pub(crate) const RECORD_CONTEXT: &[u8] = b"record";

/// Where a page's document lies: its strand, then its index.
pub(crate) fn page_key(strand: &Hash, index: u64) -> Vec<u8> {
    [strand.as_slice(), &index.to_be_bytes()].concat()
}

/// Few sizes: powers of two from 4 KiB to 256 KiB, then multiples of 256 KiB.
fn padded(length: usize) -> usize {
    const STEP: usize = 256 << 10;
    if length > STEP { length.next_multiple_of(STEP) } else { length.next_power_of_two().max(4 << 10) }
}

/// Replicates a fixed batch, submits it until it is final, and notes that it is.
async fn finish(inner: &Inner, mut batch: BatchDoc) -> Result<(), Error> {
    replicate::batch(inner, &batch).await?;
    let submitted = std::time::Instant::now();
    let height = loop {
        match inner.chain.submit(batch.transaction.clone()).await {
            Ok(receipt) => break receipt.height,
            Err(
                SubmitError::Expired
                | SubmitError::Rejected(Rejection::Expired | Rejection::SequenceUsed | Rejection::SequenceOutside),
            ) => {
                // It may have been finalized while this member was down: the ledger tells.
                if let Some(height) = witnessed(inner, &batch).await? {
                    break height;
                }
                batch = sign_again(inner, batch).await?;
            }
            Err(SubmitError::Rejected(Rejection::EntryExists)) => match witnessed(inner, &batch).await? {
                Some(height) => break height,
                None => return Err(overtaken()),
            },
            Err(SubmitError::Rejected(rejection)) => {
                return Err(rejection).map_err(Error::internal("entering a batch"));
            }
            Err(SubmitError::Malformed) => return Err("malformed").map_err(Error::internal("entering a batch")),
            Err(SubmitError::Full) => return Err(Error::unavailable("the pool of transactions is full")),
            Err(SubmitError::Stopped) => return Err(Error::unavailable("the ledger is not running")),
        }
    };
    let mut totals = inner.documents.load::<TotalsDoc>(space::TOTALS, b"").await?.unwrap_or_default();
    totals.batches += 1;
    totals.pages += u64::from(batch.pages);
    totals.records += u64::from(batch.records);
    let documents = vec![remove(space::BATCH, b"current"), put(space::TOTALS, b"", &totals)];
    let commit = Commit { documents, ..Commit::default() };
    inner.store.commit(commit).await.map_err(Error::internal("noting a finalized batch"))?;
    inner.batches.send_modify(|done| *done = (done.0 + 1, height));
    let mut latencies = inner.latencies.lock().expect("no panic while held");
    latencies.push_back(submitted.elapsed().as_millis() as u64);
    if latencies.len() > LATENCIES {
        latencies.pop_front();
    }
    Ok(())
}

/// The height at which a batch was entered, if it was.
async fn witnessed(inner: &Inner, batch: &BatchDoc) -> Result<Option<u64>, Error> {
    let Some(entry) = inner.entry(&batch.witness).await? else { return Ok(None) };
    let transaction = Transaction::decode(&batch.transaction).map_err(Error::internal("reading a batch"))?;
    let Action::Enter(enter) = &transaction.body().action else {
        return Err("it is of another kind").map_err(Error::internal("reading a batch"));
    };
    let ours = enter.entries.iter().find(|e| entry_key(inner.config.me, &e.tag) == batch.witness);
    // INVARIANT: an insert that the ledger refuses stops the worker: what stands there was written by this member in a
    // future that its store does not know.
    if ours.is_some_and(|ours| ours.commitment == entry.commitment) { Ok(Some(entry.height)) } else { Err(overtaken()) }
}

fn overtaken() -> Error {
    let source = "the ledger has entries of this member that its store does not know: the store is older than the ledger, \
                  as when an old copy was put back. Stop this member and put back the newest copy";
    Error::internal("entering a batch")(source)
}

/// The same entries under a new sequence number and last height.
async fn sign_again(inner: &Inner, batch: BatchDoc) -> Result<BatchDoc, Error> {
    let old = Transaction::decode(&batch.transaction).map_err(Error::internal("reading a batch"))?;
    inner.take_up_sequence().await?;
    let batch = BatchDoc { transaction: inner.sign(old.body().action.clone()).encode(), ..batch };
    let documents = vec![put(space::BATCH, b"current", &batch)];
    let commit = Commit { documents, ..Commit::default() };
    inner.store.commit(commit).await.map_err(Error::internal("signing a batch again"))?;
    Ok(batch)
}
