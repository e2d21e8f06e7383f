//! What was put is read back whole, or is said to be damaged: damage to any range, crashes, and many writers at once.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};
use tokio::task::JoinSet;
use vault::{PACK_OCTETS_MAX, PackId, Vault, VaultError};

fn octets(seed: u8, count: usize) -> Vec<u8> {
    (0..count).map(|at| (at as u8).wrapping_mul(31).wrapping_add(seed)).collect()
}

/// All files below a folder.
fn files(folder: &Path) -> BTreeSet<PathBuf> {
    let mut found = BTreeSet::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path));
        } else {
            found.insert(path);
        }
    }
    found
}

fn hex(octets: &[u8]) -> String {
    octets.iter().map(|octet| format!("{octet:02x}")).collect()
}

fn pack_path(root: &Path, owner: u32, id: PackId) -> PathBuf {
    let name = hex(&id.0);
    root.join(owner.to_string()).join(&name[..2]).join(name)
}

fn named_path(root: &Path, owner: u32, name: [u8; 32]) -> PathBuf {
    root.join(owner.to_string()).join("named").join(hex(&name))
}

/// Every way in which `whole` is damaged in one range: turned over, blanked, lost, doubled; and lengthened.
fn damaged(whole: &[u8]) -> impl Iterator<Item = Vec<u8>> {
    let ranges = (0..whole.len()).flat_map(|from| (from + 1..=whole.len()).map(move |to| (from, to)));
    let in_ranges = ranges.flat_map(|(from, to)| {
        let (before, range, after) = (&whole[..from], &whole[from..to], &whole[to..]);
        let turned: Vec<u8> = range.iter().map(|octet| !octet).collect();
        let blank = vec![0; range.len()];
        [
            [before, &turned, after].concat(),
            [before, &blank, after].concat(),
            [before, after].concat(),
            [before, range, range, after].concat(),
        ]
    });
    in_ranges.chain([[whole, &[0]].concat()]).filter(move |octets| octets != whole)
}

#[tokio::test]
async fn damage_to_any_range_of_a_pack_is_found_and_the_same_pack_heals_it() {
    let folder = tempfile::tempdir().unwrap();
    let vault = Vault::open(folder.path()).unwrap();
    let whole = octets(1, 40);
    let id = vault.put(1, whole.clone()).await.unwrap();
    let path = pack_path(folder.path(), 1, id);
    let mut tried = 0;
    for octets in damaged(&whole) {
        fs::write(&path, &octets).unwrap();
        assert!(matches!(vault.read(1, id).await, Err(VaultError::Damaged)), "{}", hex(&octets));
        tried += 1;
    }
    assert!(tried > 3_000, "{tried}");
    assert_eq!(vault.put(1, whole.clone()).await.unwrap(), id);
    assert_eq!(vault.read(1, id).await.unwrap(), Some(whole));
}

#[tokio::test]
async fn damage_to_any_range_of_a_named_blob_its_checksum_included_is_found() {
    let folder = tempfile::tempdir().unwrap();
    let vault = Vault::open(folder.path()).unwrap();
    let (name, whole) = ([3; 32], octets(2, 8));
    vault.put_named(1, name, whole.clone()).await.unwrap();
    let path = named_path(folder.path(), 1, name);
    let file = fs::read(&path).unwrap();
    assert_eq!(file.len(), 33 + whole.len());
    for octets in damaged(&file) {
        fs::write(&path, &octets).unwrap();
        assert!(matches!(vault.read_named(1, name).await, Err(VaultError::Damaged)), "{}", hex(&octets));
    }
    vault.put_named(1, name, whole.clone()).await.unwrap();
    assert_eq!(vault.read_named(1, name).await.unwrap(), Some(whole));
}

#[tokio::test]
async fn a_file_cut_off_at_any_octet_is_found() {
    let folder = tempfile::tempdir().unwrap();
    let vault = Vault::open(folder.path()).unwrap();
    let (name, whole) = ([3; 32], octets(4, 300));
    let id = vault.put(1, whole.clone()).await.unwrap();
    vault.put_named(1, name, whole.clone()).await.unwrap();
    let (pack, named) = (pack_path(folder.path(), 1, id), named_path(folder.path(), 1, name));
    let (pack_file, named_file) = (fs::read(&pack).unwrap(), fs::read(&named).unwrap());
    for length in 0..pack_file.len() {
        fs::write(&pack, &pack_file[..length]).unwrap();
        assert!(matches!(vault.read(1, id).await, Err(VaultError::Damaged)), "pack of {length}");
    }
    for length in 0..named_file.len() {
        fs::write(&named, &named_file[..length]).unwrap();
        assert!(matches!(vault.read_named(1, name).await, Err(VaultError::Damaged)), "blob of {length}");
    }
}

