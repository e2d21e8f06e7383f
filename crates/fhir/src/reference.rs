//! References between resources: found, understood, rewritten.

use crate::json::Value;

/// Where a reference leads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// A resource of the same server.
    Relative {
        /// Its type.
        resource_type: String,
        /// Its logical id.
        id: String,
    },
    /// A search that must find exactly one.
    Conditional {
        /// The type.
        resource_type: String,
        /// The query.
        query: String,
    },
    /// A `urn:`.
    Urn,
    /// Inside the same resource.
    Contained,
    /// Anything else.
    Elsewhere,
}

/// A literal reference.
#[derive(Debug, Clone)]
pub struct Reference {
    /// FHIRPath of the element.
    pub path: String,
    /// As written.
    pub text: String,
    /// Where it leads.
    pub target: Target,
}

/// All literal references of a resource, those of contained resources included.
#[must_use]
pub fn references(resource: &Value) -> Vec<Reference> {
    let mut found = Vec::new();
    let name = resource.text("resourceType").unwrap_or("Resource");
    walk(resource, name.to_owned(), &mut found);
    found
}

fn walk(value: &Value, path: String, found: &mut Vec<Reference>) {
    match value {
        Value::Object(members) => {
            for (name, value) in members {
                let path = format!("{path}.{name}");
                match value {
                    Value::String(text) if name == "reference" => {
                        found.push(Reference { path, text: text.clone(), target: target(text) });
                    }
                    _ => walk(value, path, found),
                }
            }
        }
        Value::Array(items) => {
            for (at, item) in items.iter().enumerate() {
                walk(item, format!("{path}[{at}]"), found);
            }
        }
        _ => {}
    }
}

/// Where a reference leads.
#[must_use]
pub fn target(text: &str) -> Target {
    if text.starts_with('#') {
        return Target::Contained;
    }
    if text.starts_with("urn:") {
        return Target::Urn;
    }
    if let Some((resource_type, query)) = text.split_once('?')
        && crate::schema::is_resource_type(resource_type)
    {
        return Target::Conditional { resource_type: resource_type.into(), query: query.into() };
    }
    let mut parts = text.split('/');
    match (parts.next(), parts.next(), parts.next(), parts.next(), parts.next()) {
        (Some(of), Some(id), None, None, None) | (Some(of), Some(id), Some("_history"), Some(_), None)
            if crate::schema::is_resource_type(of) && !id.is_empty() =>
        {
            Target::Relative { resource_type: of.into(), id: id.into() }
        }
        _ => Target::Elsewhere,
    }
}

/// Replaces references, and any other text that is exactly a known `urn:`.
pub fn rewrite(value: &mut Value, replace: impl Fn(&str) -> Option<String>) {
    rewrite_in(value, "", &replace);
}

fn rewrite_in(value: &mut Value, name: &str, replace: &impl Fn(&str) -> Option<String>) {
    match value {
        Value::String(text) if name == "reference" || text.starts_with("urn:") => {
            if let Some(new) = replace(text) {
                *text = new;
            }
        }
        Value::Object(members) => {
            members.iter_mut().for_each(|(name, value)| rewrite_in(value, &name.clone(), replace))
        }
        Value::Array(items) => items.iter_mut().for_each(|item| rewrite_in(item, name, replace)),
        _ => {}
    }
}
