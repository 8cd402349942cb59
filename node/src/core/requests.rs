//! Those who ask to be let in: kept until a person, or another admin's node, has answered.

use std::collections::BTreeMap;

use protocol::{
    fingerprint,
    group::{AdmitError, Group},
    identity::SignedCard,
    ids::{GroupId, InviteId, MemberId, Timestamp},
    join::{JoinRequest, RefusedReason},
    membership::AdmitMode,
    sign::Signature,
};

use super::{
    Core, VerbError,
    hosting::{Verdict, refusal},
    membership::is_active,
};
use crate::{
    api::types::{MemberRef, RequestView, VERSION, What},
    net::address,
    store::{RequestRow, RequestState, StoreError, rfc3339},
};

/// The requests that are kept, as the store has them.
#[derive(Default)]
pub(super) struct Requests(BTreeMap<(InviteId, MemberId), RequestRow>);

/// Requests to one invite that wait: whoever holds the code can make as many as they like.
const WAITING: usize = 32;

impl Core {
    /// Those who wait for a person's word in a group, oldest first.
    pub fn requests(&mut self, reference: &str) -> Result<Vec<RequestView>, VerbError> {
        let id = self.find_group(reference)?;
        Ok(self.waiting_in(id).iter().filter_map(|row| self.request_view(row)).collect())
    }

    /// Lets somebody in who waits: by name, with or without `@`, or an unambiguous id prefix.
    pub fn approve(
        &mut self,
        reference: &str,
        who: &str,
        now: Timestamp,
    ) -> Result<RequestView, VerbError> {
        let (row, asked) = self.find_request(reference, who)?;
        let verdict = self.admit(row.invite, &asked, row.letter, now)?;
        self.tell_waiting(row.invite, &row.member, &verdict, now);
        let answered = match verdict {
            Verdict::Welcome(_) => self.answered(&row, true, now),
            Verdict::Refused(reason) => Err(VerbError::NotAdmitted { reason }),
            Verdict::Pending | Verdict::Silence => Err(VerbError::NoSuchInvite),
        };
        self.finish(now);
        answered
    }

    /// Sends somebody away who waits. They are told so, each time that they ask by this invite.
    pub fn deny(
        &mut self,
        reference: &str,
        who: &str,
        now: Timestamp,
    ) -> Result<RequestView, VerbError> {
        let (row, asked) = self.find_request(reference, who)?;
        let verdict = Verdict::Refused(RefusedReason::Denied);
        self.keep_request(row.invite, &asked, row.letter, RequestState::Denied, now)?;
        self.tell_waiting(row.invite, &row.member, &verdict, now);
        let answered = self.answered(&row, false, now);
        self.finish(now);
        answered
    }

    /// What becomes of somebody who has proved an invite; where they asked by letter, they are told
    /// so by letter.
    pub(super) fn decide(
        &mut self,
        id: InviteId,
        asked: &JoinRequest,
        letter: bool,
        now: Timestamp,
    ) -> Result<Verdict, StoreError> {
        let group = self.hosted.invites.get(&id).map(|hosting| hosting.row.group);
        let group = group.and_then(|group| self.groups.get(&group)).filter(|g| is_active(g));
        let Some(group) = group else { return Ok(Verdict::Silence) };
        let may = group.may_admit(id, &asked.member, now);
        let refused = match may {
            // A code of a conversation of two is one person's, whoever has it.
            _ if !self.may_come(group, &asked.member) => RefusedReason::Denied,
            Ok(AdmitMode::Auto) => return self.admit(id, asked, letter, now),
            Ok(AdmitMode::Ask) if self.hosted.requests.is_denied(id, &asked.member) => {
                RefusedReason::Denied
            }
            Ok(AdmitMode::Ask) if self.hosted.requests.has_room(id, &asked.member) => {
                self.keep_request(id, asked, letter, RequestState::Waiting, now)?;
                return Ok(Verdict::Pending);
            }
            Ok(AdmitMode::Ask) => RefusedReason::TooMany,
            Err(AdmitError::BadProof) => return Ok(Verdict::Silence),
            Err(error) => refusal(error),
        };
        let verdict = Verdict::Refused(refused);
        if letter {
            self.write_to(id, asked, &verdict, now)?;
        }
        Ok(verdict)
    }

