//! Bundles split over members: every entry lands somewhere, always at the same member, and no reference leads out of
//! its part.

use fhir::{
    json::{Limits, Value, parse},
    reference::{Target, references},
};
use lab::data::{self, Bundle};
use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
};

/// Kept at each member that refers to them.
const SHARED: [&str; 7] =
    ["Organization", "Practitioner", "PractitionerRole", "Location", "HealthcareService", "Medication", "Substance"];

fn members() -> Vec<String> {
    ["north", "south", "lab", "clinic", "health"].map(String::from).to_vec()
}

fn entries(bundle: &Value) -> &[Value] {
    bundle.get("entry").and_then(Value::as_array).unwrap()
}

fn resource(entry: &Value) -> &Value {
    entry.get("resource").unwrap()
}

fn of(entry: &Value) -> &str {
    resource(entry).text("resourceType").unwrap()
}

fn split(bundle: &Value) -> (String, Vec<(String, Value)>) {
    match data::split(bundle.clone(), &members()).unwrap() {
        Bundle::Patient(patient) => (patient.home, patient.parts),
        Bundle::Shared(_) => panic!("it has a patient"),
    }
}

/// A patient with two organisations, named by their identifiers.
fn made_up(first: &str, second: &str) -> Value {
    let entry = |urn: &str, resource: &str| {
        let of = resource.split('"').nth(3).unwrap();
        format!(r#"{{"fullUrl":"urn:uuid:{urn}","resource":{resource},"request":{{"method":"POST","url":"{of}"}}}}"#)
    };
    let organization = |key: &str| {
        let identifier = format!(r#"[{{"system":"https://example.org/organizations","value":"{key}"}}]"#);
        format!(r#"{{"resourceType":"Organization","identifier":{identifier},"name":"{key}"}}"#)
    };
    let patient = r#"{"resourceType":"Patient","name":[{"family":"Doe","given":["Jan"]}],"identifier":[
        {"system":"a","value":"1"},{"system":"b","value":"2"},{"system":"c","value":"3"}]}"#;
    let encounter = |at: &str| {
        let place = format!(r#""serviceProvider":{{"reference":"urn:uuid:{at}"}}"#);
        let rest = r#""status":"finished","class":{"code":"AMB"},"subject":{"reference":"urn:uuid:patient"}"#;
        format!(r#"{{"resourceType":"Encounter",{rest},{place}}}"#)
    };
    let observation = |more: &str| {
        let rest = r#""status":"final","code":{"text":"x"},"subject":{"reference":"urn:uuid:patient"}"#;
        format!(r#"{{"resourceType":"Observation",{rest}{more}}}"#)
    };
    let in_encounter =
        |encounter: &str| observation(&format!(r#","encounter":{{"reference":"urn:uuid:{encounter}"}}"#));
    let report = r#"{"resourceType":"DiagnosticReport","status":"final","code":{"text":"x"},
        "subject":{"reference":"urn:uuid:patient"},"encounter":{"reference":"urn:uuid:encounter-2"},
        "performer":[{"reference":"urn:uuid:practitioner"}],
        "result":[{"reference":"urn:uuid:observation-1","display":"kept"},{"reference":"urn:uuid:observation-2"}]}"#;
    let practitioner = r#"{"resourceType":"Practitioner","name":[{"family":"Roe"}]}"#;
    let all = [
        entry("patient", patient),
        entry("organization-1", &organization(first)),
        entry("organization-2", &organization(second)),
        entry("practitioner", practitioner),
        entry("encounter-1", &encounter("organization-1")),
        entry("encounter-2", &encounter("organization-2")),
        entry("observation-1", &in_encounter("encounter-1")),
        entry("observation-2", &in_encounter("encounter-2")),
        entry("observation-3", &observation("")),
        entry("report", report),
    ];
    let text = format!(r#"{{"resourceType":"Bundle","type":"transaction","entry":[{}]}}"#, all.join(","));
    parse(text.as_bytes(), Limits::default()).unwrap()
}

/// Member by name of entry.
fn places(parts: &[(String, Value)]) -> BTreeMap<&str, Vec<&str>> {
    let mut places: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for (member, part) in parts {
        for entry in entries(part) {
            let name = entry.text("fullUrl").unwrap().trim_start_matches("urn:uuid:");
            places.entry(name).or_default().push(member);
        }
    }
    places
}

/// What holds for every split.
fn holds(bundle: &Value, home: &str, parts: &[(String, Value)]) -> usize {
    let places = places(parts);
    assert!(parts.iter().any(|(member, _)| member == home), "the home has a part");
    let patient = entries(bundle).iter().find(|e| of(e) == "Patient").unwrap();
    for entry in entries(bundle) {
        let name = entry.text("fullUrl").unwrap();
        let found = places.get(name.trim_start_matches("urn:uuid:")).map_or(0, Vec::len);
        match of(entry) {
            "Patient" => assert_eq!(found, parts.len(), "the Patient is in each part"),
            of if SHARED.contains(&of) => assert!(found >= 1, "{of} {name} lands nowhere"),
            of => assert_eq!(found, 1, "{of} {name} lands at one member"),
        }
    }
    let names: BTreeSet<&str> = entries(bundle).iter().map(|e| e.text("fullUrl").unwrap()).collect();
    let mut logical = 0;
    for (member, part) in parts {
        fhir::validate::validate(part, Some("Bundle")).unwrap_or_else(|issues| panic!("{member}: {issues:?}"));
        assert_eq!(part.text("type"), Some("transaction"));
        let here: BTreeSet<&str> = entries(part).iter().map(|e| e.text("fullUrl").unwrap()).collect();
        let own = entries(part).iter().find(|e| of(e) == "Patient").unwrap();
        assert_eq!(resource(own).get("identifier"), resource(patient).get("identifier"), "{member}");
        for entry in entries(part) {
            for reference in references(resource(entry)) {
                let elsewhere = names.contains(reference.text.as_str()) && !here.contains(reference.text.as_str());
                assert!(!elsewhere, "{member}: {} leads to {} elsewhere", reference.path, reference.text);
                let dangling = reference.target == Target::Urn && !here.contains(reference.text.as_str());
                assert!(!dangling, "{member}: {} leads nowhere: {}", reference.path, reference.text);
            }
            logical += logical_references(resource(entry), &here, &names);
        }
    }
    logical
}

/// Counts the references to another part's entries, each by the entry's name as an identifier.
fn logical_references(value: &Value, here: &BTreeSet<&str>, names: &BTreeSet<&str>) -> usize {
    match value {
        Value::Array(items) => items.iter().map(|item| logical_references(item, here, names)).sum(),
        Value::Object(elements) => {
            let identifier = value.get("identifier").filter(|i| i.text("system") == Some("urn:ietf:rfc:3986"));
            let name = identifier.and_then(|i| i.text("value")).filter(|name| names.contains(name));
            let one = name.is_some_and(|name| {
                assert!(!here.contains(name), "{name} is here: it could be referred to as it is");
                assert!(value.get("reference").is_none() && value.text("type").is_some());
                true
            });
            let rest: usize = elements.iter().map(|(_, v)| logical_references(v, here, names)).sum();
            rest + usize::from(one)
        }
        _ => 0,
    }
}

#[test]
fn a_record_follows_its_organisations_and_encounters_and_what_has_neither_stays_at_home() {
    let bundle = made_up("A", "C");
    let (home, parts) = split(&bundle);
    let logical = holds(&bundle, &home, &parts);
    let places = places(&parts);
    let at = |name: &str| places[name].as_slice();
    // Frozen: on every machine and in every version the same key leads to the same member.
    assert_eq!((at("encounter-1"), at("encounter-2")), (&["south"][..], &["clinic"][..]));
    assert_eq!((at("observation-1"), at("observation-2")), (at("encounter-1"), at("encounter-2")));
    assert_eq!(at("report"), at("encounter-2"), "what names no organisation follows its encounter");
    assert_eq!(home, at("report")[0], "home is where most of the record is");
    assert_eq!(at("observation-3"), [home.as_str()], "what has neither follows the Patient");
    assert_eq!(at("practitioner"), at("report"));
    assert_eq!(at("organization-1"), at("encounter-1"));
    assert_eq!(logical, 1);
    let report = parts.iter().flat_map(|(_, part)| entries(part)).find(|e| of(e) == "DiagnosticReport").unwrap();
    let result = &resource(report).get("result").and_then(Value::as_array).unwrap()[0];
    assert_eq!((result.text("type"), result.text("display")), (Some("Observation"), Some("kept")));
}

#[test]
fn the_same_bundle_is_split_in_the_same_way_whatever_else_is_loaded() {
    let bundle = made_up("A", "C");
    let (home, parts) = split(&bundle);
    assert_eq!(split(&bundle), (home, parts.clone()));
    let known = places(&parts);
    // An organisation's place depends on nothing but its identifier: exchanged, the records change places.
    let (_, exchanged) = split(&made_up("C", "A"));
    let exchanged = places(&exchanged);
    assert_eq!((&known["encounter-1"], &known["encounter-2"]), (&exchanged["encounter-2"], &exchanged["encounter-1"]));
}

#[test]
fn a_bundle_without_a_patient_is_for_every_member_and_one_with_two_is_refused() {
    let text = br#"{"resourceType":"Bundle","type":"transaction","entry":[
        {"fullUrl":"urn:uuid:1","resource":{"resourceType":"Organization","name":"x"}}]}"#;
    let bundle = parse(text, Limits::default()).unwrap();
    let Ok(Bundle::Shared(shared)) = data::split(bundle.clone(), &members()) else { panic!("it has no patient") };
    assert_eq!(shared, bundle);
    let text = br#"{"resourceType":"Bundle","type":"transaction","entry":[
        {"fullUrl":"urn:uuid:1","resource":{"resourceType":"Patient"}},
        {"fullUrl":"urn:uuid:2","resource":{"resourceType":"Patient"}}]}"#;
    assert!(data::split(parse(text, Limits::default()).unwrap(), &members()).is_err());
    assert!(data::split(bundle, &[]).is_err(), "no member to give it to");
}

#[test]
fn synthea_patients_are_split_whole() {
    let place = std::env::var_os("SUTURE_TEST_DATA");
    let place =
        place.map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data"), PathBuf::from);
    let folder = place.join("synthea");
    if !folder.is_dir() {
        eprintln!("SKIPPED: there is no {} (SUTURE_TEST_DATA names another place for it)", folder.display());
        return;
    }
    let (mut patients, mut shared, mut spread, mut logical) = (0, 0, 0, 0);
    for year in ["2019", "2021"] {
        // Some of each year: the others are alike.
        let files = data::files(&folder.join(year)).unwrap();
        for file in files.iter().take(6) {
            match data::read(file, &members()).unwrap() {
                Bundle::Shared(_) => shared += 1,
                Bundle::Patient(patient) => {
                    let octets = std::fs::File::open(file).unwrap();
                    let mut whole = Vec::new();
                    std::io::Read::read_to_end(&mut flate2::read::MultiGzDecoder::new(octets), &mut whole).unwrap();
                    let whole = parse(&whole, Limits::default()).unwrap();
                    logical += holds(&whole, &patient.home, &patient.parts);
                    patients += 1;
                    spread += usize::from(patient.parts.len() > 1);
                }
            }
        }
    }
    println!("{patients} patients, {spread} at several members, {shared} shared bundles, {logical} logical references");
    assert!(patients >= 8 && spread >= 4 && shared == 2);
}
