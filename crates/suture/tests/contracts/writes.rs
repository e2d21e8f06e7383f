//! FHIR's interactions at one member, as any client uses them.

use crate::{
    network::{Network, Person, ask, ask_with, json},
    record::search,
};
use lab::client::Client;
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// A member's FHIR base and who writes there.
struct At {
    base: String,
    client: Client,
    patient: String,
}

impl At {
    fn observation(&self, text: &str) -> Value {
        json!({
            "resourceType": "Observation", "status": "final", "code": {"text": text},
            "identifier": [{"system": "https://example.org/test", "value": text}],
            "subject": {"reference": format!("Patient/{}", self.patient)},
        })
    }

    fn url(&self, rest: &str) -> String {
        format!("{}/{rest}", self.base)
    }

    async fn found(&self, query: &str) -> Vec<Value> {
        search(&self.client, &self.url(query)).await.into_iter().map(|mut e| e["resource"].take()).collect()
    }
}

#[tokio::test]
async fn writes_searches_and_transactions_follow_fhir() {
    let network = Network::start(&["--members", "4", "--patients", "4"]).await;
    let person = &network.patients(&["north"], &[])[0];
    let (base, client) = (network.member("north").fhir, network.clinician("north"));
    let at = At { base, client, patient: person.ids["north"].clone() };
    versions(&at).await;
    conditions(&at).await;
    preferences(&at).await;
    transactions(&at).await;
    searches(&at, person).await;
    failures(&at).await;
    types(&at).await;
    large(&at).await;
    network.stop().await;
}

/// Create, read, update, delete, with versions that a writer may demand.
async fn versions(at: &At) {
    let wish = at.observation("versions");
    let created = ask(&at.client, 201, ("POST", &at.url("Observation")), Some(wish)).await;
    let resource = json(&created);
    let url = at.url(&format!("Observation/{}", resource["id"].as_str().unwrap()));
    assert_eq!(created.headers["location"], format!("{url}/_history/1"));
    assert_eq!((&*created.headers["etag"], &resource["meta"]["versionId"]), ("W/\"1\"", &json!("1")));
    assert!(created.headers.contains_key("last-modified"));
    assert_eq!(created.headers["content-type"].split(';').next(), Some("application/fhir+json"));
    assert_eq!(ask(&at.client, 200, ("GET", &url), None).await.body, created.body);
    assert_eq!(ask(&at.client, 200, ("GET", &created.headers["location"]), None).await.body, created.body);

    let mut wish = resource.clone();
    wish["status"] = "amended".into();
    let changed = ask_with(&at.client, 200, ("PUT", &url), &[("If-Match", "W/\"1\"")], Some(wish.clone())).await;
    assert_eq!((&*changed.headers["etag"], json(&changed)["status"].as_str()), ("W/\"2\"", Some("amended")));
    ask_with(&at.client, 412, ("PUT", &url), &[("If-Match", "W/\"1\"")], Some(wish.clone())).await;
    ask_with(&at.client, 412, ("DELETE", &url), &[("If-Match", "W/\"1\"")], None).await;
    let missing = at.url("Observation/not-there");
    wish["id"] = "not-there".into();
    ask_with(&at.client, 412, ("PUT", &missing), &[("If-Match", "W/\"1\"")], Some(wish.clone())).await;
    ask(&at.client, 201, ("PUT", &missing), Some(wish)).await;
    ask_with(&at.client, 204, ("DELETE", &url), &[("If-Match", "W/\"2\"")], None).await;
    ask(&at.client, 410, ("GET", &url), None).await;
    assert_eq!(ask(&at.client, 200, ("GET", &format!("{url}/_history/1")), None).await.body, created.body);
    ask(&at.client, 410, ("GET", &format!("{url}/_history/3")), None).await;
    let history = json(&ask(&at.client, 200, ("GET", &format!("{url}/_history")), None).await);
    let methods = history["entry"].as_array().unwrap().iter();
    let methods: Vec<&str> = methods.map(|e| e["request"]["method"].as_str().unwrap()).collect();
    assert_eq!((history["type"].as_str(), methods), (Some("history"), vec!["DELETE", "PUT", "POST"]));
}

