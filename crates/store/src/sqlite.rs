//! SQLite: one thread that writes, two that read. Commits that wait together share one fsync.

use crate::{
    Answer, Backend, Commit, CommitError, DocumentPut, Expect, IndexValue, KeyedDocuments, OutboxRow, Put, ResourceKey,
    Search, SearchPage, StoreError, Version, schema, search::condition,
};
use rusqlite::{Connection, OptionalExtension as _, Row, params, params_from_iter};
use std::{
    path::Path,
    sync::{Arc, Mutex, mpsc},
    thread::JoinHandle,
};
use tokio::sync::oneshot;

/// Commits that share one fsync at most.
const TOGETHER: usize = 64;
/// Jobs that wait for a thread at most; who comes later waits before the queue.
const QUEUE: usize = 1_024;
const READERS: usize = 2;

type Read = Box<dyn FnOnce(&Connection) + Send>;
type Write = (Commit, oneshot::Sender<Result<(), CommitError>>);

/// A store in one file. Dropping it ends its threads after what they have begun.
pub struct Sqlite {
    write: Option<mpsc::SyncSender<Write>>,
    read: Option<mpsc::SyncSender<Read>>,
    threads: Vec<JoinHandle<()>>,
}

impl std::fmt::Debug for Sqlite {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Sqlite")
    }
}

impl Drop for Sqlite {
    fn drop(&mut self) {
        self.write = None;
        self.read = None;
        for thread in self.threads.drain(..) {
            if thread.join().is_err() {
                tracing::error!("a thread of the store panicked");
            }
        }
    }
}

impl Sqlite {
    /// Opens the store, or makes it.
    ///
    /// # Errors
    /// [`StoreError`] when the file cannot be used or is of a newer program.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        let mut writer = Connection::open(path)?;
        schema::configure(&writer)?;
        schema::migrate(&mut writer)?;
        let (write, writes) = mpsc::sync_channel::<Write>(QUEUE);
        let (read, reads) = mpsc::sync_channel::<Read>(QUEUE);
        let reads = Arc::new(Mutex::new(reads));
        let mut threads = vec![spawn("store-write", move || write_loop(&mut writer, &writes))];
        for _ in 0..READERS {
            let connection = Connection::open(path)?;
            schema::configure(&connection)?;
            connection.pragma_update(None, "query_only", true)?;
            let reads = reads.clone();
            threads.push(spawn("store-read", move || {
                loop {
                    let next = reads.lock().expect("no panic while held").recv();
                    match next {
                        Ok(job) => job(&connection),
                        Err(_) => return,
                    }
                }
            }));
        }
        Ok(Self { write: Some(write), read: Some(read), threads })
    }

    fn ask<T: Send + 'static>(
        &self,
        job: impl FnOnce(&Connection) -> Result<T, rusqlite::Error> + Send + 'static,
    ) -> Answer<'_, T> {
        Box::pin(async move {
            let (reply, answer) = oneshot::channel();
            let job: Read = Box::new(move |connection| drop(reply.send(job(connection))));
            send(self.read.clone(), job).await?;
            Ok(answer.await.map_err(|_| StoreError::Closed)??)
        })
    }
}

/// Hands a job to a thread; waits off the runtime when the queue is full.
async fn send<T: Send + 'static>(to: Option<mpsc::SyncSender<T>>, job: T) -> Result<(), StoreError> {
    let to = to.ok_or(StoreError::Closed)?;
    match to.try_send(job) {
        Ok(()) => Ok(()),
        Err(mpsc::TrySendError::Disconnected(_)) => Err(StoreError::Closed),
        Err(mpsc::TrySendError::Full(job)) => {
            let sent = tokio::task::spawn_blocking(move || to.send(job).map_err(|_| StoreError::Closed)).await;
            sent.map_err(|_| StoreError::Closed)?
        }
    }
}

fn spawn(name: &str, run: impl FnOnce() + Send + 'static) -> JoinHandle<()> {
    std::thread::Builder::new().name(name.into()).spawn(run).expect("a thread starts")
}

