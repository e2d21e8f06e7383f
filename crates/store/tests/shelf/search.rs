//! What a search finds: each type of parameter, alternatives and filters together, what is visible, and pages.

use crate::make::{Shelf, all, any, entry, first, key, next, puts};
use std::collections::BTreeSet;
use store::{Backend as _, Commit, Cursor, Filter, IndexEntry, IndexValue, Prefix, Put, Search, System, Test, Visible};

fn token(system: Option<&str>, code: &str) -> IndexEntry {
    entry("code", IndexValue::Token { system: system.map(Into::into), code: code.into() })
}

fn is(system: System, code: Option<&str>) -> Test {
    Test::Token { system, code: code.map(Into::into) }
}

fn named(text: &str, normal: &str) -> IndexEntry {
    entry("name", IndexValue::String { text: text.into(), normal: normal.into() })
}

fn date(low_ms: i64, high_ms: i64) -> IndexEntry {
    entry("date", IndexValue::Date { low_ms, high_ms })
}

fn number(low: f64, high: f64, system: Option<&str>, code: Option<&str>) -> IndexEntry {
    let (system, code) = (system.map(Into::into), code.map(Into::into));
    entry("value", IndexValue::Number { low, high, system, code })
}

/// A shelf of resources of type `T`.
async fn shelf(resources: impl IntoIterator<Item = (&str, Vec<IndexEntry>)>) -> Shelf {
    let shelf = Shelf::new();
    for (id, index) in resources {
        shelf.put("T", id, index).await;
    }
    shelf
}

#[tokio::test]
async fn a_token_is_found_by_its_code_its_system_or_both() {
    let shelf = shelf([
        ("a", vec![token(Some("s1"), "x")]),
        ("b", vec![token(Some("s2"), "x")]),
        ("c", vec![token(None, "x")]),
        ("d", vec![token(Some("s1"), "y"), token(None, "z")]),
        ("e", vec![token(Some(""), "X")]),
        ("f", vec![]),
    ])
    .await;
    let s = |system: &str| System::Is(system.into());
    for (test, found) in [
        (is(System::Any, Some("x")), "abc"),
        (is(System::None, Some("x")), "c"),
        (is(s("s1"), Some("x")), "a"),
        (is(s("s1"), None), "ad"),
        (is(System::None, None), "cd"),
        (is(System::Any, None), "abcde"),
        (is(System::Any, Some("X")), "e"),
        (is(s(""), None), "e"),
        (is(s("s1"), Some("z")), ""),
        (is(s("s3"), Some("x")), ""),
        (is(System::Any, Some("x' OR '1'='1")), ""),
        (is(System::Any, Some("%")), ""),
    ] {
        assert_eq!(shelf.find(vec![any("code", [test.clone()])]).await.concat(), found, "{test:?}");
        assert_eq!(shelf.find(vec![any("other", [test])]).await.concat(), "");
    }
}

#[tokio::test]
async fn text_is_found_by_its_beginning_its_middle_or_exactly() {
    let shelf = shelf([
        ("a", vec![named("Müller", "muller")]),
        ("b", vec![named("Mueller", "mueller"), named("MULL", "mull")]),
        ("c", vec![named("muller", "muller")]),
        ("d", vec![named("von Müller-Weiß", "von muller-weiß")]),
        ("e", vec![named("50%_x", "50%_x")]),
        ("f", vec![named("mulm\u{10FFFF}", "mulm\u{10FFFF}")]),
        ("g", vec![named("日本", "日本")]),
    ])
    .await;
    let starts = |text: &str| Test::StringStarts(text.into());
    let exact = |text: &str| Test::StringExact(text.into());
    let contains = |text: &str| Test::StringContains(text.into());
    for (test, found) in [
        (starts("mull"), "abc"),
        (starts("muller"), "ac"),
        (starts("mullers"), ""),
        (starts("mul"), "abcf"),
        (starts("m"), "abcf"),
        (starts("von"), "d"),
        (starts("日"), "g"),
        (starts("%"), ""),
        (starts("50%_"), "e"),
        (starts(""), "abcdefg"),
        (exact("Müller"), "a"),
        (exact("muller"), "c"),
        (exact("MULLER"), ""),
        (exact("Müll"), ""),
        (contains("ulle"), "acd"),
        (contains("weiß"), "d"),
        (contains("本"), "g"),
        (contains("_"), "e"),
        (contains("0%"), "e"),
        (contains("Müller"), ""),
    ] {
        assert_eq!(shelf.find(vec![any("name", [test.clone()])]).await.concat(), found, "{test:?}");
    }
}

