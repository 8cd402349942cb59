//! What honest relays, members, lines, clocks and people do: nobody is named.

use super::*;

/// Name, what happens, and how often the relay is given something.
type Honest = (&'static str, &'static [Act], usize);

fn nobody_is_named(cases: &[Honest]) {
    for (name, acts, asked) in cases {
        let mut bench = Bench::new();
        for act in *acts {
            bench.does(*act);
            assert_eq!(bench.watch.count(), 0, "{name}: {act:?}");
        }
        assert_eq!(bench.asked, *asked, "{name}");
    }
}

#[test]
fn an_honest_relay_is_never_named() {
    let cases: &[Honest] = &[
        ("told after it came", &[Comes(1), Tells(&[1], 11), Passes(60)], 0),
        ("told before it came", &[Tells(&[1], 11), Comes(1), Passes(60)], 0),
        (
            "never given it: added later, out of its writer's reach, or passed over by a changed node",
            &[Comes(1), Tells(&[2, 3], 12), Passes(5), Keeps(1, 13), Tells(&[1], 13), Passes(600)],
            1,
        ),
        (
            "given a later one of the chain by a member, while its writer can't reach it",
            &[Comes(1), Comes(2), Tells(&[2], 11), Passes(600)],
            1,
        ),
        (
            "a member seals a message again: the relay has the first, and takes the second",
            &[
                Comes(101),
                Tells(&[1], 11),
                Tells(&[2], 12),
                Passes(5),
                Keeps(101, 13),
                Tells(&[101], 13),
                Passes(600),
            ],
            1,
        ),
        (
            "tells before it answers",
            &[Comes(1), Passes(5), Tells(&[1], 11), Keeps(1, 11), Passes(600)],
            1,
        ),
        (
            "another member gave it meanwhile, and what that one gave is not told here yet",
            &[Comes(1), Passes(5), Keeps(1, 13), Tells(&[2], 12), Tells(&[1, 3], 14), Ends(14)],
            1,
        ),
        ("an own message", &[Own(1, 11), Tells(&[1], 11), Ends(11), Passes(600)], 0),
        ("an own message, told first", &[Tells(&[1], 11), Own(1, 11), Passes(600)], 0),
    ];
    nobody_is_named(cases);
}

#[test]
fn what_is_lost_between_connections_names_nobody() {
    let cases: &[Honest] = &[
        (
            "told to the run before: a link was cut, then kill -9",
            &[Own(1, 9), Passes(1), Tells(&[1], 10), Ends(10), Passes(600)],
            0,
        ),
        (
            "the same, and the line is cut while it is read again",
            &[
                Own(1, 9),
                Passes(1),
                Up,
                Ends(10),
                Passes(1),
                Up,
                Ends(10),
                Passes(1),
                Up,
                Ends(10),
                Passes(1),
                Tells(&[1], 9),
                Ends(10),
            ],
            0,
        ),
        (
            "the line is cut after the answer",
            &[Own(1, 11), Up, Tells(&[1], 11), Ends(11), Passes(600)],
            0,
        ),
        (
            "cut again and again",
            &[Own(1, 11), Up, Up, Up, Up, Tells(&[1], 11), Ends(11), Passes(600)],
            0,
        ),
        (
            "cut after one end of the log without it, which was of before",
            &[Own(1, 11), Passes(6), Ends(10), Up, Tells(&[1], 11), Ends(11), Passes(600)],
            0,
        ),
        (
            "repaired: an empty place is where it was",
            &[
                Own(1, 11),
                Up,
                Tells(&[2], 12),
                Ends(12),
                Passes(1),
                Ends(12),
                Passes(1),
                Keeps(1, 13),
                Tells(&[1], 13),
                Passes(600),
            ],
            1,
        ),
        (
            "set back under its feet: numbers are given twice",
            &[
                Comes(1),
                Tells(&[2, 3], 13),
                Passes(5),
                Keeps(1, 12),
                Passes(1),
                Tells(&[1, 4], 13),
                Ends(13),
                Passes(600),
            ],
            1,
        ),
        (
            "another process of a cluster, cut off from what the first has said that it keeps",
            &[
                Own(1, 11),
                Up,
                Ends(10),
                Passes(2),
                Ends(10),
                Passes(30),
                Ends(10),
                Up,
                Ends(10),
                Passes(60),
                Ends(10),
                Up,
                Tells(&[1], 11),
                Ends(11),
                Passes(600),
            ],
            1,
        ),
        (
            "the store is lost after the answer",
            &[
                Comes(1),
                Passes(5),
                Keeps(1, 11),
                Up,
                Gone,
                Turns,
                Ends(0),
                Passes(15),
                Keeps(1, 1),
                Tells(&[1], 1),
                Passes(600),
            ],
            2,
        ),
        (
            "it is lost for the first time before anything was told: nobody says so",
            &[Turns, Up, Own(1, 3), Turns, Up, Ends(0), Passes(1), Ends(0), Passes(600)],
            1,
        ),
        (
            "two stores, each when it owed several",
            &[
                Own(1, 11),
                Own(2, 12),
                Up,
                Gone,
                Turns,
                Ends(3),
                Own(3, 4),
                Own(4, 5),
                Up,
                Gone,
                Turns,
                Ends(0),
                Passes(60),
            ],
            4,
        ),
        (
            "its operator has it keep entries for a shorter time",
            &[Own(1, 11), Short, Begins(11), Ends(11), Up, Ends(11), Passes(60)],
            0,
        ),
        (
            "two processes keep entries for two times, and the line is cut each time before the log is told again",
            &[
                Own(1, 9),
                UpOther,
                Ends(10),
                Passes(1),
                Keeps(1, 9),
                Up,
                Ends(10),
                Passes(1),
                Keeps(1, 9),
                UpOther,
                Ends(10),
                Passes(1),
                Keeps(1, 9),
                Up,
                Ends(10),
                Passes(1),
                Tells(&[1], 9),
                Ends(10),
                Passes(60),
            ],
            0,
        ),
        (
            "promised for a month, and deleted by a process that keeps it for half of one",
            &[
                Own(1, 11),
                UpOther,
                Passes(8 * DAY),
                Begins(11),
                Ends(11),
                Passes(15),
                Keeps(1, 12),
                Tells(&[1], 12),
                Passes(60),
            ],
            0,
        ),
    ];
    nobody_is_named(cases);
}

