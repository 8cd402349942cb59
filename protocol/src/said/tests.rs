use std::{format, string::ToString, vec};

use alloc::collections::{BTreeMap, BTreeSet};

use proptest::{collection, prelude::*, sample::Index};

use super::*;
use crate::{
    ids::{ChainId, MessageId},
    limits::REACTIONS,
};

fn target() -> HeadRef {
    HeadRef { chain: ChainId([3; 16]), index: 7, id: MessageId([9; 16]) }
}

fn member(n: u8) -> MemberId {
    MemberId([n; 32])
}

fn reply() -> Text {
    Text { reply: Some(target()), ..words("yes") }
}

fn words(text: &str) -> Text {
    Text { text: text.into(), ..Text::default() }
}

fn one_of_each() -> Vec<(u8, Said)> {
    let rich =
        Text { mentions: vec![member(1), member(2)], expires_s: Some(EXPIRES_MIN_S), ..reply() };
    let target = target();
    vec![
        (0, Said::Text(words("hello"))),
        (0, Said::Text(Text::default())),
        (1, Said::Edit { target, text: "hallo".into() }),
        (2, Said::Delete { target }),
        (3, Said::Reaction { target, text: "👍".into(), on: true }),
        (3, Said::Reaction { target, text: "👍".into(), on: false }),
        (7, Said::Text(reply())),
        (7, Said::Text(Text { mentions: vec![member(1)], ..words("@ben") })),
        (7, Said::Text(Text { expires_s: Some(EXPIRES_MAX_S), ..words("soon gone") })),
        (7, Said::Text(rich)),
        (8, Said::Pin { target, on: true }),
    ]
}

#[test]
fn what_was_written_is_read_in_its_kind_alone() {
    for (kind, said) in one_of_each() {
        assert!(said.is_good());
        assert_eq!(said.kind(), kind);
        let payload = said.payload();
        for other in 0..=u8::MAX {
            let read = Said::read(other, &payload);
            match other {
                _ if other == kind => assert_eq!(read.as_ref(), Some(&said)),
                // Any UTF-8 is a text, and an edit is a text of its own.
                TEXT => {}
                _ => assert_eq!(read, None, "{kind} as {other}"),
            }
        }
    }
}

#[test]
fn what_is_out_of_bounds_is_nothing() {
    let far = HeadRef { index: CHAIN_MESSAGES, ..target() };
    let crowd = |count: u8| (0..count).map(member).collect();
    let bad = [
        Said::Edit { target: target(), text: String::new() },
        Said::Edit { target: far, text: "x".into() },
        Said::Delete { target: far },
        Said::Pin { target: far, on: true },
        Said::Reaction { target: target(), text: String::new(), on: true },
        Said::Reaction { target: target(), text: "x".repeat(REACTION_BYTES + 1), on: true },
        Said::Text(Text { text: String::new(), ..reply() }),
        Said::Text(Text { reply: Some(far), ..reply() }),
        Said::Text(Text { mentions: crowd(33), ..reply() }),
        Said::Text(Text { mentions: vec![member(2), member(1)], ..reply() }),
        Said::Text(Text { mentions: vec![member(1), member(1)], ..reply() }),
        Said::Text(Text { expires_s: Some(EXPIRES_MIN_S - 1), ..reply() }),
        Said::Text(Text { expires_s: Some(EXPIRES_MAX_S + 1), ..reply() }),
    ];
    for said in bad {
        assert!(!said.is_good(), "{said:?}");
        assert_eq!(Said::read(said.kind(), &said.payload()), None, "{said:?}");
    }
    assert!(Said::Text(Text { mentions: crowd(32), ..reply() }).is_good());
    assert_eq!(Said::read(TEXT, &[0xff]), None, "no UTF-8");
    for kind in [4, 5, 6, 9, 255] {
        assert_eq!(Said::read(kind, b"hello"), None);
    }
    let version = |said: &Said| {
        let mut payload = said.payload().to_vec();
        assert_eq!(payload[1], VERSION);
        payload[1] = VERSION + 1;
        Said::read(said.kind(), &payload)
    };
    for (_, said) in one_of_each().into_iter().filter(|(kind, _)| *kind != TEXT) {
        assert_eq!(version(&said), None);
    }
    // A plain text in the longer form would be a second form of it.
    let plain = Rich {
        version: VERSION,
        text: "hello".into(),
        reply: None,
        mentions: vec![],
        expires_s: Written(None),
    };
    assert_eq!(Said::read(RICH, &codec::encode(&plain)), None);
}

