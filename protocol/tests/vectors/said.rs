//! What messages say, and what they show once others have changed them.

use protocol::{
    chain::HeadRef,
    ids::{ChainId, MemberId, MessageId},
    said::{Change, Said, Shown, Text},
};

use crate::json::{Json, hex, list, number, object, text};

fn target() -> HeadRef {
    HeadRef { chain: ChainId([3; 16]), index: 7, id: MessageId([9; 16]) }
}

fn member(n: u8) -> MemberId {
    MemberId([n; 32])
}

fn said() -> Vec<Said> {
    let target = target();
    let plain = |text: &str| Text { text: text.into(), ..Text::default() };
    let reply = Text { reply: Some(target), ..plain("yes") };
    let mentions = vec![member(1), member(2)];
    vec![
        Said::Text(plain("hello")),
        Said::Edit { target, text: "hallo".into() },
        Said::Delete { target },
        Said::Reaction { target, text: "👍".into(), on: true },
        Said::Reaction { target, text: "👍".into(), on: false },
        Said::Text(reply.clone()),
        Said::Text(Text { mentions: mentions.clone(), ..plain("@ana @ben") }),
        Said::Text(Text { mentions, expires_s: Some(3_600), ..reply }),
        Said::Pin { target, on: true },
    ]
}

/// Payloads that say nothing, by kind.
const REFUSED: [(u8, &[u8]); 8] = [
    (0, &[0xff]),
    (1, &[0x82, 1, 0x61, b'x']),
    (3, &[0x84, 1, 0x83, 0x40, 0, 0x40, 0x61, b'x', 0xf5]),
    // A plain text has one form.
    (7, &[0x85, 1, 0x61, b'x', 0xf6, 0x80, 0xf6]),
    // Shorter than a minute.
    (7, &[0x85, 1, 0x61, b'x', 0xf6, 0x80, 0x18, 59]),
    // What is null is not left out.
    (7, &[0x84, 1, 0x61, b'x', 0xf6, 0x80]),
    (7, &[0x85, 2, 0x61, b'x', 0xf6, 0x80, 0x18, 60]),
    (9, b"x"),
];

/// Changes of one message of member 1's, in order of place; member 3 is an admin.
fn changes() -> Vec<(u8, Said)> {
    let target = target();
    let edit = |text: &str| Said::Edit { target, text: text.into() };
    let sign = |text: &str, on| Said::Reaction { target, text: text.into(), on };
    let pin = |on| Said::Pin { target, on };
    vec![
        (1, edit("second")),
        (2, edit("not yours")),
        (2, sign("+1", true)),
        (1, sign("+1", true)),
        (2, sign("+1", false)),
        (1, pin(true)),
        (3, pin(true)),
        (2, Said::Delete { target }),
        (1, edit("third")),
    ]
}

pub fn said_of_each_kind() -> Json {
    let read = said().into_iter().map(|it| {
        let payload = it.payload();
        assert_eq!(Said::read(it.kind(), &payload).as_ref(), Some(&it));
        object([("kind", number(it.kind())), ("bytes", hex(&*payload))])
    });
    let refused = REFUSED.map(|(kind, payload)| {
        assert_eq!(Said::read(kind, payload), None, "{kind} {payload:?}");
        object([("kind", number(kind)), ("bytes", hex(payload))])
    });
    let mut steps = Vec::new();
    let (first, mut all) = (Text { text: "first".into(), ..Text::default() }, changes());
    all.push((3, Said::Delete { target: target() }));
    for count in 0..=all.len() {
        let changes: Vec<Change<'_>> = all[..count]
            .iter()
            .zip(1..)
            .map(|((from, said), place)| Change {
                place: [place; 32],
                from: member(*from),
                is_admin: *from == 3,
                said,
            })
            .collect();
        let shown = Shown::of(member(1), &first, &changes);
        let who = |who: Option<MemberId>| number(who.map_or(0, |it| it.0[0]));
        let reactions = shown.reactions.iter().map(|(sign, by)| {
            object([("sign_text", text(*sign)), ("by", list(by.iter().map(|it| number(it.0[0]))))])
        });
        steps.push(object([
            ("changes", number(count as u64)),
            ("shown_text", text(shown.text.unwrap_or_default())),
            ("before_texts", list(shown.before.iter().map(|it| text(*it)))),
            ("deleted_by", who(shown.deleted_by)),
            ("pinned_by", who(shown.pinned_by)),
            ("reactions", list(reactions)),
        ]));
    }
    let changes = all.iter().map(|(from, said)| {
        object([
            ("from", number(*from)),
            ("kind", number(said.kind())),
            ("payload", hex(&*said.payload())),
        ])
    });
    object([
        ("said", list(read.collect::<Vec<_>>())),
        ("refused", list(refused)),
        ("first_text", text("first")),
        ("changes", list(changes.collect::<Vec<_>>())),
        ("shown", list(steps)),
    ])
}
