use alloc::{vec, vec::Vec};

use proptest::prelude::*;
use rand_chacha::{ChaCha20Rng, rand_core::SeedableRng};

use super::*;

struct Person {
    me: Endpoint,
    pair_to: SendState,
    pair_from: ReceiveState,
}

fn people(n: usize) -> Vec<Person> {
    let mut rng = ChaCha20Rng::seed_from_u64(n as u64);
    (0..n)
        .map(|_| Person {
            me: Endpoint::generate("somebody", vec![], &mut rng).unwrap(),
            pair_to: SendState::default(),
            pair_from: ReceiveState::default(),
        })
        .collect()
}

/// `people[0]` seals to all others.
fn seal_to_all(people: &mut [Person], topic: Option<&TopicSecret>, seed: u64) -> Sealed {
    let (sender, others) = people.split_first_mut().unwrap();
    let mut recipients: Vec<_> = others
        .iter_mut()
        .map(|other| Recipient {
            member: other.me.member(),
            prekey: other.me.prekey(),
            pair: &mut other.pair_to,
        })
        .collect();
    let terms = Terms {
        group: GroupId([1; 32]),
        heads: vec![OpId([2; 32])],
        roster: RosterHash([3; 32]),
        closing: None,
        topic,
        now: Timestamp(4),
    };
    seal(&sender.me, terms, &mut recipients, &mut ChaCha20Rng::seed_from_u64(seed))
}

fn open_as(person: &Person, bundle: &Bundle, position: usize) -> Result<Opened, OpenError> {
    let page = &bundle.pages[position / SLOTS_PER_PAGE];
    open(&bundle.head, page, position, &person.me, &person.pair_from)
}

fn say(sealed: &mut Sealed, text: &[u8]) -> Vec<u8> {
    let draft =
        crate::chain::Draft { kind: 0, heads: vec![], lamport: 0, at: Timestamp(0), payload: text };
    let header = crate::envelope::HeaderKey::new([0; 32]);
    let mut rng = ChaCha20Rng::seed_from_u64(77);
    sealed.chain.seal(&GroupId([1; 32]), &header, draft, &mut rng).unwrap().envelope
}

#[test]
fn every_recipient_opens_its_slot_and_reads_the_sender() {
    for n in [1, 2, 10, 502] {
        let mut people = people(n);
        let mut sealed = seal_to_all(&mut people, None, 9);
        assert_eq!(sealed.bundle.pages.len(), pages(n - 1));
        let head = SignedHead::from_bytes(sealed.bundle.head.as_bytes()).unwrap();
        assert_eq!(head.chain(), sealed.chain.id());
        let envelope = say(&mut sealed, b"hello");
        for at in [0, 1, 8, 499, 500].into_iter().filter(|at| at + 1 < n) {
            let opened = open_as(&people[at + 1], &sealed.bundle, at).unwrap();
            let (message, _) = opened.chain.open(&GroupId([1; 32]), 0, &envelope).unwrap();
            assert_eq!(message.content.payload, b"hello");
        }
    }
}

#[test]
fn nobody_opens_the_slot_of_another() {
    let mut people = people(3);
    let sealed = seal_to_all(&mut people, None, 9);
    assert!(open_as(&people[1], &sealed.bundle, 1).is_err());
    let stranger = &self::people(4)[3];
    for at in [0, 1] {
        assert!(open_as(stranger, &sealed.bundle, at).is_err());
    }
}

#[test]
fn a_changed_slot_page_or_head_is_refused() {
    let mut people = people(3);
    let sealed = seal_to_all(&mut people, None, 9);
    let mut bundle = sealed.bundle.clone();
    bundle.pages[0][20] ^= 1;
    assert_eq!(open_as(&people[1], &bundle, 0).err(), Some(OpenError::Page));
    let bytes = sealed.bundle.head.as_bytes();
    for at in 0..bytes.len() {
        let mut bytes = Vec::from(bytes);
        bytes[at] ^= 1;
        assert!(SignedHead::from_bytes(&bytes).is_err(), "byte {at}");
    }
}