#[test]
fn a_reaction_is_seen_and_short() {
    for good in ["👍", "+1", "❤\u{fe0f}", "👩\u{200d}💻", "👍🏽", "ok", "हाँ", "می\u{200c}خواهم"]
    {
        assert!(is_reaction(good), "{good}");
    }
    let bad = [
        "",
        " ",
        "a b",
        "\n",
        "\u{1b}[2J",
        "\u{202e}x",
        "x\u{200b}",
        "\u{fe0f}",
        "\u{200d}",
        "\u{85}",
        "\u{e0041}",
    ];
    for bad in bad {
        assert!(!is_reaction(bad), "{bad:?}");
    }
}

#[test]
fn what_is_shared_as_history_is_text_and_what_changes_it() {
    for (kind, said) in one_of_each() {
        let expires = matches!(&said, Said::Text(text) if text.expires_s.is_some());
        assert_eq!(is_shared(kind, &said.payload()), !expires, "{said:?}");
    }
    for kind in [4, 5, 6, 9, 255] {
        assert!(!is_shared(kind, b""));
    }
    assert!(!is_shared(RICH, b"what is no text with more"));
}

const ANA: MemberId = MemberId([1; 32]);
const BEN: MemberId = MemberId([2; 32]);
const CLEO: MemberId = MemberId([3; 32]);

fn at(place: u8, from: MemberId, said: &Said) -> Change<'_> {
    Change { place: [place; 32], from, is_admin: from == CLEO, said }
}

fn edit(text: &str) -> Said {
    Said::Edit { target: target(), text: text.into() }
}

fn sign(text: &str, on: bool) -> Said {
    Said::Reaction { target: target(), text: text.into(), on }
}

#[test]
fn the_author_edits_and_the_last_edit_counts() {
    let (hello, second, third) = (words("hello"), edit("hallo"), edit("hullo"));
    let shown = Shown::of(ANA, &hello, &[at(3, ANA, &third), at(2, ANA, &second)]);
    assert_eq!((shown.text, shown.before), (Some("hullo"), vec!["hello", "hallo"]));
    for other in [BEN, CLEO] {
        let shown = Shown::of(ANA, &hello, &[at(2, other, &second)]);
        assert_eq!((shown.text, shown.before.len()), (Some("hello"), 0), "{other:?}");
    }
}

#[test]
fn the_author_or_an_admin_deletes_whatever_else_is_said() {
    let (hello, later, gone, pin) =
        (words("hello"), edit("x"), Said::Delete { target: target() }, pin(true));
    let after = [at(5, ANA, &later), at(6, CLEO, &pin)];
    for by in [ANA, CLEO] {
        let shown = Shown::of(ANA, &hello, &[&after[..], &[at(4, by, &gone)]].concat());
        assert_eq!(shown, Shown { deleted_by: Some(by), ..Shown::default() });
    }
    let both = [at(8, ANA, &gone), at(7, CLEO, &gone)];
    assert_eq!(Shown::of(ANA, &hello, &both).deleted_by, Some(CLEO), "the first by place");
    assert_eq!(Shown::of(ANA, &hello, &[at(4, BEN, &gone)]).text, Some("hello"));
}

fn pin(on: bool) -> Said {
    Said::Pin { target: target(), on }
}

#[test]
fn admins_pin_and_the_last_one_counts() {
    let (hello, on, off) = (words("hello"), pin(true), pin(false));
    assert_eq!(Shown::of(ANA, &hello, &[at(1, CLEO, &on)]).pinned_by, Some(CLEO));
    let all = [at(2, CLEO, &off), at(1, CLEO, &on), at(3, ANA, &on)];
    assert_eq!(Shown::of(ANA, &hello, &all).pinned_by, None);
}

