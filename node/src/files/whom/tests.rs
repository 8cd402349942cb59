//! Who is asked for a file, and when again.

use super::*;

const ANA: MemberId = MemberId([1; 32]);
const BEN: MemberId = MemberId([2; 32]);
const CLEO: MemberId = MemberId([3; 32]);

fn givers(near: &[MemberId], afar: &[MemberId]) -> Givers {
    Givers { near: near.to_vec(), afar: afar.to_vec() }
}

fn next(whom: &mut Whom, givers: &Givers, now: Instant) -> Vec<(MemberId, By)> {
    whom.next(givers, |_| false, now)
}

fn leaves(whom: &Whom, givers: &Givers) -> Vec<MemberId> {
    whom.leaves(givers, |_| false, Instant::now())
}

#[test]
fn a_circuit_is_asked_for_where_nobody_gives_directly_and_of_one_after_the_other() {
    let start = Instant::now();
    let mut whom = Whom::new(start);
    let afar = givers(&[], &[ANA, BEN]);
    assert_eq!(next(&mut whom, &afar, start), [], "a channel may come up");
    let now = start + ALONE;
    assert_eq!(next(&mut whom, &afar, now), [(ANA, By::Circuit)]);
    assert_eq!(next(&mut whom, &afar, now), [], "one at a time");
    whom.ended(ANA, By::Circuit, 0, now);
    assert_eq!(next(&mut whom, &afar, now), [(BEN, By::Circuit)]);
    whom.ended(BEN, By::Circuit, 1, now);
    assert_eq!(next(&mut whom, &afar, now + REST), [(BEN, By::Circuit)], "it has ended too soon");
    whom.ended(BEN, By::Circuit, 0, now);
    assert_eq!(next(&mut whom, &afar, now + CIRCUIT_REST), [(ANA, By::Circuit)]);
    let shut = |member: &MemberId| *member == BEN;
    whom.ended(ANA, By::Circuit, 0, now);
    assert_eq!(whom.next(&afar, shut, now + CIRCUIT_REST), [], "ana rests twice as long");
}

#[test]
fn who_does_not_come_is_asked_ever_less_often_and_once_an_hour_at_last() {
    let (mut whom, mut now) = (Whom::new(Instant::now()), Instant::now() + ALONE);
    let afar = givers(&[], &[ANA]);
    let mut waited = Vec::new();
    for _ in 0..10 {
        let asked = now;
        while next(&mut whom, &afar, now).is_empty() {
            now += Duration::from_secs(10);
        }
        waited.push((now - asked).as_secs());
        whom.ended(ANA, By::Circuit, 0, now);
    }
    let soon = now + 2 * ALONE;
    whom.begin(now);
    assert_eq!(next(&mut whom, &afar, soon), [], "also where it has its turn again");
    whom.wake();
    assert_eq!(next(&mut whom, &afar, soon), [(ANA, By::Circuit)]);
    assert_eq!(waited, [0, 30, 60, 120, 240, 480, 960, 1_920, 3_600, 3_600]);
}

#[test]
fn as_long_as_much_comes_directly_nobody_is_asked_for_a_circuit() {
    let start = Instant::now();
    let mut whom = Whom::new(start);
    let both = givers(&[ANA], &[BEN]);
    assert_eq!(next(&mut whom, &both, start), [(ANA, By::Direct)]);
    let (mut now, mut bytes) = (start, 0);
    for _ in 0..60 {
        (now, bytes) = (now + Duration::from_secs(1), bytes + WORTH / 4);
        whom.brought(bytes, 0, now);
        assert_eq!(next(&mut whom, &both, now), []);
    }
    // A little is as good as nothing: its stream stands, and another is asked.
    for _ in 0..10 {
        (now, bytes) = (now + Duration::from_secs(1), bytes + WORTH / 10);
        whom.brought(bytes, 0, now);
        if whom.circuit.is_some() {
            break;
        }
        let asked = next(&mut whom, &both, now);
        assert!(asked.is_empty() || asked == [(BEN, By::Circuit)]);
    }
    assert!(whom.circuit.is_some() && leaves(&whom, &both).is_empty());
    // While the circuit stands direct ways are tried all the same; and it ends where much comes by one.
    whom.ended(ANA, By::Direct, 1, now);
    now += REST;
    assert_eq!(next(&mut whom, &both, now), [(ANA, By::Direct)]);
    whom.brought(bytes, 0, now + ALONE);
    whom.brought(bytes + WORTH - 1, 0, now + ALONE);
    assert!(leaves(&whom, &both).is_empty());
    whom.brought(bytes + WORTH, 0, now + ALONE);
    assert_eq!(leaves(&whom, &both), [BEN]);
}

