//! The demo from its start to its end, and what it leaves behind: proofs that anybody can check, and that nobody can
//! change.

#[expect(dead_code, reason = "no test file uses all of it")]
#[path = "shared/process.rs"]
mod process;

use process::{Place, Running, SUTURE, command_line};
use serde_json::Value;
use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::PermissionsExt as _,
    path::Path,
    process::{Command, Output},
    thread,
    time::Duration,
};
use wire::{
    Format as _,
    genesis::Genesis,
    proof::{Document, Findings},
};

/// What the issue allows a release build; a build for tests keeps it too.
const BOUND: Duration = Duration::from_secs(60);

fn demo(place: &Place) -> Running {
    let mut command = Command::new(SUTURE);
    // A relative directory: what it writes down must be absolute all the same.
    command.current_dir(place.path()).args(["demo", "--dir", "network"]);
    Running::start(&mut command, place.beside("demo.log"))
}

#[tokio::test]
async fn a_demo_checks_itself_and_leaves_proofs_that_hold_and_that_no_changed_bit_survives() {
    let place = Place::new();
    let mut first = demo(&place);
    let status = first.end(BOUND).await;
    let said = first.said();
    assert!(status.success(), "{status}\n{said}");
    for step in 1..=6 {
        assert!(said.lines().any(|line| line.starts_with(&format!("{step}. "))), "no step {step} in:\n{said}");
    }
    let root = place.network();
    let manifest: Value = serde_json::from_slice(&fs::read(root.join("network.json")).unwrap()).unwrap();
    assert_eq!(fs::metadata(root.join("network.json")).unwrap().permissions().mode() & 0o777, 0o600);
    let genesis = Path::new(manifest["genesis"].as_str().unwrap());
    assert_eq!(genesis.canonicalize().unwrap(), root.join("genesis").canonicalize().unwrap());
    assert!(genesis.is_absolute());
    for member in manifest["members"].as_array().unwrap() {
        let pid = u32::try_from(member["pid"].as_u64().unwrap()).unwrap();
        let line = command_line(pid).unwrap_or_default();
        assert!(!line.contains(member["dir"].as_str().unwrap()), "process {pid} was left behind: {line}");
    }

    // Nothing of a network is overwritten by another.
    let before = fs::read(genesis).unwrap();
    let mut second = demo(&place);
    assert_eq!(second.end(BOUND).await.code(), Some(2), "{}", second.said());
    assert_eq!(fs::read(genesis).unwrap(), before);

    // Whose record: the demo says it, network.json says where it lies.
    let name = said.lines().find_map(|l| l.strip_prefix("4. ")?.split_once(" allows South Hospital")).unwrap().0;
    let person = manifest["people"].as_array().unwrap().iter().find(|p| p["name"] == name).unwrap();
    let titles: BTreeMap<&str, &str> = manifest["members"].as_array().unwrap().iter().map(name_and_title).collect();
    let holders: Vec<&str> = person["patient"].as_object().unwrap().keys().map(|m| titles[m.as_str()]).collect();
    println!("{name} has records at {holders:?}");
    for file in ["record.proof", "accesses.proof"] {
        accepted(&place, file, genesis, &holders);
        refused(&place, file, genesis);
    }
}

fn name_and_title(member: &Value) -> (&str, &str) {
    (member["name"].as_str().unwrap(), member["title"].as_str().unwrap())
}

fn check(file: &Path, genesis: &Path) -> Output {
    let mut command = Command::new(SUTURE);
    command.args(["proof", "check"]).arg(file).arg("--genesis").arg(genesis).output().unwrap()
}

fn verify(octets: &[u8], genesis: &Genesis) -> Option<Findings> {
    Document::from_octets(octets).ok()?.verify(genesis).ok()
}

