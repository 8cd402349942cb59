//! Conversations of two: asking for one, coming to one, and which of two that were asked for at once stays.
//!
//! > Whoever asks founds the group and is written to it at once; nothing is sealed there before the other one has come. One is
//! > kept of each pair of people: of two that were asked for at once, that with the smaller id, by both sides' doing.
//!
//! A wish is told over a group that both are in, to the other one alone. docs/decisions/0039-conversations-of-two.md.

use protocol::{
    group::{Cx, Group, TalkCode},
    identity::is_name,
    ids::{GroupId, MemberId, Timestamp},
    invite::{InviteCode, group_prefix},
    membership::Policy,
};
use zeroize::Zeroizing;

use super::{Core, VerbError, membership::is_current, step::Step};
use crate::{
    api::types::{CreateInvite, Talk, TalkState, VERSION, What},
    store::{StoreError, TALK_MS, TalkRow, rfc3339},
};

/// Of each of the two names in a conversation's name, in bytes.
const NAME: usize = 31;

impl Core {
    /// Asks a member to talk alone, or comes where that member has asked. Where it has begun, or is asked for and the code
    /// is good, that is all.
    pub fn talk(&mut self, reference: &str, now: Timestamp) -> Result<Talk, VerbError> {
        let member = self.find_identity(reference)?;
        if member == self.me.member() {
            return Err(VerbError::TalkToSelf);
        }
        if self.open_pairs(&member).next().is_some() {
            return self.talk_view(member);
        }
        if let Some(row) = self.store.read(|tx| tx.talk(member, false))? {
            match self.come(&row, now) {
                Ok(()) => return self.talk_view(member),
                // It has waited for too long, or was taken back: then this side asks.
                Err(VerbError::Expired | VerbError::Code(_) | VerbError::NoWay) => {
                    self.store.transaction(|tx| tx.drop_talk(member, false).map(drop))?;
                }
                Err(error) => return Err(error),
            }
        }
        let asked = self.store.read(|tx| tx.talk(member, true))?.map(|row| row.group);
        match asked.filter(|id| self.groups.get(id).is_some_and(is_current)) {
            Some(id) if self.has_open_invite(id, now) => {}
            Some(id) => self.ask_to_talk(id, member, now)?,
            None => {
                let id = self.found_talk(member, now)?;
                self.ask_to_talk(id, member, now)?;
            }
        }
        self.finish(now);
        self.talk_view(member)
    }

    /// Passes over that a member asks to talk alone. Nobody is told.
    pub fn deny_talk(&mut self, reference: &str) -> Result<Talk, VerbError> {
        let member = self.find_identity(reference)?;
        let row = self.store.read(|tx| tx.talk(member, false))?.ok_or(VerbError::NoTalk)?;
        let view = self.asked_view(&row)?;
        self.store.transaction(|tx| tx.drop_talk(member, false).map(drop))?;
        Ok(view)
    }

    /// Conversations of two, and those that are asked for: who asks first.
    pub fn talks(&mut self) -> Result<Vec<Talk>, VerbError> {
        let mut rows = self.store.read(|tx| tx.talks())?;
        rows.retain(|row| self.open_pairs(&row.member).next().is_none());
        rows.sort_by_key(|row| row.mine);
        let mut talks =
            rows.iter().map(|row| self.asked_view(row)).collect::<Result<Vec<_>, _>>()?;
        let me = self.me.member();
        let open: Vec<MemberId> = self.groups.values().filter_map(|it| other(it, &me)).collect();
        for member in open {
            if !talks.iter().any(|talk| talk.member.id == member.to_string()) {
                talks.push(self.talk_view(member)?);
            }
        }
        Ok(talks)
    }

    /// The group of the conversation with a member: what has begun goes before what this node's person asked for.
    pub(super) fn talk_with(&self, member: &MemberId) -> Option<GroupId> {
        self.open_pairs(member).next().or_else(|| {
            let alone =
                |group: &&Group| group.is_pair() && is_current(group) && group.members().len() == 1;
            let asked = |group: &&Group| self.invited.get(&group.id()) == Some(member);
            self.groups.values().find(|group| alone(group) && asked(group)).map(Group::id)
        })
    }

    /// Who may be let into a conversation of two: whom it was founded for, and who is in it.
    pub(super) fn may_come(&self, group: &Group, member: &MemberId) -> bool {
        !group.is_pair() || group.is_member(member) || self.invited.get(&group.id()) == Some(member)
    }