#[tokio::test]
async fn another_packs_file_in_a_packs_place_is_not_given_out() {
    let folder = tempfile::tempdir().unwrap();
    let vault = Vault::open(folder.path()).unwrap();
    let (first, second) = (octets(1, 99), octets(2, 99));
    let (a, b) = (vault.put(1, first.clone()).await.unwrap(), vault.put(1, second.clone()).await.unwrap());
    vault.put_named(1, a.0, first.clone()).await.unwrap();
    let (at_a, at_b) = (pack_path(folder.path(), 1, a), pack_path(folder.path(), 1, b));
    fs::copy(&at_b, &at_a).unwrap();
    assert!(matches!(vault.read(1, a).await, Err(VaultError::Damaged)));
    assert_eq!(vault.read(1, b).await.unwrap(), Some(second));
    // A pack is no named blob and the other way round, even of the same octets.
    fs::copy(named_path(folder.path(), 1, a.0), &at_a).unwrap();
    assert!(matches!(vault.read(1, a).await, Err(VaultError::Damaged)));
    fs::copy(&at_b, named_path(folder.path(), 1, a.0)).unwrap();
    assert!(matches!(vault.read_named(1, a.0).await, Err(VaultError::Damaged)));
    vault.put(1, first.clone()).await.unwrap();
    assert_eq!(vault.read(1, a).await.unwrap(), Some(first));
}

#[tokio::test]
async fn owners_do_not_see_each_others_packs_and_blobs() {
    let folder = tempfile::tempdir().unwrap();
    let vault = Vault::open(folder.path()).unwrap();
    let (name, whole) = ([5; 32], octets(1, 50));
    let id = vault.put(1, whole.clone()).await.unwrap();
    vault.put_named(1, name, vec![1]).await.unwrap();
    for other in [0, 2, 11, u32::MAX] {
        assert_eq!(vault.read(other, id).await.unwrap(), None);
        assert_eq!(vault.read_named(other, name).await.unwrap(), None);
    }
    vault.put_named(11, name, vec![11]).await.unwrap();
    assert_eq!(vault.put(11, whole.clone()).await.unwrap(), id);
    fs::remove_file(pack_path(folder.path(), 11, id)).unwrap();
    assert_eq!(vault.read(11, id).await.unwrap(), None);
    assert_eq!(vault.read(1, id).await.unwrap(), Some(whole));
    assert_eq!(vault.read_named(1, name).await.unwrap(), Some(vec![1]));
    assert_eq!(vault.read_named(11, name).await.unwrap(), Some(vec![11]));
    assert_eq!(vault.read_named(1, [6; 32]).await.unwrap(), None);
}

#[tokio::test]
async fn a_blob_longer_than_a_pack_may_be_is_refused_and_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let vault = Vault::open(folder.path()).unwrap();
    let long = vec![0; PACK_OCTETS_MAX + 1];
    let refused = |error| matches!(error, VaultError::TooLong(length) if length == PACK_OCTETS_MAX + 1);
    assert!(refused(vault.put(1, long.clone()).await.unwrap_err()));
    assert!(refused(vault.put_named(1, [1; 32], long.clone()).await.unwrap_err()));
    assert!(files(folder.path()).is_empty());
    // One octet fewer is the longest pack; no octets are a pack as well.
    for whole in [long[1..].to_vec(), Vec::new()] {
        let id = vault.put(1, whole.clone()).await.unwrap();
        assert!(id.names(&whole) && vault.read(1, id).await.unwrap() == Some(whole));
    }
    vault.put_named(1, [1; 32], Vec::new()).await.unwrap();
    assert_eq!(vault.read_named(1, [1; 32]).await.unwrap(), Some(Vec::new()));
}

