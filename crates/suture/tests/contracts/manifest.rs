//! `network.json` and what a new network has: members, people, Organizations, and no grant yet.

use crate::{
    network::{Network, ask, json},
    process::command_line,
    record::{refused, search},
};
use serde_json::Value;
use std::{collections::BTreeSet, fs, os::unix::fs::PermissionsExt as _, path::Path};
use wire::{Format as _, genesis::Genesis};

fn keys(value: &Value) -> Vec<&str> {
    value.as_object().unwrap().keys().map(String::as_str).collect()
}

fn texts<'a>(values: &'a Value, name: &str) -> Vec<&'a str> {
    values.as_array().unwrap().iter().map(|v| v[name].as_str().unwrap()).collect()
}

#[tokio::test]
async fn network_json_leads_a_stranger_to_every_member_and_person() {
    let network = Network::start(&["--members", "5"]).await;
    let root = network.place.network();
    let file = root.join("network.json");
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    assert!(!root.join("network.json.new").exists());

    let manifest = &network.manifest;
    assert_eq!(keys(manifest), ["genesis", "members", "people"]);
    let genesis = Path::new(manifest["genesis"].as_str().unwrap());
    assert!(genesis.is_absolute());
    let genesis = Genesis::from_octets(&fs::read(genesis).unwrap()).unwrap();
    let members = &manifest["members"];
    assert_eq!(texts(members, "name"), ["north", "south", "lab", "clinic", "health"]);
    let titles = ["North Hospital", "South Hospital", "City Laboratory", "Harbour Clinic", "Public Health Office"];
    assert_eq!(texts(members, "title"), titles);
    assert_eq!(texts(members, "kind"), ["hospital", "hospital", "laboratory", "clinic", "public-health"]);
    for value in members.as_array().unwrap() {
        assert_eq!(keys(value), ["dir", "fhir", "kind", "name", "operator_token", "pid", "title", "web"]);
        let member = network.member(value["name"].as_str().unwrap());
        let known = genesis.named(&member.name).unwrap();
        assert_eq!((&*known.title, known.kind.as_str()), (&*member.title, value["kind"].as_str().unwrap()));
        assert!(Path::new(&member.dir).is_absolute() && Path::new(&member.dir).join("suture.toml").is_file());
        let line = command_line(member.pid).expect("its process runs");
        assert!(line.contains(&member.dir), "process {} is not {}'s: {line}", member.pid, member.name);
        for url in [&member.fhir, &member.web] {
            assert!(url.starts_with("http://127.0.0.1:") && !url.ends_with('/'), "{url}");
        }
        for path in ["healthz", "readyz", "metrics", ""] {
            let page = network.client("none").get(&format!("{}/{path}", member.web)).await.unwrap();
            page.expect(200, path).unwrap();
        }
        let statement =
            json(&ask(&network.client("none"), 200, ("GET", &format!("{}/metadata", member.fhir)), None).await);
        assert_eq!(statement["resourceType"], "CapabilityStatement");
    }
    everybody(&network).await;
    organizations(&network).await;
    no_grants(&network).await;
    network.stop().await;
}

async fn everybody(network: &Network) {
    let people = network.manifest["people"].as_array().unwrap();
    let names: BTreeSet<&str> = people.iter().map(|p| p["name"].as_str().unwrap()).collect();
    assert_eq!(names.len(), people.len(), "names of people are unique");
    let mut clinicians = Vec::new();
    for person in people {
        assert_eq!(keys(person), ["member", "name", "patient", "role", "token"]);
        match person["role"].as_str().unwrap() {
            "clinician" => {
                assert_eq!(person["patient"], Value::Object(serde_json::Map::new()));
                clinicians.push(person["member"].as_str().unwrap());
            }
            role => assert_eq!(role, "patient"),
        }
        let home = network.member(person["member"].as_str().unwrap());
        let client = network.client(person["token"].as_str().unwrap());
        ask(&client, 200, ("GET", &format!("{}/Organization", home.fhir)), None).await;
    }
    clinicians.sort_unstable();
    assert_eq!(clinicians, ["clinic", "north", "south"]);

    let mut spread = 0;
    for person in network.patients(&[], &[]) {
        assert!(person.ids.contains_key(&person.home), "{} has a Patient at home", person.name);
        let main = person.ids.keys().filter(|m| ["north", "south", "clinic"].contains(&m.as_str())).count();
        spread += usize::from(person.ids.len() >= 3 && main >= 2);
        let mut identities = BTreeSet::new();
        for (member, id) in &person.ids {
            let member = network.member(member);
            let patient =
                json(&ask(&member.operator, 200, ("GET", &format!("{}/Patient/{id}", member.fhir)), None).await);
            let name = &patient["name"][0];
            let name = format!("{} {}", name["given"][0].as_str().unwrap(), name["family"].as_str().unwrap());
            assert_eq!(name, person.name);
            identities.insert((patient["identifier"][0].to_string(), patient["identifier"][1].to_string()));
        }
        assert_eq!(identities.len(), 1, "{} has the same two strong identifiers at each member", person.name);
    }
    assert!(spread >= 3, "{spread} patients with records at three members, two of them north, south or clinic");
}

/// Each member has exactly one Organization for each member, and nobody can change that.
async fn organizations(network: &Network) {
    for at in network.members() {
        for of in network.members() {
            let title = of.title.replace(' ', "%20");
            let found = search(&at.operator, &format!("{}/Organization?name:exact={title}", at.fhir)).await;
            assert_eq!(found.len(), 1, "{} at {}", of.title, at.name);
            let organization = &found[0]["resource"];
            assert_eq!(organization["name"], of.title.as_str());
            let url = format!("{}/Organization/{}", at.fhir, organization["id"].as_str().unwrap());
            let mut other = organization.clone();
            other["name"] = "Another".into();
            ask(&at.operator, 403, ("PUT", &url), Some(other.clone())).await;
            ask(&at.operator, 403, ("DELETE", &url), None).await;
            other["name"] = of.title.as_str().into();
            ask(&at.operator, 422, ("POST", &format!("{}/Organization", at.fhir)), Some(other)).await;
        }
    }
}

async fn no_grants(network: &Network) {
    for at in network.members() {
        let found = search(&at.operator, &format!("{}/Consent", at.fhir)).await;
        assert!(found.is_empty(), "{} has a Consent", at.name);
    }
    for name in ["north", "south", "clinic"] {
        let (at, clinician) = (network.member(name), network.clinician(name));
        for person in network.patients(&[name], &[]).iter().take(3) {
            refused(&clinician, &at, &person.ids[name], None).await;
            refused(&at.operator, &at, &person.ids[name], Some("PUBHLTH")).await;
        }
    }
    // Asking left no trace: nothing was released.
    for person in network.patients(&["south"], &[]).iter().take(1) {
        let home = network.member(&person.home);
        let url = format!("{}/AuditEvent?patient={}&scope=network", home.fhir, person.ids[&person.home]);
        assert!(search(&person.client, &url).await.is_empty());
    }
}
