//! What is committed is there, whole, in order, in all its versions; what conflicts changes nothing.

use crate::make::{Shelf, all, any, entry, first, key, next, puts};
use std::sync::{Arc, atomic::AtomicU64, atomic::Ordering};
use store::{
    Backend as _, Commit, CommitError, DocumentPut, Expect, IndexValue, NewOutbox, Put, ResourceKey, Sqlite,
    StoreError, Test,
};
use tokio::task::JoinSet;

fn row(lane: u8, payload: u8) -> NewOutbox {
    NewOutbox { lane, strand: vec![lane, payload], payload: vec![payload] }
}

fn outbox(outbox: impl IntoIterator<Item = NewOutbox>) -> Commit {
    Commit { outbox: outbox.into_iter().collect(), ..Commit::default() }
}

fn document(key: &[u8], value: Option<&[u8]>, expected: Expect) -> DocumentPut {
    DocumentPut { space: "space".into(), key: key.to_vec(), value: value.map(<[u8]>::to_vec), expected }
}

fn documents(documents: impl IntoIterator<Item = DocumentPut>) -> Commit {
    Commit { documents: documents.into_iter().collect(), ..Commit::default() }
}

fn value(octets: &[u8]) -> Expect {
    Expect::Value(octets.to_vec())
}

/// Commits; what was not as expected, if anything.
async fn conflict(store: &Sqlite, commit: Commit) -> Option<String> {
    match store.commit(commit).await {
        Ok(()) => None,
        Err(CommitError::Conflict { which }) => Some(which),
        Err(CommitError::Store(error)) => panic!("{error}"),
    }
}

#[tokio::test]
async fn every_version_stays_and_the_history_is_newest_first() {
    let shelf = Shelf::new();
    let (store, k) = (&shelf.store, key("T", "a"));
    let one = first("T", "a");
    let two = Put { content: Some(b"two".to_vec()), updated_ms: 2_000, ..next(&one) };
    let gone = Put { content: None, updated_ms: 3_000, ..next(&two) };
    let back = Put { content: Some(Vec::new()), updated_ms: -4, ..next(&gone) };
    assert!(store.current(&k).await.unwrap().is_none());
    assert!(store.history(&k, None, 9).await.unwrap().is_empty());
    for put in [&one, &two, &gone, &back] {
        store.commit(puts([put.clone()])).await.unwrap();
        let current = store.current(&k).await.unwrap().unwrap();
        assert_eq!((current.version, &current.content), (put.version, &put.content));
        assert_eq!((&current.key, current.updated_ms), (&k, put.updated_ms));
    }
    for put in [one, two, gone, back] {
        let is = store.version(&k, put.version).await.unwrap().unwrap();
        assert_eq!((is.version, is.updated_ms, is.content), (put.version, put.updated_ms, put.content));
    }
    for absent in [0, 5, u32::MAX] {
        assert!(store.version(&k, absent).await.unwrap().is_none());
    }
    for (before, limit, versions) in [
        (None, 9, vec![4, 3, 2, 1]),
        (None, 2, vec![4, 3]),
        (Some(3), 9, vec![2, 1]),
        (Some(3), 1, vec![2]),
        (Some(1), 9, vec![]),
        (None, 0, vec![]),
    ] {
        let history = store.history(&k, before, limit).await.unwrap();
        assert_eq!(history.iter().map(|v| v.version).collect::<Vec<_>>(), versions);
    }
    assert!(store.history(&key("U", "a"), None, 9).await.unwrap().is_empty());
}

#[tokio::test]
async fn a_version_is_stored_only_after_the_one_that_was_expected() {
    let shelf = Shelf::new();
    let one = first("T", "a");
    let at = |version, expected| puts([Put { version, expected, ..first("T", "a") }]);
    let conflicts = Some("T".to_owned());
    for (commit, answer) in [
        (at(2, Some(1)), conflicts.clone()),
        (at(1, None), None),
        (at(1, None), conflicts.clone()),
        (at(2, None), conflicts.clone()),
        (at(3, Some(2)), conflicts.clone()),
        (at(2, Some(1)), None),
        (at(2, Some(1)), conflicts.clone()),
        (puts([Put { content: None, version: 3, expected: Some(2), ..one }]), None),
        // Deleted is not absent.
        (at(1, None), conflicts.clone()),
        (at(4, None), conflicts.clone()),
        (at(4, Some(2)), conflicts),
        (at(4, Some(3)), None),
    ] {
        assert_eq!(conflict(&shelf.store, commit).await, answer);
    }
    // Both in one commit: the second sees the first.
    let x = first("T", "x");
    assert_eq!(conflict(&shelf.store, puts([x.clone(), next(&x)])).await, None);
    assert_eq!(conflict(&shelf.store, puts([x.clone(), x])).await, Some("T".into()));
    // A number that is there already fails, even when the expectation is met, and changes nothing.
    assert!(matches!(shelf.store.commit(at(2, Some(4))).await, Err(CommitError::Store(StoreError::Database(_)))));
    assert_eq!(shelf.store.current(&key("T", "a")).await.unwrap().unwrap().version, 4);
}

