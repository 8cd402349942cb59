//! Invites: making them, taking them back, and which of them this node serves.

use std::collections::BTreeMap;

use protocol::{
    group::{Group, InviteTerms},
    ids::{GroupId, InviteId, Timestamp},
    invite::{InviteCode, InviteRecord, InviteSecret, group_prefix},
    join::mailbox,
    membership::AdmitMode,
    relay_log::LogKeys,
};
use zeroize::Zeroizing;

use super::{
    Core, Effect, VerbError,
    hosting::{Letters, Sessions},
    membership::is_active,
    relays::Owner,
    requests::Requests,
    step::Step,
};
use crate::{
    api::types::{CreateInvite, InviteView, VERSION, What},
    net::address,
    store::{InviteRow, StoreError, rfc3339, unhex},
};

/// The invites that this node serves.
#[derive(Default)]
pub(super) struct Hosted {
    pub(super) invites: BTreeMap<InviteId, Hosting>,
    /// Those who wait for an answer, or were denied.
    pub(super) requests: Requests,
    /// What the network was told last about strangers.
    open: bool,
}

/// An invite that this node serves.
pub(super) struct Hosting {
    pub(super) row: InviteRow,
    pub(super) record: InviteRecord,
    pub(super) sessions: Sessions,
    pub(super) letters: Letters,
}

/// How long an invite that has ended still gets its holders a clear answer: 7 days.
const KEEP_MS: u64 = 7 * 24 * 60 * 60 * 1000;

const DEFAULT_SECONDS: u64 = 48 * 60 * 60;
const MAX_DAYS: u64 = 365;
const MAX_USES: u32 = 1024;

/// Open invites of others that are served for one group: each is a log to follow.
const OTHERS: usize = 64;

/// Direct addresses in a code.
const DIRECT_ADDRESSES: usize = 3;

/// Of a stored record: id16 ‖ ipk32 ‖ psk0 32 ‖ box_write32 ‖ box_read32 ‖ seal_key32.
const RECORD: usize = 176;

impl Core {
    /// Makes an invite; its code is in this answer and nowhere else.
    pub fn invite(
        &mut self,
        reference: &str,
        terms: &CreateInvite,
        now: Timestamp,
    ) -> Result<InviteView, VerbError> {
        let id = self.find_group(reference)?;
        if self.groups.get(&id).is_some_and(Group::is_pair) {
            return Err(VerbError::OfTwo);
        }
        self.make_invite(id, terms, now)
    }

    /// The same, of any group.
    pub(super) fn make_invite(
        &mut self,
        id: GroupId,
        terms: &CreateInvite,
        now: Timestamp,
    ) -> Result<InviteView, VerbError> {
        let uses = terms.uses.unwrap_or(1);
        if !(1..=MAX_USES).contains(&uses) {
            return Err(VerbError::BadUses { limit: MAX_USES });
        }
        let seconds = terms.expires_in.unwrap_or(DEFAULT_SECONDS);
        if !(1..=MAX_DAYS * 86_400).contains(&seconds) {
            return Err(VerbError::BadExpiry { days: MAX_DAYS });
        }
        let expires = now.plus_ms(seconds * 1000);
        let ask = terms.ask.unwrap_or(uses > 1);
        let agreed = InviteTerms {
            max_uses: uses,
            expires,
            mode: if ask { AdmitMode::Ask } else { AdmitMode::Auto },
            strict: !terms.any_admin.unwrap_or(false),
        };
        let secret = InviteSecret::generate(&mut self.rng);
        let text = self.code(id, secret.clone(), expires)?;
        let record = secret.record();
        let row = InviteRow {
            id: secret.id(),
            group: id,
            record: pack(&record),
            uses,
            used: 0,
            made: now,
            expires,
            revoked: false,
            ended: None,
        };
        self.step(id, now, |group, step| {
            group.invite(step.cx(), &record, agreed)?;
            step.tx.put_invite(&row)?;
            Ok::<_, VerbError>(())
        })?;
        let view = InviteView { code: Some(text.to_string()), ..self.invite_view(&row) };
        self.hosted.add(row);
        self.after.logs = true;
        self.finish(now);
        Ok(view)
    }