/// A line for each member with a part, and the line says what is complete.
fn accepted(place: &Place, file: &str, genesis: &Path, holders: &[&str]) {
    let path = place.network().join(file);
    let output = check(&path, genesis);
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(0), "{file}:\n{text}");
    let octets = fs::read(genesis).unwrap();
    let findings = verify(&fs::read(&path).unwrap(), &Genesis::from_octets(&octets).unwrap()).unwrap();
    assert_eq!((findings.parts.len(), findings.missing.len()), (holders.len(), 0));
    for title in holders {
        let lines: Vec<&str> = text.lines().filter(|l| l.starts_with(&format!("{title}: complete: "))).collect();
        assert_eq!(lines.len(), 1, "one line for {title} in:\n{text}");
        let (pages, height) = read_line(lines[0].split_once(": complete: ").unwrap().1);
        let genesis = Genesis::from_octets(&octets).unwrap();
        let found = findings.parts.iter().find(|p| genesis.member(p.member).unwrap().title == *title).unwrap();
        assert_eq!((found.pages, found.height), (pages, height), "{title}");
    }
    let complete = text.lines().filter(|line| line.contains(": complete: ")).count();
    assert_eq!(complete, holders.len() + 1, "the members with a part, and the list of holders:\n{text}");
}

/// `pages 0..n-1 present, n absent at height h`: n and h.
fn read_line(line: &str) -> (u64, u64) {
    let rest = line.strip_prefix("pages 0..").unwrap();
    let (last, rest) = rest.split_once(" present, ").unwrap();
    let (absent, rest) = rest.split_once(" absent at height ").unwrap();
    let height: String = rest.chars().take_while(char::is_ascii_digit).collect();
    let (last, absent): (u64, u64) = (last.parse().unwrap(), absent.parse().unwrap());
    assert_eq!(last + 1, absent, "{line}");
    (absent, height.parse().unwrap())
}

fn refused(place: &Place, file: &str, genesis: &Path) {
    let document = fs::read(place.network().join(file)).unwrap();
    let network = Genesis::from_octets(&fs::read(genesis).unwrap()).unwrap();
    let changed = place.beside("changed.proof");
    let not_valid = |octets: &[u8], genesis: &Path, what: &str| {
        fs::write(&changed, octets).unwrap();
        let output = check(&changed, genesis);
        let text = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
        assert_eq!(output.status.code(), Some(1), "{file}, {what}:\n{text}");
        assert!(text.starts_with("NOT VALID: ") && !text.contains("complete: pages"), "{file}, {what}:\n{text}");
    };
    for sample in 0..24 {
        let bit = sample * (document.len() * 8 - 1) / 23;
        let mut octets = document.clone();
        octets[bit / 8] ^= 1 << (bit % 8);
        not_valid(&octets, genesis, &format!("bit {bit}"));
    }
    not_valid(&document[..document.len() - 1], genesis, "the last octet cut off");
    not_valid(&[&document[..], &[0]].concat(), genesis, "an octet more");
    not_valid(b"", genesis, "nothing");

    let other = place.beside("other.genesis");
    let mut wrong = network.clone();
    wrong.nonce[0] ^= 1;
    fs::write(&other, wrong.to_octets()).unwrap();
    not_valid(&document, &other, "another network's genesis");
    let mut wrong = network.clone();
    let keys = (wrong.members[0].consensus, wrong.members[1].consensus);
    (wrong.members[1].consensus, wrong.members[0].consensus) = keys;
    fs::write(&other, wrong.to_octets()).unwrap();
    not_valid(&document, &other, "a genesis with two keys exchanged");
    fs::write(&other, b"not a genesis").unwrap();
    not_valid(&document, &other, "no genesis at all");
    assert_eq!(check(&place.beside("nowhere.proof"), genesis).status.code(), Some(1));

    let bits = flip_all(&document, &network);
    println!("{file}: none of {bits} documents with one bit changed is valid");
}

/// Flips every bit, one at a time; of a long document every fifth, which meets each octet.
fn flip_all(document: &[u8], genesis: &Genesis) -> usize {
    assert!(verify(document, genesis).is_some());
    let bits = document.len() * 8;
    let stride = if bits > 100_000 { 5 } else { 1 };
    let threads = thread::available_parallelism().map_or(2, usize::from);
    thread::scope(|scope| {
        for first in 0..threads {
            scope.spawn(move || {
                let mut octets = document.to_vec();
                for bit in (first * stride..bits).step_by(threads * stride) {
                    octets[bit / 8] ^= 1 << (bit % 8);
                    assert!(verify(&octets, genesis).is_none(), "bit {bit} may be changed");
                    octets[bit / 8] ^= 1 << (bit % 8);
                }
            });
        }
    });
    bits.div_ceil(stride)
}