#[tokio::test]
async fn a_commit_with_one_conflict_anywhere_changes_nothing_at_all() {
    let shelf = Shelf::new();
    let store = &shelf.store;
    let (kept, lost) = (key("T", "kept"), key("T", "lost"));
    let token = entry("code", IndexValue::Token { system: None, code: "x".into() });
    let before = Commit {
        puts: vec![Put { patients: vec!["p".into()], ..first("T", "kept") }],
        outbox: vec![row(1, 1)],
        documents: vec![document(b"d", Some(b"1"), Expect::Absent)],
        audit: vec![vec![1]],
        ..Commit::default()
    };
    store.commit(before).await.unwrap();
    let whole = Commit {
        puts: vec![
            Put { index: vec![token], links: vec![kept.clone()], patients: vec!["p".into()], ..first("T", "lost") },
            Put { content: None, ..next(&first("T", "kept")) },
        ],
        memberships: vec![("q".into(), kept.clone())],
        leaves: vec![("p".into(), kept.clone())],
        outbox: vec![row(1, 2)],
        outbox_done: vec![1],
        documents: vec![document(b"d", Some(b"2"), value(b"1")), document(b"e", Some(b"2"), Expect::Absent)],
        audit: vec![vec![2], vec![3]],
    };
    let mut bad_put = whole.clone();
    bad_put.puts.push(next(&first("T", "nowhere")));
    let mut bad_document = whole.clone();
    bad_document.documents.push(document(b"d", None, value(b"1")));
    for (commit, which) in [(bad_put, "T"), (bad_document, "space")] {
        assert_eq!(conflict(store, commit).await.as_deref(), Some(which));
        assert!(store.current(&lost).await.unwrap().is_none());
        assert_eq!(store.history(&kept, None, 9).await.unwrap().len(), 1);
        assert!(store.referrers(&kept, 9).await.unwrap().is_empty());
        assert_eq!(store.patients_of(&kept).await.unwrap(), ["p"]);
        assert_eq!(store.members("p", None, 9).await.unwrap().len(), 1);
        assert_eq!(store.outbox(1, 9).await.unwrap().iter().map(|r| r.seq).collect::<Vec<_>>(), [1]);
        assert_eq!(store.outbox_newest().await.unwrap(), 1);
        assert_eq!(store.documents("space", b"", None, 9).await.unwrap(), [(b"d".to_vec(), b"1".to_vec())]);
        assert_eq!(store.audit_len().await.unwrap(), 1);
        assert!(shelf.find(vec![any("code", [Test::Missing(false)])]).await.is_empty());
    }
    assert_eq!(conflict(store, whole).await, None, "without the conflict all of it is done");
    assert_eq!(shelf.find(vec![]).await, ["lost"]);
    assert_eq!(store.patients_of(&kept).await.unwrap(), ["q"]);
    assert_eq!(store.audit_len().await.unwrap(), 3);
}

