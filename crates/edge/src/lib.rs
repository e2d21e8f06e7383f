//! How is it asked and answered?
//!
//! FHIR REST, the calls between members, one plain page, health and metrics, over the use cases of `records`. It
//! knows nothing of SQL, block formats or keys. [`serve`] opens both ports; [`router::ROUTES`] lists every route with
//! its scope, its consent check and its audit event.

mod admin;
mod bundle;
mod client;
mod fault;
mod metadata;
mod page;
mod peer;
mod request;
mod rest;
pub mod router;

pub use client::HttpTransport;

use axum::serve::ListenerExt as _;
use records::Records;
use std::{future::Future, sync::Arc, time::Duration};
use tokio::net::TcpListener;

/// What a handler needs.
#[derive(Clone)]
pub(crate) struct App {
    pub(crate) records: Records,
    /// Base URL of the pages, without a slash at the end.
    pub(crate) web: Arc<str>,
}

/// Serves both ports until `shutdown` resolves; requests under way have five seconds to end.
///
/// # Errors
/// When a listener fails.
pub async fn serve(
    records: Records,
    web: TcpListener,
    peer: TcpListener,
    web_base: &str,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> std::io::Result<()> {
    let app = App { records, web: web_base.into() };
    let (stop, stopped) = tokio::sync::watch::channel(false);
    let wait = |mut stopped: tokio::sync::watch::Receiver<bool>| async move {
        // The sender lives until the end.
        drop(stopped.wait_for(|stopped| *stopped).await);
    };
    let nodelay = |listener: TcpListener| listener.tap_io(|io| drop(io.set_nodelay(true)));
    let outer = axum::serve(nodelay(web), router::web(app.clone())).with_graceful_shutdown(wait(stopped.clone()));
    let inner = axum::serve(nodelay(peer), router::peer(app)).with_graceful_shutdown(wait(stopped.clone()));
    let both = async { tokio::try_join!(outer, inner).map(drop) };
    let end = async move {
        shutdown.await;
        stop.send_replace(true);
        tokio::time::sleep(Duration::from_secs(5)).await;
    };
    tokio::select! {
        served = both => served,
        () = end => Ok(()),
    }
}