    /// Keeps a request, tells people of a new one, and its maker what was decided. What was asked
    /// by letter takes the place of what was asked live: it is what can be answered at any time.
    pub(super) fn keep_request(
        &mut self,
        id: InviteId,
        asked: &JoinRequest,
        letter: bool,
        state: RequestState,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let Some(hosting) = self.hosted.invites.get(&id) else { return Ok(()) };
        let (record, group) = (hosting.record.clone(), hosting.row.group);
        let known = self.hosted.requests.0.get(&(id, asked.member));
        let new = known.is_none_or(|known| known.state != RequestState::Waiting)
            && state == RequestState::Waiting;
        let row = match known.filter(|_| !letter) {
            Some(known) => RequestRow { state, ..known.clone() },
            None => RequestRow {
                invite: id,
                member: asked.member,
                card: asked.card.as_bytes().into(),
                proof: asked.proof.0,
                handshake: asked.handshake,
                letter,
                state,
                at: known.map_or(now, |known| known.at),
            },
        };
        let verdict = match state {
            RequestState::Waiting => Verdict::Pending,
            RequestState::Denied => Verdict::Refused(RefusedReason::Denied),
            RequestState::Due(_) => Verdict::Silence,
        };
        let new = self.request_view(&row).filter(|_| new);
        self.step(group, now, |group, step| {
            step.tx.put_request(&row)?;
            if let Some(request) = new {
                step.emit(Some(group.id()), What::JoinRequested { request })?;
            }
            if letter {
                step.write(group, &record, asked, &verdict)?;
            }
            Ok::<_, StoreError>(())
        })?;
        self.hosted.requests.0.insert((id, row.member), row);
        Ok(())
    }

    pub(super) fn forget_request(
        &mut self,
        id: InviteId,
        member: MemberId,
    ) -> Result<(), StoreError> {
        self.store.transaction(|tx| tx.drop_request(id, member))?;
        self.hosted.requests.remove(id, &member);
        Ok(())
    }

    /// Forgets the requests that others have answered: those who asked are members.
    pub(super) fn settle_requests(&mut self) -> Result<(), StoreError> {
        let in_now = |(id, member): &(InviteId, MemberId)| {
            let group = self.hosted.invites.get(id).map(|hosting| hosting.row.group);
            let group: Option<&Group> = group.and_then(|group| self.groups.get(&group));
            group.is_some_and(|group| group.is_member(member))
        };
        let settled: Vec<_> = self.hosted.requests.0.keys().copied().filter(in_now).collect();
        settled.into_iter().try_for_each(|(id, member)| self.forget_request(id, member))
    }

    fn write_to(
        &mut self,
        id: InviteId,
        to: &JoinRequest,
        verdict: &Verdict,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let Some(hosting) = self.hosted.invites.get(&id) else { return Ok(()) };
        let (record, group) = (hosting.record.clone(), hosting.row.group);
        self.step(group, now, |group, step| step.write(group, &record, to, verdict))
    }

    fn answered(
        &mut self,
        row: &RequestRow,
        approved: bool,
        now: Timestamp,
    ) -> Result<RequestView, VerbError> {
        let group = self.hosted.invites.get(&row.invite).map(|hosting| hosting.row.group);
        let request = self.request_view(row).ok_or(StoreError::Damaged)?;
        let told = request.clone();
        self.record(now, |step| step.emit(group, What::JoinAnswered { request: told, approved }))?;
        Ok(request)
    }

    fn request_view(&self, row: &RequestRow) -> Option<RequestView> {
        let request = view(row)?;
        let other_than = self.verified_under(row.member, &request.member.name);
        Some(RequestView { other_than, ..request })
    }

    fn waiting_in(&self, group: GroupId) -> Vec<RequestRow> {
        let of_group = |row: &&RequestRow| {
            let hosting = self.hosted.invites.get(&row.invite);
            hosting.is_some_and(|hosting| hosting.row.group == group)
        };
        let waits = |row: &&RequestRow| row.state == RequestState::Waiting;
        let mut rows: Vec<_> =
            self.hosted.requests.0.values().filter(waits).filter(of_group).cloned().collect();
        rows.sort_by_key(|row| (row.at, row.invite, row.member));
        rows
    }

