//! Known answers that Python computed, from `docs/formats.md` alone:
//!
//! ```python
//! import hashlib, hmac
//! def fields(tag, *parts): return b"".join(len(p).to_bytes(4, "big") + p for p in (tag.encode(), *parts))
//! def H(tag, *parts): return hashlib.sha256(fields(tag, *parts)).hexdigest()
//! def PRF(key, tag, *parts): return hmac.new(key, fields(tag, *parts), hashlib.sha256).hexdigest()
//! ```
//!
//! Each expected value stands beside the Python expression that gave it; `h(n)` is `bytes([n]) * 32`, `u32` and `u64` are
//! `int.to_bytes(4, "big")` and `(8, "big")`. Signatures and ciphers came from the package `cryptography`.

use super::{stored, values::*, vectors};
use data_encoding::HEXLOWER;
use wire::{
    Format as _, Hash,
    engine::state_root,
    hash::{hash, merkle_leads, merkle_path, merkle_root, prf},
    keys::{PAD_0, Secret, Seed, Wrapped},
    message::{
        Release, RequestSlot, SlotContext,
        manifest::SealedPage,
        open_slot,
        peer::{CALL_INFO, Call, Method, manifest_kept},
        reader_key_hash, released_hash, slot_leaf,
    },
    seal::{Opener, open_once, seal_once},
    sign::verify,
    state,
    strand::{OpenedLeaf, PageKind, commitment, entry_key, plain_hash, sealed_hash},
};

const CALL: Call = Call { from: 1, to: 2, nonce: [9; 16], time_ms: 5 };

fn leaves(count: u16) -> Vec<Hash> {
    (0..count).map(|i| [i as u8; 32]).collect()
}

fn seed(octet: u8) -> Seed {
    Seed::new(Secret::new([octet; 32]))
}

/// Compares with what Python gave for its expression.
#[track_caller]
fn known(python: &str, is: &[u8], expected: &str) {
    assert_eq!(HEXLOWER.encode(is), expected, "{python}");
}

