//! Members who were lost: the policy `rotate_on_disconnect`.
//!
//! > To lose a member is not to remove it. The next message begins a new chain, which is sealed to the
//! > lost one too; at most one chain in ten minutes is made for it.

use alloc::{collections::BTreeMap, vec::Vec};

use super::{Group, Timer};
use crate::{
    audit::RotationReason,
    ids::{MemberId, Timestamp},
};

/// A new chain for lost members is made this often, in milliseconds.
const AGAIN_MS: u64 = 10 * 60 * 1000;

#[derive(Default)]
pub(super) struct Losses {
    /// Whose channel fell, and when; whoever is heard again is out of it.
    pub down: BTreeMap<MemberId, Timestamp>,
    /// When a chain was asked for because of it.
    asked: Option<Timestamp>,
}

impl Group {
    /// A member's channel fell.
    pub(super) fn note_loss(&mut self, now: Timestamp, member: MemberId) {
        if let Some(patience) = self.policy().rotate_on_disconnect_ms
            && self.is_member(&member)
        {
            self.losses.down.insert(member, now);
            self.set_timer(Timer::Losses, now.plus_ms(patience));
        }
    }

    /// Asks for a new chain where somebody has been lost for as long as the policy says.
    pub(super) fn find_losses(&mut self, now: Timestamp) {
        let Some(patience) = self.policy().rotate_on_disconnect_ms else {
            self.losses.down.clear();
            return;
        };
        // Where the clock was set back, it begins anew.
        self.losses.down.values_mut().for_each(|since| *since = now.min(*since));
        self.losses.asked = self.losses.asked.filter(|asked| *asked <= now);
        let lost: Vec<MemberId> = self
            .losses
            .down
            .iter()
            .filter(|(_, since)| now.ms_since(**since) >= patience)
            .map(|(member, _)| *member)
            .collect();
        let soon = self.losses.asked.is_some_and(|asked| now.ms_since(asked) < AGAIN_MS);
        if !lost.is_empty() && !soon {
            self.losses.down.retain(|member, _| !lost.contains(member));
            self.losses.asked = Some(now);
            self.sending.asked.get_or_insert(RotationReason::Disconnect);
        }
        let earliest = self.losses.asked.map(|asked| asked.plus_ms(AGAIN_MS));
        if let Some(since) = self.losses.down.values().min() {
            let due = since.plus_ms(patience).max(earliest.unwrap_or_default());
            self.set_timer(Timer::Losses, due.max(now.plus_ms(1)));
        }
    }
}