#[test]
fn age_clocks_and_refusals_name_nobody() {
    let cases: &[Honest] = &[
        (
            "told to the run before, and too old since a moment ago",
            &[
                Comes(1),
                Passes(5),
                Keeps(1, 9),
                Passes(1),
                Begins(10),
                Ends(10),
                Passes(15),
                Keeps(1, 11),
                Tells(&[1], 11),
                Passes(60),
            ],
            2,
        ),
        (
            "an end of before the answer comes after it",
            &[Up, Own(1, 11), Ends(10), Passes(4), Tells(&[1], 11)],
            0,
        ),
        (
            "such an end after a Follow",
            &[Own(1, 11), Passes(6), Ends(10), Tells(&[1], 11), Ends(11)],
            0,
        ),
        (
            "the node reads on elsewhere meanwhile, twice",
            &[
                Own(1, 9),
                Passes(1),
                Anew,
                Ends(10),
                Passes(1),
                Anew,
                Ends(10),
                Passes(1),
                Anew,
                Ends(10),
                Passes(1),
                Tells(&[1], 10),
                Ends(10),
            ],
            0,
        ),
        (
            "the machine sleeps",
            &[Own(1, 11), Comes(2), Leaps(3 * DAY), Tells(&[1, 2], 12), Ends(12), Passes(600)],
            0,
        ),
        (
            "a clock is set forward",
            &[Own(1, 11), Comes(2), Leaps(400 * DAY), Passes(2), Ends(12), Passes(600)],
            0,
        ),
        (
            "a clock is set back",
            &[Comes(1), Passes(5), SetBack(DAY), Keeps(1, 11), Tells(&[2], 12), Passes(600)],
            1,
        ),
        (
            "its disk is full: it refuses what it is given",
            &[Comes(1), Passes(600), Tells(&[2], 12)],
            1,
        ),
        ("it can't tell the log", &[Own(1, 11), Refuses, Passes(5 * DAY)], 0),
        (
            "away for longer than it keeps",
            &[Own(1, 11), Passes(20 * DAY), Up, Ends(30), Passes(60), Ends(30)],
            0,
        ),
        (
            "it keeps nothing, and says so",
            &[Short, Own(1, 11), Tells(&[2], 12), Up, Ends(12), Passes(60), Ends(12)],
            0,
        ),
    ];
    nobody_is_named(cases);
}