#[tokio::test]
async fn members_of_a_record_come_by_type_and_id_in_pages() {
    let shelf = Shelf::new();
    let store = &shelf.store;
    let keys = [("B", "1"), ("A", "2"), ("A", "10"), ("C", "x"), ("A", "1"), ("B", "0")];
    let of_p = |(t, id)| Put { patients: vec!["p".into()], ..first(t, id) };
    store.commit(puts(keys.map(of_p))).await.unwrap();
    store.commit(puts([Put { patients: vec!["q".into(), "p".into()], ..first("B", "00") }])).await.unwrap();
    shelf.put("B", "of-nobody", vec![]).await;
    let order = ["A/1", "A/10", "A/2", "B/0", "B/00", "B/1", "C/x"];
    for limit in 1..=8 {
        let (mut seen, mut after) = (Vec::new(), None);
        loop {
            let page = store.members("p", after, limit).await.unwrap();
            assert!(page.len() <= limit);
            after = page.last().map(|v| v.key.clone());
            if page.is_empty() {
                break;
            }
            seen.extend(page.iter().map(|v| format!("{}/{}", v.key.resource_type, v.key.id)));
        }
        assert_eq!(seen, order);
    }
    assert_eq!(store.members("q", None, 9).await.unwrap().len(), 1);
    assert!(store.members("nobody", None, 9).await.unwrap().is_empty());
    // A deleted one is a member still, but not shown; its next version is.
    let gone = Put { content: None, ..next(&first("A", "10")) };
    store.commit(puts([gone.clone()])).await.unwrap();
    assert_eq!(store.members("p", None, 9).await.unwrap().len(), 6);
    store.commit(puts([Put { content: Some(vec![3]), ..next(&gone) }])).await.unwrap();
    let members = store.members("p", None, 9).await.unwrap();
    assert_eq!((members.len(), members[1].version), (7, 3), "the current version");
}

#[tokio::test]
async fn a_resource_comes_into_records_and_leaves_them() {
    let shelf = Shelf::new();
    let (store, k) = (&shelf.store, key("T", "a"));
    let join = |patient: &str| vec![(patient.to_owned(), k.clone())];
    let came = |patient| Commit { memberships: join(patient), ..Commit::default() };
    let left = |patient| Commit { leaves: join(patient), ..Commit::default() };
    store.commit(came("q")).await.unwrap();
    assert!(store.members("q", None, 9).await.unwrap().is_empty(), "a member before it exists is not shown");
    store.commit(puts([Put { patients: vec!["p".into()], ..first("T", "a") }])).await.unwrap();
    store.commit(came("q")).await.unwrap();
    assert_eq!(store.patients_of(&k).await.unwrap(), ["p", "q"]);
    store.commit(left("p")).await.unwrap();
    store.commit(left("nobody")).await.unwrap();
    assert_eq!(store.patients_of(&k).await.unwrap(), ["q"]);
    // A version without patients takes nobody away; one with a patient brings that one back.
    store.commit(puts([next(&first("T", "a"))])).await.unwrap();
    assert_eq!(store.patients_of(&k).await.unwrap(), ["q"]);
    let back = Put { patients: vec!["p".into()], version: 3, expected: Some(2), ..first("T", "a") };
    store.commit(puts([back])).await.unwrap();
    assert_eq!(store.patients_of(&k).await.unwrap(), ["p", "q"]);
    // Who comes and leaves in one commit has left.
    store.commit(Commit { memberships: join("r"), leaves: join("r"), ..Commit::default() }).await.unwrap();
    assert_eq!(store.patients_of(&k).await.unwrap(), ["p", "q"]);
    assert!(store.patients_of(&key("U", "a")).await.unwrap().is_empty());
}

#[tokio::test]
async fn referrers_are_those_of_the_current_versions() {
    let shelf = Shelf::new();
    let to = |id: &str, links: &[&str]| Put { links: links.iter().map(|l| key("T", l)).collect(), ..first("T", id) };
    shelf.store.commit(puts([to("a", &["x", "y", "x"]), to("b", &["x"]), to("c", &["c"])])).await.unwrap();
    let ids = |found: Vec<ResourceKey>| found.into_iter().map(|k| k.id).collect::<String>();
    assert_eq!(ids(shelf.store.referrers(&key("T", "x"), 9).await.unwrap()), "ab");
    assert_eq!(ids(shelf.store.referrers(&key("T", "x"), 1).await.unwrap()), "a");
    assert_eq!(ids(shelf.store.referrers(&key("U", "x"), 9).await.unwrap()), "");
    shelf.store.commit(puts([next(&to("a", &["y"]))])).await.unwrap();
    assert_eq!(ids(shelf.store.referrers(&key("T", "x"), 9).await.unwrap()), "b");
    assert_eq!(ids(shelf.store.referrers(&key("T", "y"), 9).await.unwrap()), "a");
    assert_eq!(ids(shelf.store.referrers(&key("T", "c"), 9).await.unwrap()), "c");
}

