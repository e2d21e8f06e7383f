//! The tables. Forward only: each step runs once, in a transaction of its own.

use crate::StoreError;
use rusqlite::Connection;

const STEPS: [&str; 1] = ["
CREATE TABLE resource (
  rid INTEGER PRIMARY KEY, type TEXT NOT NULL, id TEXT NOT NULL,
  version INTEGER NOT NULL, updated_ms INTEGER NOT NULL, deleted INTEGER NOT NULL, UNIQUE (type, id));
CREATE TABLE version (
  rid INTEGER NOT NULL REFERENCES resource, version INTEGER NOT NULL, updated_ms INTEGER NOT NULL, content BLOB,
  PRIMARY KEY (rid, version)) WITHOUT ROWID;
CREATE TABLE param (pid INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE);
CREATE TABLE ix_token (pid INTEGER NOT NULL, code TEXT NOT NULL, system TEXT, rid INTEGER NOT NULL);
CREATE INDEX ix_token_value ON ix_token (pid, code, system, rid);
CREATE INDEX ix_token_rid ON ix_token (rid);
CREATE TABLE ix_string (pid INTEGER NOT NULL, normal TEXT NOT NULL, text TEXT NOT NULL, rid INTEGER NOT NULL);
CREATE INDEX ix_string_value ON ix_string (pid, normal, rid);
CREATE INDEX ix_string_rid ON ix_string (rid);
CREATE TABLE ix_date (pid INTEGER NOT NULL, low INTEGER NOT NULL, high INTEGER NOT NULL, rid INTEGER NOT NULL);
CREATE INDEX ix_date_value ON ix_date (pid, low, high, rid);
CREATE INDEX ix_date_rid ON ix_date (rid);
CREATE TABLE ix_reference (pid INTEGER NOT NULL, target TEXT NOT NULL, type TEXT, rid INTEGER NOT NULL);
CREATE INDEX ix_reference_value ON ix_reference (pid, target, type, rid);
CREATE INDEX ix_reference_rid ON ix_reference (rid);
CREATE TABLE ix_uri (pid INTEGER NOT NULL, uri TEXT NOT NULL, rid INTEGER NOT NULL);
CREATE INDEX ix_uri_value ON ix_uri (pid, uri, rid);
CREATE INDEX ix_uri_rid ON ix_uri (rid);
CREATE TABLE ix_number (
  pid INTEGER NOT NULL, low REAL NOT NULL, high REAL NOT NULL, system TEXT, code TEXT, rid INTEGER NOT NULL);
CREATE INDEX ix_number_value ON ix_number (pid, low, high, rid);
CREATE INDEX ix_number_rid ON ix_number (rid);
CREATE TABLE link (rid INTEGER NOT NULL, type TEXT NOT NULL, id TEXT NOT NULL, PRIMARY KEY (rid, type, id)) WITHOUT ROWID;
CREATE INDEX link_target ON link (type, id);
CREATE TABLE member (patient TEXT NOT NULL, type TEXT NOT NULL, id TEXT NOT NULL, PRIMARY KEY (patient, type, id)) WITHOUT ROWID;
CREATE INDEX member_resource ON member (type, id);
CREATE TABLE outbox (
  seq INTEGER PRIMARY KEY AUTOINCREMENT, lane INTEGER NOT NULL, strand BLOB NOT NULL, payload BLOB NOT NULL);
CREATE INDEX outbox_lane ON outbox (lane, seq);
CREATE TABLE document (space TEXT NOT NULL, key BLOB NOT NULL, value BLOB NOT NULL, PRIMARY KEY (space, key)) WITHOUT ROWID;
CREATE TABLE audit (seq INTEGER PRIMARY KEY AUTOINCREMENT, line BLOB NOT NULL);
"];

/// Settings of every connection.
pub(crate) fn configure(connection: &Connection) -> Result<(), StoreError> {
    connection.execute_batch(
        "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON; PRAGMA trusted_schema = OFF;
         PRAGMA cell_size_check = ON; PRAGMA temp_store = MEMORY; PRAGMA busy_timeout = 5000; PRAGMA cache_size = -16384;",
    )?;
    connection.set_prepared_statement_cache_capacity(128);
    Ok(())
}

/// Brings the schema up to date.
pub(crate) fn migrate(connection: &mut Connection) -> Result<(), StoreError> {
    let found: i64 = connection.query_row("PRAGMA user_version", [], |row| row.get(0))?;
    let known = STEPS.len() as i64;
    if found > known {
        return Err(StoreError::Newer { found, known });
    }
    for (at, step) in STEPS.iter().enumerate().skip(found as usize) {
        let transaction = connection.transaction()?;
        transaction.execute_batch(step)?;
        transaction.pragma_update(None, "user_version", at as i64 + 1)?;
        transaction.commit()?;
    }
    Ok(())
}
