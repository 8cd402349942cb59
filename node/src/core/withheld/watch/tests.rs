//! What relays, members, lines, clocks and people may do, one after the other, and whether the relay is named.

mod honest;
mod lies;

use super::{
    told::{TOLD, is_within},
    *,
};
use Act::{
    Anew, Begins, Comes, Ends, Gone, Keeps, Leaps, Own, Passes, Refuses, SetBack, Short, Tells,
    Turns, Up, UpOther,
};

/// What happens. Places are of the store of the moment.
#[derive(Clone, Copy, Debug)]
enum Act {
    /// A message comes another way.
    Comes(u8),
    /// The relay says that it keeps an own message, at a place.
    Own(u8, u64),
    /// The same of what it was given.
    Keeps(u8, u64),
    /// It tells entries, up to a place.
    Tells(&'static [u8], u64),
    /// It says that this is all.
    Ends(u64),
    Begins(u64),
    Gone,
    /// Its store is another one from now on.
    Turns,
    /// It is connected; says that it keeps an entry for another time; and that it keeps nothing.
    Up,
    UpOther,
    Short,
    /// It says that it can't tell the log.
    Refuses,
    /// The node follows the log anew, from where it is read to, for a reason of its own.
    Anew,
    /// So many minutes, each of them; at once; and back.
    Passes(u64),
    Leaps(u64),
    SetBack(u64),
}

struct Bench {
    watch: Watch,
    now: Timestamp,
    generation: u64,
    /// How often the relay was given something, and from where logs were followed anew.
    asked: usize,
    followed: Vec<Option<u64>>,
}

const LOG: LogId = LogId([1; 20]);
const GROUP: GroupId = GroupId([2; 32]);
const MONTH: Duration = Duration::from_hours(30 * 24);
const DAY: u64 = 24 * 60;

fn entry(n: u8) -> EnvelopeId {
    EnvelopeId([n; 32])
}

fn subject(from: u8, index: u32) -> Subject {
    let place = (ChainId([from; 16]), index);
    Subject { of: (GROUP, MemberId([from; 32])), place, shown_by: None }
}

impl Bench {
    /// A log that was read up to the tenth entry before this run.
    fn new() -> Self {
        let (watch, now) = (Watch::default(), Timestamp(1_800_000_000_000));
        let mut bench = Self { watch, now, generation: 1, asked: 0, followed: Vec::new() };
        let after = Some(bench.at(10));
        bench.watch.follows(LOG, after);
        bench.does(Up);
        bench.does(Ends(10));
        bench
    }

    fn at(&self, seq: u64) -> Cursor {
        Cursor { generation: self.generation, seq }
    }

    fn does(&mut self, act: Act) {
        let now = self.now;
        let watch = &mut self.watch;
        let at = |seq| Cursor { generation: self.generation, seq };
        match act {
            Comes(n) => watch.lacks(entry(n), subject(9, 0), now.plus_ms(ASK_MS), now),
            Own(n, seq) => watch.keeps(entry(n), Some(subject(0, 0)), LOG, at(seq), now),
            Keeps(n, seq) => watch.keeps(entry(n), None, LOG, at(seq), now),
            Tells(told, upto) => watch.tells(LOG, told.iter().map(|n| entry(*n)), at(upto), now),
            Ends(seq) => watch.ends(LOG, at(seq), now),
            Begins(seq) => watch.begins(LOG, at(seq), now),
            Gone => watch.gone(LOG),
            Turns => self.generation += 1,
            Up => watch.up(MONTH, now),
            UpOther => watch.up(MONTH / 2, now),
            Short => watch.up(Duration::ZERO, now),
            Refuses | Anew => watch.reads_anew(&LOG),
            Passes(minutes) => (0..minutes).for_each(|_| self.pass(MINUTE_MS)),
            Leaps(minutes) => self.pass(minutes * MINUTE_MS),
            SetBack(minutes) => {
                self.now = Timestamp(now.0 - minutes * MINUTE_MS);
                self.watch.clock_set_back(self.now);
            }
        }
    }

    fn pass(&mut self, ms: u64) {
        self.now = self.now.plus_ms(ms);
        let now = self.now;
        if !self.watch.look(now)
            || self.watch.deadline().is_none_or(|due| due > now.plus_ms(MINUTE_MS))
        {
            return;
        }
        for (entry, _) in self.watch.due(now) {
            self.asked += 1;
            self.watch.asked(entry, LOG, self.asked as u64, now);
            // Answered when the table says so; no slot is held by it.
            self.watch.given.clear();
        }
        for from in self.watch.again(now).into_values() {
            self.looks_before_each_place(from);
            self.followed.push(from.map(|from| from.seq));
        }
    }