#[test]
fn fields_are_hashed_as_any_language_would() {
    known(r#"H("node")"#, &hash("node", &[]), "40a91e70ebde5151a7f03b12fdef49c3f194f5d5d456377c60e120ef11f3be3d");
    known(
        r#"H("t", b"ab", b"c")"#,
        &hash("t", &[b"ab", b"c"]),
        "2b7bed60258c1e767366d63b9750bf94796c364abce6436e0f0c644a9ac9a100",
    );
    known(
        r#"H("t", b"a", b"bc")"#,
        &hash("t", &[b"a", b"bc"]),
        "c18bde3ea5be7420c0f96c39edf0f4b58bde11df28268ff24edd466541185213",
    );
    known(r#"H("t", b"")"#, &hash("t", &[b""]), "6c69f4fd2c0e8f67a309417d77923f4d641ef485800b4d7e624857137d0ed869");
    known(
        r#"H("", bytes(1000))"#,
        &hash("", &[&[0; 1000]]),
        "9842acac2efa8a0473deff3f4b2a91af8f628ad89c8920e903eb232002a259e8",
    );
    known(
        r#"PRF(h(7), "tag", u64(5))"#,
        &prf(&[7; 32], "tag", &[&5u64.to_be_bytes()]),
        "8cd6a92ba1ba0b8df79074fffdf3abedb8f64736008596a7be502694e0d50255",
    );
    known(
        r#"PRF(h(7), "salt", b"date")"#,
        &prf(&[7; 32], "salt", &[b"date"]),
        "3c78138695a7a8d187cd2e3eaeaf6aa6d0ac6dde9c4da747488f4acee26789df",
    );
    known(
        r#"PRF(h(0), "identity")"#,
        &prf(&[0; 32], "identity", &[]),
        "b07aa77eb91dfb9995e8ff10c9f86bff38c79ee2cd1557da08471ca55d11dde5",
    );
}

#[test]
fn roots_of_small_and_full_trees_are_known() {
    known(
        r#"merkle(leaves(0))"#,
        &merkle_root(&leaves(0)),
        "40a91e70ebde5151a7f03b12fdef49c3f194f5d5d456377c60e120ef11f3be3d",
    );
    known(
        r#"merkle(leaves(1))"#,
        &merkle_root(&leaves(1)),
        "0000000000000000000000000000000000000000000000000000000000000000",
    );
    known(
        r#"merkle(leaves(2))"#,
        &merkle_root(&leaves(2)),
        "b0779a3d9b0a1f243073220f897b6321f21d3966e94611eef3d8adabf3f7ab26",
    );
    known(
        r#"merkle(leaves(3))"#,
        &merkle_root(&leaves(3)),
        "0f75f0054d0b7b5c97a22a13bdc35962f3c1232c8310908b7887d159ec771976",
    );
    known(
        r#"merkle(leaves(4))"#,
        &merkle_root(&leaves(4)),
        "4f2a8668649600a471eaa7be635edeb4230615cc4a864970f2e8cfebd3458f2e",
    );
    known(
        r#"merkle(leaves(5))"#,
        &merkle_root(&leaves(5)),
        "6aa5673c9b469de94c8bb0fc6b3adc265bd83654ae3a323761e81ee2b1e41505",
    );
    known(
        r#"merkle(leaves(6))"#,
        &merkle_root(&leaves(6)),
        "25a8895897afde2d23812755632698210d3e292cc9d85a0bd8b8f430abff8533",
    );
    known(
        r#"merkle(leaves(7))"#,
        &merkle_root(&leaves(7)),
        "67af56d0d99ba26f0ae64eace752dd406219ed312bf88a370b21ab3217dabd4d",
    );
    known(
        r#"merkle(leaves(256))"#,
        &merkle_root(&leaves(256)),
        "2574c42c7c1495dde2f9f3e6f17efcdd0b122964db85ce692b16c7883f8fa942",
    );
}

#[test]
fn places_leaves_and_commitments_of_a_strand_are_known() {
    known(
        r#"PRF(h(7), "tag", u64(2**40))"#,
        &strand_key(7).tag(1 << 40),
        "657c93593725bdb7e0d959138e44d80fc0791f8e4b4a7cf14a225fadf35fdda9",
    );
    known(
        r#"PRF(h(7), "at", u64(3))"#,
        &strand_key(7).name(3),
        "328e85c2d652fc584bee20fed81e2e0878550bd4b2ecaf10f471b0b6829debf3",
    );
    known(
        r#"H("strand", u32(9), h(1))"#,
        &entry_key(9, &[1; 32]),
        "94d3a175635b78f03a37db4000cd6e2df3b48926db7de9fcffe4edd56874e047",
    );
    known(
        r#"H("item", h(1), b"payload")"#,
        &OpenedLeaf::Item { salt: [1; 32], payload: b"payload".to_vec() }.hash(),
        "a7487ca1f5b7633fbebae7480233c8f15b227dae2de3f59c80ce81131f85fd22",
    );
    known(
        r#"record_leaf(h(1), h(2), h(3), b"Observation", b"2026-01")"#,
        &leaf_secret(1).leaf([2; 32], [3; 32], "Observation", "2026-01").hash(),
        "348c78e1e1cc30946f547b666addab25129a5f220e382f8bdf29f6e5bbfbe1cc",
    );
    known(
        r#"salt(h(1), "content")"#,
        &leaf_secret(1).salt("content"),
        "8eae1b31e6911ca8a37de0b9f153371d31d92d91a3a301bd2b68aad8c1a32f64",
    );
    known(
        r#"H("plain", b"{}")"#,
        &plain_hash(b"{}"),
        "c2c16f6dc4688d85366df20987f5bd50619f381a6af809d50a1dc4cdecf81abc",
    );
    known(
        r#"H("sealed", b"{}")"#,
        &sealed_hash(b"{}"),
        "a6c92fd4dc2d1b8e7703c40381a6e8d8000186dd5f9416944c448b2a5551eb6e",
    );
    known(
        r#"H("page", h(1), b"\3", u32(5), merkle(leaves(5)))"#,
        &commitment(&[1; 32], PageKind::Items, &leaves(5)),
        "59e1207afb6e962875e23d1bc3523247b3550c580169b5b6805018e4e0a7d746",
    );
    known(
        r#"page(h(1), 3, [item(0, b""), item(1, b"\1"), item(2, b"\2\2")])"#,
        &page_items(3).commitment(&[1; 32]),
        "a01ddd7a197b6a9fcbfd9b6682657a22a51879d475fe89e4d603783bebe7b204",
    );
    known(
        r#"page(h(1), 2, [record_leaf(h(i), h(64 + i), h(96 + i), b"Observation", b"2026-01") for i in (0, 1)])"#,
        &page_records(2).commitment(&[1; 32]),
        "e56365426cdef92690786ec166b00e72e501127d37c93e23979c51057e69d7f4",
    );
}

#[test]
fn places_in_the_state_are_known() {
    known(
        r#"H("grant-at", h(1))"#,
        &state::grant_key(&[1; 32]),
        "dc6b305bfd2867db7d9555c4c57aabd0b2463efa1384ffd7e4ee5fe8467d28ee",
    );
    known(
        r#"H("member-at", u32(7))"#,
        &state::member_key(7),
        "b67a0cc41f9fd4337c5dc369111fd68b6d5aaeec9af6dd96769a20ac3d4aa9e2",
    );
    known(
        r#"H("window-at", u32(7))"#,
        &state::window_key(7),
        "ead1aad587b2ed8ff400dbcdd64eb293bc8b581d1a2f023f40957f85e766bad9",
    );
    known(
        r#"H("request-at", h(1))"#,
        &state::request_key(&[1; 32]),
        "640c25f1189cbd0059937a586dfb7d288acd6d77a59fe9b4c157e7efd140ff7b",
    );
    known(
        r#"H("request", u32(1), u32(0), h(2), h(3))"#,
        &state::request_commitment(1, 0, &[2; 32], &[3; 32]),
        "ec13af02804153e20dbc7b44d7fa1c210141ed74afa23ab27c39ffeaf6c5657f",
    );
    known(
        r#"H("body", b"grant")"#,
        &state::body_name(b"grant"),
        "75d8f4248cdbbe2ff4c58df13772981006a98af2d8e1e4d73ddcf1ad2697e460",
    );
    known(
        r#"H("state", b"\1", h(1), h(2))"#,
        &state_root(&[1; 32], &[2; 32]),
        "3b9e7cffad29dfeaaec2ab5b4c247452cb3491aeffdad11eba426d6cc5878b54",
    );
}

#[test]
fn names_in_messages_are_known() {
    known(
        r#"H("reader", bytes([7]) * 1216)"#,
        &reader_key_hash(&[7; 1_216]),
        "41635d87f840710e1af6aa5b4f8222cd82afc63a5732a0209d1e77279776a42e",
    );
    known(
        r#"H("slot", u32(3), b"sealed")"#,
        &slot_leaf(3, b"sealed"),
        "e8c4a911ffed1e778f028519e4aa1f71477cc7772f75246e229755e14dcc9abf",
    );
    known(
        r#"H("released", h(5), h(6))"#,
        &released_hash(&[[5; 32], [6; 32]]),
        "fe1de5f23dbba6dd57ec0ef526897809323d7c8b6c300865791e1273933675b8",
    );
    known(r#"H("released")"#, &released_hash(&[]), "bddfd1321b5e31bbd1c317cc2902c4f54be8f187d7aafd39d459e0ab18a9a057");
    known(
        r#"H("release-context", h(0xa5), u32(3), h(1), u32(4))"#,
        &Release::associated(NETWORK, &[1; 32], 4),
        "9f8b6c777119537980ffd9c2d44e7f1bc65065f0ef980b3ad8c1b6d0b7ccee53",
    );
    known(
        r#"H("manifest", h(1), b"page")"#,
        &manifest_kept(&[1; 32], b"page"),
        "f068408dfc3d7931a362441c4d43d86a86a2db5734a5fbaac6bff63fde03414e",
    );
}

#[test]
fn keys_of_a_seed_are_known() {
    known(
        r#"public(PRF(h(3), "identity"))"#,
        &seed(3).identity().public(),
        "00da6386cc63a0cfec043c4d1078c56826601b99b9cda0ea3ea793897e56472a",
    );
    known(
        r#"PRF(h(3), "manifest")"#,
        seed(3).manifest().secret().expose(),
        "1bbdc73cbd8b11da6cc7f7a494266c17cbb3acfb502ea1eb7fb2fe4ca504183c",
    );
    known(
        r#"chacha(h(1), b"record", b"plain")"#,
        &seal_once(&Secret::new([1; 32]), b"record", b"plain"),
        "714b2cb8805fab828f903d5ece8a0106b67fcd36fc",
    );
}

#[test]
fn signatures_are_over_the_hash_of_all_that_they_mean() {
    known(
        r#"sign(53, "receipt", u32(7), h(1), u32(2**22))"#,
        &receipt().signature,
        "97404987ccc099da1233368c45d18d3ef9a77ce0a8736b2e3deb27e175ba4c61ff6bc063f26cd45cf3e36ede575b77c711a2ceaf854c72247f4a4b04d5598900",
    );
    known(
        r#"sign(1, "call", H("call", b"get-pack", u32(1), u32(2), bytes([9]) * 16, u64(5), H("call-body", b"ask")))"#,
        &CALL.sign(&signer(1), NETWORK, Method::GetPack, b"ask"),
        "3a38a53c19a02868ceb7f45e980e9903943f2ccffff56f91653061579f22ef62b95d4cb4df05fbcce3b0f2b0067ba510080e4fbdbca386668973203d5429bf04",
    );
    known(
        r#"sign(2, "answer", DIG, H("answer", b"pack"))"#,
        &CALL.sign_answer(&signer(2), NETWORK, Method::GetPack, b"ask", b"pack"),
        "315e85bd2557afa49ef0cb298df47412bd43295ed9ab40cb1d53195be9ead126ca8ae91ddc58a90c35c0b8c808c255725c5668c1fae17d361b550230743a4803",
    );
}
#[test]
fn signatures_that_are_known_hold_for_their_network_only() {
    assert!(receipt().signed_by(&signer(53).public(), NETWORK, 7));
    assert!(!receipt().signed_by(&signer(53).public(), NETWORK, 8));
    assert!(release(true).signed_by(&signer(52).public(), NETWORK));
    let field: &[&[u8]] = &[&[1]];
    let signature = signer(1).sign(NETWORK, "release", field);
    assert!(verify(&signer(1).public(), NETWORK, "release", field, &signature));
    assert!(!verify(&signer(1).public(), genesis().network(), "release", field, &signature));
}

#[test]
fn a_path_of_a_known_tree_leads_to_its_root_only_whole() {
    let leaves = leaves(5);
    let root = merkle_root(&leaves);
    let path = merkle_path(&leaves, 2);
    assert_eq!(path, [leaves[3], hash("node", &[&leaves[0], &leaves[1]]), leaves[4]]);
    assert!(merkle_leads(&root, 5, 2, &leaves[2], &path));
    assert!(!merkle_leads(&root, 5, 2, &leaves[2], &path[..2]));
    assert!(!merkle_leads(&root, 4, 2, &leaves[2], &path));
    assert!(!merkle_leads(&root, 5, 5, &leaves[2], &path));
}

#[test]
fn what_another_language_sealed_opens_in_its_context_only() {
    let opener = Opener::from_seed(Secret::new([0x5a; 32]));
    let call = stored("python.sealed-call");
    assert_eq!(opener.open(CALL_INFO[0], b"enrol", &call).unwrap(), b"message");
    assert!(opener.open(CALL_INFO[1], b"enrol", &call).is_err());
    assert!(opener.open(CALL_INFO[0], b"accesses", &call).is_err());
    let slot = stored("python.sealed-slot");
    let context = |member| SlotContext::Request { network: NETWORK, reader: 1, member, reader_key: &[4; 32] };
    assert_eq!(open_slot::<RequestSlot>(&opener, &context(2), &slot), Some(ask()));
    assert_eq!(open_slot::<RequestSlot>(&opener, &context(3), &slot), None);
    let once = seal_once(&Secret::new([1; 32]), b"record", b"plain");
    assert_eq!(open_once(&Secret::new([1; 32]), b"record", &once).unwrap(), b"plain");
}

#[test]
fn what_another_language_wrapped_is_unwrapped_by_the_seed_alone() {
    let kek = seed(3).wrapping(0, &PAD_0);
    let wrapped = HEXLOWER.decode(vectors()["python.wrapped"].as_bytes()).unwrap();
    let wrapped = Wrapped::from_octets(&wrapped).unwrap();
    assert_eq!(kek.unwrap(b"context", &wrapped).unwrap().expose(), &[0x77; 32]);
    let page = SealedPage::from_octets(&stored("python.sealed-page")).unwrap();
    let name = seed(3).manifest().name(3);
    assert_eq!(page.open(&kek, &name).unwrap(), page_items(3));
    assert!(page.open(&kek, &seed(3).manifest().name(4)).is_err());
}
