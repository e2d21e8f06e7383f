//! Reading across members: complete, octet for octet, proved, listed; for whom the patient allows and for nobody else.

use crate::{
    network::{Network, Person, ask, json, until},
    process::SOON,
    record::{Record, copy, grant, local, prove, read, refused, search, union},
};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use wire::proof::Subject;

/// Titles of the members where somebody has records, in order.
fn holders(network: &Network, person: &Person) -> Vec<String> {
    let mut titles: Vec<String> = person.ids.keys().map(|m| network.member(m).title).collect();
    titles.sort_unstable();
    titles
}

fn same(record: &Record, union: &crate::record::Entries) {
    let (read, held): (BTreeSet<_>, BTreeSet<_>) = (record.matches.keys().collect(), union.keys().collect());
    assert_eq!(held.difference(&read).collect::<Vec<_>>(), [] as [&&String; 0], "not in the answer");
    assert_eq!(read.difference(&held).collect::<Vec<_>>(), [] as [&&String; 0], "held by nobody");
    for (url, octets) in union {
        assert!(record.matches[url] == *octets, "{url} is not as its holder serves it");
    }
}

#[tokio::test]
async fn a_granted_read_is_the_union_of_the_holders_records_and_the_patient_sees_it() {
    let network = Network::start(&["--members", "4", "--patients", "8"]).await;
    let (south, clinician) = (network.member("south"), network.clinician("south"));
    let all = network.patients(&["south", "north", "clinic", "lab"], &[]);
    let (person, other) = (&all[0], &all[1]);
    let at_south = &person.ids["south"];
    refused(&clinician, &south, at_south, None).await;

    let granted = grant(&network, person, "south", |_| ()).await;
    assert_eq!(granted["status"], "active");
    let home = network.member(&person.home);
    let at_home = format!("{}/Consent/{}", home.fhir, granted["id"].as_str().unwrap());
    assert_eq!(json(&ask(&person.client, 200, ("GET", &at_home), None).await), granted);
    copy(&south, at_south, "active").await;
    // What one patient allows is nothing that another allowed.
    refused(&clinician, &south, &other.ids["south"], None).await;
    refused(&network.clinician("clinic"), &network.member("clinic"), &person.ids["clinic"], None).await;

    let record = read(&clinician, &south, at_south, (None, 50)).await;
    let held = union(&network, person).await;
    println!("{} resources of {} at {} members", held.len(), person.name, person.ids.len());
    same(&record, &held);
    assert!(held.keys().any(|url| url.contains("/Practitioner/")), "what a compartment refers to belongs to it");
    assert!(record.outcomes.is_empty(), "{:?}", record.outcomes);
    assert_eq!(record.sources(), holders(&network, person), "one Provenance for each member with a part");
    let findings = prove(&network, &clinician, &record.proof).await;
    assert_eq!((findings.subject, findings.parts.len()), (Subject::Record, person.ids.len()));
    assert_eq!(findings.missing, [] as [u32; 0]);

    let in_sevens = read(&clinician, &south, at_south, (None, 7)).await;
    assert!(in_sevens.pages > held.len() / 7, "{} pages", in_sevens.pages);
    assert_eq!(in_sevens.matches, record.matches);
    for member in person.ids.keys() {
        let (at, id) = (network.member(member), &person.ids[member]);
        let (sevens, whole) = (local(&at.operator, &at, id, 7).await, local(&at.operator, &at, id, 1_000).await);
        assert_eq!(sevens, whole, "the local record of {member} in pages of 7");
    }
    listed(&network, person, 2).await;
    nobodys_list_but_the_own(&network, person, other).await;

    let mut revoked = granted.clone();
    revoked["status"] = "inactive".into();
    let revoked = json(&ask(&person.client, 200, ("PUT", &at_home), Some(revoked)).await);
    assert_eq!(revoked["status"], "inactive");
    refused(&clinician, &south, at_south, None).await;
    copy(&south, at_south, "inactive").await;
    refused(&clinician, &south, at_south, Some("ETREAT")).await;
    listed(&network, person, 2).await;
    network.stop().await;
}