    /// Takes up from the store who was asked to which own group.
    pub(super) fn load_talks(&mut self) -> Result<(), StoreError> {
        let rows = self.store.read(|tx| tx.talks())?;
        self.invited = rows.iter().filter(|it| it.mine).map(|it| (it.group, it.member)).collect();
        Ok(())
    }

    /// Forgets what has begun. Of two conversations that were asked for at once one side's person comes to the
    /// other's, unasked, and what waits in the own one goes with them.
    pub(super) fn settle_talks(&mut self, now: Timestamp) -> Result<(), StoreError> {
        for row in self.store.read(|tx| tx.talks())? {
            let stays = self.open_pairs(&row.member).next();
            match stays {
                Some(stays) => {
                    if row.mine && row.group != stays && self.groups.contains_key(&row.group) {
                        self.move_talk(row.group, stays, now)?;
                    }
                    self.store.transaction(|tx| tx.drop_talk(row.member, row.mine).map(drop))?;
                }
                None if row.mine && self.unloaded.contains(&row.group) => {}
                None if row.mine && !self.groups.contains_key(&row.group) => {
                    self.store.transaction(|tx| tx.drop_talk(row.member, true).map(drop))?;
                }
                None if row.mine => {
                    let theirs = self.store.read(|tx| tx.talk(row.member, false))?;
                    if let Some(theirs) = theirs.filter(|theirs| theirs.group < row.group) {
                        // The join is kept from now on; one that fails is not begun without end.
                        self.store.transaction(|tx| tx.drop_talk(row.member, false).map(drop))?;
                        if let Err(error) = self.come(&theirs, now) {
                            tracing::debug!(%error, "a conversation of two was not come to");
                        }
                    }
                }
                // It led to another group than that of these two, perhaps to one that this node was in before: which stays.
                None if self.groups.get(&row.group).is_some_and(is_current) => {
                    self.store.transaction(|tx| tx.drop_talk(row.member, false).map(drop))?;
                }
                None => {}
            }
        }
        self.load_talks()
    }

