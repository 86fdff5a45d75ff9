//! Looking at the items of a queue in another process, page by page.

use callboard::queue::{Browsed, Queue};
use callboard::{Failure, FailureKind, Message, System, Verdict, WireMessage};
use callboard_remote::{LinkConfig, Node};
use serde::{Deserialize, Serialize};

use crate::admin::grant;
use crate::queues::{Job, Text, far, jobs};
use crate::wires::{Memory, connect_with};

/// A [`Job`] that can be read if its number is odd.
#[derive(Debug, Clone, PartialEq, Serialize)]
struct OddOnly(u64);

impl<'de> Deserialize<'de> for OddOnly {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let Job(number) = Job::deserialize(from)?;
        let odd = (number % 2 == 1).then_some(OddOnly(number));
        odd.ok_or_else(|| serde::de::Error::custom("even"))
    }
}

impl Message for OddOnly {
    type Reply = ();
}

impl WireMessage for OddOnly {
    const NAME: &'static str = "test.job";
    const VERSION: u32 = 1;
}

/// Never an empty page, which is the end.
#[callboard::test(both)]
async fn g34_what_a_page_has_no_room_for_is_named_with_how_to_go_on(system: System) {
    let near: Queue<Text> = system.queue("texts").open().unwrap();
    let node = Node::new(&system, "queues").unwrap();
    node.expose_queue("texts", &near).unwrap();
    grant(&node, ">");
    let mut small = LinkConfig::default();
    small.max_message = 4_096;
    let (_wire, peer) = connect_with::<Memory>(&system, &node, small).await;
    let queue = peer.queue::<Text>("texts").await.unwrap();
    let dead = peer.dead_letters::<Text>("texts").await.unwrap();
    let text = |length| Text("x".repeat(length));
    let texts = [10, 5_000, 11, 6_000].map(text);
    near.offer_many(texts.clone()).await.unwrap();
    let too_large = |failure: Failure, sequence: u64| {
        assert_eq!(failure.kind(), FailureKind::TooLarge);
        assert_eq!(failure.verdict(), Verdict::NotExecuted);
        let text = failure.to_string();
        let named = format!("item {sequence} of queue texts takes ");
        let next = format!(": look from {} on for what is behind it", sequence + 1);
        assert!(text.contains(&named) && text.ends_with(&next), "{text}");
    };
    let first = near.browse(0, 1).await.unwrap()[0].sequence;
    for (from, shown) in [(first, Some(10)), (first + 1, None), (first + 2, Some(11))] {
        match (queue.browse(from, 9).await, shown) {
            (Ok(page), Some(length)) => {
                let page: Vec<_> = page.iter().map(|one| (one.sequence, &one.item)).collect();
                assert_eq!(page, [(from, &text(length))]);
            }
            (Err(failure), None) => too_large(failure, from),
            (other, _) => panic!("{other:?}"),
        }
    }
    too_large(queue.browse(first + 3, 9).await.unwrap_err(), first + 3);
    assert_eq!(queue.browse(first + 4, 9).await.unwrap(), []);

    for delivery in near.lease_many(4).await.unwrap() {
        delivery.bury("for the page").await.unwrap();
    }
    let near = near.dead_letters().unwrap().browse(0, 9).await.unwrap();
    assert_eq!(
        near.iter().map(|one| &one.item.item).collect::<Vec<_>>(),
        texts.each_ref()
    );
    let at = |index: usize| near[index].sequence;
    assert_eq!(dead.browse(0, 9).await.unwrap(), near[..1]);
    too_large(dead.browse(at(1), 9).await.unwrap_err(), at(1));
    assert_eq!(dead.browse(at(1) + 1, 9).await.unwrap(), near[2..3]);
    too_large(dead.browse(at(3), 9).await.unwrap_err(), at(3));
    assert_eq!(dead.browse(at(3) + 1, 9).await.unwrap(), []);
}

/// So is what can't be read here.
#[callboard::test(both)]
async fn g34_what_cannot_be_read_here_is_named_with_how_to_go_on(system: System) {
    let scene = far::<Memory>(&system, jobs(&system)).await;
    grant(&scene.node, ">");
    let broken = scene.peer.queue::<OddOnly>("jobs").await.unwrap();
    scene.near.offer_many((1..=5).map(Job)).await.unwrap();
    let seen = |page: Vec<Browsed<OddOnly>>| -> Vec<_> {
        page.into_iter()
            .map(|one| (one.sequence, one.item.0))
            .collect()
    };
    let first = scene.near.browse(0, 1).await.unwrap()[0].sequence;
    assert_eq!(seen(broken.browse(0, 9).await.unwrap()), [(first, 1)]);
    let failure = broken.browse(first + 1, 9).await.unwrap_err();
    assert_eq!(failure.kind(), FailureKind::BadPayload);
    let named = format!("item {} of queue jobs can't be read here", first + 1);
    assert!(failure.to_string().contains(&named), "{failure}");
    assert_eq!(
        seen(broken.browse(first + 2, 9).await.unwrap()),
        [(first + 2, 3)]
    );
}