/// The list has every other holder's entry of each of South's reads, and nothing else; its proof says so too.
async fn listed(network: &Network, person: &Person, reads: usize) {
    let home = network.member(&person.home);
    let url = format!("{}/AuditEvent?patient={}&scope=network", home.fhir, person.ids[&person.home]);
    let first = ask(&person.client, 200, ("GET", &url), None).await;
    let proof = lab::client::link(&first, "proof").expect("the list links to its proof");
    let events: Vec<Value> = search(&person.client, &url).await.into_iter().map(|mut e| e["resource"].take()).collect();
    assert_eq!(events.len(), reads * (person.ids.len() - 1), "{events:?}");
    let mut times = Vec::new();
    for event in &events {
        assert_eq!(event["resourceType"], "AuditEvent");
        assert_eq!(event["agent"][0]["who"]["display"], "South Hospital");
        assert!(event["agent"][0]["role"][0].to_string().contains("clinician"), "{event}");
        assert_eq!(event["purposeOfEvent"][0]["coding"][0]["code"], "TREAT");
        assert_eq!(event["outcome"], "0");
        assert!(
            event["entity"][0]["what"]["reference"].is_string() && event["entity"][0]["what"]["display"].is_string()
        );
        let recorded = event["recorded"].as_str().unwrap();
        times.push(fhir::parse_date(recorded).expect("recorded is an instant").0);
    }
    assert!(times.is_sorted_by(|a, b| a >= b), "newest first");
    let findings = prove(network, &person.client, &proof).await;
    assert_eq!((findings.subject, findings.parts.len()), (Subject::Accesses, person.ids.len()));
    assert_eq!(findings.accesses.len(), events.len());
}

async fn nobodys_list_but_the_own(network: &Network, person: &Person, other: &Person) {
    let home = network.member(&person.home);
    let url = format!("{}/AuditEvent?patient={}&scope=network", home.fhir, person.ids[&person.home]);
    ask(&network.clinician(&person.home), 403, ("GET", &url), None).await;
    if other.home == person.home {
        ask(&other.client, 403, ("GET", &url), None).await;
    }
}

#[tokio::test]
async fn a_grant_to_a_member_that_does_not_know_the_person_makes_a_handle_there() {
    let network = Network::start(&["--members", "4", "--patients", "4"]).await;
    let person = &network.patients(&["north", "clinic", "lab"], &["south"])[0];
    let (south, clinician) = (network.member("south"), network.clinician("south"));
    let before = search(&south.operator, &format!("{}/Patient", south.fhir)).await;
    grant(&network, person, "south", |_| ()).await;

    let consents = format!("{}/Consent", south.fhir);
    let consent = until("a copy of the Consent at south", SOON, || async {
        search(&south.operator, &consents).await.first().map(|e| e["resource"].clone())
    })
    .await;
    assert_eq!(consent["status"], "active");
    let id = consent["patient"]["reference"].as_str().unwrap().strip_prefix("Patient/").unwrap().to_owned();
    assert!(before.iter().all(|e| e["resource"]["id"] != id.as_str()), "a Patient of its own");
    let handle = json(&ask(&clinician, 200, ("GET", &format!("{}/Patient/{id}", south.fhir)), None).await);
    for element in ["name", "birthDate", "gender", "address", "telecom", "photo", "contact"] {
        assert!(handle.get(element).is_none(), "a handle has no {element}: {handle}");
    }
    let record = read(&clinician, &south, &id, (None, 100)).await;
    let mut held = union(&network, person).await;
    // The reader's own part is the handle and what the grant made: shown or not, nothing else may be there.
    held.extend(
        local(&south.operator, &south, &id, 100).await.into_iter().filter(|(u, _)| record.matches.contains_key(u)),
    );
    same(&record, &held);
    assert!(record.outcomes.is_empty(), "{:?}", record.outcomes);
    let sources: Vec<&str> = record.sources().into_iter().filter(|title| *title != south.title).collect();
    assert_eq!(sources, holders(&network, person));
    network.stop().await;
}

