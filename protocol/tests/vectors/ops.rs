//! Ops of every kind, and what sets of them resolve to.

use protocol::{
    endpoint::Endpoint,
    ids::{ChainId, GroupId, Incarnation, MemberId, OpId},
    invite::InviteSecret,
    membership::{AdmitMode, Body, Conduct, Cut, Kind, Op, OpSet, Policy, RemoveReason, sign_join},
    relay_log::{RelayPass, RelayToken},
    sign::{Signature, SigningSecret},
};

use crate::{
    Drawn, NOW,
    json::{Json, hex, list, number, object, option, text},
    person,
};

fn genesis_kind(founder: &Endpoint) -> Kind {
    Kind::Genesis {
        nonce: [1; 16],
        card: founder.card().as_bytes().into(),
        policy: Policy { name: "tea".into(), ..Policy::default() },
        topic_commit: [2; 32],
    }
}

pub fn genesis(founder: &Endpoint) -> Op {
    let body = Body {
        group: None,
        author: founder.member(),
        seq: 0,
        deps: vec![],
        cap: None,
        at: NOW,
        kind: genesis_kind(founder),
        incarnation: Some(Incarnation([3; 8])),
    };
    Op::sign(body, founder.identity())
}

pub fn admit(who: &Endpoint) -> Kind {
    Kind::Admit {
        card: who.card().as_bytes().into(),
        invite: None,
        proof: Signature([0; 64]),
        handshake: [0; 32],
        use_no: 0,
    }
}

fn cut() -> Vec<Cut> {
    vec![Cut { incarnation: Incarnation([4; 8]), chain: ChainId([5; 16]), index: 255 }]
}

fn lasting(seconds: u32) -> Conduct {
    Conduct { expires_s: Some(seconds), ..Conduct::default() }
}

fn shown(op: &Op) -> Json {
    let body = op.body();
    object([
        ("kind", number(body.kind.number())),
        ("id", hex(op.id().0)),
        ("author", hex(body.author.0)),
        ("seq", number(body.seq)),
        ("deps", list(body.deps.iter().map(|dep| hex(dep.0)))),
        ("cap", option(body.cap.map(|cap| hex(cap.0)))),
        ("bytes", hex(op.as_bytes())),
    ])
}

pub fn kinds() -> Json {
    let (ada, bob) = (person("ada", 1), person("bob", 2));
    let first = genesis(&ada);
    let group = first.group();
    let invite = InviteSecret([4; 16]);
    let proof = sign_join(
        &invite.signing(),
        group,
        invite.id(),
        bob.member(),
        bob.card().as_bytes(),
        &[6; 32],
    );
    let policy = Policy {
        name: "tea and cake".into(),
        relays: vec!["/ip4/127.0.0.1/tcp/4001".into()],
        evict_after_ms: Some(30 * 24 * 3_600_000),
        rotate_on_disconnect_ms: Some(600_000),
        history: Some(1),
        pair: None,
        tokens: Some(vec![RelayPass {
            relay: vec![6; 38],
            token: RelayToken::from_bytes([7; 16]),
        }]),
    };
    let recovery = SigningSecret::from_seed(&[12; 32]);
    let kinds = vec![
        Kind::InviteCreate {
            record: invite.record(),
            max_uses: 3,
            expires: NOW.plus_ms(1),
            mode: AdmitMode::Ask,
            strict: true,
        },
        Kind::InviteRevoke { invite: invite.id() },
        Kind::Admit {
            card: bob.card().as_bytes().into(),
            invite: Some(invite.id()),
            proof,
            handshake: [6; 32],
            use_no: 1,
        },
        Kind::Remove {
            member: bob.member(),
            cut: cut(),
            reason: RemoveReason::Lost,
            topic_commit: [7; 32],
        },
        Kind::Leave,
        Kind::Promote { member: bob.member() },
        Kind::Demote { member: bob.member() },
        Kind::Refresh { topic_commit: Some([8; 32]) },
        Kind::Refresh { topic_commit: None },
        Kind::SetPolicy { policy },
        Kind::Migrate { to: GroupId([9; 32]) },
        Kind::Retire { recovery: recovery.public(), cut: cut() },
        Kind::Other { kind: 200, args: vec![0x81, 0x07] },
        lasting(60).kind(),
    ];
    let mut ops = vec![shown(&first)];
    for (at, kind) in kinds.into_iter().enumerate() {
        let retires = matches!(kind, Kind::Retire { .. });
        let cap = (!matches!(kind, Kind::Leave)).then_some(first.id());
        let body = Body {
            group: Some(group),
            author: ada.member(),
            seq: at as u32 + 1,
            deps: vec![first.id()],
            cap,
            at: NOW.plus_ms(at as u64),
            kind,
            // The first version named no run.
            incarnation: (at != 0).then_some(Incarnation([3; 8])),
        };
        let op = Op::sign(body, if retires { &recovery } else { ada.identity() });
        assert!(Op::from_bytes(op.as_bytes()).is_ok_and(|read| read.id() == op.id()));
        ops.push(shown(&op));
    }
    list(ops)
}

