//! The stories are valid R4, their codes have right check digits, and the same patient is the same everywhere.

use fhir::json::{Limits, Value, parse};
use lab::stories::{STORIES, people};
use std::collections::BTreeSet;

fn bundles() -> Vec<(&'static str, &'static str, Value)> {
    let mut all = Vec::new();
    for story in STORIES {
        for (member, text) in story.parts {
            all.push((story.name, *member, parse(text.as_bytes(), Limits::default()).unwrap()));
        }
    }
    all
}

fn entries(bundle: &Value) -> &[Value] {
    bundle.get("entry").and_then(Value::as_array).unwrap()
}

fn codings(value: &Value, found: &mut Vec<(String, String)>) {
    match value {
        Value::Object(members) => {
            if let (Some(system), Some(code)) = (value.text("system"), value.text("code")) {
                found.push((system.into(), code.into()));
            }
            members.iter().for_each(|(_, member)| codings(member, found));
        }
        Value::Array(items) => items.iter().for_each(|item| codings(item, found)),
        _ => {}
    }
}

/// LOINC's check digit: Luhn (mod 10), the last digit of the code.
fn loinc(code: &str) -> bool {
    let Some((body, check)) = code.split_once('-') else { return false };
    let sum: u32 = body
        .bytes()
        .rev()
        .enumerate()
        .map(|(at, digit)| {
            let digit = u32::from(digit - b'0');
            if at % 2 == 0 { digit * 2 / 10 + digit * 2 % 10 } else { digit }
        })
        .sum();
    check.parse() == Ok((10 - sum % 10) % 10)
}

/// SNOMED CT's check digit: Verhoeff, over the whole identifier.
fn snomed(code: &str) -> bool {
    const D: [[u8; 10]; 10] = [
        [0, 1, 2, 3, 4, 5, 6, 7, 8, 9],
        [1, 2, 3, 4, 0, 6, 7, 8, 9, 5],
        [2, 3, 4, 0, 1, 7, 8, 9, 5, 6],
        [3, 4, 0, 1, 2, 8, 9, 5, 6, 7],
        [4, 0, 1, 2, 3, 9, 5, 6, 7, 8],
        [5, 9, 8, 7, 6, 0, 4, 3, 2, 1],
        [6, 5, 9, 8, 7, 1, 0, 4, 3, 2],
        [7, 6, 5, 9, 8, 2, 1, 0, 4, 3],
        [8, 7, 6, 5, 9, 3, 2, 1, 0, 4],
        [9, 8, 7, 6, 5, 4, 3, 2, 1, 0],
    ];
    const P: [[u8; 10]; 8] = [
        [0, 1, 2, 3, 4, 5, 6, 7, 8, 9],
        [1, 5, 7, 6, 2, 8, 3, 0, 9, 4],
        [5, 8, 0, 3, 7, 9, 6, 1, 4, 2],
        [8, 9, 1, 6, 0, 4, 3, 5, 2, 7],
        [9, 4, 5, 3, 1, 2, 6, 8, 7, 0],
        [4, 2, 8, 6, 5, 7, 3, 9, 0, 1],
        [2, 7, 9, 3, 8, 0, 6, 4, 1, 5],
        [7, 0, 4, 6, 9, 1, 3, 2, 5, 8],
    ];
    let mut check = 0;
    for (at, digit) in code.bytes().rev().enumerate() {
        check = D[check as usize][P[at % 8][usize::from(digit - b'0')] as usize];
    }
    check == 0 && matches!(&code[code.len() - 3..code.len() - 1], "00" | "10")
}

#[test]
fn every_code_has_its_check_digit_or_shape() {
    let (mut loincs, mut snomeds) = (0, 0);
    for (story, member, bundle) in bundles() {
        let mut found = Vec::new();
        codings(&bundle, &mut found);
        for (system, code) in found {
            let right = match system.as_str() {
                "http://loinc.org" => {
                    loincs += 1;
                    loinc(&code)
                }
                "http://snomed.info/sct" => {
                    snomeds += 1;
                    snomed(&code)
                }
                "http://hl7.org/fhir/sid/icd-10-cm" => {
                    let (category, rest) = code.split_at(3);
                    category.as_bytes()[0].is_ascii_uppercase()
                        && category[1..].bytes().all(|b| b.is_ascii_alphanumeric())
                        && (rest.is_empty() || rest.starts_with('.'))
                }
                "http://www.nlm.nih.gov/research/umls/rxnorm" => code.bytes().all(|b| b.is_ascii_digit()),
                "http://hl7.org/fhir/sid/cvx" => (2..=3).contains(&code.len()),
                _ => true,
            };
            assert!(right, "{story}/{member}: {code} of {system}");
        }
    }
    println!("{loincs} LOINC and {snomeds} SNOMED CT codes");
    assert!(loincs > 200 && snomeds > 80);
}

#[test]
fn stories_are_valid_and_of_the_size_and_spread_that_a_demo_needs() {
    let mut spread = 0;
    for story in STORIES {
        let mut count = 0;
        let mut identities = BTreeSet::new();
        for (member, text) in story.parts {
            let bundle = parse(text.as_bytes(), Limits::default()).unwrap();
            fhir::validate::validate(&bundle, Some("Bundle"))
                .unwrap_or_else(|issues| panic!("{}/{member}: {issues:?}", story.name));
            let names: BTreeSet<&str> = entries(&bundle).iter().filter_map(|e| e.text("fullUrl")).collect();
            count += names.len();
            for reference in fhir::reference::references(&bundle) {
                let known = !reference.text.starts_with("urn:") || names.contains(reference.text.as_str());
                assert!(known, "{}/{member}: {} leads nowhere", story.name, reference.path);
            }
            let patient = entries(&bundle)
                .iter()
                .filter_map(|e| e.get("resource"))
                .find(|r| r.text("resourceType") == Some("Patient"))
                .unwrap();
            let strong = patient.get("identifier").and_then(Value::as_array).unwrap()[..2].iter();
            identities.insert(
                strong
                    .map(|i| (i.text("system").unwrap().to_owned(), i.text("value").unwrap().to_owned()))
                    .collect::<Vec<_>>(),
            );
        }
        assert!((40..=100).contains(&count), "{}: {count} resources", story.name);
        assert_eq!(identities.len(), 1, "{}: the same two identifiers at every member", story.name);
        let main = story.parts.iter().filter(|(m, _)| ["north", "south", "clinic"].contains(m)).count();
        spread += usize::from(story.parts.len() >= 3 && main >= 2);
        assert!(story.parts.iter().any(|(m, _)| *m == story.home));
    }
    assert!(spread >= 3);
}

#[test]
fn more_patients_have_names_and_identifiers_of_their_own_and_the_same_course() {
    let members: Vec<String> = ["north", "south", "lab", "clinic"].map(String::from).to_vec();
    let all = people(60, 7, &members).unwrap();
    let names: BTreeSet<&str> = all.iter().map(|p| p.name.as_str()).collect();
    assert_eq!(names.len(), 60);
    let again = people(60, 7, &members).unwrap();
    assert!(all.iter().zip(&again).all(|(a, b)| a.parts == b.parts), "the same seed gives the same people");
    for patient in &all {
        assert!(patient.parts.iter().all(|(m, _)| members.contains(m)), "parts of absent members go to lab");
        for (_, bundle) in &patient.parts {
            fhir::validate::validate(bundle, Some("Bundle")).unwrap();
        }
    }
}