async fn conditions(at: &At) {
    let (url, condition) = (at.url("Observation"), "identifier=https://example.org/test|conditions");
    let headers = [("If-None-Exist", condition)];
    let first = ask_with(&at.client, 201, ("POST", &url), &headers, Some(at.observation("conditions"))).await;
    let again = ask_with(&at.client, 200, ("POST", &url), &headers, Some(at.observation("conditions"))).await;
    assert_eq!(first.body, again.body);
    ask(&at.client, 201, ("POST", &url), Some(at.observation("conditions"))).await;
    ask_with(&at.client, 412, ("POST", &url), &headers, Some(at.observation("conditions"))).await;
    assert_eq!(at.found(&format!("Observation?{condition}")).await.len(), 2);
}

async fn preferences(at: &At) {
    let url = at.url("Observation");
    let create = async |prefer: &'static str| {
        ask_with(&at.client, 201, ("POST", &url), &[("Prefer", prefer)], Some(at.observation("preferences"))).await
    };
    assert_eq!(json(&create("return=representation").await)["resourceType"], "Observation");
    assert_eq!(json(&create("return=OperationOutcome").await)["resourceType"], "OperationOutcome");
    let minimal = create("return=minimal").await;
    assert!(minimal.body.is_empty() && minimal.headers["location"].starts_with(&url));
    let finalized = create("respond-finalized").await;
    assert!(finalized.headers["suture-finalized"].parse::<u64>().unwrap() > 0);
    assert!(finalized.headers["preference-applied"].contains("respond-finalized"));
}

async fn transactions(at: &At) {
    let practitioner = json!({
        "resourceType": "Practitioner", "identifier": [{"system": "https://example.org/staff", "value": "77"}],
        "name": [{"family": "Transaction"}],
    });
    let practitioner = json(&ask(&at.client, 201, ("POST", &at.url("Practitioner")), Some(practitioner)).await);
    let encounter = json!({
        "resourceType": "Encounter", "status": "finished", "class": {"code": "AMB"},
        "subject": {"reference": format!("Patient/{}", at.patient)},
        "participant": [{"individual": {"reference": "Practitioner?identifier=https://example.org/staff|77"}}],
    });
    let mut observation = at.observation("transactions");
    let urn = "urn:uuid:7ad42d0b-5e30-4f3c-bb7e-2bd83ecd1df8";
    observation["encounter"] = json!({"reference": urn});
    let entry = |resource: &Value, full_url: &str| {
        json!({
            "fullUrl": full_url, "resource": resource,
            "request": {"method": "POST", "url": resource["resourceType"]},
        })
    };
    let bundle = |entries: Vec<Value>| json!({"resourceType": "Bundle", "type": "transaction", "entry": entries});
    // The reference stands before what it refers to.
    let observation_urn = "urn:uuid:7ad42d0b-5e30-4f3c-bb7e-2bd83ecd1df9";
    let wish = bundle(vec![entry(&observation, observation_urn), entry(&encounter, urn)]);
    let answer = json(&ask(&at.client, 200, ("POST", &at.base), Some(wish)).await);
    assert_eq!((answer["type"].as_str(), answer["entry"].as_array().unwrap().len()), (Some("transaction-response"), 2));
    let (first, second) = (&answer["entry"][0]["resource"], &answer["entry"][1]["resource"]);
    assert_eq!(first["encounter"]["reference"], format!("Encounter/{}", second["id"].as_str().unwrap()));
    let named = &second["participant"][0]["individual"]["reference"];
    assert_eq!(*named, format!("Practitioner/{}", practitioner["id"].as_str().unwrap()));
    for entry in answer["entry"].as_array().unwrap() {
        assert!(entry["response"]["status"].as_str().unwrap().starts_with("201"));
        assert!(entry["response"]["location"].is_string() && entry["response"]["etag"] == "W/\"1\"");
    }
    let url = at.url(&format!("Encounter/{}", second["id"].as_str().unwrap()));
    assert_eq!(json(&ask(&at.client, 200, ("GET", &url), None).await), *second);

    // All or nothing.
    let (good, mut bad) = (at.observation("all-or-nothing"), at.observation("all-or-nothing"));
    bad.as_object_mut().unwrap().remove("status");
    let wish = bundle(vec![entry(&good, urn), entry(&bad, observation_urn)]);
    ask(&at.client, 422, ("POST", &at.base), Some(wish)).await;
    let mut dangling = encounter.clone();
    dangling["participant"][0]["individual"]["reference"] = "Practitioner?identifier=nobody|1".into();
    let wish = bundle(vec![entry(&good, observation_urn), entry(&dangling, urn)]);
    ask(&at.client, 422, ("POST", &at.base), Some(wish)).await;
    assert!(at.found("Observation?identifier=https://example.org/test|all-or-nothing").await.is_empty());
}

