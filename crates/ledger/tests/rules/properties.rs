//! What holds of the rules whatever comes: for random transactions, sound and unsound, in random order.

use crate::world::{HEIGHT, NOW, World, enter, entries, grant, request, revoke, signer, slots};
use ledger::{
    Action, Effects, Moment, Reads, Rejection, Snapshot, Transaction,
    access::Request,
    anchor::{ACCESS_BUCKET, ENTRIES_MAX, Enter, Lane, Tagged},
    consent::{Grant, Revoke},
    member::{LAST_HEIGHT_AHEAD_MAX, WINDOW},
};
use proptest::{collection::vec, prelude::*, sample::select};
use std::{
    collections::BTreeSet,
    panic::{AssertUnwindSafe, catch_unwind},
};
use wire::{Format as _, state::body_name};

/// Cases of each property: signatures make them slow.
const CASES: u32 = 48;

/// A transaction that stays small and often meets what another has left.
fn transactions() -> impl Strategy<Value = Transaction> {
    let world = World::new();
    let network = world.network();
    let lane = select(vec![Lane::Records, Lane::Access]);
    let counts = select(vec![1_usize, 2, 4, 7, 8, 16]);
    let action = prop_oneof![
        4 => (lane, 0_usize..60, counts, 0_u8..8).prop_map(|(lane, from, count, turned)| {
            let mut entries = entries(from..from + count);
            if turned == 0 {
                entries.reverse();
            }
            Action::Enter(Enter { lane, entries })
        }),
        2 => (50_u8..54, select(vec![NOW - 1, NOW, NOW + 9]), select(vec![8_usize, 8, 8, 9]), 0_u32..8).prop_map(
            move |(key, month, count, group)| {
                let group = u32::from(group == 0);
                Action::Grant(Grant::sign(&signer(key), network, group, month, slots(count)))
            },
        ),
        2 => (50_u8..54, 0_u8..8).prop_map(move |(key, odd)| {
            let mut revoke = Revoke::sign(&signer(key), network, 0);
            revoke.signature[40] ^= u8::from(odd == 0);
            Action::Revoke(revoke)
        }),
        2 => (0_u8..4, 0_u32..8).prop_map(|(root, group)| {
            let group = u32::from(group == 0);
            Action::Request(Request { group, slots_root: [root; 32], reader_key: [3; 32] })
        }),
    ];
    let numbers = prop_oneof![9 => 1_u64..12, 1 => select(vec![0, WINDOW, 3 * WINDOW])];
    let ahead = prop_oneof![9 => 0_u64..20, 1 => select(vec![LAST_HEIGHT_AHEAD_MAX, LAST_HEIGHT_AHEAD_MAX + 3])];
    let signers = prop_oneof![8 => select(vec![(1_u32, 1_u8), (2, 2)]), 1 => select(vec![(1, 2), (7, 7)])];
    (signers, numbers, ahead, action).prop_map(move |((member, key), sequence, ahead, action)| {
        Transaction::sign(&signer(key), network, member, sequence, HEIGHT + ahead, action)
    })
}

/// Executes all in one block over one snapshot, as a member does; keeps what each one answers.
fn execute(world: &World, moment: Moment, block: &[Transaction]) -> Vec<Result<Effects, Rejection>> {
    let mut snapshot = Snapshot::new();
    let apply = |transaction: &Transaction| {
        world.load(transaction, &mut snapshot);
        ledger::apply(&world.genesis, moment, transaction, &mut snapshot)
    };
    block.iter().map(apply).collect()
}