const PREFIXES: [Prefix; 8] =
    [Prefix::Eq, Prefix::Ne, Prefix::Gt, Prefix::Lt, Prefix::Ge, Prefix::Le, Prefix::Sa, Prefix::Eb];

#[tokio::test]
async fn dates_are_compared_as_spans() {
    let shelf = shelf([
        ("a", vec![date(10, 20)]),
        ("b", vec![date(20, 30)]),
        ("c", vec![date(10, 40)]),
        ("d", vec![date(15, 16)]),
        ("e", vec![date(0, 5), date(50, 60)]),
        ("f", vec![date(0, 10)]),
        ("g", vec![date(5, 15)]),
        ("h", vec![date(i64::MIN, i64::MAX)]),
        ("i", vec![date(19, 21)]),
        ("j", vec![]),
    ])
    .await;
    let answers = ["ad", "bcefghi", "bcehi", "efgh", "abcdehi", "adefgh", "be", "ef"];
    for (prefix, found) in PREFIXES.into_iter().zip(answers) {
        let test = Test::Date { prefix, low_ms: 10, high_ms: 20 };
        assert_eq!(shelf.find(vec![any("date", [test])]).await.concat(), found, "{prefix:?}");
    }
    let between = vec![
        any("date", [Test::Date { prefix: Prefix::Ge, low_ms: 15, high_ms: 16 }]),
        any("date", [Test::Date { prefix: Prefix::Lt, low_ms: 20, high_ms: 21 }]),
    ];
    assert_eq!(shelf.find(between).await.concat(), "acdehi", "e by its two values");
}

#[tokio::test]
async fn the_time_of_the_last_change_is_compared_as_a_point() {
    let shelf = Shelf::new();
    for (id, updated_ms) in [("a", 999), ("b", 1_000), ("c", 1_001), ("d", 2_000)] {
        shelf.store.commit(puts([Put { updated_ms, ..first("T", id) }])).await.unwrap();
    }
    let answers = ["bc", "ad", "d", "a", "bcd", "abc", "d", "a"];
    for (prefix, found) in PREFIXES.into_iter().zip(answers) {
        let test = Test::Date { prefix, low_ms: 1_000, high_ms: 2_000 };
        assert_eq!(shelf.find(vec![any("_lastUpdated", [test])]).await.concat(), found, "{prefix:?}");
    }
    assert_eq!(shelf.find(vec![any("_lastUpdated", [Test::Uri("x".into())])]).await.concat(), "");
}

#[tokio::test]
async fn numbers_are_compared_with_their_precision_and_unit() {
    let ucum = Some("ucum");
    let shelf = shelf([
        ("a", vec![number(5.35, 5.45, ucum, Some("mg"))]),
        ("b", vec![number(5.395, 5.405, ucum, Some("mg"))]),
        ("c", vec![number(6.0, 7.0, None, None)]),
        ("d", vec![number(-1.0, -0.5, ucum, Some("g"))]),
        ("e", vec![number(1e300, 1e300, ucum, None)]),
    ])
    .await;
    let test = |prefix, system: Option<&str>, code: Option<&str>| {
        let (system, code) = (system.map(Into::into), code.map(Into::into));
        vec![any("value", [Test::Number { prefix, low: 5.35, high: 5.45, system, code }])]
    };
    let answers = ["ab", "cde", "ce", "d", "abce", "abd", "ce", "d"];
    for (prefix, found) in PREFIXES.into_iter().zip(answers) {
        assert_eq!(shelf.find(test(prefix, None, None)).await.concat(), found, "{prefix:?}");
    }
    assert_eq!(shelf.find(test(Prefix::Ne, ucum, None)).await.concat(), "de");
    assert_eq!(shelf.find(test(Prefix::Ne, ucum, Some("g"))).await.concat(), "d");
    assert_eq!(shelf.find(test(Prefix::Ge, None, Some("mg"))).await.concat(), "ab");
    assert_eq!(shelf.find(test(Prefix::Ge, ucum, Some("g"))).await.concat(), "", "or binds no looser than the unit");
}