    /// The invites that this node serves for a group.
    pub fn invites(
        &mut self,
        reference: &str,
        _now: Timestamp,
    ) -> Result<Vec<InviteView>, VerbError> {
        let id = self.find_group(reference)?;
        let rows = self.store.read(|tx| tx.invites())?;
        Ok(rows.iter().filter(|row| row.group == id).map(|row| self.invite_view(row)).collect())
    }

    /// Takes an invite back.
    pub fn revoke(
        &mut self,
        reference: &str,
        invite: &str,
        now: Timestamp,
    ) -> Result<InviteView, VerbError> {
        let group = self.find_group(reference)?;
        let id = unhex(invite).and_then(|bytes| InviteId::from_slice(&bytes));
        let mut row = id
            .and_then(|id| self.hosted.invites.get(&id))
            .filter(|hosting| hosting.row.group == group)
            .map(|hosting| hosting.row.clone())
            .ok_or(VerbError::NoSuchInvite)?;
        row.revoked = true;
        row.ended = row.ended.or(Some(now));
        self.step(group, now, |group, step| {
            group.revoke(step.cx(), row.id)?;
            step.tx.put_invite(&row)?;
            Ok::<_, VerbError>(())
        })?;
        let view = self.invite_view(&row);
        if let Some(hosting) = self.hosted.invites.get_mut(&row.id) {
            hosting.row = row;
        }
        self.finish(now);
        Ok(view)
    }

    /// Tells the network whether strangers may come in: while an invite may be redeemed. Who comes
    /// later is told so through the relay, and only where there is none at the door.
    pub(super) fn tell_open(&mut self, now: Timestamp) {
        let groups = &self.groups;
        let open = self.options.direct
            && self.hosted.invites.values().any(|Hosting { row, .. }| {
                let group = groups.get(&row.group).filter(|group| is_active(group));
                let usable = row.ended.is_none() && row.expires >= now;
                group.is_some_and(|group| usable || group.policy().relays.is_empty())
            });
        if open != self.hosted.open {
            self.hosted.open = open;
            self.effects.push_back(Effect::OpenForJoins(open));
        }
    }

    /// Takes up the invites of others that this node may serve, and what has become of those that it
    /// serves already.
    pub(super) fn take_up_invites(&mut self, now: Timestamp) -> Result<(), StoreError> {
        let mut rows = Vec::new();
        for group in self.groups.values().filter(|group| is_active(group)) {
            let open =
                |hosting: &&Hosting| hosting.row.group == group.id() && hosting.row.ended.is_none();
            let mut room = OTHERS.saturating_sub(self.hosted.invites.values().filter(open).count());
            for invite in group.invites() {
                let known = self.hosted.invites.get(&invite.id).map(|hosting| &hosting.row);
                let mut row = match (known, group.invite_record(invite.id)) {
                    (Some(row), _) => row.clone(),
                    (None, Some(record)) if invite.terms.expires >= now => InviteRow {
                        id: invite.id,
                        group: group.id(),
                        record: pack(&record),
                        uses: invite.terms.max_uses,
                        used: 0,
                        made: now,
                        expires: invite.terms.expires,
                        revoked: false,
                        ended: None,
                    },
                    _ => continue,
                };
                let before = (row.used, row.revoked, row.ended);
                row.used = invite.used;
                row.revoked |= invite.revoked;
                if row.used >= row.uses || row.revoked {
                    row.ended = row.ended.or(Some(now));
                }
                let fresh = known.is_none() && row.ended.is_none() && room > 0;
                room -= usize::from(fresh);
                let changed = known.is_some() && before != (row.used, row.revoked, row.ended);
                if fresh || changed {
                    rows.push(row);
                }
            }
        }
        if rows.is_empty() {
            return Ok(());
        }
        self.store.transaction(|tx| rows.iter().try_for_each(|row| tx.put_invite(row)))?;
        for row in rows {
            match self.hosted.invites.get_mut(&row.id) {
                Some(hosting) => hosting.row = row,
                None => self.hosted.add(row),
            }
        }
        Ok(())
    }

