//! Files: what is offered and wanted, and who may have it. Their bytes are moved by [`crate::files`].

use std::{
    cmp::Reverse,
    path::{Path, PathBuf},
};

use protocol::{
    file::{FILE, Offer},
    ids::{FileId, GroupId, MemberId, Timestamp},
};

use super::{
    Core, VerbError,
    membership::{id_prefix, is_active},
    words,
};
use crate::{
    api::types::{FileRef, FileStanding, FileView, MemberRef, Message, VERSION},
    store::{Body, FileState, OfferRow, StoreError, hex},
};

/// A file that was read and can be offered.
pub struct Made {
    /// What is to be said of it.
    pub offer: Offer,
    /// The leaves of its tree.
    pub leaves: Vec<u8>,
    /// Where it is; relative where that is in the data directory.
    pub path: PathBuf,
}

/// A file that is to be fetched.
pub struct Wanted {
    /// The number of the message that offers it.
    pub seq: u64,
    /// That message's local id.
    pub id: [u8; 16],
    /// What was said of it.
    pub offer: Offer,
    /// The group in which it was offered.
    pub group: GroupId,
    /// Who may have it.
    pub givers: Givers,
}

/// Members who may have a file, its sender before the others.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Givers {
    /// With whom a channel stands.
    pub near: Vec<MemberId>,
    /// With whom none does, those first whose node told last where it is.
    pub afar: Vec<MemberId>,
}

/// A file that is here, for a member who may have it.
pub struct Given {
    /// What was said of it.
    pub offer: Offer,
    /// The leaves of its tree.
    pub leaves: Vec<u8>,
    /// Where it is; relative where that is in the data directory.
    pub path: PathBuf,
}

/// Why nobody is asked for a file.
const ENDED: &str = "this node is no member of the group any more";
/// Files of a group that are listed: the last, with those that are here or being fetched.
const OFFERS: u32 = 1_000;

impl Core {
    /// Offers a file that was read, as a message that is sealed as any other.
    pub fn offer_file(
        &mut self,
        reference: &str,
        made: &Made,
        now: Timestamp,
    ) -> Result<Message, VerbError> {
        let id = self.find_group(reference)?;
        let payload = made.offer.to_bytes();
        let seq = self.queue(id, &Body::of(FILE, &payload), now, |step, seq| {
            let file = made.offer.id();
            step.tx.put_file(seq, file, &made.path, FileState::Here, &made.leaves)
        })?;
        let message = self.store.read(|tx| tx.message(seq))?;
        Ok(message.ok_or(StoreError::Damaged)?)
    }

    /// The files that were offered in a group, the newest last.
    pub fn files(&mut self, reference: &str) -> Result<Vec<FileView>, VerbError> {
        let id = self.find_group(reference)?;
        let offers = self.store.read(|tx| tx.offers(id, OFFERS))?;
        Ok(offers.iter().map(|row| self.file_view(row)).collect())
    }

    /// One of them; asked for by its name or the first digits of its id.
    pub fn file(&mut self, reference: &str, asked: &str) -> Result<FileView, VerbError> {
        let row = self.find_file(reference, asked)?;
        Ok(self.file_view(&row))
    }

    /// Has a file fetched; asked for by its name or the first digits of its id. `again` is what the caller found to be gone from
    /// the disk: a path as a view has it.
    pub fn want_file(
        &mut self,
        reference: &str,
        asked: &str,
        again: Option<&str>,
        now: Timestamp,
    ) -> Result<FileView, VerbError> {
        let row = self.find_file(reference, asked)?;
        let view = self.file_view(&row);
        if row.here.is_some() && (again.is_none() || view.path.as_deref() != again) {
            return Ok(view);
        }
        if !self.groups.get(&row.group).is_some_and(is_active) {
            return Err(VerbError::NotAMember);
        }
        let (seq, file, nowhere) = (row.seq, row.offer.id(), PathBuf::new());
        self.record(now, |step| step.tx.put_file(seq, file, &nowhere, FileState::Wanted, &[]))?;
        self.finish(now);
        Ok(self.file_view(&OfferRow { here: Some((FileState::Wanted, nowhere)), ..row }))
    }

    /// Fetches or gives a file no longer. What is on the disk stays there.
    pub fn drop_file(
        &mut self,
        reference: &str,
        asked: &str,
        now: Timestamp,
    ) -> Result<FileView, VerbError> {
        let row = self.find_file(reference, asked)?;
        let seq = row.seq;
        self.record(now, |step| step.tx.drop_file(seq))?;
        self.finish(now);
        Ok(self.file_view(&OfferRow { here: None, ..row }))
    }

