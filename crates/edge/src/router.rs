//! The routes. The table is what the router is made from, so a route that is not listed cannot be.

use crate::{App, admin, metadata, page, peer, rest};
use axum::{
    Router,
    extract::DefaultBodyLimit,
    http::{HeaderName, StatusCode, header},
    response::IntoResponse as _,
    routing::{MethodRouter, delete, get, post, put},
};
use std::time::Duration;
use tower_http::{
    catch_panic::CatchPanicLayer, compression::CompressionLayer, sensitive_headers::SetSensitiveRequestHeadersLayer,
    timeout::TimeoutLayer,
};
use wire::message::peer::CALL_OCTETS_MAX;

/// A transaction has at most this many octets; every other request is far smaller.
const BODY_OCTETS_MAX: usize = 64 << 20;
/// A request ends within this time.
const TIMEOUT: Duration = Duration::from_secs(120);

/// A route and what guards it.
#[derive(Debug, Clone, Copy)]
pub struct Route {
    /// Method.
    pub method: &'static str,
    /// Path.
    pub path: &'static str,
    /// Who may call: `public`, `person`, `operator`, `member`.
    pub scope: &'static str,
    /// Which consent is asked.
    pub consent: &'static str,
    /// Which audit event is left.
    pub audit: &'static str,
}

const fn route(
    method: &'static str,
    path: &'static str,
    scope: &'static str,
    consent: &'static str,
    audit: &'static str,
) -> Route {
    Route { method, path, scope, consent, audit }
}

/// Every route of the web port.
pub const ROUTES: [Route; 24] = [
    route("GET", "/", "public", "-", "-"),
    route("GET", "/healthz", "public", "-", "-"),
    route("GET", "/readyz", "public", "-", "-"),
    route("GET", "/metrics", "public", "-", "-"),
    route("POST", "/admin/people", "operator", "-", "own strand"),
    route("GET", "/admin/status", "operator", "-", "-"),
    route("GET", "/proofs/{id}", "person", "made for this person", "-"),
    route("GET", "/fhir/metadata", "public", "-", "-"),
    route("POST", "/fhir", "person", "role", "transaction"),
    route(
        "GET",
        "/fhir/{type}",
        "person",
        "role, inside the query; AuditEvent scope=network: the patient",
        "search; scope=network: none",
    ),
    route("POST", "/fhir/{type}", "person", "role; Consent: the patient", "create"),
    route("POST", "/fhir/{type}/_search", "person", "role, inside the query", "search"),
    route("GET", "/fhir/{type}/{id}", "person", "role", "read"),
    route("PUT", "/fhir/{type}/{id}", "person", "role; Consent: the patient", "update"),
    route("DELETE", "/fhir/{type}/{id}", "person", "role", "delete"),
    route("GET", "/fhir/{type}/{id}/_history", "person", "role", "history"),
    route("GET", "/fhir/{type}/{id}/_history/{version}", "person", "role", "vread"),
    route(
        "GET",
        "/fhir/Patient/{id}/$everything",
        "person",
        "role; scope=network: the patient's grant",
        "everything; scope=network: an entry at each holder",
    ),
    route("POST", "/fhir/Patient/{id}/$enrolment-code", "operator", "-", "-"),
    route("POST", "/fhir/Patient/{id}/$enrol", "operator", "one-time code of the holder's desk", "own strand"),
    route("GET", "/fhir", "public", "-", "-"),
    route("GET", "/fhir/", "public", "-", "-"),
    route("POST", "/fhir/", "person", "role", "transaction"),
    route(
        "POST",
        "/peer/v1/{method}",
        "member",
        "signature; releases: the patient's grant",
        "releases: an entry at the holder",
    ),
];

fn handler(route: &Route) -> Option<MethodRouter<App>> {
    Some(match (route.method, route.path) {
        ("GET", "/") => get(page::page),
        ("GET", "/healthz") => get(admin::healthz),
        ("GET", "/readyz") => get(admin::readyz),
        ("GET", "/metrics") => get(admin::metrics),
        ("POST", "/admin/people") => post(admin::people),
        ("GET", "/admin/status") => get(admin::status),
        ("GET", "/proofs/{id}") => get(admin::proof),
        ("GET", "/fhir/metadata" | "/fhir" | "/fhir/") => get(metadata::metadata),
        ("POST", "/fhir" | "/fhir/") => post(rest::transact),
        ("GET", "/fhir/{type}") => get(rest::search),
        ("POST", "/fhir/{type}") => post(rest::create),
        ("POST", "/fhir/{type}/_search") => post(rest::search_form),
        ("GET", "/fhir/{type}/{id}") => get(rest::read),
        ("PUT", "/fhir/{type}/{id}") => put(rest::update),
        ("DELETE", "/fhir/{type}/{id}") => delete(rest::delete),
        ("GET", "/fhir/{type}/{id}/_history") => get(rest::history),
        ("GET", "/fhir/{type}/{id}/_history/{version}") => get(rest::vread),
        ("GET", "/fhir/Patient/{id}/$everything") => get(rest::everything),
        ("POST", "/fhir/Patient/{id}/$enrolment-code") => post(rest::enrolment_code),
        ("POST", "/fhir/Patient/{id}/$enrol") => post(rest::enrol),
        _ => return None,
    })
}

/// The web port: FHIR, pages, operators.
pub(crate) fn web(app: App) -> Router {
    let mut router = Router::new();
    for route in &ROUTES {
        if let Some(handler) = handler(route) {
            router = router.route(route.path, handler);
        }
    }
    let router = router.fallback(rest::unknown).method_not_allowed_fallback(rest::not_allowed).with_state(app);
    guarded(router, BODY_OCTETS_MAX).layer(axum::middleware::from_fn(outcomes)).layer(CompressionLayer::new())
}

/// Pages and probes answer in plain text; everything else answers errors as FHIR does.
async fn outcomes(request: axum::extract::Request, next: axum::middleware::Next) -> axum::response::Response {
    let plain = matches!(request.uri().path(), "/" | "/healthz" | "/readyz" | "/metrics");
    let response = next.run(request).await;
    if plain { response } else { crate::fault::outcomes_everywhere(response).await }
}

/// The port for members.
pub(crate) fn peer(app: App) -> Router {
    let router = Router::new().route("/peer/v1/{method}", post(peer::called)).with_state(app);
    guarded(router, CALL_OCTETS_MAX)
}

fn guarded(router: Router, octets_max: usize) -> Router {
    let sensitive: [HeaderName; 1] = [header::AUTHORIZATION];
    router
        .layer(DefaultBodyLimit::max(octets_max))
        .layer(TimeoutLayer::with_status_code(StatusCode::SERVICE_UNAVAILABLE, TIMEOUT))
        .layer(CatchPanicLayer::custom(|_| {
            let text = "this member failed; its operator finds the cause in the log";
            crate::fault::Fault::new(StatusCode::INTERNAL_SERVER_ERROR, "exception", text).into_response()
        }))
        .layer(SetSensitiveRequestHeadersLayer::new(sensitive))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_route_is_listed_with_its_guard() {
        let listed: String = ROUTES
            .iter()
            .map(|r| format!("{} {} | {} | {} | {}\n", r.method, r.path, r.scope, r.consent, r.audit))
            .collect();
        assert_eq!(
            listed,
            include_str!("../routes.txt"),
            "routes.txt is the golden list: review it, then write\n{listed}"
        );
    }
}