    fn invite_view(&self, row: &InviteRow) -> InviteView {
        let group = self.groups.get(&row.group);
        let invite =
            group.and_then(|group| group.invites().into_iter().find(|invite| invite.id == row.id));
        let terms = invite.as_ref().map(|invite| invite.terms);
        InviteView {
            v: VERSION,
            id: row.id.to_string(),
            code: None,
            uses: row.uses,
            used: invite.as_ref().map_or(row.used, |invite| invite.used),
            expires: rfc3339(row.expires),
            revoked: row.revoked || invite.is_some_and(|invite| invite.revoked),
            ask: terms.is_some_and(|terms| terms.mode == AdmitMode::Ask),
            any_admin: terms.is_some_and(|terms| !terms.strict),
            waiting: self.hosted.requests.waiting(row.id),
        }
    }

    /// Forgets invites that ended long ago.
    pub(super) fn forget_invites(&mut self, now: Timestamp) -> Result<(), StoreError> {
        let over = |row: &InviteRow| row.ended.unwrap_or(row.expires).plus_ms(KEEP_MS) < now;
        let gone: Vec<InviteId> = self
            .hosted
            .invites
            .values()
            .filter(|hosting| over(&hosting.row))
            .map(|hosting| hosting.row.id)
            .collect();
        if gone.is_empty() {
            return Ok(());
        }
        self.store.transaction(|tx| gone.iter().try_for_each(|id| tx.drop_invite(*id)))?;
        self.hosted.invites.retain(|id, _| !gone.contains(id));
        self.hosted.requests.forget(&gone);
        self.after.logs = true;
        Ok(())
    }

    fn code(
        &self,
        id: GroupId,
        secret: InviteSecret,
        expires: Timestamp,
    ) -> Result<Zeroizing<String>, VerbError> {
        let group = self.groups.get(&id).ok_or(StoreError::Damaged)?;
        let relays = address::first_to_try(&group.policy().relays);
        let mut direct = if self.options.direct { self.direct_addresses() } else { Vec::new() };
        if relays.is_empty() && direct.is_empty() {
            return Err(VerbError::NoWay);
        }
        loop {
            let code = InviteCode {
                group_prefix: group_prefix(id),
                secret: secret.clone(),
                relays: relays.clone(),
                direct: direct.clone(),
                tokens: group.policy().tokens.clone().unwrap_or_default(),
                expires: Some(expires),
            };
            match code.to_text() {
                Ok(text) => return Ok(text),
                Err(_) if direct.pop().is_some() => {}
                Err(_) => return Err(VerbError::CodeTooLong),
            }
        }
    }

    /// Where this node may be met by a stranger: loopback only where there is nothing else.
    fn direct_addresses(&self) -> Vec<Vec<u8>> {
        let listening = &self.peers.listening;
        let outward: Vec<&String> =
            listening.iter().filter(|text| !address::is_loopback(text)).collect();
        let chosen = if outward.is_empty() { listening.iter().collect() } else { outward };
        address::first_to_try(chosen).into_iter().take(DIRECT_ADDRESSES).collect()
    }
}

impl Hosted {
    /// Serves none of a group's any more.
    pub(super) fn forget_group(&mut self, group: GroupId) {
        let gone = self.invites.extract_if(.., |_, hosting| hosting.row.group == group);
        let gone: Vec<InviteId> = gone.map(|(id, _)| id).collect();
        self.requests.forget(&gone);
    }

    /// Takes up an invite; one whose record is unreadable is not served.
    pub(super) fn add(&mut self, row: InviteRow) {
        if let Some(record) = unpack(&row.record) {
            let (sessions, letters) = (Sessions::default(), Letters::default());
            let hosting = Hosting { row, record, sessions, letters };
            self.invites.insert(hosting.row.id, hosting);
        }
    }