#[tokio::test]
async fn the_outbox_keeps_its_order_and_its_newest_number_never_falls() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("suture.db");
    let store = Sqlite::open(&path).unwrap();
    assert_eq!((store.outbox_newest().await.unwrap(), store.outbox_len(1).await.unwrap()), (0, 0));
    store.commit(outbox([row(1, 10), row(2, 20), row(1, 11)])).await.unwrap();
    store.commit(outbox([row(1, 12)])).await.unwrap();
    let rows = store.outbox(1, 9).await.unwrap();
    assert_eq!(rows.iter().map(|r| (r.seq, r.payload[0])).collect::<Vec<_>>(), [(1, 10), (3, 11), (4, 12)]);
    assert_eq!(rows[0].strand, [1, 10]);
    assert_eq!(store.outbox(1, 2).await.unwrap(), rows[..2]);
    assert_eq!(store.outbox(2, 9).await.unwrap().len(), 1);
    assert_eq!(store.outbox_newest().await.unwrap(), 4);
    // Done rows go, in any order; a number that is not there is none.
    store.commit(Commit { outbox_done: vec![4, 1, 2, 3, 99], ..Commit::default() }).await.unwrap();
    assert_eq!((store.outbox_len(1).await.unwrap(), store.outbox_len(2).await.unwrap()), (0, 0));
    assert_eq!(store.outbox_newest().await.unwrap(), 4);
    drop(store);
    let store = Sqlite::open(&path).unwrap();
    assert_eq!(store.outbox_newest().await.unwrap(), 4);
    // A row that is entered and done in one commit used its number all the same.
    store.commit(Commit { outbox_done: vec![5], ..outbox([row(1, 13)]) }).await.unwrap();
    assert_eq!((store.outbox_len(1).await.unwrap(), store.outbox_newest().await.unwrap()), (0, 5));
    store.commit(outbox([row(3, 14)])).await.unwrap();
    assert_eq!(store.outbox(3, 9).await.unwrap()[0].seq, 6);
}

#[tokio::test]
async fn a_document_changes_only_from_what_was_expected() {
    let shelf = Shelf::new();
    let (k, conflicts) = (&b"k"[..], Some("space".to_owned()));
    for (put, answer, after) in [
        (document(k, Some(b"1"), value(b"0")), conflicts.clone(), None),
        (document(k, None, value(b"")), conflicts.clone(), None),
        (document(k, None, Expect::Absent), None, None),
        (document(k, Some(b""), Expect::Absent), None, Some(&b""[..])),
        (document(k, Some(b"1"), Expect::Absent), conflicts.clone(), Some(b"")),
        (document(k, Some(b"1"), value(b"")), None, Some(b"1")),
        (document(k, Some(b"2"), value(b"")), conflicts.clone(), Some(b"1")),
        (document(k, Some(b"2"), value(b"11")), conflicts.clone(), Some(b"1")),
        (document(k, Some(b"1"), value(b"1")), None, Some(b"1")),
        (document(k, Some(b"3"), Expect::Any), None, Some(b"3")),
        (document(k, None, value(b"2")), conflicts, Some(b"3")),
        (document(k, None, value(b"3")), None, None),
        (document(k, None, Expect::Any), None, None),
    ] {
        assert_eq!(conflict(&shelf.store, documents([put.clone()])).await, answer, "{:?}", put.expected);
        assert_eq!(shelf.store.document("space", k).await.unwrap().as_deref(), after);
    }
    // In one commit each sees what came before it.
    let row = [document(k, Some(b"1"), Expect::Absent), document(k, Some(b"2"), value(b"1"))];
    assert_eq!(conflict(&shelf.store, documents(row)).await, None);
    assert!(shelf.store.document("another", k).await.unwrap().is_none());
    assert!(shelf.store.document("space", b"").await.unwrap().is_none());
}