#[test]
fn many_near_who_have_it_not_keep_nobody_from_asking_afar() {
    let start = Instant::now();
    let mut whom = Whom::new(start);
    let near: Vec<MemberId> = (10..30).map(|n| MemberId([n; 32])).collect();
    let all = givers(&near, &[BEN]);
    let mut asked = Vec::new();
    for second in 0..30 {
        let now = start + Duration::from_secs(second);
        let next = next(&mut whom, &all, now);
        for (member, by) in next {
            match by {
                By::Direct => whom.ended(member, by, 0, now),
                By::Circuit => asked.push(member),
            }
        }
    }
    assert_eq!(asked, [BEN]);
}

#[test]
fn many_near_who_give_next_to_nothing_leave_a_stream_to_a_circuit() {
    let start = Instant::now();
    let mut whom = Whom::new(start);
    let near: Vec<MemberId> = (10..40).map(|n| MemberId([n; 32])).collect();
    let all = givers(&near, &[BEN]);
    assert_eq!(next(&mut whom, &all, start).len(), FILE_SOURCES - 1);
    assert_eq!(next(&mut whom, &all, start + ALONE), [(BEN, By::Circuit)]);
    let mut whom = Whom::new(start);
    assert_eq!(next(&mut whom, &givers(&near, &[]), start).len(), FILE_SOURCES);
}

#[test]
fn who_was_asked_rests_also_where_nobody_says_how_it_ended() {
    let start = Instant::now();
    let mut whom = Whom::new(start);
    let afar = givers(&[], &[ANA]);
    let now = start + ALONE;
    assert_eq!(next(&mut whom, &afar, now), [(ANA, By::Circuit)]);
    whom.begin(now);
    assert_eq!(next(&mut whom, &afar, now + 2 * ALONE), []);
    assert_eq!(next(&mut whom, &afar, now + CIRCUIT_REST), [(ANA, By::Circuit)]);
    assert!(whom.waits(now + CIRCUIT_REST) && !whom.waits(now + CIRCUIT_REST + HELD));
    whom.begin(now);
    assert!(!whom.waits(now));
    assert_eq!(next(&mut whom, &afar, now + 2 * CIRCUIT_REST), [], "and longer each time");
}

#[test]
fn a_circuit_stands_though_others_were_heard_of_since() {
    let start = Instant::now();
    let mut whom = Whom::new(start);
    let four = [ANA, BEN, CLEO, MemberId([4; 32])];
    let now = start + ALONE;
    for member in &four[..3] {
        assert_eq!(next(&mut whom, &givers(&[], &four), now), [(*member, By::Circuit)]);
        whom.ended(*member, By::Circuit, 0, now);
    }
    assert_eq!(next(&mut whom, &givers(&[], &four), now), [(four[3], By::Circuit)]);
    let with_eve = [ANA, BEN, CLEO, MemberId([5; 32]), four[3]];
    assert!(leaves(&whom, &givers(&[], &with_eve)).is_empty());
    whom.ended(four[3], By::Circuit, 0, now);
    let asked = next(&mut whom, &givers(&[], &with_eve), now);
    assert_eq!(asked, [(MemberId([5; 32]), By::Circuit)], "the first four may be asked");
}

#[test]
fn after_a_circuit_that_brought_little_the_next_is_by_another_relay() {
    let start = Instant::now();
    let mut whom = Whom::new(start);
    let now = start + ALONE;
    for (bytes, vain) in [(0, 1), (GOOD - 1, 2), (GOOD, 2), (5 * GOOD, 2), (0, 3)] {
        whom.wake();
        assert_eq!(next(&mut whom, &givers(&[], &[ANA]), now), [(ANA, By::Circuit)]);
        whom.ended(ANA, By::Circuit, bytes, now);
        assert_eq!(whom.vain(&ANA), vain);
    }
}

#[test]
fn a_circuit_with_whom_a_channel_stands_is_left_and_then_the_stream_goes_directly() {
    let start = Instant::now();
    let mut whom = Whom::new(start);
    let now = start + ALONE;
    assert_eq!(next(&mut whom, &givers(&[], &[ANA, CLEO]), now), [(ANA, By::Circuit)]);
    let near = givers(&[ANA], &[CLEO]);
    assert_eq!(leaves(&whom, &near), [ANA]);
    assert_eq!(leaves(&whom, &givers(&[], &[CLEO])), [ANA], "it is a member no more");
    assert_eq!(next(&mut whom, &near, now), [], "it has one stream at a time");
    whom.ended(ANA, By::Circuit, 1, now);
    assert_eq!(next(&mut whom, &near, now), [(ANA, By::Direct)], "at once");
}

