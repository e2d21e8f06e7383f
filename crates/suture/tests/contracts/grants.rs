//! What a Consent may say, and that all that it says is honoured.

use crate::{
    network::{Network, Person, ask, ask_with, json, until},
    process::SOON,
    record::{consent, copy, grant, organization, read, refused, search},
};
use serde_json::{Value, json};
use std::time::{SystemTime, UNIX_EPOCH};

fn purpose(codes: &[&str]) -> Value {
    let system = "http://terminology.hl7.org/CodeSystem/v3-ActReason";
    codes.iter().map(|code| json!({"system": system, "code": code})).collect()
}

/// A FHIR instant this many seconds from now.
fn in_seconds(seconds: i64) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis();
    fhir::instant(i64::try_from(now).unwrap() + seconds * 1_000)
}

#[tokio::test]
async fn a_grant_holds_for_its_purposes_in_its_period_and_only_if_it_is_complete() {
    let network = Network::start(&["--members", "4", "--patients", "8"]).await;
    let people = network.patients(&["south", "lab"], &[]);
    let [purposes, research, past, future, short, narrow, ..] = people.as_slice() else { panic!("too few people") };
    for_its_purposes(&network, purposes, research).await;
    in_its_period(&network, past, future, short).await;
    complete_ones_alone(&network, narrow).await;
    network.stop().await;
}

async fn for_its_purposes(network: &Network, person: &Person, research: &Person) {
    let (south, clinician) = (network.member("south"), network.clinician("south"));
    let granted = grant(network, person, "south", |c| c["provision"]["purpose"] = purpose(&["TREAT", "COC"])).await;
    assert_eq!(granted["provision"]["purpose"], purpose(&["TREAT", "COC"]));
    copy(&south, &person.ids["south"], "active").await;
    for allowed in [None, Some("TREAT"), Some("COC")] {
        read(&clinician, &south, &person.ids["south"], (allowed, 500)).await;
    }
    for other in ["HRESCH", "HMARKT", "BTG"] {
        refused(&clinician, &south, &person.ids["south"], Some(other)).await;
    }
    let url = format!("{}/Patient/{}/$everything?scope=network", south.fhir, person.ids["south"]);
    ask_with(&clinician, 400, ("GET", &url), &[("Purpose-Of-Use", "CURIOSITY")], None).await;

    grant(network, research, "south", |c| c["provision"]["purpose"] = purpose(&["HRESCH"])).await;
    copy(&south, &research.ids["south"], "active").await;
    refused(&clinician, &south, &research.ids["south"], None).await;
    read(&clinician, &south, &research.ids["south"], (Some("HRESCH"), 500)).await;
    let home = network.member(&research.home);
    let url = format!("{}/AuditEvent?patient={}&scope=network", home.fhir, research.ids[&research.home]);
    for event in search(&research.client, &url).await {
        assert_eq!(event["resource"]["purposeOfEvent"][0]["coding"][0]["code"], "HRESCH");
    }
}

async fn in_its_period(network: &Network, past: &Person, future: &Person, short: &Person) {
    let (south, clinician) = (network.member("south"), network.clinician("south"));
    let bounded = |period: Value| move |c: &mut Value| c["provision"]["period"] = period.clone();
    let granted = grant(network, past, "south", bounded(json!({"start": "2020-01-01", "end": "2020-12-31"}))).await;
    assert_eq!(granted["status"], "active");
    refused(&clinician, &south, &past.ids["south"], None).await;

    grant(network, future, "south", bounded(json!({"start": in_seconds(3_600), "end": in_seconds(7_200)}))).await;
    copy(&south, &future.ids["south"], "active").await;
    refused(&clinician, &south, &future.ids["south"], None).await;

    let end = in_seconds(10);
    grant(network, short, "south", bounded(json!({"start": "2020-01-01", "end": end}))).await;
    read(&clinician, &south, &short.ids["south"], (None, 500)).await;
    assert!(in_seconds(0) < end, "the read took longer than the period: this machine is too slow for the test");
    let url = format!("{}/Patient/{}/$everything?scope=network", south.fhir, short.ids["south"]);
    until("the grant ends with its period", SOON, || async {
        (clinician.get(&url).await.unwrap().status == 403).then_some(())
    })
    .await;
    assert!(in_seconds(0) >= end, "it ended before its period did");
    refused(&clinician, &south, &short.ids["south"], None).await;
}

/// Whatever would narrow a grant is refused, the element named, and nothing is granted.
async fn complete_ones_alone(network: &Network, person: &Person) {
    let home = network.member(&person.home);
    let url = format!("{}/Consent", home.fhir);
    let wish = consent(person, &organization(network, person, "south").await);
    let concept = json!([{"coding": [{"system": "http://loinc.org", "code": "4548-4"}]}]);
    let coding = json!([{"system": "http://terminology.hl7.org/CodeSystem/v3-Confidentiality", "code": "N"}]);
    let narrowing = [
        ("/provision/class", json!([{"system": "http://hl7.org/fhir/resource-types", "code": "Observation"}])),
        ("/provision/securityLabel", coding),
        ("/provision/dataPeriod", json!({"start": "2020-01-01"})),
        ("/provision/provision", json!([{"type": "deny"}])),
        ("/provision/action", concept.clone()),
        ("/provision/code", concept),
        ("/provision/data", json!([{"meaning": "instance", "reference": {"reference": "Observation/x"}}])),
        ("/provision/type", json!("deny")),
        ("/provision/modifierExtension", json!([{"url": "https://example.org/x", "valueBoolean": true}])),
        ("/modifierExtension", json!([{"url": "https://example.org/x", "valueBoolean": true}])),
        ("/implicitRules", json!("https://example.org/rules")),
        ("/status", json!("draft")),
        ("/verification", json!([{"verified": false}])),
    ];
    for (pointer, value) in narrowing {
        let mut wish = wish.clone();
        let (parent, element) = pointer.rsplit_once('/').unwrap();
        wish.pointer_mut(parent).unwrap()[element] = value;
        let outcome = json(&ask(&person.client, 422, ("POST", &url), Some(wish)).await);
        let named = format!("Consent{}", pointer.replace('/', "."));
        let place = outcome["issue"][0]["expression"][0].as_str().unwrap_or_default();
        assert!(place.starts_with(&named), "{named} is not named: {outcome}");
    }
    let mut two = wish.clone();
    let other = json!({"reference": {"reference": "Organization/lab"}});
    two["provision"]["actor"].as_array_mut().unwrap().push(other);
    ask(&person.client, 422, ("POST", &url), Some(two)).await;
    assert!(search(&person.client, &url).await.is_empty(), "a refused Consent is not stored");
    refused(&network.clinician("south"), &network.member("south"), &person.ids["south"], None).await;
}
