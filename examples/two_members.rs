//! Two members and no network: the protocol crate alone. Ana makes a group and an invite, Ben joins
//! by it, and each frame that one group has for the other is carried by a `for` loop.
//!
//! ```sh
//! cargo run -p examples --example two_members
//! ```

use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result, bail};
use protocol::{
    endpoint::Endpoint,
    group::{Admission, Cx, Event, Group, InviteTerms, Output, Source},
    ids::Timestamp,
    invite::{InviteCode, InviteSecret},
    join::{Host, JoinStep, Joiner, Offer},
    membership::{AdmitMode, Policy},
    noise::NoiseKey,
};
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng;

/// One person: secrets, randomness, and the group once there is one.
struct Person {
    name: &'static str,
    me: Endpoint,
    rng: ChaCha20Rng,
}

impl Person {
    fn new(name: &'static str, seed: [u8; 32]) -> Result<Self> {
        // A real node seeds this from the operating system. The same seed gives the same bytes.
        let mut rng = ChaCha20Rng::from_seed(seed);
        Ok(Self { name, me: Endpoint::generate(name, Vec::new(), &mut rng)?, rng })
    }

    fn cx(&mut self) -> Cx<'_, ChaCha20Rng> {
        Cx { me: &self.me, now: now(), rng: &mut self.rng }
    }
}

fn main() -> Result<()> {
    let mut ana = Person::new("ana", [1; 32])?;
    let mut ben = Person::new("ben", [2; 32])?;

    let policy = Policy { name: "tea".into(), relays: Vec::new(), ..Policy::default() };
    let mut anas = Group::create(ana.cx(), policy)?;
    let code = invite(&mut ana, &mut anas)?;
    println!("ana invites with {} characters", code.to_text()?.len());
    let mut bens = join(&mut ana, &mut anas, &mut ben, &code)?;
    println!("ben is in: both see {}", anas.fingerprint());

    // A channel between the two stands from here on.
    anas.on_channel_up(ana.cx(), ben.me.member());
    bens.on_channel_up(ben.cx(), ana.me.member());
    say(&mut ana, &mut anas, &mut ben, &mut bens, "the kettle is on")?;
    say(&mut ben, &mut bens, &mut ana, &mut anas, "on my way")?;

    anas.remove(ana.cx(), ben.me.member())?;
    settle(&mut ana, &mut anas, &mut ben, &mut bens)?;
    println!("ben's own state: {:?}", bens.state());
    anas.send(ana.cx(), 0, b"now he can't read this")?;
    // Ben gets hold of every envelope all the same, as a relay would have it.
    let mut envelopes = 0;
    while let Some(output) = anas.poll() {
        if let Output::Publish { envelope, .. } = output {
            envelopes += 1;
            let _ = bens.on_envelope(ben.cx(), Source::Member(ana.me.member()), &envelope);
        }
    }
    let heard = settle(&mut ana, &mut anas, &mut ben, &mut bens)?;
    if envelopes == 0 || !heard.is_empty() {
        bail!("a removed member read {heard:?}");
    }
    println!("ana's next {envelopes} envelopes open nothing for him");
    Ok(())
}

/// Publishes an invite in the group, and makes the code that is passed on.
fn invite(ana: &mut Person, group: &mut Group) -> Result<InviteCode> {
    let secret = InviteSecret::generate(&mut ana.rng);
    let expires = now().plus_ms(60_000);
    let terms = InviteTerms { max_uses: 1, expires, mode: AdmitMode::Auto, strict: true };
    group.invite(ana.cx(), &secret.record(), terms)?;
    Ok(InviteCode {
        group_prefix: *group.id().0.first_chunk().context("ids are longer")?,
        secret,
        relays: Vec::new(),
        direct: Vec::new(),
        tokens: Vec::new(),
        expires: Some(expires),
    })
}

/// The three messages of the handshake, the admission, and the welcome, from hand to hand.
fn join(ana: &mut Person, anas: &mut Group, ben: &mut Person, code: &InviteCode) -> Result<Group> {
    let session = [7; 16];
    let (joiner, first) = Joiner::start(code, &ben.me, &session, now(), &mut ben.rng)?;

    let key = NoiseKey::generate(&ana.me, now(), &mut ana.rng);
    let offer = Offer {
        invite: &code.secret.record(),
        group: anas.id(),
        ops: &anas.admin_path(),
        key: &key,
        me: &ana.me,
    };
    let (host, second) = Host::accept(offer, &session, &first, &mut ana.rng)?;
    let JoinStep::Proceed { joiner, send, .. } = joiner.on_frame(&second, now())? else {
        bail!("expected to proceed");
    };
    let third = send.first().context("a third message")?;
    let (channel, request) = host.on_frame(third, now())?;

    let admission = Admission {
        invite: code.secret.id(),
        card: &request.card,
        proof: request.proof,
        handshake: request.handshake,
    };
    let welcome = anas.admit(ana.cx(), &admission)?;
    let mut joiner = joiner;
    for page in channel.welcome(&welcome, now())? {
        match joiner.on_frame(&page, now())? {
            JoinStep::Waiting { joiner: next, .. } => joiner = next,
            JoinStep::Welcomed { welcome, host, .. } => {
                return Ok(Group::join(ben.cx(), &welcome, host.member, |_| None)?);
            }
            _ => bail!("expected the welcome"),
        }
    }
    bail!("the welcome ended early")
}

/// `from` sends `text`; `to` must read it.
fn say(
    from: &mut Person,
    froms: &mut Group,
    to: &mut Person,
    tos: &mut Group,
    text: &str,
) -> Result<()> {
    settle(from, froms, to, tos)?;
    froms.send(from.cx(), 0, text.as_bytes())?;
    let heard = settle(from, froms, to, tos)?;
    if !heard.iter().any(|heard| heard == text) {
        bail!("{} did not read {text:?}", to.name);
    }
    println!("{} reads what {} says: {text}", to.name, from.name);
    Ok(())
}

/// Carries every frame both ways until neither side has more to say; gives what was read. A real
/// node commits [`Group::changes`] before it carries anything.
fn settle(
    one: &mut Person,
    ones: &mut Group,
    other: &mut Person,
    others: &mut Group,
) -> Result<Vec<String>> {
    let mut heard = Vec::new();
    loop {
        let there = frames(ones, &mut heard);
        let back = frames(others, &mut heard);
        if there.is_empty() && back.is_empty() {
            return Ok(heard);
        }
        // Frames that a group refuses (one from a member whom it removed, say) are no error here.
        for frame in there {
            let _ = others.on_frame(other.cx(), one.me.member(), &frame);
        }
        for frame in back {
            let _ = ones.on_frame(one.cx(), other.me.member(), &frame);
        }
    }
}

/// The frames that a group has for its one other member; what it reads goes to `heard`.
fn frames(group: &mut Group, heard: &mut Vec<String>) -> Vec<Vec<u8>> {
    let mut frames = Vec::new();
    while let Some(output) = group.poll() {
        match output {
            Output::Frame { frame, .. } => frames.push(frame),
            Output::Event(Event::Message(message)) => {
                heard.push(String::from_utf8_lossy(&message.payload).into_owned());
            }
            _ => {}
        }
    }
    drop(group.changes());
    frames
}

fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}
