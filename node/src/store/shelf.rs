//! What this node's people keep of groups and members for themselves: muted, put away, read up to, blocked.
//!
//! > None of it is ever told to anybody, but what was read, of groups where somebody said so.

use protocol::ids::{ChainId, GroupId, MemberId, Timestamp};
use rusqlite::{OptionalExtension, params};

use super::{
    StoreError, Tx,
    groups::{int, uint},
};

/// Unread messages of a group are counted up to that; one more is "more than that".
pub const UNREAD: u64 = 1_000;

/// Of so many messages is told at once that they were read.
const TOLD: u32 = 4_096;

/// So many members are blocked at most.
pub const BLOCKED: u64 = 10_000;

/// Muted until somebody says otherwise.
pub const MUTED_FOR_EVER: Timestamp = Timestamp(i64::MAX.cast_unsigned());

/// What is kept of a group.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Shelf {
    /// Muted before that; 0: not muted.
    pub muted_until: Timestamp,
    /// Where it was put away: the last message that had come then.
    pub away: Option<u64>,
    /// The last message that was read, by its number in the order of coming.
    pub read: u64,
    /// Whether members are told what is read here.
    pub tells: bool,
}

impl Tx<'_> {
    /// What is kept of a group; the default where nothing is.
    pub fn shelf(&self, group: GroupId) -> Result<Shelf, StoreError> {
        let query = "SELECT muted_until, away_seq, read_seq, tells FROM shelf WHERE grp = ?1";
        let shelf = self.sql.query_row(query, [group.0], |row| {
            Ok(Shelf {
                muted_until: Timestamp(uint(row.get(0)?)),
                away: row.get::<_, Option<i64>>(1)?.map(uint),
                read: uint(row.get(2)?),
                tells: row.get(3)?,
            })
        });
        Ok(shelf.optional()?.unwrap_or_default())
    }

    /// Mutes a group until then; 0 ends it.
    pub fn mute(&self, group: GroupId, until: Timestamp) -> Result<(), StoreError> {
        let put = "INSERT INTO shelf(grp, muted_until) VALUES (?1, ?2)
                   ON CONFLICT(grp) DO UPDATE SET muted_until = excluded.muted_until";
        self.sql.execute(put, params![group.0, int(until.0)])?;
        Ok(())
    }

    /// Puts a group away, after what has come by now.
    pub fn put_away(&self, group: GroupId) -> Result<(), StoreError> {
        let put = "INSERT INTO shelf(grp, away_seq) VALUES (?1, ?2)
                   ON CONFLICT(grp) DO UPDATE SET away_seq = excluded.away_seq";
        self.sql.execute(put, params![group.0, int(self.last_that_came(group)?)])?;
        Ok(())
    }

    /// Takes a group back.
    pub fn take_back(&self, group: GroupId) -> Result<(), StoreError> {
        self.sql.execute("UPDATE shelf SET away_seq = NULL WHERE grp = ?1", [group.0])?;
        Ok(())
    }

    /// Whether a group is away now: it was put away, and nothing that would be unread has come since, or it is muted.
    pub fn is_away(&self, group: GroupId, now: Timestamp) -> Result<bool, StoreError> {
        let Shelf { muted_until, away, .. } = self.shelf(group)?;
        let Some(away) = away else { return Ok(false) };
        Ok(now < muted_until || self.came_after(group, away, 1)? == 0)
    }

    /// Whether members are told what is read here from now on.
    pub fn tell_what_is_read(&self, group: GroupId, tells: bool) -> Result<(), StoreError> {
        let put = "INSERT INTO shelf(grp, tells) VALUES (?1, ?2)
                   ON CONFLICT(grp) DO UPDATE SET tells = excluded.tells";
        self.sql.execute(put, params![group.0, tells])?;
        Ok(())
    }

    /// Where messages stand that came to a group after the first of these numbers, up to the second one: what would be
    /// unread of them, of the newest 4,096 at most.
    pub fn places_read(
        &self,
        group: GroupId,
        (after, last): (u64, u64),
    ) -> Result<Vec<(ChainId, u32)>, StoreError> {
        let mut rows = self.sql.prepare(
            "SELECT chain, idx FROM messages
             WHERE grp = ?1 AND mine = 0 AND changes IS NULL AND emptied IS NULL AND seq > ?2
               AND seq <= ?3 AND chain IS NOT NULL AND idx IS NOT NULL
               AND sender NOT IN (SELECT member FROM blocked)
             ORDER BY seq DESC LIMIT ?4",
        )?;
        let place = params![group.0, int(after), int(last), TOLD];
        let places = rows.query_map(place, |row| Ok((ChainId(row.get(0)?), row.get(1)?)))?;
        Ok(places.collect::<Result<_, _>>()?)
    }

    /// Marks what came to a group as read: up to that number in the order of coming, or all where it is `None`. What was
    /// read stays read, and what is to come is not: gives up to where it is read now.
    pub fn read_up_to(&self, group: GroupId, up_to: Option<u64>) -> Result<u64, StoreError> {
        let last = self.last_that_came(group)?;
        let put = "INSERT INTO shelf(grp, read_seq) VALUES (?1, ?2)
                   ON CONFLICT(grp) DO UPDATE SET read_seq = max(read_seq, excluded.read_seq)
                   RETURNING read_seq";
        let read = int(up_to.map_or(last, |seq| seq.min(last)));
        Ok(uint(self.sql.query_row(put, params![group.0, read], |row| row.get(0))?))
    }

    /// How many messages came to a group since it was read, up to [`UNREAD`] + 1: of others who are not blocked, without
    /// what changes another message and what is deleted.
    pub fn unread_messages(&self, group: GroupId) -> Result<u64, StoreError> {
        self.came_after(group, self.shelf(group)?.read, UNREAD.saturating_add(1))
    }

    fn came_after(&self, group: GroupId, seq: u64, most: u64) -> Result<u64, StoreError> {
        let count = "SELECT count(*) FROM (
               SELECT 1 FROM messages
               WHERE grp = ?1 AND mine = 0 AND changes IS NULL AND emptied IS NULL AND seq > ?2
                 AND sender NOT IN (SELECT member FROM blocked)
               LIMIT ?3)";
        let count =
            self.sql.query_row(count, params![group.0, int(seq), int(most)], |row| row.get(0))?;
        Ok(uint(count))
    }

    fn last_that_came(&self, group: GroupId) -> Result<u64, StoreError> {
        let last = "SELECT coalesce(max(seq), 0) FROM messages WHERE grp = ?1";
        Ok(uint(self.sql.query_row(last, [group.0], |row| row.get(0))?))
    }

    /// Blocks a member; since when stays, of one who is blocked. `false` where [`BLOCKED`] are.
    pub fn block(&self, member: MemberId, now: Timestamp) -> Result<bool, StoreError> {
        if self.is_blocked(member)? {
            return Ok(true);
        }
        let put = "INSERT INTO blocked(member, since)
                   SELECT ?1, ?2 WHERE (SELECT count(*) FROM blocked) < ?3";
        Ok(self.sql.execute(put, params![member.0, int(now.0), int(BLOCKED)])? == 1)
    }

    /// Ends that a member is blocked; whether it was.
    pub fn unblock(&self, member: MemberId) -> Result<bool, StoreError> {
        Ok(self.sql.execute("DELETE FROM blocked WHERE member = ?1", [member.0])? == 1)
    }

    /// Whether a member is blocked.
    pub fn is_blocked(&self, member: MemberId) -> Result<bool, StoreError> {
        let query = "SELECT EXISTS (SELECT 1 FROM blocked WHERE member = ?1)";
        Ok(self.sql.query_row(query, [member.0], |row| row.get(0))?)
    }

    /// Who is blocked, and since when, the first first.
    pub fn blocked(&self) -> Result<Vec<(MemberId, Timestamp)>, StoreError> {
        let query = "SELECT member, since FROM blocked ORDER BY since, member";
        let mut rows = self.sql.prepare(query)?;
        let rows =
            rows.query_map([], |row| Ok((MemberId(row.get(0)?), Timestamp(uint(row.get(1)?)))))?;
        Ok(rows.collect::<Result<_, _>>()?)
    }
}