/// A snapshot with what `reads` names, but for the `left_out`-th key of all.
fn without(world: &World, reads: &Reads, left_out: usize) -> Snapshot {
    let mut snapshot = Snapshot::new();
    for (at, key) in reads.registry.iter().enumerate() {
        if at != left_out {
            snapshot.insert_registry(*key, world.registry.get(key).copied());
        }
    }
    for (at, key) in reads.strands.iter().enumerate() {
        if at + reads.registry.len() != left_out {
            snapshot.insert_strand(*key, world.strands.get(key).copied());
        }
    }
    snapshot
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(CASES) })]

    #[test]
    fn the_same_transactions_in_the_same_order_have_the_same_effects(block in vec(transactions(), 1..24)) {
        let world = World::new();
        let first = execute(&world, world.moment, &block);
        prop_assert_eq!(&first, &execute(&world, world.moment, &block));
        // What was sent and decoded is the same as what was signed.
        let read: Vec<Transaction> = block.iter().map(|t| Transaction::decode(&t.encode()).unwrap()).collect();
        prop_assert_eq!(&first, &execute(&world, world.moment, &read));
        // One snapshot for the block, or a fresh one with the state so far for each: the same.
        let mut alone = world;
        let one_by_one: Vec<_> = block.iter().map(|t| alone.apply(t)).collect();
        prop_assert_eq!(first, one_by_one);
    }

    #[test]
    fn what_a_transaction_says_that_it_reads_is_enough_and_not_too_much(
        before in vec(transactions(), 0..12), transaction in transactions(),
    ) {
        let mut world = World::new();
        for transaction in &before {
            drop(world.apply(transaction));
        }
        // Enough: it does not panic.
        let whole = ledger::apply(&world.genesis, world.moment, &transaction, &mut world.snapshot(&transaction));
        let reads = transaction.reads();
        // All that it writes it has read.
        for (key, _) in whole.iter().flat_map(|effects| &effects.registry) {
            prop_assert!(reads.registry.contains(key));
        }
        for (key, _) in whole.iter().flat_map(|effects| &effects.strands) {
            prop_assert!(reads.strands.contains(key));
        }
        for left_out in 0..reads.registry.len() + reads.strands.len() {
            let mut snapshot = without(&world, &reads, left_out);
            let part = catch_unwind(AssertUnwindSafe(|| {
                ledger::apply(&world.genesis, world.moment, &transaction, &mut snapshot)
            }));
            match part {
                // It got to where the key is read: a bug of the caller, never another answer.
                Err(_) => {}
                // It was refused before that.
                Ok(part) => {
                    prop_assert!(whole.is_err(), "an effect came about without key {left_out}");
                    prop_assert_eq!(&part, &whole);
                }
            }
        }
    }

    #[test]
    fn a_rejected_transaction_changes_nothing(block in vec(transactions(), 1..24)) {
        let world = World::new();
        let mut snapshot = Snapshot::new();
        let mut taken = Vec::new();
        for transaction in &block {
            world.load(transaction, &mut snapshot);
            let before = format!("{snapshot:?}");
            match ledger::apply(&world.genesis, world.moment, transaction, &mut snapshot) {
                Ok(effects) => taken.push((transaction.clone(), effects)),
                Err(_) => prop_assert_eq!(before, format!("{snapshot:?}")),
            }
        }
        // Without the rejected ones everything is as it was with them.
        let (block, effects): (Vec<_>, Vec<_>) = taken.into_iter().unzip();
        let again: Vec<_> = execute(&world, world.moment, &block).into_iter().map(Result::unwrap).collect();
        prop_assert_eq!(again, effects);
    }

    #[test]
    fn nothing_that_took_effect_takes_effect_twice(block in vec(transactions(), 1..24)) {
        let mut world = World::new();
        let taken: Vec<_> = block.iter().filter(|t| world.apply(t).is_ok()).collect();
        let after = world.clone();
        for transaction in taken {
            prop_assert_eq!(world.apply(transaction), Err(Rejection::SequenceUsed));
        }
        prop_assert_eq!(world, after);
    }

    #[test]
    fn every_body_lies_under_the_name_that_the_state_holds(block in vec(transactions(), 1..24)) {
        let mut world = World::new();
        for transaction in &block {
            let Ok(effects) = world.apply(transaction) else { continue };
            prop_assert_eq!(&effects.bodies, &transaction.bodies());
            for body in effects.bodies {
                let name = body_name(&body);
                prop_assert!(effects.registry.iter().any(|(_, value)| value[..32] == name));
                prop_assert!(Grant::from_octets(&body).is_ok());
            }
        }
    }

    #[test]
    fn a_padded_enter_is_sorted_a_power_of_two_and_taken(
        tags in proptest::collection::btree_set(0_usize..4_000, 0..=ENTRIES_MAX),
        records in any::<bool>(),
        bucket_log in 0_u32..9,
        shuffle in any::<u64>(),
    ) {
        let mut world = World::new();
        world.genesis.parameters.bucket = 1 << bucket_log;
        let (lane, bucket) = match records {
            true => (Lane::Records, 1 << bucket_log),
            false => (Lane::Access, ACCESS_BUCKET),
        };
        let mut real: Vec<Tagged> = tags.iter().flat_map(|tag| entries(*tag..*tag + 1)).collect();
        real.sort_by_key(|e| wire::hash::hash("shuffle", &[&shuffle.to_be_bytes(), &e.tag]));
        let padded = Enter::padded(lane, real.clone(), bucket);
        let all = &padded.entries;
        prop_assert!(all.len().is_power_of_two() && all.len() >= bucket && all.len() <= ENTRIES_MAX);
        prop_assert!(all.len() < 2 * real.len().max(1) || all.len() == bucket, "no more dummies than are needed");
        prop_assert!(all.windows(2).all(|pair| pair[0].tag < pair[1].tag));
        let kept: BTreeSet<&Tagged> = all.iter().collect();
        prop_assert!(real.iter().all(|entry| kept.contains(entry)));
        let transaction = world.sign(1, 1, Action::Enter(padded.clone()));
        let effects = world.apply(&transaction);
        prop_assert_eq!(effects.map(|e| e.strands.len()), Ok(all.len()));
        // Other dummies the next time.
        let again = Enter::padded(lane, real.clone(), bucket);
        prop_assert_eq!(again == padded, all.len() == real.len());
    }
}

#[test]
fn every_kind_of_transaction_reads_all_the_keys_that_it_names() {
    let world = World::new();
    let actions = [enter(Lane::Records, 0..8), grant(&world, 50, NOW), revoke(&world, 50), request(1)];
    for (action, keys) in actions.into_iter().zip([10, 3, 3, 3]) {
        let transaction = world.sign(1, 1, action);
        let reads = transaction.reads();
        assert_eq!(reads.registry.len() + reads.strands.len(), keys);
        for left_out in 0..keys {
            let mut snapshot = without(&world, &reads, left_out);
            let part = catch_unwind(AssertUnwindSafe(|| {
                ledger::apply(&world.genesis, world.moment, &transaction, &mut snapshot)
            }));
            assert!(part.is_err(), "{transaction:?} needs key {left_out}");
        }
    }
}

#[test]
fn a_snapshot_keeps_what_was_written_when_the_key_is_loaded_again() {
    let world = World::new();
    let first = world.sign(1, 1, enter(Lane::Access, 0..2));
    let second = world.sign(1, 2, enter(Lane::Access, 1..3));
    let answers = execute(&world, world.moment, &[first.clone(), first, second]);
    let refused = [Rejection::SequenceUsed, Rejection::EntryExists];
    assert!(answers[0].is_ok());
    assert_eq!(answers[1..].iter().map(|a| a.clone().unwrap_err()).collect::<Vec<_>>(), refused);
}