fn write_loop(connection: &mut Connection, writes: &mpsc::Receiver<Write>) {
    while let Ok(first) = writes.recv() {
        let mut batch = vec![first];
        while batch.len() < TOGETHER
            && let Ok(next) = writes.try_recv()
        {
            batch.push(next);
        }
        let (commits, replies): (Vec<_>, Vec<_>) = batch.into_iter().unzip();
        match write_together(connection, commits) {
            Ok(outcomes) => {
                for (reply, outcome) in replies.into_iter().zip(outcomes) {
                    drop(reply.send(outcome));
                }
            }
            Err(error) => {
                tracing::error!(%error, "a database transaction failed");
                let text = error.to_string();
                for reply in replies {
                    let error = rusqlite::Error::InvalidParameterName(text.clone());
                    drop(reply.send(Err(CommitError::Store(StoreError::Database(error)))));
                }
            }
        }
    }
}

/// One transaction, a savepoint for each commit: one that conflicts changes nothing.
fn write_together(connection: &mut Connection, commits: Vec<Commit>) -> rusqlite::Result<Vec<Result<(), CommitError>>> {
    let mut transaction = connection.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
    let mut outcomes = Vec::with_capacity(commits.len());
    for commit in commits {
        let savepoint = transaction.savepoint()?;
        match write_one(&savepoint, commit) {
            Ok(()) => {
                savepoint.commit()?;
                outcomes.push(Ok(()));
            }
            Err(error) => {
                // Dropping the savepoint rolls back to it.
                drop(savepoint);
                outcomes.push(Err(error));
            }
        }
    }
    transaction.commit()?;
    Ok(outcomes)
}

fn write_one(connection: &Connection, commit: Commit) -> Result<(), CommitError> {
    let Commit { puts, memberships, leaves, outbox, outbox_done, documents, audit } = commit;
    let failed = |e: rusqlite::Error| CommitError::Store(e.into());
    for put in &puts {
        write_version(connection, put)?;
    }
    let members = memberships
        .iter()
        .map(|(p, k)| (p, k))
        .chain(puts.iter().flat_map(|put| put.patients.iter().map(move |p| (p, &put.key))));
    for (patient, key) in members {
        connection
            .prepare_cached("INSERT OR IGNORE INTO member (patient, type, id) VALUES (?, ?, ?)")
            .and_then(|mut s| s.execute(params![patient, key.resource_type, key.id]))
            .map_err(failed)?;
    }
    for (patient, key) in leaves {
        connection
            .prepare_cached("DELETE FROM member WHERE patient = ? AND type = ? AND id = ?")
            .and_then(|mut s| s.execute(params![patient, key.resource_type, key.id]))
            .map_err(failed)?;
    }
    for row in outbox {
        connection
            .prepare_cached("INSERT INTO outbox (lane, strand, payload) VALUES (?, ?, ?)")
            .and_then(|mut s| s.execute(params![row.lane, row.strand, row.payload]))
            .map_err(failed)?;
    }
    for seq in outbox_done {
        connection
            .prepare_cached("DELETE FROM outbox WHERE seq = ?")
            .and_then(|mut s| s.execute([seq]))
            .map_err(failed)?;
    }
    for document in documents {
        write_document(connection, document)?;
    }
    for line in audit {
        connection
            .prepare_cached("INSERT INTO audit (line) VALUES (?)")
            .and_then(|mut s| s.execute([line]))
            .map_err(failed)?;
    }
    Ok(())
}

fn write_document(connection: &Connection, document: DocumentPut) -> Result<(), CommitError> {
    let DocumentPut { space, key, value, expected } = document;
    let failed = |e: rusqlite::Error| CommitError::Store(e.into());
    if expected != Expect::Any {
        let found: Option<Vec<u8>> = connection
            .prepare_cached("SELECT value FROM document WHERE space = ? AND key = ?")
            .and_then(|mut s| s.query_row(params![space, key], |row| row.get(0)).optional())
            .map_err(failed)?;
        let fits = match (&expected, &found) {
            (Expect::Absent, None) | (Expect::Any, _) => true,
            (Expect::Value(wanted), Some(found)) => wanted == found,
            _ => false,
        };
        if !fits {
            return Err(CommitError::Conflict { which: space });
        }
    }
    match value {
        Some(value) => connection
            .prepare_cached("INSERT OR REPLACE INTO document (space, key, value) VALUES (?, ?, ?)")
            .and_then(|mut s| s.execute(params![space, key, value])),
        None => connection
            .prepare_cached("DELETE FROM document WHERE space = ? AND key = ?")
            .and_then(|mut s| s.execute(params![space, key])),
    }
    .map_err(failed)?;
    Ok(())
}