/// What only the sender itself can do: another seed for one recipient under an honest signature.
#[test]
fn a_seed_that_does_not_match_its_commitment_is_refused() {
    let mut people = people(3);
    let sealed = seal_to_all(&mut people, None, 9);
    let mut core = sealed.bundle.head.head.clone();
    core.commit = [9; 32];
    let core = codec::encode(&core);
    let context = hash32(Label::BundleContext, &[&core]);
    let to = SlotContext {
        ephemeral: &sealed.bundle.head.head.ephemeral,
        context: &context,
        member: &people[1].me.member(),
    };
    // The ephemeral secret is the second draw of 32 bytes from the generator.
    let mut rng = ChaCha20Rng::seed_from_u64(9);
    let _ = random(&mut rng);
    let ephemeral = StaticSecret::from(*random(&mut rng));
    assert_eq!(PublicKey::from(&ephemeral).to_bytes(), sealed.bundle.head.head.ephemeral);
    let prekey = people[1].me.prekey();
    let (one, _) = slot(&to, &[8; 32], &ephemeral, prekey, &mut SendState::default()).unwrap();
    let page = [one.as_slice(), &one].concat();
    let pages = vec![PageHash::of(&page)];
    let signature =
        people[0].me.identity().sign(Context::Bundle, &[&context, &PageHash::all(&pages)]);
    let head =
        SignedHead::from_bytes(&codec::encode(&HeadWire { core, pages, signature })).unwrap();
    let opened = open(&head, &page, 0, &people[1].me, &people[1].pair_from);
    assert_eq!(opened.err(), Some(OpenError::Forged));
}

#[test]
fn a_topic_is_handed_over_to_recipients() {
    let mut people = people(2);
    let topic = TopicSecret::from_bytes([6; 32]);
    let sealed = seal_to_all(&mut people, Some(&topic), 9);
    assert_eq!(open_as(&people[1], &sealed.bundle, 0).unwrap().topic, Some(topic));
}

#[test]
fn once_confirmed_a_slot_opens_only_once() {
    let mut people = people(2);
    let first = seal_to_all(&mut people, None, 9);
    people[1].pair_from = open_as(&people[1], &first.bundle, 0).unwrap().pair;
    let (_, epoch) = first.inits[0];
    assert!(people[1].pair_to.confirm(epoch));
    let second = seal_to_all(&mut people, None, 10);
    assert!(second.inits.is_empty());
    people[1].pair_from = open_as(&people[1], &second.bundle, 0).unwrap().pair;
    assert_eq!(open_as(&people[1], &second.bundle, 0).err(), Some(OpenError::NoKey));
}

#[test]
fn a_lost_bundle_is_skipped() {
    let mut people = people(2);
    let first = seal_to_all(&mut people, None, 9);
    people[1].pair_from = open_as(&people[1], &first.bundle, 0).unwrap().pair;
    people[1].pair_to.confirm(first.inits[0].1);
    let lost = seal_to_all(&mut people, None, 10);
    let third = seal_to_all(&mut people, None, 11);
    people[1].pair_from = open_as(&people[1], &third.bundle, 0).unwrap().pair;
    assert!(open_as(&people[1], &lost.bundle, 0).is_ok(), "and may come late");
}

#[test]
fn a_prekey_of_small_order_harms_its_owner_only() {
    let mut people = people(3);
    let (sender, others) = people.split_first_mut().unwrap();
    let (bad, good) = others.split_first_mut().unwrap();
    let prekey = Prekey { id: PrekeyId([0; 4]), public: [0; 32] };
    let mut recipients = [
        Recipient { member: bad.me.member(), prekey, pair: &mut bad.pair_to },
        Recipient {
            member: good[0].me.member(),
            prekey: good[0].me.prekey(),
            pair: &mut good[0].pair_to,
        },
    ];
    let terms = Terms {
        group: GroupId([1; 32]),
        heads: vec![],
        roster: RosterHash([3; 32]),
        closing: None,
        topic: None,
        now: Timestamp(4),
    };
    let mut rng = ChaCha20Rng::seed_from_u64(1);
    let sealed = seal(&sender.me, terms, &mut recipients, &mut rng);
    assert!(open_as(&people[2], &sealed.bundle, 1).is_ok());
}

proptest! {
    #[test]
    fn garbage_is_no_head(bytes in proptest::collection::vec(any::<u8>(), 0..700)) {
        prop_assert!(SignedHead::from_bytes(&bytes).is_err());
    }
}
