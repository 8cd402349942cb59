//! Tokens of relays' operators, as groups and joins use them.

use protocol::relay_log::{Refusal, RelayToken};

use super::World;
use crate::{
    api::{
        conduct::SetPolicy,
        types::{CreateGroup, GiveToken, JoinState, RelayState, What},
    },
    core::{Core, Effect, relays::Owner},
    net::relay::{RelayKey, RelayReport, TokenFault},
};

fn token(byte: u8) -> RelayToken {
    RelayToken::from_bytes([byte; RelayToken::LEN])
}

fn given(byte: u8) -> Option<GiveToken> {
    Some(GiveToken { token: token(byte).to_text().to_string(), relay: None })
}

fn set(byte: u8) -> SetPolicy {
    SetPolicy { relay_token: given(byte), ..SetPolicy::default() }
}

/// A group with token 1, at a relay that wants tokens and has said nothing of this one.
fn closed() -> (World, RelayKey) {
    let mut world = World::new();
    let relay = world.relay(1);
    world.direct_node("ada", &[&relay]);
    let now = world.now;
    let asked = CreateGroup { relay_token: given(1), ..CreateGroup::named("reading") };
    world.core("ada").create_group(&asked, now).unwrap();
    world.settle();
    let core = world.core("ada");
    let key = *core.relays.keys().next().unwrap();
    core.on_relay(
        &key,
        RelayReport::Up { wants_token: true, keeps: std::time::Duration::from_secs(60) },
        now,
    )
    .unwrap();
    (world, key)
}

fn tell(world: &mut World, key: &RelayKey, byte: u8, fault: Option<TokenFault>) {
    let (now, under) = (world.now, Some(token(byte).hash()));
    world.core("ada").on_relay(key, RelayReport::Token { under, fault }, now).unwrap();
}

fn state(core: &Core) -> (RelayState, String) {
    let group = core.groups.values().next().unwrap();
    let relay = core.relay_states(group).remove(0);
    (relay.state, relay.hint)
}

#[test]
fn a_group_s_token_is_told_of_when_its_relay_does_not_take_it_and_when_it_does() {
    let (mut world, key) = closed();
    let now = world.now;
    let id = *world.core("ada").groups.keys().next().unwrap();
    let used = world.core("ada").token_of(Owner::Group(id), &key.to_bytes()).cloned();
    assert_eq!(used, Some(token(1)));
    assert_eq!(state(world.core("ada")).0, RelayState::Connecting, "it has not said so");
    assert!(!world.core("ada").serves(&key, Owner::Group(id)));

    tell(&mut world, &key, 1, Some(TokenFault::Refused));
    tell(&mut world, &key, 1, Some(TokenFault::Refused));
    let (closed, hint) = state(world.core("ada"));
    assert!(closed == RelayState::Down && hint.contains("--relay-token-file"), "{hint}");
    let core = world.core("ada");
    assert!(core.set_policy("reading", &set(1), now).is_ok(), "nothing changes by the same one");
    core.set_policy("reading", &set(2), now).unwrap();
    assert_eq!(state(core).0, RelayState::Connecting, "the new one is shown");
    let used = core.token_of(Owner::Group(id), &key.to_bytes()).cloned();
    assert_eq!(used, Some(token(2)));
    tell(&mut world, &key, 2, None);
    assert_eq!(state(world.core("ada")).0, RelayState::Up);
    tell(&mut world, &key, 2, Some(TokenFault::Refused));
    tell(&mut world, &key, 2, None);
    let told: Vec<bool> = world
        .events("ada")
        .iter()
        .filter_map(|event| match &event.what {
            What::RelayClosed { .. } => Some(false),
            What::RelayOpened { .. } => Some(true),
            _ => None,
        })
        .collect();
    assert_eq!(told, [false, true, false, true], "each once");
}