fn write_version(connection: &Connection, put: &Put) -> Result<(), CommitError> {
    let failed = |e: rusqlite::Error| CommitError::Store(e.into());
    let ResourceKey { resource_type, id } = &put.key;
    let found: Option<(i64, u32)> = connection
        .prepare_cached("SELECT rid, version FROM resource WHERE type = ? AND id = ?")
        .and_then(|mut s| s.query_row([resource_type, id], |row| Ok((row.get(0)?, row.get(1)?))).optional())
        .map_err(failed)?;
    if found.map(|(_, version)| version) != put.expected {
        return Err(CommitError::Conflict { which: resource_type.clone() });
    }
    let deleted = put.content.is_none();
    let rid = match found {
        Some((rid, _)) => {
            connection
                .prepare_cached("UPDATE resource SET version = ?, updated_ms = ?, deleted = ? WHERE rid = ?")
                .and_then(|mut s| s.execute(params![put.version, put.updated_ms, deleted, rid]))
                .map_err(failed)?;
            for table in ["ix_token", "ix_string", "ix_date", "ix_reference", "ix_uri", "ix_number", "link"] {
                connection
                    .prepare_cached(&format!("DELETE FROM {table} WHERE rid = ?"))
                    .and_then(|mut s| s.execute([rid]))
                    .map_err(failed)?;
            }
            rid
        }
        None => {
            connection
                .prepare_cached("INSERT INTO resource (type, id, version, updated_ms, deleted) VALUES (?, ?, ?, ?, ?)")
                .and_then(|mut s| s.execute(params![resource_type, id, put.version, put.updated_ms, deleted]))
                .map_err(failed)?;
            connection.last_insert_rowid()
        }
    };
    connection
        .prepare_cached("INSERT INTO version (rid, version, updated_ms, content) VALUES (?, ?, ?, ?)")
        .and_then(|mut s| s.execute(params![rid, put.version, put.updated_ms, put.content]))
        .map_err(failed)?;
    for entry in &put.index {
        let pid = param(connection, &entry.param).map_err(failed)?;
        write_index(connection, rid, pid, &entry.value).map_err(failed)?;
    }
    for link in &put.links {
        connection
            .prepare_cached("INSERT OR IGNORE INTO link (rid, type, id) VALUES (?, ?, ?)")
            .and_then(|mut s| s.execute(params![rid, link.resource_type, link.id]))
            .map_err(failed)?;
    }
    Ok(())
}

fn param(connection: &Connection, name: &str) -> rusqlite::Result<i64> {
    let mut find = connection.prepare_cached("SELECT pid FROM param WHERE name = ?")?;
    if let Some(pid) = find.query_row([name], |row| row.get(0)).optional()? {
        return Ok(pid);
    }
    connection.execute("INSERT INTO param (name) VALUES (?)", [name])?;
    Ok(connection.last_insert_rowid())
}

fn write_index(connection: &Connection, rid: i64, pid: i64, value: &IndexValue) -> rusqlite::Result<()> {
    match value {
        IndexValue::Token { system, code } => connection
            .prepare_cached("INSERT INTO ix_token (pid, code, system, rid) VALUES (?, ?, ?, ?)")?
            .execute(params![pid, code, system, rid]),
        IndexValue::String { text, normal } => connection
            .prepare_cached("INSERT INTO ix_string (pid, normal, text, rid) VALUES (?, ?, ?, ?)")?
            .execute(params![pid, normal, text, rid]),
        IndexValue::Date { low_ms, high_ms } => connection
            .prepare_cached("INSERT INTO ix_date (pid, low, high, rid) VALUES (?, ?, ?, ?)")?
            .execute(params![pid, low_ms, high_ms, rid]),
        IndexValue::Reference { target_type, target } => connection
            .prepare_cached("INSERT INTO ix_reference (pid, target, type, rid) VALUES (?, ?, ?, ?)")?
            .execute(params![pid, target, target_type, rid]),
        IndexValue::Uri(uri) => connection
            .prepare_cached("INSERT INTO ix_uri (pid, uri, rid) VALUES (?, ?, ?)")?
            .execute(params![pid, uri, rid]),
        IndexValue::Number { low, high, system, code } => connection
            .prepare_cached("INSERT INTO ix_number (pid, low, high, system, code, rid) VALUES (?, ?, ?, ?, ?, ?)")?
            .execute(params![pid, low, high, system, code, rid]),
    }?;
    Ok(())
}