/// People who act on sets of ops.
pub struct Story {
    pub people: Vec<Endpoint>,
    pub ops: Vec<Op>,
}

impl Story {
    pub fn new(names: &[&str]) -> Self {
        let people: Vec<_> =
            names.iter().enumerate().map(|(at, name)| person(name, at as u64 + 1)).collect();
        let ops = vec![genesis(&people[0])];
        Self { people, ops }
    }

    pub fn set(&self) -> OpSet {
        let mut set = OpSet::new(self.ops[0].clone()).unwrap();
        for op in &self.ops[1..] {
            set.insert(op.clone()).unwrap();
        }
        set
    }

    /// Somebody acts on what is known to all.
    pub fn act(&mut self, who: usize, kind: Kind) -> OpId {
        let set = self.set();
        self.act_on(&set, who, kind)
    }

    /// Somebody acts on what was known then.
    pub fn act_on(&mut self, set: &OpSet, who: usize, kind: Kind) -> OpId {
        let me = &self.people[who];
        let body = set.next(me.member(), kind, NOW).unwrap();
        let op = Op::sign(body, me.identity());
        self.ops.push(op.clone());
        op.id()
    }

    pub fn join(&mut self, by: usize, who: usize) {
        let kind = admit(&self.people[who]);
        self.act(by, kind);
    }

    pub fn id(&self, at: usize) -> MemberId {
        self.people[at].member()
    }

    fn remove(&self, whom: usize) -> Kind {
        Kind::Remove {
            member: self.id(whom),
            cut: vec![],
            reason: RemoveReason::Unsaid,
            topic_commit: [10 + whom as u8; 32],
        }
    }

    /// Somebody's recovery key ends its membership.
    pub fn retire(&mut self, set: &OpSet, who: usize, cut: Vec<Cut>) {
        let me = &self.people[who];
        let key = me.recovery().unwrap();
        let kind = Kind::Retire { recovery: key.public(), cut };
        let body = set.next(me.member(), kind, NOW).unwrap();
        self.ops.push(Op::retire(body, key));
    }

    fn redeem(&self, secret: &InviteSecret, who: usize) -> Kind {
        let (group, newcomer, handshake) = (self.set().group(), &self.people[who], [who as u8; 32]);
        let card = newcomer.card().as_bytes();
        let member = newcomer.member();
        let proof = sign_join(&secret.signing(), group, secret.id(), member, card, &handshake);
        Kind::Admit { card: card.into(), invite: Some(secret.id()), proof, handshake, use_no: 0 }
    }

