use std::{collections::BTreeSet, vec};

use rand_chacha::{ChaCha20Rng, rand_core::SeedableRng};

use super::*;
use crate::{codec, sign::Context};

const DAY: u64 = 24 * 60 * 60 * 1000;
const START: Timestamp = Timestamp(20_000 * DAY);

fn rng() -> ChaCha20Rng {
    ChaCha20Rng::seed_from_u64(7)
}

fn endpoint() -> Endpoint {
    Endpoint::generate("ana", vec![vec![1; 38]], &mut rng()).unwrap()
}

impl Endpoint {
    /// With this ML-KEM key instead of its own.
    pub(crate) fn with_kem(self, key: KemSecret) -> Self {
        Self { kems: Ring::new(key), ..self }
    }

    /// With this secret for the prekey of that id.
    pub(crate) fn with_prekey(self, id: PrekeyId, secret: [u8; 32]) -> Self {
        let secret = StaticSecret::from(secret);
        Self { prekeys: Ring::new(PrekeySecret { id, secret }), ..self }
    }
}

/// As version 1 wrote it, byte for byte.
fn version_1(seed: [u8; 32], member: &[u8; 32]) -> Vec<u8> {
    let secret = StaticSecret::from([4; 32]);
    let mut body = minicbor::Encoder::new(vec![]);
    body.array(7).unwrap().u8(1).unwrap().bytes(member).unwrap().null().unwrap();
    body.u64(1).unwrap().str("ana").unwrap().array(1).unwrap().bytes(&[1; 38]).unwrap();
    body.array(2).unwrap().bytes(&[0xee; 4]).unwrap();
    body.bytes(PublicKey::from(&secret).as_bytes()).unwrap();
    let body = body.into_writer();
    let signature = SigningSecret::from_seed(&seed).sign(Context::Card, &[&body]);
    let mut card = minicbor::Encoder::new(vec![]);
    card.array(2).unwrap().bytes(&body).unwrap().bytes(&signature.0).unwrap();
    let mut stored = minicbor::Encoder::new(vec![]);
    stored.array(4).unwrap().u8(1).unwrap().bytes(&seed).unwrap();
    stored.bytes(&card.into_writer()).unwrap().array(1).unwrap().array(2).unwrap();
    stored.bytes(&[0xee; 4]).unwrap().bytes(&secret.to_bytes()).unwrap();
    stored.into_writer()
}

#[test]
fn what_is_stored_is_read_again_with_another_incarnation() {
    let mut endpoint = endpoint();
    for day in 0..40 {
        endpoint.renew(START.plus_ms(day * DAY), &mut rng());
    }
    let again = Endpoint::load(&endpoint.save(), &mut ChaCha20Rng::seed_from_u64(8)).unwrap();
    assert_eq!(*again.save(), *endpoint.save());
    assert_eq!(again.card(), endpoint.card());
    assert_ne!(again.incarnation(), endpoint.incarnation());
    assert_eq!(again.recovery().unwrap().public(), endpoint.recovery().unwrap().public());
}

#[test]
fn one_of_version_1_gets_its_new_keys_and_a_newer_card() {
    let seed = [5; 32];
    let member = SigningSecret::from_seed(&seed).id();
    let old = Endpoint::load(&version_1(seed, &member.0), &mut rng()).unwrap();
    let card = old.card().card();
    assert_eq!((card.version, card.member, card.seq, card.name.as_str()), (2, member, 2, "ana"));
    assert_eq!(card.nodes.len(), 1);
    assert_eq!(card.kk, old.kem_secrets().next().map(KemSecret::public));
    assert_eq!(card.recovery, old.recovery().map(RecoveryKey::public));
    assert!(old.prekey_secret(PrekeyId([0xee; 4])).is_some());
    assert_eq!(card.prekey.id, PrekeyId([0xee; 4]));
    let again = Endpoint::load(&old.save(), &mut rng()).unwrap();
    assert_eq!(again.card(), old.card());
}

#[test]
fn what_is_newer_or_damaged_is_told_apart() {
    let bytes = endpoint().save().to_vec();
    let load = |bytes: &[u8]| Endpoint::load(bytes, &mut rng()).err();
    let mut newer = bytes.clone();
    newer[1] = 3;
    assert_eq!(load(&newer), Some(LoadError::Newer));
    newer[1] = 0;
    assert_eq!(load(&newer), Some(LoadError::Damaged));
    for end in 0..bytes.len() {
        assert_eq!(load(&bytes[..end]), Some(LoadError::Damaged), "{end}");
    }
    let other = version_1([5; 32], &[6; 32]);
    assert_eq!(load(&other), Some(LoadError::Damaged), "another identity's card");
}

#[test]
fn the_public_half_of_the_recovery_key_is_on_the_first_card_and_stays_when_it_is_forgotten() {
    let mut endpoint = endpoint();
    let public = endpoint.recovery().unwrap().public();
    assert_eq!(endpoint.card().card().recovery, Some(public));
    assert!(endpoint.forget_recovery());
    assert!(!endpoint.forget_recovery());
    let again = Endpoint::load(&endpoint.save(), &mut rng()).unwrap();
    assert!(again.recovery().is_none());
    assert_eq!(again.card().card().recovery, Some(public));
}