#[cfg(test)]
mod tests {
    use protocol::{
        chain::HeadRef,
        ids::{ChainId, MessageId},
        said::Said,
    };

    use super::{
        super::tests::{GROUP, dir, received, with_group},
        *,
    };
    use crate::store::{Body, NewMessage, Store, Unlock};

    const BOB: MemberId = MemberId([3; 32]);
    const NOW: Timestamp = Timestamp(1_800_000_000_000);

    #[test]
    fn what_others_say_is_unread_until_it_is_read_and_own_words_and_changes_never_are() {
        let dir = dir();
        let mut store = with_group(dir.path());
        let target = HeadRef { chain: ChainId([7; 16]), index: 0, id: MessageId([0; 16]) };
        let edit = Said::Edit { target, text: "edited".into() }.payload().to_vec();
        let counts = store.transaction(|tx| {
            let first = tx.put_message(&received(0, "hello"))?.unwrap();
            tx.queue_message(GROUP, [9; 16], MemberId([2; 32]), &Body::text("mine"), NOW)?;
            let body = Body::of(1, &edit);
            tx.put_message(&NewMessage { body, ..received(1, "") })?.unwrap();
            tx.put_message(&received(2, "there"))?.unwrap();
            let two = tx.unread_messages(GROUP)?;
            assert_eq!(tx.read_up_to(GROUP, Some(first))?, first);
            let one = tx.unread_messages(GROUP)?;
            let last = tx.read_up_to(GROUP, Some(u64::MAX))?;
            assert_eq!(tx.read_up_to(GROUP, Some(first))?, last, "what was read stays read");
            let none = tx.unread_messages(GROUP)?;
            tx.put_message(&received(3, "later"))?.unwrap();
            Ok::<_, StoreError>([two, one, none, tx.unread_messages(GROUP)?])
        });
        assert_eq!(counts.unwrap(), [2, 1, 0, 1]);
    }

