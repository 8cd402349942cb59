//! What messages are worth by the ops that came since: chains, the ops of now, and each index's class.

use minicbor::Decoder;
use protocol::{
    bundle::{self, SignedHead, Terms},
    chain::Draft,
    envelope::HeaderKey,
    group::{Class, class_of},
    hash::{Label, hash32},
    ids::{GroupId, MemberId, RosterHash},
    limits::CHAIN_MESSAGES,
    membership::{Cut, Kind, OpSet, RemoveReason, Roster},
    sign::{Context, SigningSecret},
};

use crate::{
    Drawn, NOW,
    json::{Json, hex, list, number, object, text},
    ops::Story,
};

/// A chain, two of its messages, and whether its view holds.
struct Made {
    head: SignedHead,
    messages: Vec<(u32, Vec<u8>, [u8; 64])>,
    holds: bool,
}

fn made(
    story: &Story,
    seen: &OpSet,
    who: usize,
    roster: RosterHash,
    seed: u64,
    holds: bool,
) -> Made {
    let (me, mut drawn) = (&story.people[who], Drawn::new(500 + seed));
    let terms = Terms {
        group: seen.group(),
        heads: seen.heads(),
        roster,
        closing: None,
        topic: None,
        audit_head: [0; 16],
        now: NOW,
    };
    // Who may open it does not matter here.
    let sealed = bundle::seal(me, terms, &mut [], &mut drawn);
    let (mut chain, random) = (sealed.chain, drawn.taken());
    let mut say = |payload: &[u8]| {
        let draft = Draft { kind: 0, heads: vec![], lamport: 1, at: NOW, payload };
        let it = chain.seal(&seen.group(), &[HeaderKey::new([4; 32])], draft, &mut drawn).unwrap();
        (it.index, it.content, it.signature.0)
    };
    let mut messages = vec![say(b"one"), say(b"two")];
    let content = messages[0].1.clone();
    let signature = signed_beyond(&seen.group(), &sealed.bundle.head, &random[2], &content);
    messages.push((CHAIN_MESSAGES, content, signature));
    Made { head: sealed.bundle.head, messages, holds }
}

/// The chain's own key signs a place that no chain has.
fn signed_beyond(group: &GroupId, head: &SignedHead, seed: &[u8], content: &[u8]) -> [u8; 64] {
    let mut parts = Decoder::new(head.as_bytes());
    parts.array().unwrap();
    let context = hash32(Label::BundleContext, &[parts.bytes().unwrap()]);
    let hash = hash32(Label::Content, &[content]);
    let key = SigningSecret::from_seed(seed.try_into().unwrap());
    assert_eq!(key.public(), head.head().chain_key);
    let place = CHAIN_MESSAGES.to_be_bytes();
    key.sign(Context::Message, &[&group.0, &context, &place, &hash]).0
}

/// A chain that somebody makes with these ops in view.
fn chain(story: &Story, seen: &OpSet, who: usize, seed: u64) -> Made {
    let roster = seen.resolve().roster(seen.group()).hash();
    made(story, seen, who, roster, seed, true)
}

fn cut(chain: &Made, index: u32) -> Cut {
    let head = &chain.head;
    Cut { incarnation: head.head().incarnation, chain: head.chain(), index }
}

fn removal(story: &Story, whom: usize, cut: Vec<Cut>) -> Kind {
    let topic_commit = [60 + whom as u8; 32];
    Kind::Remove { member: story.id(whom), cut, reason: RemoveReason::Unsaid, topic_commit }
}

fn class(class: &Class) -> (&'static str, &[MemberId]) {
    match class {
        Class::Ok => ("ok", &[]),
        Class::StaleView(gone) => ("stale-view", gone),
        Class::PostCut => ("post-cut", &[]),
    }
}

/// The indexes of one class after one another, from and until.
fn parts(set: &OpSet, head: &SignedHead) -> Vec<(u32, u32, Class)> {
    let mut parts: Vec<(u32, u32, Class)> = Vec::new();
    for index in 0..CHAIN_MESSAGES {
        let class = class_of(set, head, index);
        match parts.last_mut() {
            Some((_, until, known)) if *known == class => *until = index + 1,
            _ => parts.push((index, index + 1, class)),
        }
    }
    parts
}

/// A message's fields; where it is changed, it is worth nothing.
fn message(index: u32, content: &[u8], signature: &[u8; 64], worth: &str) -> Json {
    object([
        ("index", number(index)),
        ("content", hex(content)),
        ("signature", hex(signature)),
        ("class", text(worth)),
    ])
}

fn shown(set: &OpSet, it: &Made) -> Json {
    let worth = |index| match class_of(set, &it.head, index) {
        _ if !it.holds || index >= CHAIN_MESSAGES => "invalid",
        known => class(&known).0,
    };
    let mut messages: Vec<Json> = it
        .messages
        .iter()
        .map(|(index, content, signature)| message(*index, content, signature, worth(*index)))
        .collect();
    let (_, content, signature) = &it.messages[0];
    let mut other = content.clone();
    *other.last_mut().unwrap() ^= 1;
    messages.push(message(1, content, signature, "invalid"));
    messages.push(message(0, &other, signature, "invalid"));
    let parts = if it.holds { parts(set, &it.head) } else { vec![] };
    object([
        ("bundle_head", hex(it.head.as_bytes())),
        ("view_holds", Json::Flag(it.holds)),
        (
            "parts",
            list(parts.iter().map(|(from, until, known)| {
                let (name, gone) = class(known);
                object([
                    ("from", number(*from)),
                    ("until", number(*until)),
                    ("class", text(name)),
                    ("gone", list(gone.iter().map(|member| hex(member.0)))),
                ])
            })),
        ),
        ("messages", list(messages)),
    ])
}

