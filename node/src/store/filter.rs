//! Which messages of a history are wanted: of whom, and of when.

use protocol::ids::{GroupId, MemberId, Timestamp};
use rusqlite::{Connection, params};

use super::{
    StoreError,
    groups::{int, uint},
    messages::message_by_seq,
};
use crate::api::types::Message;

/// Those that are wanted; all where it says nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// Who wrote them.
    pub from: Option<MemberId>,
    /// Written at this time or later, by the writer's clock.
    pub since: Option<Timestamp>,
    /// Written before this time.
    pub until: Option<Timestamp>,
}

impl Filter {
    fn takes(&self, from: [u8; 32], at: u64) -> bool {
        self.from.is_none_or(|member| member.0 == from)
            && self.since.is_none_or(|since| at >= since.0)
            && self.until.is_none_or(|until| at < until.0)
    }
}

/// How many messages one read looks at: others wait for it.
pub(super) const LOOKED_AT: u32 = 10_000;

/// Messages of a group that `filter` takes, in the order of their places: the last `limit` before the one whose number in the order of
/// coming is `before`, of the `look` before it. And the number of that before which to go on, where there may be more.
pub(super) fn page(
    sql: &Connection,
    group: GroupId,
    filter: &Filter,
    before: Option<u64>,
    (limit, look): (u32, u32),
) -> Result<(Vec<Message>, Option<u64>), StoreError> {
    let before_it = match before {
        Some(_) => "(place, seq) < (SELECT place, seq FROM messages WHERE seq = ?2 AND grp = ?1)",
        None => "?2 IS NULL",
    };
    let query = format!(
        "SELECT seq, sender, at FROM messages WHERE grp = ?1 AND changes IS NULL AND {before_it}
         ORDER BY place DESC, seq DESC LIMIT ?3"
    );
    let mut rows = sql.prepare(&query)?;
    let mut rows = rows.query(params![group.0, before.map(int), look])?;
    let (mut wanted, mut looked, mut last) = (Vec::new(), 0, None);
    while wanted.len() < limit as usize {
        let Some(row) = rows.next()? else { break };
        let seq = uint(row.get(0)?);
        if filter.takes(row.get(1)?, uint(row.get(2)?)) {
            wanted.push(seq);
        }
        (looked, last) = (looked + 1, Some(seq));
    }
    let is_more = looked == look || wanted.len() == limit as usize;
    let messages = wanted.into_iter().rev().filter_map(|seq| message_by_seq(sql, seq).transpose());
    Ok((messages.collect::<Result<_, _>>()?, last.filter(|_| is_more)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{
        NewMessage,
        tests::{GROUP, dir, received, with_group},
    };

    #[test]
    fn pages_of_what_is_wanted_are_what_is_wanted_of_all() {
        let dir = dir();
        let mut store = with_group(dir.path());
        let put = |tx: &crate::store::Tx<'_>, n: u32| {
            let text = n.to_string();
            let from = MemberId([u8::try_from(n % 3).unwrap(); 32]);
            // Clocks of writers differ: time does not grow along the history.
            let at = Timestamp(1000 + u64::from(n * 7 % 10));
            tx.put_message(&NewMessage { from, at, ..received(n, &text) }).map(|_| ())
        };
        store.transaction(|tx| (0..60).try_for_each(|n| put(tx, n))).unwrap();
        let mut texts = |filter: Filter, limit, look| {
            let (mut all, mut before, mut reads) = (Vec::new(), None, 0);
            loop {
                let read = |tx: &crate::store::Tx<'_>| {
                    page(&tx.sql, GROUP, &filter, before, (limit, look))
                };
                let (page, next) = store.read(read).unwrap();
                assert!(page.len() <= limit as usize);
                all.splice(0..0, page.into_iter().map(|message| message.text));
                reads += 1;
                before = next;
                if before.is_none() {
                    return (all, reads);
                }
            }
        };
        let naive = |filter: Filter| -> Vec<String> {
            let wanted = (0..60_u32).filter(|n| {
                let from = MemberId([u8::try_from(n % 3).unwrap(); 32]);
                let at = Timestamp(1000 + u64::from(n * 7 % 10));
                filter.from.is_none_or(|it| it == from)
                    && filter.since.is_none_or(|it| at >= it)
                    && filter.until.is_none_or(|it| at < it)
            });
            wanted.map(|n| n.to_string()).collect()
        };
        let (from, since) = (Some(MemberId([1; 32])), Some(Timestamp(1003)));
        let until = Some(Timestamp(1008));
        let filters = [
            Filter::default(),
            Filter { from, ..Filter::default() },
            Filter { since, ..Filter::default() },
            Filter { from, since, until },
            Filter { from: Some(MemberId([9; 32])), since, until },
        ];
        for filter in filters {
            for (limit, look) in [(1, 1), (3, 7), (7, 3), (100, 100), (5, 60), (60, 60)] {
                assert_eq!(
                    texts(filter, limit, look).0,
                    naive(filter),
                    "{filter:?} {limit} {look}"
                );
            }
        }
        let nobody = Filter { from: Some(MemberId([9; 32])), ..Filter::default() };
        assert_eq!(texts(nobody, 100, 10).1, 7, "no read looks at more than it may");
    }
}