#[test]
fn each_member_puts_signs_and_takes_them_away_and_the_last_few_stand() {
    let (hello, up, off, down) =
        (words("hello"), sign("+1", true), sign("+1", false), sign("-1", true));
    let all = [at(1, BEN, &up), at(2, ANA, &up), at(3, BEN, &off), at(4, BEN, &down)];
    let shown = Shown::of(ANA, &hello, &all);
    assert_eq!(
        shown.reactions,
        BTreeMap::from([("+1", BTreeSet::from([ANA])), ("-1", BTreeSet::from([BEN]))])
    );
    // What is further back than a member's last 64 counts no more; another's does.
    let flood: Vec<Said> = (0..65).map(|n| sign("x", n % 2 == 1)).collect();
    let mut all: Vec<_> = (3..).zip(&flood).map(|(place, said)| at(place, BEN, said)).collect();
    all.extend([at(1, BEN, &up), at(2, ANA, &up)]);
    let shown = Shown::of(ANA, &hello, &all);
    assert_eq!(shown.reactions, BTreeMap::from([("+1", BTreeSet::from([ANA]))]));
    let many: Vec<Said> = (0..20).map(|n| sign(&n.to_string(), true)).collect();
    let all: Vec<_> = (0..).zip(&many).map(|(place, said)| at(place, BEN, said)).collect();
    let shown = Shown::of(ANA, &hello, &all);
    assert_eq!(shown.reactions.len(), REACTIONS);
    assert!((12..20).all(|n: u8| shown.reactions.contains_key(n.to_string().as_str())));
}

fn any_change() -> impl Strategy<Value = (MemberId, Said)> {
    let who = prop_oneof![Just(ANA), Just(BEN), Just(CLEO)];
    let said = prop_oneof![
        4 => "[a-c]{1,2}".prop_map(|text| edit(&text)),
        4 => ("[a-c]", any::<bool>()).prop_map(|(text, on)| sign(&text, on)),
        2 => any::<bool>().prop_map(pin),
        1 => Just(Said::Delete { target: target() }),
    ];
    (who, said)
}

proptest! {
    #[test]
    fn in_whichever_order_changes_come_the_same_is_shown(
        said in collection::vec(any_change(), 0..12),
        swaps in collection::vec(any::<(Index, Index)>(), 0..12),
    ) {
        let hello = words("hello");
        let mut changes: Vec<_> =
            (0..).zip(&said).map(|(place, (from, said))| at(place, *from, said)).collect();
        let shown = Shown::of(ANA, &hello, &changes);
        for (one, other) in swaps.iter().filter(|_| !said.is_empty()) {
            changes.swap(one.index(said.len()), other.index(said.len()));
        }
        prop_assert_eq!(Shown::of(ANA, &hello, &changes), shown);
    }

    #[test]
    fn who_may_not_changes_nothing_but_reactions_of_their_own(
        said in collection::vec(any_change(), 0..12),
    ) {
        let hello = words("hello");
        let changes: Vec<_> =
            (0..).zip(&said).map(|(place, (_, said))| at(place, BEN, said)).collect();
        let shown = Shown::of(ANA, &hello, &changes);
        prop_assert_eq!((shown.text, shown.before, shown.deleted_by, shown.pinned_by), (Some("hello"), vec![], None, None));
        prop_assert!(shown.reactions.values().all(|by| *by == BTreeSet::from([BEN])));
    }

    #[test]
    fn a_payload_has_one_form(kind in 0u8..10, bytes in collection::vec(any::<u8>(), 0..80), which in any::<Index>(), at in any::<Index>(), bit in 0u8..8) {
        if let Some(said) = Said::read(kind, &bytes) {
            prop_assert_eq!((said.kind(), said.payload().to_vec()), (kind, bytes));
        }
        let each = one_of_each();
        let (kind, said) = &each[which.index(each.len())];
        let mut bytes = said.payload().to_vec();
        if !bytes.is_empty() {
            let at = at.index(bytes.len());
            bytes[at] ^= 1 << bit;
        }
        if let Some(said) = Said::read(*kind, &bytes) {
            prop_assert_eq!((said.kind(), said.payload().to_vec()), (*kind, bytes), "{}", format!("{said:?}"));
        }
    }
}