async fn searches(at: &At, person: &Person) {
    for number in 0..5 {
        let mut wish = at.observation(&format!("searches-{number}"));
        wish["code"] = json!({"coding": [{"system": "http://loinc.org", "code": "8867-4"}], "text": "pulse"});
        wish["effectiveDateTime"] = format!("2031-05-0{}", number + 1).into();
        ask(&at.client, 201, ("POST", &at.url("Observation")), Some(wish)).await;
    }
    let (given, family) = person.name.split_once(' ').unwrap();
    let patient = &at.patient;
    let identity = json(&ask(&at.client, 200, ("GET", &at.url(&format!("Patient/{patient}"))), None).await);
    let identity = &identity["identifier"][0];
    let identity = format!("{}|{}", identity["system"].as_str().unwrap(), identity["value"].as_str().unwrap());
    let family = family.replace(' ', "%20");
    for query in [
        format!("Patient?_id={patient}"),
        format!("Patient?identifier={identity}"),
        format!("Patient?name={}&family={family}", given.to_lowercase()),
    ] {
        let found = at.found(&query).await;
        assert_eq!(found.iter().map(|r| &r["id"]).collect::<Vec<_>>(), [patient.as_str()], "{query}");
    }
    let pulse = format!("Observation?patient=Patient/{patient}&code=http://loinc.org|8867-4");
    for (more, count) in [
        ("date=2031-05-03", 1),
        ("date=ge2031-05-02&date=le2031-05-04", 3),
        ("date=gt2031-05-05", 0),
        ("date=2031&_count=2", 5),
        ("date=2031-05&_count=1", 5),
    ] {
        let found = at.found(&format!("{pulse}&{more}")).await;
        let ids: BTreeSet<&str> = found.iter().map(|r| r["id"].as_str().unwrap()).collect();
        assert_eq!((found.len(), ids.len()), (count, count), "{more}");
    }
    let url = at.url(&format!("{pulse}&date=2031&_count=2"));
    let page = json(&ask(&at.client, 200, ("GET", &url), None).await);
    assert_eq!((page["total"].as_u64(), page["entry"].as_array().unwrap().len()), (Some(5), 2));
    assert_eq!(page["entry"][0]["search"]["mode"], "match");
}

