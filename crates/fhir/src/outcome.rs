//! OperationOutcome: what went wrong, where, and what would be right.

use crate::{
    json::{Value, object},
    validate::Issue,
};

/// An OperationOutcome with these issues.
#[must_use]
pub fn outcome(issues: &[Issue]) -> Value {
    let issues = issues.iter().map(|issue| {
        let mut value = object([
            ("severity", issue.severity.into()),
            ("code", issue.code.into()),
            ("diagnostics", issue.diagnostics.as_str().into()),
        ]);
        if !issue.expression.is_empty() {
            value.set("expression", Value::Array(vec![issue.expression.as_str().into()]));
        }
        value
    });
    object([("resourceType", "OperationOutcome".into()), ("issue", Value::Array(issues.collect()))])
}
