use alloc::vec;

use proptest::prelude::*;
use rand_chacha::{ChaCha20Rng, rand_core::SeedableRng};

use super::*;
use crate::{
    codec,
    envelope::HeaderKey,
    ids::RosterHash,
    sign::{Context, SigningSecret},
};

const GROUP: GroupId = GroupId([1; 32]);

fn rng() -> ChaCha20Rng {
    ChaCha20Rng::seed_from_u64(5)
}

fn chains() -> (SendChain, ReceiveChain) {
    let signing = SigningSecret::from_seed(&[2; 32]);
    let (seed, context) = ([3; 32], [4; 32]);
    let receive = ReceiveChain::new(&seed, context, signing.public());
    let send = SendChain {
        context,
        signing,
        key: ChainKey::first(&seed, &context),
        count: 0,
        last: None,
        roster: RosterHash([0; 32]),
        born: Timestamp(0),
    };
    (send, receive)
}

fn seal(chain: &mut SendChain, text: &[u8]) -> SealedMessage {
    let draft = Draft { kind: 0, heads: vec![], lamport: 1, at: Timestamp(9), payload: text };
    chain.seal(&GROUP, &[HeaderKey::new([6; 32])], draft, &mut rng()).unwrap()
}

#[test]
fn messages_open_in_order_and_name_the_one_before() {
    let (mut send, mut receive) = chains();
    let mut last = None;
    for text in [b"one".as_slice(), b"two", b"three"] {
        let sealed = seal(&mut send, text);
        let (opened, next) = receive.open(&GROUP, sealed.index, &sealed.envelopes[0]).unwrap();
        assert_eq!(opened.content.payload, text);
        assert_eq!(opened.content.prev, last);
        assert_eq!(opened.id, sealed.id);
        last = Some(opened.id);
        receive = next;
    }
}

#[test]
fn a_replay_is_refused() {
    let (mut send, receive) = chains();
    let sealed = seal(&mut send, b"one");
    let (_, receive) = receive.open(&GROUP, 0, &sealed.envelopes[0]).unwrap();
    assert!(matches!(receive.open(&GROUP, 0, &sealed.envelopes[0]), Err(ReceiveError::Replay)));
}

#[test]
fn messages_may_come_in_any_order_once_each() {
    let (mut send, mut receive) = chains();
    let sealed: Vec<_> = (0u8..4).map(|n| seal(&mut send, &[n])).collect();
    for n in [3usize, 0, 2, 1] {
        let (opened, next) = receive.open(&GROUP, n as u32, &sealed[n].envelopes[0]).unwrap();
        assert_eq!(opened.content.payload, [n as u8]);
        receive = next;
    }
    assert_eq!(receive.missing().count(), 0);
    for again in sealed {
        assert!(receive.open(&GROUP, again.index, &again.envelopes[0]).is_err());
    }
}

#[test]
fn a_forgery_does_not_move_the_chain() {
    let (mut send, receive) = chains();
    let before = receive.save();
    let mut sealed = seal(&mut send, b"one");
    let at = sealed.envelopes[0].len() - 1;
    sealed.envelopes[0][at] ^= 1;
    assert!(matches!(receive.open(&GROUP, 0, &sealed.envelopes[0]), Err(ReceiveError::Forged)));
    assert_eq!(*receive.save(), *before);
}

#[test]
fn a_holder_of_the_chain_can_not_sign_for_its_sender() {
    let (mut send, receive) = chains();
    send.signing = SigningSecret::from_seed(&[9; 32]);
    let sealed = seal(&mut send, b"one");
    assert!(matches!(receive.open(&GROUP, 0, &sealed.envelopes[0]), Err(ReceiveError::Forged)));
}

#[test]
fn a_message_belongs_to_its_group() {
    let (mut send, receive) = chains();
    let sealed = seal(&mut send, b"one");
    assert!(receive.open(&GroupId([2; 32]), 0, &sealed.envelopes[0]).is_err());
}