    fn end(self, name: &str) -> Json {
        let set = self.set();
        let mut backwards = OpSet::new(self.ops[0].clone()).unwrap();
        for op in self.ops[1..].iter().rev() {
            backwards.insert(op.clone()).unwrap();
        }
        let resolved = set.resolve();
        assert_eq!(resolved.members, backwards.resolve().members);
        let mut members: Vec<_> = resolved.members.iter().collect();
        members.sort_by_key(|(_, standing)| standing.rank);
        let roster = resolved.roster(set.group());
        object([
            ("name", text(name)),
            ("group", hex(set.group().0)),
            ("ops", list(self.ops.iter().map(|op| hex(op.as_bytes())))),
            ("heads", list(set.heads().iter().map(|head| hex(head.0)))),
            ("by_seniority", list(members.iter().map(|(id, _)| hex(id.0)))),
            ("admins", list(resolved.admins().iter().map(|id| hex(id.0)))),
            ("void", list(resolved.void.iter().map(|id| hex(id.0)))),
            ("roster", list(roster.members().iter().map(|id| hex(id.0)))),
            ("roster_hash", hex(roster.hash().0)),
            ("policy_name", text(resolved.policy.name.clone())),
            ("policy", hex(minicbor::to_vec(&resolved.policy).unwrap())),
            ("conduct", conduct(&resolved.conduct)),
            ("frontier", list(resolved.topics().frontier.iter().map(|topic| hex(topic.commit)))),
            ("write", list(resolved.topics().write.iter().map(hex))),
            ("clean", Json::Flag(resolved.topics().clean)),
        ])
    }
}

/// The fields that are read, as the op has them.
fn conduct(conduct: &Conduct) -> Json {
    match conduct.kind() {
        Kind::Other { args, .. } => hex(args),
        _ => Json::Null,
    }
}

pub fn dags() -> Json {
    let four = || {
        let mut story = Story::new(&["ada", "bob", "cleo", "dan"]);
        story.join(0, 1);
        story.join(0, 2);
        story
    };
    let mut stories = vec![four().end("three members")];

    let mut duel = four();
    let (bob, cleo) = (duel.id(1), duel.id(2));
    duel.act(0, Kind::Promote { member: bob });
    duel.act(0, Kind::Promote { member: cleo });
    let (set, on_bob, on_cleo) = (duel.set(), duel.remove(1), duel.remove(2));
    assert!(set.next(cleo, on_bob, NOW).is_err());
    duel.act_on(&set, 1, on_cleo);
    let kind = admit(&duel.people[3]);
    duel.act_on(&set, 2, kind);
    stories.push(duel.end("a senior admin's removal voids what the junior did beside it"));

    let mut left = four();
    let set = left.set();
    left.act_on(&set, 1, Kind::Leave);
    let kind = left.remove(2);
    left.act_on(&set, 0, kind);
    stories.push(left.end("one leaves while another is removed"));

    let mut back = four();
    let kind = back.remove(2);
    back.act(0, kind);
    back.join(0, 2);
    stories.push(back.end("who was removed is admitted again"));

    let mut demoted = four();
    demoted.act(0, Kind::Promote { member: bob });
    let set = demoted.set();
    demoted.act_on(&set, 0, Kind::Demote { member: bob });
    let kind = demoted.remove(2);
    demoted.act_on(&set, 1, kind);
    demoted.act(0, Kind::SetPolicy { policy: Policy { name: "cake".into(), ..Policy::default() } });
    stories.push(demoted.end("a removal by an admin who is demoted beside it is void"));
    stories.push(policies(four()));
    stories.push(conducts(four()));
    stories.push(topics(four(), false));
    stories.push(topics(four(), true));
    stories.push(lost(four()));
    stories.push(lost_member(four()));
    stories.push(redeemed_twice(four()));
    stories.push(revoked(four()));
    stories.push(after_leave(four()));
    stories.push(demoted_and_lost(four()));
    list(stories)
}

/// An admin is demoted and then retired; its lost machine refreshes by the promotion that was taken back.
fn demoted_and_lost(mut story: Story) -> Json {
    let bob = story.id(1);
    story.act(0, Kind::Promote { member: bob });
    let set = story.set();
    let begins = |byte| Kind::Refresh { topic_commit: Some([byte; 32]) };
    let mut body = set.next(bob, begins(40), NOW).unwrap();
    story.act_on(&set, 0, Kind::Demote { member: bob });
    let demoted = story.set();
    story.retire(&demoted, 1, vec![]);
    story.ops.push(Op::sign(body.clone(), story.people[1].identity()));
    story.act(2, begins(41));
    (body.deps, body.kind, body.seq) = (story.set().heads(), begins(42), body.seq + 1);
    story.ops.push(Op::sign(body, story.people[1].identity()));
    story.end("a lost machine begins no topic by a promotion that was taken back")
}

