//! Calls from other members: the frame only, what they mean is decided in `records`.

use crate::App;
use axum::{
    body::Bytes,
    extract::{Path, State},
    http::{HeaderMap, StatusCode},
    response::{IntoResponse as _, Response},
};
use data_encoding::HEXLOWER;
use records::CallRefused;
use wire::message::peer::{Call, Method};

pub(crate) async fn called(
    State(app): State<App>,
    Path(method): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    match call(&app, &method, &headers, body).await {
        Ok((answer, signature)) => ([("suture-signature", HEXLOWER.encode(&signature))], answer).into_response(),
        Err(CallRefused { code, reason }) => {
            let status = StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
            (status, reason).into_response()
        }
    }
}

async fn call(app: &App, method: &str, headers: &HeaderMap, body: Bytes) -> Result<(Vec<u8>, [u8; 64]), CallRefused> {
    let refused = |reason: &str| CallRefused { code: 400, reason: reason.into() };
    let method = Method::parse(method).ok_or_else(|| CallRefused { code: 404, reason: "no such method".into() })?;
    let text =
        |name: &str| headers.get(name).and_then(|v| v.to_str().ok()).ok_or_else(|| refused("a header is missing"));
    let call = Call {
        from: text("suture-from")?.parse().map_err(|_| refused("suture-from is no member number"))?,
        to: text("suture-to")?.parse().map_err(|_| refused("suture-to is no member number"))?,
        nonce: hex(text("suture-nonce")?).ok_or_else(|| refused("suture-nonce is not 16 octets"))?,
        time_ms: text("suture-time")?.parse().map_err(|_| refused("suture-time is no number"))?,
    };
    let signature = hex(text("suture-signature")?).ok_or_else(|| refused("suture-signature is not 64 octets"))?;
    app.records.called(call, method, body.to_vec(), signature).await
}

/// Octets in hexadecimal.
pub(crate) fn hex<const N: usize>(text: &str) -> Option<[u8; N]> {
    HEXLOWER.decode(text.as_bytes()).ok()?.try_into().ok()
}
