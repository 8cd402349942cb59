use alloc::{vec, vec::Vec};

use proptest::prelude::*;
use rand_chacha::{ChaCha20Rng, rand_core::SeedableRng};

use super::*;
use crate::{ids::PrekeyId, kem::KemSecret};

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

/// `people[0]` seals to all others, of whose ML-KEM keys it does not know.
fn seal_to_all(people: &mut [Person], topic: Option<&TopicSecret>, seed: u64) -> Sealed {
    seal_with(people, topic, seed, First::Classical)
}

fn seal_with(
    people: &mut [Person],
    topic: Option<&TopicSecret>,
    seed: u64,
    first: First,
) -> Sealed {
    let kks: Vec<_> = people.iter().map(|person| person.me.card().card().kk.clone()).collect();
    let (sender, others) = people.split_first_mut().unwrap();
    let mut recipients: Vec<_> = others
        .iter_mut()
        .zip(&kks[1..])
        .map(|(other, kk)| Recipient {
            member: other.me.member(),
            prekey: other.me.prekey(),
            kk: kk.as_ref().filter(|_| first == First::Hybrid),
            pair: &mut other.pair_to,
        })
        .collect();
    let terms = Terms {
        group: GroupId([1; 32]),
        heads: vec![OpId([2; 32])],
        roster: RosterHash([3; 32]),
        closing: None,
        topic,
        audit_head: [0; 16],
        now: Timestamp(4),
    };
    seal(&sender.me, terms, &mut recipients, &mut ChaCha20Rng::seed_from_u64(seed))
}

fn open_as(person: &Person, bundle: &Bundle, position: usize) -> Result<Opened, OpenError> {
    let page = &bundle.pages[position / SLOTS_PER_PAGE];
    open(&bundle.head, page, position, &person.me, &person.pair_from, None)
}

/// The only page is given, wherever the slot should be.
fn open_as_is(person: &Person, bundle: &Bundle, position: usize) -> Result<Opened, OpenError> {
    open(&bundle.head, &bundle.pages[0], position, &person.me, &person.pair_from, None)
}

fn say(sealed: &mut Sealed, text: &[u8]) -> Vec<u8> {
    let draft =
        crate::chain::Draft { kind: 0, heads: vec![], lamport: 0, at: Timestamp(0), payload: text };
    let header = crate::envelope::HeaderKey::new([0; 32]);
    let mut rng = ChaCha20Rng::seed_from_u64(77);
    sealed.chain.seal(&GroupId([1; 32]), &[header], draft, &mut rng).unwrap().envelopes.remove(0)
}

