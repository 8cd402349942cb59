use protocol::said::Said;
use rand_core::Rng;

use super::{
    super::tests::{GROUP, dir, received, with_group},
    *,
};
use crate::{
    api::types::Class,
    store::{Body, NewMessage, Reader, Store, Unlock},
};

const OTHER: MemberId = MemberId([9; 32]);

fn wanted(words: &str) -> Search {
    let words = Words::read(words).unwrap();
    Search { words, group: None, from: None, since: None, until: None, before: None, limit: 50 }
}

fn texts(reader: &Reader, wanted: &Search) -> Vec<String> {
    let (hits, _) = reader.search(wanted).unwrap();
    hits.into_iter().map(|hit| hit.message.text).collect()
}

fn found(reader: &Reader, words: &str) -> Vec<String> {
    texts(reader, &wanted(words))
}

fn put(store: &mut Store, index: u32, text: &str) -> u64 {
    store.transaction(|tx| tx.put_message(&received(index, text))).unwrap().unwrap()
}

fn change(store: &mut Store, index: u32, change: &Said) {
    let payload = change.payload();
    let body = Body::of(change.kind(), &payload);
    let message = NewMessage { body, ..received(index, "") };
    store
        .transaction(|tx| {
            tx.put_message(&message)?;
            let target =
                change.changes().map(|head| said::seq_at(&tx.sql, GROUP, head)).transpose()?;
            target.flatten().map_or(Ok(false), |target| tx.erase(target))
        })
        .unwrap();
}

fn head(index: u32) -> HeadRef {
    let id = MessageId([u8::try_from(index).unwrap(); 16]);
    HeadRef { chain: ChainId([7; 16]), index, id }
}

#[test]
fn words_are_found_by_their_beginnings_without_accents_and_in_scripts_without_spaces() {
    let dir = dir();
    let mut store = with_group(dir.path());
    let reader = store.reader().unwrap();
    for (index, text) in [
        (0, "Déployé at noon"),
        (1, "東京タワーに行く"),
        (2, "at the deployment, noon"),
        (3, "well done 👍"),
    ] {
        put(&mut store, index, text);
    }
    assert_eq!(found(&reader, "deploy").len(), 2);
    assert_eq!(found(&reader, "NOON at"), ["at the deployment, noon", "Déployé at noon"]);
    assert_eq!(found(&reader, "\"at noon\""), ["Déployé at noon"]);
    assert_eq!(found(&reader, "\"deploy\"").len(), 0, "a whole word");
    assert_eq!(found(&reader, "タワー"), ["東京タワーに行く"]);
    assert_eq!(found(&reader, "京東").len(), 0, "in this order");
    assert_eq!(found(&reader, "👍"), ["well done 👍"]);
    assert_eq!(found(&reader, "OR").len(), 0, "no operator");
    let (hits, lacks) = reader.search(&wanted("noon タ")).unwrap();
    assert!(hits.is_empty() && lacks == 0);
    let (hits, _) = reader.search(&wanted("deploy noon")).unwrap();
    assert_eq!(hits[0].marks, [Mark { from: 7, to: 17 }, Mark { from: 19, to: 23 }]);
}