#[test]
fn keys_renew_by_time_with_a_card_each_and_nothing_is_deleted_for_35_days() {
    let (mut endpoint, mut rng) = (endpoint(), rng());
    assert!(!endpoint.renew(START, &mut rng), "the first sight of a clock makes no key");
    let mut seen = vec![endpoint.prekey()];
    let mut kems = BTreeSet::from([endpoint.card().card().kk.clone().unwrap().as_bytes().to_vec()]);
    for hour in 1..=40 * 24 {
        let now = START.plus_ms(hour * DAY / 24);
        let seq = endpoint.card().card().seq;
        let renewed = endpoint.renew(now, &mut rng);
        assert_eq!(renewed, hour % 24 == 0, "hour {hour}");
        let later = endpoint.card().card().seq;
        assert!((seq..=seq + limits::CARD_STRIDE).contains(&later) && (later > seq) == renewed);
        if renewed {
            assert_eq!(endpoint.prekey().id, prekey_id(later));
            seen.push(endpoint.prekey());
            kems.insert(endpoint.card().card().kk.clone().unwrap().as_bytes().to_vec());
        }
        endpoint.forget_superseded(now);
        for (day, prekey) in seen.iter().enumerate() {
            let superseded = (day as u64 + 1) * DAY;
            let kept = hour * DAY / 24 < superseded + 35 * DAY;
            assert_eq!(endpoint.prekey_secret(prekey.id).is_some(), kept, "hour {hour}, {day}");
        }
    }
    assert_eq!((kems.len(), endpoint.kem_secrets().count()), (2, 2));
}

#[test]
fn without_a_word_that_the_backlog_is_read_nothing_is_deleted_and_the_number_is_bounded() {
    let (mut endpoint, mut rng) = (endpoint(), rng());
    let first = endpoint.prekey().id;
    for day in 0..400 {
        endpoint.renew(START.plus_ms(day * DAY), &mut rng);
    }
    assert!(endpoint.prekey_secret(first).is_some());
    assert_eq!(endpoint.prekeys.len(), PREKEYS);
    assert_eq!(endpoint.kem_secrets().count(), KEMS);
    let now = START.plus_ms(400 * DAY);
    assert!(endpoint.forget_superseded(now));
    assert!(endpoint.prekey_secret(first).is_none());
    assert!(endpoint.renew(now, &mut rng), "there is room again");
}

#[test]
fn an_old_copy_overtakes_the_card_that_peers_know() {
    let (mut endpoint, mut rng) = (endpoint(), rng());
    let old = endpoint.save();
    for day in 0..5 {
        endpoint.renew(START.plus_ms(day * DAY), &mut rng);
    }
    let known = endpoint.card().card().seq;
    let mut restored = Endpoint::load(&old, &mut rng).unwrap();
    assert!(!restored.overtake(1, START, &mut rng));
    assert!(restored.overtake(known, START, &mut rng));
    let seq = restored.card().card().seq;
    assert!(seq > known && seq <= known + limits::CARD_STRIDE);
    assert_eq!(restored.prekey().id, prekey_id(seq));
    assert!(restored.prekey_secret(restored.prekey().id).is_some());
}

#[test]
fn copies_of_one_state_sign_no_two_cards_with_new_keys_under_one_number() {
    let (mut endpoint, mut rng) = (endpoint(), rng());
    let mut copy = Endpoint::load(&endpoint.save(), &mut rng).unwrap();
    for (day, one) in [(1, &mut endpoint), (9, &mut copy)] {
        one.renew(START, &mut rng);
        assert!(one.renew(START.plus_ms(day * DAY), &mut rng));
    }
    let (known, own) = (endpoint.card().card().seq, copy.card().card().seq);
    assert_ne!(known, own);
    assert_eq!(copy.overtake(known, START.plus_ms(9 * DAY), &mut rng), known > own);
    assert!(copy.card().card().seq > known, "the copy's newest keys are those that count");
}

#[test]
fn a_card_of_any_form_is_read_from_its_own_bytes() {
    let mut endpoint = endpoint();
    assert_eq!(endpoint.set_machines(vec![endpoint.member()]), Err(BadMachines::Own));
    let others: Vec<MemberId> = (1..=8).map(|n| MemberId([n; 32])).collect();
    assert_eq!(endpoint.set_machines(others.clone()), Err(BadMachines::TooMany));
    assert_eq!(endpoint.set_machines(others[..7].to_vec()), Ok(true));
    assert_eq!(endpoint.set_machines(others[..7].to_vec()), Ok(false));
    endpoint.issue(u64::MAX, |card| {
        card.name = "a".repeat(limits::NAME_BYTES);
        card.nodes = vec![vec![9; 64].into(); 4];
    });
    assert_eq!(endpoint.card().as_bytes().len(), 1_946);
    let read = SignedCard::from_bytes(endpoint.card().as_bytes()).unwrap();
    assert_eq!(&read, endpoint.card());
    assert!(read.card().names(&others[3]) && !read.card().names(&others[7]));
    assert_eq!(endpoint.set_machines(vec![]), Ok(true));
    assert_eq!(endpoint.card().card().machines, None);
}

#[test]
fn a_card_that_no_version_makes_is_refused() {
    let endpoint = endpoint();
    let refused = |change: &dyn Fn(&mut Card)| {
        let mut card = endpoint.card().card().clone();
        change(&mut card);
        let signed = SignedCard::sign(card, endpoint.identity());
        SignedCard::from_bytes(signed.as_bytes()).is_err()
    };
    assert!(!refused(&|_| {}));
    assert!(refused(&|card| card.version = 1), "version 1 has no ML-KEM key");
    assert!(refused(&|card| card.version = 3));
    assert!(refused(&|card| card.machines = Some(vec![])));
    assert!(refused(&|card| card.machines = Some(vec![MemberId([2; 32]), MemberId([1; 32])])));
    assert!(refused(&|card| card.machines = Some(vec![card.member])));
    let mut bytes = codec::encode(endpoint.card().card());
    let at = bytes.windows(3).position(|window| window == [0x59, 0x04, 0xa0]).unwrap();
    bytes[at + 3..at + 6].fill(0xff);
    assert!(codec::decode::<Card>(&bytes).is_err(), "no ML-KEM key");
}