#[tokio::test]
async fn references_and_uris_are_found_as_they_are() {
    let to = |target_type: Option<&str>, target: &str| {
        let (target_type, target) = (target_type.map(Into::into), target.into());
        entry("subject", IndexValue::Reference { target_type, target })
    };
    let uri = |uri: &str| entry("url", IndexValue::Uri(uri.into()));
    let shelf = shelf([
        ("a", vec![to(Some("Patient"), "1"), uri("http://x/a")]),
        ("b", vec![to(Some("Group"), "1"), uri("http://x/a/")]),
        ("c", vec![to(None, "1")]),
        ("d", vec![to(None, "http://x/Patient/1"), uri("urn:oid:1.2")]),
    ])
    .await;
    let test = |target_type: Option<&str>, target: &str| {
        let (target_type, target) = (target_type.map(Into::into), target.into());
        vec![any("subject", [Test::Reference { target_type, target }])]
    };
    assert_eq!(shelf.find(test(None, "1")).await.concat(), "abc");
    assert_eq!(shelf.find(test(Some("Patient"), "1")).await.concat(), "a");
    assert_eq!(shelf.find(test(Some("Device"), "1")).await.concat(), "");
    assert_eq!(shelf.find(test(None, "http://x/Patient/1")).await.concat(), "d");
    assert_eq!(shelf.find(test(None, "")).await.concat(), "");
    for (uri, found) in [("http://x/a", "a"), ("http://x/a/", "b"), ("HTTP://x/a", ""), ("http://x", "")] {
        assert_eq!(shelf.find(vec![any("url", [Test::Uri(uri.into())])]).await.concat(), found);
    }
}

#[tokio::test]
async fn missing_is_asked_of_every_type_of_value() {
    let kinds = [
        token(None, "x"),
        named("x", "x"),
        date(1, 2),
        entry("p", IndexValue::Reference { target_type: None, target: "x".into() }),
        entry("p", IndexValue::Uri("x".into())),
        number(1.0, 2.0, None, None),
    ];
    let ids = ["a", "b", "c", "d", "e", "f"];
    let index = kinds.map(|kind| vec![IndexEntry { param: "p".into(), ..kind }]);
    let shelf = shelf(ids.into_iter().zip(index)).await;
    shelf.put("T", "g", vec![token(None, "x")]).await;
    assert_eq!(shelf.find(vec![any("p", [Test::Missing(false)])]).await.concat(), "abcdef");
    assert_eq!(shelf.find(vec![any("p", [Test::Missing(true)])]).await.concat(), "g");
    assert_eq!(shelf.find(vec![any("code", [Test::Missing(false)])]).await.concat(), "g");
    assert_eq!(shelf.find(vec![any("never", [Test::Missing(true)])]).await.concat(), "abcdefg");
    assert_eq!(shelf.find(vec![any("never", [Test::Missing(false)])]).await.concat(), "");
    let both = vec![any("p", [Test::Missing(false)]), any("code", [Test::Missing(true)])];
    assert_eq!(shelf.find(both).await.concat(), "abcdef");
}

#[tokio::test]
async fn of_alternatives_one_must_hold_and_of_filters_all() {
    let shelf = shelf([
        ("a", vec![token(None, "x"), named("n", "n")]),
        ("b", vec![token(None, "y"), named("n", "n")]),
        ("c", vec![token(None, "x"), token(None, "y")]),
        ("d", vec![token(None, "z"), named("m", "m")]),
    ])
    .await;
    let code = |codes: &[&str]| any("code", codes.iter().map(|code| is(System::Any, Some(code))));
    let id = |ids: &[&str]| any("_id", ids.iter().map(|id| is(System::Any, Some(id))));
    let name = any("name", [Test::StringStarts("n".into())]);
    for (filters, found) in [
        (vec![], "abcd"),
        (vec![code(&["x", "y"])], "abc"),
        (vec![code(&["x"]), code(&["y"])], "c"),
        (vec![code(&["x", "y"]), name.clone()], "ab"),
        (vec![name.clone(), code(&["z"])], ""),
        (vec![any("name", [Test::Missing(true), Test::StringExact("m".into())])], "cd"),
        (vec![id(&["a", "d", "nowhere"])], "ad"),
        (vec![id(&["a", "d"]), code(&["z"])], "d"),
        (vec![code(&["x", "y"]), id(&["a", "b"]), name], "ab"),
        (vec![code(&[])], ""),
    ] {
        assert_eq!(shelf.find(filters.clone()).await.concat(), found, "{filters:?}");
    }
}