    /// The mailboxes of a group's invites.
    pub(super) fn mailboxes(&self, group: GroupId) -> Vec<(LogKeys, Owner)> {
        self.invites
            .values()
            .filter(|hosting| hosting.row.group == group)
            .map(|hosting| {
                let record = &hosting.record;
                let keys = LogKeys::from_seeds(record.box_write, record.box_read, None);
                (keys, Owner::Invite(hosting.row.id))
            })
            .collect()
    }

    /// The rows of a group's invites.
    pub(super) fn rows(&self, group: GroupId) -> Vec<InviteRow> {
        let rows = self.invites.values().map(|hosting| &hosting.row);
        rows.filter(|row| row.group == group).cloned().collect()
    }

    /// Takes over rows that were written.
    pub(super) fn renew(&mut self, rows: Vec<InviteRow>) {
        for row in rows {
            if let Some(hosting) = self.invites.get_mut(&row.id) {
                hosting.row = row;
            }
        }
    }

    pub(super) fn seal_key(&self, id: InviteId) -> Option<[u8; 32]> {
        self.invites.get(&id).map(|hosting| hosting.record.seal_key)
    }

    /// The invite under whose key a first frame is sealed.
    pub(super) fn whose(&self, entry: &[u8]) -> Option<InviteId> {
        self.invites
            .values()
            .find(|hosting| mailbox::open(&hosting.record.seal_key, entry).is_some())
            .map(|hosting| hosting.row.id)
    }
}

impl Step<'_> {
    /// Ends the invites that are open and have been used, as far as this member may; gives those
    /// of these rows that have changed.
    pub(super) fn end_used_invites(
        &mut self,
        group: &mut Group,
        hosted: Vec<InviteRow>,
    ) -> Result<Vec<InviteRow>, StoreError> {
        let mut ended = Vec::new();
        for invite in group.invites() {
            let open = !invite.revoked && invite.terms.expires >= self.now;
            if !open || invite.used == 0 || invite.used >= invite.terms.max_uses {
                continue;
            }
            // One by a more senior admin stays: it is theirs to end.
            if group.revoke(self.cx(), invite.id).is_ok() {
                ended.push(invite.id);
            }
        }
        if !ended.is_empty() {
            let text = "Invites that others have used were ended with the removal.".into();
            self.emit(Some(group.id()), What::Alarm { text })?;
        }
        let mut rows = hosted;
        rows.retain(|row| ended.contains(&row.id));
        for row in &mut rows {
            (row.revoked, row.ended) = (true, row.ended.or(Some(self.now)));
            self.tx.put_invite(row)?;
        }
        Ok(rows)
    }
}

/// Brings a row to what the group's ops say of its invite.
pub(super) fn count(row: &mut InviteRow, group: &Group, now: Timestamp) {
    if let Some(invite) = group.invites().into_iter().find(|invite| invite.id == row.id) {
        row.used = invite.used;
        row.revoked |= invite.revoked;
    }
    if row.used >= row.uses || row.revoked {
        row.ended = row.ended.or(Some(now));
    }
}

fn pack(record: &InviteRecord) -> Zeroizing<Vec<u8>> {
    let keys: [&[u8]; 6] = [
        &record.id.0,
        &record.ipk,
        &record.psk0,
        &record.box_write,
        &record.box_read,
        &record.seal_key,
    ];
    Zeroizing::new(keys.concat())
}

fn unpack(bytes: &[u8]) -> Option<InviteRecord> {
    if bytes.len() != RECORD {
        return None;
    }
    let (id, keys) = bytes.split_first_chunk()?;
    let (keys, _) = keys.as_chunks::<32>();
    let [ipk, psk0, box_write, box_read, seal_key] = *keys.first_chunk()?;
    Some(InviteRecord { id: InviteId(*id), ipk, psk0, box_write, box_read, seal_key })
}
