//! Hashes: `H(tag, …)` is SHA-256 and `PRF(k, tag, …)` HMAC-SHA-256, both over length-prefixed fields.

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::{Digest as _, Sha256};

/// A SHA-256 value, or 32 octets used like one.
pub type Hash = [u8; 32];

/// `H(tag, fields…)`: SHA-256 over each field after its length in four octets, the tag first.
#[must_use]
pub fn hash(tag: &str, fields: &[&[u8]]) -> Hash {
    let mut state = Sha256::new();
    each(tag, fields, |octets| state.update(octets));
    state.finalize().into()
}

/// `PRF(key, tag, fields…)`: HMAC-SHA-256 (RFC 2104) over the same octets as [`hash`].
#[must_use]
pub fn prf(key: &Hash, tag: &str, fields: &[&[u8]]) -> Hash {
    let mut state = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes a key of any length");
    each(tag, fields, |octets| state.update(octets));
    state.finalize().into_bytes().into()
}

fn each(tag: &str, fields: &[&[u8]], mut update: impl FnMut(&[u8])) {
    for field in std::iter::once(&tag.as_bytes()).chain(fields) {
        let length = u32::try_from(field.len()).expect("a hashed field is shorter than 4 GiB");
        update(&length.to_be_bytes());
        update(field);
    }
}

/// Root of a binary Merkle tree over leaf hashes, in order; a node is `H("node", left, right)`, a last node without
/// neighbour moves up unchanged. The number of leaves is bound by whoever commits to the root. The root over no leaf
/// is `H("node")`.
#[must_use]
pub fn merkle_root(leaves: &[Hash]) -> Hash {
    let mut level = leaves.to_vec();
    while level.len() > 1 {
        level = level.chunks(2).map(join).collect();
    }
    level.first().copied().unwrap_or_else(|| hash("node", &[]))
}

/// The neighbours that lead from leaf `index` to the root, lowest first.
///
/// # Panics
/// If there is no such leaf.
#[must_use]
pub fn merkle_path(leaves: &[Hash], index: usize) -> Vec<Hash> {
    assert!(index < leaves.len(), "a path is asked for a leaf that exists");
    let (mut level, mut at, mut path) = (leaves.to_vec(), index, Vec::new());
    while level.len() > 1 {
        if let Some(neighbour) = level.get(at ^ 1) {
            path.push(*neighbour);
        }
        level = level.chunks(2).map(join).collect();
        at /= 2;
    }
    path
}

/// Whether `path` leads from `leaf`, at `index` of `count`, to `root`. The path must have exactly the needed length.
#[must_use]
pub fn merkle_leads(root: &Hash, count: usize, index: usize, leaf: &Hash, path: &[Hash]) -> bool {
    if index >= count {
        return false;
    }
    let (mut at, mut width, mut node, mut rest) = (index, count, *leaf, path.iter());
    while width > 1 {
        if at ^ 1 < width {
            let Some(neighbour) = rest.next() else { return false };
            node = if at % 2 == 0 { join(&[node, *neighbour]) } else { join(&[*neighbour, node]) };
        }
        at /= 2;
        width = width.div_ceil(2);
    }
    rest.next().is_none() && node == *root
}

fn join(pair: &[Hash]) -> Hash {
    match pair {
        [left, right] => hash("node", &[left, right]),
        [alone] => *alone,
        _ => unreachable!("chunks of two"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_cannot_be_shifted_into_one_another() {
        assert_ne!(hash("t", &[b"ab", b"c"]), hash("t", &[b"a", b"bc"]));
        assert_ne!(hash("t", &[b"ab"]), hash("ta", &[b"b"]));
        assert_ne!(hash("t", &[b""]), hash("t", &[]));
    }

    #[test]
    fn every_leaf_of_every_small_tree_has_a_path_and_no_other_leaf_fits_it() {
        for count in 1..=17usize {
            let leaves: Vec<Hash> = (0..count).map(|i| hash("x", &[&[i as u8]])).collect();
            let root = merkle_root(&leaves);
            for index in 0..count {
                let path = merkle_path(&leaves, index);
                assert!(merkle_leads(&root, count, index, &leaves[index], &path));
                for other in (0..count).filter(|o| *o != index) {
                    assert!(!merkle_leads(&root, count, other, &leaves[index], &path));
                    assert!(!merkle_leads(&root, count, index, &leaves[other], &path));
                }
            }
        }
    }
}