fn end(story: &Story, name: &str, chains: &[Made]) -> Json {
    let set = story.set();
    object([
        ("name", text(name)),
        ("group", hex(set.group().0)),
        ("ops", list(story.ops.iter().map(|op| hex(op.as_bytes())))),
        ("chains", list(chains.iter().map(|it| shown(&set, it)))),
    ])
}

/// Four members, of whom the second is an admin; a chain of each.
fn four() -> (Story, OpSet, Vec<Made>) {
    let mut story = Story::new(&["ada", "bob", "cleo", "dan"]);
    (1..4).for_each(|who| story.join(0, who));
    let bob = story.id(1);
    story.act(0, Kind::Promote { member: bob });
    let set = story.set();
    let chains = (0..4).map(|who| chain(&story, &set, who, who as u64)).collect();
    (story, set, chains)
}

pub fn classes() -> Json {
    let (story, ..) = four();
    let mut stories = vec![views(&story)];

    let (mut story, set, mut chains) = four();
    let kind = removal(&story, 2, vec![cut(&chains[2], 0)]);
    story.act(0, kind);
    chains.push(chain(&story, &set, 2, 10));
    chains.push(chain(&story, &story.set(), 3, 11));
    stories.push(end(
        &story,
        "a removal with a cut, and a chain beside it that it does not name",
        &chains,
    ));

    let (mut story, set, chains) = four();
    let (far, near) = (cut(&chains[2], 9), cut(&chains[2], 4));
    let kind = removal(&story, 2, vec![near]);
    story.act_on(&set, 0, kind);
    let kind = removal(&story, 2, vec![far]);
    story.act_on(&set, 1, kind);
    stories.push(end(&story, "of two removals beside one another the farther cut counts", &chains));

    let (mut story, _, mut chains) = four();
    let kind = removal(&story, 2, vec![cut(&chains[2], 0)]);
    story.act(0, kind);
    story.join(0, 2);
    chains.push(chain(&story, &story.set(), 2, 12));
    stories.push(end(&story, "who was removed is admitted again, and begins afresh", &chains));

    let (mut story, set, chains) = four();
    story.act_on(&set, 2, Kind::Leave);
    stories.push(end(
        &story,
        "what was said before one left is good, and seen by who is gone",
        &chains,
    ));

    let (mut story, set, chains) = four();
    let kind = removal(&story, 2, vec![]);
    story.act_on(&set, 1, kind);
    let kind = removal(&story, 1, vec![cut(&chains[1], 255)]);
    story.act_on(&set, 0, kind);
    stories.push(end(
        &story,
        "a void removal ends nothing; what a cut accepts in full has no end",
        &chains,
    ));

    let (mut story, set, mut chains) = four();
    let cleo = story.id(2);
    story.act_on(&set, 0, Kind::Demote { member: story.id(1) });
    story.act_on(&set, 1, Kind::Promote { member: cleo });
    chains.push(chain(&story, &story.set(), 2, 13));
    stories.push(end(
        &story,
        "a grant that does not count takes nothing from one that does",
        &chains,
    ));

    let (mut story, set, mut chains) = four();
    let mut bobs = set.clone();
    story.people.push(crate::person("eve", 5));
    let kind = crate::ops::admit(&story.people[4]);
    story.act_on(&bobs, 1, kind);
    bobs.insert(story.ops.last().unwrap().clone()).unwrap();
    chains.push(chain(&story, &bobs, 4, 14));
    let kind = removal(&story, 1, vec![]);
    story.act_on(&set, 0, kind);
    stories.push(end(
        &story,
        "whom an admin let in beside its removal was never a member",
        &chains,
    ));

    for removed in [false, true] {
        let (mut story, set, chains) = four();
        story.retire(&set, 2, vec![cut(&chains[2], 7)]);
        if removed {
            let kind = removal(&story, 2, vec![cut(&chains[2], 3)]);
            story.act_on(&set, 0, kind);
        }
        let name = if removed {
            "a removal's cut goes before a Retire's own"
        } else {
            "a Retire has a cut"
        };
        stories.push(end(&story, name, &chains));
    }
    list(stories)
}

/// Heads whose ops come to something else than they say.
fn views(story: &Story) -> Json {
    let set = story.set();
    let now = set.resolve().roster(set.group());
    let fewer = Roster::new(set.group(), now.members()[1..].iter().copied());
    let mut others = Story::new(&["ada", "bob", "cleo", "dan", "eve"]);
    others.ops.clone_from(&story.ops);
    let chains = [
        chain(story, &set, 1, 20),
        made(story, &set, 1, fewer.hash(), 21, false),
        made(&others, &set, 4, now.hash(), 22, false),
    ];
    end(story, "a roster that the ops don't come to, and a sender who is not in it", &chains)
}
