//! That somebody types: told to those with whom a channel stands, kept by nobody.
//!
//! > It goes over channels and no other way, so no relay sees when somebody writes. Who has no channel isn't told.
//!
//! Told where the group's admins leave it on ([`Conduct::typing`]), in groups of at most
//! [`RECEIPT_MEMBERS`](crate::limits::RECEIPT_MEMBERS) members. docs/spec/sync.md, *Typing*.
//!
//! [`Conduct::typing`]: crate::membership::Conduct::typing

use alloc::vec::Vec;

use rand_core::CryptoRng;

use super::{Cx, Event, Group, GroupState, Output, seen::NotTold, wire::Frame};
use crate::ids::MemberId;

impl Group {
    /// Whether it may be told here that somebody types.
    ///
    /// # Errors
    /// Why not.
    pub fn may_tell_typing(&self) -> Result<(), NotTold> {
        if self.state() != GroupState::Active {
            Err(NotTold::NotNow)
        } else if !self.conduct().typing {
            Err(NotTold::Off)
        } else if !self.gives_receipts() {
            Err(NotTold::Large)
        } else {
            Ok(())
        }
    }

    /// Tells neighbours that this node's person types, or has stopped. Whoever asks does so every few seconds at most.
    ///
    /// # Errors
    /// Why nobody was told.
    pub fn tell_typing<R: CryptoRng>(&mut self, _: Cx<'_, R>, on: bool) -> Result<(), NotTold> {
        self.may_tell_typing()?;
        let near: Vec<MemberId> = self.peers.keys().copied().collect();
        near.into_iter().for_each(|member| self.frame(member, &Frame::Typing(on)));
        Ok(())
    }

    /// A neighbour's person types, or has stopped.
    pub(super) fn take_typing(&mut self, by: MemberId, on: bool) {
        if self.conduct().typing && self.gives_receipts() && by != self.me {
            self.out.push_back(Output::Event(Event::Typing { by, on }));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{membership::Conduct, sim::world::World};

    fn heard(world: &World, at: usize) -> Vec<(MemberId, bool)> {
        let typing = |event: &Event| match event {
            Event::Typing { by, on } => Some((*by, *on)),
            _ => None,
        };
        world.people[at].events.iter().filter_map(typing).collect()
    }

    #[test]
    fn neighbours_are_told_and_nobody_else_nor_any_log() {
        let mut world = World::with(3, true);
        world.link(0, 1);
        world.settle();
        let kept = world.published;
        world.act(0, |group, cx| group.tell_typing(cx, true)).unwrap();
        world.act(0, |group, cx| group.tell_typing(cx, false)).unwrap();
        world.settle();
        let ana = world.id(0);
        assert_eq!(heard(&world, 1), [(ana, true), (ana, false)]);
        assert!(heard(&world, 2).is_empty(), "no channel stands");
        assert_eq!(world.published, kept, "no relay learns of it");
    }

    #[test]
    fn where_it_is_off_nothing_is_told_and_nothing_believed() {
        let mut world = World::with(2, true);
        world.link(0, 1);
        let conduct = Conduct { typing: false, ..*world.member(0).conduct() };
        world.act(0, |group, cx| group.set_conduct(cx, conduct)).unwrap();
        world.settle();
        assert_eq!(world.act(1, |group, cx| group.tell_typing(cx, true)), Err(NotTold::Off));
        let (ana, frame) = (world.id(0), crate::codec::encode(&Frame::Typing(true)));
        world.act(1, |group, cx| group.on_frame(cx, ana, &frame)).unwrap();
        assert!(heard(&world, 1).is_empty());
    }
}
