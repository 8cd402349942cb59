//! Invites: making them, taking them back, and serving whoever shows one.

use std::collections::BTreeMap;

use protocol::{
    group::{Admission, AdmitError, Group, InviteTerms},
    ids::{GroupId, InviteId, Timestamp},
    invite::{InviteCode, InviteRecord, InviteSecret, group_prefix},
    join::{
        Host, Offer, RefusedReason,
        mailbox::{self, Direction, MailFrame},
    },
    membership::AdmitMode,
    relay_log::LogKeys,
};
use zeroize::Zeroizing;

use super::{
    Core, Effect, VerbError, mail::Carrier, membership::is_active, relays::Owner, step::Step,
};
use crate::{
    api::types::{CreateInvite, InviteView, VERSION, What},
    net::address,
    store::{InviteRow, StoreError, rfc3339, unhex},
};

/// The invites that this node serves.
#[derive(Default)]
pub(super) struct Hosted {
    invites: BTreeMap<InviteId, Hosting>,
    /// What the network was told last about strangers.
    open: bool,
}

struct Hosting {
    row: InviteRow,
    record: InviteRecord,
    sessions: BTreeMap<[u8; 16], Serving>,
}

/// A joiner that was answered, and whose proof is awaited.
struct Serving {
    carrier: Carrier,
    since: Timestamp,
    host: Host,
}

/// Joiners of one invite that are served at once; the oldest makes room.
const SESSIONS: usize = 16;

/// How long a joiner may take.
const SESSION_MS: u64 = 60_000;

/// How long an invite that has ended still gets its holders a clear answer: 7 days.
const KEEP_MS: u64 = 7 * 24 * 60 * 60 * 1000;

