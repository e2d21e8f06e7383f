//! One plain page: what this member is and how it fares. Nothing about patients, no scripts.

use crate::{App, bundle::now_ms, fault::Fault};
use axum::{extract::State, http::StatusCode};
use maud::{DOCTYPE, Markup, html};

const STYLE: &str = "
:root{color-scheme:light dark;--ink:#17222e;--soft:#52606d;--ground:#f5f7f8;--card:#fff;--line:#d9dfe4;--link:#0a5f8a;
--good:#1f7a45;--good-ground:#e6f4ec;--bad:#b3261e;--bad-ground:#fdeceb}
@media (prefers-color-scheme:dark){:root{--ink:#e7ecf0;--soft:#a3afba;--ground:#12181e;--card:#1b232b;--line:#35414c;
--link:#7cc4ec;--good:#6fcf97;--good-ground:#16301f;--bad:#ff8a80;--bad-ground:#3a1c1a}}
*{box-sizing:border-box}
body{font:1rem/1.5 system-ui,sans-serif;color:var(--ink);background:var(--ground);margin:0}
main{max-width:48rem;margin:0 auto;padding:2rem 1.2rem 3rem}
h1{font-size:2rem;line-height:1.2;margin:.1em 0 .6em}h2{font-size:1.25rem;margin:2rem 0 .5rem}
.kind,.asof,dt{color:var(--soft);font-size:.9rem}.kind{margin:0}
.good,.bad{margin:.6rem 0;padding:.6rem .9rem;border-radius:.5rem;border-left:.35rem solid}
.good{border-color:var(--good);background:var(--good-ground)}.bad{border-color:var(--bad);background:var(--bad-ground)}
dl{display:grid;grid-template-columns:repeat(auto-fit,minmax(9.5rem,1fr));gap:.75rem;margin:1.2rem 0 .5rem}
dl div{display:flex;flex-direction:column;justify-content:space-between;background:var(--card);
border:1px solid var(--line);border-radius:.5rem;padding:.7rem .9rem}
dt{line-height:1.3}dd{margin:.3rem 0 0;font-size:1.5rem;line-height:1.2;font-variant-numeric:tabular-nums}
dl div.wrong{border-color:var(--bad)}.wrong dd{color:var(--bad)}
code,pre{font-family:ui-monospace,monospace;font-size:.92em;overflow-wrap:anywhere}
pre{white-space:pre-wrap;background:var(--card);border:1px solid var(--line);border-radius:.5rem;padding:.8rem .9rem}
ul{list-style:none;display:flex;flex-wrap:wrap;gap:.3rem 1.4rem;padding:0}a{color:var(--link)}
a:focus-visible{outline:3px solid;outline-offset:2px}
";

/// A count with its thousands apart.
fn grouped(count: u64) -> String {
    let digits = count.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// How long ago, as people say it.
fn ago(ms: u64) -> String {
    match ms / 1_000 {
        0..60 => format!("{}.{} s ago", ms / 1_000, ms % 1_000 / 100),
        seconds @ 60..7_200 => format!("{} min ago", seconds / 60),
        seconds @ 7_200..172_800 => format!("{} h ago", seconds / 3_600),
        seconds => format!("{} days ago", grouped(seconds / 86_400)),
    }
}

pub(crate) async fn page(State(app): State<App>) -> Result<Markup, (StatusCode, String)> {
    let status = app.records.status().await.map_err(|error| Fault::from(error).plain())?;
    let me = app.records.me();
    let fhir = app.records.fhir_base();
    let ready = app.records.ready();
    let final_after = match status.finality_ms[0] {
        0 => "–".to_owned(),
        ms => format!("{} ms", grouped(ms)),
    };
    let figures = [
        ("Height of the ledger", grouped(status.height), false),
        ("Heard from the network", ago(status.tip_age_ms), ready.is_err()),
        ("Validators", grouped(status.validators), false),
        ("Record versions finalized", grouped(status.record_versions), false),
        ("Pages finalized", grouped(status.pages), false),
        ("Waiting to be finalized", grouped(status.outbox), status.trouble.is_some()),
        ("Median time to final", final_after, false),
        ("Damage found", grouped(status.damaged), status.damaged > 0),
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
                        @for (name, value, wrong) in &figures {
                            div.wrong[*wrong] { dt { (name) } dd { (value) } }
                        }
                    }
                    p.asof { "As of " (fhir::instant(now_ms())[..19].replace('T', " ")) " UTC." }
                    h2 { "Talk to it" }
                    p { "FHIR R4 at " code { (fhir) } ", with a token of this member:" }
                    pre { "curl -H 'Authorization: Bearer TOKEN' \\\n" (fhir) "/Patient" }
                    ul {
                        li { a href="/fhir/metadata" { "What this server can do" } }
                        li { a href="/metrics" { "Metrics" } }
                        li { a href="/readyz" { "Readiness" } }
                    }
                }
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_written_for_people() {
        assert_eq!([0, 999, 1_000, 1_234_567].map(grouped), ["0", "999", "1,000", "1,234,567"]);
        let minute = 60_000;
        assert_eq!(
            [0, 1_250, 59_999, minute, 119 * minute, 120 * minute, 47 * 60 * minute, 72 * 60 * minute].map(ago),
            ["0.0 s ago", "1.2 s ago", "59.9 s ago", "1 min ago", "119 min ago", "2 h ago", "47 h ago", "3 days ago"]
        );
    }
}
