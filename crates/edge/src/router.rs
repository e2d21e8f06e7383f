//! The routes. The table is what the router is made from, so a route that is not listed cannot be.

use crate::{
    App, admin,
    fault::{Fault, with_outcome},
    metadata, page, peer, rest,
};
use axum::{
    Router,
    extract::{DefaultBodyLimit, Request},
    http::{HeaderName, StatusCode, header},
    middleware::{Next, from_fn},
    response::{IntoResponse as _, Response},
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
    guarded(router, BODY_OCTETS_MAX, TIMEOUT).layer(from_fn(outcomes)).layer(CompressionLayer::new())
}

/// Pages and probes answer in plain text; everything else answers errors as FHIR does.
async fn outcomes(request: Request, next: Next) -> Response {
    let plain = matches!(request.uri().path(), "/" | "/healthz" | "/readyz" | "/metrics");
    let response = next.run(request).await;
    if plain { response } else { with_outcome(response) }
}

/// The port for members.
pub(crate) fn peer(app: App) -> Router {
    let router = Router::new().route("/peer/v1/{method}", post(peer::called)).with_state(app);
    guarded(router, CALL_OCTETS_MAX, TIMEOUT)
}

fn guarded(router: Router, octets_max: usize, timeout: Duration) -> Router {
    let sensitive: [HeaderName; 1] = [header::AUTHORIZATION];
    router
        .layer(DefaultBodyLimit::max(octets_max))
        .layer(TimeoutLayer::with_status_code(StatusCode::SERVICE_UNAVAILABLE, timeout))
        .layer(CatchPanicLayer::custom(|_| {
            let text = "this member failed; its operator finds the cause in the log";
            Fault::new(StatusCode::INTERNAL_SERVER_ERROR, "exception", text).into_response()
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

    /// The port's layers around handlers that need no member behind them.
    async fn served() -> String {
        use axum::{body::Bytes, extract::Path};
        let router = Router::new()
            .route("/fhir", post(async |body: Bytes| body.len().to_string()))
            .route("/fhir/{type}", get(async |Path(of): Path<String>| of))
            .route("/slow", get(async || tokio::time::sleep(Duration::from_secs(60)).await))
            .route("/gone", get(async || StatusCode::GONE))
            .route(
                "/panic",
                get(async || {
                    if BODY_OCTETS_MAX > 0 {
                        panic!("as a bug would")
                    }
                }),
            )
            .route("/readyz", get(async || (StatusCode::SERVICE_UNAVAILABLE, "behind\n")))
            .fallback(rest::unknown)
            .method_not_allowed_fallback(rest::not_allowed);
        let router = guarded(router, 16, Duration::from_millis(200)).layer(from_fn(outcomes));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, router).await });
        base
    }

    /// A stranger's body over the limit, an address that is not UTF-8 and the time limit were once answered in plain
    /// text or not at all, and clients that read OperationOutcomes could not say what had happened.
    #[tokio::test]
    async fn every_error_is_an_operation_outcome() {
        let base = served().await;
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        let cases = [
            (client.get(format!("{base}/fhir/%ff")), 400, "invalid"),
            (client.get(format!("{base}/other")), 404, "not-found"),
            (client.put(format!("{base}/fhir")), 405, "not-supported"),
            (client.get(format!("{base}/gone")), 410, "invalid"),
            (client.post(format!("{base}/fhir")).body(vec![b' '; 17]), 413, "too-long"),
            (client.get(format!("{base}/panic")), 500, "exception"),
            (client.get(format!("{base}/slow")), 503, "transient"),
        ];
        for (request, status, code) in cases {
            let response = request.send().await.unwrap();
            assert_eq!(response.status().as_u16(), status);
            let headers = response.headers().clone();
            assert_eq!(headers[header::CONTENT_TYPE], crate::fault::FHIR_JSON, "{status}");
            assert_eq!(headers.contains_key(header::ALLOW), status == 405, "{status}");
            assert_eq!(headers.contains_key(header::RETRY_AFTER), status == 503, "{status}");
            let text = response.text().await.unwrap();
            assert!(text.starts_with(r#"{"resourceType":"OperationOutcome""#), "{text}");
            assert!(text.contains(&format!(r#""code":"{code}""#)), "{text}");
            assert!(status != 413 || text.contains("64 MiB"), "{text}");
        }
    }

    #[tokio::test]
    async fn what_is_taken_passes_and_probes_stay_plain() {
        let base = served().await;
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        let taken = client.post(format!("{base}/fhir")).body(vec![b' '; 16]).send().await.unwrap();
        assert_eq!((taken.status().as_u16(), taken.text().await.unwrap().as_str()), (200, "16"));
        let probe = client.get(format!("{base}/readyz")).send().await.unwrap();
        assert_eq!((probe.status().as_u16(), probe.text().await.unwrap().as_str()), (503, "behind\n"));
    }
}
