//! What the simulator may see of a group that nobody else may, in one place.
//!
//! > Nothing here changes what a group does.

use alloc::{collections::BTreeMap, vec::Vec};

use super::{Group, records::Key};

impl Group {
    /// Whether the last step left nothing to carry out or to commit.
    pub(crate) fn is_drained(&self) -> bool {
        self.out.is_empty() && self.dirty.is_empty()
    }

    /// What is to be stored of the whole state.
    pub(crate) fn all_records(&mut self) -> BTreeMap<Vec<u8>, Vec<u8>> {
        self.mark_all();
        self.dirty.mark(Key::Receipts);
        self.mark_view();
        self.sending.pairs.keys().for_each(|id| self.dirty.mark(Key::PairSend(*id)));
        self.sending.inits.keys().for_each(|id| self.dirty.mark(Key::Inits(*id)));
        self.dirty.mark(Key::Gone);
        for (by, told) in &self.moving.told {
            told.parts.keys().for_each(|number| self.dirty.mark(Key::Part(*by, *number)));
        }
        self.holds.members().for_each(|id| self.dirty.mark(Key::Hold(*id)));
        self.receiving.pairs.keys().for_each(|id| self.dirty.mark(Key::PairReceive(*id)));
        self.receiving.parked.keys().for_each(|id| self.dirty.mark(Key::Parked(*id)));
        for chain in self.receiving.chains.keys() {
            self.dirty.mark(Key::Bundle(*chain));
            self.dirty.mark(Key::Chain(*chain));
            self.dirty.mark(Key::Classes(*chain));
        }
        self.dirty.mark(Key::Watch);
        self.absence.seen.keys().for_each(|id| self.dirty.mark(Key::Seen(*id)));
        self.slots.chains().for_each(|chain| self.dirty.mark(Key::Ciphertexts(*chain)));
        let changes = self.changes();
        changes.into_iter().filter_map(|it| Some((it.key, it.value?.to_vec()))).collect()
    }
}