#[test]
fn a_group_is_told_of_a_token_that_another_one_has_there_already() {
    let (mut world, key) = closed();
    let now = world.now;
    world.core("ada").create_group(&CreateGroup::named("writing"), now).unwrap();
    tell(&mut world, &key, 1, None);
    let (under, fault) = (None, Some(TokenFault::Missing));
    let core = world.core("ada");
    core.on_relay(&key, RelayReport::Token { under, fault }, now).unwrap();
    // A second one without is told, though the relay has nothing new to say.
    core.create_group(&CreateGroup::named("talking"), now).unwrap();
    core.send("writing", "before there was a token", now).unwrap();
    let effects: Vec<Effect> = std::iter::from_fn(|| core.poll_effect()).collect();
    let tags = effects.iter().filter_map(|effect| match effect {
        Effect::Append { tag, .. } => Some(*tag),
        _ => None,
    });
    let tags: Vec<u64> = tags.collect();
    assert!(!tags.is_empty());
    for tag in tags {
        let reason = Refusal::TokenNeeded;
        core.on_relay(&key, RelayReport::Refused { tag, reason }, now).unwrap();
    }
    assert!(core.refused_deadline().is_some_and(|at| at > now));
    core.set_policy("writing", &set(1), now).unwrap();
    assert!(core.refused_deadline().is_none_or(|at| at <= now), "it is due");
    core.set_policy("talking", &set(2), now).unwrap();
    tell(&mut world, &key, 2, Some(TokenFault::Refused));
    world.core("ada").set_policy("writing", &set(2), now).unwrap();
    let mut told: Vec<(String, bool)> = Vec::new();
    for event in world.events("ada") {
        let name = event.group.map(|it| it.name).unwrap_or_default();
        match event.what {
            What::RelayClosed { .. } => told.push((name, false)),
            What::RelayOpened { .. } => told.push((name, true)),
            _ => {}
        }
    }
    let told: Vec<_> = told.iter().map(|(name, opened)| (name.as_str(), *opened)).collect();
    let expected = [
        ("writing", false),
        ("talking", false),
        ("writing", true),
        ("talking", false),
        ("writing", false),
    ];
    assert_eq!(told, expected);
}

#[test]
fn a_code_has_the_group_s_token_and_so_have_joiner_and_member() {
    let (mut world, key) = closed();
    let code = world.invite("ada", "reading");
    world.direct_node("bob", &[]);
    let now = world.now;
    let bob = world.core("bob");
    let join = bob.join(&code, now).unwrap();
    let owner = Owner::Join(*bob.joining.0.keys().next().unwrap());
    assert_eq!(bob.token_of(owner, &key.to_bytes()), Some(&token(1)));
    world.pass(1000);
    let join = world.core("bob").join_state(&join.id).unwrap();
    assert_eq!(join.state, JoinState::Joined, "{}", join.detail);
    let bob = world.core("bob");
    let id = *bob.groups.keys().next().unwrap();
    assert_eq!(bob.token_of(Owner::Group(id), &key.to_bytes()), Some(&token(1)));
}

#[test]
fn a_member_whom_the_relay_shuts_out_takes_the_token_of_a_code_until_the_policy_has_another() {
    let (mut world, key) = closed();
    let now = world.now;
    let id = *world.core("ada").groups.keys().next().unwrap();
    let code = world.invite("ada", "reading");
    let other = code_with(&mut world, 7);
    let core = world.core("ada");
    assert_eq!(core.join(&other, now).unwrap_err().code(), "already-a-member");
    tell(&mut world, &key, 1, Some(TokenFault::Refused));
    let core = world.core("ada");
    assert_eq!(core.join(&code, now).unwrap_err().code(), "already-a-member", "the same one");
    assert_eq!(core.join(&other, now).unwrap().state, JoinState::Joined);
    let used =
        |world: &mut World| world.core("ada").token_of(Owner::Group(id), &key.to_bytes()).cloned();
    assert_eq!(used(&mut world), Some(token(7)));
    world.stop("ada");
    world.start("ada");
    assert_eq!(used(&mut world), Some(token(7)), "it is kept");
    world.core("ada").set_policy("reading", &set(2), now).unwrap();
    assert_eq!(used(&mut world), Some(token(2)));
    assert!(world.core("ada").passes.is_empty(), "it is of no use any more");
    world.stop("ada");
    world.start("ada");
    assert!(world.core("ada").passes.is_empty());
}

