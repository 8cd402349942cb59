//! That somebody is typing: told while it is so, kept by nobody.

use protocol::{
    group::Group,
    ids::{MemberId, Timestamp},
};

use super::{Core, Effect, VerbError, step::Step};
use crate::{
    api::types::{Event, VERSION, What},
    store::{StoreError, rfc3339},
};

/// It is told again after this, while it goes on.
const AGAIN_MS: u64 = 3_000;

/// Nobody takes it for so any more.
const FORGOTTEN_MS: u64 = 60_000;

impl Core {
    /// Tells a group's neighbours that this node's person is typing, or has stopped; whether they are told.
    pub fn tell_typing(
        &mut self,
        reference: &str,
        on: bool,
        now: Timestamp,
    ) -> Result<bool, VerbError> {
        let id = self.find_group(reference)?;
        // By distance: a clock that was set back is no reason to be silent.
        self.typing.retain(|_, at| at.0.abs_diff(now.0) < FORGOTTEN_MS);
        let may = self.groups.get(&id).is_some_and(|group| group.may_tell_typing().is_ok());
        match self.typing.get(&id) {
            _ if !may => return Ok(false),
            Some(at) if on && at.0.abs_diff(now.0) < AGAIN_MS => return Ok(true),
            None if !on => return Ok(false),
            _ => {}
        }
        let told = self
            .step(id, now, |group, step| Ok::<_, StoreError>(group.tell_typing(step.cx(), on)))?;
        self.finish(now);
        match on && told.is_ok() {
            true => self.typing.insert(id, now),
            false => self.typing.remove(&id),
        };
        Ok(told.is_ok())
    }
}

impl Step<'_> {
    /// A member is typing, or has stopped.
    pub(super) fn typing(
        &mut self,
        group: &Group,
        by: MemberId,
        on: bool,
    ) -> Result<(), StoreError> {
        if self.tx.is_blocked(by)? {
            return Ok(());
        }
        let (member, of) = (self.named(group, by)?, self.tx.group(group.id())?);
        let (at, what) = (rfc3339(self.now), What::Typing { member, on });
        let event = Event { v: VERSION, seq: 0, at, group: Some(of), what };
        self.after.effects.push(Effect::Live(Box::new(event)));
        Ok(())
    }
}
