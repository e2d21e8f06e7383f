//! One plain page: what this member is and how it fares. Nothing about patients, no scripts.

use crate::{App, fault::Fault};
use axum::extract::State;
use maud::{DOCTYPE, Markup, html};

const STYLE: &str = "
:root{color-scheme:light dark;--line:#8884}
body{font:1.05rem/1.5 system-ui,sans-serif;max-width:44rem;margin:0 auto;padding:1.2rem}
h1{margin:.2em 0}p.kind{margin:0;opacity:.75}
dl{display:grid;grid-template-columns:repeat(auto-fit,minmax(9.5rem,1fr));gap:.8rem;padding:0}
dl div{border:1px solid var(--line);border-radius:.6rem;padding:.6rem .9rem}
dt{opacity:.75;font-size:.9rem}dd{margin:0;font-size:1.5rem;font-variant-numeric:tabular-nums}
.good,.bad{border-left:.4rem solid;padding:.3rem .8rem}.good{border-color:#2a8a4a}.bad{border-color:#c33}
pre{overflow-x:auto;border:1px solid var(--line);border-radius:.6rem;padding:.8rem}
a:focus-visible{outline:3px solid;outline-offset:2px}
";

pub(crate) async fn page(State(app): State<App>) -> Result<Markup, Fault> {
    let status = app.records.status().await?;
    let me = app.records.me();
    let fhir = app.records.fhir_base();
    let ready = app.records.ready();
    let figures = [
        ("Height of the ledger", status.height.to_string()),
        ("Heard from the network", format!("{:.1} s ago", status.tip_age_ms as f64 / 1_000.0)),
        ("Validators", status.validators.to_string()),
        ("Record versions finalized", status.record_versions.to_string()),
        ("Pages finalized", status.pages.to_string()),
        ("Waiting to be finalized", status.outbox.to_string()),
        ("Median time to final", format!("{} ms", status.finality_ms[0])),
        ("Damage found", status.damaged.to_string()),
    ];
    Ok(html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                title { (me.title) " · Suture" }
                style { (STYLE) }
            }
            body {
                main {
                    p.kind { "Suture · " (me.kind.as_str()) " · member " (me.name) }
                    h1 { (me.title) }
                    @match &ready {
                        Ok(()) => p.good role="status" { "In touch with the network." },
                        Err(reason) => p.bad role="status" { "Not ready: " (reason) "." },
                    }
                    @if let Some(trouble) = &status.trouble {
                        p.bad role="status" { "The outbox waits: " (trouble) "." }
                    }
                    dl {
                        @for (name, value) in &figures {
                            div { dt { (name) } dd { (value) } }
                        }
                    }
                    h2 { "Talk to it" }
                    p { "FHIR R4 at " code { (fhir) } ", with a token of this member:" }
                    pre { "curl -H 'Authorization: Bearer TOKEN' \\\n  " (fhir) "/Patient" }
                    p {
                        a href="/fhir/metadata" { "What this server can do" } " · "
                        a href="/metrics" { "Metrics" } " · "
                        a href="/readyz" { "Readiness" }
                    }
                }
            }
        }
    })
}