    fn come(&mut self, row: &TalkRow, now: Timestamp) -> Result<(), VerbError> {
        let code = row.code.clone().ok_or(StoreError::Damaged)?;
        match self.join(&code, now) {
            Ok(_) | Err(VerbError::AlreadyMember { .. }) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// What was written in the own one is written in the one that stays.
    fn move_talk(&mut self, from: GroupId, to: GroupId, now: Timestamp) -> Result<(), StoreError> {
        self.step(from, now, |group, step| {
            step.tx.move_queue(from, to)?;
            step.tx.put_away(from)?;
            if let Err(error) = group.leave(step.cx()) {
                tracing::debug!(%error, "a conversation of two with nobody else was not left");
            }
            Ok::<_, StoreError>(())
        })?;
        self.queued.remove(&from);
        self.queued.insert(to);
        (self.after.members, self.after.logs) = (true, true);
        Ok(())
    }

    fn found_talk(&mut self, member: MemberId, now: Timestamp) -> Result<GroupId, VerbError> {
        let via = self.shared_with(&member).ok_or(VerbError::NoSharedGroup)?;
        let via = self.groups.get(&via).ok_or(StoreError::Damaged)?;
        let theirs = via.members().into_iter().find(|it| it.id == member);
        let theirs = theirs.map(|it| it.card.card().name.clone()).unwrap_or_default();
        let name = format!("{}+{}", cut(&self.me.card().card().name), cut(&theirs));
        let name = if is_name(&name) { name } else { "two".into() };
        // Both are known to reach those.
        let (relays, tokens) = match via.policy() {
            policy if policy.relays.is_empty() => (self.options.relays.clone(), None),
            policy => (policy.relays.clone(), policy.tokens.clone()),
        };
        let policy = Policy { name, relays, tokens, pair: Some(true), ..Policy::default() };
        let cx = Cx { me: &self.me, now, rng: &mut self.rng };
        let group = Group::create(cx, policy).map_err(|_| VerbError::BadName)?;
        let row = TalkRow { member, mine: true, group: group.id(), code: None, at: now };
        let id = self.add_group(group, now, |step| step.tx.put_talk(&row).map(drop))?;
        self.invited.insert(id, member);
        Ok(id)
    }

    /// Makes a code and tells it to the member alone. What is not told, because the process ends in between, is told when
    /// the person asks again.
    fn ask_to_talk(
        &mut self,
        id: GroupId,
        member: MemberId,
        now: Timestamp,
    ) -> Result<(), VerbError> {
        let via = self.shared_with(&member).ok_or(VerbError::NoSharedGroup)?;
        let terms = CreateInvite {
            uses: Some(1),
            expires_in: Some(TALK_MS / 1000),
            ask: Some(false),
            any_admin: Some(false),
        };
        let invite = self.make_invite(id, &terms, now)?;
        let code = Zeroizing::new(invite.code.unwrap_or_default());
        let told = self.step(via, now, |group, step| {
            Ok::<_, VerbError>(group.ask_to_talk(step.cx(), member, id, &code))
        })?;
        if !told {
            self.revoke(&id.to_string(), &invite.id, now)?;
            return Err(VerbError::NoSharedGroup);
        }
        Ok(())
    }

    /// A group in which the member can be told something, rather one in which that goes out now.
    fn shared_with(&self, member: &MemberId) -> Option<GroupId> {
        let shared =
            self.groups.values().filter(|group| is_current(group) && group.is_member(member));
        let mut shared: Vec<&Group> = shared.collect();
        shared.sort_by_key(|group| (group.policy().relays.is_empty(), group.is_pair()));
        shared.first().map(|group| group.id())
    }

    fn has_open_invite(&self, id: GroupId, now: Timestamp) -> bool {
        self.hosted.rows(id).iter().any(|row| row.ended.is_none() && row.expires > now)
    }

    /// The conversations with a member that have begun, that with the smallest id first.
    fn open_pairs(&self, member: &MemberId) -> impl Iterator<Item = GroupId> {
        let me = self.me.member();
        let pairs = self.groups.values().filter(move |it| other(it, &me) == Some(*member));
        pairs.map(Group::id)
    }

    fn talk_view(&mut self, member: MemberId) -> Result<Talk, VerbError> {
        let open = self.open_pairs(&member).next();
        if let Some(id) = open {
            let group = Some(id.to_string());
            let member = self.store.read(|tx| tx.member(member))?;
            return Ok(Talk { v: VERSION, member, state: TalkState::Open, group, since: None });
        }
        let row = self.store.read(|tx| match tx.talk(member, false)? {
            Some(row) => Ok(Some(row)),
            None => tx.talk(member, true),
        })?;
        self.asked_view(&row.ok_or(VerbError::NoTalk)?)
    }

    fn asked_view(&mut self, row: &TalkRow) -> Result<Talk, VerbError> {
        let coming = row.code.as_ref().and_then(|code| InviteCode::parse(code).ok());
        let coming = coming.is_some_and(|code| self.joining.0.contains_key(&code.secret.id()));
        let state = match row.mine {
            true => TalkState::Asked,
            false if coming => TalkState::Joining,
            false => TalkState::Asks,
        };
        let group = row.mine.then(|| row.group.to_string());
        let member = self.store.read(|tx| tx.member(row.member))?;
        Ok(Talk { v: VERSION, member, state, group, since: Some(rfc3339(row.at)) })
    }
}

impl Step<'_> {
    /// A member asks to talk alone. Of whom nothing is shown here nothing is kept.
    pub(super) fn asked_to_talk(
        &mut self,
        via: &Group,
        member: MemberId,
        group: GroupId,
        code: &TalkCode,
    ) -> Result<(), StoreError> {
        let is_its = InviteCode::parse(code.as_str())
            .is_ok_and(|code| code.group_prefix == group_prefix(group));
        if !is_its || self.tx.is_blocked(member)? {
            return Ok(());
        }
        let before = self.tx.talk(member, false)?;
        let code = Some(Zeroizing::new(code.as_str().into()));
        let row = TalkRow { member, mine: false, group, code, at: self.now };
        if !self.tx.put_talk(&row)? {
            return Ok(());
        }
        self.after.members = true;
        let is_news = before.is_none_or(|before| before.group != group);
        // Whoever asked, too, isn't asked.
        if !is_news || self.tx.talk(member, true)?.is_some() {
            return Ok(());
        }
        let member = self.named(via, member)?;
        self.emit(Some(via.id()), What::TalkAsked { member })
    }
}

/// The other one of a conversation of two that has begun and goes on.
fn other(group: &Group, me: &MemberId) -> Option<MemberId> {
    if !group.is_pair() || !is_current(group) {
        return None;
    }
    group.members().iter().map(|member| member.id).find(|id| id != me)
}

/// The beginning of a name, of at most [`NAME`] bytes.
fn cut(name: &str) -> &str {
    let end = name.char_indices().map(|(at, c)| at + c.len_utf8()).take_while(|end| *end <= NAME);
    name[..end.last().unwrap_or(0)].trim_end()
}
