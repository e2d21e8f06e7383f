//! The CapabilityStatement: what this server does, from the tables by which it does it.

use crate::{
    App,
    fault::{FHIR_JSON, Fault},
    request::{Asked, nothing_else, take},
};
use axum::{
    extract::State,
    http::header,
    response::{IntoResponse as _, Response},
};
use fhir::{
    json::{Value, object},
    schema::resource_types,
    search::{Kind, parameters},
};

/// When the interface was changed last.
const INTERFACE_DATE: &str = "2026-11-25";

pub(crate) async fn metadata(State(app): State<App>, Asked(mut query): Asked) -> Result<Response, Fault> {
    if take(&mut query, "mode").is_some_and(|mode| mode != "full") {
        return Err(Fault::bad_request("mode is `full`, or left out"));
    }
    nothing_else(&query, &["mode"], &[])?;
    let code = |code: &str| object([("code", code.into())]);
    let interactions = ["read", "vread", "update", "delete", "history-instance", "create", "search-type"];
    let resources = resource_types().map(|of| {
        let params = parameters(of).into_iter().map(|(name, kind)| {
            let kind = match kind {
                Kind::Token => "token",
                Kind::String => "string",
                Kind::Date => "date",
                Kind::Reference => "reference",
                Kind::Uri => "uri",
                Kind::Number => "number",
                Kind::Quantity => "quantity",
            };
            object([("name", name.into()), ("type", kind.into())])
        });
        let mut resource = object([
            ("type", of.into()),
            ("interaction", Value::Array(interactions.iter().map(|i| code(i)).collect())),
            ("versioning", "versioned-update".into()),
            ("readHistory", true.into()),
            ("updateCreate", true.into()),
            ("conditionalCreate", true.into()),
            ("searchParam", Value::Array(params.collect())),
        ]);
        if of == "Patient" {
            let definition = "http://hl7.org/fhir/OperationDefinition/Patient-everything";
            let operation = object([("name", "everything".into()), ("definition", definition.into())]);
            resource.set("operation", Value::Array(vec![operation]));
        }
        resource
    });
    let rest = object([
        ("mode", "server".into()),
        (
            "security",
            object([(
                "description",
                "Bearer tokens of this member; reads across members need the patient's grant.".into(),
            )]),
        ),
        ("resource", Value::Array(resources.collect())),
        ("interaction", Value::Array(vec![code("transaction"), code("batch")])),
    ]);
    let statement = object([
        ("resourceType", "CapabilityStatement".into()),
        ("status", "active".into()),
        ("date", INTERFACE_DATE.into()),
        ("kind", "instance".into()),
        ("software", object([("name", "Suture".into()), ("version", env!("CARGO_PKG_VERSION").into())])),
        (
            "implementation",
            object([("description", app.records.me().title.as_str().into()), ("url", app.records.fhir_base().into())]),
        ),
        ("fhirVersion", "4.0.1".into()),
        ("format", Value::Array(vec!["application/fhir+json".into()])),
        ("rest", Value::Array(vec![rest])),
    ]);
    Ok(([(header::CONTENT_TYPE, FHIR_JSON)], statement.write()).into_response())
}