#[test]
fn where_who_and_when_narrow_it_and_pages_go_on() {
    let dir = dir();
    let mut store = with_group(dir.path());
    let reader = store.reader().unwrap();
    let elsewhere = GroupId([4; 32]);
    store
        .transaction(|tx| {
            tx.put_group(elsewhere, "ops", Timestamp(1))?;
            for index in 0..6 {
                let message = received(index, "tea");
                let at = message.at.plus_ms(u64::from(index) * 1_000);
                let group = if index < 3 { GROUP } else { elsewhere };
                let from = if index % 2 == 0 { message.from } else { OTHER };
                tx.put_message(&NewMessage { at, group, from, ..message })?;
            }
            tx.put_name(OTHER, "ben")
        })
        .unwrap();
    let seqs = |wanted: &Search| {
        let (hits, _) = reader.search(wanted).unwrap();
        hits.into_iter().map(|hit| hit.message.seq).collect::<Vec<_>>()
    };
    assert_eq!(seqs(&wanted("tea")), [6, 5, 4, 3, 2, 1]);
    assert_eq!(seqs(&Search { group: Some(GROUP), ..wanted("tea") }), [3, 2, 1]);
    assert_eq!(seqs(&Search { from: Some(OTHER), ..wanted("tea") }), [6, 4, 2]);
    let began = received(0, "").at;
    let (since, until) = (Some(began.plus_ms(1_000)), Some(began.plus_ms(3_000)));
    assert_eq!(seqs(&Search { since, until, ..wanted("tea") }), [3, 2]);
    assert_eq!(seqs(&Search { limit: 2, ..wanted("tea") }), [6, 5]);
    assert_eq!(seqs(&Search { limit: 2, before: Some(5), ..wanted("tea") }), [4, 3]);
    assert_eq!(reader.known("ben").unwrap().len(), 1);
    assert_eq!(reader.known("0909").unwrap()[0].name, "ben");
    assert!(reader.known("09%").unwrap().is_empty() && reader.known("").unwrap().is_empty());
}

#[test]
fn what_was_deleted_or_edited_away_has_left_the_index_whole() {
    let dir = dir();
    let mut store = with_group(dir.path());
    let reader = store.reader().unwrap();
    let has = |store: &mut Store, word: &[u8]| {
        store
            .read(|tx| tx.terms())
            .unwrap()
            .iter()
            .any(|block| block.windows(word.len()).any(|it| it == word))
    };
    put(&mut store, 0, "xylophone");
    put(&mut store, 1, "quagmire");
    assert!(has(&mut store, b"xylophone") && has(&mut store, b"quagmire"));
    change(&mut store, 2, &Said::Delete { target: head(0) });
    change(&mut store, 3, &Said::Edit { target: head(1), text: "zeppelin".into() });
    assert_eq!(found(&reader, "zeppelin"), ["zeppelin"]);
    for word in ["xylophone", "quagmire"] {
        assert!(found(&reader, word).is_empty() && !has(&mut store, word.as_bytes()), "{word}");
    }
    store
        .transaction(|tx| tx.begin_erasing(GROUP, &[], &std::collections::BTreeSet::new()))
        .unwrap();
    assert!(found(&reader, "zeppelin").is_empty(), "at once");
    while store.transaction(|tx| tx.erase_group(GROUP, 2)).unwrap() {}
    assert!(!has(&mut store, b"zeppelin"));
}

#[test]
fn what_came_before_the_index_is_taken_in_in_parts() {
    let dir = dir();
    let mut store = with_group(dir.path());
    let reader = store.reader().unwrap();
    for index in 0..7 {
        put(&mut store, index, &format!("old n{index}"));
    }
    // As after an update: the index has nothing.
    store
        .transaction(|tx| tx.sql.execute_batch("DELETE FROM sought").map_err(StoreError::from))
        .unwrap();
    store.transaction(|tx| tx.index_all()).unwrap();
    put(&mut store, 7, "new");
    assert_eq!(found(&reader, "new"), ["new"]);
    assert_eq!(reader.search(&wanted("old")).unwrap().1, 7);
    assert!(store.transaction(|tx| tx.index_more(3)).unwrap());
    assert_eq!(found(&reader, "old"), ["old n6", "old n5", "old n4"]);
    drop(store);
    let mut store = Store::open(dir.path(), &Unlock::KeyFile).unwrap();
    assert!(store.read(|tx| tx.lacks_index()).unwrap());
    while store.transaction(|tx| tx.index_more(3)).unwrap() {}
    let reader = store.reader().unwrap();
    assert_eq!((found(&reader, "old").len(), reader.search(&wanted("old")).unwrap().1), (7, 0));
    assert!(!store.read(|tx| tx.lacks_index()).unwrap());
}

