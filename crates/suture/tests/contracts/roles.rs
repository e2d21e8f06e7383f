//! Who may what: operators all, clinicians clinical resources and never Consent, patients their own record.

use crate::{
    network::{Member, Network, Person, ask, json},
    record::{consent, grant, local, search},
};
use serde_json::{Value, json};
use std::collections::BTreeSet;

fn observation(patient: &str) -> Value {
    json!({
        "resourceType": "Observation", "status": "final", "code": {"text": "pulse"},
        "subject": {"reference": format!("Patient/{patient}")},
    })
}

#[tokio::test]
async fn each_role_reaches_what_it_may_and_nothing_else() {
    let network = Network::start(&["--members", "4", "--patients", "8"]).await;
    let own = network.patients(&["north", "south"], &[]).into_iter().filter(|p| p.home == "north").collect::<Vec<_>>();
    let (north, person, other) = (network.member("north"), &own[0], &own[1]);
    nobody(&network, &north, person).await;
    let granted = grant(&network, person, "south", |_| ()).await;
    let consent = format!("{}/Consent/{}", north.fhir, granted["id"].as_str().unwrap());
    clinician(&network, &north, person, (&consent, &granted)).await;
    patient(&north, person, other).await;
    ask(&other.client, 403, ("GET", &consent), None).await;
    let mut inactive = granted;
    inactive["status"] = "inactive".into();
    ask(&other.client, 403, ("PUT", &consent), Some(inactive)).await;
    network.stop().await;
}

/// Without a token, with an unknown one, with another member's.
async fn nobody(network: &Network, north: &Member, person: &Person) {
    let url = format!("{}/Patient/{}", north.fhir, person.ids["north"]);
    let unknown = network.client("sut_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA");
    for client in [&network.client(""), &unknown, &network.clinician("south"), &network.member("south").operator] {
        let answer = ask(client, 401, ("GET", &url), None).await;
        assert!(answer.headers.contains_key("www-authenticate"));
    }
}

async fn clinician(network: &Network, north: &Member, person: &Person, (consent, granted): (&str, &Value)) {
    let (clinician, id) = (network.clinician("north"), &person.ids["north"]);
    let base = &north.fhir;
    ask(&clinician, 200, ("GET", &format!("{base}/Patient/{id}")), None).await;
    assert!(!local(&clinician, north, id, 100).await.is_empty(), "locally without a grant");
    assert!(!search(&clinician, &format!("{base}/Observation?subject=Patient/{id}")).await.is_empty());
    let url = format!("{base}/Observation");
    let mut written = json(&ask(&clinician, 201, ("POST", &url), Some(observation(id))).await);
    written["status"] = "amended".into();
    let url = format!("{url}/{}", written["id"].as_str().unwrap());
    ask(&clinician, 200, ("PUT", &url), Some(written)).await;
    ask(&clinician, 204, ("DELETE", &url), None).await;

    let wish = self::consent(person, "south");
    ask(&clinician, 403, ("POST", &format!("{base}/Consent")), Some(wish.clone())).await;
    let mut inactive = granted.clone();
    inactive["status"] = "inactive".into();
    ask(&clinician, 403, ("PUT", consent), Some(inactive.clone())).await;
    ask(&clinician, 403, ("DELETE", consent), None).await;
    let bundle = |method: &str, url: &str| {
        json!({
            "resourceType": "Bundle", "type": "transaction",
            "entry": [{"resource": inactive, "request": {"method": method, "url": url}}],
        })
    };
    let id = granted["id"].as_str().unwrap();
    for bundle in [bundle("POST", "Consent"), bundle("PUT", &format!("Consent/{id}"))] {
        let answer = clinician.post(base, &fhir_value(&bundle)).await.unwrap();
        assert!([403, 422].contains(&answer.status), "HTTP {}: a Consent in a transaction", answer.status);
    }
    assert_eq!(json(&ask(&north.operator, 200, ("GET", consent), None).await)["status"], "active");

    ask(&clinician, 403, ("GET", &format!("{}/admin/status", north.web)), None).await;
    let wish = json!({"name": "Dr. Nobody", "role": "operator"});
    ask(&clinician, 403, ("POST", &format!("{}/admin/people", north.web)), Some(wish)).await;
    for operation in ["$enrolment-code", "$enrol"] {
        let url = format!("{base}/Patient/{}/{operation}", person.ids["north"]);
        ask(&clinician, 403, ("POST", &url), None).await;
    }
}

fn fhir_value(value: &Value) -> fhir::json::Value {
    fhir::json::parse(value.to_string().as_bytes(), fhir::json::Limits::default()).unwrap()
}

async fn patient(north: &Member, person: &Person, other: &Person) {
    let (base, id, others) = (&north.fhir, &person.ids["north"], &other.ids["north"]);
    let own = local(&person.client, north, id, 100).await;
    assert_eq!(own, local(&north.operator, north, id, 100).await, "the own record, whole");
    for url in own.keys() {
        ask(&person.client, 200, ("GET", url), None).await;
    }
    // A search shows what is the patient's, and of what is another's not even that it is there.
    let found = search(&person.client, &format!("{base}/Patient")).await;
    assert_eq!(found.iter().map(|e| e["resource"]["id"].as_str().unwrap()).collect::<Vec<_>>(), [id.as_str()]);
    let mine: BTreeSet<&String> = own.keys().filter(|url| url.contains("/Observation/")).collect();
    let all = search(&north.operator, &format!("{base}/Observation")).await;
    let found = search(&person.client, &format!("{base}/Observation")).await;
    let found: BTreeSet<String> = found.iter().map(|e| e["fullUrl"].as_str().unwrap().to_owned()).collect();
    assert!(found.iter().eq(mine) && all.len() > found.len());
    assert!(search(&person.client, &format!("{base}/Patient?_id={others}")).await.is_empty());

    let foreign = local(&north.operator, north, others, 100).await;
    for url in foreign.keys().filter(|url| !own.contains_key(*url) && !url.contains("/Organization/")) {
        ask(&person.client, 403, ("GET", url), None).await;
        ask(&person.client, 403, ("GET", &format!("{url}/_history")), None).await;
    }
    for rest in ["$everything", "$everything?scope=network"] {
        ask(&person.client, 403, ("GET", &format!("{base}/Patient/{others}/{rest}")), None).await;
    }
    ask(&person.client, 403, ("GET", &format!("{base}/Patient/{id}/$everything?scope=network")), None).await;
    let organizations = search(&person.client, &format!("{base}/Organization")).await;
    assert!(organizations.len() >= 4);

    ask(&person.client, 403, ("POST", &format!("{base}/Observation")), Some(observation(id))).await;
    let url = format!("{base}/Patient/{id}");
    let patient = json(&ask(&person.client, 200, ("GET", &url), None).await);
    ask(&person.client, 403, ("PUT", &url), Some(patient)).await;
    ask(&person.client, 403, ("DELETE", &url), None).await;
    let organization = organizations[0]["resource"].clone();
    let url = format!("{base}/Organization/{}", organization["id"].as_str().unwrap());
    ask(&person.client, 403, ("PUT", &url), Some(organization)).await;
    let foreign = consent(other, "south");
    ask(&person.client, 403, ("POST", &format!("{base}/Consent")), Some(foreign)).await;
    ask(&person.client, 403, ("GET", &format!("{}/admin/status", north.web)), None).await;
}