    fn find_request(
        &self,
        reference: &str,
        who: &str,
    ) -> Result<(RequestRow, JoinRequest), VerbError> {
        let rows = self.waiting_in(self.find_group(reference)?);
        let rows: Vec<_> =
            rows.into_iter().filter_map(|row| asked(&row).map(|asked| (row, asked))).collect();
        let name = who.strip_prefix('@').unwrap_or(who);
        let named = |(_, asked): &&(RequestRow, JoinRequest)| asked.card.card().name == name;
        let mut found: Vec<_> = rows.iter().filter(named).collect();
        let prefix = who.to_ascii_lowercase();
        if found.is_empty() && prefix.len() >= 4 {
            let of_id = |(row, _): &&(RequestRow, _)| row.member.to_string().starts_with(&prefix);
            found = rows.iter().filter(of_id).collect();
        }
        match found.as_slice() {
            [] => Err(VerbError::NoSuchRequest { asked: who.into() }),
            [one] => Ok((*one).clone()),
            several => Err(VerbError::AmbiguousMember {
                asked: who.into(),
                candidates: several
                    .iter()
                    .map(|(row, asked)| {
                        let id = row.member.to_string();
                        format!("{} ({}…)", asked.card.card().name, &id[..8])
                    })
                    .collect(),
            }),
        }
    }
}

impl Requests {
    pub(super) fn add(&mut self, row: RequestRow) {
        self.0.insert((row.invite, row.member), row);
    }

    pub(super) fn remove(&mut self, id: InviteId, member: &MemberId) {
        self.0.remove(&(id, *member));
    }

    /// Forgets those of invites that are forgotten.
    pub(super) fn forget(&mut self, invites: &[InviteId]) {
        self.0.retain(|(id, _), _| !invites.contains(id));
    }

    pub(super) fn waiting(&self, id: InviteId) -> u64 {
        let of = |row: &&RequestRow| row.invite == id && row.state == RequestState::Waiting;
        self.0.values().filter(of).count() as u64
    }

    pub(super) fn is_denied(&self, id: InviteId, member: &MemberId) -> bool {
        self.0.get(&(id, *member)).is_some_and(|row| row.state == RequestState::Denied)
    }

    pub(super) fn is_due(&self, id: InviteId, member: &MemberId) -> bool {
        self.0.get(&(id, *member)).is_some_and(|row| row.due().is_some())
    }

    /// Makes every letter due: the clock was set back.
    pub(super) fn all_due(&mut self) {
        for row in self.0.values_mut() {
            if let RequestState::Due(at) = &mut row.state {
                *at = Timestamp::default();
            }
        }
    }

    /// When a letter is to be served.
    pub(super) fn deadline(&self) -> Option<Timestamp> {
        self.0.values().filter_map(RequestRow::due).min()
    }

    pub(super) fn due(&self, now: Timestamp) -> Vec<RequestRow> {
        let due = |row: &&RequestRow| row.due().is_some_and(|at| at <= now);
        self.0.values().filter(due).cloned().collect()
    }

    fn has_room(&self, id: InviteId, member: &MemberId) -> bool {
        self.0.contains_key(&(id, *member)) || self.waiting(id) < WAITING as u64
    }
}

impl RequestRow {
    fn due(&self) -> Option<Timestamp> {
        match self.state {
            RequestState::Due(at) => Some(at),
            RequestState::Waiting | RequestState::Denied => None,
        }
    }
}

/// What a kept request asked.
pub(super) fn asked(row: &RequestRow) -> Option<JoinRequest> {
    let card = SignedCard::from_bytes(&row.card).ok()?;
    let (proof, handshake) = (Signature(row.proof), row.handshake);
    Some(JoinRequest { member: row.member, card, proof, handshake })
}

fn view(row: &RequestRow) -> Option<RequestView> {
    let asked = asked(row)?;
    let card = asked.card.card();
    Some(RequestView {
        v: VERSION,
        invite: row.invite.to_string(),
        member: MemberRef { id: row.member.to_string(), name: card.name.clone() },
        fingerprint: fingerprint::of_member(&row.member),
        machine: card.nodes.first().and_then(|node| address::peer_text(node)),
        since: rfc3339(row.at),
        other_than: Vec::new(),
    })
}