/// A code of the group with another token.
fn code_with(world: &mut World, byte: u8) -> String {
    let code = world.invite("ada", "reading");
    let mut code = protocol::invite::InviteCode::parse(&code).unwrap();
    code.tokens[0].token = token(byte);
    code.to_text().unwrap().to_string()
}

#[test]
fn a_code_that_has_expired_gives_no_token() {
    let (mut world, key) = closed();
    let code = code_with(&mut world, 7);
    tell(&mut world, &key, 1, Some(TokenFault::Refused));
    let ends = protocol::invite::InviteCode::parse(&code).unwrap().expires.unwrap();
    let core = world.core("ada");
    let refused = core.join(&code, ends.plus_ms(600_000)).unwrap_err();
    assert_eq!(refused.code(), "invite-expired");
    assert!(core.passes.is_empty());
    assert_eq!(core.join(&code, ends).unwrap().state, JoinState::Joined);
}

#[test]
fn a_token_of_a_code_is_not_kept_beyond_the_group() {
    let (mut world, key) = closed();
    let code = code_with(&mut world, 7);
    tell(&mut world, &key, 1, Some(TokenFault::Refused));
    let now = world.now;
    world.core("ada").join(&code, now).unwrap();
    world.settle();
    assert_eq!(world.core("ada").passes.len(), 1);
    world.core("ada").leave("reading", now).unwrap();
    world.settle();
    assert!(world.core("ada").passes.is_empty());
    world.stop("ada");
    world.start("ada");
    assert!(world.core("ada").passes.is_empty(), "nor in the store");
}

#[test]
fn a_token_of_a_code_is_kept_while_its_group_can_not_be_taken_up() {
    let (mut world, key) = closed();
    let code = code_with(&mut world, 7);
    tell(&mut world, &key, 1, Some(TokenFault::Refused));
    let now = world.now;
    world.core("ada").join(&code, now).unwrap();
    world.settle();
    super::returns::is_unloaded(&mut world, "ada", "reading");
    assert_eq!(world.core("ada").passes.len(), 1);
}

#[test]
fn what_can_be_no_token_or_for_no_relay_is_refused_in_words() {
    let mut world = World::new();
    let (one, two) = (world.relay(1), world.relay(2));
    world.direct_node("ada", &[&one, &two]);
    let now = world.now;
    let core = world.core("ada");
    let mut refused = |relays: &[&str], token: &str, relay: Option<&str>| {
        let relay_token = Some(GiveToken { token: token.into(), relay: relay.map(Into::into) });
        let relays = relays.iter().map(ToString::to_string).collect();
        let asked = CreateGroup { name: "reading".into(), relays, relay_token };
        let error = core.create_group(&asked, now).unwrap_err();
        assert!(!error.to_string().contains("wtt1q") && !error.hint().is_empty());
        error.code()
    };
    let good = token(1).to_text();
    assert_eq!(refused(&[], "hello", None), "not-a-token");
    assert_eq!(refused(&[], &good[..20], None), "mistyped-token");
    assert_eq!(refused(&[], &good, None), "which-relay");
    assert_eq!(refused(&[&one], &good, Some(&two)), "not-its-relay");
    assert_eq!(refused(&["/ip4/127.0.0.1/tcp/1"], &good, None), "bad-relay");
    let asked = CreateGroup {
        relays: vec![two.clone()],
        relay_token: given(1),
        ..CreateGroup::named("reading")
    };
    let made = core.create_group(&asked, now).unwrap();
    assert_eq!(made.relays, std::slice::from_ref(&two));
    let policy = core.policy("reading").unwrap();
    assert_eq!(policy.relay_tokens.len(), 1);
    assert!(two.ends_with(&policy.relay_tokens[0]) && !format!("{policy:?}").contains("wtt1"));
}
