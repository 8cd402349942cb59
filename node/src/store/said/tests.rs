use protocol::said::Said;

use super::{
    super::tests::{GROUP, dir, received, with_group},
    *,
};
use crate::store::NewMessage;

#[test]
fn changes_are_judged_anew_only_where_they_begin_or_cease_to_count() {
    let dir = dir();
    let mut store = with_group(dir.path());
    let target = HeadRef { chain: ChainId([7; 16]), index: 0, id: MessageId([0; 16]) };
    let edits: Vec<Vec<u8>> = (0..70)
        .map(|n| Said::Edit { target, text: format!("edit {n}") }.payload().to_vec())
        .collect();
    let put = |tx: &Tx<'_>, index: u32, class, body| {
        tx.put_message(&NewMessage { body, class, ..received(index, "") })
    };
    store
        .transaction(|tx| {
            put(tx, 0, Class::Ok, Body::text("hello"))?;
            let first = put(tx, 1, Class::Ok, Body::of(1, &edits[0]))?.unwrap();
            tx.trim_changes(first)?;
            let stale = tx.reclass(GROUP, ChainId([7; 16]), 0..2, Class::StaleView)?;
            assert_eq!((stale.messages.len(), stale.changes.len()), (1, 0), "it counts as before");
            // What is said beyond a cut takes no place of what counts.
            for (index, edit) in (2..72).zip(&edits[..]) {
                let seq = put(tx, index, Class::PostCut, Body::of(1, edit))?.unwrap();
                tx.trim_changes(seq)?;
            }
            assert_eq!(tx.message(1)?.unwrap().text, "edit 0");
            let ended = tx.reclass(GROUP, ChainId([7; 16]), 1..2, Class::PostCut)?;
            assert_eq!(ended.changes, [first]);
            assert_eq!(tx.message(1)?.unwrap().text, "hello");
            let again = tx.reclass(GROUP, ChainId([7; 16]), 1..2, Class::Ok)?;
            assert_eq!(again.changes, [first]);
            Ok::<_, StoreError>(())
        })
        .unwrap();
}
