//! The Patient compartment (compartmentdefinition-patient.html): to which patients a resource belongs.

use crate::{
    json::{Limits, Value, parse},
    path::Path,
    reference::{Target, target},
    search::expression,
};
use std::{collections::HashMap, sync::LazyLock};

/// Type → the paths whose references to a Patient put a resource into the patient's compartment.
static PATHS: LazyLock<HashMap<String, Vec<Path>>> = LazyLock::new(|| {
    let table =
        parse(include_bytes!("../tables/patient-compartment.json"), Limits::default()).expect("the table is JSON");
    let Value::Object(types) = table else { return HashMap::new() };
    let paths = |of: &str, params: &Value| {
        let params = params.as_array().unwrap_or_default().iter().filter_map(Value::as_str);
        params.filter_map(|param| expression(of, param)).flatten().collect()
    };
    types.iter().map(|(of, params)| (of.clone(), paths(of, params))).collect()
});

/// Logical ids of the Patients of this server in whose compartment a resource is; a Patient is in its own.
#[must_use]
pub fn patients(resource: &Value) -> Vec<String> {
    let Some(of) = resource.text("resourceType") else { return Vec::new() };
    let mut found: Vec<String> = Vec::new();
    if of == "Patient" {
        found.extend(resource.text("id").map(str::to_owned));
    }
    for path in PATHS.get(of).into_iter().flatten() {
        for value in path.values(resource) {
            if let Some(text) = value.text("reference")
                && let Target::Relative { resource_type, id } = target(text)
                && resource_type == "Patient"
            {
                found.push(id);
            }
        }
    }
    // A Patient's links lead to others' compartments, which are not its own.
    if of == "Patient" {
        found.truncate(1);
    }
    found.sort();
    found.dedup();
    found
}
