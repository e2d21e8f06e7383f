//! A demo of somebody else's patients: folders of Synthea's bundles.

#[expect(dead_code, reason = "no test file uses all of it")]
#[path = "shared/process.rs"]
mod process;

use process::{Place, Running, SUTURE};
use serde_json::Value;
use std::{env, fs, path::PathBuf, process::Command, time::Duration};

#[tokio::test]
async fn a_demo_takes_synthea_bundles_in_place_of_its_stories() {
    let data = env::var_os("SUTURE_TEST_DATA");
    let data =
        data.map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data"), PathBuf::from);
    let folder = data.join("synthea/2019");
    if !folder.is_dir() {
        eprintln!("SKIPPED: there is no {} (SUTURE_TEST_DATA names another place for it)", folder.display());
        return;
    }
    let patients = fs::read_dir(&folder).unwrap().count();
    let place = Place::new();
    let mut command = Command::new(SUTURE);
    command.arg("demo").arg("--dir").arg(place.network()).arg("--data").arg(&folder);
    let mut demo = Running::start(&mut command, place.beside("demo.log"));
    let status = demo.end(Duration::from_secs(120)).await;
    assert!(status.success(), "{status}\n{}", demo.said());
    println!("{}", demo.said());
    let manifest: Value = serde_json::from_slice(&fs::read(place.network().join("network.json")).unwrap()).unwrap();
    let people = manifest["people"].as_array().unwrap().iter();
    assert_eq!(people.filter(|p| p["role"] == "patient").count(), patients, "one bundle, one patient");
    assert!(demo.said().contains(&format!("Synthea × {patients}")), "{}", demo.said());
    assert_eq!(place.processes(), [] as [u32; 0], "processes are left behind");
}
