//! Why a use case did not do what was asked.

use fhir::validate::Issue;

/// Who asks is not known, or may not do this. Says what is missing; never anything of what was asked for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Denied {
    /// No token, or one that nobody has.
    #[error("no valid bearer token: send `Authorization: Bearer <token>` with a token of this member")]
    Unauthenticated,
    /// The role does not allow it.
    #[error("{0}")]
    Role(String),
    /// No grant of the patient allows it.
    #[error("{0}")]
    Grant(String),
}

/// What can go wrong, by what the asker can do about it.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Not allowed.
    #[error(transparent)]
    Denied(#[from] Denied),
    /// There is no such thing here.
    #[error("{0}")]
    NotFound(String),
    /// It was deleted.
    #[error("it was deleted; its versions stay in its history")]
    Gone,
    /// It was changed meanwhile, or exists already.
    #[error("{0}")]
    Conflict(String),
    /// `If-Match` or a condition does not hold.
    #[error("{0}")]
    Precondition(String),
    /// What was sent is not valid FHIR: each issue names its place.
    #[error("the content is not valid")]
    Invalid(Vec<Issue>),
    /// What was sent is well formed but breaks a rule, at this element.
    #[error("{expression}: {reason}")]
    Unprocessable {
        /// FHIRPath of the element.
        expression: String,
        /// What is wrong and what would be right.
        reason: String,
    },
    /// A parameter or header is wrong.
    #[error("{0}")]
    BadRequest(String),
    /// Not possible now; later it may be.
    #[error("{reason}")]
    Unavailable {
        /// What is missing.
        reason: String,
        /// When to try again, in seconds.
        retry_after_s: u32,
    },
    /// A part of this member failed. The cause is logged, not told.
    #[error("{operation} failed at this member; its operator finds the cause in the log")]
    Internal {
        /// What was being done.
        operation: &'static str,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

impl Error {
    pub(crate) fn internal<E: Into<Box<dyn std::error::Error + Send + Sync>>>(
        operation: &'static str,
    ) -> impl FnOnce(E) -> Self {
        move |source| Self::Internal { operation, source: source.into() }
    }

    pub(crate) fn unavailable(reason: impl Into<String>) -> Self {
        Self::Unavailable { reason: reason.into(), retry_after_s: 2 }
    }

    pub(crate) fn rule(expression: impl Into<String>, reason: impl Into<String>) -> Self {
        Self::Unprocessable { expression: expression.into(), reason: reason.into() }
    }
}

impl From<chain::Stopped> for Error {
    fn from(_: chain::Stopped) -> Self {
        Self::unavailable("the ledger is not running at this member")
    }
}