/// SQLite refuses expressions over 1,000 deep, and a row of ORs or ANDs was as deep as it was long: a search for
/// more than about a thousand codes failed in the database instead of being answered.
#[tokio::test]
async fn a_search_of_thousands_of_alternatives_or_filters_is_answered() {
    let shelf = shelf([("a", vec![token(None, "c2999")]), ("b", vec![token(None, "none")])]).await;
    let codes = (0..3_000).map(|n| is(System::Any, Some(&format!("c{n}"))));
    assert_eq!(shelf.find(vec![any("code", codes)]).await.concat(), "a");
    let filters = vec![any("code", [is(System::Any, Some("c2999"))]); 1_500];
    assert_eq!(shelf.find(filters).await.concat(), "a");
}

#[tokio::test]
async fn only_the_current_version_is_found_and_nothing_deleted_or_of_another_type() {
    let shelf = Shelf::new();
    let old = Put { index: vec![token(None, "old")], ..first("T", "a") };
    let new = Put { index: vec![token(None, "new")], content: Some(b"new".to_vec()), ..next(&old) };
    shelf.put("U", "a", vec![token(None, "old"), token(None, "new")]).await;
    shelf.store.commit(puts([old, new.clone()])).await.unwrap();
    let code = |code: &str| vec![any("code", [is(System::Any, Some(code))])];
    assert_eq!(shelf.find(code("old")).await.concat(), "");
    let page = shelf.store.search(&Search { filters: code("new"), ..all("T") }).await.unwrap();
    assert_eq!((page.versions[0].version, page.versions[0].content.as_deref()), (2, Some(&b"new"[..])));
    let gone = Put { content: None, ..next(&new) };
    shelf.store.commit(puts([gone.clone()])).await.unwrap();
    assert_eq!(shelf.find(code("new")).await.concat(), "");
    assert_eq!(shelf.find(vec![]).await.concat(), "");
    shelf.store.commit(puts([Put { content: Some(vec![1]), ..next(&gone) }])).await.unwrap();
    assert_eq!(shelf.find(code("new")).await.concat(), "a");
}

#[tokio::test]
async fn what_the_asker_may_see_is_part_of_the_query() {
    let shelf = Shelf::new();
    for (id, patients) in [("a", vec!["p"]), ("b", vec!["q"]), ("c", vec!["p", "q"]), ("d", vec![]), ("e", vec!["p"])] {
        let patients = patients.into_iter().map(Into::into).collect();
        let put = Put { patients, index: vec![token(None, "x")], ..first("T", id) };
        shelf.store.commit(puts([put])).await.unwrap();
    }
    let search = |patient: &str, also: &[&str], filters: &[Filter]| Search {
        filters: filters.to_vec(),
        visible: Visible::Patient { id: patient.into(), also_types: also.iter().map(|t| (*t).into()).collect() },
        ..all("T")
    };
    let x = any("code", [is(System::Any, Some("x"))]);
    let b = any("_id", [is(System::Any, Some("b"))]);
    let either = any("code", [is(System::Any, Some("x")), Test::Missing(true)]);
    for filters in [vec![], vec![x.clone()], vec![either]] {
        assert_eq!(shelf.ids(&search("p", &[], &filters)).await.concat(), "ace");
        assert_eq!(shelf.ids(&search("q", &[], &filters)).await.concat(), "bc");
        assert_eq!(shelf.ids(&search("nobody", &["U"], &filters)).await.concat(), "");
        assert_eq!(shelf.ids(&search("", &[], &filters)).await.concat(), "");
        assert_eq!(shelf.ids(&search("nobody", &["U", "T"], &filters)).await.concat(), "abcde");
    }
    assert_eq!(shelf.ids(&search("p", &[], std::slice::from_ref(&b))).await.concat(), "", "not by its id either");
    assert_eq!(shelf.ids(&search("q", &[], &[b, x])).await.concat(), "b");
    // Pages are full of what is visible, and do not show how much is not.
    let page = shelf.store.search(&Search { limit: 2, ..search("p", &[], &[]) }).await.unwrap();
    assert_eq!(page.versions.iter().map(|v| v.key.id.as_str()).collect::<String>(), "ac");
    let rest = Search { after: page.next, limit: 2, ..search("p", &[], &[]) };
    let page = shelf.store.search(&rest).await.unwrap();
    assert_eq!((page.versions[0].key.id.as_str(), page.versions.len(), page.next), ("e", 1, None));
    // What leaves the record is seen no longer.
    let leaves = vec![("p".to_owned(), key("T", "a"))];
    shelf.store.commit(Commit { leaves, ..Commit::default() }).await.unwrap();
    assert_eq!(shelf.ids(&search("p", &[], &[])).await.concat(), "ce");
}

