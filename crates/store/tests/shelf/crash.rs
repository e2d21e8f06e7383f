//! A crash loses no commit that was answered, and leaves none by half.
//!
//! The test starts itself again as a child that commits and says what was answered, kills it (SIGKILL) in the middle,
//! and looks at what is left; ten times over the same files. Then it cuts and damages the end of the log, as a power
//! failure does with what was not synced yet: some commits may be gone, but each as a whole.

use crate::make::{all, any, entry, first, key};
use std::{
    collections::BTreeSet,
    fs,
    io::{BufRead as _, BufReader, Write as _},
    path::Path,
    process::{Command, Stdio},
    sync::Arc,
};
use store::{
    Backend as _, Commit, CommitError, DocumentPut, Expect, IndexValue, NewOutbox, Put, Search, Sqlite, System, Test,
};
use tokio::task::JoinSet;

const DATABASE: &str = "STORE_CRASH_DATABASE";
const FROM: &str = "STORE_CRASH_FROM";
const COUNT: &str = "STORE_CRASH_COUNT";
const KILLS: u64 = 10;
const WRITERS: u64 = 6;
/// A child comes to no more numbers than this.
const ROUND: u64 = 100_000;

/// A commit in all of whose parts this number stands.
fn commit(number: u64) -> Commit {
    let id = format!("n{number}");
    let put = Put {
        index: vec![entry("code", IndexValue::Token { system: None, code: id.clone() })],
        links: vec![key("T", &format!("of-{number}"))],
        patients: vec!["p".into()],
        ..first("T", &id)
    };
    let document = DocumentPut {
        space: "numbers".into(),
        key: number.to_be_bytes().into(),
        // Some commits reach over several pages of the log.
        value: Some(vec![number as u8; if number.is_multiple_of(7) { 20_000 } else { 20 }]),
        expected: Expect::Absent,
    };
    Commit {
        puts: vec![put],
        outbox: vec![NewOutbox { lane: 1, strand: vec![1], payload: number.to_be_bytes().into() }],
        documents: vec![document],
        audit: vec![number.to_be_bytes().into()],
        ..Commit::default()
    }
}

/// In one write, so that no line is mixed with another's.
fn say(number: u64) {
    let mut out = std::io::stdout().lock();
    out.write_all(format!("\nanswered {number}\n").as_bytes()).unwrap();
    out.flush().unwrap();
}

/// What the child does: it commits until it is killed, and says each number that was answered.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "the other half of the test below, which starts it in a process of its own"]
async fn commits_until_it_is_killed() {
    let Ok(path) = std::env::var(DATABASE) else { return };
    let [from, count] = [FROM, COUNT].map(|name| std::env::var(name).unwrap().parse::<u64>().unwrap());
    let store = Arc::new(Sqlite::open(Path::new(&path)).unwrap());
    let mut writers = JoinSet::new();
    for writer in 0..WRITERS {
        let store = store.clone();
        writers.spawn(async move {
            for number in (from..from + count).filter(|number| number % WRITERS == writer) {
                store.commit(commit(number)).await.unwrap();
                say(number);
                // Between them some that conflict in their last part: nothing of theirs may ever show.
                if number.is_multiple_of(3) {
                    let mut bad = commit(number + (1 << 40));
                    bad.documents.push(DocumentPut { expected: Expect::Absent, ..commit(number).documents.remove(0) });
                    assert!(matches!(store.commit(bad).await, Err(CommitError::Conflict { .. })));
                }
            }
        });
    }
    writers.join_all().await;
    // It is killed, sooner or later.
    std::future::pending::<()>().await;
}

/// The numbers whose commits are there; each must be there with all its parts.
async fn whole(path: &Path) -> BTreeSet<u64> {
    let store = Sqlite::open(path).unwrap();
    let number = |octets: &[u8]| u64::from_be_bytes(octets.try_into().unwrap());
    let documents = store.documents("numbers", b"", None, 100_000).await.unwrap();
    let numbers: BTreeSet<u64> = documents.iter().map(|(key, _)| number(key)).collect();
    for (key, value) in &documents {
        assert_eq!(value, commit(number(key)).documents[0].value.as_ref().unwrap());
    }
    let rows = store.outbox(1, 100_000).await.unwrap();
    assert!(rows.iter().map(|row| row.seq).eq(1..=numbers.len() as i64), "no number of the outbox is left out");
    assert_eq!(rows.iter().map(|row| number(&row.payload)).collect::<BTreeSet<_>>(), numbers);
    assert_eq!(store.outbox_newest().await.unwrap(), numbers.len() as i64);
    assert_eq!(store.audit_len().await.unwrap(), numbers.len() as u64);
    let members = store.members("p", None, 100_000).await.unwrap();
    let ids: BTreeSet<String> = members.into_iter().map(|version| version.key.id).collect();
    assert_eq!(ids, numbers.iter().map(|n| format!("n{n}")).collect());
    assert_eq!(store.count(&all("T")).await.unwrap(), numbers.len() as u64);
    let indexed = Search { filters: vec![any("code", [Test::Missing(false)])], ..all("T") };
    assert_eq!(store.count(&indexed).await.unwrap(), numbers.len() as u64);
    for number in numbers.iter().rev().take(20) {
        let code = Test::Token { system: System::None, code: Some(format!("n{number}")) };
        assert_eq!(store.count(&Search { filters: vec![any("code", [code])], ..all("T") }).await.unwrap(), 1);
        assert_eq!(store.referrers(&key("T", &format!("of-{number}")), 9).await.unwrap().len(), 1);
    }
    numbers
}

