//! The suite passes a good adapter, and says of each bad one what is wrong.

use std::panic::{AssertUnwindSafe, catch_unwind};

use super::bank::{Bank, Flaw, Tx, add, block_on};
use crate::outcome::check::{OutcomeStoreCase, check_outcome_store};

impl OutcomeStoreCase for Bank {
    type Store = Bank;

    async fn connect(&self) -> Bank {
        Bank::connect(self)
    }

    async fn effect<'t, 's: 't>(tx: &'t mut Tx) {
        add(tx, "effects", 1);
    }

    async fn effects(store: &mut Bank) -> u64 {
        store.balance("effects").try_into().unwrap()
    }
}

#[test]
fn g19_the_suite_passes_an_adapter_that_keeps_the_rules() {
    block_on(check_outcome_store(&Bank::default()));
}

#[test]
fn the_suite_finds_each_flaw_and_names_it() {
    let check = |flaw: Flaw, said: &str| {
        let bank = Bank::with_flaw(flaw);
        let run = || block_on(check_outcome_store(&bank));
        let panic = catch_unwind(AssertUnwindSafe(run)).expect_err(said);
        let text = match panic.downcast_ref::<String>() {
            Some(text) => text.as_str(),
            None => panic.downcast_ref::<&str>().unwrap(),
        };
        assert!(text.contains(said), "{flaw:?}: {text}");
    };
    check(Flaw::CutsBytes, "kept bytes are found otherwise");
    check(
        Flaw::KnowsTheKeyOnly,
        "found the outcome of another request",
    );
    check(Flaw::CommitsWhenDropped, "of a dropped transaction stays");
    check(Flaw::LosesEffects, "a committed effect doesn't count once");
    check(
        Flaw::Replaces,
        "a second outcome under the same id is taken",
    );
    check(
        Flaw::KeepsEffectOfRefused,
        "the effect of a refused outcome stays",
    );
    check(
        Flaw::LooksOnlyWhenKept,
        "two transactions have committed the same id",
    );
    check(Flaw::ForgetsAll, "count as a day old");
}