#[tokio::test]
async fn pages_neither_repeat_nor_leave_out_anything_while_others_write() {
    let shelf = Shelf::new();
    let there: Vec<String> = (0..40).map(|n| format!("r{:03}", n * 10)).collect();
    shelf.store.commit(puts(there.iter().map(|id| first("T", id)))).await.unwrap();
    let (mut seen, mut after, mut round) = (Vec::new(), None, 0);
    loop {
        let page = shelf.store.search(&Search { after, limit: 7, ..all("T") }).await.unwrap();
        assert!(page.versions.len() == 7 || page.next.is_none());
        seen.extend(page.versions.into_iter().map(|v| v.key.id));
        let Some(next_page) = page.next else { break };
        assert_eq!(Some(next_page.to_string().as_str()), seen.last().map(String::as_str));
        // Over the wire and back.
        after = Some(Cursor::parse(&next_page.to_string()).unwrap());
        // New ones before and behind the page's end, and a new version of one that was seen.
        round += 1;
        let again = Put { version: 2, expected: Some(1), ..first("T", &seen[round]) };
        let news = [format!("r000-{round}"), format!("r390-{round}")];
        shelf.store.commit(puts(news.iter().map(|id| first("T", id)).chain([again]))).await.unwrap();
    }
    assert!(seen.is_sorted());
    let once: BTreeSet<&String> = seen.iter().collect();
    assert_eq!(once.len(), seen.len(), "nothing twice");
    assert!(there.iter().all(|id| once.contains(id)), "nothing missing");
    assert_eq!(seen.len(), 40 + round, "those behind the page's end are seen, those before it are not");
}

#[tokio::test]
async fn a_page_that_ends_with_the_last_one_has_no_next() {
    let shelf = Shelf::new();
    shelf.store.commit(puts(["a", "b", "c", "d"].map(|id| first("T", id)))).await.unwrap();
    for (limit, pages) in [(1, "a|b|c|d"), (2, "ab|cd"), (3, "abc|d"), (4, "abcd"), (5, "abcd")] {
        let (mut texts, mut after) = (Vec::new(), None);
        loop {
            let page = shelf.store.search(&Search { after, limit, ..all("T") }).await.unwrap();
            texts.push(page.versions.iter().map(|v| v.key.id.as_str()).collect::<String>());
            after = page.next;
            if after.is_none() {
                break;
            }
        }
        assert_eq!(texts.join("|"), pages);
    }
    let past = Search { after: Some(Cursor::parse("zzz").unwrap()), ..all("T") };
    assert!(shelf.ids(&past).await.is_empty());
    assert_eq!(shelf.store.count(&past).await.unwrap(), 4, "the count is of all pages");
}

#[test]
fn a_cursor_is_an_id_and_nothing_else() {
    for good in ["a", "A-1.z", &"x".repeat(64)] {
        assert_eq!(Cursor::parse(good).unwrap().to_string(), good);
    }
    for bad in ["", "a b", "a'", "ä", "a/b", "a\0", &"x".repeat(65)] {
        assert!(Cursor::parse(bad).is_err(), "{bad}");
    }
}
