//! What a relay may say that withholds: it is named.

use super::*;

/// Name, what happens, how often the relay is given something, and for how many messages it is named.
type Case = (&'static str, &'static [Act], usize, u64);

fn check(cases: &[Case]) {
    for (name, acts, asked, named) in cases {
        let mut bench = Bench::new();
        acts.iter().for_each(|act| bench.does(*act));
        assert_eq!((bench.asked, bench.watch.count()), (*asked, *named), "{name}");
    }
}

#[test]
fn a_relay_that_withholds_is_named_whatever_it_says() {
    const FAR: u64 = 1 << 60;
    let cases: &[Case] = &[
        (
            "it tells a later one",
            &[Own(1, 11), Tells(&[2], 12), Passes(1), Ends(12), Passes(1), Ends(12)],
            0,
            1,
        ),
        ("that this is all", &[Own(1, 11), Passes(6), Ends(11), Passes(1), Ends(11)], 0, 1),
        ("once may be late", &[Own(1, 11), Passes(6), Ends(11), Passes(60)], 0, 0),
        (
            "it gives a place that it has passed",
            &[
                Tells(&[2], 12),
                Comes(1),
                Passes(5),
                Keeps(1, 11),
                Passes(1),
                Ends(12),
                Passes(1),
                Ends(12),
            ],
            1,
            1,
        ),
        (
            "a place far ahead",
            &[Own(1, FAR), Passes(6), Ends(12), Passes(1), Tells(&[2], 13), Ends(13)],
            0,
            1,
        ),
        (
            "a place of a store that never was",
            &[Comes(1), Passes(5), Turns, Keeps(1, 11), Passes(6), Ends(12), Passes(1), Ends(12)],
            1,
            1,
        ),
        (
            "it hangs up instead, each time it has said that it keeps it",
            &[
                Own(1, FAR),
                Up,
                Ends(12),
                Passes(1),
                Ends(12),
                Passes(1),
                Keeps(1, FAR),
                Up,
                Ends(12),
                Passes(1),
                Ends(12),
                Passes(1),
                Keeps(1, FAR),
                Up,
                Ends(12),
                Passes(1),
                Ends(12),
            ],
            2,
            1,
        ),
        (
            "it says that its store is lost, on the connection on which it promised",
            &[Own(1, 11), Gone, Turns, Ends(5), Passes(1), Ends(5)],
            0,
            1,
        ),
        (
            "it loses its store each time it has promised",
            &[
                Own(1, 11),
                Up,
                Gone,
                Turns,
                Ends(5),
                Passes(1),
                Keeps(1, 6),
                Up,
                Gone,
                Turns,
                Ends(5),
                Passes(1),
                Keeps(1, 6),
                Up,
                Gone,
                Turns,
                Ends(5),
            ],
            2,
            1,
        ),
        (
            "it hangs up, and keeps entries for another time, each time it has said that it keeps it",
            &[
                Own(1, FAR),
                UpOther,
                Ends(12),
                Passes(1),
                Ends(12),
                Passes(1),
                Keeps(1, FAR),
                Up,
                Ends(12),
                Passes(1),
                Ends(12),
                Passes(1),
                Keeps(1, FAR),
                UpOther,
                Ends(12),
                Passes(1),
                Ends(12),
            ],
            2,
            1,
        ),
        (
            "who says that it keeps nothing is not held to it",
            &[Own(1, FAR), Short, Passes(1), Up, Ends(12), Passes(1), Ends(12)],
            0,
            0,
        ),
        (
            "a new place, deleted at once, and again",
            &[
                Own(1, 11),
                Passes(6),
                Begins(11),
                Ends(11),
                Passes(1),
                Keeps(1, 12),
                Passes(6),
                Begins(12),
            ],
            1,
            1,
        ),
        (
            "what it tells after all is taken off",
            &[
                Own(1, 11),
                Own(2, 12),
                Tells(&[3], 13),
                Passes(1),
                Ends(13),
                Passes(1),
                Ends(13),
                Tells(&[1], 14),
            ],
            0,
            1,
        ),
        (
            "a week later it is forgotten",
            &[Own(1, 11), Passes(6), Ends(11), Passes(1), Ends(11), Passes(8 * DAY)],
            0,
            0,
        ),
    ];
    check(cases);
}