#[tokio::test]
async fn what_was_written_just_before_a_read_is_in_its_answer() {
    let network = Network::start(&["--members", "4", "--patients", "4"]).await;
    let person = &network.patients(&["north", "south", "lab"], &[])[0];
    let (south, clinician) = (network.member("south"), network.clinician("south"));
    grant(&network, person, "south", |_| ()).await;
    for round in 0..2 {
        for name in ["north", "lab", "south"] {
            let at = network.member(name);
            let url = format!("{}/Observation", at.fhir);
            let wish = |text: &str| {
                json!({
                    "resourceType": "Observation", "status": "final", "code": {"text": text},
                    "subject": {"reference": format!("Patient/{}", person.ids[name])},
                })
            };
            let written = ask(&at.operator, 201, ("POST", &url), Some(wish(&format!("round {round}")))).await;
            let mut found = json(&written);
            let url = format!("{url}/{}", found["id"].as_str().unwrap());
            let record = read(&clinician, &south, &person.ids["south"], (None, 200)).await;
            assert!(record.matches[&url] == written.body, "{url}: created");
            if round > 0 {
                continue;
            }
            found["code"]["text"] = "changed".into();
            let changed = ask(&at.operator, 200, ("PUT", &url), Some(found)).await;
            let record = read(&clinician, &south, &person.ids["south"], (None, 200)).await;
            assert!(record.matches[&url] == changed.body, "{url}: changed");
            ask(&at.operator, 204, ("DELETE", &url), None).await;
            let record = read(&clinician, &south, &person.ids["south"], (None, 200)).await;
            assert!(!record.matches.contains_key(&url), "{url}: deleted");
            assert!(record.outcomes.is_empty(), "{:?}", record.outcomes);
        }
    }
    referred(&network, person).await;
    network.stop().await;
}

/// What a record refers to, and what that refers to, is part of it: at its newest version, as long as it is there.
async fn referred(network: &Network, person: &Person) {
    let (south, clinician, at) = (network.member("south"), network.clinician("south"), network.member("north"));
    let create = async |wish: Value| {
        let url = format!("{}/{}", at.fhir, wish["resourceType"].as_str().unwrap());
        let written = json(&ask(&at.operator, 201, ("POST", &url), Some(wish)).await);
        let name = format!("{}/{}", written["resourceType"].as_str().unwrap(), written["id"].as_str().unwrap());
        (format!("{}/{name}", at.fhir), name, written)
    };
    let (ward, name, mut changed) = create(json!({"resourceType": "Organization", "name": "Ward 7"})).await;
    let issuer = json!([{"code": {"text": "surgeon"}, "issuer": {"reference": name}}]);
    let (surgeon, name, _) = create(json!({"resourceType": "Practitioner", "qualification": issuer})).await;
    create(json!({
        "resourceType": "Procedure", "status": "completed", "performer": [{"actor": {"reference": name}}],
        "subject": {"reference": format!("Patient/{}", person.ids["north"])},
    }))
    .await;
    for name in ["Ward 7", "Ward 8"] {
        changed["name"] = name.into();
        ask(&at.operator, 200, ("PUT", &ward), Some(changed.clone())).await;
        let record = read(&clinician, &south, &person.ids["south"], (None, 200)).await;
        assert!(record.outcomes.is_empty(), "{name}: {:?}", record.outcomes);
        same(&record, &union(network, person).await);
        assert!(record.matches.contains_key(&surgeon), "the surgeon of a procedure");
        let found: Value = serde_json::from_slice(&record.matches[&ward]).unwrap();
        assert_eq!(found["name"], name, "the surgeon's ward, at its newest version");
    }
}