    /// What is looked for by a Follow lies behind where that begins: else an honest relay would not tell it.
    fn looks_before_each_place(&self, from: Option<Cursor>) {
        let from = from.or(self.watch.logs[&LOG].upto);
        for place in self.watch.places.values() {
            let State::Promised(Promise { at, waits: true, .. }) = &place.state else { continue };
            let is_passed = from.is_some_and(|from| is_within(*at, from));
            assert!(!is_passed, "{at:?} is not told by a Follow from {from:?}");
        }
    }
}

#[test]
fn a_log_is_read_again_from_before_the_place_that_is_looked_for_and_no_further_back() {
    let mut bench = Bench::new();
    bench.does(Tells(&[1], 11));
    for n in 0..=TOLD as u64 {
        let mut id = [7; 32];
        id[..8].copy_from_slice(&n.to_be_bytes());
        let (at, now) = (bench.at(12 + n / 8), bench.now);
        bench.watch.tells(LOG, [EnvelopeId(id)], at, now);
    }
    assert!(!bench.watch.told.has(&entry(1)), "it is forgotten that it was told");
    for act in [Own(1, 11), Own(2, 1 << 40), Passes(2)] {
        bench.does(act);
    }
    assert_eq!((bench.watch.count(), &bench.followed[..]), (0, &[Some(10)][..]));
    bench.does(Tells(&[1], 12));
    bench.does(Ends(12));
    bench.does(Passes(1));
    assert_eq!(bench.followed, [Some(10), None], "of what is ahead nothing is read twice");
    bench.does(Tells(&[2], 1 << 40));
    assert!(bench.watch.places.is_empty());
}

#[test]
fn what_is_told_once_more_of_a_log_in_an_hour_has_a_bound() {
    let mut bench = Bench::new();
    bench.does(Tells(&[], 5000));
    bench.does(Ends(5000));
    for act in [Own(1, 11), Own(2, 3976), Passes(60)] {
        bench.does(act);
    }
    assert!(bench.followed.is_empty() && bench.watch.places.is_empty(), "too far behind");
    bench.does(Own(3, 4500));
    bench.does(Passes(1));
    for act in [Tells(&[3], 4500), Ends(5000), Own(4, 4400), Own(5, 4800), Passes(2)] {
        bench.does(act);
    }
    assert_eq!(bench.followed, [Some(4499), Some(4799)], "the nearest, and the other later");
    for act in [Tells(&[5], 4800), Ends(5000), Passes(50)] {
        bench.does(act);
    }
    assert_eq!(bench.followed.len(), 2);
    bench.does(Passes(10));
    assert_eq!(bench.followed, [Some(4499), Some(4799), Some(4399)], "an hour after the first");
    bench.does(Tells(&[4], 4400));
    bench.does(Ends(5000));
    assert!(bench.watch.places.is_empty());
}

#[test]
fn a_relay_that_knows_a_place_no_more_has_no_more_read_again_than_in_any_other_hour() {
    let mut bench = Bench::new();
    for act in
        [Tells(&[], 5000), Ends(5000), Own(3, 4500), Passes(1), Tells(&[3], 4500), Ends(5000)]
    {
        bench.does(act);
    }
    assert_eq!(bench.followed, [Some(4499)]);
    for act in [Gone, Tells(&[], 5000), Ends(5000), Own(4, 4400), Passes(50)] {
        bench.does(act);
    }
    assert_eq!(bench.followed, [Some(4499)], "with the first these would be too many");
    bench.does(Passes(10));
    assert_eq!(bench.followed, [Some(4499), Some(4399)], "an hour after the first");
}

#[test]
fn what_goes_out_of_reach_while_it_waits_is_let_go() {
    let mut bench = Bench::new();
    for act in [Own(1, 11), Passes(6), Ends(10), Tells(&[], 2000), Passes(1), Ends(2000), Passes(2)]
    {
        bench.does(act);
    }
    assert_eq!((bench.watch.count(), bench.watch.places.len()), (0, 0));
    assert_eq!(bench.followed, [None]);
}

#[test]
fn what_was_told_before_the_answer_costs_no_second_reading() {
    let mut bench = Bench::new();
    for act in [Tells(&[1], 11), Own(1, 11), Passes(60)] {
        bench.does(act);
    }
    assert!(bench.followed.is_empty() && bench.watch.places.is_empty());
}

#[test]
fn where_a_clock_was_set_back_nothing_waits_for_the_old_time() {
    let mut bench = Bench::new();
    for act in [Own(3, 11), Passes(6), Ends(11), Passes(1), Ends(11), Own(1, 12), Comes(2)] {
        bench.does(act);
    }
    let now = bench.now;
    assert_eq!(bench.watch.news(now).len(), 1);
    bench.does(SetBack(DAY));
    assert_eq!((bench.watch.count(), bench.watch.deadline()), (1, None));
    bench.does(Passes(8 * DAY));
    assert_eq!(bench.watch.count(), 0);
}

#[test]
fn while_a_relay_is_named_nothing_of_before_is_read_again_for_more() {
    let mut bench = Bench::new();
    for act in [Own(1, 11), Tells(&[2], 12), Passes(1), Ends(12), Passes(1), Ends(12)] {
        bench.does(act);
    }
    let followed = bench.followed.len();
    for act in [Own(3, 5), Passes(60)] {
        bench.does(act);
    }
    assert_eq!((bench.watch.count(), bench.followed.len()), (1, followed));
}

#[test]
fn who_writes_much_that_a_relay_lacks_costs_little_and_hides_nobody() {
    let mut bench = Bench::new();
    let add = |bench: &mut Bench, from: u8, n: u32| {
        let mut id = [from; 32];
        id[..4].copy_from_slice(&n.to_be_bytes());
        let (due, now) = (bench.now.plus_ms(ASK_MS), bench.now);
        bench.watch.lacks(EnvelopeId(id), subject(from, n), due, now);
    };
    add(&mut bench, 5, 0);
    for n in 0..2 * PLACES as u32 {
        add(&mut bench, 6, n);
    }
    assert_eq!(bench.watch.places.len(), PLACES);
    add(&mut bench, 7, 0);
    let has = |bench: &Bench, from: u8| {
        bench.watch.places.values().filter(|it| it.subject == subject(from, 0)).count()
    };
    assert_eq!((has(&bench, 5), has(&bench, 7)), (1, 1));
    bench.does(Passes(50));
    assert_eq!(bench.asked, ASKS_OF_ONE + 2);
    bench.does(Passes(150));
    assert!(bench.watch.places.len() < 100, "what the relay is not asked for is let go");
    add(&mut bench, 8, 0);
    assert_eq!(has(&bench, 8), 1);
}

#[test]
fn little_is_given_at_once_and_nothing_where_it_was_refused() {
    let mut bench = Bench::new();
    for n in 1..=9 {
        bench.does(Comes(n));
    }
    let give = |bench: &mut Bench, minutes: u64| {
        bench.now = bench.now.plus_ms(minutes * MINUTE_MS);
        let now = bench.now;
        let due = bench.watch.due(now);
        for (entry, _) in &due {
            bench.watch.asked(*entry, LOG, u64::from(entry.0[0]), now);
        }
        due.len()
    };
    assert_eq!((give(&mut bench, 2), give(&mut bench, 1)), (GIVEN, 0), "until it answers");
    let (at, now) = (bench.at(11), bench.now);
    bench.watch.takes(1, at, now);
    assert!(matches!(bench.watch.places[&entry(1)].state, State::Promised(_)));
    assert_eq!(give(&mut bench, 1), 1);
    let now = bench.now;
    bench.watch.refuses(2, now);
    assert_eq!((give(&mut bench, 1), give(&mut bench, 3)), (0, 0), "it would refuse more");
    assert_eq!(give(&mut bench, 2), 1);
    let now = bench.now;
    bench.watch.client_ends(now);
    assert_eq!(give(&mut bench, 1), GIVEN, "to the next client");
    bench.watch.takes(99, at, now);
}

#[test]
fn of_one_writer_it_is_told_once_an_hour_that_there_is_more() {
    let mut bench = Bench::new();
    let news = |bench: &mut Bench| {
        let now = bench.now;
        bench.watch.news(now).len()
    };
    for act in [Own(1, 11), Tells(&[2], 12), Passes(1), Ends(12), Passes(1), Ends(12)] {
        bench.does(act);
    }
    assert_eq!((news(&mut bench), news(&mut bench)), (1, 0));
    for act in [Own(3, 13), Tells(&[4], 14), Passes(1), Ends(14), Passes(1), Ends(14), Passes(30)] {
        bench.does(act);
    }
    assert_eq!(news(&mut bench), 0);
    assert!(bench.watch.deadline().is_some(), "it is told later");
    bench.does(Passes(31));
    assert_eq!((news(&mut bench), bench.watch.count()), (1, 2));
    assert_eq!(bench.watch.deadline(), None);
}