#[test]
fn whatever_is_put_edited_deleted_and_judged_the_index_has_what_is_shown() {
    let mut rng = <rand_chacha::ChaCha20Rng as rand_core::SeedableRng>::seed_from_u64(7);
    let words = ["tea", "teapot", "noon", "deploy", "deployed", "東京", "京", "ops"];
    for round in 0..12 {
        let dir = dir();
        let mut store = with_group(dir.path());
        let reader = store.reader().unwrap();
        for index in 0..60 {
            let mut pick = |below: usize| rng.next_u64() as usize % below;
            let text =
                (0..1 + pick(4)).map(|_| words[pick(words.len())]).collect::<Vec<_>>().join(" ");
            // Of those to come, too.
            let target = head(u32::try_from(pick(60)).unwrap());
            let class = if pick(8) == 0 { Class::PostCut } else { Class::Ok };
            let said = match pick(5) {
                0 => Some(Said::Edit { target, text: text.clone() }),
                1 => Some(Said::Delete { target }),
                _ => None,
            };
            let payload = said.as_ref().map(|said| (said.kind(), said.payload().to_vec()));
            let body = match &payload {
                Some((kind, payload)) => Body::of(*kind, payload),
                None => Body::text(&text),
            };
            let message = NewMessage { body, class, ..received(index, "") };
            store
                .transaction(|tx| {
                    let seq = tx.put_message(&message)?;
                    if let (Some(Said::Delete { .. }), Class::Ok) = (&said, class) {
                        let at = said::seq_at(&tx.sql, GROUP, &target)?;
                        at.map_or(Ok(false), |at| tx.erase(at))?;
                    }
                    seq.map_or(Ok(false), |seq| tx.erase(seq))
                })
                .unwrap();
            if pick(6) == 0 {
                let from = u32::try_from(pick(60)).unwrap();
                let class = [Class::Ok, Class::PostCut][pick(2)];
                let judge =
                    |tx: &Tx<'_>| tx.reclass(GROUP, ChainId([7; 16]), from..from + 4, class);
                store.transaction(judge).unwrap();
            }
            if pick(9) == 0 {
                let refused = store.transaction(|tx| {
                    tx.put_message(&received(90, "tea"))?;
                    Err::<(), _>(StoreError::DiskFull)
                });
                assert!(refused.is_err());
            }
        }
        let shown = reader.messages(GROUP, None, 1_000).unwrap();
        for word in words {
            let has = |text: &str| match word.is_ascii() {
                true => text.split(' ').any(|it| it.starts_with(word)),
                false => text.contains(word),
            };
            let mut seen: Vec<u64> =
                shown.iter().filter(|it| has(&it.text)).map(|it| it.seq).collect();
            seen.sort_unstable_by(|a, b| b.cmp(a));
            let (hits, _) = reader.search(&Search { limit: 1_000, ..wanted(word) }).unwrap();
            let hits: Vec<u64> = hits.iter().map(|hit| hit.message.seq).collect();
            assert_eq!(hits, seen, "round {round}, {word}");
        }
        store
            .read(|tx| {
                let check = "INSERT INTO found(found, rank) VALUES ('integrity-check', 1)";
                tx.sql.execute_batch(check).map_err(StoreError::from)
            })
            .unwrap();
    }
}

#[test]
fn nothing_of_a_blocked_member_is_found_until_it_is_unblocked() {
    let dir = dir();
    let mut store = with_group(dir.path());
    let reader = store.reader().unwrap();
    put(&mut store, 0, "of one at noon");
    let message = NewMessage { from: OTHER, ..received(1, "of another at noon") };
    store.transaction(|tx| tx.put_message(&message)).unwrap();
    assert_eq!(found(&reader, "noon").len(), 2);
    assert!(store.transaction(|tx| tx.block(OTHER, Timestamp(1))).unwrap());
    assert_eq!(found(&reader, "noon"), ["of one at noon"]);
    let of_it = Search { from: Some(OTHER), ..wanted("noon") };
    assert!(texts(&reader, &of_it).is_empty());
    store.transaction(|tx| tx.unblock(OTHER)).unwrap();
    assert_eq!(found(&reader, "noon").len(), 2);
}