/// An admin leaves, and acts on beside its Leave and after it; then it comes back and is retired.
fn after_leave(mut story: Story) -> Json {
    let bob = story.id(1);
    story.act(0, Kind::Promote { member: bob });
    let set = story.set();
    let acts = set.next(bob, Kind::Refresh { topic_commit: None }, NOW).unwrap();
    let retired = story.people[1].recovery().unwrap().public();
    let mut retired = set.next(bob, Kind::Retire { recovery: retired, cut: vec![] }, NOW).unwrap();
    let admits = set.next(bob, admit(&story.people[3]), NOW).unwrap();
    let refreshes = Kind::Refresh { topic_commit: Some([30; 32]) };
    story.act_on(&set, 1, refreshes.clone());
    story.act_on(&set, 1, Kind::Leave);
    let heads = story.set().heads();
    for kind in [admits.kind.clone(), story.remove(2), Kind::Promote { member: bob }, refreshes] {
        let body = Body { deps: heads.clone(), kind, seq: acts.seq + 1, ..acts.clone() };
        story.ops.push(Op::sign(body, story.people[1].identity()));
    }
    story.join(0, 1);
    let (again, dan) = (story.set(), story.remove(3));
    // Now it acts by its new grant alone; and its Retire follows the Leave.
    story.act_on(&again, 1, Kind::Refresh { topic_commit: Some([31; 32]) });
    let body = Body { deps: again.heads(), kind: dan, seq: acts.seq + 2, ..acts };
    story.ops.push(Op::sign(body, story.people[1].identity()));
    let beside = admits;
    story.ops.push(Op::sign(beside, story.people[1].identity()));
    retired.deps = heads;
    story.ops.push(Op::retire(retired, story.people[1].recovery().unwrap()));
    story.end("what somebody signs on top of its own Leave is void, but a Retire")
}

/// Of policies beside one another the most senior author's is in force, however late another comes.
fn policies(mut story: Story) -> Json {
    let bob = story.id(1);
    story.act(0, Kind::Promote { member: bob });
    let set = story.set();
    let named = |name: &str, hours: u64| Policy {
        name: name.into(),
        evict_after_ms: Some(hours * 3_600_000),
        ..Policy::default()
    };
    story.act_on(&set, 1, Kind::SetPolicy { policy: named("bob's", 1) });
    story.act_on(&set, 1, Kind::Refresh { topic_commit: None });
    let kind = Kind::SetPolicy { policy: named("bob's, later", 2) };
    let mut later = set.clone();
    story.ops[set.iter().count()..].iter().for_each(|op| drop(later.insert(op.clone())));
    story.act_on(&later, 1, kind);
    story.act_on(&set, 0, Kind::SetPolicy { policy: named("ada's", 3) });
    story.end("two admins set policies beside one another")
}