#[tokio::test]
async fn documents_come_by_key_under_a_prefix_in_pages() {
    let shelf = Shelf::new();
    let keys: [&[u8]; 8] = [b"", b"a", b"a\x00", b"a\xff", b"a\xff\xff", b"b", b"\xff", b"\xff\xff"];
    let other = DocumentPut { space: "other".into(), ..document(b"a", Some(b"o"), Expect::Any) };
    let all = keys.iter().rev().map(|key| document(key, Some(key), Expect::Absent)).chain([other]);
    shelf.store.commit(documents(all)).await.unwrap();
    let store = &shelf.store;
    let found = async |prefix: &[u8], after: Option<&[u8]>, limit| {
        let found = store.documents("space", prefix, after.map(<[u8]>::to_vec), limit).await.unwrap();
        assert!(found.iter().all(|(key, value)| key == value));
        found.into_iter().map(|(key, _)| key).collect::<Vec<_>>()
    };
    assert_eq!(found(b"", None, 99).await, keys);
    assert_eq!(found(b"", None, 3).await, keys[..3]);
    assert_eq!(found(b"", Some(b"a"), 99).await, keys[2..]);
    assert_eq!(found(b"a", None, 99).await, keys[1..5]);
    assert_eq!(found(b"a", Some(b"a\x00"), 1).await, keys[3..4]);
    assert_eq!(found(b"a", Some(b"a\xff\xff"), 9).await, keys[..0]);
    assert_eq!(found(b"\xff", None, 99).await, keys[6..]);
    assert_eq!(found(b"c", None, 99).await, keys[..0]);
    assert!(store.documents("nowhere", b"", None, 9).await.unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn of_many_who_change_one_thing_at_once_one_at_a_time_wins() {
    const WRITERS: u64 = 12;
    const EACH: u64 = 8;
    let shelf = Arc::new(Shelf::new());
    shelf.store.commit(documents([document(b"count", Some(&[0; 8]), Expect::Absent)])).await.unwrap();
    let lost = Arc::new(AtomicU64::new(0));
    let mut writers = JoinSet::new();
    for writer in 0..WRITERS {
        let (shelf, lost) = (shelf.clone(), lost.clone());
        writers.spawn(async move {
            let mut won = 0;
            while won < EACH {
                let count = shelf.store.document("space", b"count").await.unwrap().unwrap();
                let more = u64::from_be_bytes(count.as_slice().try_into().unwrap()) + 1;
                let version = more as u32;
                let put = Put { version, expected: (version > 1).then(|| version - 1), ..first("T", "t") };
                let commit = Commit {
                    puts: vec![put],
                    documents: vec![document(b"count", Some(&more.to_be_bytes()), value(&count))],
                    outbox: vec![row(1, writer as u8)],
                    audit: vec![vec![writer as u8]],
                    ..Commit::default()
                };
                match conflict(&shelf.store, commit).await {
                    None => won += 1,
                    Some(_) => _ = lost.fetch_add(1, Ordering::Relaxed),
                }
            }
        });
    }
    writers.join_all().await;
    let (store, all) = (&shelf.store, WRITERS * EACH);
    assert_eq!(store.document("space", b"count").await.unwrap().unwrap(), all.to_be_bytes());
    assert_eq!(u64::from(store.current(&key("T", "t")).await.unwrap().unwrap().version), all);
    assert_eq!(store.history(&key("T", "t"), None, 1_000).await.unwrap().len() as u64, all);
    assert_eq!((store.outbox_len(1).await.unwrap(), store.audit_len().await.unwrap()), (all, all));
    assert_eq!(store.outbox_newest().await.unwrap() as u64, all, "who lost used no number");
    assert!(lost.load(Ordering::Relaxed) > 0, "nobody ever met another");
}

#[tokio::test(flavor = "multi_thread")]
async fn more_commits_and_reads_at_once_than_the_queues_hold_are_all_answered() {
    const MANY: usize = 1_600;
    let shelf = Arc::new(Shelf::new());
    let mut work = JoinSet::new();
    for n in 0..MANY {
        let shelf = shelf.clone();
        work.spawn(async move {
            let id = format!("r{n:05}");
            shelf.store.commit(puts([Put { patients: vec!["p".into()], ..first("T", &id) }])).await.unwrap();
            // Who was answered reads it.
            assert_eq!(shelf.store.current(&key("T", &id)).await.unwrap().unwrap().version, 1);
        });
    }
    work.join_all().await;
    assert_eq!(shelf.store.count(&all("T")).await.unwrap(), MANY as u64);
    assert_eq!(shelf.store.members("p", None, 2 * MANY).await.unwrap().len(), MANY);
}

#[tokio::test]
async fn a_store_is_found_again_as_it_was_left_and_one_of_a_newer_program_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("suture.db");
    let store = Sqlite::open(&path).unwrap();
    store.commit(puts([first("T", "a")])).await.unwrap();
    store.commit(Commit { audit: vec![vec![1], vec![2]], ..Commit::default() }).await.unwrap();
    drop(store);
    let store = Sqlite::open(&path).unwrap();
    assert_eq!(store.count(&all("T")).await.unwrap(), 1);
    assert_eq!(store.audit_len().await.unwrap(), 2);
    drop(store);
    rusqlite::Connection::open(&path).unwrap().pragma_update(None, "user_version", 99).unwrap();
    assert!(matches!(Sqlite::open(&path), Err(StoreError::Newer { found: 99, known: 1 })));
}