/// Every failure says what is wrong in an OperationOutcome.
async fn failures(at: &At) {
    ask(&at.client, 404, ("GET", &at.url("Observation/nowhere")), None).await;
    ask(&at.client, 404, ("GET", &at.url("Nothing/nowhere")), None).await;
    ask(&at.client, 404, ("GET", &at.url("Observation/a/b/c")), None).await;
    ask(&at.client, 405, ("DELETE", &at.url("Observation")), None).await;
    ask(&at.client, 400, ("GET", &at.url("Observation?no-such-parameter=1")), None).await;
    ask(&at.client, 400, ("GET", &at.url("Observation?date=yesterday")), None).await;
    ask(
        &at.client,
        400,
        ("PUT", &at.url("Observation/other")),
        Some(json!({
            "resourceType": "Observation", "id": "another", "status": "final", "code": {"text": "x"},
        })),
    )
    .await;
    ask(&at.client, 422, ("POST", &at.url("Observation")), Some(json!({"resourceType": "Observation"}))).await;
    let unknown = json!({"resourceType": "Observation", "status": "final", "code": {"text": "x"}, "mood": "good"});
    let outcome = json(&ask(&at.client, 422, ("POST", &at.url("Observation")), Some(unknown)).await);
    assert_eq!(outcome["issue"][0]["expression"][0], "Observation.mood");
    for (body, kind, status) in
        [(&b"{\"resourceType\":"[..], "application/fhir+json", 400), (b"<Observation/>", "application/fhir+xml", 415)]
    {
        let headers = [("content-type", kind)];
        // The client's own content type would come second.
        let answer = send_raw(at, &headers, body).await;
        assert_eq!(answer.status, status, "{kind}");
        assert_eq!(json(&answer)["resourceType"], "OperationOutcome");
    }
}

async fn send_raw(at: &At, headers: &[(&str, &str)], body: &[u8]) -> lab::client::Answer {
    at.client.send("POST", &at.url("Observation"), headers, Some(body.to_vec())).await.unwrap()
}

/// Every R4 resource type is accepted: what is refused is content alone.
async fn types(at: &At) {
    let statement = json(&ask(&at.client, 200, ("GET", &at.url("metadata")), None).await);
    let types: Vec<String> = statement["rest"][0]["resource"]
        .as_array()
        .unwrap()
        .iter()
        .map(|r| r["type"].as_str().unwrap().to_owned())
        .collect();
    assert!(types.len() >= 146, "R4 has 146 resource types beside Resource and DomainResource: {}", types.len());
    let mut taken = 0;
    for name in types.iter().filter(|name| *name != "Consent") {
        let body = json!({"resourceType": name}).to_string().into_bytes();
        let answer = at.client.send("POST", &at.url(name), &[], Some(body)).await.unwrap();
        match answer.status {
            201 => taken += 1,
            422 => {
                for issue in json(&answer)["issue"].as_array().unwrap() {
                    assert!(["required", "invariant"].contains(&issue["code"].as_str().unwrap()), "{name}: {issue}");
                }
            }
            other => panic!("{name}: HTTP {other}: {}", String::from_utf8_lossy(&answer.body)),
        }
    }
    println!("{taken} of {} types are taken with no element at all", types.len());
    assert!(taken > 20);
}

/// 10,000 entries are taken at once, and not one more.
async fn large(at: &At) {
    let entry = |number: usize| {
        let resource = json!({
            "resourceType": "Observation", "status": "final", "code": {"text": format!("large {number}")},
            "subject": {"reference": format!("Patient/{}", at.patient)}, "effectiveDateTime": "2032-02-02",
        });
        json!({"resource": resource, "request": {"method": "POST", "url": "Observation"}})
    };
    let bundle = |count: usize| {
        let entries: Value = (0..count).map(entry).collect();
        json!({"resourceType": "Bundle", "type": "transaction", "entry": entries})
    };
    ask(&at.client, 422, ("POST", &at.base), Some(bundle(10_001))).await;
    let answer = json(&ask(&at.client, 200, ("POST", &at.base), Some(bundle(10_000))).await);
    assert_eq!(answer["entry"].as_array().unwrap().len(), 10_000);
    let url = at.url("Observation?date=2032-02-02&_count=0");
    assert_eq!(json(&ask(&at.client, 200, ("GET", &url), None).await)["total"], 10_000);
}