const DEFAULT_SECONDS: u64 = 48 * 60 * 60;
const MAX_DAYS: u64 = 365;
const MAX_USES: u32 = 1024;

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
        let uses = terms.uses.unwrap_or(1);
        if !(1..=MAX_USES).contains(&uses) {
            return Err(VerbError::BadUses { limit: MAX_USES });
        }
        let seconds = terms.expires_in.unwrap_or(DEFAULT_SECONDS);
        if !(1..=MAX_DAYS * 86_400).contains(&seconds) {
            return Err(VerbError::BadExpiry { days: MAX_DAYS });
        }
        let expires = now.plus_ms(seconds * 1000);
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
            let terms =
                InviteTerms { max_uses: uses, expires, mode: AdmitMode::Auto, strict: true };
            group.invite(step.cx(), &record, terms)?;
            step.tx.put_invite(&row)?;
            Ok::<_, VerbError>(())
        })?;
        let view = InviteView { code: Some(text.to_string()), ..view(&row) };
        self.hosted.add(row);
        self.after.logs = true;
        self.finish(now);
        Ok(view)
    }

    /// The invites that this node made for a group.
    pub fn invites(
        &mut self,
        reference: &str,
        _now: Timestamp,
    ) -> Result<Vec<InviteView>, VerbError> {
        let id = self.find_group(reference)?;
        let rows = self.store.read(|tx| tx.invites())?;
        Ok(rows.iter().filter(|row| row.group == id).map(view).collect())
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
        let view = view(&row);
        if let Some(hosting) = self.hosted.invites.get_mut(&row.id) {
            hosting.row = row;
        }
        self.finish(now);
        Ok(view)
    }

    /// A frame by a joiner.
    pub(super) fn host_frame(
        &mut self,
        id: InviteId,
        carrier: Carrier,
        frame: MailFrame,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        self.hosted.drop_late(now);
        match frame.seq {
            0 => {
                self.host_accept(id, carrier, &frame, now);
                Ok(())
            }
            1 => self.host_admit(id, carrier, &frame, now),
            _ => Ok(()),
        }
    }

    fn host_accept(&mut self, id: InviteId, carrier: Carrier, frame: &MailFrame, now: Timestamp) {
        let Some(hosting) = self.hosted.invites.get_mut(&id) else { return };
        let Some(group) = self.groups.get(&hosting.row.group).filter(|group| is_active(group))
        else {
            return;
        };
        if hosting.sessions.contains_key(&frame.session) {
            return;
        }
        let ops = group.admin_path();
        let offer = Offer {
            invite: &hosting.record,
            group: group.id(),
            ops: &ops,
            key: &self.noise,
            me: &self.me,
        };
        let accepted = Host::accept(offer, &frame.session, &frame.body, &mut self.rng);
        let (host, body) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => return tracing::debug!(%error, "a joiner was not answered"),
        };
        hosting.make_room();
        hosting.sessions.insert(frame.session, Serving { carrier, since: now, host });
        let key = hosting.record.seal_key;
        let answer =
            MailFrame { session: frame.session, direction: Direction::FromHost, seq: 0, body };
        self.post(carrier, &key, &answer);
    }

    fn host_admit(
        &mut self,
        id: InviteId,
        carrier: Carrier,
        frame: &MailFrame,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let Some(hosting) = self.hosted.invites.get_mut(&id) else { return Ok(()) };
        let (group, key, mut row) =
            (hosting.row.group, hosting.record.seal_key, hosting.row.clone());
        let known = hosting.sessions.remove(&frame.session);
        let Some(serving) = known.filter(|serving| serving.carrier == carrier) else {
            return Ok(());
        };
        let (admission, request) = match serving.host.on_frame(&frame.body, now) {
            Ok(proven) => proven,
            Err(error) => {
                tracing::debug!(%error, "a joiner proved nothing");
                return Ok(());
            }
        };
        let admitted = self.step(group, now, |group, step| {
            let request = Admission {
                invite: id,
                card: &request.card,
                proof: request.proof,
                handshake: request.handshake,
            };
            let admitted = group.admit(step.cx(), &request).map(Zeroizing::new);
            count(&mut row, group, now);
            step.tx.put_invite(&row)?;
            Ok::<_, StoreError>(admitted)
        })?;
        if let Some(hosting) = self.hosted.invites.get_mut(&id) {
            hosting.row = row;
        }
        let frames = match admitted {
            Ok(welcome) => admission.welcome(&welcome, now),
            Err(AdmitError::BadProof) => return Ok(()),
            Err(error) => admission.refuse(refusal(error), now).map(|frame| vec![frame]),
        };
        match frames {
            Ok(frames) => {
                for (body, seq) in frames.into_iter().zip(1..) {
                    let answer = MailFrame {
                        session: frame.session,
                        direction: Direction::FromHost,
                        seq,
                        body,
                    };
                    self.post(carrier, &key, &answer);
                }
            }
            Err(error) => tracing::warn!(%error, "a joiner can't be answered"),
        }
        Ok(())
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
    /// Takes up an invite; one whose record is unreadable is not served.
    pub(super) fn add(&mut self, row: InviteRow) {
        if let Some(record) = unpack(&row.record) {
            let hosting = Hosting { row, record, sessions: BTreeMap::new() };
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

    fn drop_late(&mut self, now: Timestamp) {
        for hosting in self.invites.values_mut() {
            hosting.sessions.retain(|_, serving| now.ms_since(serving.since) < SESSION_MS);
        }
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

impl Hosting {
    fn make_room(&mut self) {
        while self.sessions.len() >= SESSIONS {
            let oldest = self.sessions.iter().min_by_key(|(_, serving)| serving.since);
            let Some(oldest) = oldest.map(|(session, _)| *session) else { return };
            self.sessions.remove(&oldest);
        }
    }
}

/// Brings a row to what the group's ops say of its invite.
fn count(row: &mut InviteRow, group: &Group, now: Timestamp) {
    if let Some(invite) = group.invites().into_iter().find(|invite| invite.id == row.id) {
        row.used = invite.used;
        row.revoked |= invite.revoked;
    }
    if row.used >= row.uses || row.revoked {
        row.ended = row.ended.or(Some(now));
    }
}

fn refusal(error: AdmitError) -> RefusedReason {
    match error {
        AdmitError::Used => RefusedReason::Used,
        AdmitError::Expired => RefusedReason::Expired,
        AdmitError::Revoked => RefusedReason::Revoked,
        AdmitError::Full => RefusedReason::Full,
        AdmitError::AlreadyMember => RefusedReason::AlreadyMember,
        _ => RefusedReason::Unavailable,
    }
}

fn view(row: &InviteRow) -> InviteView {
    InviteView {
        v: VERSION,
        id: row.id.to_string(),
        code: None,
        uses: row.uses,
        used: row.used,
        expires: rfc3339(row.expires),
        revoked: row.revoked,
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
