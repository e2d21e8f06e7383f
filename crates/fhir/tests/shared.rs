//! Every shared R4 resource is read back as it was written, validates, and is indexed.

use fhir::json::{Limits, Value, parse};
use std::{io::Read as _, path::PathBuf};

fn shared() -> Option<PathBuf> {
    let place = std::env::var_os("SUTURE_TEST_DATA")
        .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data"), PathBuf::from);
    if place.exists() {
        Some(place)
    } else {
        println!("skipped: no shared test data at {} (SUTURE_TEST_DATA names another place)", place.display());
        None
    }
}

fn files(folder: PathBuf) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.to_string_lossy().into_owned();
        if path.is_dir() {
            files.extend(self::files(path));
        } else if name.ends_with(".json") || name.ends_with(".json.gz") {
            files.push(path);
        }
    }
    files.sort();
    files
}

fn read(path: &PathBuf) -> Vec<u8> {
    let octets = std::fs::read(path).unwrap();
    if path.extension().is_some_and(|e| e == "gz") {
        let mut text = Vec::new();
        flate2::read::GzDecoder::new(octets.as_slice()).read_to_end(&mut text).unwrap();
        text
    } else {
        octets
    }
}

#[test]
fn every_synthea_bundle_and_official_example_is_valid_and_lossless() {
    let Some(shared) = shared() else { return };
    let mut all = files(shared.join("synthea"));
    all.extend(files(shared.join("hl7/examples")));
    let (mut resources, mut values) = (0, 0);
    for path in all {
        let octets = read(&path);
        let value = parse(&octets, Limits::default()).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        let again = value.write();
        assert_eq!(parse(&again, Limits::default()).unwrap().write(), again);
        if let Err(issues) = fhir::validate::validate(&value, None) {
            let issue = &issues[0];
            panic!("{}: {}: {}", path.display(), issue.expression, issue.diagnostics);
        }
        let entries = value.get("entry").and_then(Value::as_array).unwrap_or_default();
        for resource in entries.iter().filter_map(|e| e.get("resource")).chain([&value]) {
            resources += 1;
            values += fhir::search::index(resource).len();
        }
    }
    println!("{resources} resources, {values} search values");
    assert!(resources > 15_000 && values > 100_000);
}