#[test]
fn a_full_chain_seals_nothing_more() {
    let (mut send, receive) = chains();
    let mut last = seal(&mut send, b"first");
    for _ in 1..crate::limits::CHAIN_MESSAGES {
        last = seal(&mut send, b"more");
    }
    let draft = Draft { kind: 0, heads: vec![], lamport: 1, at: Timestamp(9), payload: b"x" };
    let sealed = send.seal(&GROUP, &[HeaderKey::new([6; 32])], draft, &mut rng());
    assert!(matches!(sealed, Err(SealError::ChainFull)));
    let (_, receive) = receive.open(&GROUP, last.index, &last.envelopes[0]).unwrap();
    assert_eq!(receive.missing().count(), 255);
    assert!(matches!(
        receive.open(&GROUP, 256, &last.envelopes[0]),
        Err(ReceiveError::BeyondEnd(256))
    ));
}

#[test]
fn too_long_a_message_says_how_long_it_may_be() {
    let (mut send, _) = chains();
    let header_key = [HeaderKey::new([6; 32])];
    let long = vec![0; 40_000];
    let draft = |payload| Draft { kind: 0, heads: vec![], lamport: 1, at: Timestamp(9), payload };
    let Err(SealError::TooLong { limit }) =
        send.seal(&GROUP, &header_key, draft(&long), &mut rng())
    else {
        panic!("sealed")
    };
    assert_eq!(send.count(), 0);
    assert!(send.seal(&GROUP, &header_key, draft(&long[..=limit]), &mut rng()).is_err());
    assert!(send.seal(&GROUP, &header_key, draft(&long[..limit]), &mut rng()).is_ok());
}

#[test]
fn a_ninth_head_is_not_sealed() {
    let (mut send, _) = chains();
    let head = HeadRef { chain: ChainId([1; 16]), index: 0, id: MessageId([2; 16]) };
    let mut try_heads = |count| {
        let heads = vec![head; count];
        let draft = Draft { kind: 0, heads, lamport: 1, at: Timestamp(9), payload: b"x" };
        send.seal(&GROUP, &[HeaderKey::new([6; 32])], draft, &mut rng()).map(|sealed| sealed.index)
    };
    assert_eq!(try_heads(9), Err(SealError::Heads));
    assert_eq!(try_heads(8), Ok(0));
}

#[test]
fn eight_heads_are_read_and_a_ninth_that_is_signed_all_the_same_is_not() {
    let (send, _) = chains();
    let head = HeadRef { chain: ChainId([1; 16]), index: 0, id: MessageId([2; 16]) };
    let reads = |count| {
        let content = codec::encode(&Content {
            kind: 0,
            prev: None,
            heads: vec![head; count],
            lamport: 1,
            at: Timestamp(9),
            payload: vec![],
        });
        let statement = statement(&GROUP, &send.context, 0, &content_hash(&content));
        let signature = send.signing.sign(Context::Message, &[&statement]);
        let public = send.signing.public();
        signed_content(&GROUP, &send.context, &public, 0, &content, &signature).is_ok()
    };
    assert!(reads(7) && reads(8) && !reads(9));
}

#[test]
fn what_was_opened_is_known_by_its_index() {
    let (mut send, receive) = chains();
    assert_eq!(send.born(), Timestamp(0));
    send.born = Timestamp(7);
    assert_eq!(send.born(), Timestamp(7));
    let sealed: Vec<_> = (0..4).map(|_| seal(&mut send, b"x")).collect();
    let (_, receive) = receive.open(&GROUP, 3, &sealed[3].envelopes[0]).unwrap();
    let (_, receive) = receive.open(&GROUP, 1, &sealed[1].envelopes[0]).unwrap();
    assert_eq!(receive.next(), 4);
    assert_eq!([0, 1, 2, 3, 4].map(|index| receive.has(index)), [false, true, false, true, false]);
    assert!(receive.missing().eq([0, 2]));
}

#[test]
fn stored_state_goes_on_where_it_was() {
    let (mut send, receive) = chains();
    let (one, two) = (seal(&mut send, b"one"), seal(&mut send, b"two"));
    let (_, receive) = receive.open(&GROUP, 1, &two.envelopes[0]).unwrap();
    let receive = ReceiveChain::load(&receive.save()).unwrap();
    assert!(receive.has(1) && !receive.has(0));
    assert!(receive.open(&GROUP, 0, &one.envelopes[0]).is_ok());
}

proptest! {
    #[test]
    fn garbage_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
        let (_, receive) = chains();
        prop_assert!(receive.open(&GROUP, 0, &bytes).is_err());
        prop_assert!(ReceiveChain::load(&bytes).is_err());
    }
}
