//! Every error of a use case, as a status and an OperationOutcome: one exhaustive table.

use axum::{
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use fhir::{outcome::outcome, validate::Issue};
use records::{Denied, Error};

/// The content type of FHIR JSON.
pub(crate) const FHIR_JSON: &str = "application/fhir+json; charset=utf-8";

/// An answer that is not what was asked for.
pub(crate) struct Fault {
    pub(crate) status: StatusCode,
    pub(crate) issues: Vec<Issue>,
    retry_after_s: Option<u32>,
}

impl Fault {
    pub(crate) fn new(status: StatusCode, code: &'static str, text: impl Into<String>) -> Self {
        Self { status, issues: vec![Issue::error(code, "", text)], retry_after_s: None }
    }

    /// The same for people and probes: plain text.
    pub(crate) fn plain(self) -> (StatusCode, String) {
        let texts = self.issues.into_iter().map(|issue| issue.diagnostics + "\n");
        (self.status, texts.collect())
    }

    pub(crate) fn bad_request(text: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "invalid", text)
    }

    /// What a layer below the handlers said by its status alone.
    pub(crate) fn of_status(status: StatusCode) -> Self {
        match status {
            StatusCode::PAYLOAD_TOO_LARGE => {
                Self::new(status, "too-long", "a request has at most 64 MiB, and a transaction at most 10,000 entries")
            }
            StatusCode::BAD_REQUEST => Self::bad_request("the address or the content cannot be read: is it UTF-8?"),
            StatusCode::SERVICE_UNAVAILABLE | StatusCode::REQUEST_TIMEOUT => Self {
                retry_after_s: Some(5),
                ..Self::new(StatusCode::SERVICE_UNAVAILABLE, "transient", "no answer in time: try again in a moment")
            },
            StatusCode::NOT_FOUND => Self::new(
                status,
                "not-found",
                "there is nothing at this address: the FHIR base is /fhir, its description /fhir/metadata",
            ),
            StatusCode::METHOD_NOT_ALLOWED => {
                Self::new(status, "not-supported", "this address does not take this method")
            }
            StatusCode::UNSUPPORTED_MEDIA_TYPE => Self::new(status, "not-supported", "this content type is not taken"),
            status if status.is_server_error() => Self::new(status, "exception", "this member failed"),
            status => Self::new(status, "invalid", "the request is not taken"),
        }
    }
}

/// Whoever asks for FHIR gets an OperationOutcome, also when a layer below the handlers answers.
pub(crate) fn with_outcome(response: Response) -> Response {
    let status = response.status();
    if !(status.is_client_error() || status.is_server_error()) {
        return response;
    }
    let kind = response.headers().get(header::CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or_default();
    if kind.starts_with("application/fhir+json") {
        return response;
    }
    let mut outcome = Fault::of_status(status).into_response();
    if let Some(allow) = response.headers().get(header::ALLOW) {
        outcome.headers_mut().insert(header::ALLOW, allow.clone());
    }
    outcome
}

impl From<Error> for Fault {
    fn from(error: Error) -> Self {
        let text = error.to_string();
        let one = |status, code| Self::new(status, code, text.clone());
        match error {
            Error::Denied(Denied::Unauthenticated) => one(StatusCode::UNAUTHORIZED, "login"),
            Error::Denied(Denied::Role(_) | Denied::Grant(_)) => one(StatusCode::FORBIDDEN, "forbidden"),
            Error::NotFound(_) => one(StatusCode::NOT_FOUND, "not-found"),
            Error::Gone => one(StatusCode::GONE, "deleted"),
            Error::Conflict(_) => one(StatusCode::CONFLICT, "conflict"),
            Error::Precondition(_) => one(StatusCode::PRECONDITION_FAILED, "conflict"),
            Error::Invalid(issues) => Self { status: StatusCode::UNPROCESSABLE_ENTITY, issues, retry_after_s: None },
            Error::Unprocessable { expression, reason } => Self {
                status: StatusCode::UNPROCESSABLE_ENTITY,
                issues: vec![Issue::error("business-rule", expression, reason)],
                retry_after_s: None,
            },
            Error::BadRequest(_) => one(StatusCode::BAD_REQUEST, "invalid"),
            Error::Unavailable { retry_after_s, .. } => {
                Self { retry_after_s: Some(retry_after_s), ..one(StatusCode::SERVICE_UNAVAILABLE, "transient") }
            }
            Error::Internal { operation, source } => {
                tracing::error!(operation, %source, "a use case failed");
                one(StatusCode::INTERNAL_SERVER_ERROR, "exception")
            }
        }
    }
}

impl IntoResponse for Fault {
    fn into_response(self) -> Response {
        let body = outcome(&self.issues).write();
        let mut response = (self.status, [(header::CONTENT_TYPE, FHIR_JSON)], body).into_response();
        let headers = response.headers_mut();
        if self.status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        if let Some(seconds) = self.retry_after_s {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}