/// Whatever a crash in the middle of a write leaves: folders without a file; an unfinished file of any length, beside
/// nothing or beside the old file.
#[tokio::test]
async fn what_a_crash_left_unfinished_is_removed_and_what_was_there_stays() {
    let whole = octets(7, 64);
    let name = [9; 32];
    for written in [0, 1, 33, 63, 64] {
        let folder = tempfile::tempdir().unwrap();
        let vault = Vault::open(folder.path()).unwrap();
        let id = vault.put(1, whole.clone()).await.unwrap();
        vault.put_named(1, name, whole.clone()).await.unwrap();
        let before = files(folder.path());
        for path in before.iter().chain([&named_path(folder.path(), 4, name)]) {
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            for ending in ["new", "0.new", "17.new"] {
                fs::write(path.with_extension(ending), &whole[..written]).unwrap();
            }
        }
        fs::create_dir_all(folder.path().join("5/named")).unwrap();
        drop(vault);
        let vault = Vault::open(folder.path()).unwrap();
        assert_eq!(files(folder.path()), before);
        assert_eq!(vault.read(1, id).await.unwrap(), Some(whole.clone()));
        assert_eq!(vault.read_named(1, name).await.unwrap(), Some(whole.clone()));
        assert_eq!(vault.read_named(4, name).await.unwrap(), None);
        vault.put_named(4, name, whole.clone()).await.unwrap();
        vault.put_named(5, name, whole.clone()).await.unwrap();
        assert_eq!(vault.read_named(5, name).await.unwrap(), Some(whole.clone()));
    }
}

/// Two calls that brought the same pack at the same time wrote into the same unfinished file. The first one's rename
/// took it away from under the second, whose put failed; of two blobs of one name, a mixture could be left.
#[tokio::test(flavor = "multi_thread")]
async fn the_same_pack_put_by_many_at_once_is_kept_for_all_of_them() {
    let folder = tempfile::tempdir().unwrap();
    let vault = Vault::open(folder.path()).unwrap();
    for round in 0..12 {
        let whole = octets(round, 20_000);
        let mut puts = JoinSet::new();
        for _ in 0..12 {
            let (vault, whole) = (vault.clone(), whole.clone());
            puts.spawn(async move {
                let id = vault.put(1, whole).await?;
                // Who was answered finds it.
                vault.read(1, id).await
            });
        }
        for read in puts.join_all().await {
            assert_eq!(read.unwrap().as_ref(), Some(&whole), "round {round}");
        }
    }
    assert_eq!(files(folder.path()).len(), 12, "one file for each pack and nothing unfinished");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_named_blob_is_replaced_whole_under_many_writers_and_readers() {
    let folder = tempfile::tempdir().unwrap();
    let vault = Vault::open(folder.path()).unwrap();
    let name = [8; 32];
    let blob = |writer: u8| octets(writer, 3_000 + 2_000 * usize::from(writer));
    vault.put_named(1, name, blob(0)).await.unwrap();
    let mut work = JoinSet::new();
    for writer in 0..6 {
        let vault = vault.clone();
        work.spawn(async move {
            for _ in 0..12 {
                vault.put_named(1, name, blob(writer)).await.unwrap();
            }
        });
    }
    for _ in 0..4 {
        let vault = vault.clone();
        work.spawn(async move {
            for _ in 0..60 {
                let read = vault.read_named(1, name).await.unwrap().expect("there is always one");
                assert!(read == blob(((read.len() - 3_000) / 2_000) as u8));
            }
        });
    }
    work.join_all().await;
    assert_eq!(files(folder.path()), BTreeSet::from([named_path(folder.path(), 1, name)]));
    vault.put_named(1, name, blob(3)).await.unwrap();
    assert_eq!(Vault::open(folder.path()).unwrap().read_named(1, name).await.unwrap(), Some(blob(3)));
}

#[tokio::test]
async fn a_put_that_fails_leaves_nothing_unfinished() {
    let folder = tempfile::tempdir().unwrap();
    let vault = Vault::open(folder.path()).unwrap();
    let name = [2; 32];
    // A folder lies where the blob should: the rename fails.
    fs::create_dir_all(named_path(folder.path(), 1, name).join("in the way")).unwrap();
    for _ in 0..3 {
        assert!(matches!(vault.put_named(1, name, vec![1]).await, Err(VaultError::Io(_))));
        assert!(files(folder.path()).is_empty());
    }
    assert!(matches!(vault.read_named(1, name).await, Err(VaultError::Io(_))), "a failing disk is not an absent blob");
}