/// Starts a child that comes to `count` numbers at most, kills it after so many answers, and gives all that it said.
fn killed_after(answers: usize, path: &Path, from: u64, count: u64) -> BTreeSet<u64> {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "crash::commits_until_it_is_killed", "--ignored", "--nocapture"])
        .env(DATABASE, path)
        .env(FROM, from.to_string())
        .env(COUNT, count.to_string())
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .spawn()
        .unwrap();
    let mut out = BufReader::new(child.stdout.take().unwrap());
    let (mut said, mut line, mut killed) = (BTreeSet::new(), String::new(), false);
    // What it said before it was killed lies in the pipe and counts.
    while out.read_line(&mut line).unwrap() > 0 {
        if let Some(number) = line.strip_prefix("answered ").and_then(|rest| rest.strip_suffix('\n')) {
            said.insert(number.parse().unwrap());
        }
        if said.len() >= answers && !killed {
            child.kill().unwrap();
            killed = true;
        }
        line.clear();
    }
    let status = child.wait().unwrap();
    assert!(killed && !status.success(), "it came to its end by itself: {status}");
    said
}

/// A number below `below`, another one in each run.
fn random(below: u64) -> u64 {
    use std::hash::{BuildHasher as _, RandomState};
    RandomState::new().hash_one(0) % below
}

#[tokio::test]
async fn no_answered_commit_is_lost_when_the_process_is_killed_and_none_is_left_by_half() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("suture.db");
    let mut said = BTreeSet::new();
    for kill in 0..KILLS {
        let answers = 1 + random(90) as usize;
        let more = killed_after(answers, &path, 1 + kill * ROUND, ROUND);
        assert!(more.len() >= answers);
        said.extend(more);
        let there = whole(&path).await;
        let lost: Vec<_> = said.difference(&there).collect();
        assert!(lost.is_empty(), "kill {kill} after {answers} answers lost {lost:?}");
        // What was not answered yet may be there all the same: at most one of each writer.
        assert!(there.len() as u64 <= said.len() as u64 + (kill + 1) * WRITERS);
    }
}

#[tokio::test]
async fn of_a_log_that_is_cut_or_damaged_anywhere_whole_commits_are_left() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("suture.db");
    // The tables are in the database itself, so that what follows is about commits.
    drop(Sqlite::open(&path).unwrap());
    let empty = fs::read(&path).unwrap();
    let said = killed_after(20, &path, 1, 30);
    let (database, log) = (fs::read(&path).unwrap(), fs::read(path.with_extension("db-wal")).unwrap());
    assert!(database == empty && log.len() > 100_000, "all is in the log: SQLite takes it over after 1,000 pages");
    let copy = async |database: &[u8], log: &[u8]| {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("suture.db");
        fs::write(&path, database).unwrap();
        fs::write(path.with_extension("db-wal"), log).unwrap();
        whole(&path).await
    };
    let all = copy(&database, &log).await;
    assert!(all.is_superset(&said), "the files alone hold what was answered");
    let mut kept = BTreeSet::new();
    for at in (0..12).map(|_| random(log.len() as u64) as usize).chain([0, 31, 32, log.len() - 1]) {
        let cut = copy(&database, &log[..at]).await;
        let mut torn = log.clone();
        torn[at..].iter_mut().take(1 + random(2_000) as usize).for_each(|octet| *octet ^= 0x5a);
        let torn = copy(&database, &torn).await;
        assert!(cut.is_subset(&all) && torn.is_subset(&all));
        assert!(cut.is_subset(&torn), "what lies before the damage stays");
        kept.insert(cut.len());
    }
    assert!(kept.len() > 2, "cuts at different places leave different numbers of commits: {kept:?}");
}