    /// What is to be fetched now, and of whom.
    pub fn wanted_files(&mut self) -> Result<Vec<Wanted>, StoreError> {
        let rows = self.store.read(|tx| tx.wanted_files())?;
        let wanted = rows.into_iter().map(|row| {
            let (group, givers) = (row.group, self.givers(row.group, row.from));
            Wanted { seq: row.seq, id: row.id, offer: row.offer, group, givers }
        });
        Ok(wanted.collect())
    }

    /// All of a file is here, at `path`. Whether that is noted: not where nobody wants it any more.
    pub fn on_file_here(
        &mut self,
        seq: u64,
        path: &Path,
        leaves: &[u8],
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        // Who wanted it may want it no longer.
        let Some(row) = self.store.read(|tx| tx.offer(seq))? else { return Ok(false) };
        if row.here.is_none() {
            return Ok(false);
        }
        let file = row.offer.id();
        self.record(now, |step| step.tx.put_file(seq, file, path, FileState::Here, leaves))?;
        self.finish(now);
        Ok(true)
    }

    /// Whether a member may have a file: one that is here, and was offered in a group in which both are members.
    pub fn may_have_file(&mut self, to: &MemberId, file: FileId) -> Result<bool, StoreError> {
        Ok(self.given_to(to, file)?.is_some())
    }

    /// A file for a member who may have it. Its leaves may be megabytes: whoever has them asks [`Self::may_have_file`].
    pub fn given_file(&mut self, to: &MemberId, file: FileId) -> Result<Option<Given>, StoreError> {
        let Some(seq) = self.given_to(to, file)? else { return Ok(None) };
        let row = self.store.read(|tx| tx.given_file(seq))?;
        Ok(row.map(|row| Given { offer: row.offer, leaves: row.leaves, path: row.path }))
    }

    pub(super) fn given_to(
        &mut self,
        to: &MemberId,
        file: FileId,
    ) -> Result<Option<u64>, StoreError> {
        let offered = self.store.read(|tx| tx.given_in(file))?;
        let found = offered.into_iter().find(|(_, group)| self.is_fellow(*group, to));
        Ok(found.map(|(seq, _)| seq))
    }

    fn is_fellow(&self, group: GroupId, member: &MemberId) -> bool {
        let group = self.groups.get(&group).filter(|group| is_active(group));
        group.is_some_and(|group| group.members().iter().any(|other| other.id == *member))
    }

    fn givers(&self, group: GroupId, from: MemberId) -> Givers {
        let Some(group) = self.groups.get(&group).filter(|group| is_active(group)) else {
            return Givers::default();
        };
        let me = self.me.member();
        let mut members = group.members();
        members.retain(|member| member.id != me);
        members.sort_by_key(|member| (member.id != from, Reverse(member.told)));
        let ids = members.iter().map(|member| member.id);
        let (near, afar): (Vec<_>, Vec<_>) = ids.partition(|id| self.peers.has_channel(id));
        Givers { near, afar }
    }

    fn find_file(&mut self, reference: &str, asked: &str) -> Result<OfferRow, VerbError> {
        let id = self.find_group(reference)?;
        let digits = id_prefix(asked);
        let found = self.store.read(|tx| tx.which_offers(id, asked, digits.as_deref()))?;
        // A name that is another one's id takes nobody's place.
        let by_id = found.iter().position(|row| hex(&row.id) == asked);
        let mut found = found.into_iter();
        if let Some(row) = by_id.and_then(|at| found.nth(at)) {
            return Ok(row);
        }
        match (found.next(), found.next()) {
            (Some(row), None) => Ok(row),
            (None, _) => Err(VerbError::NoSuchFile { asked: asked.into() }),
            (Some(_), Some(_)) => Err(VerbError::AmbiguousFile { asked: asked.into() }),
        }
    }

    fn file_view(&self, row: &OfferRow) -> FileView {
        let size = row.offer.layout().size();
        let (state, path) = match &row.here {
            None => (FileStanding::Offered, None),
            Some((FileState::Wanted, _)) => (FileStanding::Fetching, None),
            Some((FileState::Here, path)) => (FileStanding::Here, Some(path)),
        };
        let is_active = self.groups.get(&row.group).is_some_and(is_active);
        let failed = state == FileStanding::Fetching && !is_active;
        let problem = if failed { ENDED } else { "" };
        let unknown = || MemberRef { id: row.from.to_string(), name: String::new() };
        let group = self.groups.get(&row.group);
        FileView {
            v: VERSION,
            id: hex(&row.id),
            seq: row.seq,
            from: group.map_or_else(unknown, |group| words::named(group, &row.from)),
            mine: row.mine,
            file: FileRef { name: row.offer.name().as_str().into(), size },
            state,
            path: path.map(|path| path.to_string_lossy().into_owned()),
            bytes: if state == FileStanding::Here { size } else { 0 },
            sources: 0,
            problem: problem.into(),
            failed,
            waits: String::new(),
        }
    }
}
