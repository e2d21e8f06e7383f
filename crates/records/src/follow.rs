//! Follows the ledger block by block, from where it stopped: grants, revocations and requests that concern this
//! member. What it does is idempotent, so a block seen twice after a crash does no harm.

use crate::{
    Error, Inner, answer,
    documents::{NumberDoc, RequestDoc, put, space},
    grants,
};
use ledger::{Action, Transaction};
use std::{sync::Arc, time::Duration};
use store::Commit;
use tokio::sync::watch;

/// How many blocks without anything for this member may be looked at again after a restart.
const REMEMBER_EVERY: u64 = 100;

/// Runs until `stop` says so.
pub(crate) async fn run(inner: Arc<Inner>, mut stop: watch::Receiver<bool>) {
    let stopped = stop.clone();
    loop {
        let followed = tokio::select! {
            _ = stop.wait_for(|stopped| *stopped) => return,
            followed = follow(&inner, &stopped) => followed,
        };
        if let Err(error) = followed {
            tracing::warn!(%error, "following the ledger stopped; it goes on in a second");
        }
        tokio::select! {
            _ = stop.wait_for(|stopped| *stopped) => return,
            () = tokio::time::sleep(Duration::from_secs(1)) => {}
        }
    }
}

async fn follow(inner: &Arc<Inner>, stop: &watch::Receiver<bool>) -> Result<(), Error> {
    let followed: Option<NumberDoc> = inner.documents.load(space::FOLLOWED, b"").await?;
    let mut remembered = followed.map_or(0, |n| n.0);
    for (id, request) in inner.documents.all::<RequestDoc>(space::REQUEST, &[]).await? {
        if let Ok(id) = id.try_into() {
            answer::begin(inner.clone(), id, request, stop.clone());
        }
    }
    let mut blocks = inner.chain.follow(remembered + 1);
    while let Some(block) = blocks.next().await {
        let mut touched = false;
        for octets in &block.transactions {
            let Ok(transaction) = Transaction::decode(octets) else { continue };
            let body = transaction.body();
            match &body.action {
                Action::Grant(grant) => {
                    grants::granted(inner, grant, block.height).await?;
                    touched = true;
                }
                Action::Revoke(revoke) => {
                    grants::revoked(inner, &revoke.grant_key).await?;
                    touched = true;
                }
                Action::Request(request) if body.member != inner.config.me => {
                    let document = RequestDoc {
                        reader: body.member,
                        slots_root: request.slots_root,
                        reader_key: request.reader_key,
                        height: block.height,
                        time_ms: block.time_ms,
                    };
                    let id = transaction.id();
                    let documents = vec![put(space::REQUEST, &id, &document)];
                    let commit = Commit { documents, ..Commit::default() };
                    inner.store.commit(commit).await.map_err(Error::internal("noting a request"))?;
                    answer::begin(inner.clone(), id, document, stop.clone());
                    touched = true;
                }
                Action::Request(_) | Action::Enter(_) => {}
            }
        }
        inner.processed.send_replace(block.height);
        if touched || block.height >= remembered + REMEMBER_EVERY {
            remembered = block.height;
            let documents = vec![put(space::FOLLOWED, b"", &NumberDoc(remembered))];
            let commit = Commit { documents, ..Commit::default() };
            inner.store.commit(commit).await.map_err(Error::internal("noting a height"))?;
        }
    }
    Err(Error::unavailable("the ledger gives no more blocks"))
}