const CURRENT: &str = "SELECT r.type, r.id, v.version, v.updated_ms, v.content FROM resource r JOIN version v ON v.rid = r.rid AND v.version = r.version";

fn version(row: &Row<'_>) -> rusqlite::Result<Version> {
    Ok(Version {
        key: ResourceKey { resource_type: row.get(0)?, id: row.get(1)? },
        version: row.get(2)?,
        updated_ms: row.get(3)?,
        content: row.get(4)?,
    })
}

impl Backend for Sqlite {
    fn commit(&self, commit: Commit) -> Answer<'_, (), CommitError> {
        Box::pin(async move {
            let (reply, answer) = oneshot::channel();
            send(self.write.clone(), (commit, reply)).await?;
            answer.await.map_err(|_| StoreError::Closed)?
        })
    }

    fn current(&self, key: &ResourceKey) -> Answer<'_, Option<Version>> {
        let key = key.clone();
        self.ask(move |c| {
            c.prepare_cached(&format!("{CURRENT} WHERE r.type = ? AND r.id = ?"))?
                .query_row([key.resource_type, key.id], version)
                .optional()
        })
    }

    fn version(&self, key: &ResourceKey, number: u32) -> Answer<'_, Option<Version>> {
        let key = key.clone();
        self.ask(move |c| {
            c.prepare_cached(
                "SELECT r.type, r.id, v.version, v.updated_ms, v.content FROM resource r JOIN version v ON v.rid = r.rid
                 WHERE r.type = ? AND r.id = ? AND v.version = ?",
            )?
            .query_row(params![key.resource_type, key.id, number], version)
            .optional()
        })
    }

    fn history(&self, key: &ResourceKey, before: Option<u32>, limit: usize) -> Answer<'_, Vec<Version>> {
        let key = key.clone();
        self.ask(move |c| {
            let mut statement = c.prepare_cached(
                "SELECT r.type, r.id, v.version, v.updated_ms, v.content FROM resource r JOIN version v ON v.rid = r.rid
                 WHERE r.type = ? AND r.id = ? AND v.version < ? ORDER BY v.version DESC LIMIT ?",
            )?;
            let before = before.unwrap_or(u32::MAX);
            statement.query_map(params![key.resource_type, key.id, before, limit as i64], version)?.collect()
        })
    }

    fn members(&self, patient: &str, after: Option<ResourceKey>, limit: usize) -> Answer<'_, Vec<Version>> {
        let patient = patient.to_owned();
        self.ask(move |c| {
            let mut statement = c.prepare_cached(
                "SELECT r.type, r.id, v.version, v.updated_ms, v.content
                 FROM member m JOIN resource r ON r.type = m.type AND r.id = m.id AND r.deleted = 0
                 JOIN version v ON v.rid = r.rid AND v.version = r.version
                 WHERE m.patient = ? AND (m.type, m.id) > (?, ?) ORDER BY m.type, m.id LIMIT ?",
            )?;
            let after = after.unwrap_or_else(|| ResourceKey { resource_type: String::new(), id: String::new() });
            statement.query_map(params![patient, after.resource_type, after.id, limit as i64], version)?.collect()
        })
    }

    fn patients_of(&self, key: &ResourceKey) -> Answer<'_, Vec<String>> {
        let key = key.clone();
        self.ask(move |c| {
            let mut statement =
                c.prepare_cached("SELECT patient FROM member WHERE type = ? AND id = ? ORDER BY patient")?;
            statement.query_map([key.resource_type, key.id], |row| row.get(0))?.collect()
        })
    }

    fn referrers(&self, key: &ResourceKey, limit: usize) -> Answer<'_, Vec<ResourceKey>> {
        let key = key.clone();
        self.ask(move |c| {
            let mut statement = c.prepare_cached(
                "SELECT r.type, r.id FROM link l JOIN resource r ON r.rid = l.rid WHERE l.type = ? AND l.id = ? ORDER BY r.rid LIMIT ?",
            )?;
            let key_of = |row: &Row<'_>| Ok(ResourceKey { resource_type: row.get(0)?, id: row.get(1)? });
            statement.query_map(params![key.resource_type, key.id, limit as i64], key_of)?.collect()
        })
    }

    fn search(&self, search: &Search) -> Answer<'_, SearchPage> {
        let (limit, (condition, mut values)) = (search.limit, condition(search, true));
        self.ask(move |c| {
            values.push(rusqlite::types::Value::Integer(limit as i64 + 1));
            let mut statement = c.prepare_cached(&format!("{CURRENT} WHERE {condition} ORDER BY r.id LIMIT ?"))?;
            let found: rusqlite::Result<Vec<Version>> =
                statement.query_map(params_from_iter(values), version)?.collect();
            Ok(SearchPage::new(found?, limit))
        })
    }

    fn count(&self, search: &Search) -> Answer<'_, u64> {
        let (condition, values) = condition(search, false);
        self.ask(move |c| {
            let count: i64 = c
                .prepare_cached(&format!("SELECT count(*) FROM resource r WHERE {condition}"))?
                .query_row(params_from_iter(values), |row| row.get(0))?;
            Ok(count as u64)
        })
    }

    fn outbox(&self, lane: u8, limit: usize) -> Answer<'_, Vec<OutboxRow>> {
        self.ask(move |c| {
            let mut statement =
                c.prepare_cached("SELECT seq, strand, payload FROM outbox WHERE lane = ? ORDER BY seq LIMIT ?")?;
            let row = |row: &Row<'_>| Ok(OutboxRow { seq: row.get(0)?, strand: row.get(1)?, payload: row.get(2)? });
            statement.query_map(params![lane, limit as i64], row)?.collect()
        })
    }

    fn outbox_newest(&self) -> Answer<'_, i64> {
        self.ask(|c| {
            let newest = c
                .prepare_cached("SELECT seq FROM sqlite_sequence WHERE name = 'outbox'")?
                .query_row([], |row| row.get(0))
                .optional()?;
            Ok(newest.unwrap_or(0))
        })
    }

    fn outbox_len(&self, lane: u8) -> Answer<'_, u64> {
        self.ask(move |c| {
            let count: i64 =
                c.prepare_cached("SELECT count(*) FROM outbox WHERE lane = ?")?.query_row([lane], |row| row.get(0))?;
            Ok(count as u64)
        })
    }

    fn document(&self, space: &str, key: &[u8]) -> Answer<'_, Option<Vec<u8>>> {
        let (space, key) = (space.to_owned(), key.to_vec());
        self.ask(move |c| {
            c.prepare_cached("SELECT value FROM document WHERE space = ? AND key = ?")?
                .query_row(params![space, key], |row| row.get(0))
                .optional()
        })
    }

    fn documents(
        &self,
        space: &str,
        prefix: &[u8],
        after: Option<Vec<u8>>,
        limit: usize,
    ) -> Answer<'_, KeyedDocuments> {
        let (space, prefix) = (space.to_owned(), prefix.to_vec());
        self.ask(move |c| {
            let mut statement = c.prepare_cached(
                // The substr of an empty key is NULL, so an empty prefix is not compared.
                "SELECT key, value FROM document WHERE space = ?1 AND key >= ?2 AND (?3 IS NULL OR key > ?3)
                 AND (length(?2) = 0 OR substr(key, 1, length(?2)) = ?2) ORDER BY key LIMIT ?4",
            )?;
            let found = statement
                .query_map(params![space, prefix, after, limit as i64], |row| Ok((row.get(0)?, row.get(1)?)))?;
            found.collect()
        })
    }

    fn audit_len(&self) -> Answer<'_, u64> {
        self.ask(|c| {
            // Lines are never removed, so the newest one's number is their count.
            let newest = c
                .prepare_cached("SELECT seq FROM sqlite_sequence WHERE name = 'audit'")?
                .query_row([], |row| row.get::<_, i64>(0))
                .optional()?;
            Ok(newest.unwrap_or(0) as u64)
        })
    }
}