    #[test]
    fn what_is_kept_outlives_a_restart_and_one_part_of_it_changes_no_other() {
        let dir = dir();
        let mut store = with_group(dir.path());
        let put = store.transaction(|tx| {
            tx.put_message(&received(0, "hello"))?;
            tx.put_away(GROUP)?;
            tx.mute(GROUP, NOW)?;
            tx.read_up_to(GROUP, None)?;
            tx.tell_what_is_read(GROUP, true)?;
            tx.block(BOB, NOW)
        });
        assert!(put.unwrap());
        drop(store);
        let mut store = Store::open(dir.path(), &Unlock::KeyFile).unwrap();
        let read =
            store.transaction(|tx| Ok::<_, StoreError>((tx.shelf(GROUP)?, tx.blocked()?))).unwrap();
        assert_eq!(read.0, Shelf { muted_until: NOW, away: Some(1), read: 1, tells: true });
        assert_eq!(read.1, [(BOB, NOW)]);
    }

    #[test]
    fn of_what_was_read_the_places_are_told_of_others_words_that_are_there_and_not_of_who_is_blocked()
     {
        let dir = dir();
        let mut store = with_group(dir.path());
        let places = store.transaction(|tx| {
            let first = tx.put_message(&received(0, "hello"))?.unwrap();
            tx.queue_message(GROUP, [9; 16], MemberId([2; 32]), &Body::text("mine"), NOW)?;
            let last = tx.put_message(&received(1, "there"))?.unwrap();
            let all = tx.places_read(GROUP, (0, last))?;
            let [later, earlier] = [(first, last), (0, first)].map(|of| tx.places_read(GROUP, of));
            tx.block(BOB, NOW)?;
            Ok::<_, StoreError>((all, later?, earlier?, tx.places_read(GROUP, (0, last))?))
        });
        let (all, later, earlier, blocked) = places.unwrap();
        assert_eq!(all, [later.clone(), earlier.clone()].concat(), "the newest first");
        assert_eq!((later.len(), earlier.len(), blocked.len()), (1, 1, 0));
    }

    #[test]
    fn a_blocked_member_is_not_counted_until_it_is_unblocked() {
        let dir = dir();
        let mut store = with_group(dir.path());
        let counts = store.transaction(|tx| {
            tx.put_message(&received(0, "hello"))?;
            assert!(tx.block(BOB, NOW)? && tx.block(BOB, Timestamp(NOW.0 + 1))?);
            let none = tx.unread_messages(GROUP)?;
            assert_eq!(tx.blocked()?, [(BOB, NOW)], "since when stays");
            assert!(tx.unblock(BOB)? && !tx.unblock(BOB)?);
            Ok::<_, StoreError>([none, tx.unread_messages(GROUP)?])
        });
        assert_eq!(counts.unwrap(), [0, 1]);
    }

    #[test]
    fn a_group_that_was_put_away_comes_back_with_what_comes_unless_it_is_muted() {
        let dir = dir();
        let mut store = with_group(dir.path());
        let later = Timestamp(NOW.0 + 1);
        let away = store.transaction(|tx| {
            tx.put_message(&received(0, "hello"))?;
            assert!(!tx.is_away(GROUP, NOW)?, "nobody put it away");
            tx.put_away(GROUP)?;
            tx.queue_message(GROUP, [9; 16], MemberId([2; 32]), &Body::text("mine"), NOW)?;
            let own = tx.is_away(GROUP, NOW)?;
            tx.block(BOB, NOW)?;
            tx.put_message(&received(1, "of one who is blocked"))?;
            let blocked = tx.is_away(GROUP, NOW)?;
            tx.unblock(BOB)?;
            let back = tx.is_away(GROUP, NOW)?;
            tx.mute(GROUP, later)?;
            let muted = [tx.is_away(GROUP, NOW)?, tx.is_away(GROUP, later)?];
            tx.put_away(GROUP)?;
            let again = tx.is_away(GROUP, later)?;
            tx.take_back(GROUP)?;
            Ok::<_, StoreError>((own, blocked, back, muted, again, tx.is_away(GROUP, later)?))
        });
        assert_eq!(away.unwrap(), (true, true, false, [true, false], true, false));
    }

    #[test]
    fn nothing_is_kept_of_a_group_that_is_erased_and_blocks_stay() {
        let dir = dir();
        let mut store = with_group(dir.path());
        let kept = store.transaction(|tx| {
            tx.mute(GROUP, MUTED_FOR_EVER)?;
            tx.put_away(GROUP)?;
            tx.block(BOB, NOW)?;
            assert_eq!(tx.shelf(GROUP)?.muted_until, MUTED_FOR_EVER);
            tx.begin_erasing(GROUP, &[], &[].into())?;
            Ok::<_, StoreError>((tx.shelf(GROUP)?, tx.is_blocked(BOB)?))
        });
        assert_eq!(kept.unwrap(), (Shelf::default(), true));
    }
}