/// What a member, and an admin that names no grant, say of the conduct changes nothing; nor does what can't be read,
/// though the senior says it last. A later version's two more fields are passed over.
fn conducts(mut story: Story) -> Json {
    let bob = story.id(1);
    story.act(0, Kind::Promote { member: bob });
    story.act(0, lasting(100).kind());
    let set = story.set();
    let more = vec![0x87, 0xf4, 0xf5, 0x18, 200, 0xf5, 0xf5, 0x81, 0x01, 0xf6];
    let more = Kind::Other { kind: 13, args: more };
    let mut later = set.clone();
    story.act_on(&set, 1, Kind::Refresh { topic_commit: None });
    story.ops[set.iter().count()..].iter().for_each(|op| drop(later.insert(op.clone())));
    story.act_on(&later, 1, lasting(400).kind());
    story.act_on(&set, 0, more);
    let heads = story.set().heads();
    let (root, member) = (story.ops[0].id(), set.resolve().members[&story.id(2)].grant);
    let bad = |args: &[u8]| Kind::Other { kind: 13, args: args.into() };
    let said = [
        (2, Some(member), lasting(300).kind()),
        (2, None, lasting(300).kind()),
        (0, None, lasting(300).kind()),
        (0, Some(root), bad(&[0xf6])),
        (0, Some(root), bad(&[0x84, 0xf5, 0xf4, 0xf6, 0xf4])),
        (0, Some(root), bad(&[0x85, 0xf5, 0xf4, 0x18, 59, 0xf4, 0xf4])),
    ];
    for (at, (who, cap, kind)) in said.into_iter().enumerate() {
        let me = &story.people[who];
        let mut body = set.next(me.member(), Kind::Refresh { topic_commit: None }, NOW).unwrap();
        (body.deps, body.cap, body.kind) = (heads.clone(), cap, kind);
        body.seq += at as u32 + 10;
        let op = Op::sign(body, me.identity());
        story.ops.push(op);
    }
    story.end("who may not, and what can't be read, changes no conduct")
}

/// Topics that begin beside one another; then somebody leaves who knows both, or only one of them.
fn topics(mut story: Story, all: bool) -> Json {
    let set = story.set();
    let mut later = set.clone();
    story.act_on(&set, 0, Kind::Refresh { topic_commit: None });
    story.ops[set.iter().count()..].iter().for_each(|op| drop(later.insert(op.clone())));
    story.act_on(&later, 0, Kind::Refresh { topic_commit: Some([21; 32]) });
    story.act_on(&set, 1, Kind::Refresh { topic_commit: Some([20; 32]) });
    if all {
        story.act(2, Kind::Leave);
    } else {
        let kind = story.remove(2);
        story.act_on(&set, 0, kind);
    }
    let name = if all { "no topic is clean after a Leave" } else { "one of three topics is clean" };
    story.end(name)
}

/// What a lost machine does beside its Retire is void; what came before stays.
fn lost(mut story: Story) -> Json {
    let bob = story.id(1);
    story.act(0, Kind::Promote { member: bob });
    story.join(1, 3);
    let set = story.set();
    let kind = story.remove(2);
    story.act_on(&set, 1, kind);
    story.retire(&set, 1, vec![]);
    story.end("an admin's machine is lost and retired")
}

/// A member that is no admin is retired by a key, and removed beside it.
fn lost_member(mut story: Story) -> Json {
    let set = story.set();
    story.act_on(&set, 1, Kind::Refresh { topic_commit: None });
    story.retire(&set, 1, vec![]);
    let kind = story.remove(1);
    story.act_on(&set, 0, kind);
    story.end("a member is retired and removed at once")
}

fn invited(story: &mut Story) -> InviteSecret {
    let bob = story.id(1);
    story.act(0, Kind::Promote { member: bob });
    let secret = InviteSecret::generate(&mut Drawn::new(6));
    let kind = Kind::InviteCreate {
        record: secret.record(),
        max_uses: 1,
        expires: NOW.plus_ms(1_000),
        mode: AdmitMode::Auto,
        strict: false,
    };
    story.act(0, kind);
    secret
}

fn redeemed_twice(mut story: Story) -> Json {
    let secret = invited(&mut story);
    story.people.push(person("eve", 9));
    let (set, dan, eve) = (story.set(), story.redeem(&secret, 3), story.redeem(&secret, 4));
    story.act_on(&set, 1, dan);
    story.act_on(&set, 0, eve);
    story.end("an invite for one is redeemed twice at once")
}

fn revoked(mut story: Story) -> Json {
    let secret = invited(&mut story);
    let (set, dan) = (story.set(), story.redeem(&secret, 3));
    story.act_on(&set, 1, dan);
    story.act_on(&set, 0, Kind::InviteRevoke { invite: secret.id() });
    story.end("an invite is taken back beside its use")
}