/// Asks for a circuit, and says of whom.
fn asks(whom: &mut Whom, afar: &[MemberId], now: Instant) -> Option<MemberId> {
    let next = next(whom, &givers(&[], afar), now);
    next.first().map(|(member, by)| {
        assert_eq!((next.len(), *by), (1, By::Circuit));
        *member
    })
}

#[test]
fn what_one_relay_spoils_for_one_is_tried_by_another_whoever_else_is_asked() {
    let mut now = Instant::now();
    let mut whom = Whom::new(now);
    let mut relays = BTreeSet::new();
    for _ in 0..8 {
        now += CIRCUIT_REST_MAX;
        match asks(&mut whom, &[ANA, BEN], now) {
            Some(ANA) => {
                relays.insert(whom.vain(&ANA) % 2);
                whom.ended(ANA, By::Circuit, 0, now);
            }
            _ => whom.unmet(BEN, Unmet::Absent, now),
        }
    }
    assert_eq!(relays, BTreeSet::from([0, 1]));
    assert_eq!(whom.vain(&BEN), 0, "no relay made him a circuit");
}

/// A chunk comes by each circuit as often as a giver may be silent, for an hour; says who was asked.
fn asked_beside_a_drip(afar: &[MemberId], drips: MemberId) -> Vec<(MemberId, usize)> {
    let start = Instant::now();
    let mut whom = Whom::new(start);
    let (mut asked, mut bytes) = (Vec::new(), 0);
    for second in 0..60 * 60 {
        let now = start + Duration::from_secs(second);
        bytes += if second % 29 == 0 { 64 * 1024 } else { 0 };
        whom.brought(0, bytes, now);
        for member in whom.leaves(&givers(&[], afar), |_| false, now) {
            whom.ended(member, By::Circuit, bytes, now);
        }
        if let Some(member) = asks(&mut whom, afar, now) {
            asked.push((member, whom.vain(&member)));
            bytes = 0;
            if member != drips {
                whom.unmet(member, Unmet::Absent, now);
            }
        }
    }
    asked
}

#[test]
fn a_drip_by_a_circuit_keeps_neither_another_member_nor_another_relay_from_giving() {
    let asked = asked_beside_a_drip(&[ANA, CLEO], ANA);
    let cleo = asked.iter().filter(|(member, _)| *member == CLEO).count();
    assert!(cleo > 4, "{asked:?}");
    assert_eq!(asked[..2], [(ANA, 0), (CLEO, 0)]);
    let alone = asked_beside_a_drip(&[ANA], ANA);
    assert_eq!(alone[..3], [(ANA, 0), (ANA, 1), (ANA, 2)], "by other relays");
    assert!(alone.len() < 10, "ever less often: {alone:?}");
}

#[test]
fn a_circuit_that_is_slow_for_a_while_is_not_left_once_it_is_fast() {
    let start = Instant::now();
    let mut whom = Whom::new(start);
    let now = start + ALONE;
    let both = givers(&[], &[ANA, BEN]);
    let leaves = |whom: &Whom, now| whom.leaves(&both, |_| false, now);
    assert_eq!(asks(&mut whom, &both.afar, now), Some(ANA));
    whom.brought(0, 0, now + 2 * SLOW);
    assert!(leaves(&whom, now + 2 * SLOW).is_empty(), "she may come yet");
    let mut now = now + 2 * SLOW;
    whom.brought(0, 1, now);
    assert!(leaves(&whom, now).is_empty());
    now += SLOW;
    whom.brought(0, 2, now);
    assert_eq!(leaves(&whom, now), [ANA]);
    assert!(whom.leaves(&both, |_| true, now).is_empty(), "nobody else may be asked");
    whom.brought(0, GOOD, now);
    assert!(leaves(&whom, now).is_empty());
    whom.ended(ANA, By::Circuit, GOOD, now);
    assert_eq!(asks(&mut whom, &both.afar, now + REST), Some(ANA), "before others");
}

#[test]
fn who_brings_little_by_each_circuit_is_asked_after_those_who_have_rested() {
    let start = Instant::now();
    let mut whom = Whom::new(start);
    let mut asked = BTreeMap::<MemberId, usize>::new();
    for second in 0..10 * 60 {
        let now = start + Duration::from_secs(second);
        if let Some(member) = asks(&mut whom, &[ANA, CLEO], now) {
            *asked.entry(member).or_default() += 1;
            match member {
                ANA => whom.ended(ANA, By::Circuit, 64 * 1024, now),
                _ => whom.unmet(member, Unmet::Absent, now),
            }
        }
    }
    assert!(asked[&CLEO] >= 4, "{asked:?}");
}

