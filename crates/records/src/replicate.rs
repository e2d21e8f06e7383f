//! Copies of packs and manifest pages at other members, each against a signed receipt.

use crate::{
    Error, Inner,
    documents::{BatchDoc, put, space},
};
use store::Commit;
use vault::PackId;
use wire::{
    Format as _, Hash,
    hash::hash,
    message::peer::{Method, PutManifest, PutPack, Receipt, manifest_kept},
};

/// On how many other members each pack and manifest page must lie before its entries are submitted.
pub(crate) const COPIES: usize = 2;

/// Brings everything that a batch refers to onto [`COPIES`] other members.
pub(crate) async fn batch(inner: &Inner, batch: &BatchDoc) -> Result<(), Error> {
    let me = inner.config.me;
    for pack in &batch.packs {
        let octets = inner.vault.read(me, PackId(*pack)).await.map_err(Error::internal("reading a pack"))?;
        let octets = octets.ok_or("a pack is missing").map_err(Error::internal("reading a pack"))?;
        let length = octets.len() as u32;
        let body = PutPack { octets: octets.to_vec() }.to_octets();
        copies(inner, Method::PutPack, pack, length, body).await?;
    }
    for name in &batch.manifests {
        let octets = inner.vault.read_named(me, *name).await.map_err(Error::internal("reading a manifest page"))?;
        let octets = octets.ok_or("a manifest page is missing").map_err(Error::internal("reading a manifest page"))?;
        let (kept, length) = (manifest_kept(name, &octets), octets.len() as u32);
        let body = PutManifest { name: *name, octets: octets.to_vec() }.to_octets();
        copies(inner, Method::PutManifest, &kept, length, body).await?;
    }
    Ok(())
}

/// Asks members, in an order that the content decides, until enough have signed for it.
async fn copies(inner: &Inner, method: Method, kept: &Hash, length: u32, body: Vec<u8>) -> Result<(), Error> {
    let me = inner.config.me;
    let mut members: Vec<u32> = inner.config.genesis.members.iter().map(|m| m.number).filter(|m| *m != me).collect();
    members.sort_by_key(|member| hash("replica", &[kept, &member.to_be_bytes()]));
    let wanted = COPIES.min(members.len());
    let mut receipts = Vec::new();
    for member in members {
        if receipts.len() == wanted {
            break;
        }
        let key = [kept.as_slice(), &member.to_be_bytes()].concat();
        if inner.documents.load::<Receipt>(space::RECEIPT, &key).await?.is_some() {
            receipts.push(None);
            continue;
        }
        let Ok(answer) = inner.call(member, method, body.clone()).await else { continue };
        let Ok(receipt) = Receipt::from_octets(&answer) else { continue };
        let signed = inner.member(member).is_some_and(|m| receipt.signed_by(&m.identity, inner.network, me));
        if signed && receipt.keeper == member && receipt.kept == *kept && receipt.length == length {
            receipts.push(Some(put(space::RECEIPT, &key, &receipt)));
        }
    }
    let enough = receipts.len() == wanted;
    let documents: Vec<_> = receipts.into_iter().flatten().collect();
    if !documents.is_empty() {
        let commit = Commit { documents, ..Commit::default() };
        inner.store.commit(commit).await.map_err(Error::internal("keeping receipts"))?;
    }
    if enough { Ok(()) } else { Err(Error::unavailable("too few other members keep a copy of this member's packs")) }
}