#[test]
fn every_recipient_opens_its_slot_and_reads_the_sender() {
    for n in [1, 2, 10, 514] {
        let mut people = people(n);
        let mut sealed = seal_to_all(&mut people, None, 9);
        assert_eq!(sealed.bundle.pages.len(), pages(n - 1));
        let head = SignedHead::from_bytes(sealed.bundle.head.as_bytes()).unwrap();
        assert_eq!(head.chain(), sealed.chain.id());
        let envelope = say(&mut sealed, b"hello");
        for at in [0, 1, 8, 511, 512].into_iter().filter(|at| at + 1 < n) {
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

/// The bundle of `people[0]`, changed by `change` and signed again: what only a sender can do.
fn resigned(
    people: &[Person],
    bundle: &Bundle,
    change: impl FnOnce(&mut Head, &mut Vec<Vec<u8>>),
) -> Bundle {
    let (mut head, mut pages) = (bundle.head.head.clone(), bundle.pages.clone());
    change(&mut head, &mut pages);
    let core = codec::encode(&head);
    let context = hash32(Label::BundleContext, &[&core]);
    let hashes: Vec<_> = pages.iter().map(|page| PageHash::of(page)).collect();
    let joined = PageHash::join(&hashes);
    let signature =
        people[0].me.identity().sign(Context::Bundle, &[&context, &PageHash::all(&joined)]);
    let bytes = codec::encode(&HeadWire { core, pages: joined, signature });
    Bundle { head: SignedHead::from_bytes(&bytes).unwrap(), pages }
}

#[test]
fn a_slot_more_or_less_than_the_roster_is_noticed() {
    let mut people = people(4);
    let bundle = seal_to_all(&mut people, None, 9).bundle;
    assert!(bundle.head.has_page(0, &bundle.pages[0], 3));
    assert!(!bundle.head.has_page(0, &bundle.pages[0], 2));
    assert!(!bundle.head.has_page(1, &bundle.pages[0], 3));
    let hidden = resigned(&people, &bundle, |_, pages| pages[0].extend([0; SLOT]));
    assert!(!hidden.head.has_page(0, &hidden.pages[0], 3));
    let paged = resigned(&people, &bundle, |_, pages| pages.push(vec![0; SLOT]));
    assert!(!paged.head.has_page(0, &paged.pages[0], 3));
}

#[test]
fn a_second_page_has_what_the_first_had_no_room_for() {
    let mut people = people(514);
    let bundle = seal_to_all(&mut people, None, 9).bundle;
    assert!((0..2).all(|n| bundle.head.has_page(n, &bundle.pages[n], 513)));
    assert_eq!(bundle.pages[1].len(), SLOT);
}

#[test]
fn the_fullest_page_fits_an_envelope_with_its_head() {
    let limit = crate::envelope::CARRIED_MAX;
    assert!(SLOTS_PER_PAGE * SLOT + 2048 <= limit);
    assert_eq!(pages(limits::MEMBERS - 1), 2);
}

#[test]
fn slots_of_types_to_come_are_named_and_refused() {
    let mut people = people(2);
    let bundle = seal_to_all(&mut people, None, 9).bundle;
    for kind in [2, 3, 200] {
        let other = resigned(&people, &bundle, |_, pages| pages[0][0] = kind);
        assert_eq!(open_as(&people[1], &other, 0).err(), Some(OpenError::Type(kind)));
    }
}

/// The seed in a slot, to somebody who knows that the Diffie-Hellman came out as zeros.
fn known_to_all(head: &SignedHead, slot: &[u8], to: &Person) -> Option<Zeroizing<[u8; 32]>> {
    let member = to.me.member();
    let to =
        SlotContext { ephemeral: &head.head.ephemeral, context: &head.context, member: &member };
    decrypt(&to.keys(&[0; 32], &[0; 32], &[0; 32], &[]), &head.context, &slot[9..])
}

#[test]
fn an_ephemeral_key_of_small_order_is_refused() {
    let mut people = people(2);
    let bundle = seal_to_all(&mut people, None, 9).bundle;
    let (seed, member, ephemeral) = ([7; 32], people[1].me.member(), [0; 32]);
    let prekey = people[1].me.prekey().public;
    let weak = |head: &mut Head| {
        head.ephemeral = ephemeral;
        head.commit = commitment(&seed, &head.group, &head.sender, &ephemeral);
    };
    let context = resigned(&people, &bundle, |head, _| weak(head)).head.context;
    let to = SlotContext { ephemeral: &ephemeral, context: &context, member: &member };
    let sealed = encrypt(&to.keys(&[0; 32], &[0; 32], &prekey, &[]), &context, &seed);
    let weak = resigned(&people, &bundle, |head, pages| {
        weak(head);
        pages[0][9..].copy_from_slice(&sealed);
    });
    assert_eq!(weak.head.context, context);
    assert_eq!(open_as(&people[1], &weak, 0).err(), Some(OpenError::Forged));
}

#[test]
fn an_honest_slot_under_another_head_is_refused() {
    let mut people = people(2);
    let bundle = seal_to_all(&mut people, None, 9).bundle;
    let moved = resigned(&people, &bundle, |head, _| head.roster = RosterHash([9; 32]));
    assert_eq!(open_as(&people[1], &moved, 0).err(), Some(OpenError::Forged));
}

#[test]
fn heads_may_be_given_in_any_order() {
    let people = people(1);
    let terms = Terms {
        group: GroupId([1; 32]),
        heads: vec![OpId([3; 32]), OpId([2; 32]), OpId([3; 32])],
        roster: RosterHash([3; 32]),
        closing: None,
        topic: None,
        audit_head: [0; 16],
        now: Timestamp(4),
    };
    let sealed = seal(&people[0].me, terms, &mut [], &mut ChaCha20Rng::seed_from_u64(1));
    let head = SignedHead::from_bytes(sealed.bundle.head.as_bytes()).unwrap();
    assert_eq!(head.head().heads, [OpId([2; 32]), OpId([3; 32])]);
}

#[test]
fn a_first_contact_opened_again_does_not_open_later_slots_again() {
    let mut people = people(2);
    let first = seal_to_all(&mut people, None, 9);
    people[1].pair_from = open_as(&people[1], &first.bundle, 0).unwrap().pair;
    assert!(people[1].pair_to.confirm(first.inits[0].1));
    let second = seal_to_all(&mut people, None, 10);
    people[1].pair_from = open_as(&people[1], &second.bundle, 0).unwrap().pair;
    people[1].pair_from = open_as(&people[1], &first.bundle, 0).unwrap().pair;
    assert_eq!(open_as(&people[1], &second.bundle, 0).err(), Some(OpenError::NoKey));
}

#[test]
fn bundles_lost_before_any_receipt_cost_nothing() {
    let mut people = people(2);
    let sealed: Vec<_> = (0..6).map(|n| seal_to_all(&mut people, None, n)).collect();
    let last = &sealed[5];
    people[1].pair_from = open_as(&people[1], &last.bundle, 0).unwrap().pair;
    assert!(people[1].pair_to.confirm(last.inits[0].1));
    let next = seal_to_all(&mut people, None, 9);
    assert!(next.inits.is_empty());
    assert!(open_as(&people[1], &next.bundle, 0).is_ok());
    assert!(open_as(&people[1], &sealed[0].bundle, 0).is_ok(), "and may come late");
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
    let mut pair = SendState::default();
    let prepared = Prepared::new(&ephemeral, prekey, First::Classical, 1, &mut pair).unwrap();
    let (one, _) = prepared.seal(&to, &[8; 32], SlotType::Kem, &mut pair);
    let page = [one.as_slice(), &one].concat();
    let pages = PageHash::join(&[PageHash::of(&page)]);
    let signature =
        people[0].me.identity().sign(Context::Bundle, &[&context, &PageHash::all(&pages)]);
    let head =
        SignedHead::from_bytes(&codec::encode(&HeadWire { core, pages, signature })).unwrap();
    let opened = open(&head, &page, 0, &people[1].me, &people[1].pair_from, None);
    assert_eq!(opened.err(), Some(OpenError::Forged));
}

/// As a recipient with the ciphertext that was told it.
fn open_hybrid(person: &Person, sealed: &Sealed, position: usize) -> Result<Opened, OpenError> {
    let ciphertext = sealed.ciphertexts.iter().find(|(to, _)| *to == person.me.member());
    let ciphertext = ciphertext.map(|(_, ciphertext)| &**ciphertext);
    let page = &sealed.bundle.pages[position / SLOTS_PER_PAGE];
    open(&sealed.bundle.head, page, position, &person.me, &person.pair_from, ciphertext)
}

#[test]
fn a_first_contact_with_ml_kem_is_named_by_the_head_and_needs_its_ciphertext() {
    let mut people = people(4);
    let sealed = seal_with(&mut people, None, 9, First::Hybrid);
    assert_eq!((sealed.ciphertexts.len(), sealed.bundle.head.head().version), (3, 2));
    let head = SignedHead::from_bytes(sealed.bundle.head.as_bytes()).unwrap();
    for at in 0..3 {
        let (member, ciphertext) = &sealed.ciphertexts[at];
        assert!(head.names(member, ciphertext));
        assert!(!head.names(&people[0].me.member(), ciphertext));
        assert_eq!(slot_type(&sealed.bundle.pages[0], at), Ok(SlotType::Kem));
        assert!(open_hybrid(&people[at + 1], &sealed, at).is_ok());
        assert_eq!(open_as(&people[at + 1], &sealed.bundle, at).err(), Some(OpenError::Ciphertext));
    }
    let mut forged = sealed.ciphertexts[0].1.clone();
    forged[7] ^= 1;
    let (page, me) = (&sealed.bundle.pages[0], &people[1].me);
    let opened = open(&head, page, 0, me, &people[1].pair_from, Some(&forged));
    assert_eq!(opened.err(), Some(OpenError::Ciphertext), "another one may still come");
}

#[test]
fn more_first_contacts_than_a_head_names_are_told_to_each_alone() {
    for (n, kind) in [(CIPHERTEXTS + 1, SlotType::Kem), (CIPHERTEXTS + 2, SlotType::Inbox)] {
        let mut people = people(n);
        let sealed = seal_with(&mut people, None, 9, First::Hybrid);
        let head = SignedHead::from_bytes(sealed.bundle.head.as_bytes()).unwrap();
        assert_eq!(head.head().ciphertexts.is_some(), kind == SlotType::Kem);
        assert_eq!(slot_type(&sealed.bundle.pages[0], n - 2), Ok(kind));
        assert_eq!(sealed.ciphertexts.len(), n - 1);
        assert!(open_hybrid(&people[n - 1], &sealed, n - 2).is_ok());
        assert!(open_as(&people[n - 1], &sealed.bundle, n - 2).is_err());
    }
}

#[test]
fn neither_the_prekey_nor_the_ml_kem_key_alone_opens_a_first_contact() {
    let mut people = people(2);
    let sealed = seal_with(&mut people, None, 9, First::Hybrid);
    let mut rng = ChaCha20Rng::seed_from_u64(5);
    let ciphertext = Some(&*sealed.ciphertexts[0].1);
    let slot = slot_at(&sealed.bundle.pages[0], 0).unwrap();
    let head = sealed.bundle.head.head();
    let member = people[1].me.member();
    let context = &sealed.bundle.head.context;
    let to = SlotContext { ephemeral: &head.ephemeral, context, member: &member };
    let slot = Slot::read(slot).unwrap();
    let opens = |me: &Endpoint| slot.open(&to, me, None, &people[1].pair_from, ciphertext).err();
    assert_eq!(opens(&people[1].me), None);
    let me = people[1].me.clone().with_kem(KemSecret::generate(&mut rng));
    assert_eq!(opens(&me), Some(OpenError::Forged));
    let me = people[1].me.clone().with_prekey(people[1].me.prekey().id, [5; 32]);
    assert_eq!(opens(&me), Some(OpenError::Forged));
}

#[test]
fn a_slot_opens_with_an_ml_kem_key_that_was_superseded() {
    let mut people = people(2);
    let sealed = seal_with(&mut people, None, 9, First::Hybrid);
    let (mut rng, month) = (ChaCha20Rng::seed_from_u64(5), 30 * 24 * 60 * 60 * 1000);
    let kk = people[1].me.card().card().kk.clone();
    for renewal in 0..3 {
        people[1].me.renew(Timestamp(renewal * month), &mut rng);
    }
    assert_ne!(people[1].me.card().card().kk, kk);
    assert!(open_hybrid(&people[1], &sealed, 0).is_ok());
}

#[test]
fn an_epoch_that_began_without_ml_kem_ends_once_a_key_is_known() {
    let mut people = people(2);
    let first = seal_to_all(&mut people, None, 9);
    people[1].pair_from = open_as(&people[1], &first.bundle, 0).unwrap().pair;
    assert!(people[1].pair_to.confirm(first.inits[0].1));
    let second = seal_with(&mut people, None, 10, First::Hybrid);
    assert_eq!(second.inits.len(), 1);
    people[1].pair_from = open_hybrid(&people[1], &second, 0).unwrap().pair;
    assert!(people[1].pair_to.confirm(second.inits[0].1));
    let third = seal_with(&mut people, None, 11, First::Hybrid);
    assert!(third.inits.is_empty() && third.ciphertexts.is_empty());
    assert_eq!(third.bundle.head.head().version, 1);
    assert!(open_as(&people[1], &third.bundle, 0).is_ok());
}

#[test]
fn a_head_names_each_of_its_pages() {
    let mut people = people(SLOTS_PER_PAGE + 2);
    let sealed = seal_to_all(&mut people, None, 9);
    let (head, pages) = (&sealed.bundle.head, &sealed.bundle.pages);
    assert_eq!(head.pages(), 2);
    let numbers: Vec<_> = pages.iter().map(|page| head.page_number(page)).collect();
    assert_eq!(numbers, [Some(0), Some(1)]);
    assert_eq!(head.page_number(b"another"), None);
    let hashes: Vec<_> = pages.iter().map(|page| PageHash::of(page)).collect();
    assert_eq!(head.pages_hash(), PageHash::all(&PageHash::join(&hashes)));
}

#[test]
fn a_head_names_its_ciphertexts_or_has_no_slots_that_need_one() {
    let mut people = people(3);
    let sealed = seal_with(&mut people, None, 9, First::Hybrid);
    let signed = |change: &dyn Fn(&mut Head)| {
        let mut core = sealed.bundle.head.head.clone();
        change(&mut core);
        let core = codec::encode(&core);
        let context = hash32(Label::BundleContext, &[&core]);
        let pages = PageHash::join(&sealed.bundle.head.pages);
        let signed: [&[u8]; 2] = [&context, &PageHash::all(&pages)];
        let signature = people[0].me.identity().sign(Context::Bundle, &signed);
        SignedHead::from_bytes(&codec::encode(&HeadWire { core, pages, signature })).is_ok()
    };
    assert!(signed(&|_| {}));
    assert!(!signed(&|head| head.version = 1));
    assert!(signed(&|head| head.heads.push(OpId([3; 32]))));
    assert!(!signed(&|head| head.heads.push(OpId([2; 32]))));
    assert!(!signed(&|head| head.version = 3));
    for length in [0, 31, 33, 32 * (CIPHERTEXTS + 1)] {
        assert!(!signed(&|head| head.ciphertexts = Some(vec![0; length])), "{length}");
    }
    assert!(signed(&|head| head.ciphertexts = Some(vec![0; 32 * CIPHERTEXTS])));
    let none = resigned(&people, &sealed.bundle, |head, _| head.ciphertexts = None);
    assert_eq!(open_as(&people[1], &none, 0).err(), Some(OpenError::Type(2)));
    let other = resigned(&people, &sealed.bundle, |_, pages| pages[0][0] = 3);
    assert_eq!(open_as(&people[1], &other, 0).err(), Some(OpenError::Type(3)));
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
        Recipient { member: bad.me.member(), prekey, kk: None, pair: &mut bad.pair_to },
        Recipient {
            member: good[0].me.member(),
            prekey: good[0].me.prekey(),
            kk: None,
            pair: &mut good[0].pair_to,
        },
    ];
    let terms = Terms {
        group: GroupId([1; 32]),
        heads: vec![],
        roster: RosterHash([3; 32]),
        closing: None,
        topic: None,
        audit_head: [0; 16],
        now: Timestamp(4),
    };
    let mut rng = ChaCha20Rng::seed_from_u64(1);
    let sealed = seal(&sender.me, terms, &mut recipients, &mut rng);
    assert!(open_as(&people[2], &sealed.bundle, 1).is_ok());
    let bad = &sealed.bundle.pages[0][..SLOT];
    assert!(known_to_all(&sealed.bundle.head, bad, &people[1]).is_none());
}

proptest! {
    #[test]
    fn a_page_of_garbage_never_panics(
        page in proptest::collection::vec(any::<u8>(), 0..200), position in 0usize..1100,
    ) {
        let mut people = people(2);
        let bundle = seal_to_all(&mut people, None, 9).bundle;
        let signed = resigned(&people, &bundle, |_, pages| *pages = vec![page]);
        prop_assert!(open_as_is(&people[1], &signed, position).is_err());
    }

    #[test]
    fn garbage_is_no_head(bytes in proptest::collection::vec(any::<u8>(), 0..700)) {
        prop_assert!(SignedHead::from_bytes(&bytes).is_err());
    }
}