#[test]
fn who_could_not_be_asked_is_asked_as_soon_as_it_can_be() {
    let mut now = Instant::now() + ALONE;
    let mut whom = Whom::new(now - ALONE);
    for _ in 0..10 {
        assert_eq!(asks(&mut whom, &[ANA, BEN], now), Some(ANA));
        whom.unmet(ANA, Unmet::Unasked, now);
        assert_eq!(asks(&mut whom, &[ANA, BEN], now), Some(BEN), "he perhaps can");
        whom.unmet(BEN, Unmet::Unasked, now);
        assert_eq!(asks(&mut whom, &[ANA, BEN], now), None);
        now += CIRCUIT_REST;
    }
    assert_eq!(asks(&mut whom, &[ANA], now), Some(ANA));
    whom.unmet(ANA, Unmet::Absent, now);
    assert_eq!(asks(&mut whom, &[ANA], now + CIRCUIT_REST), Some(ANA), "the first time");
}

#[test]
fn where_no_relay_gives_a_place_nobody_is_asked_for_some_minutes_at_most() {
    let mut now = Instant::now() + ALONE;
    let mut whom = Whom::new(now - ALONE);
    let mut waited = Vec::new();
    for _ in 0..7 {
        let refused = now;
        let member = loop {
            match asks(&mut whom, &[ANA, BEN], now) {
                Some(member) => break member,
                None => now += Duration::from_secs(10),
            }
        };
        waited.push((now - refused).as_secs());
        whom.unmet(member, Unmet::Refused, now);
    }
    assert_eq!(waited, [0, 30, 60, 120, 240, 300, 300]);
    whom.wake();
    assert_eq!(asks(&mut whom, &[ANA], now), Some(ANA));
    whom.unmet(ANA, Unmet::Absent, now);
    assert_eq!(asks(&mut whom, &[BEN], now), Some(BEN), "there was a place");
}

#[test]
fn who_gave_well_until_the_turn_ended_is_asked_at_once_in_the_next() {
    let mut now = Instant::now();
    let mut whom = Whom::new(now);
    for _ in 0..8 {
        now += ALONE + REST;
        assert_eq!(asks(&mut whom, &[ANA], now), Some(ANA));
        whom.brought(0, GOOD, now);
        whom.begin(now);
    }
    assert_eq!(whom.vain(&ANA), 0);
    now += ALONE + REST;
    assert_eq!(asks(&mut whom, &[ANA], now), Some(ANA));
    whom.begin(now);
    assert_eq!(whom.vain(&ANA), 1, "by another relay, where it brought nothing");
    assert_eq!(asks(&mut whom, &[ANA], now + ALONE + REST), None);
}

#[test]
fn a_turn_keeps_its_place_for_who_was_asked_once_and_not_for_each() {
    let start = Instant::now();
    let mut whom = Whom::new(start);
    let four = [ANA, BEN, CLEO, MemberId([4; 32])];
    let mut held = Duration::ZERO;
    let mut asked: Option<(MemberId, Instant)> = None;
    for second in 0..20 * 60 {
        let now = start + Duration::from_secs(second);
        if let Some((member, _)) = asked.take_if(|(_, at)| now - *at >= Duration::from_secs(60)) {
            whom.unmet(member, Unmet::Absent, now);
        }
        asked = asks(&mut whom, &four, now).map(|member| (member, now)).or(asked);
        if whom.waits(now) {
            held = now - start;
        }
    }
    assert!(held > HELD / 2 && held <= HELD + ALONE, "{held:?}");
    whom.begin(start);
    assert!(asks(&mut whom, &four, start + CIRCUIT_REST_MAX).is_some());
    assert!(whom.waits(start + CIRCUIT_REST_MAX), "and once in the next");
}

#[test]
fn who_has_a_stream_that_ends_has_no_second_one() {
    let start = Instant::now();
    let mut whom = Whom::new(start);
    assert_eq!(next(&mut whom, &givers(&[ANA], &[]), start), [(ANA, By::Direct)]);
    let now = start + 2 * ALONE;
    assert_eq!(whom.leaves(&givers(&[], &[ANA]), |_| false, now), [ANA]);
    assert_eq!(asks(&mut whom, &[ANA], now), None);
    whom.ended(ANA, By::Direct, 0, now);
    assert_eq!(asks(&mut whom, &[ANA], now), Some(ANA));
}
